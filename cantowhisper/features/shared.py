"""Results of worker processes in memory that the parent sees too, instead of through a pipe.

A chunk of clips is two megabytes. Through a pipe they are copied eight times, into fresh memory each time, and that is
some 8 % of what two workers do; here they are copied once, into memory that is used again.
"""

import mmap
import os
import pickle
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

SLOT_BYTES = 4 * 2**20  # 32 clips of 8 s; what does not fit goes through the pipe
ALIGNED = 64  # bytes: Arrow's own buffers begin at multiples of it


class Aside(NamedTuple):
    """A result whose buffers lie in a slot."""

    small: bytes  # all of it but the buffers, pickled
    spans: list[tuple[int, int]]  # from and to, bytes of the shared memory


class SharedSlots:
    """Memory in `n` slots, each for one result at a time.

    On Linux it is a file without a name, which is gone with the processes that use it, however they end. Elsewhere
    there are no slots, and all results go through the pipe.
    """

    def __init__(self, n: int):
        self._free = []
        self._memory = None
        if hasattr(os, "memfd_create"):
            self._file = os.memfd_create("cantowhisper")
            os.ftruncate(self._file, n * SLOT_BYTES)  # pages are taken when they are first written
            self._memory = mmap.mmap(self._file, n * SLOT_BYTES)
            self._free = list(range(n))

    def take(self) -> tuple[str, int] | None:
        """Where a worker may put its next result: a path and a slot. None where there are no slots."""
        return (f"/proc/{os.getpid()}/fd/{self._file}", self._free.pop()) if self._free else None

    def give_back(self, place: tuple[str, int] | None) -> None:
        if place:
            self._free.append(place[1])

    def read(self, result):
        """What the worker's function returned. Its buffers are valid until the slot is given back."""
        if not isinstance(result, Aside):
            return result
        whole = memoryview(self._memory).toreadonly()
        return pickle.loads(result.small, buffers=[whole[begin:end] for begin, end in result.spans])

    def close(self) -> None:
        if self._memory is not None:
            os.close(self._file)  # the mapping goes with the last result that looks at it


def into_slot(function: Callable, place: tuple[str, int] | None, *job):
    """function(*job) in a worker, with the buffers of what it returns in a slot if they fit."""
    result = function(*job)
    buffers: list[pickle.PickleBuffer] = []
    small = pickle.dumps(result, protocol=5, buffer_callback=buffers.append)
    found = [buffer.raw() for buffer in buffers]
    if place is None or sum(one.nbytes + ALIGNED for one in found) > SLOT_BYTES:
        return result
    try:
        memory = _mapped(place[0])
    except OSError:  # /proc is hidden from us
        return result
    spans, begin = [], place[1] * SLOT_BYTES
    for one in found:
        memory[begin : begin + one.nbytes] = one
        spans.append((begin, begin + one.nbytes))
        begin += -(-one.nbytes // ALIGNED) * ALIGNED
    return Aside(small, spans)


@cache
def _mapped(path: str) -> mmap.mmap:
    file = os.open(path, os.O_RDWR)
    try:
        return mmap.mmap(file, 0)
    finally:
        os.close(file)
