"""A stock Whisper, as it comes from the Hub: the language is heard, and what is English stays English."""

import numpy as np
import pytest
from serving_model import CORES

from benchmarks.real_clips import read_clips
from cantowhisper.contracts import ModelFacts, UsageError
from cantowhisper.serving.detection import first_speech
from cantowhisper.serving.live.engine import LiveEngine
from cantowhisper.serving.menus import language_choices
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.serving.segments import Span
from cantowhisper.serving.texts.say import Say
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.context import Context
from cantowhisper.speech.mel import SAMPLE_RATE
from cantowhisper.speech.relatives import WHISPER
from cantowhisper.speech.text import cer, join_texts, wer

SAID = {
    "jfk.flac": "And so, my fellow Americans, ask not what your country can do for you, "
    "ask what you can do for your country",
    "LJ001-0002.wav": "in being comparatively modern.",
    "common_voice_en_651325.mp3": "",
}


@pytest.fixture(scope="module")
def recognizers(stock_model, real_weights) -> dict[str, Recognizer]:
    checkpoint = Recognizer.open(real_weights / "whisper-base", threads=CORES, backend="transformers")
    return {"export": Recognizer.open(stock_model, threads=CORES), "checkpoint": checkpoint}


BY_CHECKPOINT = [
    pytest.param(name, "checkpoint", marks=[] if name == "jfk.flac" else pytest.mark.slow, id=f"{name}-checkpoint")
    for name in SAID
]


@pytest.mark.parametrize(("name", "opened"), [*((name, "export") for name in SAID), *BY_CHECKPOINT])
def test_english_is_heard_and_written_whole(recognizers, real_speech, name, opened):
    segments = recognizers[opened].transcribe(load_audio(real_speech / "fixtures" / name))
    text = join_texts((s.text for s in segments), "en")
    assert {s.language for s in segments} == {"en"}, text
    assert text.isascii(), f"no Chinese character: {text}"
    if SAID[name]:
        assert wer([text], [SAID[name]]).wer == 0, text


def test_ten_clips_say_at_their_own_length_what_they_say_at_30_s(stock_model, real_speech):
    """Silence that is merged is silence that is heard; a clip that is simply cut off says something else."""
    clips = [clip for name in ("zh-TW", "de") for clip in read_clips(real_speech / "common_voice_6_layout" / name, 100)]
    clips = clips[::20]
    opened = Recognizer.open(stock_model, threads=CORES)
    written = {}
    for kind in ("full", "merged", "plain"):
        opened.context = Context(kind=kind)
        written[kind] = [join_texts((s.text for s in opened.transcribe(waveform)), "") for waveform, _ in clips]
    assert len(clips) == 10 and all(written["full"])
    away = {kind: cer(texts, written["full"]).cer for kind, texts in written.items()}
    assert away["merged"] <= 0.1 and away["merged"] < away["plain"] / 2, away


def test_speech_of_60_db_below_full_scale_is_found(recognizers, real_speech):
    waveform = load_audio(real_speech / "fixtures/jfk.flac")
    soft = (waveform * 10 ** (-40 / 20)).astype(np.float32)
    assert np.sqrt(np.mean(soft**2)) < 10 ** (-55 / 20)
    text = join_texts((s.text for s in recognizers["export"].transcribe(soft)), "en")
    assert wer([text], [SAID["jfk.flac"]]).wer == 0, text


SOUNDS_S = 30


def _typing(rng, n: int) -> np.ndarray:
    """Keys hit five times a second, each a burst of 30 ms."""
    sound = 0.001 * rng.normal(size=n)
    for start in np.cumsum(rng.gamma(2, 0.09, SOUNDS_S * 8)):
        at = int(start * SAMPLE_RATE)
        burst = rng.normal(size=480) * np.exp(-np.arange(480) / 96) * rng.uniform(0.1, 0.4)
        sound[at : at + 480] += burst[: max(0, n - at)]
    return sound


def _coloured(rng, n: int, shape) -> np.ndarray:
    """Noise whose spectrum is `shape` of the frequency in Hz, at -20 dBFS."""
    hz = np.fft.rfftfreq(n, 1 / SAMPLE_RATE)
    sound = np.fft.irfft(np.fft.rfft(rng.normal(size=n)) * shape(np.maximum(hz, 1)), n)
    return 0.1 * sound / sound.std()


def _breath(rng, n: int) -> np.ndarray:
    swell = np.sin(2 * np.pi * np.arange(n) / SAMPLE_RATE / 4)
    return _coloured(rng, n, lambda hz: np.exp(-((np.log(hz / 900) / 0.8) ** 2))) * np.maximum(swell, -0.6 * swell) ** 2


NO_SPEECH = {
    "silence": lambda rng, n: np.zeros(n),
    "white noise": lambda rng, n: 0.1 * rng.normal(size=n),
    "pink noise": lambda rng, n: _coloured(rng, n, lambda hz: hz**-0.5),
    "a tone": lambda rng, n: 0.3 * np.sin(2 * np.pi * 440 * np.arange(n) / SAMPLE_RATE),
    "beeps": lambda rng, n: 0.3 * np.sin(2 * np.pi * 1000 * (t := np.arange(n) / SAMPLE_RATE)) * (t % 2 < 0.4),
    "typing": _typing,
    "breathing": _breath,
}


@pytest.mark.parametrize("name", NO_SPEECH)
def test_nothing_is_written_where_nobody_speaks(recognizers, name):
    sound = NO_SPEECH[name](np.random.default_rng(0), SOUNDS_S * SAMPLE_RATE).astype(np.float32)
    found = [recognizers["export"].transcribe(sound, language=language) for language in ("zh", None)]
    assert found == [[], []], [segment.text for segments in found for segment in segments]


def test_english_is_written_of_other_languages(recognizers, real_speech):
    checkpoint = recognizers["export"]
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
        "": "Detect",
        "yue": "Cantonese",
        "zh": "Chinese",
        "en": "English",
        "de": "German",
        "jw": "Javanese",
    }
    assert list(Say("zh-CN").of(stock).values()) == ["自动检测", "粤语", "中文", "英语", "德语", "爪哇语"]
    for reader in ("zh-HK", "zh-CN"):
        assert [
            name for name in Say(reader).of(language_choices(ModelFacts(), WHISPER)).values() if name.isascii()
        ] == []
    tuned = language_choices(ModelFacts(language="yue", language_token="<|zh|>"), ["en", "zh"])
    assert tuned[""] == "Cantonese" and list(tuned) == ["", "auto", "zh", "en"]


@pytest.mark.parametrize("language", ["yue", "cantonese", "zh-HK", "Chinese", "auto", "", None])
def test_live_sessions_take_every_name_of_a_language(language):
    class Model:
        languages, facts = ["en", "zh"], ModelFacts()

    assert LiveEngine(Model()).start(language=language)
    with pytest.raises(UsageError, match="no token"):
        LiveEngine(Model()).start(language="ko")
