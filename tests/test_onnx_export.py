"""The export's graphs compute what the weights compute, in transformers with the same windows, but for 8 bits."""

import json
import shutil

import numpy as np
import onnxruntime
import pytest
from serving_model import random_model

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")
from safetensors.torch import load_file, save_file  # noqa: E402

from cantowhisper.contracts import CantowhisperError, DecodingOptions  # noqa: E402
from cantowhisper.export.checkpoint import Checkpoint  # noqa: E402
from cantowhisper.export.folder import write_export  # noqa: E402
from cantowhisper.export.graph import Graph, quantized  # noqa: E402
from cantowhisper.serving.engines.onnx import OnnxEngine  # noqa: E402
from cantowhisper.speech.audio import load_audio  # noqa: E402
from cantowhisper.speech.context import Context, stack  # noqa: E402
from cantowhisper.speech.mel import SAMPLE_RATE, log_mel, pad_to  # noqa: E402
from cantowhisper.speech.torch_context import ContextSeam  # noqa: E402
from cantowhisper.training.model import load_model  # noqa: E402

SECONDS = (0.8, 2.5, 4.1, 6.0)
CONTEXTS = [Context(), Context(groups=8), Context(kind="plain", margin_frames=128), Context(kind="full")]


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.fixture(scope="module")
def weights(model):
    return load_model(model, language="yue")[0].eval()


@pytest.fixture(scope="module")
def engine(model):
    return OnnxEngine(model / "onnx", threads=1)


@pytest.fixture(scope="module")
def clips(samples) -> list[np.ndarray]:
    """Log-Mels of pieces of one recording, of several lengths."""
    waveform = load_audio(samples.parent / "clips" / "market_morning.mp3")
    return [log_mel(waveform[: int(s * SAMPLE_RATE)][-8 * SAMPLE_RATE :], engine="numpy") for s in SECONDS]


def given(clips, context: Context):
    windows = stack([context.window(mel.shape[1]) for mel in clips])
    return np.stack([pad_to(mel, windows.n_frames) for mel in clips]), windows


def off(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.linalg.norm(found - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("block", [16, 32])
def test_eight_bits_are_at_most_half_a_step_away(block):
    weight = np.random.default_rng(1).normal(size=(5, 96)).astype(np.float32)
    weight[2] = 0
    values, scales = quantized(weight, block)
    assert values.shape == (5, 96 // block, block) and scales.shape == (5, 96 // block)
    assert values.dtype == np.uint8 and scales.dtype == np.float32
    restored = (values.astype(np.float32) - 128) * scales[..., np.newaxis]
    error = np.abs(restored.reshape(5, 96) - weight).reshape(values.shape)
    assert (error <= scales[..., np.newaxis] * 0.501).all() and (restored[2] == 0).all()


@pytest.mark.parametrize("kind", ["wide_linear", "linear"])
def test_products_of_integers_never_overflow_and_rows_do_not_mix(kind, tmp_path):
    """The largest numbers that there are, a row of zeros, and ordinary ones, side by side."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(32, 64)).astype(np.float32)
    weight[:3] = [[1.0], [-1.0], [0.0]]  # all steps at their largest, or none
    bias = rng.normal(size=32).astype(np.float32)
    graph = Graph({"w.weight": weight, "w.bias": bias}, width=64, heads=1)
    graph.input("x", np.float32, ["rows", 64])
    getattr(graph, kind)("x", "w", "y")
    graph.output("y", ["rows", 32])
    graph.save(tmp_path / "one.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "one.onnx"))
    x = rng.normal(size=(5, 64)).astype(np.float32)
    x[0], x[1], x[2] = 1000.0, -1e-3, 0.0
    (found,) = session.run(None, {"x": x})
    wanted = x @ weight.T + bias
    assert np.isfinite(found).all() and found[2] == pytest.approx(bias)
    sizes = np.abs(x).max(axis=1, keepdims=True) * np.abs(weight).sum(axis=1) + 1e-6
    assert (np.abs(found - wanted) / sizes).max() < 0.012  # half a step of either factor
    for row in range(5):
        (alone,) = session.run(None, {"x": x[row : row + 1]})
        assert np.array_equal(alone[0], found[row])


@pytest.mark.parametrize("context", CONTEXTS, ids=lambda one: f"{one.kind}-{one.groups}")
def test_the_encoder_hears_a_batch_of_windows_as_the_weights_do(engine, weights, clips, context):
    mels, windows = given(clips, context)
    found = engine.encode(mels, windows)
    with torch.inference_mode(), ContextSeam.on(weights).of(windows):
        wanted = weights.get_encoder()(torch.from_numpy(mels)).last_hidden_state.numpy()
    for row in range(len(clips)):
        n = int(np.isfinite(windows.log_weights[row]).sum())
        assert off(found[row, :n], wanted[row, :n]) < 0.03
        assert not found[row, n:].any()


def test_weights_of_groups_are_heard(engine, clips):
    """Without them the same positions give something else: the silence counts for what it stands for."""
    mels, windows = given(clips[:1], Context(groups=8))
    weighed = engine.encode(mels, windows)
    assert off(engine.encode(mels, windows._replace(log_weights=np.zeros_like(windows.log_weights))), weighed) > 0.01


@pytest.mark.parametrize("context", CONTEXTS[:3], ids=lambda one: f"{one.kind}-{one.groups}")
def test_a_clip_gives_the_same_alone_and_in_a_batch(engine, clips, context):
    mels, windows = given(clips, context)
    together = engine.decode(mels, windows, [2, 3], DecodingOptions(max_new_tokens=4))
    for row, mel in enumerate(clips):
        alone_mels, alone = given([mel], context)
        n = alone.columns.shape[1]
        assert off(engine.encode(mels, windows)[row, :n], engine.encode(alone_mels, alone)[0]) < 0.01
        (text,) = engine.decode(alone_mels, alone, [2, 3], DecodingOptions(max_new_tokens=4))
        assert text.log_probs == pytest.approx(together[row].log_probs, abs=0.03)


@pytest.mark.parametrize("context", CONTEXTS[:2], ids=lambda one: f"{one.kind}-{one.groups}")
def test_logits_are_those_of_transformers(engine, weights, clips, context):
    """The prompt at once, then token by token: each time as a forward pass over all of them has it."""
    mels, windows = given(clips, context)
    tokens = np.random.default_rng(2).integers(0, 200, (len(clips), 9))
    with torch.inference_mode(), ContextSeam.on(weights).of(windows):
        wanted = weights(torch.from_numpy(mels), decoder_input_ids=torch.from_numpy(tokens)).logits.numpy()
    decoding, at = engine._decoding(mels, windows), 0
    for ids in (tokens[:, :4], *(tokens[:, i : i + 1] for i in range(4, 9))):
        logits, at = decoding.advance(ids), at + ids.shape[1]
        error = np.abs(logits - wanted[:, at - 1]) / wanted[:, at - 1].std()
        assert error.mean() < 0.02 and error.max() < 0.15  # 8 bits round, and nothing else differs


def test_rows_of_a_search_share_their_clip(engine, clips):
    """Three hypotheses a clip, some dropped and some doubled: each goes on as it would alone."""
    mels, windows = given(clips, Context(groups=8))
    decoding = engine._decoding(mels, windows)
    decoding.advance(np.full((4, 3), 7))
    decoding.select(np.repeat(np.arange(4), 3), np.arange(4))
    tokens = np.arange(12)[:, np.newaxis] + 20
    decoding.advance(tokens)
    rows = np.array([3, 3, 5, 9, 10, 11])
    decoding.select(rows, np.array([1, 3]))
    found = decoding.advance(np.full((6, 1), 9))
    for row, logits in zip(rows, found, strict=True):
        one = given([clips[row // 3]], Context(groups=8))
        alone = engine._decoding(*one)
        alone.advance(np.array([[7, 7, 7, int(tokens[row, 0])]]))
        expected = alone.advance(np.array([[9]]))[0]
        assert (np.abs(logits - expected) / expected.std()).max() < 0.15


def test_what_the_alignment_heads_ask_is_what_they_ask_in_transformers(engine, model, clips):
    from cantowhisper.serving.engines.transformers import TransformersEngine

    plain = TransformersEngine(model, threads=1)
    for context in CONTEXTS[:2]:
        mels, windows = given(clips[3:], context)
        prompt, ids = [2, 3, 4, 5], list(range(20, 30))
        times = [one.align(mels, windows, prompt, ids, n_frames=600) for one in (engine, plain)]
        assert len(times[0]) == len(ids) + 1 and times[0][-1] <= 6.0
        # Random weights look nowhere in particular, so that a rounding may move a token far; most stay.
        assert np.median(np.abs(np.subtract(*times))) <= 0.04


# ------------------------------------------------------------------------------------------------------ checkpoints


def copy_of(model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("onnx"))
    return folder


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_shards_of_half_precision_are_read(model, tmp_path, dtype):
    folder = copy_of(model, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    for number in range(2):
        part = {name: value.to(dtype) for i, (name, value) in enumerate(tensors.items()) if i % 2 == number}
        save_file(part, folder / f"model-0000{number + 1}-of-00002.safetensors")
    save_file({}, folder / "model.fp32-00001-of-00001.safetensors")  # of another precision, and not to be read
    found = Checkpoint.open(folder).tensors("encoder")
    assert found["conv1.weight"].dtype == np.float32
    assert len(found) == sum(name.startswith("model.encoder.") for name in tensors)
    assert found["conv1.weight"] == pytest.approx(tensors["model.encoder.conv1.weight"].to(dtype).float().numpy())


def test_heads_that_nobody_named_are_those_of_the_second_half(model, tmp_path):
    folder = copy_of(model, tmp_path)
    generation = json.loads((folder / "generation_config.json").read_text())
    generation.pop("alignment_heads")
    (folder / "generation_config.json").write_text(json.dumps(generation))
    write_export(folder, tmp_path / "out")
    config = json.loads((folder / "config.json").read_text())
    layers, heads = config["decoder_layers"], config["decoder_attention_heads"]
    assert len(OnnxEngine(tmp_path / "out", threads=1)._alignment_heads) == (layers - layers // 2) * heads


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda f: (f / "config.json").unlink(), "cannot be read"),
        (lambda f: (f / "config.json").write_text('{"model_type": "bert"}'), "holds no Whisper"),
        (lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"), "no weights in safetensors"),
        (lambda f: (f / "model.safetensors").write_bytes(b"half"), "is damaged"),
        (lambda f: save_file({"a": torch.zeros(1)}, f / "model.safetensors"), "no weights of a Whisper's encoder"),
        (lambda f: edit(f / "config.json", activation_function="relu"), "only Whispers as they were published"),
        (lambda f: edit(f / "config.json", encoder_attention_heads=7), "multiple of"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_one_line(model, tmp_path, change, why):
    folder = copy_of(model, tmp_path)
    change(folder)
    with pytest.raises(CantowhisperError, match=why) as refusal:
        write_export(folder, tmp_path / "out")
    assert "\n" not in str(refusal.value)


def edit(path, **values) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
