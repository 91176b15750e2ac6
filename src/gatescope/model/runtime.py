"""How does torch run here? Threads, allocator, precision, device, set in one place.

Public names: `prepare_torch`, `exact_arithmetic`.
"""

import ctypes
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from gatescope.errors import InputError

log = logging.getLogger(__name__)

# malloc.h of glibc
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def prepare_torch(threads: int, device: str = "auto") -> torch.device:
    """Set threads, memory allocation and reproducible kernels; return the device and say which it is.

    Parameters
    ----------
    threads : int
        CPU threads of torch. More than the free cores makes an LSTM 20 to 50 times slower.
    device : {"auto", "cpu", "cuda"}
        "auto" takes a GPU where there is one.

    Raises
    ------
    InputError
        If "cuda" is asked for and torch sees none.
    """
    has_gpu = torch.cuda.is_available()
    if device == "cuda" and not has_gpu:
        raise InputError(
            "torch sees no GPU",
            where="training: device: cuda",
            cause="the CPU build of torch is installed, or the job got no GPU",
            remedy="use device: auto, or request a GPU in the profile (set-resources: train: gpu: 1)",
        )
    torch.set_num_threads(threads)
    _keep_freed_memory()
    chosen = torch.device("cuda" if has_gpu and device != "cpu" else "cpu")
    # all that runs here is deterministic on a CPU, where this call would only import for a second
    if chosen.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
    name = torch.cuda.get_device_name() if chosen.type == "cuda" else f"CPU, {threads} thread(s)"
    log.info("torch %s on %s", torch.__version__, name)
    return chosen


def _keep_freed_memory() -> None:
    """Tell glibc to keep freed tensors: page faults cost an LSTM step more than its arithmetic.

    The same as starting with MALLOC_MMAP_MAX_=0 and MALLOC_TRIM_THRESHOLD_ at its largest.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):  # not glibc (musl): slower, nothing else
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Switch autocast and TF32 off: a gate of 10 mantissa bits has no half-life beyond a few hundred bp."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False), torch.no_grad():
            yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before
