"""The models: any encoder length from a stock Whisper, languages, and the miniature's tokens."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from training_data import corpus_texts, tiny_whisper
from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperTokenizer

from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.speech.context import Context, plain_window, stack
from cantowhisper.speech.mel import N_FRAMES
from cantowhisper.speech.torch_context import ContextSeam
from cantowhisper.training.miniature import TIMESTAMPS, build_miniature
from cantowhisper.training.model import load_model, save_model, set_language

TEXTS = ["你好呀我哋今日去邊度食飯", "唔該畀碗雲吞麵我呀多謝", "電話係二三四五六七八九"]
LENGTHS = (2, 64, 200, 412, 1500, 2998)  # every even number of frames will do


@pytest.fixture(scope="module")
def miniature():
    model, processor = build_miniature(TEXTS)
    return model.eval(), processor


@pytest.fixture(scope="module")
def real_tokenizer(real_weights):
    return WhisperTokenizer.from_pretrained(real_weights / "whisper_tokenizer")


def stock_copy(model, *, positions: int = 1500) -> WhisperForConditionalGeneration:
    """A stock Whisper with the same weights, built for an input of 2 × positions frames and no other."""
    config = WhisperConfig.from_dict({**model.config.to_dict(), "max_source_positions": positions})
    copy = WhisperForConditionalGeneration(config)
    weights = model.state_dict()
    weights["model.encoder.embed_positions.weight"] = weights["model.encoder.embed_positions.weight"][:positions]
    copy.load_state_dict(weights)
    copy.generation_config = model.generation_config
    return copy.eval()


def noise(frames: int, n_clips: int = 2) -> torch.Tensor:
    return torch.rand(n_clips, 80, frames, generator=torch.Generator().manual_seed(frames)) - 0.5


def positions(model) -> int:
    return model.config.max_source_positions


def plainly(model, frames: int, n_clips: int = 2):
    """Within this, the model takes inputs of `frames` as they are."""
    return ContextSeam.on(model).of(stack([plain_window(frames)] * n_clips))


def generate(model, features: torch.Tensor) -> list[list[int]]:
    mask = torch.ones(features.shape[0], features.shape[-1], dtype=torch.int64)
    ids = model.generate(input_features=features, attention_mask=mask, max_length=12, num_beams=1, do_sample=False)
    return ids.tolist()


# --------------------------------------------------------------------------------------------- variable context


def test_thirty_seconds_are_computed_as_by_a_stock_whisper(miniature):
    model, _ = miniature
    with torch.inference_mode():
        ours, stock = (m.get_encoder()(noise(N_FRAMES)).last_hidden_state for m in (model, stock_copy(model)))
    assert torch.equal(ours, stock)
    assert generate(model, noise(N_FRAMES)) == generate(stock_copy(model), noise(N_FRAMES))


@pytest.mark.parametrize("frames", LENGTHS)
def test_a_short_input_is_computed_as_by_a_whisper_built_for_that_length(miniature, frames):
    model, _ = miniature
    labels = torch.tensor([[5, 6, 7], [8, 9, -100]])
    stock = stock_copy(model, positions=frames // 2)
    losses = {}
    for name, each in (("ours", model), ("stock", stock)):
        each.zero_grad()
        with plainly(model, frames):
            loss = each(input_features=noise(frames), labels=labels).loss
        loss.backward()
        losses[name] = loss.item()
    assert losses["ours"] == losses["stock"]
    for (name, ours), theirs in zip(model.named_parameters(), stock.parameters(), strict=True):
        if theirs.grad is not None:
            assert torch.equal(ours.grad[: len(theirs)], theirs.grad), name
    with plainly(model, frames):
        assert generate(model, noise(frames)) == generate(stock, noise(frames))
    assert positions(model) == 1500


def test_the_encoder_is_stock_again_after_an_exception(miniature):
    model, _ = miniature
    with pytest.raises(ValueError):
        model.get_encoder()(noise(401))  # odd
    assert positions(model) == 1500
    with pytest.raises(RuntimeError), plainly(model, 400):
        model.get_encoder()(torch.zeros(1, 7, 400))  # seven Mel channels
    assert positions(model) == 1500
    with pytest.raises(KeyError), plainly(model, 400):
        raise KeyError
    assert positions(model) == 1500


def test_contexts_nest(miniature):
    model, _ = miniature
    with plainly(model, 600), torch.inference_mode():
        with plainly(model, 400):
            model.get_encoder()(noise(400))  # a forward of another length, as in a validation within training
            assert positions(model) == 200
        assert positions(model) == 300
        expected = generate(stock_copy(model, positions=300), noise(600))
        assert generate(model, noise(600)) == expected
    assert positions(model) == 1500


def test_a_model_has_one_seam(miniature):
    model, _ = miniature
    assert ContextSeam.on(model) is ContextSeam.on(model) is ContextSeam.on(torch.nn.ModuleList([model]))


def test_what_is_saved_is_a_stock_checkpoint(miniature, tmp_path):
    model, processor = miniature
    with plainly(model, 400):
        generate(model, noise(400))
    save_model(model, processor, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["max_source_positions"] == 1500
    loaded = WhisperForConditionalGeneration.from_pretrained(tmp_path).eval()
    fresh = WhisperForConditionalGeneration(WhisperConfig.from_pretrained(tmp_path))
    assert loaded.state_dict().keys() == fresh.state_dict().keys()
    with torch.inference_mode():
        ours, stock = (m.get_encoder()(noise(N_FRAMES)).last_hidden_state for m in (model, loaded))
    assert torch.equal(ours, stock)
    for name in ("tokenizer.json", "preprocessor_config.json", "generation_config.json"):
        assert (tmp_path / name).is_file()


@given(st.integers(1, 3000), st.integers(0, 300), st.sampled_from([2, 50, 100, 3000]))
def test_a_context_holds_the_clip_and_its_margin(n, margin, bucket):
    context = Context(kind="plain", margin_frames=margin, bucket_frames=bucket, min_frames=200)
    frames = context.kept_frames(n)
    assert frames % 2 == 0 and 200 <= frames <= N_FRAMES
    assert frames >= min(n + margin, N_FRAMES)
    assert frames < max(n + margin + bucket, 201)


# ----------------------------------------------------------------------------------------------------- language


@pytest.mark.parametrize("language", ["yue", "cantonese", "zh-HK", "zh"])
def test_cantonese_is_never_translated(real_tokenizer, language):
    # Asked for "cantonese", the tokenizers of tiny … large-v2 give the id of <|translate|>.
    model = tiny_whisper(real_tokenizer)
    model.config.forced_decoder_ids = model.generation_config.forced_decoder_ids = [[1, 50259], [2, 50358]]
    assert set_language(model, real_tokenizer, language) == "<|zh|>"
    prefix = real_tokenizer.convert_ids_to_tokens(real_tokenizer("你好").input_ids[:4])
    assert prefix == ["<|startoftranscript|>", "<|zh|>", "<|transcribe|>", "<|notimestamps|>"]
    assert real_tokenizer.convert_tokens_to_ids("<|zh|>") == 50260
    config = model.generation_config
    assert (config.language, config.task, config.return_timestamps) == ("zh", "transcribe", False)
    assert config.forced_decoder_ids is None and model.config.forced_decoder_ids is None
    assert model.accepts_loss_kwargs is False


def test_the_end_is_never_suppressed(miniature, real_tokenizer):
    # Tokenizers name one of the control tokens differently, and an unknown token's id is that of the end token.
    for tokenizer in (miniature[1].tokenizer, real_tokenizer):
        suppressed = tiny_whisper(tokenizer).generation_config.suppress_tokens
        assert tokenizer.eos_token_id not in suppressed and len(suppressed) >= 4


def test_generation_begins_with_the_prefix_of_the_labels(miniature):
    model, processor = miniature
    seen = []
    hook = model.get_decoder().register_forward_pre_hook(
        lambda _m, _a, kwargs: seen.append(kwargs["input_ids"]), with_kwargs=True
    )
    with plainly(model, 200):
        generate(model, noise(200))
    hook.remove()
    assert seen[0][0].tolist() == processor.tokenizer("你").input_ids[:4]


def test_a_language_without_a_token_is_refused(miniature):
    model, processor = miniature
    with pytest.raises(UsageError, match="no token for 'tlh'"):
        set_language(model, processor.tokenizer, "tlh")


def test_a_float16_checkpoint_is_trained_in_float32(miniature, tmp_path):
    _, processor = miniature
    model = tiny_whisper(processor.tokenizer).half()
    save_model(model, processor, tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float16"
    loaded, _ = load_model(tmp_path, language="yue")
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


def test_a_model_that_is_not_there_is_one_line(tmp_path):
    for path in (tmp_path, tmp_path / "absent"):
        with pytest.raises(CantowhisperError) as caught:
            load_model(path, language="yue")
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


# ------------------------------------------------------------------------------------------- the miniature's tokens


@settings(deadline=None, max_examples=200)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=60).filter(lambda t: "<|" not in t))
def test_any_text_goes_through_the_tokenizer_and_back(miniature, text):
    tokenizer = miniature[1].tokenizer
    ids = tokenizer(text).input_ids
    assert tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False) == text
    assert ids.count(tokenizer.convert_tokens_to_ids("<|startoftranscript|>")) == 1
    assert ids.count(tokenizer.eos_token_id) == 1 and ids[-1] == tokenizer.eos_token_id


def test_special_tokens_stand_in_whispers_order(miniature, real_tokenizer):
    def names(tokenizer):
        added = sorted((i, str(token)) for i, token in tokenizer.added_tokens_decoder.items())
        assert [i for i, _ in added] == list(range(added[0][0], added[0][0] + len(added)))
        return [name.replace("<|nocaptions|>", "<|nospeech|>") for _, name in added]  # has had two names

    assert names(miniature[1].tokenizer) == names(real_tokenizer)


def test_timestamps_are_no_special_tokens(miniature, real_tokenizer):
    for tokenizer in (miniature[1].tokenizer, real_tokenizer):
        added = tokenizer.added_tokens_decoder.values()
        assert [str(token) for token in added if not token.special] == TIMESTAMPS


def test_a_character_is_about_one_token():
    _, processor = build_miniature(corpus_texts())
    prefix = len(processor.tokenizer("").input_ids)
    n_tokens = sum(len(processor.tokenizer(text).input_ids) - prefix for text in corpus_texts())
    n_characters = sum(map(len, corpus_texts()))
    assert 1 <= n_tokens / n_characters < 1.05
    learned = processor.tokenizer.convert_ids_to_tokens(range(len(processor.tokenizer)))
    texts = [processor.tokenizer.convert_tokens_to_string([t]) for t in learned if not t.startswith("<|")]
    assert max(len(text) for text in texts if "\ufffd" not in text) == 1  # merges stay inside single characters


def test_the_same_seed_gives_the_same_miniature():
    one, other, third = (build_miniature(TEXTS, seed=seed)[0].state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not np.array_equal(one["proj_out.weight"], third["proj_out.weight"])
