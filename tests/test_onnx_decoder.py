"""The export's decoder for ONNX Runtime: against transformers and CTranslate2, on the throw-away model's weights."""

import json
import shutil

import numpy as np
import pytest
from serving_model import random_model

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from cantowhisper.contracts import DECODER_CROSS_FILE, DECODER_FILE, CantowhisperError  # noqa: E402
from cantowhisper.serving.engines.onnx import OnnxDecoder  # noqa: E402
from cantowhisper.serving.engines.open import CTranslate2Engine  # noqa: E402
from cantowhisper.serving.recognizer import Recognizer  # noqa: E402
from cantowhisper.speech.audio import load_audio  # noqa: E402
from cantowhisper.speech.mel import SAMPLE_RATE, log_mel, pad_to  # noqa: E402
from cantowhisper.training.model import load_model  # noqa: E402
from cantowhisper.training.results.export import export_model  # noqa: E402
from cantowhisper.training.results.onnx_export import quantized  # noqa: E402

PIECE_SECONDS = 2.5


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.fixture(scope="module")
def decoder(model):
    return OnnxDecoder(model / "ct2", threads=2)


@pytest.fixture(scope="module")
def opened(model):
    return Recognizer.open(model, threads=2)


@pytest.fixture(scope="module")
def encoded(opened, samples) -> np.ndarray:
    """What the encoder makes of six pieces of one recording: float32 (6, positions, width)."""
    waveform = load_audio(samples.parent / "clips" / "market_morning.mp3")
    n = int(PIECE_SECONDS * SAMPLE_RATE)
    mels = [pad_to(log_mel(waveform[i * n : (i + 1) * n], engine="numpy"), 300) for i in range(6)]
    return np.array(opened.engine.encode(np.stack(mels)))


@pytest.mark.parametrize("block", [16, 32])
def test_eight_bits_are_at_most_half_a_step_away(block):
    weight = np.random.default_rng(1).normal(size=(5, 96)).astype(np.float32)
    weight[2] = 0
    values, scales = quantized(weight, block)
    assert values.shape == (5, 96 // block, block) and scales.shape == (5, 96 // block)
    assert values.dtype == np.uint8 and scales.dtype == np.float32
    restored = (values.astype(np.float32) - 128) * scales[..., np.newaxis]
    off = np.abs(restored.reshape(5, 96) - weight).reshape(values.shape)
    assert (off <= scales[..., np.newaxis] * 0.501).all() and (restored[2] == 0).all()


def test_logits_are_those_of_transformers(model, decoder, encoded, opened):
    """The prompt at once, then token by token: each time as a forward pass over all of them has it."""
    weights = load_model(model, language="yue")[0].eval()
    tokens = np.random.default_rng(2).integers(0, 200, (len(encoded), 9))
    tokens[:, :4] = opened._prompt(None)
    with torch.no_grad():
        hidden = weights.get_decoder()(
            input_ids=torch.from_numpy(tokens), encoder_hidden_states=torch.from_numpy(encoded)
        ).last_hidden_state
        expected = weights.proj_out(hidden).numpy()
    cross = decoder._cross.run_with_ort_values(decoder._cross_names, {"encoded": decoder._value(encoded)})
    heard = dict(zip(decoder._cross_names, cross, strict=True))
    past, at = decoder._nothing_yet(len(encoded)), 0
    for ids in (tokens[:, :4], *(tokens[:, i : i + 1] for i in range(4, 9))):
        logits, past = decoder._next(np.ascontiguousarray(ids), at, {**heard, **past})
        at += ids.shape[1]
        wanted = expected[:, at - 1]
        assert logits.shape == wanted.shape
        off = np.abs(logits - wanted) / wanted.std()  # 8 bits round, and nothing else differs
        assert off.mean() < 0.02 and off.max() < 0.15


def test_texts_are_those_of_ctranslate2(model, encoded, opened, tmp_path):
    """Random weights decide between near equals, so a text may part from the other one; it begins alike."""
    plain = CTranslate2Engine(without_onnx(model, tmp_path), threads=2)
    with_onnx = opened.engine
    mel = np.random.default_rng(3).normal(size=(4, 80, 300)).astype(np.float32).clip(-1, 1)
    options = {"max_new_tokens": 6, "suppress": opened._suppress, "token_log_probs": True}
    alike = [
        (ours.token_ids[:1], theirs.token_ids[:1], ours.log_probs[0] - theirs.log_probs[0])
        for ours, theirs in zip(
            with_onnx.decode(mel, opened._prompt(None), **options),
            plain.decode(mel, opened._prompt(None), **options),
            strict=True,
        )
    ]
    assert sum(ours == theirs for ours, theirs, _ in alike) >= 3
    assert all(abs(off) < 0.05 for *_, off in alike)


def without_onnx(model, tmp_path):
    shutil.copytree(model / "ct2", tmp_path / "plain", ignore=shutil.ignore_patterns("*.onnx"))
    return tmp_path / "plain"


def test_a_row_says_the_same_alone_and_in_a_batch_whose_rows_end_one_by_one(decoder, encoded, opened, monkeypatch):
    # Random weights say nearly the same of whatever speech they hear; of loud noise they do not.
    encoded = 20 * np.random.default_rng(4).normal(size=encoded.shape[::2]).astype(np.float32)[:, np.newaxis]
    encoded = np.repeat(encoded, 100, axis=1)
    prompt, options = opened._prompt(None), {"max_new_tokens": 24, "suppress": opened._suppress}
    free = [row.token_ids for row in decoder.greedy(encoded, prompt, **options)]
    ends_at = lambda token: [row.index(token) if token in row else 24 for row in free]
    end = max({t for row in free for t in row}, key=lambda token: len(set(ends_at(token))))
    monkeypatch.setattr(decoder, "_end", end)  # a token that the rows write at different times
    together = decoder.greedy(encoded, prompt, **options)
    assert len({len(row.token_ids) for row in together}) > 1
    for i, row in enumerate(together):
        (alone,) = decoder.greedy(encoded[i : i + 1], prompt, **options)
        assert alone.token_ids == row.token_ids and end not in row.token_ids
        assert alone.log_probs == pytest.approx(row.log_probs, abs=0.02)
        n_scored = len(row.token_ids) + (len(row.token_ids) < 24)
        assert row.mean_log_prob * n_scored <= sum(row.log_probs) + 1e-6, "knowing where to end counts"


def test_suppressed_tokens_are_never_written_and_positions_suffice(decoder, encoded, opened):
    prompt = opened._prompt(None)
    (free,) = decoder.greedy(encoded[:1], prompt, max_new_tokens=8, suppress=opened._suppress)
    never = [*opened._suppress, *free.token_ids]
    (other,) = decoder.greedy(encoded[:1], prompt, max_new_tokens=8, suppress=never)
    assert not set(other.token_ids) & set(never)
    (longest,) = decoder.greedy(encoded[:1], prompt, max_new_tokens=1000, suppress=[*opened._suppress, decoder._end])
    assert len(longest.token_ids) == 448 - len(prompt)
    config = json.loads((random_model() / "ct2" / "config.json").read_text())
    first = {row.token_ids[0] for row in decoder.greedy(encoded, prompt, max_new_tokens=1, suppress=[])}
    assert not first & {*(config["suppress_ids_begin"] or []), *(config["suppress_ids"] or [])}


def test_an_export_of_another_precision_has_no_onnx_decoder_and_a_damaged_one_says_so(model, tmp_path):
    float32 = export_model(model, tmp_path / "float32", quantization="float32")
    assert not list(float32.glob("*.onnx")) and CTranslate2Engine(float32, threads=1)._greedy is None
    shutil.copytree(model / "ct2", tmp_path / "damaged")
    for name in (DECODER_FILE, DECODER_CROSS_FILE):
        (tmp_path / "damaged" / name).write_bytes(b"no graph")
        with pytest.raises(CantowhisperError, match=r"cannot load the decoder in .*damaged .*; export the model again"):
            CTranslate2Engine(tmp_path / "damaged", threads=1)
