"""What predicts accessibility? A convolutional stem, a bidirectional LSTM at 1 bp, and two heads.

    one-hot + tracks -> stem (no pooling) -> LSTM layer(s), or dilated convolutions -> cuts, accessible state

Every LSTM layer is a module of its own with one layer in it: dropout between layers then comes from a seeded
generator, and `gatescope.trace` finds each layer's input and output without hooks.

Public names: `AccessibilityNetwork`, `Stem`, `Outputs`, `log_bias`.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import linear, pad

from gatescope.model.dilated import DilatedTrunk
from gatescope.model.directions import read_out, run_layer
from gatescope.model.memory_plan import forget_bias
from gatescope.model.network_config import NetworkConfig
from gatescope.model.team import Masks, uniform
from gatescope.model.tied import TiedLSTM

#: Largest candidate |g| and widest input gate of a cell state at rest before training.
_RESTING_CANDIDATE, _WIDEST_INPUT_GATE = 0.75, 0.9


class Stem(nn.Module):
    """Turn the signal (N, 4 + K, L) into what the first layer reads, (N, L, C).

    With tied strands it reads both, and lays the channels of the reverse complement, read backwards, beside those of
    the sequence: a reverse complement exchanges the halves.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        channels, width = config.stem_channels, config.stem_width_bp
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        if config.stem != "none":
            self.convolutions.append(nn.Conv1d(4 + len(config.tracks), channels, width, padding="same"))
        for layer in range(config.stem_layers if config.stem == "dilated" else 0):
            self.convolutions.append(nn.Conv1d(channels, channels, 3, padding="same", dilation=2**layer))
        for _ in self.convolutions:
            # motif filters reach the gates at one scale: training finds the motifs two to three times sooner
            self.norms.append(nn.BatchNorm1d(channels))

    def forward(self, signal: Tensor) -> Tensor:
        """Read a signal."""
        if self.config.strands == "free":
            return self._read(signal).transpose(1, 2)
        # together, so that both strands are normalised alike; A, C, G, T backwards are their complements
        tracks = signal[:, 4:]
        turned = torch.cat([signal[:, :4].flip(1), tracks], dim=1).flip(2)
        own, other = self._read(torch.cat([signal, turned])).chunk(2)
        return torch.cat([own, other.flip(2)], dim=1).transpose(1, 2)

    @property
    def layers(self) -> list[tuple[nn.Conv1d, nn.BatchNorm1d]]:
        """Each convolution with its normalisation; the first is plain, the others add to what they read."""
        pairs = zip(self.convolutions, self.norms, strict=True)
        return [(a, b) for a, b in pairs if isinstance(a, nn.Conv1d) and isinstance(b, nn.BatchNorm1d)]

    def _read(self, signal: Tensor) -> Tensor:
        beyond = self.config.dilated_reach_bp  # what lies beyond a window is unknown to every layer
        values = pad(signal, (beyond, beyond))
        for layer, (convolution, norm) in enumerate(self.layers):
            if layer == 0:
                values = torch.relu(_convolve_and_normalise(convolution, norm, values))
            else:
                values = values + torch.relu(norm(convolution(values)))
        return values[..., beyond : beyond + signal.shape[2]]

    @torch.no_grad()
    def draw_weights(self, generator: torch.Generator) -> None:
        """Draw the filters: unit variance out, so that an untrained network is on scale too."""
        for layer, convolution in enumerate(self.convolutions):
            # a one-hot window holds one 1 per base
            terms = self.config.stem_channels * 3 if layer else self.config.stem_width_bp
            for name, parameter in convolution.named_parameters():
                if name == "bias":
                    parameter.zero_()
                else:
                    parameter.normal_(0, 1 / math.sqrt(terms), generator=generator)


def _convolve_and_normalise(convolution: nn.Conv1d, norm: nn.BatchNorm1d, values: Tensor) -> Tensor:
    """Return ``norm(convolution(values))``, (N, C, L), laid out time first in memory, as the recurrence reads it.

    One matrix product of all windows of `stem_width_bp` bases: twice as fast as a convolution and a transposition.
    """
    width = convolution.kernel_size[0]
    time_first = (
        pad(values, (width // 2, width // 2)).permute(2, 0, 1).contiguous()
    )  # (L + width - 1, N, 4 + K)
    seen = time_first.unfold(0, width, 1).transpose(2, 3).flatten(2)  # (L, N, width * (4 + K))
    filters = convolution.weight.transpose(1, 2).flatten(1)
    rows = linear(seen.flatten(0, 1), filters, convolution.bias)
    return norm(rows).view(*seen.shape[:2], -1).permute(1, 2, 0)


class Outputs(NamedTuple):
    """What a network predicts per base; None for a head it lacks."""

    log_cuts: Tensor | None  # (N, L), ln of the expected Tn5 cuts per bp, bias aside
    state_logit: Tensor | None  # (N, L), logit of being accessible


def log_bias(rate: Tensor) -> Tensor:
    """Return what a relative cut rate adds to `Outputs.log_cuts`; 0, which stands for no value, adds nothing."""
    return torch.where(rate > 0, rate, torch.ones_like(rate)).log()


class AccessibilityNetwork(nn.Module):
    """Predict Tn5 cuts and the accessible state at every base.

    Weights are drawn from `generator`, so a seed fixes them whatever was drawn before.
    """

    def __init__(self, config: NetworkConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        self.stem = Stem(config)
        width, hidden = config.features, config.hidden_units
        is_dilated = config.trunk == "dilated"
        self.dilated = DilatedTrunk(width, config.trunk_layers) if is_dilated else nn.Identity()
        self.recurrent = nn.ModuleList()
        for _ in range(config.layers if config.is_recurrent else 0):
            self.recurrent.append(_lstm(width, hidden, config))
            width = 2 * hidden
        self.heads = nn.ModuleDict({target: nn.Linear(width, 1) for target in config.targets})
        self._draw_weights(generator or torch.Generator().manual_seed(0))

    def forward(
        self, one_hot: Tensor, tracks: Tensor | None = None, dropout: torch.Generator | Masks | None = None
    ) -> Outputs:
        """Predict from one-hot sequence.

        Parameters
        ----------
        one_hot : Tensor, shape (N, 4, L)
            Channels ACGT; an unknown base is a zero column.
        tracks : Tensor, shape (N, K, L), optional
            Input tracks in the order of `config.tracks`, raw values (the network takes ln(1 + x)).
        dropout : torch.Generator or Masks, optional
            Source of the dropout masks; without it nothing is dropped, in any mode of the module.
        """
        features = self.dilated(self.features(one_hot, tracks))  # (N, L, C)
        weights = torch.cat([self._head_weight(name) for name in self.heads])
        biases = torch.cat([self._head(name).bias for name in self.heads])
        for lstm in self.lstm_layers[:-1]:
            features = run_layer(lstm, features, self._draw_shown(features, 2 * lstm.hidden_size, dropout))
        shown = self._draw_shown(features, weights.shape[1], dropout, is_last=True)
        if self.lstm_layers:
            said = run_layer(self.lstm_layers[-1], features, shown, weights)
        else:
            said = read_out(features, shown, weights)
        heads = dict(zip(self.heads, (said + biases).unbind(2), strict=True))
        return Outputs(heads.get("cuts"), heads.get("state"))

    def features(self, one_hot: Tensor, tracks: Tensor | None = None) -> Tensor:
        """Return what the trunk reads, shape (N, L, C): the stem's channels at each base."""
        return self.stem(self.signal(one_hot, tracks))

    def signal(self, one_hot: Tensor, tracks: Tensor | None = None) -> Tensor:
        """Return what the stem reads, shape (N, 4 + K, L): one-hot, and ln(1 + x) of the tracks."""
        self._check(one_hot, tracks)
        signal = one_hot.to(self.like.dtype)
        if self.config.tracks and tracks is not None:
            signal = torch.cat([signal, torch.log1p(tracks.to(signal.dtype))], dim=1)
        return signal

    @property
    def like(self) -> Tensor:
        """A weight, for its dtype and device."""
        return self._head(self.config.targets[0]).weight

    def _head(self, name: str) -> nn.Linear:
        head = self.heads[name]
        assert isinstance(head, nn.Linear)
        return head

    def _head_weight(self, name: str) -> Tensor:
        """Return the weights of a head, (1, C); tied strands count the same."""
        weight = self._head(name).weight
        half = weight[:, : weight.shape[1] // 2]
        return weight if self.config.strands == "free" else torch.cat([half, half], dim=1)

    @torch.no_grad()
    def tie(self) -> None:
        """Write the weights that follow from others to where they are stored; after every change of the free ones."""
        for lstm in self.lstm_layers:
            if isinstance(lstm, TiedLSTM):
                lstm.tie()
        for name in self.heads:
            self._head(name).weight.copy_(self._head_weight(name))

    @property
    def free_parameters(self) -> int:
        """Number of weights that training decides; others follow from them (`tie`)."""
        free = sum(each.numel() for each in self.parameters())
        for lstm in self.lstm_layers:
            if isinstance(lstm, TiedLSTM):
                free -= sum(each.numel() for each in lstm.parameters()) - lstm.free_parameters
        if self.config.strands == "tied":
            free -= sum(self._head(name).weight.numel() // 2 for name in self.heads)
        return free

    @property
    def lstm_layers(self) -> list[nn.LSTM]:
        """The LSTM layers from the stem on, each a bidirectional `nn.LSTM` of one layer."""
        return [layer for layer in self.recurrent if isinstance(layer, nn.LSTM)]

    def _check(self, one_hot: Tensor, tracks: Tensor | None) -> None:
        wanted = len(self.config.tracks)
        got = 0 if tracks is None else tracks.shape[1]
        if one_hot.ndim != 3 or one_hot.shape[1] != 4:
            raise ValueError(f"one_hot has shape {tuple(one_hot.shape)}; wanted (N, 4, L)")
        if got != wanted:
            raise ValueError(f"the network reads {wanted} input tracks {self.config.tracks}; got {got}")

    def _draw_shown(
        self, like: Tensor, width: int, dropout: torch.Generator | Masks | None, *, is_last: bool = False
    ) -> Tensor | None:
        """Draw which hidden states each window shows, and how much more these count for it, (N, width); None: all.

        Hidden over the whole window: a memory that is hidden for one base only is not missed. From the heads, `fwd`
        is hidden in half of the chosen windows, `rev` in the other half.

        References
        ----------
        Gal & Ghahramani 2016 (one mask for all time steps).
        """
        if dropout is None:
            return None
        windows, shown = len(like), torch.ones(1, width)
        if self.config.dropout:
            kept = uniform(dropout, windows, width) >= self.config.dropout
            shown = kept / (1 - self.config.dropout)
        if is_last and self.config.direction_dropout and self.config.is_recurrent:
            drawn, half = uniform(dropout, windows, 1), self.config.direction_dropout / 2
            sides = torch.cat([drawn >= half, drawn < 1 - half], dim=1)
            shown = shown * sides.repeat_interleave(width // 2, dim=1)
        return shown.expand(windows, -1).to(like)

    @torch.no_grad()
    def shrink_writes(self, share: float) -> None:
        """Take a share off the weights of input gates and candidates: writing has a cost, forgetting has none."""
        for lstm in self.lstm_layers:
            hidden = lstm.hidden_size
            for name, parameter in lstm.named_parameters():
                if "weight" in name:
                    parameter[:hidden] *= 1 - share  # torch order i, f, g, o
                    parameter[2 * hidden : 3 * hidden] *= 1 - share

    @torch.no_grad()
    def set_base_rates(self, cuts_per_bp: float, accessible_share: float) -> None:
        """Let the untrained heads predict the mean: a wrong level would own the first thousand steps of Adam.

        Parameters
        ----------
        cuts_per_bp : float
            Mean Tn5 cuts per bp of the training contigs.
        accessible_share : float
            Share of their scored bases that are accessible.
        """
        levels = {
            "cuts": math.log(max(cuts_per_bp, 1e-6)),
            "state": math.log(max(accessible_share, 1e-6) / max(1 - accessible_share, 1e-6)),
        }
        for name, parameter in self.heads.named_parameters():
            if name.endswith("bias"):
                parameter.fill_(levels[name.removesuffix(".bias")])

    @torch.no_grad()
    def _draw_weights(self, generator: torch.Generator) -> None:
        self.stem.draw_weights(generator)
        if isinstance(self.dilated, DilatedTrunk):
            self.dilated.draw_weights(generator)
        for lstm in self.lstm_layers:
            for name, parameter in lstm.named_parameters():
                if "weight" in name:
                    bound = 1 / math.sqrt(parameter.shape[1])
                    parameter.uniform_(-bound, bound, generator=generator)
                else:
                    parameter.zero_()
            set_half_lives(lstm, self.config.planned_half_lives)
            set_resting_memory(lstm, self.config.resting_memory)
        for name, parameter in self.heads.named_parameters():
            parameter.zero_() if name.endswith("bias") else parameter.uniform_(-0.1, 0.1, generator=generator)
        self.tie()


def _lstm(width: int, hidden: int, config: NetworkConfig) -> nn.LSTM:
    """Return a bidirectional layer as configured."""
    coupled, same_strands = config.cell == "coupled", config.strands == "tied"
    if coupled or same_strands:
        return TiedLSTM(width, hidden, coupled=coupled, same_strands=same_strands)
    return nn.LSTM(width, hidden, batch_first=True, bidirectional=True)


@torch.no_grad()
def set_half_lives(lstm: nn.LSTM, half_life_bp: NDArray[np.float64]) -> None:
    """Set the forget biases so that, by bias alone, the units have these half-lives, shape (H,) in bp.

    torch adds two biases per gate: the whole value goes into `bias_ih`, `bias_hh` becomes zero.
    """
    hidden = lstm.hidden_size
    logit = torch.from_numpy(forget_bias(half_life_bp))
    for name, parameter in lstm.named_parameters():
        if "bias_hh" in name:
            parameter.zero_()
        elif "bias_ih" in name:
            parameter.zero_()
            parameter[hidden : 2 * hidden] = logit.to(parameter)  # torch order i, f, g, o


@torch.no_grad()
def set_resting_memory(lstm: nn.LSTM, level: float) -> None:
    """Set input gate and candidate so that, by bias alone, cell states rest at `level`, every second unit at `-level`.

    c rests at i g / (1 - f), so a unit that holds long writes little. The gradient of the forget gate is
    c_(t-1) dL/dc_t: where memory starts out empty (level 0, chrono initialisation), a network learns to overwrite
    long before it can learn to erase; and one write, which is at most 1, does not undo a memory of 2. Where f is so
    low that no input gate reaches the level, the cell state rests as high as `_WIDEST_INPUT_GATE` brings it.
    """
    hidden = lstm.hidden_size
    candidate = torch.full((hidden,), min(level, _RESTING_CANDIDATE), dtype=torch.float64)
    candidate[1::2] *= -1
    for name, parameter in lstm.named_parameters():
        if "bias_ih" in name:
            forgotten = torch.sigmoid(-parameter[hidden : 2 * hidden].double())
            write = forgotten * max(1.0, level / _RESTING_CANDIDATE)
            parameter[:hidden] = torch.logit(write.clamp(max=_WIDEST_INPUT_GATE)).to(parameter)
            parameter[2 * hidden : 3 * hidden] = torch.atanh(candidate).to(parameter)
