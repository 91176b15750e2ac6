"""How long, how fast and on what is a network trained? The section `training` of the configuration.

Public names: `Training`, `DEVICES`, `PRECISIONS`.
"""

from dataclasses import dataclass, field
from typing import Literal

from gatescope.data.draw import Sampling
from gatescope.errors import InputError

DEVICES = ("auto", "cpu", "cuda")
#: What a training step computes in, as Lightning calls it.
PRECISIONS: dict[str, Literal["32-true", "bf16-mixed"]] = {"float32": "32-true", "bfloat16": "bf16-mixed"}
_SMALLEST = {
    "epochs": 1,
    "windows_per_epoch": 1,
    "batch_size": 1,
    "patience": 1,
    "devices": 1,
    "averaged_steps": 0,
    "weight_decay": 0,
    "write_cost": 0,
    "log_count_weight": 0,
}
_ABOVE_ZERO = ("learning_rate", "gradient_clip", "count_weight")


@dataclass(frozen=True)
class Training:
    """Say how to train; see config/README.md for the meaning of each key."""

    epochs: int = 10
    windows_per_epoch: int = 4800
    batch_size: int = 24
    learning_rate: float = 0.01
    weight_decay: float = 1e-3
    write_cost: float = 1.0
    gradient_clip: float = 1.0
    count_weight: float = 0.1
    log_count_weight: float = 0.0
    patience: int = 5
    averaged_steps: int = 0
    sampling: Sampling = field(default_factory=Sampling)
    device: str = "auto"
    devices: int = 1
    precision: str = "float32"

    def __post_init__(self) -> None:
        for name, smallest in _SMALLEST.items():
            if getattr(self, name) < smallest:
                raise InputError(
                    f"{getattr(self, name)}; wanted at least {smallest}", where=f"training: {name}"
                )
        for name in _ABOVE_ZERO:
            if getattr(self, name) <= 0:
                raise InputError(f"{getattr(self, name)}; wanted more than 0", where=f"training: {name}")
        if self.devices > self.batch_size:
            raise InputError(
                f"{self.devices}; wanted at most one per window of a batch ({self.batch_size})",
                where="training: devices",
            )
        for name, choices in {"device": DEVICES, "precision": tuple(PRECISIONS)}.items():
            if getattr(self, name) not in choices:
                raise InputError(
                    f"{getattr(self, name)!r}; wanted one of {', '.join(choices)}", where=f"training: {name}"
                )

    @property
    def batches_per_epoch(self) -> int:
        """Number of optimizer steps in one epoch."""
        return max(1, self.windows_per_epoch // self.batch_size)

    @property
    def planned_batches(self) -> int:
        """Number of optimizer steps if nothing stops the training early."""
        return self.epochs * self.batches_per_epoch
