"""What scores say beyond one number: intervals that hold what they promise, loops, and the mistakes by name."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cantowhisper.contracts import CantowhisperError
from cantowhisper.speech.metric import bootstrap_interval
from cantowhisper.speech.text import CER_VIEWS, cer
from cantowhisper.training.results.analysis import (
    Transcript,
    confusions,
    drawn_over,
    is_loop,
    measure,
    measure_groups,
    paired_difference,
    worst_clips,
)
from cantowhisper.training.results.tables import difference_lines, group_lines, score_table

CHARACTERS = "我你佢食飯呀，。"
texts = st.text(CHARACTERS, max_size=8)
clips = st.lists(st.tuples(texts, texts), min_size=1, max_size=6).filter(
    lambda pairs: any(set(reference) - set("，。") for reference, _ in pairs)
)


def transcripts(pairs) -> list[Transcript]:
    return [Transcript(str(i), reference, said, 1.0) for i, (reference, said) in enumerate(pairs)]


@settings(deadline=None, max_examples=40)  # a thousand resamples a view
@given(clips)
def test_sums_of_clips_are_the_cer_of_the_corpus(pairs):
    report = measure(transcripts(pairs))
    for view in CER_VIEWS:
        expected = cer([said for _, said in pairs], [reference for reference, _ in pairs], view=view)
        assert report[f"cer_{view}"] == pytest.approx(expected.cer, abs=1e-6)
        low, high = report[f"cer_{view}_interval"]
        assert 0 <= low <= high


@settings(deadline=None, max_examples=40)  # a thousand resamples a view
@given(clips)
def test_mistakes_add_up_to_the_edits(pairs):
    edits = cer([said for _, said in pairs], [reference for reference, _ in pairs]).edits
    found = confusions(transcripts(pairs), at_most=1000)
    assert sum(times for _, _, times in found) == edits
    assert all(said != written for said, written, _ in found)


def test_mistakes_are_named():
    found = confusions(transcripts([("食左飯", "食咗飯"), ("左邊", "咗邊"), ("好呀", "好"), ("好", "唔好")]))
    assert found == [("左", "咗", 2), ("", "唔", 1), ("呀", "", 1)]


def test_95_of_100_intervals_hold_the_truth():
    rng = np.random.default_rng(1)
    held = 0
    for trial in range(200):
        characters = rng.integers(4, 16, 150)
        low, high = bootstrap_interval(rng.binomial(characters, 0.2), characters, n_resamples=200, seed=trial)
        held += low <= 0.2 <= high
    assert 180 <= held <= 199


def test_an_interval_is_as_wide_as_95_percent_of_a_normal_distribution():
    """Many clips: the CER is then normally distributed, its deviation that of a ratio (Cochran 1977, 6.10)."""
    rng = np.random.default_rng(3)
    characters = rng.integers(4, 16, 3000)
    edits = rng.binomial(characters, 0.2)
    rate = edits.sum() / characters.sum()
    deviation = np.sqrt(np.sum((edits - rate * characters) ** 2)) / characters.sum()
    low, high = bootstrap_interval(edits, characters, n_resamples=4000)
    # One of 90 % would be a sixth narrower, one of 99 % a third wider.
    assert (high - rate) / deviation == pytest.approx(1.96, rel=0.07)
    assert (rate - low) / deviation == pytest.approx(1.96, rel=0.07)


def test_an_interval_narrows_with_the_root_of_the_clips():
    rng = np.random.default_rng(2)
    widths = []
    for n in (100, 1600):
        characters = np.full(n, 10)
        low, high = bootstrap_interval(rng.binomial(characters, 0.3), characters)
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.25)


def spoken_by(n_speakers: int, n_clips: int, spread: float, seed: int):
    """(edits, characters, speakers): each speaker has an error rate of his own, 0.3 ± spread."""
    rng = np.random.default_rng(seed)
    rates = np.repeat(np.clip(rng.normal(0.3, spread, n_speakers), 0, 1), n_clips)
    characters = np.full(rates.size, 10)
    return rng.binomial(characters, rates), characters, [f"s{i // n_clips}" for i in range(rates.size)]


def test_95_of_100_intervals_over_speakers_hold_the_truth_and_those_over_clips_do_not():
    by_speaker = by_clip = 0
    for trial in range(100):
        edits, characters, who = spoken_by(30, 12, 0.12, trial)
        low, high = bootstrap_interval(edits, characters, who, n_resamples=200)
        by_speaker += low <= 0.3 <= high
        low, high = bootstrap_interval(edits, characters, n_resamples=200)
        by_clip += low <= 0.3 <= high
    assert by_speaker >= 88 and by_clip < 75


@settings(deadline=None, max_examples=8)  # a thousand resamples
@given(clips, st.randoms())
def test_the_paired_difference_is_that_of_the_corpus(pairs, random):
    before = transcripts(pairs)
    itself = paired_difference(before, before)
    assert (itself["points"], itself["interval"], itself["speakers"]) == (0, [0, 0], 0)
    after = [replace(t, prediction=random.choice([t.reference, t.prediction, ""])) for t in before]
    told, back = paired_difference(before, after), paired_difference(after, before)
    rates = [measure(one)["cer_no_punctuation"] for one in (before, after)]
    assert told["points"] == pytest.approx(100 * (rates[1] - rates[0]), abs=0.01) == -back["points"]
    low, high = told["interval"]
    assert low <= high and back["interval"] == pytest.approx([-high, -low], abs=0.011)


def test_a_difference_is_surer_than_two_rates():
    """Hard clips are hard for both models."""
    rng = np.random.default_rng(4)
    sentence = "我你佢食飯呀好早晨啦"
    hard = rng.integers(0, 9, 60)
    before = [Transcript(str(i), sentence, sentence[: 9 - n], 1.0, speaker=str(i // 2)) for i, n in enumerate(hard)]
    after = [replace(t, prediction=sentence[: 10 - n]) for t, n in zip(before, hard, strict=True)]
    told = paired_difference(before, after)
    assert (told["points"], told["interval"], told["speakers"]) == (-10, [-10, -10], 30)
    rows = [measure(one)["cer_no_punctuation_interval"] for one in (before, after)]
    assert rows[0][0] < rows[1][1], "the two intervals overlap"
    (said,) = difference_lines({"context": "full", **told})
    assert said.startswith("after − before at full context: −10.0 points of CER, −10.0 to −10.0 (n=60; ")
    with pytest.raises(CantowhisperError, match="not the same clip"):
        paired_difference(before, after[::-1])


def test_speakers_are_grouped_by_what_they_say_of_themselves():
    told = ["female"] * 6 + ["male"] * 5 + ["intersex"] * 2 + [""] * 3
    said = [Transcript(str(i), "你好", "你", 1.0, gender=gender) for i, gender in enumerate(told)]
    groups = measure_groups(said)
    assert {name: row["n"] for name, row in groups["gender"].items()} == {"female": 6, "male": 5, "other": 5}
    assert list(groups) == ["gender"], "nobody told an age"
    assert next(group_lines(groups)).split()[:3] == ["gender,", "female", "6"]
    assert measure_groups(said[13:]) == {}


def test_clips_of_unknown_speakers_are_drawn_one_by_one():
    edits, characters, who = spoken_by(20, 1, 0.2, 1)
    over_clips = bootstrap_interval(edits, characters)
    assert over_clips == bootstrap_interval(edits, characters, who) == bootstrap_interval(edits, characters, [""] * 20)
    assert over_clips == bootstrap_interval(edits, characters, [*who[:7], *[""] * 13])
    assert over_clips == bootstrap_interval(edits, characters, ["one"] * 20), "who says nothing about other speakers"
    clips = [Transcript(str(i), "你好", "你", 1.0, speaker=who) for i, who in enumerate(["a", "a", "b", "", ""])]
    assert measure(clips)["speakers"] == 4 and drawn_over(measure(clips)) == "4 speakers"
    for few in (clips[:2], clips[3:]):
        assert measure(few)["speakers"] == 0 and drawn_over(measure(few)) == "clips"
    assert "interval over 4 speakers" in score_table({"after": {"all": measure(clips)}})


@pytest.mark.parametrize(
    "reference, prediction, loops",
    [
        ("多謝", "多謝多謝多謝多謝", True),
        ("哈哈", "哈" * 8, True),
        ("哈" * 9, "哈" * 8, False),
        ("打二二二二八八八八", "打二二二二八八八八", False),
        ("多謝多謝", "多謝多謝多謝", False),
        ("多謝", "", False),
    ],
)
def test_loops_are_the_predictions_own(reference, prediction, loops):
    clip = Transcript("a", reference, prediction, 1.0)
    assert is_loop(clip) == loops
    assert measure([clip])["loops"] == loops and measure([clip])["empty_outputs"] == (not prediction)


def test_the_worst_come_first_and_none_is_lost():
    ranked = worst_clips(transcripts([("你好", "你好"), ("好", "唔好"), ("……", "啊"), ("食飯呀", "食飯")]))
    assert [(t.id, round(error, 2)) for t, error in ranked] == [("1", 1.0), ("3", 0.33), ("0", 0.0), ("2", 0.0)]


def test_languages_with_spaces_have_a_word_error_rate_too():
    spoken = [
        Transcript("a", "Ask not what your country can do.", "ask what your country can do", 2.0, "en"),
        Transcript("b", "你好", "你好", 1.0, "yue"),
    ]
    report = measure(spoken)
    assert (report["n"], report["words"]) == (2, 7), "words are those of English alone"
    assert report["wer_no_punctuation"] == pytest.approx(1 / 7, abs=1e-6) and report["wer_raw"] > 1 / 7
    assert len(report["wer_no_punctuation_interval"]) == 2
    assert not [name for name in measure(spoken[1:]) if "wer" in name or name == "words"]
    assert "WER, no punctuation" in score_table({"after": {"all": report}})
    assert "WER" not in score_table({"after": {"all": measure(spoken[1:])}})


def test_words_are_counted_by_whispers_own_normaliser_too():
    """It writes numbers in figures, opens contractions and knows British spelling, as the figures of others do."""
    english = [Transcript("a", "It's the twenty first colour.", "it is the 21st color", 2.0, "en")]
    report = measure(english, spelling={"colour": "color"})
    assert report["wer_whisper"] == 0 and report["wer_no_punctuation"] > 0.5
    assert measure(english)["wer_whisper"] == pytest.approx(1 / 5, abs=1e-6)
    german = [Transcript("b", "Das (leise) Haus, heute!", "das haus heute", 2.0, "de")]
    assert measure(german)["wer_whisper"] == 0, "what stands in brackets is not said"
    assert "WER, Whisper's normaliser" in score_table({"after": {"all": report}})
