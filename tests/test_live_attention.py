"""Attention as a witness of live text: scripted passes for the policy, and where the real whisper-base looks."""

import itertools
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cantowhisper.contracts import ModelFacts
from cantowhisper.serving.characters import least_values
from cantowhisper.serving.live.agreement import DecodeRequest, Hypothesis
from cantowhisper.serving.live.engine import LiveEngine
from cantowhisper.serving.live.options import LiveOptions
from cantowhisper.serving.live.policy import LivePolicy
from cantowhisper.serving.live.replay import SimulatedClock, delays, replay
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.serving.segments import WINDOW
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE
from cantowhisper.speech.text import cer_edits

ATTENTION = LiveOptions(commit="attention", near_end_s=0.6)
SPEECH, PAUSE = 0.9, 0.02


def windows(seconds: float, probability: float = SPEECH) -> list[float]:
    return [probability] * round(seconds * SAMPLE_RATE / WINDOW)


class Attentive:
    """Writes four characters a second, sure of none, and looks for each where it was said, `off_s` beside it."""

    def __init__(self, off_s: float = 0.0):
        self.passes: list[DecodeRequest] = []
        self.off_s = off_s

    def text(self, first: int, last: int) -> str:
        return "".join(chr(0x4E00 + i * 7919 % 20_000) for i in range(first, last))

    def __call__(self, wanted: DecodeRequest) -> Hypothesis:
        self.passes.append(wanted)
        first, last = (int(sample / SAMPLE_RATE * 4) for sample in (wanted.start, wanted.end))
        said = self.text(first, last)
        assert said.startswith(wanted.prefix), "it is asked to go on from something never said"
        ends_s = wanted.end / SAMPLE_RATE
        from_end_s = [ends_s - (first + i + 0.5) / 4 - self.off_s for i in range(len(wanted.prefix), len(said))]
        return Hypothesis(said[len(wanted.prefix) :], 0, tuple(from_end_s))


def heard(policy: LivePolicy, text: str, from_end_s: list[float], *, step_s: float = 0.5) -> tuple[str, str]:
    """Half a second more of speech, and what a pass over it wrote."""
    policy.insert(windows(step_s))
    assert policy.process(lambda _: Hypothesis(text, len(text), tuple(from_end_s)), step_s=step_s / 2)
    return policy.committed, policy.tentative


def test_what_was_looked_for_near_the_end_waits_and_what_comes_before_is_final_in_one_pass():
    policy = LivePolicy(ATTENTION)
    assert heard(policy, "今日好凍", [1.4, 1.0, 0.3, 0.1]) == ("今日", "好凍")
    assert heard(policy, "好熱呀", [0.8, 0.5, 0.9]) == ("今日好", "熱呀"), (
        "what follows a character that waits, waits too"
    )
    assert heard(policy, "凍", [0.59]) == ("今日好", "凍")


def test_punctuation_waits_for_the_letter_after_it():
    policy = LivePolicy(ATTENTION)
    assert heard(policy, "你好，", [2.0, 1.5, 1.0]) == ("你好", "，")
    assert heard(policy, "。", [1.5]) == ("你好", "。")
    assert heard(policy, "，去邊", [1.5, 0.9, 0.2]) == ("你好，去", "邊")


def test_the_comma_at_the_beginning_of_a_line_moves_no_attention_to_another_character():
    policy = LivePolicy(ATTENTION)
    heard(policy, "前面", [0.1, 0.1])
    policy.insert(windows(1.5, PAUSE))
    policy.process(lambda _: Hypothesis("前面"))
    assert heard(policy, "，後面", [0.0, 0.7, 0.5]) == ("前面\n後", "面")


@pytest.mark.parametrize("commit", ["attention", "agreement"])
def test_without_attention_passes_have_to_agree(commit):
    policy = LivePolicy(LiveOptions(commit=commit))
    assert heard(policy, "今日", []) == ("", "今日")
    assert heard(policy, "今晚", []) == ("今", "晚")


def test_by_agreement_attention_says_nothing():
    policy = LivePolicy(LiveOptions(commit="agreement"))
    assert heard(policy, "今日", [5.0, 5.0]) == ("", "今日")
    assert heard(policy, "今日", [0.0, 0.0]) == ("今日", "")


def test_a_loop_that_was_looked_for_long_before_the_end_is_not_committed():
    policy = LivePolicy(ATTENTION)
    assert heard(policy, "今日", [0.3, 0.1]) == ("", "今日")
    assert heard(policy, "多謝" * 9, [2.0] * 18) == ("", "今日")


stretches = st.lists(st.tuples(st.floats(0.1, 9), st.sampled_from([SPEECH, PAUSE])), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60)
@given(stretches, st.integers(1, 40), st.sampled_from([0.3, 1.0, 1e9]), st.floats(-0.5, 0.5))
def test_text_only_grows_and_is_all_there_in_the_end_wherever_the_model_looks(spoken, every, step_s, off_s):
    policy, recognise, shown = LivePolicy(ATTENTION), Attentive(off_s), [""]
    probabilities = [p for seconds, probability in spoken for p in windows(seconds, probability)]
    for first in range(0, len(probabilities), every):
        policy.insert(probabilities[first : first + every])
        policy.process(recognise, step_s=step_s)
        shown.append(policy.committed)
    policy.finish(recognise)
    assert all(after.startswith(before) for before, after in pairwise([*shown, policy.committed]))
    assert policy.tentative == "" and not policy.busy
    for line in policy.lines:
        first, last = (int(sample / SAMPLE_RATE * 4) for sample in (line.start, line.end))
        assert line.text == recognise.text(first, last)


@settings(deadline=None, max_examples=30)
@given(st.floats(0, 2))
def test_the_distance_is_how_late_text_is(near_end_s):
    policy, recognise = LivePolicy(LiveOptions(commit="attention", near_end_s=near_end_s)), Attentive()
    for probability in windows(6):
        policy.insert([probability])
        if policy.process(recognise, step_s=0.3):
            end_s = recognise.passes[-1].end / SAMPLE_RATE
            assert len(policy.committed) == sum(end_s - (i + 0.5) / 4 >= near_end_s for i in range(int(end_s * 4)))
    assert len(policy.committed) > 8


MERGED, PLAIN = ({"language": "yue", "trained_contexts": name} for name in ("merged", "variable"))


@pytest.mark.parametrize(
    ("facts", "commit", "context_s"), [({}, "attention", 12), (MERGED, "attention", 0), (PLAIN, "agreement", 0)]
)
def test_the_rule_and_the_context_follow_from_the_model(facts, commit, context_s):
    class Nothing:
        languages, takes_words = ["yue"], False

    recognizer = Nothing()
    recognizer.facts = ModelFacts(**facts)
    engine = LiveEngine(recognizer, clock=SimulatedClock())
    found = engine.sessions[engine.start()].options
    assert (found.commit, found.earlier_s) == (commit, context_s)
    asked = LiveOptions(commit="agreement", context_s=5.0)
    chosen = LiveEngine(recognizer, clock=SimulatedClock(), options=asked)
    assert chosen.sessions[chosen.start()].options == asked


def test_a_character_of_several_tokens_has_the_value_that_is_nearest_to_the_end():
    pieces = {1: "你".encode()[:2], 2: "你".encode()[2:], 3: "好呀".encode(), 4: b" a", 5: "好".encode()[:1]}
    decode = lambda ids: b"".join(pieces[i] for i in ids).decode(errors="replace")
    assert list(least_values(decode, [3], [1, 2, 3, 4], [0.2, 0.5, 0.4, 0.1])) == [0.2, 0.4, 0.4, 0.1, 0.1]
    assert list(least_values(decode, [], [3, 5], [0.4, 0.3])) == [0.4, 0.4, 0.3], "an unfinished one at the end"
    assert list(least_values(decode, [3], [], [])) == []


@pytest.fixture(scope="module")
def whisper(stock_model) -> Recognizer:
    return Recognizer.open(stock_model, threads=1)


@pytest.fixture(scope="module")
def speech(real_speech) -> np.ndarray:
    return load_audio(real_speech / "fixtures" / "jfk.flac")


def test_the_real_whisper_looks_for_characters_where_they_are_said(whisper, speech):
    sound = speech[: int(6.5 * SAMPLE_RATE)]
    whole = whisper.decode(sound, language="en", attention=True)
    assert len(whole.from_end_s) == len(whole.text) > 20 and whisper.decode(sound, language="en").from_end_s == ()
    (segment,) = whisper.stream(sound, language="en", characters=True)
    looked_for = [(c, 6.5 - s) for s, c in zip(whole.from_end_s, whole.text, strict=True) if not c.isspace()]
    said = [(c, (start + end) / 2) for c, start, end in segment.characters]  # a text whose end may be another
    pairs = list(itertools.takewhile(lambda pair: pair[0][0] == pair[1][0], zip(said, looked_for, strict=False)))
    assert len(pairs) > 30 and np.median([abs(a - b) for (_, a), (_, b) in pairs]) < 0.2
    n = whole.text.index(" fellow")
    begun = whisper.decode(sound, whole.text[:n], language="en", attention=True)
    assert begun.text == whole.text[n:]
    assert np.median(np.abs(np.subtract(begun.from_end_s, whole.from_end_s[n:]))) < 0.1, "also after a given beginning"


def test_real_speech_is_final_sooner_by_attention_and_as_right(whisper, speech):
    found = {}
    for commit in ("attention", "agreement"):
        engine = LiveEngine(whisper, clock=SimulatedClock(), options=LiveOptions(commit=commit))
        (track,) = replay(engine, [("jfk", speech)], language="en", on_time=True)
        wrong, n = cer_edits(
            track.text,
            "And so my fellow Americans, ask not what your country can do for you, "
            "ask what you can do for your country.",
        )
        found[commit] = float(np.median(delays(track)["commit"]))
        assert wrong < 0.1 * n
    assert found["attention"] < found["agreement"]
