"""A stock Whisper, as it comes from the Hub: the language is heard, and what is English stays English."""

import numpy as np
import pytest

from cantowhisper.contracts import ModelFacts, UsageError
from cantowhisper.serving.detection import first_speech
from cantowhisper.serving.live.engine import LiveEngine
from cantowhisper.serving.menus import language_choices
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.serving.segments import Span
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE
from cantowhisper.speech.text import join_texts, wer

SAID = {
    "jfk.flac": "And so, my fellow Americans, ask not what your country can do for you, "
    "ask what you can do for your country",
    "LJ001-0002.wav": "in being comparatively modern.",
    "common_voice_en_651325.mp3": "",
}


@pytest.fixture(scope="module")
def checkpoint(stock_model) -> Recognizer:
    return Recognizer.open(stock_model, threads=2)


@pytest.mark.parametrize("name", SAID)
def test_english_is_heard_and_written_as_such(checkpoint, real_speech, name):
    segments = checkpoint.transcribe(load_audio(real_speech / "fixtures" / name))
    text = join_texts((s.text for s in segments), "en")
    assert {s.language for s in segments} == {"en"}, text
    assert text.isascii(), f"no Chinese character: {text}"
    if SAID[name]:
        assert wer([text], [SAID[name]]).wer <= 0.1, text


def test_english_is_written_of_other_languages(checkpoint, real_speech):
    assert checkpoint.translates
    sound = load_audio(real_speech / "fixtures" / "jfk.flac")
    said = checkpoint.transcribe(sound, language="de", task="translate")  # German is named, and English is written
    assert {s.language for s in said} == {"en"}
    assert wer([join_texts((s.text for s in said), "en")], [SAID["jfk.flac"]]).wer <= 0.2, said


def test_what_is_heard_for_the_language_is_the_first_speech_with_a_voice():
    waveform = np.arange(100 * SAMPLE_RATE, dtype=np.float32)
    spans = [Span(0, 16_000, True), Span(32_000, 64_000), Span(80_000, 96_000)]
    speech = first_speech(waveform, spans)
    assert speech[0] == 32_000 and speech[32_000 + 4_800] == 80_000
    assert first_speech(waveform, spans[:1])[0] == 0, "without any voice, what is loud"
    assert first_speech(waveform, [Span(0, 40 * SAMPLE_RATE)]).size == 30 * SAMPLE_RATE


def test_menus_offer_what_the_model_has_and_name_the_default():
    stock = language_choices(ModelFacts(), ["de", "en", "jw", "zh"])
    assert stock == {
        "": "自動 Detect",
        "yue": "粵語 Cantonese",
        "zh": "中文 Chinese",
        "en": "English",
        "de": "Deutsch German",
        "jw": "Jawa Javanese",
    }
    tuned = language_choices(ModelFacts(language="yue", language_token="<|zh|>"), ["en", "zh"])
    assert tuned[""].startswith("粵語 Cantonese") and list(tuned) == ["", "auto", "zh", "en"]


@pytest.mark.parametrize("language", ["yue", "cantonese", "zh-HK", "Chinese", "auto", "", None])
def test_live_sessions_take_every_name_of_a_language(language):
    class Model:
        languages, facts = ["en", "zh"], ModelFacts()

    assert LiveEngine(Model()).start(language=language)
    with pytest.raises(UsageError, match="no token"):
        LiveEngine(Model()).start(language="ko")
