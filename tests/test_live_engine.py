"""Sessions, engine and service of live transcription: real voice detection, a scripted model, a simulated clock."""

import base64
import gc
import math
import weakref

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cantowhisper.contracts import CantowhisperError, ModelFacts
from cantowhisper.serving.live.agreement import DecodeRequest, Hypothesis
from cantowhisper.serving.live.engine import LiveEngine, UnknownSession
from cantowhisper.serving.live.language import SpokenLanguage
from cantowhisper.serving.live.limits import LiveLimits
from cantowhisper.serving.live.options import LiveOptions
from cantowhisper.serving.live.pace import Pace
from cantowhisper.serving.live.replay import SimulatedClock, replay, report
from cantowhisper.serving.live.service import LiveService
from cantowhisper.serving.live.session import Session
from cantowhisper.serving.live.vad import VoiceDetector
from cantowhisper.serving.segments import WINDOW, speech_probabilities
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE

pytest.importorskip("faster_whisper")
ALONE = LiveOptions(context_s=0)  # for a script that knows nothing of what came before


class Scripted:
    """Writes four characters a second of what it hears, the same for the same length; remembers what it heard."""

    languages, facts = ["en", "yue", "zh"], ModelFacts(language="yue", language_token="<|yue|>")
    takes_words = True

    def __init__(self, clock: SimulatedClock | None = None, *, costs_s: float = 0.0):
        self.heard, self._clock, self._costs_s = [], clock, costs_s

    def decode(self, waveform, prefix="", *, language=None, attention=False):
        self.heard.append(waveform)
        if self._clock:
            self._clock.now_s += self._costs_s
        text = "".join(chr(0x4E00 + i * 37 % 500) for i in range(int(waveform.size / SAMPLE_RATE * 4)))
        return Hypothesis(text[len(prefix) :])


class Listed(Scripted):
    """Remembers the words that it was given."""

    def decode(self, waveform, prefix="", *, language=None, attention=False, words=()):
        self.words = words
        return super().decode(waveform, prefix, language=language)


@pytest.fixture(scope="module")
def speech(samples) -> np.ndarray:
    return load_audio(samples.parent / "clips" / "market_morning.mp3")


@pytest.fixture
def engine() -> LiveEngine:
    return LiveEngine(Scripted(), clock=SimulatedClock())


def int16(waveform: np.ndarray) -> np.ndarray:
    return (waveform * 32767).astype(np.int16)


def finish(engine: LiveEngine, name: str, at: int, *, seen: int = 0) -> dict:
    engine.push(name, at, np.zeros(0, np.int16), end=True)
    while not engine.poll(name)["final"]:
        engine.work_once()
    return engine.poll(name, seen=seen)


def text_of(view: dict) -> str:
    return "".join(event.get("before", "") + event.get("text", "") for event in view["events"]).strip()


def test_voice_detection_goes_on_where_it_stopped(speech):
    whole = speech[: speech.size // WINDOW * WINDOW]
    detector = VoiceDetector()
    steps = [detector(whole[i : i + 8 * WINDOW]) for i in range(0, whole.size, 8 * WINDOW)]
    assert np.abs(np.concatenate(steps) - speech_probabilities(whole)).max() < 1e-3


def test_a_replayed_recording_becomes_lines_at_its_sentences(engine, speech):
    (track,) = replay(engine, [("market", speech)])
    starts = [line["start_s"] for line in track.lines]
    assert starts == sorted(starts) and 6 <= len(starts) <= 8  # eight sentences, of which near ones may be one line
    assert all(line["end_s"] > line["start_s"] and line["text"] for line in track.lines)
    found = report([track], engine, audio_s=speech.size / SAMPLE_RATE)
    assert 0 < found["commit_delay_p50_s"] < found["commit_delay_p95_s"] < 3
    assert engine.sessions == {}


def test_same_recording_same_text_however_it_is_cut(speech):
    sound, texts = int16(speech), set()
    for size in (4000, 4001, 48_000):
        engine = LiveEngine(Scripted(), clock=SimulatedClock())
        name = engine.start()
        for first in range(0, sound.size, size):
            engine.push(name, first, sound[first : first + size])
        texts.add(text_of(finish(engine, name, sound.size)))
    assert len(texts) == 1 and len(texts.pop()) > 50


# How far before or after what was received a push begins, and how long it is. Most repeat something and bring more.
pushes = st.lists(st.tuples(st.integers(-200, 20), st.integers(0, 400)), min_size=2, max_size=12)


@settings(deadline=None, max_examples=60)
@given(pushes, st.sampled_from([0, 700]))
def test_whatever_order_sound_arrives_in_it_is_taken_once_and_in_order(pushes, begin):
    """Repeated, late and early requests: what was received is the beginning of the source, and no sample moves."""
    source = np.arange(1, 6001, dtype=np.int16)  # every sample tells its place
    session, reached = Session(begin=begin), begin
    for step, n in [(0, 200), *pushes]:
        first = max(begin, reached + step)
        session.push(first, source[first : first + n], oldest=begin)
        reached = max(reached, first + n) if first <= reached else reached
        assert session.received == reached
        assert np.array_equal(np.concatenate(session._inbox), source[begin:reached])


@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_sound_that_comes_again_is_taken_from_where_the_first_ended(n_first, n_back, n_new):
    source = np.arange(1, 1001, dtype=np.int16)
    session, again = Session(), max(0, n_first - n_back)
    session.push(0, source[:n_first])
    session.push(again, source[again : n_first + n_new])
    assert session.received == n_first + n_new and session.gaps == []
    assert np.array_equal(np.concatenate([*session._inbox, source[:0]]), source[: n_first + n_new])


def test_sound_that_nobody_has_any_more_is_silence_and_reported():
    session = Session()
    session.push(0, np.ones(4000, np.int16))
    session.push(12_000, np.ones(4000, np.int16))  # the page can still send what lies between
    assert session.received == 4000 and session.gaps == []
    session.push(12_000, np.ones(4000, np.int16), oldest=12_000)
    assert session.received == 16_000 and session.view()["gaps"] == [[4000, 12_000]]
    with pytest.raises(CantowhisperError, match="start a new session"):
        session.push(10**9, np.ones(1, np.int16), oldest=10**9)


def test_sound_beyond_what_may_be_held_stays_with_the_page(speech):
    session = Session(max_held_s=2.0)
    sound = int16(speech)
    session.push(0, sound)
    assert session.received == 2 * SAMPLE_RATE
    session.push(session.received, sound[session.received :])
    assert session.received == 2 * SAMPLE_RATE and session.held == 2 * SAMPLE_RATE


def test_a_session_that_was_lost_goes_on_without_losing_or_repeating_text(speech):
    """The server forgets everything in the middle of a sentence; the page says again what had no final text."""
    sound, cut = int16(speech), int(5.3 * SAMPLE_RATE)
    first = LiveEngine(Scripted(), clock=SimulatedClock(), options=ALONE)
    name, text, seen = first.start(), "", 0
    for at in range(0, cut, 4000):
        view = first.push(name, at, sound[at : at + 4000], seen=seen)
        text, seen = text + text_of({"events": view["events"]}), view["seen"]
        while first.work_once():
            continue
    view = first.poll(name, seen=seen)
    text += text_of(view)
    assert view["known"], "the cut is meant to be within a sentence"
    second = LiveEngine(Scripted(), clock=SimulatedClock(), options=ALONE)
    again = second.start(at=view["keep_from"], prefix=view["known"])
    second.push(again, view["keep_from"], sound[view["keep_from"] : view["keep_from"] + 480_000])
    rest = finish(second, again, sound.size)
    (undisturbed,) = replay(LiveEngine(Scripted(), clock=SimulatedClock(), options=ALONE), [("market", speech)])
    joined = (text + text_of(rest)).replace("\n", "")
    # Windows of 32 ms lie elsewhere now, so pauses near the limit may be judged otherwise later on.
    assert joined.startswith("".join(line["text"] for line in undisturbed.lines[:4]))
    assert rest["events"][0]["before"] == ""


def test_ten_minutes_of_silence_and_noise_are_not_recognised(engine):
    generator = np.random.default_rng(1)
    minute = 60 * SAMPLE_RATE
    name, at = engine.start(), 0
    for loudness in (0, 0, 30, 300, 1000, 0, 30, 300, 1000, 0):
        for _ in range(10):
            engine.push(name, at, (generator.standard_normal(minute // 10) * loudness).astype(np.int16))
            at += minute // 10
            engine.work_once()
    view = finish(engine, name, at)
    assert (view["events"], engine.n_passes, engine.recognizer.heard) == ([], 0, [])
    assert view["have"] == at == 10 * minute


def test_abandoned_sessions_are_forgotten_with_everything_they_held(speech):
    engine = LiveEngine(Scripted(), clock=SimulatedClock(), limits=LiveLimits(max_sessions=20))
    sound = int16(speech[: 10 * SAMPLE_RATE])
    gone = []
    for _ in range(20):
        name = engine.start()
        engine.push(name, 0, sound)
        gone.append(weakref.ref(engine.sessions[name]))
    while engine.work_once():
        continue
    assert engine.start() is None, "no room"
    engine.clock.now_s += engine.limits.forget_after_s + 1
    engine.work_once()
    gc.collect()
    assert engine.sessions == {} and not any(reference() for reference in gone)
    with pytest.raises(UnknownSession):
        engine.poll(name)
    assert engine.start()


def test_a_place_in_which_nothing_was_ever_said_is_free_again_soon(speech):
    engine = LiveEngine(Scripted(), clock=SimulatedClock(), limits=LiveLimits(max_sessions=2))
    speaks, silent = engine.start(), engine.start()
    engine.push(speaks, 0, int16(speech[:8000]))
    engine.clock.now_s += 16
    assert engine.start() and set(engine.sessions) > {speaks} and silent not in engine.sessions


def test_a_long_session_holds_no_more_than_its_last_words(engine, speech):
    name, sound, at = engine.start(), int16(speech), 0
    for _ in range(20):  # eight minutes
        for first in range(0, sound.size, 16_000):
            chunk = sound[first : first + 16_000]
            engine.push(name, at, chunk)
            at += chunk.size
            while engine.work_once():
                continue
            assert engine.sessions[name].held < 17 * SAMPLE_RATE
            assert engine.sessions[name]._sound.size < 17 * SAMPLE_RATE


def test_speech_at_its_end_comes_before_speech_that_goes_on(speech):
    engine = LiveEngine(Scripted(), clock=SimulatedClock())
    sound = int16(speech)
    talking, done = engine.start(), engine.start()
    engine.push(talking, 0, sound[: int(1.9 * SAMPLE_RATE)])
    engine.push(done, 0, sound[: int(3.5 * SAMPLE_RATE)])
    assert engine.work_once() and engine.poll(done)["events"] and not engine.poll(talking)["tentative"]
    assert engine.work_once() and engine.poll(talking)["tentative"]


def test_under_load_the_page_gives_way_in_the_stated_order():
    pace, levels, steps = Pace(), [], []
    for pass_s in (0.1, 0.5, 1.0, 2.0, 4.0):
        for _ in range(30):
            pace.measured(pass_s)
        levels.append(pace.level(1, behind_s=0))
        steps.append(pace.step_s(1, behind_s=0))
    assert levels == ["", "longer_step", "longer_step", "no_tentative", "pauses_only"]
    assert steps == sorted(steps) and steps[0] == pace.options.step_s and steps[-1] == float("inf")
    assert Pace().level(0, behind_s=6) == "pauses_only" and Pace().level(0, behind_s=11) == "full"


def test_slow_machine_many_speakers_no_word_lost(speech):
    """Five speakers at 1.5 s a pass: late, but everything has its final text, and newcomers are asked to wait."""
    clock = SimulatedClock()
    engine = LiveEngine(Scripted(clock, costs_s=1.5), clock=clock, options=ALONE)
    tracks = replay(engine, [(str(i), speech) for i in range(5)])
    quick = replay(LiveEngine(Scripted(), clock=SimulatedClock(), options=ALONE), [("quick", speech)])[0]
    for track in tracks:
        assert [(line["start_s"], line["end_s"]) for line in track.lines] == [
            (line["start_s"], line["end_s"]) for line in quick.lines
        ]
        assert track.text == quick.text


EN, YUE = "<|en|>", "<|yue|>"


def likely(**shares: float) -> dict[str, float]:
    return {f"<|{code}|>": math.log(share) for code, share in shares.items()}


def asked(start_s: float, end_s: float) -> DecodeRequest:
    return DecodeRequest(int(start_s * SAMPLE_RATE), int(end_s * SAMPLE_RATE), "", False)


def hear(language: SpokenLanguage, start_s: float, end_s: float, **shares: float) -> bool:
    """Whether the pass heard the language."""
    wanted = language.is_wanted(asked(start_s, end_s))
    if wanted:
        language.hear(asked(start_s, end_s), likely(**shares))
    return wanted


def test_a_language_stays_once_it_is_clear_until_a_long_silence():
    language = SpokenLanguage()
    assert language.token == ""
    assert hear(language, 0, 1.2, en=0.98, yue=0.02) and language.token == EN, "the likeliest so far"
    assert hear(language, 0, 1.8, en=0.3, yue=0.7) and language.token == YUE, "more of the same piece counts instead"
    assert hear(language, 0, 2.5, en=0.02, yue=0.98) and language.clear
    assert not hear(language, 0, 3.0, en=0.99, yue=0.01)
    assert not hear(language, 20, 22, en=0.99, yue=0.01) and language.token == YUE
    assert hear(language, 53, 56, en=0.99, yue=0.01) and language.token == EN, "after 31 s somebody else may speak"


def test_what_several_pieces_say_of_the_language_adds_up():
    language = SpokenLanguage()
    for start_s in (0, 3, 6):
        assert hear(language, start_s, start_s + 1.5, en=0.2, yue=0.8)
    assert language.clear, "0.8 three times is 0.98"


def test_the_language_is_settled_in_the_end_even_where_it_never_is_clear():
    language, n = SpokenLanguage(), 0
    while hear(language, 4 * n, 4 * n + 3, en=0.5, yue=0.5) and n < 50:
        n += 1
    assert n == 10, "30 s are all that Whisper ever heard"


class Detects(Scripted):
    """Knows no language of its own, and hears Cantonese."""

    languages, facts = ["en", "zh"], ModelFacts()

    def __init__(self, **options):
        super().__init__(**options)
        self.n_heard, self.languages_decoded = 0, set()

    def decode(self, waveform, prefix="", *, language=None, attention=False):
        self.languages_decoded.add(language)
        return super().decode(waveform, prefix, language=language)

    def language_log_probs(self, waveform):
        self.n_heard += 1
        return likely(en=0.03, zh=0.97)


@pytest.mark.parametrize("language", ["auto", ""])
def test_a_session_does_not_listen_for_its_language_at_every_pass(speech, language):
    engine = LiveEngine(Detects(), clock=SimulatedClock())
    (track,) = replay(engine, [("market", speech)], language=language)
    assert 0 < engine.recognizer.n_heard < 0.2 * engine.n_passes
    assert engine.recognizer.languages_decoded == {"<|zh|>"}
    assert (track.view["language"], track.view["language_name"]) == ("zh", "中文 Chinese") and track.view["detected"]


def test_cantonese_by_name_is_decoded_by_a_stock_model_and_written_traditionally(speech):
    class Writes(Detects):
        def decode(self, waveform, prefix="", *, language=None, attention=False):
            self.languages_decoded.add(language)
            return Hypothesis("这里有鱼"[len(prefix) :])

    engine = LiveEngine(Writes(), clock=SimulatedClock())
    (track,) = replay(engine, [("market", speech[: 4 * SAMPLE_RATE])], language="yue")
    assert engine.recognizer.n_heard == 0 and engine.recognizer.languages_decoded == {"yue"}
    assert track.lines[0]["text"] == "這裏有魚" and track.view["language"] == "yue" and not track.view["detected"]
    (track,) = replay(engine, [("market", speech[: 4 * SAMPLE_RATE])], language="yue", script="as written")
    assert track.lines[0]["text"] == "这里有鱼"


def test_the_usual_delay_is_that_of_what_was_committed_lately(engine, speech):
    assert engine.usual_s is None, "nobody has spoken"
    (track,) = replay(engine, [("market", speech)])
    measured = report([track], engine, audio_s=speech.size / SAMPLE_RATE)["commit_delay_p50_s"]
    assert abs(engine.usual_s - measured) < 0.5 and track.view["usual_s"] == engine.usual_s


def test_a_session_of_full_length_says_so_and_another_one_goes_on_from_it(speech):
    sound = int16(speech[: 16 * SAMPLE_RATE])
    engine = LiveEngine(Scripted(), clock=SimulatedClock(), limits=LiveLimits(max_session_s=6.0))
    text, name, at, seen = "", engine.start(), 0, 0
    begins = [0]
    while at < sound.size:
        view = engine.push(name, at, sound[at : at + 4000], seen=seen)
        text, at, seen = text + text_of(view), view["have"], view["seen"]
        assert at - begins[-1] <= 6 * SAMPLE_RATE
        if view["limit"]:
            engine.forget(name)
            at, seen = view["keep_from"], 0
            name = engine.start(at=at, prefix=view["known"])
            assert at > begins[-1]
            begins.append(at)
        while engine.work_once():
            continue
    text += text_of(finish(engine, name, sound.size, seen=seen))
    (whole,) = replay(LiveEngine(Scripted(), clock=SimulatedClock()), [("market", sound / 32767)])
    assert len(begins) >= 3
    assert abs(len(text) - len(whole.text.replace("\n", ""))) <= 4, "windows of 32 ms lie elsewhere now"


def test_service_answers_and_never_raises(engine, speech):
    service, sound = LiveService(engine), int16(speech[: 4 * SAMPLE_RATE])
    encode = lambda samples: base64.b64encode(samples.tobytes()).decode()
    session = service.start(language="yue", script="simplified")["session"]
    assert service.push(session, 0, encode(sound))["have"] == sound.size
    service.finish(session, sound.size)
    while engine.work_once():
        continue
    answer = service.poll(session)
    assert answer["final"] and text_of(answer)
    assert service.poll(session, answer["seen"])["final"]  # everything is seen: now it is gone
    assert service.poll(session) == {"unknown": True}
    other = service.start()["session"]
    for bad in ("%%%", base64.b64encode(b"odd").decode(), "A" * 10**7):
        assert "error" in service.push(other, 0, bad)
    assert "error" in service.push(other, -1, "") and "error" in service.push(other, 2**50, "")
    assert "error" in service.start(language="xx") and "error" in service.start(script="runes")
    assert "error" in service.push(other, "many", "")


def test_a_model_that_fails_ends_nobodys_session(speech, caplog):
    class Broken(Scripted):
        def decode(self, waveform, prefix="", *, language=None, attention=False):
            raise RuntimeError("secret words")

    engine = LiveEngine(Broken(), clock=SimulatedClock())
    (track,) = replay(engine, [("market", speech[: 6 * SAMPLE_RATE])])
    assert track.view["final"] and track.lines == []
    assert "RuntimeError" in caplog.text and "secret" not in caplog.text


def test_words_are_given_to_every_pass_of_their_session(speech):
    engine = LiveEngine(Listed(), clock=SimulatedClock())
    replay(engine, [("market", speech[: 4 * SAMPLE_RATE])], words=("深水埗",))
    assert engine.recognizer.words == ("深水埗",)
    replay(engine, [("market", speech[: 4 * SAMPLE_RATE])])
    assert engine.recognizer.words == ()
    assert "at most 40" in LiveService(engine).start_with("x" * 41)["error"]


class Repeating(Scripted):
    """Answers one thing to whoever gives it the text before, and hears as it should alone."""

    def __init__(self, answer: str):
        super().__init__()
        self.answer = answer

    def decode(self, waveform, prefix="", *, language=None, attention=False):
        self.heard.append(waveform)
        return Hypothesis(self.answer if prefix else "後面")


@pytest.mark.parametrize(
    ("answer", "text", "seconds"),
    [("", "後面", [4, 1]), ("，", "後面", [4, 1]), ("多謝" * 12, "後面", [4, 1]), ("講完", "講完", [4])],
    ids=["nothing", "a comma", "a loop", "words"],
)
def test_a_pass_hears_alone_where_the_lines_before_do_harm(speech, answer, text, seconds):
    engine, session = LiveEngine(Repeating(answer), clock=SimulatedClock()), Session()
    session.push(0, int16(speech[: 4 * SAMPLE_RATE]))
    session.listen()
    wanted = DecodeRequest(3 * SAMPLE_RATE, 4 * SAMPLE_RATE, "", True, 0, "前面嘅句子")
    assert engine._heard(session, wanted).text == text
    assert [sound.size / SAMPLE_RATE for sound in engine.recognizer.heard] == seconds
