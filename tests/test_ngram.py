"""A language model counted in tokens: it is a distribution, it is Kneser-Ney, and a search adds it and nothing else."""

import dataclasses
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cantowhisper.contracts import CantowhisperError
from cantowhisper.speech.ngram import DISCOUNT, ORDERS, NGram, NGramFacts

END, FIRST_TIME, VOCABULARY = 7, 9, 12
FACTS = NGramFacts(language="yue", vocabulary_size=VOCABULARY, end=END, first_timestamp=None, weight=0.5)
TIMED = dataclasses.replace(FACTS, first_timestamp=FIRST_TIME)
sentences = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=8), min_size=1, max_size=12)
orders = st.sampled_from(ORDERS)


def learned(lines, *, order=3, facts=FACTS) -> NGram:
    return NGram.learn(lines, dataclasses.replace(facts, order=order))


def cross_entropy(model: NGram, lines) -> float:
    """Nats a token of sentences, whose ends count."""
    surprises = [
        -model.log_probs(model.after(line[:i]))[token] for line in lines for i, token in enumerate([*line, END])
    ]
    return float(np.mean(surprises))


def kneser_ney(lines, order: int):
    """P(token | context) straight from the definition, by counting in dictionaries."""
    start = VOCABULARY
    runs = Counter()
    for line in lines:
        padded = (start,) * (order - 1) + tuple(line) + (END,)
        runs.update(padded[i : i + order] for i in range(len(padded) - order + 1))
    counts = {order: runs}
    for k in range(order - 1, 0, -1):
        counts[k] = Counter(run[1:] for run in counts[k + 1])  # how many different tokens it has followed

    def probability(context, token) -> float:
        k = len(context) + 1
        shorter = probability(context[1:], token) if context else 1 / VOCABULARY
        seen = {run[-1]: n for run, n in counts[k].items() if run[:-1] == context}
        if not seen:
            return shorter
        total = sum(seen.values())
        return max(seen.get(token, 0) - DISCOUNT, 0) / total + DISCOUNT * len(seen) / total * shorter

    return probability


@settings(max_examples=30, deadline=None)
@given(sentences, st.lists(st.integers(0, 6), max_size=5), orders)
def test_probabilities_are_those_of_kneser_ney_and_add_up_to_one(lines, text, order):
    model = learned(lines, order=order)
    state = model.after(text)
    found = np.exp(model.log_probs(state).astype(np.float64))
    assert found.sum() == pytest.approx(1, abs=1e-5)
    expected = kneser_ney(lines, order)
    assert found == pytest.approx([expected(state, token) for token in range(VOCABULARY)], rel=1e-4)


@given(sentences)
def test_what_was_counted_is_less_of_a_surprise_than_its_tokens_in_another_order(lines):
    lines = [line for line in lines if len(set(line)) > 2]
    if not lines:
        return
    model = learned(lines)
    assert model.facts.n_sentences == len(lines) and model.facts.n_tokens == sum(len(line) + 1 for line in lines)
    uniform = math.log(VOCABULARY)
    assert cross_entropy(model, lines) < uniform
    assert cross_entropy(model, lines) <= cross_entropy(model, [[6] * len(line) for line in lines])  # never seen


def test_weight_multiplies_and_arrays_are_not_to_be_changed():
    model = learned([[1, 2], [1, 3]])
    assert model.gains(model.begin) == pytest.approx(0.5 * model.log_probs(model.begin))
    assert model.weighing(0.2).gains(model.begin) == pytest.approx(0.2 * model.log_probs(model.begin))
    assert model.facts.weight == 0.5
    with pytest.raises(ValueError, match="read-only"):
        model.log_probs(model.begin)[0] = 0


def test_a_time_ends_a_sentence_as_its_end_does_and_begins_one_for_nothing():
    model, text = learned([[1, 2]], facts=TIMED), [1, 2]
    start, stop = FIRST_TIME, FIRST_TIME + 2
    assert model.after([start]) == model.begin == model.after([start, *text, stop, start])
    inside = model.log_probs(model.after([start, *text]))
    assert inside[stop] == inside[END] > inside[1]
    between = model.log_probs(model.after([start, *text, stop]))
    assert (between[END], between[start], between[1]) == (0, 0, -np.inf)
    timed = sum(
        float(model.log_probs(model.after(([start, *text, stop, END])[:i]))[token])
        for i, token in enumerate([start, *text, stop, END])
    )
    plain = learned([[1, 2]])
    assert timed == pytest.approx(cross_entropy(plain, [text]) * -3)  # the same sentence, with times and without


@settings(max_examples=10, deadline=None)
@given(sentences, orders)
def test_a_file_gives_back_the_model(lines, order):
    import tempfile
    from pathlib import Path

    model = learned(lines, order=order, facts=TIMED)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "language_model.npz"
        model.save(path)
        again = NGram.load(path)
    assert again.facts == model.facts
    for text in ([], [1], [2, 3], [6, 6]):
        assert np.array_equal(again.log_probs(again.after(text)), model.log_probs(model.after(text)))


def test_a_file_that_is_none_or_does_not_fit_is_refused_in_a_line(tmp_path):
    path = tmp_path / "language_model.npz"
    path.write_bytes(b"no archive")
    with pytest.raises(CantowhisperError, match="make it again: cantowhisper language-model"):
        NGram.load(path)
    learned([[1, 2, 3], [4, 5]]).save(path)
    with np.load(path) as found:
        arrays = dict(found)
    for name, value in {
        "unigrams": arrays["unigrams"][:-1],
        "tokens_3": arrays["tokens_3"] + VOCABULARY,
        "starts_2": arrays["starts_2"][::-1],
        "left_3": arrays["left_3"][:-1],
        "facts": np.frombuffer(b"{}", np.uint8),
    }.items():
        np.savez(path, **(arrays | {name: value}))
        with pytest.raises(CantowhisperError, match="not readable as a language model"):
            NGram.load(path)
    np.savez(path, facts=np.array([{}], dtype=object))  # a pickle is not opened
    with pytest.raises(CantowhisperError, match="not readable as a language model"):
        NGram.load(path)


def test_nothing_to_learn_from_is_said():
    with pytest.raises(CantowhisperError, match="no sentences"):
        learned([[], []])
