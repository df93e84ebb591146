"""Merged windows: they weigh as much as 30 s, and where nothing is merged they are the stock window."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GenerationMixin, WhisperConfig, WhisperForConditionalGeneration

from cantowhisper.contracts import CantowhisperError
from cantowhisper.speech.context import (
    N_POSITIONS,
    Context,
    Windows,
    group_sizes,
    merged_window,
    plain_window,
    silent_from,
    stack,
)
from cantowhisper.speech.mel import N_FRAMES, SILENT_LOG_MEL, pad_to
from cantowhisper.speech.torch_context import ContextSeam

contexts = st.builds(
    Context,
    kind=st.sampled_from(["merged", "plain", "full"]),
    margin_frames=st.integers(0, 600),
    bucket_frames=st.integers(1, 100).map(lambda n: 2 * n),
    min_frames=st.integers(0, 300).map(lambda n: 2 * n),
    groups=st.integers(1, 1600),
)


@given(n_frames=st.integers(1, N_FRAMES), context=contexts)
def test_a_window_hears_all_of_the_clip_once_and_in_order(n_frames, context):
    window = context.window(n_frames)
    heard = -(-n_frames // 2)
    assert (np.diff(window.positions) > 0).all() and window.positions[0] == 0 and window.positions[-1] < N_POSITIONS
    assert (window.positions[:heard] == window.columns[:heard]).all()
    assert not window.log_weights[:heard].any()
    assert window.n_frames % 2 == 0 and n_frames <= window.n_frames
    assert window.columns.min() >= 0 and window.columns.max() < window.n_frames // 2


@given(n_frames=st.integers(1, N_FRAMES), context=contexts)
def test_a_merged_window_weighs_as_much_as_30_s(n_frames, context):
    window = Context(groups=context.groups, margin_frames=context.margin_frames).window(n_frames)
    assert np.exp(window.log_weights).sum() == pytest.approx(N_POSITIONS, abs=0.01)
    assert window.positions[-1] == N_POSITIONS - 1  # the last position is always itself
    assert np.exp(window.log_weights[-1]) == 1
    assert (np.diff(window.log_weights[:-1]) >= 0).all()  # finer near the speech than far from it


@given(n_frames=st.integers(1, N_FRAMES), kept=st.integers(0, N_POSITIONS))
def test_with_as_many_groups_as_positions_it_is_the_stock_window(n_frames, kept):
    window, stock = merged_window(n_frames, kept=kept, groups=N_POSITIONS), plain_window(N_FRAMES)
    assert all(np.array_equal(a, b) for a, b in zip(window, stock, strict=True))


@given(total=st.integers(1, 1500), data=st.data())
def test_groups_cover_everything(total, data):
    groups = data.draw(st.integers(1, total))
    sizes = group_sizes(total, groups)
    assert len(sizes) == groups and sum(sizes) == total and min(sizes) >= 1


@pytest.mark.parametrize("n_frames", [0, N_FRAMES + 1])
def test_a_clip_of_another_length_is_refused(n_frames):
    with pytest.raises(ValueError, match="3000 frames"):
        merged_window(n_frames, kept=200, groups=32)


@pytest.mark.parametrize(
    "wrong", [{"kind": "short"}, {"bucket_frames": 3}, {"bucket_frames": 0}, {"margin_frames": -1}, {"groups": 0}]
)
def test_impossible_contexts_are_refused(wrong):
    with pytest.raises(CantowhisperError):
        Context(**wrong)


# ------------------------------------------------------------------------------------------------ in a real encoder


@pytest.fixture(scope="module")
def model() -> WhisperForConditionalGeneration:
    torch.manual_seed(0)
    sizes = {"d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": 100}
    layers = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    tokens = {"pad_token_id": 1, "bos_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 2}
    config = WhisperConfig(**sizes, **layers, **tokens, suppress_tokens=None, begin_suppress_tokens=None)
    return WhisperForConditionalGeneration(config).eval()


@pytest.fixture(scope="module")
def seam(model) -> ContextSeam:
    return ContextSeam.on(model)


def speech(n_frames: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(SILENT_LOG_MEL, 0.5, (80, n_frames)).astype(np.float32)


def batch(mels: list[np.ndarray], windows: Windows) -> torch.Tensor:
    return torch.from_numpy(np.stack([pad_to(mel, windows.n_frames) for mel in mels]))


def logits(model, features: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_features=features, decoder_input_ids=torch.tensor([[2, 5, 6, 7]] * len(features))).logits


def stock(model, mels: list[np.ndarray]) -> torch.Tensor:
    return logits(model, torch.from_numpy(np.stack([pad_to(mel) for mel in mels])))


def one_by_one(n_frames: int, kept: int) -> Windows:
    """Every silent position for itself, but gathered from the two columns that a short input has for them."""
    last = N_POSITIONS - 1
    columns = np.concatenate([np.arange(kept), np.full(last - kept, kept), [kept + 1]])
    return Windows(2 * (kept + 2), columns[None], np.arange(N_POSITIONS)[None], np.zeros((1, N_POSITIONS), np.float32))


@pytest.mark.parametrize("n_frames", [1, 2, 199, 200, 1001, 2900, 2989])
def test_a_short_input_has_every_vector_of_the_whole_window(model, seam, n_frames):
    """The derivation: all silent positions hold what one of them holds, and the last one what it holds here."""
    mel = speech(n_frames)
    windows = one_by_one(n_frames, silent_from(n_frames))
    with seam.of(windows):
        ours = logits(model, batch([mel], windows))
    assert torch.allclose(ours, stock(model, [mel]), atol=2e-6)


def test_weights_stand_for_positions_that_are_alike(model, seam):
    """Where positions do not differ, merging is exact: a model without position embeddings cannot tell."""
    embeddings = model.get_encoder().embed_positions.weight.data
    before = embeddings.clone()
    embeddings.zero_()
    try:
        mel = speech(301)
        windows = stack([Context(groups=4, margin_frames=0, bucket_frames=2).window(301)])
        unweighed = windows._replace(log_weights=np.zeros_like(windows.log_weights))
        whole = stock(model, [mel])
        with seam.of(windows):
            assert torch.allclose(logits(model, batch([mel], windows)), whole, atol=2e-6)
        with seam.of(unweighed):
            assert not torch.allclose(logits(model, batch([mel], windows)), whole, atol=1e-4)
    finally:
        embeddings.copy_(before)


def test_rows_of_a_batch_do_not_depend_on_each_other(model, seam):
    context, lengths = Context(groups=8), (40, 333, 1200, 2999)
    mels = [speech(n, seed=n) for n in lengths]
    windows = stack([context.window(n) for n in lengths])
    with seam.of(windows):
        together = logits(model, batch(mels, windows))
    for mel, row in zip(mels, together, strict=True):
        alone = stack([context.window(mel.shape[1])])
        with seam.of(alone):
            assert torch.allclose(logits(model, batch([mel], alone))[0], row, atol=2e-6)


def test_a_search_hears_each_clip_through_its_own_window(model, seam):
    lengths = (40, 333)
    windows = stack([Context(groups=8).window(n) for n in lengths])
    features = batch([speech(n, seed=n) for n in lengths], windows)
    search = {"num_beams": 3, "do_sample": False, "max_new_tokens": 5, "decoder_input_ids": torch.tensor([[2, 5]] * 2)}
    with seam.of(windows), torch.inference_mode():
        found = GenerationMixin.generate(model, input_features=features, **search)
    for row in range(2):
        one = Windows(windows.n_frames, *(array[row : row + 1] for array in windows[1:]))
        search["decoder_input_ids"] = torch.tensor([[2, 5]])
        with seam.of(one), torch.inference_mode():
            alone = GenerationMixin.generate(model, input_features=features[row : row + 1], **search)
        n = alone.shape[1]
        assert torch.equal(found[row, :n], alone[0])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_flow_through_it(model, seam, checkpointing):
    windows = stack([Context(groups=8).window(333)])
    features, labels = batch([speech(333)], windows), torch.tensor([[5, 6, 7]])
    gradients = []
    for asked in (False, checkpointing):
        model.train()
        model.gradient_checkpointing_enable() if asked else model.gradient_checkpointing_disable()
        model.zero_grad()
        with seam.of(windows):
            model(input_features=features, labels=labels).loss.backward()
        gradients.append(model.get_encoder().layers[0].self_attn.k_proj.weight.grad.clone())
    model.gradient_checkpointing_disable()
    model.eval()
    assert gradients[0].abs().max() > 0
    assert torch.allclose(gradients[0], gradients[1], atol=1e-7)


def test_outside_of_it_the_model_is_stock(model, seam):
    mel = speech(100)
    before = stock(model, [mel])
    windows = stack([Context().window(100)])
    plans = torch.backends.cuda.cudnn_sdp_enabled
    assert plans(), "as PyTorch comes"
    with pytest.raises(ZeroDivisionError), seam.of(windows):
        assert not plans(), "each new length would cost a plan"
        raise ZeroDivisionError
    assert plans() and torch.equal(stock(model, [mel]), before)
    assert model.config.max_source_positions == N_POSITIONS


def test_half_precision_masks_what_is_not_there(model, seam):
    half = model.bfloat16()
    try:
        windows = stack([Context(groups=8).window(n) for n in (40, 900)])
        with seam.of(windows):
            found = logits(half, batch([speech(40), speech(900)], windows).bfloat16())
        assert torch.isfinite(found).all()
    finally:
        model.float()
