"""Times of characters, the detected language, and phrases that are known to be invented."""

from pathlib import Path

import numpy as np
import pytest
from serving_model import random_model

from cantowhisper.serving import hallucination
from cantowhisper.serving.characters import character_times
from cantowhisper.serving.engines.engine import Decoded
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE

CLIP = Path(__file__).resolve().parents[1] / "samples" / "clips" / "market_morning.mp3"


@pytest.fixture(scope="module")
def recognizer():
    return Recognizer.open(random_model(), threads=1)


@pytest.fixture(scope="module")
def waveform():
    return load_audio(CLIP)[: 8 * SAMPLE_RATE]


def test_characters_of_several_tokens_and_tokens_of_several_characters():
    pieces = ["食".encode()[:1], "食".encode()[1:], b" ", "多謝".encode()]
    decode = lambda ids: b"".join(pieces[i] for i in ids).decode(errors="replace")
    found = list(character_times(decode, [0, 1, 2, 3], [0.0, 0.2, 0.5, 0.6, 1.0]))
    assert found == [("食", 0.0, 0.5), ("多", 0.6, 0.8), ("謝", 0.8, 1.0)]


def test_every_character_has_a_time_inside_its_segment(recognizer, waveform):
    segments = recognizer.transcribe(waveform, characters=True)
    assert segments
    for segment in segments:
        assert "".join(c for c, _, _ in segment.characters) == "".join(segment.text.split())
        edges = [t for _, start, end in segment.characters for t in (start, end)]
        assert edges == sorted(edges)
        assert segment.start_s - 0.002 <= edges[0] and edges[-1] <= segment.end_s + 0.002
    plain = recognizer.transcribe(waveform)
    assert len(plain) == len(segments) and plain[0].characters == ()


def test_the_language_can_be_detected(recognizer, waveform):
    assert recognizer.transcribe(waveform, language="auto")


class Says:
    """An engine that always writes the same text and thinks what it is told to think."""

    name, n_mels = "says", 80

    def __init__(self, ids, *, log_prob, first):
        self.ids, self.log_prob, self.first = ids, log_prob, first

    def decode(self, mels, windows, prompt, options):
        return [Decoded(self.ids, self.log_prob)] * len(mels)

    def first_probabilities(self, mels, windows, start):
        return np.stack([self.first] * len(mels))


@pytest.mark.parametrize(("log_prob", "no_speech", "kept"), [(-0.1, 0.1, True), (-0.1, 0.9, False), (-2.0, 0.1, False)])
def test_a_known_phrase_is_dropped_only_where_there_is_no_speech(
    recognizer, waveform, monkeypatch, log_prob, no_speech, kept
):
    ids = recognizer.vocabulary.encode("唔該多謝")
    first = np.zeros(len(recognizer.vocabulary.ids))
    first[recognizer.vocabulary.ids["<|nospeech|>"]] = no_speech
    engine = Says(ids, log_prob=log_prob, first=first)
    told = Recognizer(engine, recognizer.vocabulary.tokenizer, recognizer.facts)
    assert told.transcribe(waveform), "an ordinary text stays whatever the evidence"
    monkeypatch.setattr(
        hallucination, "_KNOWN_INVENTIONS", hallucination.re.compile("多謝")
    )  # the miniature knows few characters
    assert bool(told.transcribe(waveform)) == kept


def test_what_people_say_is_no_known_invention():
    assert hallucination.known_invention("字幕由 Amara.org 社群提供") and hallucination.known_invention(
        "請不吝點贊訂閱轉發打賞"
    )
    assert not any(map(hallucination.known_invention, ["多謝大家", "我想訂閱報紙", "加字幕", "唔該"]))
