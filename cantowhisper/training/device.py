"""What a run takes from the machine that it is on: its precision, and on a CPU the same bits every time."""

import contextlib
from collections.abc import Iterator

import torch

from cantowhisper.contracts import CantowhisperError


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
