"""What does a network look like? Its inputs, stem, recurrence and targets, checked before anything is built.

Public names: `NetworkConfig`, `SEQUENCE`, `TARGETS`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gatescope.errors import InputError
from gatescope.model.memory_plan import SPECTRA, half_life_spectrum
from gatescope.samples import BIAS_TRACK

#: Inputs a network can read: the sequence, and any track of the encoded store by name.
SEQUENCE = "sequence"
TARGETS = ("cuts", "state")
_CHOICES = {
    "stem": ("conv", "dilated", "none"),
    "trunk": ("recurrent", "dilated"),
    "cell": ("lstm", "coupled"),
    "strands": ("free", "tied"),
    "bias": ("none", "tn5"),
    "half_life_spectrum": tuple(SPECTRA),
}


@dataclass(frozen=True)
class NetworkConfig:
    """Describe one network; lengths in bp.

    Parameters
    ----------
    inputs : tuple of str
        `sequence` and names of tracks, for example ``("sequence", "cuts")``.
    targets : tuple of str
        Heads: `cuts` (expected Tn5 cuts per bp), `state` (probability of being accessible).
    stem : {"conv", "dilated", "none"}
        A convolution; a convolution and residual ones behind it whose reach doubles from one to the next; or none: the
        recurrence reads the bases themselves.
    stem_channels, stem_width_bp : int
        Filters of the stem and how many bases each one sees (odd, centred).
    stem_layers : int
        Dilated convolutions, three taps each, 1, 2, 4, ... bp apart.
    trunk : {"recurrent", "dilated"}
        What lies between stem and heads: the recurrence; or, in its place, residual dilated convolutions as wide as
        the stem (`gatescope.model.dilated`), a network without gates to compare with.
    trunk_layers : int
        Convolutions of a dilated trunk, three taps each, 2, 4, 8, ... bp apart.
    cell : {"lstm", "coupled"}
        Coupled: the input gate is 1 - the forget gate, see `gatescope.model.tied`.
    strands : {"free", "tied"}
        Tied: what the network says of a sequence and of its reverse complement is the same, with the directions
        swapped. Free: it learns both, and predictions average them.
    hidden_units, layers : int
        LSTM units per direction, and number of bidirectional layers.
    dropout : float
        Share of hidden units hidden, over a whole window, from each layer but the first and from the heads.
    direction_dropout : float
        Share of training windows in which the heads see one reading direction only, so that each direction
        learns the state by itself and its gates mean something by themselves.
    half_life_bp : (float, float)
        Shortest and longest half-life of the memory the units start from.
    half_life_spectrum : str
        How the units' half-lives lie between the two: a name of `gatescope.model.memory_plan.SPECTRA`.
    resting_memory : float
        |c| at which the cell states rest before training, by bias alone; the units alternate in sign.
    bias : {"none", "tn5"}
        With "tn5", the expected cuts are exp(count head) times Tn5's relative cut rate, which the network itself never
        sees: it learns what the preference leaves to explain.
    recurrence : bool
        False ablates the recurrence: the heads read the stem directly.
    """

    inputs: tuple[str, ...] = (SEQUENCE,)
    targets: tuple[str, ...] = TARGETS
    stem: str = "conv"
    stem_channels: int = 48
    stem_width_bp: int = 15
    stem_layers: int = 4
    trunk: str = "recurrent"
    trunk_layers: int = 8
    cell: str = "lstm"
    strands: str = "free"
    hidden_units: int = 32
    layers: int = 1
    dropout: float = 0.2
    direction_dropout: float = 0.5
    half_life_bp: tuple[float, float] = (20.0, 1000.0)
    half_life_spectrum: str = "log-uniform"
    resting_memory: float = 2.0
    bias: str = "none"
    recurrence: bool = True

    def __post_init__(self) -> None:
        if SEQUENCE not in self.inputs:
            raise InputError(f"inputs {list(self.inputs)} lack 'sequence'", where="models: inputs")
        if not self.targets or not set(self.targets) <= set(TARGETS):
            raise InputError(
                f"targets {list(self.targets)}; wanted some of {list(TARGETS)}", where="models: targets"
            )
        if "cuts" in self.inputs and "cuts" in self.targets:
            raise InputError(
                "cuts are an input and a target of one model",
                where="models",
                cause="predicting a track from itself",
                remedy="set targets: [state]",
            )
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(
                    f"{getattr(self, name)!r}; wanted one of {', '.join(choices)}", where=f"models: {name}"
                )
        for name in (
            "stem_channels",
            "stem_width_bp",
            "stem_layers",
            "trunk_layers",
            "hidden_units",
            "layers",
        ):
            if getattr(self, name) < 1:
                raise InputError(f"{getattr(self, name)}; wanted at least 1", where=f"models: {name}")
        if self.stem_width_bp % 2 == 0:
            raise InputError(
                f"{self.stem_width_bp} is even; the stem is centred", where="models: stem_width_bp"
            )
        if not 0 <= self.dropout < 1:
            raise InputError(f"{self.dropout}; wanted 0 to below 1", where="models: dropout")
        if not 0 <= self.direction_dropout <= 1:
            raise InputError(f"{self.direction_dropout}; wanted 0 to 1", where="models: direction_dropout")
        if not 0 < self.half_life_bp[0] <= self.half_life_bp[1]:
            raise InputError(
                f"{list(self.half_life_bp)}; wanted 0 < shortest <= longest", where="models: half_life_bp"
            )
        if not 0 <= self.resting_memory <= 10:
            raise InputError(f"{self.resting_memory}; wanted 0 to 10", where="models: resting_memory")
        self._check_bias()
        self._check_trunk()

    def _check_bias(self) -> None:
        if self.bias_tracks and "cuts" not in self.targets:
            raise InputError(
                f"{self.bias!r}, but no head for cuts",
                where="models: bias",
                remedy="add cuts to targets, or set none",
            )

    def _check_trunk(self) -> None:
        for name, wanted in (("stem", "conv"), ("strands", "free")):
            if self.trunk == "dilated" and getattr(self, name) != wanted:
                raise InputError(
                    f"'dilated' goes with {name}: {wanted}; got {getattr(self, name)}", where="models: trunk"
                )

    @property
    def is_recurrent(self) -> bool:
        """Whether there is a recurrence, and so gates."""
        return self.recurrence and self.trunk == "recurrent"

    @property
    def tracks(self) -> tuple[str, ...]:
        """Names of the input tracks, in the order of the network's channels."""
        return tuple(name for name in self.inputs if name != SEQUENCE)

    @property
    def bias_tracks(self) -> tuple[str, ...]:
        """Name of the track that multiplies the expected cuts, or nothing; it is no input of the network."""
        return (BIAS_TRACK,) if self.bias == "tn5" else ()

    @property
    def planned_half_lives(self) -> NDArray[np.float64]:
        """Half-life in bp of each unit's memory before training, by bias alone, shape (H,), ascending."""
        return half_life_spectrum(self.half_life_spectrum, *self.half_life_bp, self.hidden_units)

    @property
    def lookahead_bp(self) -> int:
        """How far a network sees ahead of the base it is at, recurrence aside."""
        return self.stem_reach_bp + self.trunk_reach_bp

    @property
    def stem_reach_bp(self) -> int:
        """How far the stem sees ahead of the base that the trunk is at."""
        return self.dilated_reach_bp + (0 if self.stem == "none" else self.stem_width_bp // 2)

    @property
    def trunk_reach_bp(self) -> int:
        """How far the dilated convolutions of the trunk see."""
        return 2 ** (self.trunk_layers + 1) - 2 if self.trunk == "dilated" else 0

    @property
    def dilated_reach_bp(self) -> int:
        """How far the dilated convolutions of the stem see."""
        return 2**self.stem_layers - 1 if self.stem == "dilated" else 0

    @property
    def features(self) -> int:
        """What the first layer reads at each base: the stem's channels, of both strands where these are tied."""
        width = 4 + len(self.tracks) if self.stem == "none" else self.stem_channels
        return 2 * width if self.strands == "tied" else width
