"""Worker processes: order, and results in shared memory."""

import numpy as np
import pyarrow as pa
import pytest

from cantowhisper.features.parallel import JOBS_AHEAD, in_order
from cantowhisper.features.shared import SLOT_BYTES, SharedSlots, into_slot


def numbers(start: int, n_bytes: int) -> dict:
    """A result like a chunk's: Arrow and NumPy buffers, and what has none."""
    array = (np.arange(n_bytes // 8) + start).astype(np.int64)
    table = pa.RecordBatch.from_pydict({"value": pa.array(array[: n_bytes // 16]), "name": ["x"] * (n_bytes // 16)})
    return {"array": array, "table": table, "name": f"job {start}"}


def begin() -> None:
    """Nothing has to be set up in a worker."""


def same(found: dict, wanted: dict) -> bool:
    return (
        np.array_equal(found["array"], wanted["array"])
        and found["table"].equals(wanted["table"])
        and found["name"] == wanted["name"]
    )


def test_results_come_in_order_and_whole_whether_they_fit_into_a_slot_or_not():
    sizes = [16, 1_000, 200_000, 2 * SLOT_BYTES, 64]  # the fourth goes through the pipe
    jobs = [(i, sizes[i % len(sizes)]) for i in range(8 * JOBS_AHEAD)]  # slots are used again
    for found, job in zip(in_order(numbers, jobs, workers=2, start=begin), jobs, strict=True):
        assert same(found, numbers(*job))


def test_a_result_lies_in_its_slot_until_the_slot_is_given_back():
    slots = SharedSlots(2)
    if (first := slots.take()) is None:
        pytest.skip("this system has no files without a name")
    second = slots.take()
    assert first != second and slots.take() is None
    one, two = (slots.read(into_slot(numbers, place, i, 4_000)) for i, place in enumerate((first, second)))
    assert same(one, numbers(0, 4_000)) and same(two, numbers(1, 4_000))
    assert not one["array"].flags.writeable, "what lies there is not the reader's to change"
    slots.give_back(first)
    assert slots.take() == first
    again = slots.read(into_slot(numbers, first, 7, 4_000))
    assert same(again, numbers(7, 4_000)) and same(two, numbers(1, 4_000))
    slots.close()
    assert same(two, numbers(1, 4_000)), "closing takes nothing away from who still looks"


def test_where_no_memory_can_be_shared_results_go_through_the_pipe():
    assert same(into_slot(numbers, ("/proc/0/fd/0", 0), 3, 800), numbers(3, 800))
    assert same(into_slot(numbers, None, 3, 800), numbers(3, 800))


def test_an_error_in_a_worker_is_raised_where_the_result_was_asked_for():
    with pytest.raises(ZeroDivisionError):
        list(in_order(divmod, [(1, 1), (1, 0)], workers=2, start=begin))
