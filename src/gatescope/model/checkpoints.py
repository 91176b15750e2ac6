"""What rests between the epochs of a training? Two checkpoints, written whole, and taken up only if they are whole.

`last` holds the state after the newest epoch, `best` that after the epoch with the lowest validation loss. Each is
complete, so a training can go on from either: what lies between is computed again, and comes out the same.

Public names: `BEST`, `LAST`, `WholeFiles`, `Start`, `find_start`, `recorded_rows`, `network_weights`.
"""

import logging
import os
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import Tensor

from gatescope.files import replacing_file

log = logging.getLogger(__name__)

BEST, LAST = "best.ckpt", "last.ckpt"
_DAMAGED = ".damaged"
#: What a file that is no checkpoint, or half of one, raises on reading.
_UNREADABLE = (
    OSError,
    zipfile.BadZipFile,
    RuntimeError,
    EOFError,
    KeyError,
    ValueError,
    pickle.UnpicklingError,
)


class WholeFiles(TorchCheckpointIO):
    """Write checkpoints beside their place and rename them.

    Lightning itself writes to the system's folder for temporary files and moves: from another file system that is a
    copy, and a kill leaves half a checkpoint under the right name.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write one checkpoint; when the name is there, so is the content, even if the machine goes down."""
        with replacing_file(path) as partial, partial.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())


class Start(NamedTuple):
    """Where a training begins."""

    checkpoint: Path | None  # None: from the untrained network
    epochs: int  # that lie behind it


def find_start(folder: Path, record: str) -> Start:
    """Return where to go on; put damaged checkpoints aside, with a message, and go on from what is whole.

    Parameters
    ----------
    folder : Path
        Of the checkpoints of one training.
    record : str
        Name under which checkpoints keep the `TrainingRecord`.
    """
    last, best = (_whole_rows(folder / name, record) for name in (LAST, BEST))
    if last is not None and best is None and _is_last_best(last):
        _copy(folder / LAST, folder / BEST)
    elif last is not None and best is None:
        log.warning("%s: the weights of the best epoch are lost: the training begins anew", folder)
        (folder / LAST).unlink()
        return Start(None, 0)
    if best is not None and len(best) > len(last or ()):  # killed between the two, or `last` is lost
        _copy(folder / BEST, folder / LAST)
        last = best
    return Start(None, 0) if last is None else Start(folder / LAST, len(last))


def _whole_rows(path: Path, record: str) -> list[dict[str, float]] | None:
    """Return the rows of the record in a checkpoint; None if it is not there or not whole, and is then put aside."""
    if not path.exists():
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch does not look at the checksums
        if damaged is None:
            return recorded_rows(path, record)
        reason = f"wrong checksum of {damaged}"
    except _UNREADABLE as error:
        reason = " ".join(str(error).split())[:200]
    aside = path.with_name(path.name + _DAMAGED)
    path.replace(aside)
    log.warning(
        "%s: damaged checkpoint (%s), put aside as %s; going on from what is whole", path, reason, aside.name
    )
    return None


def _copy(source: Path, target: Path) -> None:
    """Copy one checkpoint over the other; both hold a whole state."""
    with replacing_file(target) as partial:
        shutil.copyfile(source, partial)


def _is_last_best(rows: list[dict[str, float]]) -> bool:
    return min(rows, key=lambda row: row["valid_loss"]) is rows[-1]


def recorded_rows(checkpoint: Path, record: str) -> list[dict[str, float]]:
    """Return the rows of the `TrainingRecord` in a checkpoint, one per epoch."""
    return torch.load(checkpoint, map_location="cpu", weights_only=True)["callbacks"][record]["rows"]


def network_weights(checkpoint: Path) -> dict[str, Tensor]:
    """Return the weights of the network in a checkpoint, by its own names for them."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    return {name.removeprefix("network."): tensor for name, tensor in state.items()}
