"""Both programs of the training benchmark take their steps, so that it still runs when somebody wants its figures."""

from types import SimpleNamespace

import pytest

from benchmarks.training import NATURAL, REFERENCE, measure
from benchmarks.training_programs import window_shares

SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in (NATURAL, REFERENCE)]


@pytest.mark.parametrize("kind", [*SLOW, *window_shares()])
def test_a_program_takes_its_steps(kind, monkeypatch):
    monkeypatch.delenv("REAL_WEIGHTS", raising=False)
    run = measure(kind, "tiny", SimpleNamespace(steps=1, batch_size=2, threads=1, device="cpu"))
    assert len(run["seconds"]) == len(run["clips"]) >= 1 and min(run["seconds"]) > 0
