"""Can these gates be trusted? The replay certificate that every exported artefact carries.

Public names: `Certificate`, `ReplayError`, `TOLERANCE`.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from gatescope.errors import InputError

#: Largest |h replayed - h of the kernel| allowed, teacher-forced (science: 5e-6 in float32, 1e-12 in float64).
TOLERANCE = {"float32": 5e-6, "float64": 1e-12}


class ReplayError(InputError):
    """The replayed hidden states are not the network's: nothing may be written."""


@dataclass(frozen=True)
class Certificate:
    """State how well a replay reproduces the network.

    Parameters
    ----------
    max_error : float
        Largest |h replayed - h of the model| over all positions and units.
    positions : int
        Bases compared, all units of both directions at each.
    dtype, device : str
        Arithmetic of the replay; autocast and TF32 are off.
    """

    max_error: float
    positions: int
    dtype: str
    device: str

    @classmethod
    def of(cls, tensor: Tensor, max_error: float, positions: int) -> "Certificate":
        """Return the certificate of a replay that computed in the dtype and on the device of `tensor`."""
        return cls(max_error, positions, str(tensor.dtype).removeprefix("torch."), tensor.device.type)

    @property
    def tolerance(self) -> float:
        """Largest error allowed for this dtype."""
        return TOLERANCE[self.dtype]

    def checked(self) -> "Certificate":
        """Return self, or fail closed.

        Raises
        ------
        ReplayError
            If the error is above the tolerance, or not a number.
        """
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
