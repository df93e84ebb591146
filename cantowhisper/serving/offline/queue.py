"""One model, one worker, and a fair queue before it.

All recognition of a page happens in one thread: two recordings at a time would share the same cores and twice the
memory, and both would come later. Visitors take turns: who was served least lately is next, so that somebody with ten
recordings does not stand before somebody with one. Work whose visitor has gone is dropped, waiting or running.
"""

import contextvars
import queue
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cantowhisper.serving.offline.limits import LimitError, Limits

POLL_S = 0.5  # how often somebody who waits is told where they stand
GONE_AFTER_S = 30.0  # nobody has looked at the work for this long: the visitor has gone
_REMEMBERED = 10_000  # visitors whose last turns are known


@dataclass(frozen=True)
class Waiting:
    """`place` 1 is next, 0 is being worked on; `wait_s` is an estimate from the work done lately, None before any."""

    place: int
    wait_s: float | None


@dataclass
class _Job:
    visitor: str
    work: Callable[[Callable[[], bool]], Iterator]
    asked_to_stop: Callable[[], bool]
    results: queue.SimpleQueue = field(default_factory=queue.SimpleQueue)
    looked_at: float = field(default_factory=time.monotonic)
    dropped: bool = False
    # Whose request it is: ZeroGPU asks for that wherever the work is done.
    context: contextvars.Context = field(default_factory=contextvars.copy_context)

    def should_stop(self) -> bool:
        return self.dropped or self.asked_to_stop() or time.monotonic() - self.looked_at > GONE_AFTER_S


class _End:
    """Marks the end of a job's results; carries what went wrong, if something did."""

    def __init__(self, error: BaseException | None = None):
        self.error = error


class Worker:
    """Runs iterators one after the other in a thread of its own. Safe to use from many threads."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self._jobs: list[_Job] = []
        self._turns: OrderedDict[str, int] = OrderedDict()  # visitor → number of the turn they last had
        self._turn = 0
        self._running_since: float | None = None
        self._lately: deque[float] = deque(maxlen=10)  # seconds that the last jobs took
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def run(
        self,
        visitor: str,
        work: Callable[[Callable[[], bool]], Iterator],
        *,
        asked_to_stop: Callable[[], bool] = lambda: False,
    ) -> Iterator:
        """Queue up, and yield Waiting while others are before, then what `work(should_stop)` yields.

        Something is yielded every half second, Waiting(0, None) if there is nothing new, so that a caller can look
        whether its visitor is still there.

        Whoever stops iterating leaves the queue, or ends the work at its next look at `should_stop`.

        Raises
        ------
        LimitError : the queue is full, or too many of the waiting jobs are this visitor's
        whatever `work` raises
        """
        job = self._enter(_Job(visitor, work, asked_to_stop))
        try:
            yield from self._watch(job)
        finally:
            job.dropped = True
            with self._changed:
                if job in self._jobs:
                    self._jobs.remove(job)

    def _enter(self, job: _Job) -> _Job:
        with self._changed:
            mine = sum(other.visitor == job.visitor for other in self._jobs)
            if mine >= self.limits.max_waiting_per_visitor:
                raise LimitError(
                    f"你已經有 {mine} 個請求喺度排隊，等佢哋做完先。 "
                    f"{mine} of your requests are waiting already; let them finish first."
                )
            if len(self._jobs) >= self.limits.max_queue:
                raise LimitError("而家太多人，請遲啲再試。 Too many people are waiting; please try again later.")
            self._jobs.append(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="recognition", daemon=True)
                self._thread.start()
            self._changed.notify()
        return job

    def _watch(self, job: _Job) -> Iterator:
        patience_s = 0.05  # the first place is told at once
        while True:
            job.looked_at = time.monotonic()
            try:
                result = job.results.get(timeout=patience_s)
            except queue.Empty:
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
        while True:
            with self._changed:
                while not self._jobs:
                    self._running_since = None
                    self._changed.wait()
                job = self._order()[0]
                self._jobs.remove(job)
                self._turn += 1
                self._turns[job.visitor] = self._turn
                self._turns.move_to_end(job.visitor)
                while len(self._turns) > _REMEMBERED:
                    self._turns.popitem(last=False)
                self._running_since = time.monotonic()
            self._do(job)
            self._lately.append(time.monotonic() - self._running_since)

    def _do(self, job: _Job) -> None:
        end = _End()
        try:
            if not job.should_stop():
                job.context.run(self._put_results, job)
        except BaseException as error:  # belongs to whoever waits for the result; the worker goes on
            end = _End(error)
        job.results.put(end)

    @staticmethod
    def _put_results(job: _Job) -> None:
        for result in job.work(job.should_stop):
            job.results.put(result)
            if job.dropped:
                break


class Visitors:
    """How often each visitor came in the last hour. Safe between threads; forgets the oldest over a bound."""

    def __init__(self, limits: Limits):
        self._at_most, self._lock = limits.max_requests_per_hour, threading.Lock()
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def admit(self, visitor: str) -> None:
        """Count a request.

        Raises
        ------
        LimitError : too many in an hour
        """
        now = time.monotonic()
        with self._lock:
            times = self._times.setdefault(visitor, deque(maxlen=self._at_most))
            self._times.move_to_end(visitor)
            while times and now - times[0] > 3600:
                times.popleft()
            if len(times) >= self._at_most:
                minutes = max(1, round((3600 - (now - times[0])) / 60))
                raise LimitError(
                    f"每個鐘最多 {self._at_most} 次，{minutes} 分鐘後再試。 "
                    f"{self._at_most} requests an hour are allowed; come back in {minutes} min."
                )
            times.append(now)
            while len(self._times) > _REMEMBERED:
                self._times.popitem(last=False)
