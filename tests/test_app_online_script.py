"""The parts of the live page's script, in a browser without a microphone: moments instead of minutes."""

import base64
import random
import re
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from browser import browser, chromium
from hypothesis import given
from hypothesis import strategies as st
from test_app_online import new_engine
from test_serving_captions import MS, QUICK, prose, read, seams, unescaped, width

from cantowhisper.contracts import Segment
from cantowhisper.repository import load_page
from cantowhisper.serving.captions import rules as caption_rules
from cantowhisper.serving.live.service import MAX_FILE_CHARACTERS, LiveService
from cantowhisper.serving.subtitles import write
from cantowhisper.serving.texts import live, shared
from cantowhisper.serving.texts.say import Say, script_of
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE
from cantowhisper.speech.text import join_texts

PARTS = ("recorder.js", "transport.js", "transcript.js", "words.js", "keep.js")  # page.js ties them to the page
PAPER = "<div id='committed'></div><span id='tentative'></span>"


@pytest.fixture(scope="module")
def chrome():
    chromium()
    with browser() as launched:
        yield launched


@pytest.fixture
def tab(chrome, app):
    yield from opened(chrome, app)


def opened(chrome, app):
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

MAKE = """(lines) => {
  const transcript = new Transcript(document.querySelector("#committed"), document.querySelector("#tentative"));
  for (const { start_s, end_s, parts } of lines) {
    const ends = end_s === null ? [] : [{ end_s }];
    transcript.take([{ start_s, before: "\\n", language: "yue" }, ...parts.map((text) => ({ text })), ...ends], "");
  }
  return { rows: transcript.rows(), file: transcript.file };
}"""
ODD = ["食咗飯未", "<b>R&D</b>", "a --> b", "  兩\n行\t字 ", " ", "&amp;", "one 二 three"]


@st.composite
def said(draw) -> list[dict]:
    """Lines as they come from the server: in parts, now and then without an end or with one after the next begins."""
    lines, at = [], draw(st.integers(0, 7200))
    for text in draw(st.lists(st.one_of(prose, st.sampled_from(ODD)), min_size=1, max_size=8)):
        cut, lasts = draw(st.integers(0, len(text))), draw(st.integers(5, 2000)) / 100
        end = draw(st.sampled_from([at + lasts, at + lasts, at + lasts + 0.3, None]))
        lines.append({"start_s": round(at, 2), "end_s": end and round(end, 2), "parts": [text[:cut], text[cut:]]})
        at += lasts + draw(st.sampled_from([0.0, 0.04, 2.5]))
    return lines


@pytest.fixture(scope="module")
def paper(chrome, app):
    yield from opened(chrome, app)


@pytest.fixture(scope="module")
def service():
    engine = new_engine()
    yield LiveService(engine)
    engine.close()


@QUICK
@given(said(), st.sampled_from(["srt", "vtt"]))
def test_subtitles_of_any_live_transcript_keep_to_the_rules_of_captions(paper, service, lines, name):
    rows = paper.evaluate(MAKE, lines)["rows"]
    answer = service.subtitles(name, rows)
    cues = read(answer["file"], name)
    text = join_texts((row["text"].replace("-->", "→") for row in rows), "yue")
    rules = caption_rules.RULES[caption_rules.script_of(text)]
    shown = [[line if name == "srt" else unescaped(line) for line in cue.lines] for cue in cues]
    seams([line for cue in shown for line in cue], text)  # nothing is lost, nothing is new
    assert text.replace(" ", "") == "".join("".join(x["parts"]) for x in lines).replace("-->", "→").translate(BLANK)
    for cue, shows in zip(cues, shown, strict=True):
        assert 0 < cue.end - cue.start <= rules.max_s + MS and len(shows) <= rules.max_lines
        assert all(width(line, rules) <= rules.line_columns for line in shows)
    assert all(cue.end < following.start for cue, following in pairwise(cues)), "no overlap, and a gap"
    assert answer["file"] == write([Segment(**row, confidence=1.0) for row in rows], name), "as of a recording"


BLANK = dict.fromkeys(map(ord, " \n\t"))


@QUICK
@given(said())
def test_plain_text_is_made_in_the_page_as_the_server_would(paper, lines):
    made = paper.evaluate(MAKE, lines)
    assert made["file"] == write([Segment(**row, confidence=1.0) for row in made["rows"]], "txt")


def test_what_cannot_be_made_a_file_of_is_one_clear_line(service):
    row = {"start_s": 0.0, "end_s": 1.0, "text": "食" * 2000}
    far = [row | {"start_s": float(i), "end_s": i + 1.0} for i in range(MAX_FILE_CHARACTERS // 2000 + 1)]
    for name, lines, words in (
        ("docx", [row], "no transcript format"),
        ("srt", [row, row], "Row 2: start_s is before the end of the row before."),
        ("srt", [row | {"text": 7}], "Row 1: text is no text."),
        ("srt", "x", "rows is no list."),
        ("srt", far, f"text is longer than {MAX_FILE_CHARACTERS:,} characters."),
        ("srt", [row] * 10_001, "There are more than 10,000 rows."),
    ):
        assert words in service.subtitles(name, lines)["error"]
    chinese = Say("zh-HK").of(service.subtitles("srt", [row, row]))
    assert chinese["error"].startswith("第 2 行：")


def test_files_are_made_one_at_a_time_and_nobody_takes_all_places():
    who, row = threading.local(), {"start_s": 0.0, "end_s": 1.0, "text": "食飯"}
    engine = new_engine()
    service = LiveService(engine, visitor=lambda: who.name)
    answers = []

    def ask(name: str) -> dict:
        who.name = name
        answers.append(service.subtitles("srt", [row]))
        return answers[-1]

    threads = [threading.Thread(target=ask, args=(name,)) for name in ("a", "a", "b", "c")]
    with service._one_at_a_time:
        for n, thread in enumerate(threads, start=1):
            thread.start()
            while len(service._files) < n:
                time.sleep(0.001)
            if n == 2:
                assert "2 of your requests" in ask("a")["error"]
        assert "Too many people" in ask("d")["error"]
    for thread in threads:
        thread.join()
    engine.close()
    assert sum("食飯" in answer.get("file", "") for answer in answers) == 4 and len(service._files) == 0


@pytest.mark.parametrize(
    ("text", "words"), [("食咗飯", 3), ("hello world", 2), ("我食apple派", 4), ("二十 20 ，。！", 3), ("", 0)]
)
def test_a_character_counts_as_a_word_and_so_does_a_word_of_letters(tab, text, words):
    counted = tab.evaluate("text => Object.create(Transcript.prototype, { text: { value: text } }).words", text)
    assert counted == words
