"""Silence that weighs like more silence: exact where it can be, and nothing else changes."""

import numpy as np
import pytest
import torch
from transformers import WhisperConfig, WhisperForConditionalGeneration

from cantowhisper.speech.mel import N_FRAMES, pad_to
from cantowhisper.speech.mel import SILENCE as DIGITAL_SILENCE
from cantowhisper.training.data.collator import Collator
from cantowhisper.training.data.sampling import Key
from cantowhisper.training.model import allow_variable_context, build_miniature
from cantowhisper.training.presets import TrainConfig
from cantowhisper.training.silence import (
    N_POSITIONS,
    SILENCE,
    WeighedSilence,
    silence_log_weights,
    silent_positions,
)

CONTEXT = 300  # frames of the short input
N_CLIP = 201  # frames of speech in it


@pytest.fixture
def model() -> WhisperForConditionalGeneration:
    torch.manual_seed(0)
    sizes = {"d_model": 32, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": 100}
    layers = {"encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    tokens = {"pad_token_id": 1, "bos_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 2}
    config = WhisperConfig(**sizes, **layers, **tokens, suppress_tokens=None, begin_suppress_tokens=None)
    model = WhisperForConditionalGeneration(config).eval()
    allow_variable_context(model)
    return model


def clip(frames: int) -> torch.Tensor:
    """Noise, and digital silence up to `frames`."""
    mel = np.random.default_rng(0).uniform(DIGITAL_SILENCE, 0.5, (80, N_CLIP)).astype(np.float32)
    return torch.from_numpy(pad_to(mel, frames))[None]


def logits(model, features: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_features=features, decoder_input_ids=torch.tensor([[2, 5, 6, 7]])).logits


def weight_of_30_s() -> torch.Tensor:
    silent = silent_positions(N_CLIP, CONTEXT // 2)
    present = silent.stop - silent.start
    weights = torch.zeros(1, 1, 1, CONTEXT // 2)
    weights[..., silent] = np.log((present + N_POSITIONS - CONTEXT // 2) / present)
    return weights


def test_weighed_silence_is_that_of_the_whole_window(model):
    """Without position embeddings all silent positions are alike, and the short input gives what 30 s give."""
    model.get_encoder().embed_positions.weight.data.zero_()
    silence = WeighedSilence(model)
    short, whole = logits(model, clip(CONTEXT)), logits(model, clip(N_FRAMES))
    with silence.of(weight_of_30_s()):
        weighed = logits(model, clip(CONTEXT))
    error = (weighed - whole).abs().max() / (short - whole).abs().max()
    assert error < 1e-3


def test_outside_of_it_nothing_changes(model):
    before = logits(model, clip(CONTEXT))
    silence = WeighedSilence(model)
    assert torch.equal(logits(model, clip(CONTEXT)), before)
    with silence.of(torch.zeros(1, 1, 1, CONTEXT // 2)):
        assert torch.allclose(logits(model, clip(CONTEXT)), before, atol=1e-5)
    with pytest.raises(ZeroDivisionError), silence.of(weight_of_30_s()):
        raise ZeroDivisionError
    assert torch.equal(logits(model, clip(CONTEXT)), before)


def test_weights_are_of_windows_up_to_30_s_and_only_of_silence():
    rng = np.random.default_rng(0)
    for _ in range(50):
        weights = silence_log_weights([N_CLIP, CONTEXT - 2, CONTEXT], CONTEXT, rng)
        assert weights.shape == (3, 1, 1, CONTEXT // 2) and weights.dtype == torch.float32
        silent = silent_positions(N_CLIP, CONTEXT // 2)
        here = weights[0, 0, 0, silent]
        assert (here == here[0]).all() and here[0] >= 0
        added = here.exp().sum().item() - here.numel()
        assert -0.01 <= added <= N_POSITIONS - CONTEXT // 2 + 0.01
        weights[0, 0, 0, silent] = 0
        assert not weights.any(), "speech weighs what it weighs"


def test_silent_positions_see_no_speech_and_all_alike(model):
    """Of two clips that differ in their last frame, the encoder's convolutions differ in front of the silence only."""
    one, other = clip(CONTEXT), clip(CONTEXT)
    other[..., N_CLIP - 1] += 1
    encoder = model.get_encoder()
    with torch.inference_mode():
        seen = [encoder.conv2(torch.nn.functional.gelu(encoder.conv1(x))) for x in (one, other)]
    silent = silent_positions(N_CLIP, CONTEXT // 2)
    differs = (seen[0] != seen[1]).any(dim=1)[0]
    assert not differs[silent.start :].any() and differs[silent.start - 1]
    alike = seen[0][0][:, silent]
    assert torch.equal(alike, alike[:, :1].expand_as(alike)) and silent.stop == CONTEXT // 2 - 1


def test_it_learns_under_autocast_and_with_checkpointed_gradients(model):
    silence = WeighedSilence(model)
    model.train()
    found = []
    for checkpointed in (False, True):
        if checkpointed:
            model.gradient_checkpointing_enable()
        model.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16), silence.of(weight_of_30_s()):
            labels = torch.tensor([[5, 6, 7, 1]])
            model(input_features=clip(CONTEXT), labels=labels).loss.backward()
        found.append(model.get_encoder().layers[0].self_attn.q_proj.weight.grad.clone())
    assert found[0].abs().max() > 0 and torch.allclose(found[0], found[1], rtol=0.05, atol=1e-6)


def test_a_share_of_the_natural_batches_gets_it_and_chance_is_the_batchs_own():
    """Not those before `augment_from`, nor 30 s windows, which have all their silence; a resumed run draws the same."""
    model, processor = build_miniature(["你好呀我哋今日去邊度食飯"])
    config = TrainConfig(long_silence_share=0.4, packed_share=0.0, timestamps_share=0.0)
    collate = Collator(processor, config, start_token_id=model.config.decoder_start_token_id)

    def batch(number: int, **key) -> dict:
        row = {
            "features": np.zeros((N_CLIP, 80), np.float16),
            "text": "你好",
            **Key(row=0, batch=number, **key)._asdict(),
        }
        return collate([row, row])

    has = [SILENCE in batch(i) for i in range(300)]
    assert 0.3 < np.mean(has) < 0.5
    assert not any(SILENCE in batch(i, vary=False) or SILENCE in batch(i, full=True) for i in range(50))
    number = has.index(True)
    one, again = batch(number), batch(number)
    assert torch.equal(one[SILENCE], again[SILENCE]) and not torch.equal(one[SILENCE][0], one[SILENCE][1])
    assert one[SILENCE].shape == (2, 1, 1, one["input_features"].shape[-1] // 2)
