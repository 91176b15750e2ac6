"""How does torch run here? Threads, allocator, precision, device, set in one place.

Public names: `prepare_torch`, `has_bfloat16`, `exact_arithmetic`.
"""

import ctypes
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from gatescope.errors import InputError
from gatescope.model.directions import use_cores

log = logging.getLogger(__name__)

# malloc.h of glibc
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8

#: What processors call it: x86 (AVX-512, AMX), ARM.
_FAST_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")


def prepare_torch(threads: int, device: str = "auto", *, directions: bool = False) -> torch.device:
    """Set threads, memory allocation and reproducible kernels; return the device and say which it is.

    Parameters
    ----------
    threads : int
        CPU threads of torch. More than the free cores makes an LSTM 20 to 50 times slower.
    directions : bool
        The threads are for the two directions of a recurrent layer, as `gatescope.model.directions` runs it; torch
        itself has one. What is computed does not depend on the number of threads then, and cores that are shared
        cost their share and no more.
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
    torch.set_num_threads(1 if directions else threads)
    use_cores(threads if directions else 1)
    _keep_freed_memory()
    chosen = torch.device("cuda" if has_gpu and device != "cpu" else "cpu")
    # all that runs here is deterministic on a CPU, where this call would only import for a second
    if chosen.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
    name = torch.cuda.get_device_name() if chosen.type == "cuda" else f"CPU, {threads} thread(s)"
    log.info("torch %s on %s", torch.__version__, name)
    return chosen


def has_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 faster than float32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in _FAST_BFLOAT16)


def _keep_freed_memory() -> None:
    """Tell glibc to keep freed tensors: page faults cost an LSTM step more than its arithmetic.

    The same as starting with MALLOC_MMAP_MAX_=0, MALLOC_TRIM_THRESHOLD_ at its largest, and MALLOC_ARENA_MAX=1: a
    second thread would have an arena of its own, to which the other two do not apply.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):  # not glibc (musl): slower, nothing else
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(_M_ARENA_MAX, 1)


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
