"""Neighbouring pieces that are decoded together: nothing is lost, nothing comes twice, and doubtful text is redone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_model import ids, random_model, with_engine

from cantowhisper.serving.batches import chunks
from cantowhisper.serving.engines.engine import Decoded
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.serving.segments import Span, find_segments
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE

CHUNK_S = 10.0


@given(st.lists(st.tuples(st.integers(1, 15 * 16_000), st.integers(0, 5 * 16_000), st.booleans())), st.floats(0, 30))
def test_chunks_keep_every_piece_once_and_their_limit(pieces, limit):
    spans, at = [], 0
    for length, pause, by_level in pieces:
        spans.append(Span(at + pause, at + pause + length, by_level))
        at += pause + length
    found = chunks(spans, at_most_s=limit)
    assert [span for chunk in found for span in chunk] == spans
    for chunk in found:
        if len(chunk) > 1:
            assert (chunk[-1].end - chunk[0].start) / SAMPLE_RATE <= limit
            assert not any(span.by_level for span in chunk[1:])


@pytest.fixture
def opened() -> Recognizer:
    recognizer = Recognizer.open(random_model(), threads=1)
    recognizer.chunk_s = CHUNK_S
    return recognizer


@pytest.fixture(scope="module")
def market(samples):
    """Eight sentences in 26 s, with pauses."""
    return load_audio(samples.parent / "clips" / "market_morning.mp3")


class Timed:
    """Writes one passage a sentence in a chunk, until `stops_s`, and "唔該" for a piece alone."""

    name, n_mels = "timed", 80

    def __init__(self, opened: Recognizer, *, stops_s: float = 99.0, text: str = "食飯"):
        self.opened, self.stops_s, self.text, self.alone = opened, stops_s, text, 0

    def decode(self, mels, windows, prompt, options):
        if not options.first_timestamp:
            self.alone += len(mels)
            return [Decoded(ids(self.opened, "唔該"), -0.1, (-0.1, -0.1))] * len(mels)
        end_s = min((windows.columns.shape[1] / 50), self.stops_s)
        stamps = [options.first_timestamp, options.first_timestamp + int(end_s * 50)]
        written = [stamps[0], *ids(self.opened, self.text), stamps[1]]
        return [Decoded(written, -0.1, (-0.1,) * len(written))] * len(mels)


def test_a_chunk_gives_its_passages_with_their_times(opened, market):
    opened.engine = Timed(opened)
    spans = find_segments(market, opened.options)
    found = opened.transcribe(market)
    groups = chunks(spans, at_most_s=CHUNK_S)
    assert len(spans) == 8 and len(found) == len(groups) < 8 and opened.engine.alone == sum(len(g) == 1 for g in groups)
    for segment, chunk in zip(found, groups, strict=True):
        assert segment.start_s == pytest.approx(chunk[0].start / SAMPLE_RATE)
        assert segment.end_s <= chunk[-1].end / SAMPLE_RATE


def test_pieces_after_the_end_of_a_chunks_text_are_decoded_alone(opened, market):
    opened.engine = Timed(opened, stops_s=0.5)
    spans = find_segments(market, opened.options)
    found = opened.transcribe(market)
    assert len(found) == len(spans), "the first of each chunk from its text, the others alone"
    starts = [segment.start_s for segment in found]
    assert starts == sorted(starts) and len(set(starts)) == len(starts)


@pytest.mark.parametrize("text", ["", "唔該" * 12], ids=["nothing", "a_loop"])
def test_a_chunk_without_a_text_of_worth_is_decoded_piece_by_piece(opened, market, text):
    opened.engine = Timed(opened, text=text)
    found = opened.transcribe(market)
    assert [segment.text for segment in found] == ["唔該"] * 8 and opened.engine.alone == 8


def test_a_model_that_was_tuned_hears_each_piece_alone(market):
    opened = with_engine(Recognizer.open(random_model(), threads=1), None)
    assert opened.chunk_s == 0
    opened.engine = Timed(opened)
    assert len(opened.transcribe(market)) == opened.engine.alone == 8


def test_soft_speech_is_made_audible_and_silence_is_not(market):
    from cantowhisper.serving.segments import SegmentOptions, audible, window_levels

    soft = (market * 10 ** (-45 / 20)).astype(np.float32)
    louder = audible(soft, SegmentOptions())
    assert np.percentile(window_levels(louder), 99) == pytest.approx(-22, abs=1)
    assert len(find_segments(louder)) == 8
    assert audible(market, SegmentOptions()) is market
    silence = np.zeros(16_000, np.float32)
    assert audible(silence, SegmentOptions()) is silence and not find_segments(silence)
