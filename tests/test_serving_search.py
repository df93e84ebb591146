"""How text is searched for: as widely as asked, in a language that the model knows, within each piece's own budget."""

from dataclasses import replace

import numpy as np
import pytest
from serving_model import ids, inputs, random_model, with_engine

from cantowhisper.contracts import DecodingOptions
from cantowhisper.serving import batches, recognizer
from cantowhisper.serving.engines.engine import Decoded
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.context import token_budget
from cantowhisper.speech.mel import SAMPLE_RATE
from cantowhisper.speech.text import normalize


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.fixture
def opened(model) -> Recognizer:
    return Recognizer.open(model, threads=1)


@pytest.fixture(scope="module")
def market(samples):
    """Eight sentences in 26 s, with pauses."""
    return load_audio(samples.parent / "clips" / "market_morning.mp3")


def test_a_wider_beam_finds_likelier_text(opened, market):
    for start in (0, 2 * SAMPLE_RATE, 5 * SAMPLE_RATE):
        piece = market[start : start + 2 * SAMPLE_RATE]
        given = (*inputs(opened, piece), opened._prompt(None))
        options = DecodingOptions(max_new_tokens=8, suppress_tokens=opened.vocabulary.suppressed)
        (greedy,), (beam,) = (opened.engine.decode(*given, replace(options, beam_size=n)) for n in (1, 5))
        assert len(greedy.token_ids) == len(beam.token_ids) == 8 and greedy.token_ids != beam.token_ids
        assert beam.mean_log_prob > greedy.mean_log_prob + 0.01  # int8 and float differ by a tenth of that


@pytest.mark.parametrize("beam_size", [1, 3])
@pytest.mark.parametrize("rule", [{"repetition_penalty": 1e3}, {"no_repeat_ngram_size": 1}], ids=["penalty", "ngram"])
def test_the_engine_repeats_nothing_where_it_was_told_not_to(opened, market, rule, beam_size):
    given = (*inputs(opened, market[: 2 * SAMPLE_RATE]), opened._prompt(None))
    options = DecodingOptions(max_new_tokens=16, suppress_tokens=opened.vocabulary.suppressed, beam_size=beam_size)
    (free,), (bound,) = (opened.engine.decode(*given, one) for one in (options, replace(options, **rule)))
    assert len(set(free.token_ids)) < len(free.token_ids), "random weights loop"
    assert len(set(bound.token_ids)) == len(bound.token_ids) > 1


def test_transformers_searches_as_widely_as_it_was_asked_to(model, monkeypatch):
    from transformers import GenerationMixin

    asked = []

    def record(*args, **options):
        asked.append(tuple(options[name] for name in ("num_beams", "repetition_penalty", "no_repeat_ngram_size")))
        raise StopIteration

    opened = Recognizer.open(model, threads=1, backend="transformers")
    monkeypatch.setattr(GenerationMixin, "generate", record)
    searches = [{}, {"beam_size": 3}, {"beam_size": 5, "repetition_penalty": 1.3, "no_repeat_ngram_size": 6}]
    for wanted in searches:
        with pytest.raises(StopIteration):
            given = (*inputs(opened, np.zeros(16_000)), [1])
            opened.engine.decode(*given, DecodingOptions(max_new_tokens=8, **wanted))
    assert asked == [(1, 1.0, 0), (3, 1.0, 0), (5, 1.3, 6)]


@pytest.mark.parametrize("beam_size", [1, 3, 5])
def test_the_engine_searches_as_widely_as_it_was_asked_to(opened, market, beam_size):
    with_engine(opened, lambda mel, t: Decoded(ids(opened, "食飯"), -0.1))
    assert len(opened.transcribe(market, beam_size=beam_size)) == 8
    assert {asked["beam_size"] for asked in opened.engine.asked} == {beam_size}
    opened.transcribe(market[: 4 * SAMPLE_RATE])
    assert opened.engine.asked[-1]["beam_size"] == 1


@pytest.mark.parametrize(
    ("heard", "taken"),
    [
        ({"<|en|>": 0.5, "<|zh|>": 0.4}, "<|en|>"),
        ({"<|xx|>": 0.9, "<|yue|>": 0.06, "<|en|>": 0.01, "<|zh|>": 0.03}, "<|zh|>"),
        ({"<|translate|>": 0.9, "<|en|>": 0.1}, "<|en|>"),
    ],
    ids=["likeliest", "likeliest_known", "no_language"],
)
def test_a_detected_language_is_one_that_the_model_knows(opened, market, heard, taken):
    assert {"en", "zh"} <= set(opened.languages) and not {"xx", "yue"} & set(opened.languages)
    with_engine(opened, lambda mel, t: Decoded(ids(opened, "食飯"), -0.1))
    opened.engine.first = np.zeros(len(opened.vocabulary.ids))
    for token, probability in heard.items():
        opened.engine.first[opened.vocabulary.ids.get(token, 0)] = probability
    assert opened.transcribe(market[: 7 * SAMPLE_RATE], language="auto")
    assert {asked["prompt"][1] for asked in opened.engine.asked} == {opened.vocabulary.ids[taken]}


def test_each_piece_of_a_batch_keeps_to_its_own_budget(opened, market, monkeypatch):
    """All pieces of a batch are decoded for as long as the longest may take; the others are cut where theirs ends."""
    said = ids(opened, "".join(chr(0x4E00 + i * 37) for i in range(200)))
    with_engine(opened, lambda mel, t: Decoded(said, -0.1))
    formed = []
    monkeypatch.setattr(recognizer, "batches", lambda jobs: formed.extend(batches.batches(jobs)) or iter(formed))
    found = opened.transcribe(market)
    jobs = {job.span.start / SAMPLE_RATE: job for batch in formed for job in batch}
    assert any(len({job.budget for job in batch}) > 1 for batch in formed), "pieces of several lengths in a batch"
    for segment in found:
        budget = token_budget(segment.end_s - segment.start_s)
        assert jobs[segment.start_s].budget == budget < len(said)
        assert segment.text == normalize(opened.vocabulary.decode(said[:budget])) and "repetition" in segment.flags
    first_tries = [asked for asked in opened.engine.asked if asked["repetition_penalty"] == 1]
    assert [a["max_new_tokens"] for a in first_tries] == [max(job.budget for job in batch) for batch in formed]
