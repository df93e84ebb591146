"""Transcripts as files: read back with small parsers of their own. Subtitles: test_serving_captions.py."""

import csv
import doctest
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cantowhisper.contracts import Segment, UsageError
from cantowhisper.serving import hallucination, subtitles

SEGMENTS = [
    Segment(0.0, 2.34567, "你好呀，食咗飯未？", 0.91),
    Segment(59.9996, 3600.0, "A & B <i>唔係</i> --> C\n第二行\tTAB", 0.5, ("low_confidence",)),
    Segment(3600.5, 36001.25, '"引號"', 1.0),
]


def parse_tsv(text: str):
    for row in csv.DictReader(text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
        yield int(row["start"]) / 1000, int(row["end"]) / 1000, row["text"]


def parse_json(text: str):
    for row in json.loads(text)["segments"]:
        yield row["start_s"], row["end_s"], " ".join(row["text"].split()).replace("-->", "→")


PARSERS = {"tsv": parse_tsv, "json": parse_json}
segment = st.builds(
    Segment,
    st.floats(0, 90_000),
    st.floats(0, 90_000),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).map(lambda t: " ".join(t.split()) or "字"),
    st.floats(0, 1),
)


def assert_same(name: str, segments: list[Segment]) -> None:
    read = list(PARSERS[name](subtitles.write(segments, name)))
    assert len(read) == len(segments)
    for (start, end, text), wanted in zip(read, segments, strict=True):
        assert start == pytest.approx(wanted.start_s, abs=0.00051) and end == pytest.approx(wanted.end_s, abs=0.00051)
        assert text == " ".join(wanted.text.split()).replace("-->", "→")


@pytest.mark.parametrize("name", PARSERS)
def test_round_trip(name):
    assert_same(name, SEGMENTS)
    assert_same(name, [])


@given(st.lists(segment, max_size=4))
def test_round_trip_of_anything(segments):
    for name in PARSERS:
        assert_same(name, segments)


def test_text_is_one_line_a_segment():
    assert subtitles.to_txt(SEGMENTS).splitlines() == [
        "你好呀，食咗飯未？",
        "A & B <i>唔係</i> → C 第二行 TAB",
        '"引號"',
    ]


def test_rounding_never_gives_sixty_seconds():
    assert subtitles.clock(59.9996) == "00:01:00.000"
    assert subtitles.clock(3599.9999, ",") == "01:00:00,000"
    assert subtitles.clock(-0.01) == "00:00:00.000"


def test_unknown_format_is_refused():
    with pytest.raises(UsageError, match="docx"):
        subtitles.write(SEGMENTS, "docx")


@pytest.mark.parametrize("module", [subtitles, hallucination], ids=lambda m: m.__name__)
def test_examples_in_docstrings(module):
    tried = doctest.testmod(module)
    assert tried.attempted and not tried.failed


@pytest.mark.parametrize("text", ["好" * 30, "多謝觀看" * 5, "one two three " * 12], ids=["char", "phrase", "words"])
def test_loops_are_seen(text):
    assert hallucination.repeats(text)


@pytest.mark.parametrize(
    "text", ["", "哈哈哈哈", "電話係九九九九一一一一", "慢慢行慢慢行唔好急", "今日天氣好好我哋去行山"]
)
def test_speech_is_no_loop(text):
    assert not hallucination.repeats(text)
