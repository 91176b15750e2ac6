"""Can these gates be trusted? The replay certificate that every exported artefact carries.

Public names: `Certificate`, `ReplayError`, `TOLERANCE`, `worst`.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gatescope.errors import InputError

#: Largest |h replayed - h of the kernel| allowed, teacher-forced (science: 5e-6 in float32, 1e-12 in float64).
TOLERANCE = {"float32": 5e-6, "float64": 1e-12}

#: Largest |h traced - h of the network's forward pass| allowed over a few hundred bases from the same state.
TRAJECTORY_TOLERANCE = {"float32": 1e-4, "float64": 1e-10}


def worst(errors: Iterable[float]) -> float:
    """Return the largest error; one that is not a number is infinite, which `max` alone would pass over."""
    return max((error if math.isfinite(error) else math.inf for error in errors), default=0.0)


class ReplayError(InputError):
    """The replayed hidden states are not the network's: nothing may be written."""


@dataclass(frozen=True)
class Certificate:
    """State how well a replay reproduces the network.

    Parameters
    ----------
    max_error : float
        Local error: largest |h replayed - h of the kernel|, each step replayed from the kernel's own states.
    positions : int
        Bases traced, all units of both directions at each.
    replayed_share : float
        Share of them that was replayed and compared: a sample of every call where the gates come from the kernel's
        workspace, otherwise all.
    dtype, device : str
        Arithmetic of the replay; autocast and TF32 are off.
    model_error : float, optional
        Trajectory error: largest |h traced - h of the network's own forward pass| over the bases next to the end at
        which each direction starts; None where the network itself ran the kernel.
    """

    max_error: float
    positions: int
    replayed_share: float
    dtype: str
    device: str
    model_error: float | None = None

    @classmethod
    def of(
        cls,
        tensor: Tensor,
        max_error: float,
        positions: int,
        replayed_share: float = 1.0,
        model_error: float | None = None,
    ) -> "Certificate":
        """Return the certificate of a replay that computed in the dtype and on the device of `tensor`."""
        dtype = str(tensor.dtype).removeprefix("torch.")
        return cls(max_error, positions, replayed_share, dtype, tensor.device.type, model_error)

    @classmethod
    def merged(cls, parts: Sequence["Certificate"]) -> "Certificate":
        """Return the certificate of several replays of one network taken together."""
        positions = sum(part.positions for part in parts)
        replayed = sum(part.replayed_share * part.positions for part in parts)
        known = [part.model_error for part in parts if part.model_error is not None]
        return replace(
            parts[0],
            max_error=worst(part.max_error for part in parts),
            positions=positions,
            replayed_share=replayed / max(1, positions),
            model_error=worst(known) if known else None,
        )

    @property
    def tolerance(self) -> float:
        """Largest error allowed for this dtype."""
        return TOLERANCE[self.dtype]

    def checked(self) -> "Certificate":
        """Return self, or fail closed.

        Raises
        ------
        ReplayError
            If an error is above its tolerance, or not a number.
        """
        if self.model_error is not None and not self.model_error <= TRAJECTORY_TOLERANCE[self.dtype]:
            raise ReplayError(
                f"traced hidden states differ from those of the network's forward pass by {self.model_error:.3g} "
                f"(tolerance {TRAJECTORY_TOLERANCE[self.dtype]:g}); no gate is exported",
                where="trace",
                cause="a bug, or a network that amplifies rounding errors",
                remedy="set trace: dtype: float64" if self.dtype == "float32" else "please report it",
            )
        if not self.max_error <= self.tolerance:
            raise ReplayError(
                f"replayed hidden states differ from the network's by {self.max_error:.3g} "
                f"(tolerance {self.tolerance:g}, {self.dtype} on {self.device}, torch {torch.__version__}); "
                "no gate is exported",
                where="trace",
                cause="memories so long that float32 cannot hold them"
                if self.dtype == "float32"
                else "a bug",
                remedy="set trace: dtype: float64" if self.dtype == "float32" else "please report it",
            )
        return self

    def as_json(self) -> dict[str, Any]:
        """Return the certificate as it stands in sidecars and summaries."""
        return {**asdict(self), "tolerance": self.tolerance, "tf32": False, "autocast": False}
