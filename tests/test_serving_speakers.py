"""Who speaks: voices under one number, chunks and cues of one speaker, and the number in every format."""

import csv
import doctest
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st
from test_serving_captions import QUICK, transcripts

from cantowhisper.cli.main import parser
from cantowhisper.contracts import Segment, UsageError
from cantowhisper.serving import subtitles
from cantowhisper.serving.batches import chunks
from cantowhisper.serving.captions import turns
from cantowhisper.serving.captions.cues import captions
from cantowhisper.serving.offline import view
from cantowhisper.serving.segments import Span, find_segments
from cantowhisper.serving.speakers import labels, voices
from cantowhisper.serving.texts.say import Say
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE

needs_model = pytest.mark.skipif(not voices.available(), reason="needs pip install 'cantowhisper[speakers]'")
SAID = [
    Segment(0.0, 1.5, "食咗飯未呀？", 0.9, speaker=1),
    Segment(1.6, 2.0, "食咗", 0.9, speaker=2),
    Segment(2.1, 4.0, "我哋 <8> 點 & 9 點食", 0.9, speaker=2),
    Segment(4.1, 5.0, "好呀", 0.9, speaker=1),
]


# ----------------------------------------------------------------------------------------------------- the numbers


def directions(*angles: float) -> np.ndarray:
    """Vectors of length 1 in a plane."""
    return np.array([[np.cos(a), np.sin(a)] for a in angles], dtype=np.float32)


def test_like_voices_have_one_number_in_the_order_of_appearance():
    pytest.importorskip("scipy")
    voices_heard = directions(3.0, 0.0, 3.1, 0.1, 1.5)
    assert labels.speaker_numbers(voices_heard) == [1, 2, 1, 2, 3]
    assert labels.speaker_numbers(voices_heard[:1]) == [1]


@given(st.lists(st.floats(0, 6.2), min_size=1, max_size=12, unique=True), st.integers(1, 12))
def test_a_number_of_speakers_is_kept_to(angles, speakers):
    pytest.importorskip("scipy")
    numbers = labels.speaker_numbers(directions(*angles), speakers)
    assert len(numbers) == len(angles) and max(numbers) == len(set(numbers)) <= min(speakers, len(angles))
    assert [n for i, n in enumerate(numbers) if n not in numbers[:i]] == list(range(1, max(numbers) + 1))


@pytest.mark.parametrize("module", [labels, turns], ids=lambda m: m.__name__)
def test_doctests(module):
    assert doctest.testmod(module).failed == 0


def test_a_number_of_speakers_is_read_from_the_command_line(capsys):
    read = lambda *words: parser().parse_args(["transcribe", "a.wav", "--model", "m", *words]).speakers
    assert (read(), read("--speakers"), read("--speakers", "auto"), read("--speakers", "3")) == (None, 0, 0, 3)
    for wrong in ("0", "51", "talk.mp3"):
        with pytest.raises(SystemExit):
            read("--speakers", wrong)
        assert f"not '{wrong}'; name recordings before it" in capsys.readouterr().err


def test_without_the_packages_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(voices, "PACKAGES", ("no_such_package",))
    labels.require_speakers(None)
    for ask in (lambda: labels.require_speakers(0), lambda: labels.with_speakers(np.zeros(9, np.float32), [])):
        with pytest.raises(UsageError, match=r"pip install 'cantowhisper\[speakers\]'$"):
            ask()


def test_work_that_is_stopped_gives_no_piece(monkeypatch):
    monkeypatch.setattr(voices, "PACKAGES", ())  # it ends before any of them is needed
    assert labels.with_speakers(np.zeros(9000, np.float32), [Span(0, 9000)], should_stop=lambda: True) == []


@needs_model
def test_two_voices_are_told_apart(samples):
    """Two espeak-ng voices that take turns."""
    sound = load_audio(samples.parent / "clips" / "two_people.mp3")
    spans = find_segments(sound)
    assert [span.speaker for span in labels.with_speakers(sound, spans, 2)] == [n % 2 + 1 for n in range(len(spans))]
    assert labels.with_speakers(sound, spans, should_stop=lambda: True) == []


@needs_model
def test_people_are_told_apart_and_one_who_speaks_on_is_not(real_speech):
    for name, numbers in (("multi-speaker_08", [1, 2, 3, 4, 5, 6]), ("same-speaker_00", [1, 1, 1, 1])):
        sound = load_audio(real_speech / f"long_form/zh-HK_{name}.flac")
        assert [span.speaker for span in labels.with_speakers(sound, find_segments(sound))] == numbers


@needs_model
def test_a_voice_is_the_same_louder_and_a_click_has_one_too(samples):
    sound = load_audio(samples.parent / "clips" / "two_people.mp3")[: 3 * SAMPLE_RATE]
    assert voices.voice_vector(sound) @ voices.voice_vector(sound / 4) > 0.95
    for short in (sound[:100], np.zeros(1, np.float32)):
        vector = voices.voice_vector(short)
        assert vector.shape == (voices.DIMENSIONS,) and np.isfinite(vector).all()


# ------------------------------------------------------------------------------------------- what they stand beside


@given(st.lists(st.integers(1, 3), min_size=1, max_size=12))
def test_what_is_decoded_together_is_of_one_speaker(speakers):
    spans = [Span(k * SAMPLE_RATE, k * SAMPLE_RATE + 9000, False, number) for k, number in enumerate(speakers)]
    found = chunks(spans, at_most_s=5.0)
    assert [span for chunk in found for span in chunk] == spans
    assert all(len({span.speaker for span in chunk}) == 1 for chunk in found)


@settings(QUICK, max_examples=40)
@given(transcripts(), st.lists(st.integers(1, 3), min_size=8, max_size=8))
def test_a_cue_is_of_one_speaker(segments, speakers):
    told = [replace(segment, speaker=number) for segment, number in zip(segments, speakers, strict=False)]
    shown = {number: "" for number in speakers}
    for cue in captions(told):
        shown[cue.speaker] += "".join(cue.lines)
    for number, text in shown.items():
        own = "".join(segment.text for segment in told if segment.speaker == number).replace("-->", "→")
        assert "".join(text.split()) == "".join(own.split())


def test_every_format_says_who_speaks():
    assert subtitles.to_txt(SAID).splitlines() == [
        "Speaker 1: 食咗飯未呀？",
        "Speaker 2: 食咗",
        "我哋 <8> 點 & 9 點食",
        "Speaker 1: 好呀",
    ]
    cues = webvtt.from_buffer(io.StringIO(subtitles.to_vtt(SAID)), format="vtt")
    assert [cue.voice for cue in cues] == ["Speaker 1", "Speaker 2", "Speaker 1"]
    assert "<v Speaker 2>食咗我哋 &lt;8&gt;" in subtitles.to_vtt(SAID)
    names = [line.split(":")[0] for line in subtitles.to_srt(SAID).splitlines() if line.startswith("Speaker")]
    assert names == ["Speaker 1", "Speaker 2", "Speaker 1"] and "<v" not in subtitles.to_srt(SAID)
    table = list(csv.DictReader(subtitles.to_tsv(SAID).splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert [row["speaker"] for row in table] == ["1", "2", "2", "1"] and table[2]["text"] == SAID[2].text
    whole = json.loads(subtitles.to_json(SAID))
    assert [row["speaker"] for row in whole["segments"]] == [1, 2, 2, 1] and "Speaker" not in whole["text"]


def test_a_reader_of_chinese_is_told_in_chinese_and_tables_keep_numbers():
    say = Say("zh-HK")
    named = [*SAID, replace(SAID[0], start_s=90.0, end_s=91.0, speaker="Ann")]
    text = subtitles.write(named, "txt", say)
    assert text.splitlines()[:2] == ["講者 1：食咗飯未呀？", "講者 2：食咗"] and "Ann：食咗飯未呀？" in text
    assert "講者 1：" in subtitles.write(named, "srt", say) and "<v 講者 2>" in subtitles.write(named, "vtt", say)
    for name in subtitles.FORMATS:
        assert "Speaker" not in subtitles.write(named, name, say)
    assert all(subtitles.write(named, name, say) == subtitles.write(named, name) for name in ("tsv", "json"))


@pytest.mark.parametrize("name", subtitles.FORMATS)
def test_nothing_is_said_of_speakers_where_they_were_not_asked_for(name):
    plain = [replace(segment, speaker=0) for segment in SAID]
    assert "peaker" not in subtitles.write(plain, name) and "peaker" not in view.segments_table(plain, Say())


def test_srt_keeps_to_the_limits_of_lines_with_names():
    long = [Segment(0, 14, "我哋今日去街市買餸，之後返屋企煮飯，" * 3, 0.9, speaker=12)]
    cues = webvtt.from_buffer(io.StringIO(subtitles.to_srt(long)), format="srt")
    assert cues[0].lines[0].startswith("Speaker 12: ") and max(len(line) for cue in cues for line in cue.lines) <= 26
    assert "".join("".join(cue.lines) for cue in cues).endswith(long[0].text)


def test_the_page_has_a_column_of_speakers():
    table = view.segments_table(SAID, Say("zh-HK"), before=[Segment(0.0, 1.5, "before", 0.9)])
    assert "講者</th>" in table and table.count("<td class='speaker' data-label='講者'>") == 4
    assert table.index("before</td>") < table.index("<td class='speaker' data-label='講者'>1</td>")
