"""The benchmark of many speakers and long sessions: joined recordings keep their times, and the parts add up."""

import numpy as np
import pytest
from test_live_engine import Scripted

from benchmarks.live_load import IN_TIME_S, SPEAKERS, at_once, joined, long_session
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE

pytest.importorskip("faster_whisper")


@pytest.fixture(scope="module")
def recordings(samples) -> dict:
    """name → (waveform, [(start s, end s, sentence)])"""
    speech = load_audio(samples.parent / "clips" / "market_morning.mp3")
    halves = np.split(speech[: speech.size // 2 * 2], 2)
    return {f"{n}": (half, [(0.5, 8.0, "a sentence")]) for n, half in enumerate(halves)}


def test_joined_recordings_are_where_their_times_say(recordings):
    waveform, rows = joined(recordings, 100.0)
    assert waveform.size == 100 * SAMPLE_RATE
    sounds = [wave[int(0.5 * SAMPLE_RATE) :][: 7 * SAMPLE_RATE] for wave, _ in recordings.values()]
    for number, (start_s, end_s, _) in enumerate(rows):
        assert end_s - start_s == pytest.approx(7.5) and end_s <= 100
        heard = waveform[round(start_s * SAMPLE_RATE) :][: 7 * SAMPLE_RATE]
        np.testing.assert_array_equal(heard, sounds[number % 2])


def test_a_long_session_loses_nothing_and_its_parts_are_its_whole(recordings):
    model = Scripted()
    found = long_session(model, recordings, seconds=90.0, part_s=30.0)
    assert found["samples_lost"] == 0 and [one["from_s"] for one in found["parts"]] == [0, 30, 60]
    n_passes = sum(one["passes"] for one in found["parts"])
    assert 90 <= n_passes <= len(model.heard)  # a pass may hear its sound twice
    assert all(one["characters"] > 30 and one["memory_mb"] > 50 for one in found["parts"])


def test_a_model_that_costs_nothing_serves_as_many_as_are_tried(recordings):
    (speech, rows), *_ = recordings.values()
    found = at_once(Scripted(), {f"{n}": (speech[: 8 * SAMPLE_RATE + n], rows) for n in range(SPEAKERS[0])})
    assert found["most_speakers_in_time"] == SPEAKERS[0] and list(found["speakers"]) == [SPEAKERS[0]]
    assert 0 < found["speakers"][SPEAKERS[0]]["p95_s"] <= IN_TIME_S
