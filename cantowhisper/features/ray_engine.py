"""The same work on a Ray cluster: every node reads and decodes clips, this process writes the files.

Results come back in the order of the plan, so the files are the same, byte for byte, as those of the local engine.
Recordings have to be readable at the same path on all nodes (a shared disk, or the Hub's cache on one).
"""

import pickle
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from cantowhisper.contracts import CantowhisperError


def in_order_on_ray(function: Callable, jobs: Iterable[tuple], *, workers: int | None) -> Iterator:
    """Yield function(*job) for each job, in order, computed by Ray Data.

    Parameters
    ----------
    workers : tasks at a time, each with one CPU; None takes all of the cluster
    """
    try:
        import ray.data
    except ImportError as error:
        raise CantowhisperError("--engine ray needs Ray: pip install 'cantowhisper[ray]'") from error
    with _cluster(ray, workers):
        context = ray.data.DataContext.get_current()
        before = context.execution_options.preserve_order
        context.execution_options.preserve_order = True
        try:
            rows = ray.data.from_items([{"job": pickle.dumps(job)} for job in jobs])
            if not rows.count():
                return
            done = rows.map(_Call(function), compute=ray.data.TaskPoolStrategy(size=workers))
            for row in done.iter_rows():
                yield pickle.loads(row["result"])
        finally:
            context.execution_options.preserve_order = before


class _Call:
    """A job as Ray sees it: bytes in, bytes out, because Arrow would take our objects apart."""

    def __init__(self, function: Callable):
        self.function = function

    def __call__(self, row: dict) -> dict:
        import torch

        torch.set_num_threads(1)  # as in the local workers: the bytes must not depend on the core count
        return {"result": pickle.dumps(self.function(*pickle.loads(row["job"])))}


@contextmanager
def _cluster(ray, workers: int | None):
    """The cluster that this process belongs to or RAY_ADDRESS names; or else one of this machine's cores."""
    started = not ray.is_initialized()
    if started:
        import os

        address = os.environ.get("RAY_ADDRESS")
        ray.init(address=address, log_to_driver=False, **({} if address else {"num_cpus": workers}))
    try:
        yield
    finally:
        if started:
            ray.shutdown()
