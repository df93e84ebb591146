"""One model, one worker, and a fair queue before it.

All recognition of a page happens in one thread: two recordings at a time would share the same cores and twice the
memory, and both would come later. Visitors take turns: who was served least lately is next, so that somebody with ten
recordings does not stand before somebody with one. Work whose visitor has gone is dropped, waiting or running.

Whoever waits does so in the server's event loop and takes no thread.
"""

import asyncio
import contextvars
import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field

from cantowhisper.serving.web.refusal import Closing

POLL_S = 0.5  # how often somebody who waits is told where they stand
GONE_AFTER_S = 30.0  # nobody has looked at the work for this long: the visitor has gone
_REMEMBERED = 10_000  # visitors whose last turns are known


@dataclass(frozen=True)
class Waiting:
    """`place` 1 is next, 0 is being worked on; `wait_s` is an estimate from the work done lately, None before any."""

    place: int
    wait_s: float | None


@dataclass(eq=False)
class _Job:
    """Work that somebody waits for, in the event loop that they wait in."""

    visitor: str
    work: Callable[[Callable[[], bool]], Iterator]
    asked_to_stop: Callable[[], bool]
    loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    results: asyncio.Queue = field(default_factory=asyncio.Queue)
    looked_at: float = field(default_factory=time.monotonic)
    dropped: bool = False
    # Whose request it is: ZeroGPU asks for that wherever the work is done.
    context: contextvars.Context = field(default_factory=contextvars.copy_context)

    def should_stop(self) -> bool:
        return self.dropped or self.asked_to_stop() or time.monotonic() - self.looked_at > GONE_AFTER_S

    def put(self, result) -> None:
        """Hand a result over, from any thread."""
        try:
            self.loop.call_soon_threadsafe(self.results.put_nowait, result)
        except RuntimeError:  # the loop is closed: nobody waits any more
            self.dropped = True


class _End:
    """Marks the end of a job's results; carries what went wrong, if something did."""

    def __init__(self, error: BaseException | None = None):
        self.error = error


class Worker:
    """Runs iterators one after the other in a thread of its own. Safe to use from many threads and event loops."""

    def __init__(self):
        self._jobs: list[_Job] = []
        self._turns: OrderedDict[str, int] = OrderedDict()  # visitor → number of the turn they last had
        self._turn = 0
        self._running: _Job | None = None
        self._running_since: float | None = None
        self._lately: deque[float] = deque(maxlen=10)  # seconds that the last jobs took
        self.work_s = 0.0  # spent on all jobs
        self._changed = threading.Condition()
        self._closing = False
        self.thread: threading.Thread | None = None

    async def run(
        self,
        visitor: str,
        work: Callable[[Callable[[], bool]], Iterator],
        *,
        asked_to_stop: Callable[[], bool] = lambda: False,
    ) -> AsyncIterator:
        """Queue up, and yield Waiting while others are before, then what `work(should_stop)` yields.

        Something is yielded every half second, Waiting(0, None) if there is nothing new, so that a caller can look
        whether its visitor is still there.

        Whoever stops iterating leaves the queue, or ends the work at its next look at `should_stop`.

        Raises
        ------
        Closing : `close` was called
        whatever `work` raises
        """
        job = self._enter(_Job(visitor, work, asked_to_stop))
        try:
            async for event in self._watch(job):
                yield event
        finally:
            job.dropped = True
            with self._changed:
                if job in self._jobs:
                    self._jobs.remove(job)

    @property
    def n_waiting(self) -> int:
        return len(self._jobs)

    @property
    def running_s(self) -> float:
        """How long the work in hand has taken by now; 0 when there is none."""
        since = self._running_since
        return time.monotonic() - since if since else 0.0

    def close(self, *, timeout_s: float = 5.0) -> None:
        """End all work: who waits for it is told so. Waits for the thread, at most for `timeout_s`."""
        with self._changed:
            self._closing = True
            for job in [*self._jobs, *([self._running] if self._running else [])]:
                job.put(_End(Closing()))
                job.dropped = True
            self._jobs.clear()
            self._changed.notify_all()
        if self.thread:
            self.thread.join(timeout_s)

    def _enter(self, job: _Job) -> _Job:
        with self._changed:
            if self._closing:
                raise Closing
            self._jobs.append(job)
            if self.thread is None:
                self.thread = threading.Thread(target=self._serve, name="recognition", daemon=True)
                self.thread.start()
            self._changed.notify()
        return job

    async def _watch(self, job: _Job) -> AsyncIterator:
        patience_s = 0.05  # the first place is told at once
        while True:
            job.looked_at = time.monotonic()
            try:
                async with asyncio.timeout(patience_s):
                    result = await job.results.get()
            except TimeoutError:
                patience_s = POLL_S
                waiting = self._standing(job)
                yield waiting
                if waiting.place and job.asked_to_stop():
                    return
                continue
            if isinstance(result, _End):
                if result.error is not None:
                    raise result.error
                return
            yield result

    def _standing(self, job: _Job) -> Waiting:
        with self._changed:
            if job not in self._jobs:
                return Waiting(0, None)
            place = self._order().index(job) + 1
            if not self._lately:
                return Waiting(place, None)
            mean_s = sum(self._lately) / len(self._lately)
            spent_s = time.monotonic() - self._running_since if self._running_since else mean_s
            return Waiting(place, max(mean_s - spent_s, 1.0) + mean_s * (place - 1))

    def _order(self) -> list[_Job]:
        """Waiting jobs as they will be served, if nobody else comes."""
        left, order, turns, turn = list(self._jobs), [], dict(self._turns), self._turn
        while left:
            job = min(left, key=lambda one: turns.get(one.visitor, 0))  # of equals, the first that came
            left.remove(job)
            order.append(job)
            turn += 1
            turns[job.visitor] = turn
        return order

    def _serve(self) -> None:
        while job := self._next():
            self._do(job)
            with self._changed:
                self._lately.append(time.monotonic() - self._running_since)
                self.work_s += self._lately[-1]
                self._running = self._running_since = None

    def _next(self) -> _Job | None:
        """Wait for a job and take it; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closing)
            if self._closing:
                return None
            job = self._order()[0]
            self._jobs.remove(job)
            self._turn += 1
            self._turns[job.visitor] = self._turn
            self._turns.move_to_end(job.visitor)
            while len(self._turns) > _REMEMBERED:
                self._turns.popitem(last=False)
            self._running, self._running_since = job, time.monotonic()
            return job

    def _do(self, job: _Job) -> None:
        end = _End()
        try:
            if not job.should_stop():
                job.context.run(self._put_results, job)
        except BaseException as error:  # belongs to whoever waits for the result; the worker goes on
            end = _End(error)
        job.put(end)

    @staticmethod
    def _put_results(job: _Job) -> None:
        for result in job.work(job.should_stop):
            if job.dropped:
                break
            job.put(result)
