"""Whose request it is, and one time limit for all of it; without a model and without a browser."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from starlette.requests import Request

from cantowhisper.contracts import Segment
from cantowhisper.serving.offline import service, transcription
from cantowhisper.serving.offline.limits import Limits, visitor_address
from cantowhisper.serving.offline.service import Choices, Service
from cantowhisper.speech.mel import SAMPLE_RATE

PROXY, VISITOR = "10.20.0.1", "203.0.113.7"


def request(forwarded: str | None, client: str | None = PROXY) -> Request:
    headers = [] if forwarded is None else [(b"x-forwarded-for", forwarded.encode())]
    return Request({"type": "http", "headers": headers, "client": client and (client, 50_000)})


@pytest.mark.parametrize(
    ("forwarded", "client", "on_a_space", "elsewhere"),
    [
        (None, PROXY, PROXY, PROXY),
        ("", PROXY, PROXY, PROXY),
        (" , 10.0.0.2", PROXY, PROXY, PROXY),
        (VISITOR, PROXY, VISITOR, PROXY),
        (f" {VISITOR} , 10.0.0.2, 10.0.0.3", PROXY, VISITOR, PROXY),
        ("2001:db8::7, 10.0.0.2", PROXY, "2001:db8::7", PROXY),
        ("x" * 100_000, PROXY, "x" * 64, PROXY),
        (VISITOR, None, VISITOR, "unknown"),
        (None, None, "unknown", "unknown"),
    ],
)
def test_a_visitor_is_an_address_and_the_header_counts_on_a_space_alone(
    forwarded, client, on_a_space, elsewhere, monkeypatch
):
    monkeypatch.setenv("SPACE_ID", "me/page")
    assert visitor_address(request(forwarded, client)) == on_a_space
    monkeypatch.delenv("SPACE_ID")
    assert visitor_address(request(forwarded, client)) == elsewhere
    assert visitor_address(None) == "unknown"


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
    *_, last = page.run(recordings(tmp_path, 3), visitor="a", choices=Choices(compare=compare))
    spent_s, all_of_it_s = clock.now_s - 1000, 3 * N_SEGMENTS * SEGMENT_S * (1 + compare)
    assert min(limit_s, all_of_it_s) <= spent_s <= min(limit_s + SEGMENT_S, all_of_it_s)
    n_heard = sum(len(one.progress.segments) + len(one.before) for one in last.results)
    assert n_heard * SEGMENT_S == spent_s
    assert (last.results[-1].progress.cut_short == "time") == (limit_s < all_of_it_s)
    assert not any(one.progress.cut_short for one in last.results[:-1]), "what comes after a cut is not begun"
