"""How quickly people speak: fixed limits for any language, and those that a language's own clips give."""

import random

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from test_features_release import ONE, rejected, sound, stored

from cantowhisper.features.config import FeatureConfig
from cantowhisper.features.pipeline import build_features
from cantowhisper.features.plan import make_plan
from cantowhisper.features.sources.open import open_source
from cantowhisper.speech.rates import ENOUGH_CLIPS, fixed_rate, implausible_speed, speech_rate

LANGUAGES = ("yue", "zh", "ja", "ko", "ka", "en")


@pytest.mark.parametrize(("text", "seconds", "wrong"), [("E?", 3.3, False), ("是", 8, False), ("E?", 15, True)])
def test_a_word_by_itself_may_stand_in_silence(text, seconds, wrong):
    assert implausible_speed(text, seconds, "ka") == wrong
    assert implausible_speed("一句好長好長嘅說話", 60, "yue") and not implausible_speed("一句好長好長嘅說話", 4, "yue")


@st.composite
def languages_clips(draw, least: int = ENOUGH_CLIPS) -> list[tuple[int, float]]:
    """Characters and seconds of clips at a rate of their own, up to a tenth of them with a wrong text."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    median, spread = draw(st.floats(2.0, 9.0)), draw(st.floats(0.05, 0.45))
    wrong = draw(st.floats(0, 0.1))
    clips = []
    for _ in range(draw(st.integers(least, least + 200))):
        seconds = chance.uniform(1.5, 12)
        rate = chance.choice([0.02, 60.0]) if chance.random() < wrong else median * chance.lognormvariate(0, spread)
        clips.append((max(1, round(rate * seconds)), seconds))
    return clips


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(LANGUAGES), languages_clips(), st.floats(0, 3.3))
def test_limits_of_a_language_keep_its_speech_and_short_words(language, clips, silence):
    rate, fixed = speech_rate(language, clips), fixed_rate(language)
    assert fixed.slowest <= rate.slowest < rate.quickest <= fixed.quickest and rate.n_clips == len(clips)
    median = np.median([n / seconds for n, seconds in clips])
    assert rate.slowest < median / 2.5 and rate.quickest > min(2.5 * median, 0.99 * fixed.quickest)
    assert rate.believes(1, 3.3) and rate.believes(2, 2 + silence)
    n = round(20 * median)
    assert rate.believes(n, n / median + silence)
    assert speech_rate(language, sorted(clips)) == rate, "their order does not matter"


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(LANGUAGES), st.floats(2.0, 9.0), st.floats(0.05, 0.3), st.integers(0, 2**32))
def test_a_languages_clips_tell_that_two_letters_are_not_twenty_seconds(language, median, spread, seed):
    clips, chance = [], random.Random(seed)
    for _ in range(ENOUGH_CLIPS):
        seconds = chance.uniform(2, 8)
        clips.append((max(1, round(median * seconds * chance.lognormvariate(0, spread))), seconds))
    rate = speech_rate(language, clips)
    assert not rate.believes(2, 20.0) and not rate.believes(401, 10.0)
    assert not implausible_speed("E?", 3.3, language, {language: rate})
    assert implausible_speed("E?", 20.0, language, {language: rate})


@given(
    st.sampled_from(LANGUAGES), st.lists(st.tuples(st.integers(1, 99), st.floats(0.3, 30)), max_size=ENOUGH_CLIPS - 1)
)
def test_few_clips_say_nothing(language, clips):
    assert speech_rate(language, clips) == fixed_rate(language)


def test_a_build_says_which_limits_it_used(tmp_path):
    """Headers tell how long the files are; 20 s for six letters are left out only where others show that."""
    folder = tmp_path / "talk"
    folder.mkdir()
    noise = np.random.default_rng(0)
    lines = ["file\ttext\tlanguage"]

    def add(name: str, text: str, seconds: float, language: str = "ka") -> None:
        samples = sound(seconds, pitch_hz=200) + noise.normal(0, 0.01, round(seconds * 16_000)).astype(np.float32)
        soundfile.write(folder / f"{name}.wav", samples, 16_000)
        lines.append(f"{name}.wav\t{text}\t{language}")

    for i in range(ENOUGH_CLIPS):
        add(f"usual{i}", "საუბარი" + "აბგდევზთ"[i % 8], 0.6 + i % 5 * 0.1)
    add("word", "E?", 3.3)
    add("long", "აბგდევ", 20)
    add("few", "abcdef", 20, "en")
    (folder / "metadata.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = ONE.with_overrides(language="ka", hold_out=0)
    stats = build_features(str(folder), tmp_path / "out", config=config, progress=False)
    assert rejected(tmp_path / "out") == [("long", "train", "implausible characters per second")]
    assert {"word", "few"} < {row["id"] for row in stored(tmp_path / "out", "train", columns=["id"])}
    assert stats["speech_rates"]["ka"]["n_clips"] == ENOUGH_CLIPS + 2 and stats["speech_rates"]["en"]["n_clips"] == 0
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "(from 202 of its clips)" in card and "en 0.4 to 40 (fixed)" in card
    source = open_source(str(folder))
    again = make_plan(source, FeatureConfig(language="ka", hold_out=0, shard_megabytes=1))
    assert {code: rate.n_clips for code, rate in again.rates.items()} == {"en": 0, "ka": 202}
