"""Memory that a step on a CPU leaves to the next one."""

import ctypes
import resource
import sys

import pytest
import torch

from cantowhisper.training.run.device import memory_is_kept

MEGABYTES = 64  # beyond 32 MB glibc maps each allocation afresh
pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or torch.cuda.is_available() or not hasattr(ctypes.CDLL(None), "mallopt"),
    reason="only glibc is asked to keep memory, and only where there is no GPU",
)


def pages_cleared_for(times: int) -> int:
    """Page faults of this process while it fills and forgets a tensor so many times."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(MEGABYTES * 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident_megabytes() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def test_tensors_lie_where_others_lay_and_the_memory_goes_back_at_the_end():
    pages = MEGABYTES * 2**20 // resource.getpagesize()
    with memory_is_kept():
        pages_cleared_for(16)  # scraps of aligned memory keep the first few apart (glibc before 2.38)
        assert pages_cleared_for(8) < pages, "eight tensors cost less than one does"
        kept = resident_megabytes()
    assert resident_megabytes() < kept - MEGABYTES / 2
