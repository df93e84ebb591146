"""The policy of live transcription as properties: a scripted recognizer, a clock of samples, no audio."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cantowhisper.contracts import CantowhisperError
from cantowhisper.serving.live.agreement import (
    BETWEEN_LINES,
    MAX_CHARACTERS_PER_SECOND,
    SPARE_CHARACTERS,
    DecodeRequest,
    Hypothesis,
    agreed,
    implausible,
)
from cantowhisper.serving.live.options import LiveOptions
from cantowhisper.serving.live.policy import LivePolicy
from cantowhisper.serving.segments import WINDOW
from cantowhisper.speech.mel import SAMPLE_RATE

WINDOW_S = WINDOW / SAMPLE_RATE
SPEECH, PAUSE = 0.9, 0.02


def windows(*stretches: tuple[float, float]) -> list[float]:
    """(seconds, probability of speech) one after the other, as windows."""
    return [p for seconds, p in stretches for _ in range(round(seconds / WINDOW_S))]


class Script:
    """A recognizer that knows what is said: a character every 0.25 s, the last of a pass perhaps misheard."""

    def __init__(self, *, misheard: int = 0, rate: float = 4.0, unsure: int = 10**6):
        """unsure: of so many characters at the end it is not sure."""
        self.passes: list[DecodeRequest] = []
        self.misheard, self.rate, self.unsure = misheard, rate, unsure

    def character(self, second: float) -> str:
        return chr(0x4E00 + int(second * self.rate) * 7919 % 20_000)  # neighbours differ, and nothing repeats

    def __call__(self, wanted: DecodeRequest) -> Hypothesis:
        self.passes.append(wanted)
        first, last = (int(sample / SAMPLE_RATE * self.rate) for sample in (wanted.start, wanted.end))
        said = "".join(self.character(i / self.rate) for i in range(first, last))
        assert said.startswith(wanted.prefix) or self.misheard, "it is asked to go on from something never said"
        tail = said[len(wanted.prefix) :]
        if not wanted.final and self.misheard and len(self.passes) % self.misheard == 0:
            tail = tail[:-1] + "誤"
        return Hypothesis(tail, max(0, len(tail) - self.unsure))


class Rambler:
    """A recognizer that says anything: drawn texts in turn, whatever it is asked, and is sure of some."""

    def __init__(self, texts: list[str]):
        self.texts, self.passes = texts, []

    def __call__(self, wanted: DecodeRequest) -> Hypothesis:
        self.passes.append(wanted)
        n = len(self.passes)
        return Hypothesis(self.texts[n % len(self.texts)], n * 7 % 5)


def run(policy: LivePolicy, probabilities, recognise, *, every: int = 8, step_s: float = 1.0) -> list[tuple[str, str]]:
    """Insert `every` windows at a time, process what is due each time, finish; what was shown after each step."""
    shown = []
    for first in range(0, len(probabilities), every):
        policy.insert(probabilities[first : first + every])
        policy.process(recognise, step_s=step_s)
        shown.append((policy.committed, policy.tentative))
    policy.finish(recognise)
    return [*shown, (policy.committed, policy.tentative)]


probability = st.one_of(st.floats(0, 1), st.sampled_from([SPEECH, PAUSE]))
runs_of_windows = st.lists(st.tuples(st.integers(1, 120), probability), max_size=25).map(
    lambda runs: [p for n, p in runs for _ in range(n)]
)
texts = st.lists(st.text("你好今日，。 a\ufffd", max_size=12), min_size=1, max_size=8)
steps = st.sampled_from([0.3, 1.0, 3.0, 1e9, math.inf])


@settings(deadline=None, max_examples=150)
@given(runs_of_windows, texts, st.integers(1, 60), steps)
def test_committed_text_only_grows_and_the_rest_is_the_last_hypothesis(probabilities, texts, every, step_s):
    policy, recognise = LivePolicy(), Rambler(texts)
    shown = run(policy, probabilities, recognise, every=every, step_s=step_s)
    for (before, _), (after, _) in pairwise(shown):
        assert after.startswith(before)
    assert policy.tentative == "" and "\ufffd" not in policy.committed
    assert policy.behind == 0 and not policy.speaking


@settings(deadline=None, max_examples=100)
@given(runs_of_windows, texts, steps)
def test_after_each_pass_committed_and_tentative_cover_its_hypothesis(probabilities, texts, step_s):
    policy, recognise = LivePolicy(), Rambler(texts)
    for first in range(0, len(probabilities), 8):
        policy.insert(probabilities[first : first + 8])
        wanted = policy.due(step_s=step_s)
        if wanted is None:
            continue
        heard = recognise(wanted)
        text = heard.text.replace("\ufffd", "") if wanted.final else heard.text.split("\ufffd")[0]
        if wanted.heard and not wanted.prefix:
            text = text.lstrip(BETWEEN_LINES)
        too_much = len(text) > (wanted.end - wanted.start) / SAMPLE_RATE * MAX_CHARACTERS_PER_SECOND + 16
        policy.accept(wanted, heard)
        if not too_much and not repeats_anywhere(wanted.prefix + text):
            assert (policy.committed + policy.tentative).replace("\n", "").endswith((wanted.prefix + text).lstrip())


def repeats_anywhere(text: str) -> bool:
    from cantowhisper.serving.hallucination import repeats

    return repeats(text)


@settings(deadline=None, max_examples=150)
@given(runs_of_windows, st.integers(1, 60), steps, st.integers(0, 5))
def test_everything_that_sounds_like_speech_is_heard_before_finish_returns(probabilities, every, step_s, misheard):
    policy, recognise = LivePolicy(), Script(misheard=misheard)
    run(policy, probabilities, recognise, every=every, step_s=step_s)
    heard = np.zeros(policy.n_samples, bool)
    for wanted in recognise.passes:
        assert 0 <= wanted.start < wanted.end <= policy.n_samples
        heard[wanted.start : wanted.end] = True
    surely = np.repeat(np.array(probabilities) >= policy.options.speech.peak_threshold, WINDOW)
    assert heard[surely].all()


@settings(deadline=None, max_examples=60)
@given(runs_of_windows, st.integers(1, 60), steps)
def test_no_pass_is_longer_than_the_buffer_and_nothing_is_asked_for_twice(probabilities, every, step_s):
    policy, recognise = LivePolicy(), Script()
    most = policy.options.max_buffer_s * SAMPLE_RATE
    needed = 0
    for first in range(0, len(probabilities), every):
        policy.insert(probabilities[first : first + every])
        assert policy.needed_from >= needed
        needed = policy.needed_from
        wanted = policy.due(step_s=step_s)
        if wanted:
            assert wanted.start >= needed and wanted.end - wanted.start <= most
            policy.accept(wanted, recognise(wanted))


@settings(deadline=None, max_examples=40)
@given(runs_of_windows, st.integers(1, 60), st.integers(0, 5))
def test_same_input_same_output(probabilities, every, misheard):
    first, second = (run(LivePolicy(), probabilities, Script(misheard=misheard), every=every) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("misheard", [0, 2, 3])
def test_two_hours_with_and_without_pauses_stay_within_the_buffer(misheard):
    """One hour of sentences, one of a monologue without a pause, at a step of 1 s."""
    generator = np.random.default_rng(3)
    sentences = [(s, p) for _ in range(600) for s, p in ((generator.uniform(1, 9), SPEECH), (1.0, PAUSE))]
    policy, recognise = LivePolicy(), Script(misheard=misheard)
    longest, most = 0, policy.options.max_buffer_s * SAMPLE_RATE
    probabilities = windows(*sentences)[: round(3600 / WINDOW_S)]
    probabilities += list(generator.uniform(0.5, 1.0, round(3600 / WINDOW_S)))
    for first in range(0, len(probabilities), 31):
        policy.insert(probabilities[first : first + 31])
        policy.process(recognise)
        longest = max(longest, policy.n_samples - policy.needed_from)
    policy.finish(recognise)
    assert longest <= most + 31 * WINDOW
    monologue = sorted((p.end - p.start) / SAMPLE_RATE for p in recognise.passes if p.start > 3600 * SAMPLE_RATE)
    assert monologue[len(monologue) // 2] < policy.options.trim_over_s, "committed speech is still listened to"
    characters = len(policy.committed.replace("\n", "").replace(" ", ""))
    assert abs(characters / (0.83 * 3600 * 4 + 3600 * 4) - 1) < 0.05


def test_a_monologue_is_written_once_and_in_order():
    policy, recognise = LivePolicy(), Script()
    run(policy, windows((0.5, PAUSE), (60, SPEECH), (1, PAUSE)), recognise, every=8)
    text = policy.committed.replace("\n", "").replace(" ", "")
    first = policy.lines[0].start / SAMPLE_RATE
    said = "".join(recognise.character(i / 4) for i in range(int(first * 4), int((60.5 + 0.25) * 4)))
    assert text == said
    assert [line.end for line in policy.lines[:-1]] == [line.start for line in policy.lines[1:]]


class Talker(Script):
    """Somebody who says each character at its own time (in s), and a recognizer that is sure of each."""

    def __init__(self, said_at_s: list[float]):
        super().__init__()
        self.said_at_s = said_at_s

    def said(self, start: int, end: int) -> str:
        return "".join(self.character(i) for i, t in enumerate(self.said_at_s) if start <= t * SAMPLE_RATE < end)

    def __call__(self, wanted: DecodeRequest) -> Hypothesis:
        self.passes.append(wanted)
        said = self.said(wanted.start, wanted.end)
        assert said.startswith(wanted.prefix), "it is asked to go on from something said at another time"
        return Hypothesis(said[len(wanted.prefix) :], len(said))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 40), st.sampled_from([0.3, 1.0, 1.7]))
def test_each_line_of_a_long_monologue_holds_what_was_said_in_its_time(seed, every, step_s):
    """Now slow, now fast, here and there softer: the softest place is not the first, and later passes still count."""
    generator = np.random.default_rng(seed)
    rates = [rate for rate in generator.permutation([0.8, 2, 5, 9] * 3) for _ in range(int(rate * 5))]
    policy, talker = LivePolicy(), Talker(list(np.cumsum(1 / np.array(rates))))
    run(policy, list(generator.uniform(0.5, 1.0, round(60 / WINDOW_S))), talker, every=every, step_s=step_s)
    assert len(policy.lines) >= 4, "trimmed several times"
    for line in policy.lines:
        assert line.text == talker.said(line.start, line.end)


def test_a_pause_commits_everything_and_starts_a_line():
    policy, recognise = LivePolicy(), Script()
    shown = run(policy, windows((3, SPEECH), (1, PAUSE), (3, SPEECH), (1, PAUSE)), recognise)
    assert len(policy.lines) == 2 and policy.committed.count("\n") == 1
    assert shown[round(3.9 / WINDOW_S / 8)] == (policy.lines[0].text, "")
    pad = int(policy.options.speech.pad_s * SAMPLE_RATE)
    heard = {p.end for p in recognise.passes}
    assert {line.end for line in policy.lines} <= heard and len(heard) == len(recognise.passes), "each sound once"
    assert policy.lines[0].end == pytest.approx(3 * SAMPLE_RATE + pad, abs=WINDOW)


def test_silence_and_murmur_run_no_recognition():
    policy, recognise = LivePolicy(), Script()
    run(policy, windows((300, PAUSE), (5, 0.45), (300, 0.1)), recognise)
    assert recognise.passes == [] and policy.committed == ""
    assert policy.n_samples - policy.needed_from <= SAMPLE_RATE


def test_a_hypothesis_that_loops_commits_nothing_until_the_pause_and_then_what_was_heard_before():
    policy = LivePolicy()
    policy.insert(windows((1.5, SPEECH)))
    policy.process(lambda _: Hypothesis("今日好凍"))
    for _ in range(3):
        policy.insert(windows((1.2, SPEECH)))
        policy.process(lambda _: Hypothesis("多謝" * 9))
        assert (policy.committed, policy.tentative) == ("", "今日好凍")
    policy.insert(windows((1, PAUSE)))
    policy.process(lambda _: Hypothesis("多謝" * 9))
    assert (policy.committed, policy.tentative) == ("今日好凍", "")


@pytest.mark.parametrize("step_s", [0.1, 0.3, 0.5, 0.9, 1.7])
def test_a_character_is_committed_when_all_passes_of_a_while_have_said_it(step_s):
    policy, recognise, first_said = LivePolicy(), Script(), {}
    for _ in range(int(7 / WINDOW_S)):
        policy.insert([SPEECH])
        n_before = len(policy.committed)
        if policy.process(recognise, step_s=step_s):
            end = recognise.passes[-1].end
            for n in range(len(policy.committed + policy.tentative)):
                first_said.setdefault(n, end)
            for n in range(n_before, len(policy.committed)):
                assert end - first_said[n] >= policy.options.agree_s * SAMPLE_RATE, "two passes at once err alike"
                assert end - first_said[n] < (policy.options.agree_s + step_s + 2 * WINDOW_S) * SAMPLE_RATE
    assert len(policy.committed) > 8


@pytest.mark.parametrize("unsure", [0, 1, 3])
def test_characters_that_two_passes_are_sure_of_are_committed_at_once(unsure):
    policy, recognise = LivePolicy(), Script(unsure=unsure)
    before = 0
    for _ in range(int(7 / WINDOW_S)):
        policy.insert([SPEECH])
        if policy.process(recognise, step_s=0.5):
            sure_before, before = before, len(policy.committed + policy.tentative) - unsure
            assert len(policy.committed) >= sure_before, "the one before was sure of them, and so is this one"
            old_enough = int((policy.n_samples / SAMPLE_RATE - policy.options.agree_s) * 4)
            assert len(policy.committed) <= max(sure_before, old_enough)
    assert len(policy.committed) > 20


def test_being_sure_of_what_the_other_pass_said_otherwise_commits_nothing():
    policy = LivePolicy()
    for text, shown in (("今日好凍", ("", "今日好凍")), ("今晚好凍", ("今", "晚好凍")), ("好熱", ("今", "好熱"))):
        policy.insert(windows((0.5, SPEECH)))
        policy.process(lambda _, text=text: Hypothesis(text, len(text)), step_s=0.4)
        assert (policy.committed, policy.tentative) == shown


def test_an_unfinished_character_is_kept_back():
    policy = LivePolicy()
    for text in ("今日\ufffd", "今日\ufffd"):
        policy.insert(windows((1.2, SPEECH)))
        policy.process(lambda _, text=text: Hypothesis(text))
    assert (policy.committed, policy.tentative) == ("今日", "")


@given(st.text("你好，。 A", max_size=20), st.text("你好，。 a", max_size=20))
def test_agreement_is_a_common_prefix_of_the_letters(new, old):
    letters = lambda text: "".join(c for c in text.casefold() if c not in "，。 ")
    n = agreed(new, old)
    assert letters(old).startswith(letters(new[:n]))
    assert n == 0 or new[n - 1] not in "，。 "


def test_options_that_whisper_cannot_serve_are_refused():
    with pytest.raises(CantowhisperError, match="max_buffer_s"):
        LiveOptions(max_buffer_s=40.0)


@settings(deadline=None, max_examples=100)
@given(runs_of_windows, st.sampled_from([1, 8, 40]), steps, st.sampled_from([0.0, 3.0, 12.0]))
def test_a_pass_hears_as_many_of_the_lines_before_it_as_fit(probabilities, every, step_s, context_s):
    policy, script = LivePolicy(LiveOptions(context_s=context_s)), Script()

    def listen(wanted: DecodeRequest) -> Hypothesis:
        assert policy.sound_from <= wanted.heard_from <= wanted.start, "the sound is still there"
        if wanted.heard:
            lines = [line for line in policy.lines if line.start >= wanted.heard_from]
            written = "".join(line.before + line.text for line in lines).strip().replace("\n", " ")
            assert wanted.heard.strip() == written and lines[0].start == wanted.heard_from
            assert wanted.end - wanted.heard_from <= context_s * SAMPLE_RATE
        else:
            assert wanted.heard_from == wanted.start
            assert not policy.lines or policy.lines[-1].start < wanted.end - int(context_s * SAMPLE_RATE)
        return script(wanted)

    run(policy, probabilities, listen, every=every, step_s=step_s)


def test_a_loop_is_not_given_to_the_passes_after_it():
    policy = LivePolicy()
    said = iter(["多謝" * 12, "你好嗎"])
    heard = []

    def listen(wanted: DecodeRequest) -> Hypothesis:
        heard.append(wanted.heard)
        return Hypothesis(next(said)) if wanted.final else Hypothesis("")

    run(policy, windows((2.0, SPEECH), (1.5, PAUSE), (2.0, SPEECH), (1.5, PAUSE)), listen, step_s=math.inf)
    assert set(heard) == {""}


def test_a_line_begins_without_the_comma_after_the_one_before():
    policy = LivePolicy()
    said = lambda wanted: "" if wanted.prefix else "，後面" if wanted.heard else "前面"
    listen = lambda wanted: Hypothesis(said(wanted), 3)
    run(policy, windows((2.0, SPEECH), (1.5, PAUSE), (2.0, SPEECH), (1.5, PAUSE)), listen)
    assert [line.text for line in policy.lines] == ["前面", "後面"]


def test_the_comma_before_a_line_counts_as_no_character_that_is_sure():
    policy = LivePolicy()
    run(policy, windows((2.0, SPEECH), (1.5, PAUSE)), lambda _: Hypothesis("前面"))
    for _ in range(2):
        policy.insert(windows((0.5, SPEECH)))
        assert policy.process(lambda _: Hypothesis("，後面", 2), step_s=0.4)
    assert (policy.open_line.text, policy.tentative) == ("後", "面")


@given(st.integers(1, 4), st.integers(0, 10))
def test_the_time_of_the_lines_before_it_makes_no_text_believable(seconds, before_s):
    start = before_s * SAMPLE_RATE
    wanted = DecodeRequest(start, start + seconds * SAMPLE_RATE, "", False, 0, "前面" if before_s else "")
    most = "".join(chr(0x4E00 + i) for i in range(seconds * MAX_CHARACTERS_PER_SECOND + SPARE_CHARACTERS))
    assert not implausible(most, wanted) and implausible(most + "多", wanted)


def test_the_sound_of_the_lines_before_is_there_until_an_utterance_that_has_ended_is_heard():
    met = set()
    for gap_s in np.arange(0.8, 2.2, 0.1):  # the first line leaves the 3 s somewhere in between
        policy = LivePolicy(LiveOptions(context_s=3.0))

        def listen(wanted: DecodeRequest, policy=policy) -> Hypothesis:
            assert policy.sound_from <= wanted.heard_from
            met.add(bool(wanted.heard))
            return Hypothesis("你好")

        run(policy, windows((0.5, SPEECH), (gap_s, PAUSE), (0.5, SPEECH), (1.5, PAUSE)), listen, step_s=math.inf)
    assert met == {True, False}
