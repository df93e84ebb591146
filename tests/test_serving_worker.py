"""The queue before the model: turns, places, bounds, and work that nobody wants any more."""

import asyncio
import contextvars
import threading
import time

import pytest
from steps import in_steps

from cantowhisper.serving.offline import queue as worker_module
from cantowhisper.serving.offline.queue import Waiting, Worker
from cantowhisper.serving.web.refusal import Closing


class Gate:
    """Work that waits to be let through; `done` is the order in which the works ended."""

    def __init__(self):
        self.open, self.started, self.done = threading.Event(), threading.Event(), []

    def work(self, name):
        def steps(should_stop):
            self.started.set()
            while not self.open.wait(0.01):
                if should_stop():
                    self.done.append(f"{name} stopped")
                    return
            self.done.append(name)
            yield name

        return steps


def until(condition, seconds=20.0):
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.01)


def first_result(steps):
    return next(step for step in steps if not isinstance(step, Waiting))


def until_waiting(worker, n_jobs):
    until(lambda: len(worker._jobs) == n_jobs)


def start(worker, gate, visitor, name, seen=None):
    """Run one work in a thread; `seen` gets what is yielded."""
    seen = [] if seen is None else seen
    n_before = len(worker._jobs)
    thread = threading.Thread(target=lambda: seen.extend(in_steps(worker.run(visitor, gate.work(name)))), daemon=True)
    thread.start()
    until(lambda: len(worker._jobs) > n_before or (gate.started.is_set() and not n_before))
    return thread


def test_visitors_take_turns_and_are_told_their_place():
    worker, gate, seen = Worker(), Gate(), []
    threads = [start(worker, gate, "first", "running")]
    until(gate.started.is_set)
    for visitor, name in [("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("first", "again"), ("c", "c1")]:
        threads.append(start(worker, gate, visitor, name, seen if name == "c1" else None))
        until_waiting(worker, len(threads) - 1)
    until(lambda: seen)
    gate.open.set()
    for thread in threads:
        thread.join(20)
    # Who was served already comes after those who were not; of one visitor's works the second waits for all others.
    assert gate.done == ["running", "a1", "b1", "c1", "again", "a2", "a3"]
    assert seen[0] == Waiting(3, None) and seen[-1] == "c1"


def test_twenty_visitors_are_served_in_the_order_in_which_they_came():
    worker, gate = Worker(), Gate()
    threads = [start(worker, gate, "0", "0")]
    until(gate.started.is_set)
    for i in range(1, 20):
        threads.append(start(worker, gate, str(i), str(i)))
        until_waiting(worker, i)
    gate.open.set()
    for thread in threads:
        thread.join(20)
    assert gate.done == [str(i) for i in range(20)]


def test_who_leaves_is_dropped_waiting_or_running():
    worker, gate = Worker(), Gate()
    running = in_steps(worker.run("a", gate.work("running")))
    threading.Thread(target=lambda: next(running, None), daemon=True).start()
    until(gate.started.is_set)
    waiting = in_steps(worker.run("b", gate.work("waiting")))
    assert next(waiting).place == 1
    waiting.close()
    assert worker._jobs == []
    stopped = in_steps(worker.run("c", gate.work("c"), asked_to_stop=lambda: True))
    assert [w.place for w in stopped] == [1], "who presses Stop while waiting leaves the queue"
    gate.open.set()
    until(lambda: gate.done)
    assert gate.done == ["running"]


def test_work_that_nobody_looks_at_ends(monkeypatch):
    """A connection that went away without a word: its iterator is neither closed nor asked again."""
    monkeypatch.setattr(worker_module, "GONE_AFTER_S", 0.1)
    worker, gate = Worker(), Gate()

    def work(should_stop):
        yield "first"
        yield from gate.work("lost")(should_stop)

    forgotten = in_steps(worker.run("a", work))
    assert first_result(forgotten) == "first"
    until(lambda: gate.done)
    assert gate.done == ["lost stopped"]


def test_work_is_done_in_the_context_of_its_request():
    """What Gradio knows of a request, and ZeroGPU asks for, is a context variable."""
    account, worker = contextvars.ContextVar("account", default="nobody"), Worker()

    def ask(name: str) -> list:
        account.set(name)
        events = in_steps(worker.run(name, lambda should_stop: iter([account.get()])))
        return [event for event in events if not isinstance(event, Waiting)]

    assert [contextvars.copy_context().run(ask, name) for name in ("ann", "bo")] == [["ann"], ["bo"]]


def test_an_error_belongs_to_the_one_whose_work_it_was():
    worker = Worker()

    def broken(should_stop):
        yield 1
        raise ValueError("mine")

    results = in_steps(worker.run("a", broken))
    assert first_result(results) == 1
    with pytest.raises(ValueError, match="mine"):
        first_result(results)
    others = in_steps(worker.run("b", lambda should_stop: iter([2, 3])))
    assert [r for r in others if not isinstance(r, Waiting)] == [2, 3]


def test_who_waits_is_told_when_the_page_is_stopped_and_the_work_in_hand_ends():
    worker, gate, said = Worker(), Gate(), []

    def ask(visitor):
        with pytest.raises(Closing):
            list(in_steps(worker.run(visitor, gate.work(visitor))))
        said.append(visitor)

    threads = [threading.Thread(target=ask, args=(visitor,), daemon=True) for visitor in "abc"]
    for thread in threads:
        thread.start()
    until(lambda: worker.n_waiting == 2 and gate.started.is_set())
    worker.close()
    for thread in threads:
        thread.join(20)
    assert sorted(said) == ["a", "b", "c"] and len(gate.done) == 1 and not worker.thread.is_alive()
    with pytest.raises(Closing):
        next(in_steps(worker.run("d", gate.work("d"))))


def test_waiting_takes_no_thread():
    worker, gate = Worker(), Gate()

    async def ask(visitor):
        return [event async for event in worker.run(visitor, gate.work(visitor)) if not isinstance(event, Waiting)]

    async def all_of_them():
        asked = [asyncio.create_task(ask(str(n))) for n in range(100)]
        await asyncio.sleep(0.2)
        n_threads = threading.active_count()
        gate.open.set()
        return n_threads, [await one for one in asked]

    before = threading.active_count()
    n_threads, answers = asyncio.run(all_of_them())
    assert n_threads <= before + 1 and answers == [[str(n)] for n in range(100)]
