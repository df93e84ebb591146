"""Run a function over many jobs in several processes and hand the results back in the jobs' order."""

import multiprocessing
import os
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from itertools import islice

from cantowhisper.contracts import CantowhisperError
from cantowhisper.features.shared import SharedSlots, into_slot

JOBS_AHEAD = 3  # for each worker: enough that none waits for the parent, few enough that memory stays flat
# Imported once by the server process that workers are forked from, instead of by each worker (seconds each; Arrow looks
# at pandas with its first array).
PRELOAD = ["torch", "pandas", "transformers.models.whisper.feature_extraction_whisper", "cantowhisper.features.clip"]


def cpu_cores() -> int:
    """Cores that this process may use (a container often grants fewer than the machine has)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(function: Callable, jobs: Iterable[tuple], *, workers: int, start: Callable[[], None]) -> Iterator:
    """Yield function(*job) for each job, in order.

    A bounded number of jobs is under way at any time. One worker means this process itself, with PyTorch held to
    one thread as in the worker processes. Stopping early (Ctrl-C, an error, closing the iterator) drops what has
    not begun, waits for what has, and ends all processes. Buffers of a result (Arrow's, NumPy's) are valid until the
    next one is asked for.
    """
    if workers == 1:
        with _one_torch_thread():
            for job in jobs:
                yield function(*job)
        return
    jobs, ahead = iter(jobs), workers * JOBS_AHEAD
    with closing(SharedSlots(ahead)) as slots, _pool(workers, start) as pool:
        under_way: deque = deque()
        try:
            while True:
                for job in islice(jobs, ahead - len(under_way)):
                    place = slots.take()
                    with _main_module_hidden():  # to submit may start a process
                        under_way.append((place, pool.submit(into_slot, function, place, *job)))
                if not under_way:
                    return
                place, result = under_way.popleft()
                yield slots.read(result.result())
                slots.give_back(place)
        except BrokenProcessPool as error:
            raise CantowhisperError(
                "a worker process died, most likely for want of memory; try again with --workers 1"
            ) from error


@contextmanager
def _pool(workers: int, start: Callable[[], None]) -> Iterator[ProcessPoolExecutor]:
    # Never plain fork: PyTorch's threads do not survive it, and a notebook has many.
    method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(method)
    if method == "forkserver":
        context.set_forkserver_preload(PRELOAD)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=start)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _main_module_hidden():
    """A new process imports the main script again; one that calls us at its top level would start over in each."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _one_torch_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
