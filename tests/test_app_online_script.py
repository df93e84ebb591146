"""The parts of the live page's script, in a browser without a microphone: moments instead of minutes."""

import base64
import html
import io
import random
import re
import time

import numpy as np
import pytest
import webvtt
from browser import browser, chromium
from test_app_online import new_engine

from cantowhisper.contracts import Segment
from cantowhisper.repository import load_page
from cantowhisper.serving.live.service import LiveService
from cantowhisper.serving.subtitles import clock, write
from cantowhisper.serving.texts import live, shared
from cantowhisper.serving.texts.say import Say, script_of
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE

PARTS = ("recorder.js", "transport.js", "transcript.js", "words.js", "keep.js")  # page.js ties them to the page
PAPER = "<div id='committed'></div><span id='tentative'></span>"


@pytest.fixture(scope="module")
def chrome():
    chromium()
    with browser() as launched:
        yield launched


@pytest.fixture
def tab(chrome, app):
    """An empty page with the script's classes."""
    page = chrome.new_page()
    page.set_content(PAPER)
    parts = [(app.HERE / name).read_text(encoding="utf-8") for name in PARTS]
    page.add_script_tag(content="\n".join([script_of([shared, live], Say()), *parts]))
    yield page
    page.close()


@pytest.fixture(scope="module")
def app():
    pytest.importorskip("gradio")
    pytest.importorskip("faster_whisper")
    return load_page("online")


# -------------------------------------------------------------------------------------------------------- resampling

RESAMPLE = """([rate, blocks]) => {
  const resampler = new Resampler(rate), out = [];
  for (const block of blocks) out.push(...resampler.take(Float32Array.from(block)));
  out.push(...resampler.flush());
  return out;
}"""


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_blocks_of_any_size_join_without_a_seam(tab, rate):
    tones = lambda n, rate: sum(0.2 * np.sin(2 * np.pi * hz * np.arange(n) / rate + hz) for hz in (300, 1100, 2700))
    sound = tones(rate // 2, rate)
    chance = np.random.default_rng(rate)
    ends = np.sort(chance.integers(0, sound.size, 12))  # some blocks are empty or of a few samples
    cut = [block.tolist() for block in np.split(sound, ends)]
    whole = np.array(tab.evaluate(RESAMPLE, [rate, [sound.tolist()]]))
    assert np.array_equal(tab.evaluate(RESAMPLE, [rate, cut]), whole)
    assert abs(whole.size - SAMPLE_RATE // 2) <= 1
    inside = slice(200, -200)  # at both ends there is silence beside the sound
    error = whole[inside] / 32768 - tones(whole.size, SAMPLE_RATE)[inside]
    assert np.abs(error).max() < 0.002


# --------------------------------------------------------------------------------------------------------- transport

SEND = """async (blocks) => {
  const sound = new Sound(), views = [], told = [];
  const server = new Proxy({}, { get: (_, name) => (request) => window.call(name, request) });
  const transcript = new Transcript(document.querySelector("#committed"), document.querySelector("#tentative"));
  const onView = (view) => { views.push(view); transcript.take(view.events, view.tentative); };
  const transport = new Transport({ server, choices: {}, sound, onView, onState: (key) => told.push(key) });
  transport.pause = () => new Promise((resolve) => setTimeout(resolve, 5)); // no need to be patient here
  const done = transport.run();
  for (const block of blocks) {
    transport.add(Int16Array.from(block));
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  transport.end();
  await done;
  transcript.close(sound.total / RATE);
  return { told, text: transcript.text, shown: document.querySelector("#committed").textContent };
}"""


class Unreliable:
    """The page's server functions, of which some fail: before they arrive, or when they have and the answer is lost.

    Of some pushes only the first half is taken, as if there were no more room; and twice all sessions are gone, when
    there is speech that was taken and has no final text.
    """

    def __init__(self, app, engine, seed: int):
        functions = app.server_functions(LiveService(engine.run()), engine)
        self.functions = {function.__name__: function for function in functions}
        self.engine = engine
        self.chance = random.Random(seed)
        self.pushes_to_restart = [8, 3]
        self.n_pushes = 0
        self.started: list[tuple[dict, dict, str]] = []  # request, last answer before it, name of the session
        self.last = {"keep_from": 0, "have": 0, "known": ""}

    def __call__(self, name: str, request: dict):
        if name == "live_start":
            reply = self.functions[name](request)
            self.started.append((request, self.last, reply["session"]))
            return reply
        self.n_pushes += name == "live_push"
        unfinished = self.last["have"] > self.last["keep_from"]
        if self.pushes_to_restart and self.n_pushes >= self.pushes_to_restart[-1] and unfinished:
            self.pushes_to_restart.pop()
            self.engine.sessions.clear()
        # The farewell arrives: where it is lost, the session is kept until nobody has asked for it for a while.
        kinds = ["well", "well", "well", "lost", "answer lost", "half"]
        kind = self.chance.choice(kinds) if name == "live_push" else "well"
        if kind == "lost":
            return None
        if kind == "half":
            raw = base64.b64decode(request["audio"])
            half = raw[: len(raw) // 4 * 2]
            request |= {"audio": base64.b64encode(half).decode(), "end": request["end"] and len(half) == len(raw)}
        reply = self.functions[name](request)
        if kind == "answer lost":
            return None
        self.last = reply if "have" in reply else self.last
        return reply


@pytest.mark.parametrize("seed", range(3))
def test_whatever_fails_every_sample_arrives_and_unfinished_speech_is_said_again(tab, app, samples, seed):
    speech = load_audio(samples.parent / "clips" / "market_morning.mp3")[: 5 * SAMPLE_RATE]
    whole = (speech * 32767).astype(np.int16)
    engine = new_engine()
    server = Unreliable(app, engine, seed)
    tab.expose_function("call", server)
    try:
        ends = sorted(random.Random(seed).sample(range(whole.size), 20))
        found = tab.evaluate(SEND, [block.tolist() for block in np.split(whole, ends)])
        deadline = time.monotonic() + 10
        while engine.sessions and time.monotonic() < deadline:
            tab.wait_for_timeout(20)  # nobody waits for the answer to the farewell
    finally:
        left = dict(engine.sessions)
        engine.close()
    assert found["told"][-1] == "done" and found["told"].count("lost") == 2
    assert not left, "nothing is kept after the end"
    assert [last["have"] > request["at"] for request, last, _ in server.started] == [False, True, True]
    for request, last, name in server.started:
        assert request["at"] == last["keep_from"] and request["known"] == last["known"], "from the unfinished sentence"
        if name in engine.kept:  # else everything that was sent to it was lost
            received = engine.received(name)
            assert engine.kept[name][0][0] == request["at"]
            assert np.array_equal(received[request["at"] :], whole[request["at"] : received.size])
    assert received.size == whole.size
    assert len(found["text"]) >= 6
    assert re.sub(r"\d\d:\d\d\.\d", "", found["shown"]).strip() == found["text"]


# -------------------------------------------------------------------------------------------------------- transcript

FILE = """([lines, format]) => {
  const transcript = new Transcript(document.querySelector("#committed"), document.querySelector("#tentative"));
  for (const { start_s, end_s, parts } of lines) {
    transcript.take([{ start_s, before: "\\n" }, ...parts.map((text) => ({ text })), { end_s }], "");
  }
  return transcript.file(format);
}"""
TEXTS = ["食咗飯未", "<b>R&D</b>", "a --> b", "  兩\n行\t字 ", " ", "&amp;", "one 二 three"]


@pytest.mark.parametrize("format_", ["txt", "srt", "vtt"])
def test_a_live_transcript_is_saved_as_one_of_a_recording_is(tab, format_):
    chance = random.Random(1)
    times = sorted({round(chance.uniform(0, 7200), 2) for _ in range(25)} | {0.0, 59.99, 60.0, 3599.99, 3600.0})
    lines = []
    for start, end in zip(times[::2], times[1::2], strict=True):
        text = chance.choice(TEXTS)
        cut = chance.randrange(len(text) + 1)  # it grows while it is said
        lines.append({"start_s": start, "end_s": end, "parts": [text[:cut], text[cut:]]})
    segments = [Segment(x["start_s"], x["end_s"], "".join(x["parts"]), 1.0) for x in lines]
    said = [s for s in segments if s.text.strip()]
    file = tab.evaluate(FILE, [lines, format_])
    if format_ == "txt":
        assert file == write(said, format_)
        return
    cues = webvtt.from_buffer(io.StringIO(file), format=format_)
    assert [(c.start, c.end) for c in cues] == [(clock(s.start_s), clock(s.end_s)) for s in said]
    shown = [html.unescape(c.raw_text) if format_ == "vtt" else c.raw_text for c in cues]
    assert shown == [" ".join(s.text.split()).replace("-->", "→") for s in said]


@pytest.mark.parametrize(
    ("text", "words"), [("食咗飯", 3), ("hello world", 2), ("我食apple派", 4), ("二十 20 ，。！", 3), ("", 0)]
)
def test_a_character_counts_as_a_word_and_so_does_a_word_of_letters(tab, text, words):
    counted = tab.evaluate("text => Object.create(Transcript.prototype, { text: { value: text } }).words", text)
    assert counted == words
