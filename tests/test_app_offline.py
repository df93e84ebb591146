"""The page for recordings, in a real browser: upload, microphone, link, playing, downloads, refusals, narrow, dark."""

import contextlib
import inspect
import io
import re
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import webvtt
from browser import PHONE, browser, chromium, serving, visit
from serving_model import CORES, random_model, trained_model
from steps import in_steps
from tongues import foreign
from web import answer, website

from cantowhisper.cli.main import parser
from cantowhisper.contracts import ModelFacts, Segment
from cantowhisper.repository import load_page
from cantowhisper.serving.offline.addresses import Reach
from cantowhisper.serving.offline.limits import Limits
from cantowhisper.serving.offline.service import Choices, Service
from cantowhisper.serving.offline.updates import updates
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.serving.web.settings import page_options
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE

LIMITS = replace(Limits(), max_file_bytes=2_000_000, max_audio_s=100.0, max_requests_per_hour=1000)


@pytest.fixture(scope="module")
def app():
    pytest.importorskip("gradio")
    chromium()
    return load_page("offline")


@pytest.fixture(scope="module")
def site(clips):
    """A web server on loopback with one recording."""
    with website(talk=answer((clips / "market_morning.mp3").read_bytes())) as (url, port, _):
        yield url, port


@pytest.fixture(scope="module")
def url(app, site):
    """The page, on the demo model where there is one, else on random weights (some text, whatever it says)."""
    recognizer = Recognizer.open(trained_model() or random_model(), threads=CORES)
    reach = Reach(also_allow=frozenset({("127.0.0.1", site[1])}))
    service = Service(recognizer, base=recognizer, limits=LIMITS, reach=reach)
    with serving(app.build_page(service), **app.launch_options(service)) as address:
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


M4A = pytest.param("voice_memo.m4a", marks=pytest.mark.slow)  # of the same kind as MP4


@pytest.mark.parametrize("name", ["market_morning.mp3", M4A, "video_news.mp4"])
def test_an_uploaded_file_becomes_text_and_subtitles(chrome, url, clips, name):
    with visit(chrome, url) as tab:
        upload(tab, clips / name)
        text = transcribe(tab)
        n_rows = tab.locator("#segments tbody tr").count()
        assert len(text.splitlines()) == n_rows >= 3
        if trained_model():
            assert re.search("[食飲一二三四五]", text)
        with tab.expect_download() as download:
            tab.locator("#download-srt").click()
        srt = Path(download.value.path()).read_text(encoding="utf-8")
        assert download.value.suggested_filename == f"{Path(name).stem}.srt"
        cues = list(webvtt.from_buffer(io.StringIO(srt), format="srt"))
        assert "".join("".join(cue.lines) for cue in cues).replace(" ", "") == "".join(text.split())
        assert [cue.start_in_seconds for cue in cues] == sorted(cue.start_in_seconds for cue in cues)


def test_recorded_speech_becomes_text(app, url, clips, tmp_path):
    # Speech all the time, so that it does not matter how long the browser takes to open the microphone.
    soundfile.write(tmp_path / "heard.wav", load_audio(clips / "market_morning.mp3"), SAMPLE_RATE)

    def slowly(route):
        time.sleep(2)
        route.continue_()

    with browser(microphone=tmp_path / "heard.wav") as launched, visit(launched, url) as tab:
        tab.route("**/upload*", slowly)  # as from a phone: the button waits until the server has the recording
        tab.get_by_role("tab", name="Record").click()
        tab.locator("#recording button.record-button").click()
        tab.locator("#go:disabled").wait_for()
        tab.wait_for_timeout(4500)  # long enough for a sentence: there is no state to wait for
        tab.locator("#recording button.stop-button").click()
        tab.locator("#recording").get_by_label("Play", exact=True).wait_for()
        assert transcribe(tab)
        assert 1 <= tab.locator("#segments tbody tr").count() <= 4


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
            assert str(tmp_path) not in message and not foreign(message, "en")
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
    takes_words = True

    def stream(self, waveform, *, should_stop, **options):
        for second in range(300):
            time.sleep(0.2)
            if should_stop():
                return
            yield Segment(second, second + 0.5, f"第{second}句", 0.9)


def test_work_shows_as_it_goes_and_can_be_stopped_and_started_again(app, chrome, clips):
    service, seconds = Service(Slow(), limits=LIMITS), soundfile.info(clips / "weather_16k.wav").duration
    page = app.build_page(service, examples=[])
    with serving(page, **app.launch_options(service)) as address, visit(chrome, address) as tab:
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
            shown = tab.locator("#state [role=progressbar]").get_attribute("aria-valuenow")
            assert int(shown) == round(100 * (n_rows - 0.5) / seconds), "the bar says how far it came"


def test_a_link_becomes_text_and_a_private_one_is_refused(chrome, url, site):
    with visit(chrome, url) as tab:
        tab.get_by_role("tab", name="Link").click()
        tab.locator("#link input, #link textarea").fill(f"{site[0]}/talk.mp3")
        assert transcribe(tab)
        tab.locator("#link input, #link textarea").fill("http://169.254.169.254/latest/<script>alert(1)</script>")
        tab.locator("#go").click()
        tab.get_by_role("alert").get_by_text("not public").wait_for()
        assert "script" not in tab.locator("#state").inner_text()


def test_a_row_plays_from_its_time_with_captions(chrome, url, clips):
    with visit(chrome, url) as tab:
        upload(tab, clips / "market_morning.mp3")
        transcribe(tab)
        row = tab.locator("#segments tbody tr").nth(3)
        starts = float(row.get_attribute("data-start"))
        row.get_by_role("button").focus()
        tab.keyboard.press("Enter")  # by keyboard: a click would do the same
        tab.wait_for_function(f"document.querySelector('#player video').currentTime > {starts}")
        video = "document.querySelector('#player video')"
        assert tab.evaluate(f"{video}.currentTime") < starts + 5
        assert tab.evaluate(f"{video}.textTracks[0].cues.length") >= tab.locator("#segments tbody tr").count()
        tab.wait_for_selector("#segments tr.now")
        shown = tab.evaluate(f"[...{video}.textTracks[0].activeCues].map(c => c.startTime)")
        assert shown == [float(tab.locator("#segments tr.now").first.get_attribute("data-start"))]


def test_several_files_have_a_table_each_and_archives(chrome, url, clips):
    with visit(chrome, url) as tab:
        files = [clips / "weather_16k.wav", clips / "silence.wav", clips / "voice_message.ogg"]
        tab.locator("#file input[type=file]").set_input_files([str(f) for f in files])
        tab.locator("#file").get_by_text("voice_mess").first.wait_for()
        text = transcribe(tab)
        assert [tab.locator("#segments h3").nth(i).inner_text() for i in range(3)] == [f.name for f in files]
        assert all(f.name in text for f in files)
        with tab.expect_download() as download:
            tab.locator("#download-srt").click()
        with zipfile.ZipFile(download.value.path()) as pack:
            assert pack.namelist() == ["01_weather_16k.srt", "02_silence.srt", "03_voice_message.srt"]
        assert "No speech" in tab.locator("#segments section").nth(1).inner_text()


def test_of_several_files_a_bad_one_says_so_and_is_in_no_archive(app, clips, tmp_path):
    good, bad = str(clips / "voice_message.ogg"), str(tmp_path / "letter.mp3")
    Path(bad).write_text("<html>this is no recording</html>")
    for paths, names in (([good, bad, good], ["01_voice_message.txt", "03_voice_message.txt"]), ([bad, bad], None)):
        with contextlib.closing(in_steps(updates(Service(Says({0.0: "唔該"}), limits=LIMITS), paths))) as steps:
            for last in steps:
                archive = last.get("txt", {}).get("value")
                if archive:
                    with zipfile.ZipFile(archive) as pack:
                        assert pack.namelist() == names
        assert last["segments"].count("role='alert'") == paths.count(bad) and "not a recording" in last["segments"]
        assert "letter.mp3" in last["segments"] and "letter.mp3" not in last["transcript"]
        assert bool(archive) == bool(names)
        assert ("1 could not be transcribed" if names else "None of these files") in last["state"]


class Says:
    """A recognizer that hears the same in every recording: {start in seconds: text}."""

    facts, languages = ModelFacts(), ["en", "yue", "zh"]
    takes_words = True

    def __init__(self, texts: dict[float, str]):
        self.texts, self.heard, self.slow = texts, 0, False

    def stream(self, waveform, **options):
        for start, text in self.texts.items():
            time.sleep(self.slow and self.heard % 2)
            self.heard += 1
            yield Segment(start, start + 0.5, text, 0.9, language="yue")


def choose(tab, element: str, name: str) -> None:
    tab.locator(f"#{element} input").click()
    tab.get_by_role("option", name=name).click()


def test_the_script_can_be_changed_without_recognising_again(app, chrome, clips):
    """Afterwards, to and fro; and during the work, for when it is done."""
    heard = Says({0.0: "你哋今日食咗麵未", 1.0: "後面條街"})
    service = Service(heard, limits=LIMITS)
    page = app.build_page(service, examples=[])
    with serving(page, **app.launch_options(service)) as address, visit(chrome, address) as tab:
        upload(tab, clips / "weather_16k.wav")
        text = lambda: tab.locator("#transcript textarea").input_value().splitlines()
        assert transcribe(tab) and text() == ["你哋今日食咗麵未", "後面條街"]
        for name, expected in (
            ("Simplified", ["你哋今日食咗面未", "后面条街"]),
            ("As is", ["你哋今日食咗麵未", "後面條街"]),
        ):
            choose(tab, "script", name)
            tab.locator("#segments .text").get_by_text(expected[1]).wait_for()
            assert text() == expected == tab.locator("#segments td.text").all_inner_texts()
            with tab.expect_download() as download:
                tab.locator("#download-txt").click()
            assert Path(download.value.path()).read_text(encoding="utf-8").splitlines() == expected
        assert heard.heard == 2 and "Done · Cantonese" in tab.locator("#state").inner_text()
        heard.slow = True
        tab.locator("#go").click()
        tab.locator("#segments .text").first.wait_for()
        choose(tab, "script", "Simplified")
        tab.locator("#segments .text").get_by_text("后面条街").wait_for()
        assert heard.heard == 4


def test_stop_while_the_base_model_works_is_told(app, one_second):
    service = Service(Says({0.0: "食咗飯"}), base=Slow(), limits=LIMITS)
    for last in in_steps(updates(service, [one_second], "", Choices(compare=True), "visitor", "session")):
        if "第0句" in last.get("segments", ""):
            service.stops.ask("session")
    assert "Stopped" in last["state"] and "食咗飯" in last["transcript"]


def test_serve_takes_a_base_model(app):
    parsed = parser().parse_args(["serve", "offline", "--model", "tuned", "--base", "openai/whisper-small"])
    options = page_options(parsed, Limits)
    assert (options["model"], options["base"]) == ("tuned", "openai/whisper-small")
    assert inspect.signature(app.main).parameters.keys() >= options.keys()


def test_before_and_after_stand_beside_each_other(app, chrome, clips):
    """In the order of time, each row with what either model wrote at its time: one of them may have heard nothing."""
    after, before = {0.0: "食咗飯", 1.0: "唔該", 3.0: "多謝"}, {0.0: "食左飯", 2.0: "不要", 3.0: "謝謝"}
    service = Service(Says(after), base=Says(before), limits=LIMITS)
    page = app.build_page(service, examples=[])
    with serving(page, **app.launch_options(service)) as address, visit(chrome, address) as tab:
        upload(tab, clips / "weather_16k.wav")
        tab.locator("#compare input").check()
        assert transcribe(tab).split() == list(after.values())
        times = sorted({*after, *before})
        rows = tab.locator("#segments table.both tbody tr")
        assert rows.locator(".text").all_inner_texts() == [after.get(time, "") for time in times]
        assert rows.locator(".before").all_inner_texts() == [before.get(time, "") for time in times]
        with tab.expect_download() as download:
            tab.locator("#download-txt").click()
        with zipfile.ZipFile(download.value.path()) as pack:
            written = {name: pack.read(name).decode().split() for name in pack.namelist()}
        assert written == {
            "weather_16k.txt": list(after.values()),
            "weather_16k.before.txt": list(before.values()),
        }


@pytest.mark.parametrize("dark", [pytest.param(False, marks=pytest.mark.slow), True], ids=["light", "dark"])
def test_it_fits_a_phone(chrome, url, clips, dark):
    with visit(chrome, url, dark=dark, viewport=PHONE) as tab:
        upload(tab, clips / "weather_16k.wav")
        transcribe(tab)
        width = tab.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"], "the page must not scroll sideways"
        assert tab.locator("#go").bounding_box()["width"] > 100


class Listed:
    """Writes the words that it was given."""

    facts, languages, takes_words = ModelFacts(), ["en", "yue", "zh"], True

    def stream(self, waveform, *, words=(), **options):
        yield Segment(0.0, 1.0, "／".join(words), 0.9)


def test_names_and_terms_survive_a_reload_and_another_language(app, chrome, one_second):
    service = Service(Listed(), limits=LIMITS)
    page = app.build_page(service, examples=[])
    with serving(page, **app.launch_options(service)) as address, visit(chrome, address) as tab:
        tab.locator("#words textarea").fill("深水埗\n陳大文")
        for again in (tab.reload, tab.locator(".languages a[lang=zh-HK]").click):
            again()
            tab.wait_for_function("document.querySelector('#words textarea')?.value === '深水埗\\n陳大文'")
        tab.locator("html[lang=zh-HK]").wait_for()
        upload(tab, Path(one_second))
        tab.locator("#go").click()
        tab.locator("#segments td.text").get_by_text("深水埗／陳大文").wait_for()
        with visit(chrome, address) as other:
            assert other.evaluate("window.listedWords.kept()") == "", "in that tab alone"
        tab.locator("#words textarea").fill("")
        assert tab.evaluate("window.listedWords.kept()") == "", "an empty list is one, too"


@pytest.mark.slow
def test_names_and_terms_can_be_typed(app, chrome, one_second):
    service = Service(Listed(), limits=LIMITS)
    page = app.build_page(service, examples=[])
    with serving(page, **app.launch_options(service)) as address, visit(chrome, address) as tab:
        upload(tab, Path(one_second))
        tab.locator("#words textarea").fill("x" * 41)
        tab.locator("#go").click()
        tab.get_by_text("at most 40").wait_for()
        tab.locator("#words textarea").fill("深水埗\n陳大文, Alice Wong\n")
        assert transcribe(tab) == "深水埗／陳大文／Alice Wong"


def test_the_box_for_words_is_there_only_where_the_model_takes_them(app):
    class Plain(Listed):
        takes_words = False

    for recognizer in (Listed(), Plain()):
        page = app.build_page(Service(recognizer, limits=LIMITS), examples=[])
        (box,) = (one for one in page.blocks.values() if getattr(one, "elem_id", None) == "words")
        assert box.visible == recognizer.takes_words


def test_recognised_text_is_shown_as_text(app, one_second):
    class Hostile:
        def stream(self, waveform, **options):
            yield Segment(0.0, 1.0, "<img src=x onerror=alert(1)>", 0.9)

    *_, last = in_steps(updates(Service(Hostile(), limits=LIMITS), [one_second]))
    assert "<img" not in last["segments"] and "&lt;img" in last["segments"] and "<img" in last["transcript"]


def test_an_unforeseen_error_is_worded_kindly_and_logged_without_the_visitors_words(app, one_second, caplog):
    class Broken:
        def stream(self, waveform, **options):
            raise RuntimeError("secret words of a visitor")

    *_, last = in_steps(updates(Service(Broken(), limits=LIMITS), [one_second]))
    assert "try again" in last["state"] and "secret" not in last["state"]
    assert "RuntimeError" in caplog.text and "secret" not in caplog.text


def test_it_says_what_is_missing_without_a_model(app, monkeypatch):
    monkeypatch.delenv("MODEL_ID", raising=False)
    with pytest.raises(SystemExit, match="MODEL_ID"):
        app.main()
