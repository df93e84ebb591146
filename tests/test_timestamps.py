"""Timestamp tokens stand where Whisper's own decoding lets them, and are read as it means them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cantowhisper.serving.engines.timestamps import Passage, Timestamps

END, NO_TIMES, FIRST, VOCABULARY = 40, 49, 50, 150
RULES = Timestamps(first=FIRST, end=END)


@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.floats(0.2, 6.0))
def test_the_rules_are_those_of_transformers(seed, n, scale):
    torch = pytest.importorskip("torch")
    from transformers import GenerationConfig
    from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor

    settings = GenerationConfig(eos_token_id=END, no_timestamps_token_id=NO_TIMES, max_initial_timestamp_index=50)
    theirs = WhisperTimeStampLogitsProcessor(settings, begin_index=3)
    rng = np.random.default_rng(seed)
    ids: list[int] = []
    for _ in range(n + 1):
        logits = rng.normal(0, scale, VOCABULARY).astype(np.float32)
        logits[NO_TIMES] = -np.inf  # never written, and above the end token like all that is no text
        expected = theirs(torch.tensor([[1, 2, 3, *ids]]), torch.from_numpy(logits[np.newaxis].copy()))[0].numpy()
        found = logits.copy()
        RULES.constrain(found, ids)
        assert np.array_equal(np.isfinite(found), np.isfinite(expected)), ids
        token = int(found.argmax())
        if token == END:
            break
        ids.append(token)


def test_passages_keep_every_word_and_their_times():
    ids = [50, 1, 2, 75, 80, 3, 100, 100, 4]
    found = RULES.passages(ids, [-0.1 * i for i in range(len(ids))])
    assert [(p.start_s, p.end_s, p.token_ids) for p in found] == [(0, 0.5, [1, 2]), (0.6, 1.0, [3]), (1.0, None, [4])]
    assert found[1].log_probs == [-0.5]
    assert RULES.passages([], []) == [] and RULES.passages([50, 60], [0, 0]) == []


def test_a_text_without_any_timestamp_is_one_passage():
    assert RULES.passages([1, 2], [-1.0, -2.0]) == [Passage(0.0, None, [1, 2], [-1.0, -2.0])]
