"""What benchmarks.punctuation counts: marks apart from their text, at the right places, and no hit twice."""

import doctest

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import punctuation
from benchmarks.punctuation import COMMA, STOP, Told, chosen, counts, hits, marked, rates, tell, written_by_itself
from cantowhisper.speech.text import cer_edits

MARKS = ["，", "。", "？", "、", "」", " ", ""]
QUICK = settings(deadline=None)  # a busy machine is no failure
words = st.text("今日天氣好靚abc12", min_size=1, max_size=6)
sentences = st.lists(st.tuples(words, st.sampled_from(MARKS)), min_size=1, max_size=5).map(
    lambda parts: "".join(word + mark for word, mark in parts)
)
places = st.sets(st.integers(1, 30), max_size=12)


def test_examples_in_docstrings():
    tried = doctest.testmod(punctuation)
    assert tried.attempted and not tried.failed


@QUICK
@given(st.lists(sentences, min_size=1, max_size=4))
def test_a_text_without_its_marks_is_the_same_text(said):
    told = tell(said)
    assert cer_edits(told.text, "".join(said))[0] == 0 and told.text.isalnum()
    assert all(0 < k < len(told.text) for k in told.marks)
    assert {told.marks[k] for k in told.ends if k < len(told.text)} <= {STOP}
    found = rates([counts(told.marks, told)])
    assert all(one["hits"] == one["given"] == one["true"] for one in found.values()), "what is true is right"
    assert written_by_itself("".join(f"{one}。" for one in said), told).keys() <= told.marks.keys() | told.ends


@QUICK
@given(places, places)
def test_no_mark_is_a_hit_twice_and_none_is_far_away(given_places, true_places):
    marks = lambda at: dict.fromkeys(at, COMMA)
    pairs = hits(marks(given_places), marks(true_places))
    assert all(abs(a - b) <= 1 for a, b in pairs)
    for side, known in zip(zip(*pairs, strict=True), (given_places, true_places), strict=False):
        assert len(set(side)) == len(side) and set(side) <= known
    assert len(pairs) >= len(given_places & true_places) / 2


def test_a_pause_is_a_mark_before_the_character_that_begins_at_its_end():
    begins = np.array([0.2, 0.5, 0.9, 2.0, 2.3, 4.4])
    silences = [(0.0, 0.15), (1.3, 1.95), (1.05, 1.2), (2.7, 4.4), (4.7, 4.8)]
    assert marked(begins, silences, 0.5, 1.2) == {3: COMMA, 5: STOP}
    assert marked(begins, silences, 0.5, 0.6) == {3: STOP, 5: STOP}
    assert marked(begins, silences, 2.0, 3.0) == {}
    told = Told("今日天氣好靚", {3: COMMA, 5: STOP}, frozenset({5, 6}))
    comma_s, stop_s = chosen([((begins, silences), told)])
    assert 0.1 < comma_s <= 0.6 < stop_s <= 1.7, "lengths with which both marks are right"


def test_marks_of_a_recognised_text_are_put_where_the_true_text_has_them():
    told = tell(["今日天氣好好，我哋去行山", "好嗎？"])
    assert told.marks == {6: COMMA, 11: STOP} and told.ends == {11, 13}
    assert counts(written_by_itself("今日天汽好,我哋去行山。好吗", told), told)["any"].tolist() == [2, 2, 2]
    found = rates([counts(written_by_itself("今日,天氣好好我哋去行山好嗎?", told), told)])
    assert found["any"] == {"precision": 0.0, "recall": 0.0, "hits": 0, "given": 1, "true": 2}
    assert found["inside"]["true"] == 1 and found["stop"]["precision"] is None
