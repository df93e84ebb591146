"""Long recordings cut at pauses: each piece gets its own part of the text, or none."""

import json
import random
from dataclasses import replace
from itertools import accumulate, pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_model import random_model
from test_features_release import rejected

from cantowhisper.cli.main import main
from cantowhisper.curation.align import LEAST_SECONDS, aligned, cut
from cantowhisper.features.config import FeatureConfig
from cantowhisper.features.sources.clip import FileRecording
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.text import cer_view

SECONDS_A_CHARACTER = 0.25


def spoken(sentences: list[str], pause_s: float = 0.6) -> tuple[list[tuple[str, float, float]], list[float], float]:
    """Sentences one after the other: (character, start, end) of each, the pauses between, and how long it takes."""
    said, pauses, at = [], [], 0.0
    for sentence in sentences:
        if said:
            pauses.append(at + pause_s / 2)
            at += pause_s
        for character in sentence:
            said.append((character, at, at + SECONDS_A_CHARACTER))
            at += SECONDS_A_CHARACTER
    return said, pauses, at


def misheard(
    said: list[tuple[str, float, float]], share: float, chance: random.Random
) -> list[tuple[str, float, float]]:
    """With a share of the characters replaced, left out or doubled."""
    found = []
    for character, start, end in said:
        fault = chance.choice("slt") if chance.random() < share else ""
        if fault != "l":
            found.append((chr(chance.randint(0x3400, 0x4D00)) if fault == "s" else character, start, end))
        if fault == "t":
            found.append((character, start, end))
    return found


@st.composite
def talks(draw, shortest: int = 6) -> list[str]:
    """Sentences of which no two characters are the same, so that it is known where each belongs."""
    lengths = draw(st.lists(st.integers(shortest, 40), min_size=2, max_size=9))
    characters = [chr(code) for code in draw(st.permutations(range(0x4E00, 0x4E00 + 10 * 40)))]
    characters = [each for each in characters if cer_view(each, "simplified") == each]
    ends = list(accumulate(lengths))
    return ["".join(characters[end - n : end]) for n, end in zip(lengths, ends, strict=True) if end <= len(characters)]


@settings(deadline=None, max_examples=40)
@given(talks(shortest=3), st.floats(0, 0.45), st.integers(0, 2**32))
def test_pieces_hold_what_is_said_in_them_however_much_is_misheard(sentences, share, seed):
    said, pauses, seconds = spoken(sentences)
    heard = misheard(said, share, random.Random(seed))
    found = cut("".join(sentences), heard, pauses, seconds, max_seconds=30, language="yue")
    assert found[0].start_s == 0 and found[-1].end_s == seconds
    assert all(a.end_s == b.start_s for a, b in pairwise(found)) and all(
        piece.end_s in (*pauses, seconds) for piece in found
    )
    assert len(found) == 1 or all(piece.end_s - piece.start_s >= LEAST_SECONDS for piece in found)
    for piece in found:
        truth = "".join(character for character, start, end in said if piece.start_s <= start and end <= piece.end_s)
        assert piece.text in ("", truth)
    if not share:
        assert all(piece.text for piece in found if piece.end_s - piece.start_s <= 30)
        assert len(found) >= len([sentence for sentence in sentences if len(sentence) * SECONDS_A_CHARACTER > 1.5]) - 1


@settings(deadline=None, max_examples=25)
@given(talks(), st.integers(0, 2**32))
def test_a_text_of_another_recording_is_given_to_none(sentences, seed):
    said, pauses, seconds = spoken(sentences)
    text = "".join(random.Random(seed).sample("".join(sentences), sum(map(len, sentences))))
    found = cut(text, said, pauses, seconds, max_seconds=30, language="yue")
    assert all(len(piece.text) <= 0.5 * len(text) for piece in found)


def test_words_and_punctuation_stay_whole():
    sentences = ["The first of all sentences", "and the second one is longer", "but not as long as the third"]
    said, pauses, seconds = spoken(sentences)
    text = "“The first of all sentences.” (And the second one is longer!) But not as long as the third…"
    found = cut(text, said, pauses, seconds, max_seconds=30, language="en")
    assert [piece.text for piece in found] == [
        "“The first of all sentences.”",
        "(And the second one is longer!)",
        "But not as long as the third…",
    ]
    inside = [pause + 0.8 for pause in pauses]  # after two letters of the next word
    assert len(cut(text, said, inside, seconds, max_seconds=30, language="en")) == 1


@pytest.mark.parametrize(
    ("text", "said"), [("", []), ("食飯", []), ("", [("食", 0.0, 0.5)]), ("。", [("食", 0.0, 0.5)])]
)
def test_nothing_said_or_written_gives_no_text(text, said):
    assert [piece.text for piece in cut(text, said, [20.0], 40.0, max_seconds=30, language="yue")] == [""] * 1


def put_talk(folder, seconds: float) -> None:
    folder.mkdir()
    waveform = np.zeros(int(seconds * 16_000), np.float32)
    for start in (16_000, waveform.size - 32_000):  # a word or two at each end
        waveform[start : start + 12_000] = np.random.default_rng(start).normal(0, 0.1, 12_000)
    soundfile.write(folder / "long.wav", waveform, 16_000)
    soundfile.write(folder / "short.wav", waveform[: 16_000 * 3], 16_000)
    rows = [{"file": "long.wav", "text": "好長嘅一段說話" * 9}, {"file": "short.wav", "text": "短短一句"}]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "metadata.jsonl").write_text(lines, encoding="utf-8")


def test_a_model_that_hears_nothing_right_costs_the_seconds_and_no_more(tmp_path, capsys):
    put_talk(tmp_path / "talk", 36)
    words = ["features", f"{tmp_path / 'talk'},language=yue", tmp_path / "out", "--workers", "1", "--set", "hold_out=0"]
    assert main([*map(str, words), "--align-with", str(random_model())]) == 0
    listed = rejected(tmp_path / "out")
    assert {reason.partition(": ")[0] for _, _, reason in listed} == {"not aligned"}
    assert sum(float(reason.split()[-2]) for *_, reason in listed) == pytest.approx(36, abs=0.2)
    stats = json.loads((tmp_path / "out" / "stats.json").read_text(encoding="utf-8"))
    assert stats["n_kept"] == 1 and stats["hours_too_long"] == pytest.approx(0.01, abs=1e-3)
    kept = (tmp_path / "out.aligned" / "pieces.jsonl").read_text(encoding="utf-8")
    assert len(kept.splitlines()) == 2, "what was found once is kept"
    source = aligned(words[1], tmp_path / "out", model=str(random_model()), config=FeatureConfig())
    (long,) = (clip for clip in source.source.clips(split_policy="official") if clip.id == "long")
    gone = replace(long, recording=FileRecording(str(tmp_path), "gone.wav"), seconds=36.0)  # nothing can be found anew
    source.source = SimpleNamespace(clips=lambda split_policy: [gone, replace(gone, sentence="改正")])
    ids = [clip.id for clip in source.clips(split_policy="official")]
    assert ids[0] == "long-01" and ids[-1] == "long", "a text that was corrected does not get the old one's pieces"
    assert main([*map(str, words), "--align-with", "no/such/model"]) == 1
    assert "pieces.jsonl was made with model" in capsys.readouterr().err


@pytest.mark.slow
def test_real_clips_that_were_joined_get_their_own_texts_back(real_speech, real_weights, tmp_path):
    from benchmarks.align import measure

    folder = real_speech / "common_voice_6_layout" / "zh-TW"
    found = measure(folder, real_weights / "whisper-base", tmp_path, "zh-TW", 3)
    assert found["kept_seconds_share"] > 0.3 and found["misplaced_share"] <= 0.03
    assert all(load_audio(file).size > 32 * 16_000 for file in (tmp_path / "zh-TW").glob("*.wav"))
