"""One time limit for all of a request; without a model and without a browser."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from steps import in_steps

from cantowhisper.contracts import Segment
from cantowhisper.serving.offline import service, transcription
from cantowhisper.serving.offline.limits import Limits
from cantowhisper.serving.offline.service import Choices, Service
from cantowhisper.speech.mel import SAMPLE_RATE

SEGMENT_S, N_SEGMENTS = 10, 3  # of work, and in each recording


class Slow:
    """A recognizer that takes ten seconds for each of three segments, by the clock that it is given."""

    def __init__(self, clock: SimpleNamespace):
        self.clock = clock

    def stream(self, waveform, *, should_stop, **options):
        for n in range(N_SEGMENTS):
            if should_stop():
                return
            self.clock.now_s += SEGMENT_S
            yield Segment(n / N_SEGMENTS, (n + 1) / N_SEGMENTS, f"第{n}句", 0.9)


@pytest.fixture
def clock(monkeypatch) -> SimpleNamespace:
    """Seconds pass for the service when somebody adds them. The queue keeps the real clock."""
    clock = SimpleNamespace(now_s=1000.0)
    clock.monotonic = lambda: clock.now_s
    for module in (service, transcription):
        monkeypatch.setattr(module, "time", clock)
    return clock


def recordings(folder: Path, n: int) -> list[Path]:
    for i in range(n):
        soundfile.write(folder / f"{i}.wav", np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE)
    return sorted(folder.glob("*.wav"))


@pytest.mark.parametrize("compare", [False, True], ids=["alone", "compared"])
@pytest.mark.parametrize("limit_s", [5, 30, 45, 65, 89, 1000])
def test_all_recordings_of_a_request_share_one_time_limit(clock, compare, limit_s, tmp_path):
    """The work ends with the segment in which its time runs out, in whichever recording that is."""
    page = Service(Slow(clock), base=Slow(clock), limits=replace(Limits(), max_work_s=limit_s))
    *_, last = in_steps(page.run(recordings(tmp_path, 3), visitor="a", choices=Choices(compare=compare)))
    spent_s, all_of_it_s = clock.now_s - 1000, 3 * N_SEGMENTS * SEGMENT_S * (1 + compare)
    assert min(limit_s, all_of_it_s) <= spent_s <= min(limit_s + SEGMENT_S, all_of_it_s)
    n_heard = sum(len(one.progress.segments) + len(one.before) for one in last.results)
    assert n_heard * SEGMENT_S == spent_s
    assert (last.results[-1].progress.cut_short == "time") == (limit_s < all_of_it_s)
    assert not any(one.progress.cut_short for one in last.results[:-1]), "what comes after a cut is not begun"
