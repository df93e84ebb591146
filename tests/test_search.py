"""Searching for text finds what transformers finds in the same weights, and keeps to the rules."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from transformers import GenerationMixin, WhisperConfig, WhisperForConditionalGeneration  # noqa: E402

from cantowhisper.serving.engines.fusion import Fusion  # noqa: E402
from cantowhisper.serving.engines.search import Rules, beam_search, greedy  # noqa: E402
from cantowhisper.serving.engines.words import Words  # noqa: E402
from cantowhisper.speech.ngram import NGram, NGramFacts  # noqa: E402
from cantowhisper.speech.torch_search import ShallowFusion, shared_encoder_states  # noqa: E402

PROMPT, VOCABULARY = [2, 5, 7], 60
END = 10  # which these weights write after 1, 4 and 10 tokens, or not at all


@pytest.fixture(scope="module")
def model() -> WhisperForConditionalGeneration:
    """Random weights that are large enough to say different things of different speech, and to end."""
    torch.manual_seed(2)
    sizes = {"d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": VOCABULARY, "init_std": 0.4}
    layers = {"encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    tokens = {"pad_token_id": 1, "bos_token_id": 1, "eos_token_id": END, "decoder_start_token_id": 2}
    config = WhisperConfig(**sizes, **layers, **tokens, suppress_tokens=None, begin_suppress_tokens=None)
    return WhisperForConditionalGeneration(config).eval()


@pytest.fixture(scope="module")
def encoded() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(6, 30, 32)).astype(np.float32))


class Recomputing:
    """search.Decoding over the whole text again in each step: slow, and plainly right."""

    def __init__(self, model, encoded: torch.Tensor):
        self.model, self.encoded = model, encoded
        self.written = torch.zeros((len(encoded), 0), dtype=torch.long)

    @torch.inference_mode()
    def advance(self, ids: np.ndarray) -> np.ndarray:
        self.written = torch.cat([self.written, torch.from_numpy(ids)], dim=1)
        encoded = self.encoded.repeat_interleave(len(ids) // len(self.encoded), dim=0)
        return self.model(encoder_outputs=(encoded,), decoder_input_ids=self.written).logits[:, -1].numpy().copy()

    def select(self, rows: np.ndarray, clips: np.ndarray) -> None:
        self.written, self.encoded = self.written[rows], self.encoded[clips]


def by_transformers(model, encoded: torch.Tensor, **options) -> list[list[int]]:
    from transformers.modeling_outputs import BaseModelOutput

    found = GenerationMixin.generate(
        model,
        encoder_outputs=BaseModelOutput(last_hidden_state=encoded),
        decoder_input_ids=torch.tensor([PROMPT] * len(encoded)),
        max_length=None,
        do_sample=False,
        **options,
    )
    rows = (row[len(PROMPT) :].tolist() for row in found)
    return [row[: row.index(END)] if END in row else row for row in rows]


def ours(model, encoded: torch.Tensor, *, beam_size: int, max_new_tokens: int, favours=None, **rules):
    decoding = Recomputing(model, encoded)
    given = Rules(end=END, never=[], never_first=[], max_new_tokens=max_new_tokens, **rules)
    prompts = np.tile(np.array(PROMPT), (len(encoded), 1))
    if beam_size == 1 and not favours:
        return greedy(decoding, prompts, given)
    return beam_search(decoding, prompts, given, beam_size=beam_size, favours=favours)


@pytest.mark.parametrize("beam_size", [2, 5])
@pytest.mark.parametrize("weight", [0.1, 2.0])
def test_texts_with_a_language_model_are_those_of_transformers(model, encoded, beam_size, weight):
    facts = NGramFacts(language="yue", vocabulary_size=VOCABULARY, end=END, first_timestamp=None, weight=weight)
    lines = np.random.default_rng(1).integers(11, 40, size=(50, 6)).tolist()
    ngram = NGram.learn(lines, facts)
    fusion = [ShallowFusion(ngram, n_prompt=len(PROMPT))]
    expected = by_transformers(model, encoded, num_beams=beam_size, max_new_tokens=24, logits_processor=fusion)
    found = ours(model, encoded, beam_size=beam_size, max_new_tokens=24, favours=Fusion(ngram))
    assert [one.token_ids for one in found] == expected
    without = [one.token_ids for one in ours(model, encoded, beam_size=beam_size, max_new_tokens=24)]
    assert weight < 1 or expected != without
    listed = Words([[(expected[0][0] + 1,)]], weight=50.0)
    both = ours(model, encoded, beam_size=beam_size, max_new_tokens=24, favours=Fusion(ngram, listed))
    assert any(listed.gain_of(one.token_ids) > 0 for one in both)


@pytest.mark.parametrize("beam_size", [1, 2, 5])
def test_what_hypotheses_share_is_computed_once_a_clip_and_changes_no_text(model, encoded, beam_size):
    expected = by_transformers(model, encoded, num_beams=beam_size, max_new_tokens=24)
    keys, layers = [], model.get_decoder().layers
    hook = layers[0].encoder_attn.k_proj.register_forward_hook(lambda _m, args, out: keys.append((args[0], out)))
    with shared_encoder_states(model, beam_size):
        assert by_transformers(model, encoded, num_beams=beam_size, max_new_tokens=24) == expected
    hook.remove()
    ((heard, projected),) = keys  # one step of the search has projected them, and no other
    assert len(heard) == len(projected) == len(encoded), "the encoder's output of each clip, once"
    assert not any(one._forward_hooks or one._forward_pre_hooks for one in layers.modules())
    assert not hasattr(model, "_reorder_cache") and by_transformers(model, encoded, max_new_tokens=24)


@pytest.mark.parametrize("max_new_tokens", [1, 3, 24])
@pytest.mark.parametrize("beam_size", [1, 2, 5])
def test_texts_are_those_of_transformers(model, encoded, beam_size, max_new_tokens):
    options = {"max_new_tokens": max_new_tokens}
    expected = by_transformers(model, encoded, num_beams=beam_size, **options)
    found = ours(model, encoded, beam_size=beam_size, **options)
    assert [one.token_ids for one in found] == expected
    if max_new_tokens == 24:
        assert len({len(row) for row in expected}) > 1, "texts end at different times"


def test_texts_that_avoid_repetition_are_those_of_transformers(model, encoded):
    plain = by_transformers(model, encoded, num_beams=3, max_new_tokens=24)
    expected = by_transformers(
        model, encoded, num_beams=3, max_new_tokens=24, repetition_penalty=1.3, no_repeat_ngram_size=3
    )
    penalties = {"repetition_penalty": 1.3, "no_repeat_ngram_size": 3}
    # To transformers, what stands in the prompt is said already.
    found = ours(model, encoded, beam_size=3, max_new_tokens=24, **penalties, written=tuple(PROMPT))
    assert [one.token_ids for one in found] == expected != plain
    for one in found:
        triples = list(zip(*(one.token_ids[i:] for i in range(3)), strict=False))
        assert len(set(triples)) == len(triples)


@pytest.mark.parametrize("beam_size", [1, 4])
def test_a_clip_says_the_same_alone_and_its_probabilities_are_those_of_a_forward_pass(model, encoded, beam_size):
    together = ours(model, encoded, beam_size=beam_size, max_new_tokens=24)
    for i, found in enumerate(together):
        (alone,) = ours(model, encoded[i : i + 1], beam_size=beam_size, max_new_tokens=24)
        assert alone.token_ids == found.token_ids and alone.log_probs == pytest.approx(found.log_probs, abs=1e-5)
        ids = [*found.token_ids, END] if len(found.token_ids) < 24 else found.token_ids
        with torch.inference_mode():
            logits = model(
                encoder_outputs=(encoded[i : i + 1],), decoder_input_ids=torch.tensor([[*PROMPT, *ids]])
            ).logits[0]
        expected = logits.log_softmax(-1)[len(PROMPT) - 1 : -1][range(len(ids)), ids]
        assert found.log_probs == pytest.approx(expected[: len(found.token_ids)].tolist(), abs=1e-5)
        assert found.mean_log_prob == pytest.approx(expected.mean().item(), abs=1e-5), "knowing where to end counts"


@pytest.mark.parametrize("beam_size", [1, 3])
def test_what_may_not_be_written_is_not(model, encoded, beam_size):
    free = {token for one in ours(model, encoded, beam_size=beam_size, max_new_tokens=8) for token in one.token_ids}
    never = sorted(free)[:3]
    rules = Rules(end=END, never=never, never_first=[END], max_new_tokens=8)
    prompts = np.tile(np.array(PROMPT), (len(encoded), 1))
    search = greedy if beam_size == 1 else lambda *given: beam_search(*given, beam_size=beam_size)
    for one in search(Recomputing(model, encoded), prompts, rules):
        assert one.token_ids and not set(one.token_ids) & {*never, END}


def test_text_that_is_there_counts_as_said_and_may_be_all():
    rules = Rules(
        end=END, never=[], never_first=[END], max_new_tokens=4, written=(7, 8, 9, 7, 8), repetition_penalty=2.0,
        no_repeat_ngram_size=3,
    )  # fmt: skip
    log_probs = np.full((1, VOCABULARY), -1.0, np.float32)
    ranked = rules.discourage(log_probs, [()])
    assert ranked[0, 9] == -np.inf and ranked[0, 7] == ranked[0, 8] == -2 and ranked[0, 10] == -1
    assert (log_probs == -1).all()
    assert not rules.allowed(np.zeros((1, VOCABULARY), np.float32), [()]).any(), "the end may come at once"
    assert replace(rules, written=()).allowed(np.zeros((1, VOCABULARY), np.float32), [()])[0, END] == -np.inf


@pytest.mark.parametrize("turn", [1, 3, 16])
def test_greedy_stops_where_a_text_goes_round(turn):
    """A decoder that writes the same few tokens for ever is asked no more than it takes to see that."""

    class Round:
        asked = 0

        def advance(self, ids):
            logits = np.zeros((1, VOCABULARY), np.float32)
            logits[0, 11 + self.asked % turn] = 9.0
            self.asked += 1
            return logits

    decoding = Round()
    rules = Rules(end=END, never=[], never_first=[], max_new_tokens=400)
    (found,) = greedy(decoding, np.array([PROMPT]), rules)
    assert decoding.asked == len(found.token_ids) == max(24, 4 * turn)
    assert len(found.log_probs) == len(found.token_ids)
