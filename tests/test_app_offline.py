"""The page for recordings, in a real browser: upload, microphone, downloads, refusals, narrow and dark."""

import importlib.util
import re
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from browser import PHONE, browser, chromium, serving, visit
from serving_model import random_model, trained_model

from cantowhisper.contracts import ModelFacts, Segment
from cantowhisper.serving.limits import Limits
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE

APP = Path(__file__).resolve().parents[1] / "app_offline" / "app.py"
LIMITS = replace(Limits(), max_file_bytes=2_000_000, max_audio_s=100.0)


@pytest.fixture(scope="module")
def app():
    pytest.importorskip("gradio")
    chromium()
    spec = importlib.util.spec_from_file_location("app_offline_app", APP)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def url(app):
    """The page, on the demo model where there is one, else on random weights (some text, whatever it says)."""
    recognizer = Recognizer.open(trained_model() or random_model(), threads=2)
    with serving(app.build_page(recognizer, limits=LIMITS), **app.launch_options(LIMITS)) as address:
        yield address


@pytest.fixture(scope="module")
def chrome(app):
    with browser() as launched:
        yield launched


@pytest.fixture(scope="module")
def clips(samples) -> Path:
    return samples.parent / "clips"


@pytest.fixture
def one_second(tmp_path) -> str:
    soundfile.write(tmp_path / "a.wav", np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE)
    return str(tmp_path / "a.wav")


def upload(tab, path: Path) -> None:
    tab.locator("#file input[type=file]").set_input_files(str(path))
    tab.locator("#file").get_by_text(path.stem[:10]).first.wait_for()


def transcribe(tab, *, seconds: float = 60) -> str:
    """Press the button and wait for the end; returns the text."""
    tab.locator("#go").click()
    tab.get_by_text(re.compile("Done ·")).wait_for(timeout=seconds * 1000)
    return tab.locator("#transcript textarea").input_value()


@pytest.mark.parametrize("name", ["market_morning.mp3", "video_news.mp4"])
def test_an_uploaded_file_becomes_text_and_subtitles(chrome, url, clips, name):
    with visit(chrome, url) as tab:
        upload(tab, clips / name)
        text = transcribe(tab)
        n_rows = tab.locator("#segments tbody tr").count()
        assert len(text.splitlines()) == n_rows == {"market_morning.mp3": 8}.get(name, 5)
        if trained_model():
            assert re.search("[呀㗎好去食]", text)
        with tab.expect_download() as download:
            tab.locator("#download-srt").click()
        srt = Path(download.value.path()).read_text(encoding="utf-8")
        assert download.value.suggested_filename == f"{Path(name).stem}.srt"
        times = re.findall(r"^(\S+) --> (\S+)$", srt, re.MULTILINE)
        assert len(times) == n_rows and times == sorted(times)


def test_recorded_speech_becomes_text(app, url, clips, tmp_path):
    speech = load_audio(clips / "market_morning.mp3")[: 3 * SAMPLE_RATE]
    heard = np.concatenate([np.zeros(SAMPLE_RATE // 2, np.float32), speech, np.zeros(9 * SAMPLE_RATE, np.float32)])
    soundfile.write(tmp_path / "heard.wav", heard, SAMPLE_RATE)
    with browser(microphone=tmp_path / "heard.wav") as launched, visit(launched, url) as tab:
        tab.get_by_role("tab", name="Microphone").click()
        tab.locator("#recording button.record-button").click()
        tab.wait_for_timeout(4500)  # the length of the speech: there is no state to wait for
        tab.locator("#recording button.stop-button").click()
        tab.locator("#recording").get_by_label("Play", exact=True).wait_for()
        assert transcribe(tab)
        assert 1 <= tab.locator("#segments tbody tr").count() <= 2


def test_what_cannot_be_transcribed_is_refused_in_friendly_words(chrome, url, clips, tmp_path):
    (tmp_path / "letter.mp3").write_text("<html>this is no recording</html>")
    soundfile.write(tmp_path / "long.flac", np.zeros(101 * 8000, np.int16), 8000)
    expected = {
        tmp_path / "letter.mp3": "not a recording",
        tmp_path / "long.flac": "longer than 100 s",
        clips / "silence.wav": "No speech",
    }
    with visit(chrome, url) as tab:
        tab.locator("#go").click()
        tab.get_by_role("alert").get_by_text("Choose a file").wait_for()
        for path, words in expected.items():
            upload(tab, path)
            tab.locator("#go").click()
            tab.get_by_role("alert").get_by_text(words).wait_for()
            message = tab.get_by_role("alert").inner_text()
            assert str(tmp_path) not in message and re.search("[一-龥]", message)
            assert tab.locator("#download-srt").is_disabled()
            tab.locator("#file").get_by_label("Clear").click()


def test_a_file_over_the_limit_is_refused_at_upload(chrome, url, tmp_path):
    (tmp_path / "large.wav").write_bytes(bytes(LIMITS.max_file_bytes + 1))
    with visit(chrome, url) as tab:
        tab.locator("#file input[type=file]").set_input_files(str(tmp_path / "large.wav"))
        tab.get_by_text(re.compile("maximum allowed size|exceeds")).first.wait_for()


def test_examples_can_be_tried(chrome, url):
    with visit(chrome, url) as tab:
        tab.get_by_text("Voice memo").click()
        tab.locator("#file").get_by_text("voice_memo").first.wait_for()
        assert transcribe(tab)


class Slow:
    """A recognizer that takes its time: a segment every 0.2 s, for as long as it may."""

    facts, languages = ModelFacts(), ["en", "yue", "zh"]

    def stream(self, waveform, *, should_stop, **options):
        for second in range(300):
            time.sleep(0.2)
            if should_stop():
                return
            yield Segment(second, second + 0.5, f"第{second}句", 0.9)


def test_work_shows_as_it_goes_and_can_be_stopped_and_started_again(app, chrome, clips):
    page = app.build_page(Slow(), limits=LIMITS, examples=[])
    with serving(page, **app.launch_options(LIMITS)) as address, visit(chrome, address) as tab:
        upload(tab, clips / "weather_16k.wav")
        for _ in range(2):
            tab.locator("#go").click()
            tab.get_by_text("segments").wait_for()
            tab.locator("#segments tbody tr").nth(2).wait_for()
            tab.locator("#stop").click()
            tab.get_by_text("Stopped").wait_for()
            n_rows = tab.locator("#segments tbody tr").count()
            assert n_rows == len(tab.locator("#transcript textarea").input_value().splitlines()) >= 3
            assert tab.locator("#download-srt").is_enabled()  # what is done is kept


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_a_phone(chrome, url, clips, dark):
    with visit(chrome, url, dark=dark, viewport=PHONE) as tab:
        upload(tab, clips / "weather_16k.wav")
        transcribe(tab)
        width = tab.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], "the page must not scroll sideways"
        assert tab.locator("#go").bounding_box()["width"] > 100


def test_recognised_text_is_shown_as_text(app, one_second):
    class Hostile:
        def stream(self, waveform, **options):
            yield Segment(0.0, 1.0, "<img src=x onerror=alert(1)>", 0.9)

    *_, last = app.steps(Hostile(), one_second, LIMITS)
    assert "<img" not in last[2] and "&lt;img" in last[2] and "<img" in last[1]


def test_an_unforeseen_error_is_worded_kindly_and_logged_without_the_visitors_words(app, one_second, caplog):
    class Broken:
        def stream(self, waveform, **options):
            raise RuntimeError("secret words of a visitor")

    *_, last = app.steps(Broken(), one_second, LIMITS)
    assert "try again" in last[0] and "secret" not in last[0]
    assert "RuntimeError" in caplog.text and "secret" not in caplog.text


def test_it_says_what_is_missing_without_a_model(app, monkeypatch):
    monkeypatch.delenv("MODEL_ID", raising=False)
    with pytest.raises(SystemExit, match="MODEL_ID"):
        app.main()
