"""Captions of any transcript keep to the limits, lose no text, and are what readers of subtitle files make of them."""

import doctest
import io
import unicodedata
from itertools import pairwise
from types import SimpleNamespace

import pytest
import webvtt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cantowhisper.contracts import Segment, UsageError
from cantowhisper.serving import subtitles
from cantowhisper.serving.captions import breaks, rules
from cantowhisper.serving.captions.cues import captions
from cantowhisper.serving.captions.rules import RULES, CaptionRules, script_of
from cantowhisper.speech.text import join_texts

QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no failure
MS = 0.0011  # times are rounded to whole milliseconds

CHINESE = ["我哋", "今日", "去", "街市", "買餸", "香港特別行政區", "之後返屋企", "唔該", "乜嘢", "下午會見傳媒", "𨋢"]
LATIN = ["to", "the", "well-known", "don’t", "iPhone", "Straße", "9,999", "3.5%", "10:30", "naïve", "Москва"]
MARKS = ["，", "。", "？", "！", "、", "……", "：", ", ", ". ", "? ", " ", " ", " "]
RARE = ["「好」", "（註）", "“A”", "３，０００", "ガッツポーズ", "한국어를", "สวัสดีครับ", "e\u0301", "---"]
RARE += ["\U0001f468\u200d\U0001f469\u200d\U0001f467", "x" * 50, "哈" * 40]


def written(*words: list[str]) -> st.SearchStrategy[str]:
    """Text of some of those words, one after the other as they come."""
    return st.lists(st.sampled_from([word for some in words for word in some]), min_size=1, max_size=40).map("".join)


def put_together(parts: list[tuple[str, str]]) -> str:
    """Words, each with the mark after it, and a space where two Latin ones would become one."""
    text = ""
    for word, mark in parts:
        text += " " * (text[-1:].isalnum() and text[-1:] < "\u3000" and word < "\u3000") + word + mark
    return text


prose = st.lists(
    st.tuples(st.sampled_from(CHINESE + LATIN), st.sampled_from([*MARKS, *[""] * 10])), min_size=1, max_size=40
).map(put_together)
spaced = st.lists(st.sampled_from(LATIN), min_size=1, max_size=30).map(" ".join)
anything = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60)
texts = st.one_of(written(CHINESE, MARKS), written(CHINESE, LATIN, MARKS, RARE), spaced, anything)


@st.composite
def transcripts(draw, said=texts) -> list[Segment]:
    """Segments in time order: side by side, apart, or overlapping a little."""
    segments, at = [], draw(st.floats(0, 5000))
    for text in draw(st.lists(said, min_size=1, max_size=8)):
        lasts, pause = draw(st.floats(0.1, 20)), draw(st.one_of(st.just(0.0), st.floats(-0.09, 3)))
        characters = ()
        if draw(st.booleans()):  # their own times, as even as they never are
            spoken, part = [c for c in text if not c.isspace()], lasts / 2
            times = [at + part * i / max(1, len(spoken)) for i in range(len(spoken) + 1)]
            characters = tuple((c, a, b) for c, (a, b) in zip(spoken, pairwise(times), strict=True))
        segments.append(Segment(at, at + lasts, text, 0.9, characters=characters))
        at = max(at + 0.05, at + lasts + pause)
    return segments


def whole(segments: list[Segment]) -> str:
    return join_texts((s.text.replace("-->", "→") for s in segments), "")


def width(line: str, kept: CaptionRules) -> int:
    """Columns of a line by the rule's own words, counted without the code under test."""
    wide, total = ("W", "F", "A") if kept.full_width else ("W", "F"), 0
    for before, character in pairwise(" " + line):
        drawn = unicodedata.category(character) not in ("Mn", "Me", "Cf", "Cc", "Cs") and before != "\u200d"
        total += drawn * (2 if unicodedata.east_asian_width(character) in wide else 1)
    return total


def seams(lines: list[str], text: str) -> list[int]:
    """Where each line but the first begins in the text that they were cut from: nothing but a space is between."""
    at, found = 0, []
    for line in lines:
        at += text[at] == " "
        found.append(at)
        assert text.startswith(line, at), (line, text[at : at + 50])
        at += len(line)
    assert at == len(text)
    return found[1:]


@settings(QUICK, max_examples=80)
@given(transcripts())
def test_captions_of_any_transcript_keep_to_the_rules(segments):
    text, cues = whole(segments), captions(segments)
    kept = RULES[script_of(text)]
    first, last = min(s.start_s for s in segments), max(s.end_s for s in segments)
    if not text:
        assert cues == []
        return
    for cue in cues:
        assert 1 <= len(cue.lines) <= kept.max_lines
        assert all(line and width(line, kept) <= kept.line_columns for line in cue.lines)
        assert first - MS <= cue.start_s < cue.end_s <= last + MS
        assert cue.end_s - cue.start_s <= kept.max_s + MS
    for cue, following in pairwise(cues):
        room = following.start_s - cue.start_s
        assert following.start_s - cue.end_s >= min(kept.gap_s, room / 2) - MS, "no overlap, and a gap"
        assert not kept.gap_s + MS < following.start_s - cue.end_s < kept.close_gap_s - MS or (
            cue.end_s - cue.start_s >= kept.max_s - MS
        ), "it would flicker"
        # Shorter than the shortest only where the next one begins too soon.
        assert cue.end_s - cue.start_s >= kept.min_s - MS or room < kept.min_s + kept.gap_s + MS
    assert cues[-1].end_s - cues[-1].start_s >= kept.min_s - MS or last - cues[-1].start_s < kept.min_s + MS
    seams([line for cue in cues for line in cue.lines], text)


@settings(QUICK, max_examples=60)
@given(transcripts(prose))
def test_no_line_ends_inside_of_a_latin_word_or_number(segments):
    text = whole(segments)
    joints = seams([" ".join(s.text.split()) for s in segments if s.text.strip()], text)
    for k in set(seams([line for cue in captions(segments) for line in cue.lines], text)) - set(joints):
        before, after = text[k - 1], text[k]
        assert " " in before or before >= "\u3000" or after >= "\u3000", text[k - 10 : k + 10]
        assert after not in "，。？！、…：,.?!:%" and before not in "「（“"


@settings(QUICK, max_examples=40)
@given(transcripts(spaced))
def test_latin_text_is_the_same_when_its_lines_are_joined_again(segments):
    lines = [line for cue in captions(segments) for line in cue.lines]
    assert " ".join(lines) == whole(segments)


def read(text: str, name: str) -> list[SimpleNamespace]:
    """A subtitle file as webvtt-py reads it: start, end in seconds, lines."""
    if not text.strip().removeprefix("WEBVTT"):
        return []
    found = webvtt.from_buffer(io.StringIO(text), format=name)
    # Whole milliseconds, divided once: 2 + 688 / 1000 is not 2.688.
    time = lambda t: ((t.hours * 60 + t.minutes) * 60_000 + t.seconds * 1000 + t.milliseconds) / 1000
    return [SimpleNamespace(start=time(c.start_time), end=time(c.end_time), lines=c.lines) for c in found]


@settings(QUICK, max_examples=30)
@given(transcripts())
def test_a_subtitle_library_reads_the_same_captions_from_both_formats(segments):
    made = captions(segments)
    for name in ("srt", "vtt"):
        cues = read(subtitles.write(segments, name), name)
        assert [(c.start, c.end) for c in cues] == [(c.start_s, c.end_s) for c in made]
        shown = [tuple(line if name == "srt" else unescaped(line) for line in c.lines) for c in cues]
        assert shown == [c.lines for c in made]


def unescaped(line: str) -> str:
    assert "<" not in line and ">" not in line
    return line.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_the_decoder_of_most_players_takes_both_formats(tmp_path):
    """libavformat, which VLC's and mpv's users have: as many packets as cues, at their times."""
    import av

    segments = [
        Segment(1.0, 4.0, "今日天氣好好，我哋去行山。", 0.9),
        Segment(5.0, 19.0, "我哋今日去街市買餸，" * 6, 0.9),
    ]
    for name in ("srt", "vtt"):
        (tmp_path / f"a.{name}").write_text(subtitles.write(segments, name), encoding="utf-8")
        with av.open(str(tmp_path / f"a.{name}")) as opened:
            packets = [packet for packet in opened.demux() if packet.size]
            unit = float(opened.streams[0].time_base)
        cues = captions(segments)
        assert [round(p.pts * unit, 3) for p in packets] == [c.start_s for c in cues] and len(cues) >= 3
        assert [round((p.pts + p.duration) * unit, 3) for p in packets] == [c.end_s for c in cues]


# ------------------------------------------------------------------------------------------------------- by example


def shown(text: str, seconds: float, **more) -> list[tuple[str, ...]]:
    return [cue.lines for cue in captions([Segment(0.0, seconds, text, 0.9)], **more)]


def test_a_long_chinese_sentence_breaks_at_its_comma_and_between_words():
    assert shown("中華人民共和國行政長官今日下午會見傳媒，宣布明年開始會喺全港十八區推行垃圾徵費計劃。", 12) == [
        ("中華人民共和國行政長官", "今日下午會見傳媒，"),
        ("宣布明年開始會喺全港", "十八區推行垃圾徵費計劃。"),
    ]


def test_what_fits_on_a_line_is_one():
    assert shown("我哋今日去街市買餸之後返屋企呀", 3) == [("我哋今日去街市買餸之後返屋企呀",)]
    assert shown("A short one, which needs no second line.", 3) == [("A short one, which needs no second line.",)]


def test_each_script_has_its_own_line():
    longest = lambda text: max(len(line) for lines in shown(text, 9) for line in lines)
    assert 32 < longest("so many words that a line is full of them and another one has to follow it ") <= 42
    assert longest("今日は天気がとてもいいので公園に散歩に行きたいと思っています") <= 13
    assert longest("我哋今日去街市買餸之後返屋企煮飯食然後一齊睇戲") <= 16
    assert longest("오늘은 날씨가 아주 좋아서 공원에 산책하러 가고 싶다고 생각합니다") <= 21  # of which a space is half


def test_a_title_and_a_name_are_no_end_of_a_sentence():
    lines = shown("We were told on the very same day that Mr. Smith had left the town.", 5)
    assert not any(line.endswith("Mr.") for cue in lines for line in cue)


def test_cues_of_a_segment_begin_when_their_first_character_is_said():
    text = "我哋今日去街市買餸，" * 4
    even = captions([Segment(10.0, 26.0, text, 0.9)])
    assert [cue.start_s for cue in even] == [10.0, 14.0, 18.0, 22.0]  # by their share
    late = tuple((c, 12 + i / 4, 12 + (i + 1) / 4) for i, c in enumerate(text))
    timed = captions([Segment(10.0, 26.0, text, 0.9, characters=late)])
    said = [len("".join(cue.lines)) for cue in timed]
    assert [cue.start_s for cue in timed] == [12 + sum(said[:i]) / 4 for i in range(len(timed))] and len(timed) > 1


def test_a_short_segment_stays_long_enough_to_be_read():
    alone, after = captions([Segment(1.0, 1.3, "係", 0.9), Segment(6.0, 8.0, "我哋今日去街市", 0.9)])
    assert alone.end_s == 1.833 and after.end_s == 8.0
    fast = captions([Segment(1.0, 2.0, "我哋今日去街市買餸之後返屋企", 0.9), Segment(6.0, 8.0, "好呀", 0.9)])
    assert fast[0].end_s == 2.5, "14 characters take 1.6 s to read; half a second more is allowed"


def test_a_segment_without_room_joins_the_next_one():
    cues = captions([Segment(1.0, 1.3, "係", 0.9), Segment(1.35, 4.0, "我哋今日去街市", 0.9)])
    assert [cue.lines for cue in cues] == [("係我哋今日去街市",)] and cues[0].start_s == 1.0


def test_limits_can_be_chosen_and_are_checked():
    narrow = CaptionRules(line_characters=8, full_width=True, max_lines=1)
    assert all(
        len(lines) == 1 and len(lines[0]) <= 8 for lines in shown("我哋今日去街市買餸之後返屋企", 6, rules=narrow)
    )
    with pytest.raises(UsageError, match="min_s is over max_s"):
        CaptionRules(min_s=8.0)
    with pytest.raises(UsageError, match="line_characters takes a whole number"):
        CaptionRules(line_characters=0)


@pytest.mark.parametrize("module", [rules, breaks], ids=lambda m: m.__name__)
def test_examples_in_docstrings(module):
    tried = doctest.testmod(module)
    assert tried.attempted and not tried.failed
