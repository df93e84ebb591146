"""The live page in a real browser with a fake microphone: every sample arrives, whatever happens on the way."""

import math
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from browser import PHONE, browser, chromium, serving, visit

from cantowhisper.contracts import ModelFacts
from cantowhisper.repository import load_page
from cantowhisper.serving.live.agreement import Hypothesis
from cantowhisper.serving.live.engine import LiveEngine
from cantowhisper.serving.live.limits import LiveLimits
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE

SECONDS = 4.0  # of speech in most tests
LEAD_S = 0.5  # of silence before it


class Scripted:
    """Four characters a second of whatever it hears, at once."""

    languages, slow = ["en", "yue", "zh"], False
    takes_words = True
    facts = ModelFacts(language="yue", language_token="<|yue|>")

    def decode(self, waveform, prefix="", *, language=None, attention=False, words=()):
        text = "".join(chr(0x4E00 + i * 37 % 500) for i in range(int(waveform.size / SAMPLE_RATE * 4)))
        return Hypothesis(text[len(prefix) :])


class Listening(LiveEngine):
    """An engine that also keeps all that was received, by session."""

    def push(self, name, offset, sound, **options):
        session = self.sessions.get(name)
        before = session.received if session else 0
        view = super().push(name, offset, sound, **options)
        taken = view["have"] - before
        self.kept.setdefault(name, []).append((before, sound[before - offset :][:taken].copy()))
        return view

    def received(self, name) -> np.ndarray:
        pieces = self.kept[name]
        out = np.zeros(pieces[-1][0] + pieces[-1][1].size, np.int16)
        for first, piece in pieces:
            out[first : first + piece.size] = piece
        return out


@pytest.fixture(scope="module")
def app():
    pytest.importorskip("gradio")
    pytest.importorskip("faster_whisper")
    chromium()
    return load_page("online")


def new_engine() -> Listening:
    engine = Listening(Scripted())
    engine.kept = {}
    return engine


@pytest.fixture
def engine():
    made = new_engine()
    yield made
    made.close()


@pytest.fixture
def url(app, engine):
    with serving(app.build_page(engine.recognizer, engine=engine), **app.launch_options()) as address:
        yield address + "?raw"


@pytest.fixture(scope="module")
def source(samples) -> np.ndarray:
    speech = load_audio(samples.parent / "clips" / "market_morning.mp3")[: int(SECONDS * SAMPLE_RATE)]
    return np.concatenate([np.zeros(int(LEAD_S * SAMPLE_RATE), np.float32), speech])


@pytest.fixture
def microphone(source, tmp_path) -> Path:
    silence = np.zeros(20 * SAMPLE_RATE, np.float32)
    soundfile.write(tmp_path / "heard.wav", np.concatenate([source, silence]), SAMPLE_RATE)
    return tmp_path / "heard.wav"


def start(tab) -> None:
    tab.locator("#live-go").click()
    tab.locator(".live[data-state=running]").wait_for()


def record(tab, *, seconds: float = LEAD_S + SECONDS + 0.5) -> str:
    """Start, wait until so much sound was recorded, stop, wait for the end; returns the text."""
    start(tab)
    tab.wait_for_function(f"cantowhisperLive().transport.sound.total >= {seconds * SAMPLE_RATE}", timeout=60_000)
    return stop(tab)


def stop(tab) -> str:
    tab.locator("#live-go").click()
    tab.locator(".live[data-state=idle]").wait_for(timeout=60_000)
    return tab.locator("#live-committed").inner_text()


FINER = 8  # lags are found to so many parts of a sample: devices start between two samples


def lag_of(part: np.ndarray, heard: np.ndarray, offset: int) -> float:
    """Samples that `part`, from sample `offset` of the source on, comes later in `heard` (earlier: negative)."""
    n = 1 << (heard.size + part.size).bit_length()
    spectrum = np.fft.rfft(heard, n) * np.conj(np.fft.rfft(part, n))
    peak = int(np.argmax(np.fft.irfft(spectrum, FINER * n)))
    return (peak if peak < FINER * n / 2 else peak - FINER * n) / FINER - offset


def compare(received: np.ndarray, source: np.ndarray) -> tuple[float, float, float]:
    """(lag in samples, signal to error in dB, drift in samples between beginning and end) after alignment.

    A missing or doubled sample anywhere would move everything behind it, and so show as drift.
    """
    heard, half = received.astype(np.float64) / 32768, source.size // 2
    lag, first, last = (
        lag_of(source, heard, 0),
        lag_of(source[:half], heard, 0),
        lag_of(source[half:], heard, half),
    )
    n = 1 << (heard.size + source.size).bit_length()
    moved = np.fft.irfft(np.fft.rfft(source, n) * np.exp(-2j * np.pi * np.fft.rfftfreq(n) * lag), n)
    there = slice(max(0, math.ceil(lag)), min(heard.size, math.floor(source.size + lag)))
    mine, theirs = heard[there], moved[there]
    gain = mine @ theirs / (theirs @ theirs)
    error = mine - gain * theirs
    return lag, 10 * np.log10((gain * theirs) @ (gain * theirs) / (error @ error)), last - first


def assert_equal_sound(received: np.ndarray, source: np.ndarray) -> None:
    _, ratio_db, drift = compare(received, source)
    assert abs(drift) < 0.5
    assert ratio_db > 20, "the device's own resampling leaves 30 dB and more; a missing sample far less"


def sent(tab) -> np.ndarray:
    """What the page recorded, to the last sample."""
    return np.array(
        tab.evaluate("(({sound}) => Array.from(sound.slice(0, sound.total)))(cantowhisperLive().transport)"), np.int16
    )


@pytest.mark.slow
def test_every_sample_arrives_and_becomes_text(url, engine, microphone, source):
    with browser(microphone=microphone) as launched, visit(launched, url) as tab:
        text = record(tab)
        (name,) = engine.kept
        assert np.array_equal(engine.received(name), sent(tab))
        assert_equal_sound(engine.received(name), source)
        assert len(text) >= 6 and tab.locator("#live-tentative").inner_text() == ""
        tab.wait_for_function("document.querySelector('#live-playback').duration > 4")
        with tab.expect_download() as download:
            tab.locator("[data-format=srt]").click()
        assert re.search(r"^00:00:0\d,\d{3} --> 00:00:0\d,\d{3}$", Path(download.value.path()).read_text(), re.M)
        tab.wait_for_timeout(300)
        assert engine.sessions == {}, "nothing is kept after the end"


@pytest.mark.slow
def test_delayed_failed_and_repeated_requests_lose_nothing(url, engine, microphone, source):
    """Of the pushes 30 % fail: before they arrive, after they did (the reply is lost), with 502, or 2 s late."""
    count = {"n": 0}

    def disturb(route):
        count["n"] += 1
        kind = count["n"] % 10
        if kind == 3:
            return route.fulfill(status=502, body="bad gateway")
        if kind == 6:
            route.fetch()  # it arrives, but the answer does not
            return route.fulfill(status=502, body="bad gateway")
        if kind == 9:
            time.sleep(2.0)
        return route.continue_()

    with browser(microphone=microphone) as launched, visit(launched, url) as tab:
        tab.route("**/component_server/**", disturb)
        text = record(tab)
        (name,) = engine.kept
        assert np.array_equal(engine.received(name), sent(tab))
        assert_equal_sound(engine.received(name), source)
        assert count["n"] >= 10 and len(text) >= 6


@pytest.mark.slow
def test_both_cores_busy(url, engine, microphone, source):
    def burn(until: threading.Event) -> None:
        while not until.is_set():
            np.linalg.svd(np.ones((200, 200)))

    over = threading.Event()
    burners = [threading.Thread(target=burn, args=(over,)) for _ in range(2)]
    for burner in burners:
        burner.start()
    try:
        with browser(microphone=microphone) as launched, visit(launched, url) as tab:
            record(tab)
            (name,) = engine.kept
            assert np.array_equal(engine.received(name), sent(tab))
            assert_equal_sound(engine.received(name), source)
    finally:
        over.set()
        for burner in burners:
            burner.join()


@pytest.mark.slow
def test_two_tabs_do_not_mix(url, engine, microphone, source, tmp_path):
    soundfile.write(tmp_path / "other.wav", np.concatenate([source[::-1], np.zeros(20 * SAMPLE_RATE)]), SAMPLE_RATE)
    with (
        browser(microphone=microphone) as one,
        browser(microphone=tmp_path / "other.wav") as two,
        visit(one, url) as first,
        visit(two, url) as second,
    ):
        start(first), start(second)
        for tab in (first, second):
            tab.wait_for_function(f"cantowhisperLive().transport.sound.total >= {5 * SAMPLE_RATE}", timeout=60_000)
        stop(first), stop(second)
        names = list(engine.kept)
        assert len(names) == 2
        assert np.array_equal(engine.received(names[0]), sent(first))
        assert np.array_equal(engine.received(names[1]), sent(second))
        assert_equal_sound(engine.received(names[0]), source)
        assert_equal_sound(engine.received(names[1]), np.ascontiguousarray(source[::-1]))


@pytest.mark.slow
def test_a_restart_of_the_server_loses_neither_text_nor_sound(app, microphone, source):
    """Everything the server knew is gone in the middle of speech, and it is away for a while."""
    from gradio.context import Context

    before, after = new_engine(), new_engine()
    first_id = Context.id
    page = app.build_page(before.recognizer, engine=before)
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **app.launch_options())
    port = int(url.rstrip("/").rsplit(":", 1)[1])
    again = None
    try:
        with browser(microphone=microphone) as launched, visit(launched, url + "?raw") as tab:
            start(tab)
            tab.wait_for_function(f"cantowhisperLive().transport.have >= {2.5 * SAMPLE_RATE}", timeout=60_000)
            page.close(verbose=False)
            before.close()
            tab.locator("#live-problem[data-problem=offline]").wait_for()
            kept = tab.locator("#live-committed").inner_text()
            Context.id = first_id  # a new process numbers the page's parts from the same number on
            again = app.build_page(after.recognizer, engine=after)
            again.launch(
                prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", server_port=port, **app.launch_options()
            )
            tab.wait_for_function(f"cantowhisperLive().transport.sound.total >= {5 * SAMPLE_RATE}", timeout=60_000)
            text = stop(tab)
            assert text.startswith(kept) and len(text) >= 6
            (first,), (second,) = before.kept, after.kept
            whole, rest = sent(tab), after.received(second)
            begin = after.kept[second][0][0]
            assert begin <= before.received(first).size, "what had no final text is said again"
            assert np.array_equal(rest[begin:], whole[begin:])
            assert np.array_equal(before.received(first), whole[: before.received(first).size])
            assert_equal_sound(whole, source)
    finally:
        for engine in (before, after):
            engine.close()
        if again:
            again.close(verbose=False)


def test_a_refused_microphone_is_said_in_words_until_it_is_allowed(url):
    with browser(allow_microphone=False) as launched, visit(launched, url) as tab:
        tab.locator("#live-go").click()
        tab.locator("#live-problem[data-problem=refused]").wait_for()
        assert "The microphone was refused" in tab.locator("#live-problem").inner_text()
        assert tab.locator(".live").get_attribute("data-state") == "idle"
        tab.wait_for_function("cantowhisperLive().transport.closed")
        tab.wait_for_timeout(500)  # the place that was asked for is given back
        assert tab.locator("#live-state").get_attribute("data-said") == "again"
        assert tab.locator("#live-playback").is_hidden()
        problem = lambda: tab.locator("#live-problem").get_attribute("data-problem")
        tab.evaluate("['offline', 'asleep'].forEach((key) => cantowhisperLive().alerts.raise(key))")
        assert problem() == "asleep"
        tab.evaluate("cantowhisperLive().alerts.drop('asleep')")
        assert problem() == "offline", "what goes leaves the others"
        tab.evaluate("cantowhisperLive().alerts.drop('offline')")
        assert problem() == "refused"
        tab.context.grant_permissions(["microphone"])
        tab.locator("#live-problem").wait_for(state="hidden")


@pytest.mark.slow
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_a_phone_and_waits_for_a_place(app, microphone, dark):
    full = LiveEngine(Scripted(), limits=LiveLimits(max_sessions=1))
    taken = full.start()
    full.push(taken, 0, np.zeros(1600, np.int16))  # a place without any sound is soon free again
    try:
        with (
            serving(app.build_page(full.recognizer, engine=full), **app.launch_options()) as address,
            browser(microphone=microphone) as launched,
            visit(launched, address + "?raw", dark=dark, viewport=PHONE) as tab,
        ):
            start(tab)
            tab.locator("#live-problem[data-problem=busy]").wait_for()
            full.forget(taken)
            tab.locator("#live-committed span").first.wait_for(timeout=60_000)  # what was said while waiting is there
            assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
            stop(tab)
    finally:
        full.close()


@pytest.mark.slow
def test_recognised_text_is_shown_as_text(app, microphone):
    class Hostile(Scripted):
        def decode(self, waveform, prefix="", *, language=None, attention=False):
            return Hypothesis("<img src=x onerror=alert(1)>"[len(prefix) :])

    engine = LiveEngine(Hostile())
    try:
        with (
            serving(app.build_page(engine.recognizer, engine=engine), **app.launch_options()) as address,
            browser(microphone=microphone) as launched,
            visit(launched, address + "?raw") as tab,
        ):
            assert "<img" in record(tab)
            assert tab.locator("#live-paper img").count() == 0
    finally:
        engine.close()


def test_programs_have_the_same_four_calls(url, engine, source):
    client = pytest.importorskip("gradio_client").Client(url.split("?")[0], verbose=False)
    import base64

    sound = (source * 32767).astype(np.int16)
    session = client.predict(api_name="/start")["session"]
    text, at, seen = "", 0, 0
    while at < sound.size:
        chunk = base64.b64encode(sound[at : at + 16_000].tobytes()).decode()
        reply = client.predict(session, at, chunk, -1, seen, api_name="/push")
        text, at, seen = text + "".join(e.get("text", "") for e in reply["events"]), reply["have"], reply["seen"]
    reply = client.predict(session, at, seen, api_name="/finish")
    while True:
        text, seen = text + "".join(e.get("text", "") for e in reply["events"]), reply["seen"]
        if reply["final"]:
            break
        reply = client.predict(session, seen, api_name="/poll")
    assert len(text) >= 6 and np.array_equal(engine.received(session), sound)


def test_it_says_what_is_missing_without_a_model(app, monkeypatch):
    monkeypatch.delenv("MODEL_ID", raising=False)
    with pytest.raises(SystemExit, match="MODEL_ID"):
        app.main()
