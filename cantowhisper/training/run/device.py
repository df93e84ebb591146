"""What a run takes from the machine that it is on: its precision; on a CPU, memory that stays and the same bits."""

import contextlib
import ctypes
import sys
from collections.abc import Iterator

import torch

from cantowhisper.contracts import CantowhisperError
from cantowhisper.training.run.machine import processor_name


def pick_precision(wanted: str = "auto") -> tuple[str, str]:
    """(precision, reason): "bf16", "fp16" or "fp32" for this machine."""
    if wanted != "auto":
        if wanted not in ("fp32", "fp16", "bf16"):
            raise CantowhisperError(f"precision is auto, fp32, fp16 or bf16, not {wanted!r}")
        return wanted, "as asked for"
    if not torch.cuda.is_available():
        if getattr(torch.cpu, "get_capabilities", dict)().get("avx512_bf16"):  # older versions of torch cannot say
            return "bf16", "no GPU, and this processor multiplies bf16 faster than fp32"
        return "fp32", "no GPU"
    name = torch.cuda.get_device_name()
    if torch.cuda.get_device_capability() >= (8, 0):
        return "bf16", f"{name} computes bf16, which needs no loss scaling"
    return "fp16", f"{name} has no bf16"


@contextlib.contextmanager
def reproducible() -> Iterator[None]:
    """On a CPU, the same run gives the same weights bit for bit, at no cost in speed.

    Without it, threads add up the gradients of embeddings in whatever order they come. On a GPU it would cost speed
    and refuse some operations, so it stays off there.
    """
    before, filled = torch.are_deterministic_algorithms_enabled(), torch.utils.deterministic.fill_uninitialized_memory
    if not torch.cuda.is_available():
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False  # nothing reads memory that nothing wrote
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        torch.utils.deterministic.fill_uninitialized_memory = filled


# glibc's mallopt: how much free memory may pile up before it goes back to the system (-1: without limit), and from
# which size on how many allocations may be mappings of their own, which go back at once.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
USUAL = {M_TRIM_THRESHOLD: 64 * 2**20, M_MMAP_THRESHOLD: 32 * 2**20, M_MMAP_MAX: 65536}  # where it comes by itself


@contextlib.contextmanager
def memory_is_kept() -> Iterator[None]:
    """On a CPU, tensors of one step lie where those of the step before lay.

    By default every tensor beyond 32 MB (an activation of whisper-base in a 30 s window) is mapped afresh, and each of
    its pages is cleared by the kernel before it is written: a tenth of a step. Afterwards the memory goes back. Where
    there is no glibc, nothing changes.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" and not torch.cuda.is_available() else None
    if not hasattr(libc, "mallopt"):
        yield
        return
    libc.mallopt(M_TRIM_THRESHOLD, -1)
    libc.mallopt(M_MMAP_MAX, 0)
    try:
        yield
    finally:
        for parameter, value in USUAL.items():
            libc.mallopt(parameter, value)
        libc.malloc_trim(0)


def device_name() -> str:
    """What computes, without whose machine it is: "NVIDIA H100 80GB HBM3", "Intel(R) Xeon(R) CPU @ 2.20GHz"."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else processor_name()
