"""From waveform to segments: input lengths, batches, second tries, order; with a throw-away model."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from serving_model import PLAIN, ids, inputs, random_model, trained_model, with_engine

from cantowhisper.contracts import CantowhisperError, DecodingOptions, ModelFacts, UsageError
from cantowhisper.serving import batches, hub
from cantowhisper.serving.engines.engine import Decoded
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.context import N_POSITIONS, token_budget
from cantowhisper.speech.mel import SAMPLE_RATE

torch = pytest.importorskip("torch")

from cantowhisper.speech.torch_context import ContextSeam  # noqa: E402
from cantowhisper.training.model import load_model  # noqa: E402

ZH = {"language": "zh", "language_token": "<|zh|>"}
SILENCE = np.zeros(5 * SAMPLE_RATE, np.float32)


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


@pytest.mark.parametrize(
    ("facts", "context", "shortest", "longest"),
    [
        (ModelFacts(**ZH), None, 100, 700),  # any Whisper: the silence of its window merged
        (ModelFacts(**ZH, trained_contexts="variable", context=PLAIN), None, 200, 600),
        (ModelFacts(**ZH, trained_contexts="variable", context=PLAIN), "merged", 100, 700),
        (ModelFacts(**ZH), "full", 3000, 3000),
    ],
    ids=["stock", "plain", "merged", "full"],
)
def test_an_input_is_as_short_as_the_speech_unless_30_s_are_asked_for(model, market, facts, context, shortest, longest):
    opened = Recognizer.open(model, context=context)
    opened = Recognizer(opened.engine, opened.vocabulary.tokenizer, facts, context=context and opened.context)
    with_engine(opened, lambda mel, t: Decoded(ids(opened, "食飯"), -0.1)).transcribe(market[: int(6.5 * SAMPLE_RATE)])
    for asked in opened.engine.asked:
        windows = asked["windows"]
        assert shortest <= asked["shape"][2] == windows.n_frames <= longest
        whole = np.exp(windows.log_weights).sum(axis=1)
        own = np.isfinite(windows.log_weights).sum(axis=1)
        assert whole == pytest.approx(own if opened.context.kind == "plain" else N_POSITIONS, abs=0.1)


def test_live_input_is_rounded_up_less(opened, market):
    opened = with_engine(opened, lambda mel, t: Decoded(ids(opened, "食飯"), -0.1, (-0.1,) * 9))
    for n_frames, wanted in ((400, 540), (411, 540), (413, 560)):  # and a margin of 128
        opened.decode(market[: (n_frames - 2) * 160])
        assert opened.engine.asked[-1]["shape"][2] == wanted


def test_a_result_does_not_depend_on_its_batch(opened, market, monkeypatch):
    together = opened.transcribe(market)
    assert any("second_try" in s.flags for s in together), "random weights loop"
    monkeypatch.setattr(batches, "MAX_BATCH", 1)
    alone = opened.transcribe(market)
    assert [s.text for s in together] == [s.text for s in alone] and len(together) == 8
    assert [s.confidence for s in together] == pytest.approx([s.confidence for s in alone], abs=0.01)
    assert all(a.end_s <= b.start_s for a, b in pairwise(together))


@pytest.mark.parametrize("context", ["merged", "plain"])
@pytest.mark.parametrize("backend", ["onnx", "transformers"])
def test_what_is_written_already_is_gone_on_from_and_not_repeated(model, market, backend, context):
    """Greedy: a transcript that is given back to its half goes on with its other half."""
    opened = Recognizer.open(model, threads=1, backend=backend, context=context)
    given = inputs(opened, market[: 3 * SAMPLE_RATE])
    prompt, decode = opened._prompt(None), opened.engine.decode
    options = DecodingOptions(max_new_tokens=24, suppress_tokens=opened.vocabulary.suppressed)
    (whole,) = decode(*given, prompt, options)
    assert len(whole.token_ids) > 4
    for n in (1, len(whole.token_ids) // 2, len(whole.token_ids) - 1):
        begin, rest = whole.token_ids[:n], whole.token_ids[n:]
        going_on = replace(options, max_new_tokens=24 - n, prefix_length=n)
        (found,) = decode(*given, [*prompt, *begin], going_on)
        assert found.token_ids == rest


@pytest.mark.parametrize("context", ["merged", "full"])
@pytest.mark.parametrize(("backend", "off"), [("onnx", 0.15), ("transformers", 1e-3)])  # 8 bits round
def test_probabilities_of_tokens_are_those_of_the_weights(model, market, backend, off, context):
    """Both engines against a forward pass, with and without text before; together they are the mean."""
    weights = load_model(model, language="yue")[0].eval()
    opened = Recognizer.open(model, threads=1, backend=backend, context=context)
    mels, windows = inputs(opened, market[: 3 * SAMPLE_RATE])
    prompt, decode = opened._prompt(None), opened.engine.decode
    options = DecodingOptions(max_new_tokens=12, suppress_tokens=opened.vocabulary.suppressed)
    (whole,) = decode(mels, windows, prompt, options)
    ids = whole.token_ids
    with torch.no_grad(), ContextSeam.on(weights).of(windows):
        logits = weights(torch.from_numpy(mels), decoder_input_ids=torch.tensor([[*prompt, *ids]])).logits[0]
    first = logits[0].softmax(-1).numpy()
    logits[:, list(opened.vocabulary.suppressed)] = -torch.inf
    expected = logits.log_softmax(-1)[len(prompt) - 1 : -1][range(len(ids)), ids].tolist()
    assert whole.log_probs[1:] == pytest.approx(expected[1:], abs=off)  # at the first, more tokens are forbidden
    assert len(ids) == 12 and whole.mean_log_prob == pytest.approx(np.mean(whole.log_probs), abs=1e-3)
    (rest,) = decode(mels, windows, [*prompt, *ids[:5]], replace(options, max_new_tokens=7, prefix_length=5))
    assert rest.token_ids == ids[5:] and rest.log_probs == pytest.approx(whole.log_probs[5:], abs=0.02)
    (found,) = opened.engine.first_probabilities(mels, windows, prompt[0])
    assert found.sum() == pytest.approx(1, abs=1e-4) and found == pytest.approx(first, rel=0.15)


@pytest.mark.parametrize("doubted", range(5))
def test_of_what_is_said_next_the_sure_characters_are_counted_to_the_first_unsure_one(opened, market, doubted):
    text, piece = "今日好凍呀", market[:SAMPLE_RATE]
    tokens = ids(opened, text)
    ends = [len(ids(opened, text[:n])) for n in range(6)]
    assert ends[5] == len(tokens) > 5, "a character is several tokens here, and each of them counts"
    for unsure in (ends[doubted], ends[doubted + 1] - 1):
        log_probs = np.log([0.94 if i == unsure else 0.96 for i in range(len(tokens))])
        with_engine(opened, lambda mel, t, p=tuple(log_probs): Decoded(tokens, -0.1, p))
        assert opened.decode(piece)[:2] == (text, doubted)
        special = [opened.vocabulary.ids["<|notimestamps|>"], *tokens]  # is no text, and counts for none
        with_engine(opened, lambda mel, t, s=special, p=tuple(log_probs): Decoded(s, -0.1, (0.0, *p)))
        assert opened.decode(piece)[:2] == (text, doubted)
    with_engine(opened, lambda mel, t: Decoded(tokens, -0.1, (0.0,) * len(tokens)))
    assert opened.decode(piece)[:2] == (text, 5)


def test_where_a_token_that_is_no_text_looked_counts_for_no_character(opened, market):
    text, piece = "今日好凍呀", market[:SAMPLE_RATE]
    tokens = ids(opened, text)
    special = [opened.vocabulary.ids["<|notimestamps|>"], *tokens]
    peaks_s = (0.9, *[0.1] * len(tokens))
    with_engine(opened, lambda mel, t: Decoded(special, -0.1, (0.0,) * len(special), peaks_s))
    assert opened.decode(piece, attention=True).from_end_s == pytest.approx((0.9,) * len(text))


def test_silence_gives_no_segment_and_no_work(opened):
    with_engine(opened, lambda mel, t: pytest.fail("the model was asked about silence"))
    assert opened.transcribe(SILENCE) == []
    assert opened.transcribe(np.zeros(0, np.float32)) == []


def test_segments_come_as_they_are_ready_and_stop_when_told(opened, market, monkeypatch):
    with_engine(opened, lambda mel, t: Decoded(ids(opened, "食飯"), -0.1))
    monkeypatch.setattr(batches, "MAX_BATCH", 3)
    seen, calls = opened.transcribe(market), []
    n_batches = len(opened.engine.asked)
    assert next(opened.stream(market)) == seen[0] and len(opened.engine.asked) == n_batches + 1
    n_batches = len(opened.engine.asked)
    stopped = opened.transcribe(market, should_stop=lambda: calls.append(1) or len(calls) > 1)
    assert len(opened.engine.asked) == n_batches + 1 and 0 < len(stopped) < len(seen)


def test_a_loop_gets_a_second_try_and_the_better_one_is_kept(opened, market):
    loop, good = ids(opened, "多謝" * 7), ids(opened, "多謝你呀")
    with_engine(opened, lambda mel, t: Decoded(good if t else loop, -0.2))
    first = opened.transcribe(market)[0]
    assert first.text == "多謝你呀" and first.flags == ("second_try",)
    with_engine(opened, lambda mel, t: Decoded(loop + loop if t else loop, -3.0))
    first = opened.transcribe(market)[0]
    assert first.text == "多謝" * 7 and first.flags == ("repetition", "second_try", "low_confidence")


def test_tokens_are_counted_out_by_the_seconds(opened, market):
    with_engine(opened, lambda mel, t: Decoded(ids(opened, "食飯呀"), -0.1))
    found = opened.transcribe(market)
    longest = max(segment.end_s - segment.start_s for segment in found)
    budgets = [asked["max_new_tokens"] for asked in opened.engine.asked]
    assert all(0 < budget <= token_budget(longest + 1) for budget in budgets), budgets
    assert max(budgets) < 200  # pieces of one sentence; a 30 s window would get 440


def test_no_control_token_gets_into_the_text(opened, market):
    special = [opened.vocabulary.ids[t] for t in ("<|0.00|>", "<|zh|>", "<|startoftranscript|>", "<|endoftext|>")]
    with_engine(opened, lambda mel, t: Decoded([special[0], *ids(opened, "食飯"), *special[1:]], -0.1))
    assert opened.transcribe(market)[0].text == "食飯"
    asked = opened.engine.asked[0]
    assert set(special[:3]) <= set(asked["suppress_tokens"]) and special[3] not in asked["suppress_tokens"]
    names = ["<|startoftranscript|>", "<|zh|>", "<|transcribe|>", "<|notimestamps|>"]
    assert asked["prompt"] == [opened.vocabulary.ids[n] for n in names]


def test_empty_text_is_no_segment_and_confidence_is_the_mean_probability(opened, market):
    with_engine(opened, lambda mel, t: Decoded([], -0.1))
    assert opened.transcribe(market) == []
    with_engine(opened, lambda mel, t: Decoded(ids(opened, "好"), -0.5))
    assert opened.transcribe(market)[0].confidence == pytest.approx(np.exp(-0.5))


def test_script_and_language(opened, market):
    with_engine(opened, lambda mel, t: Decoded(ids(opened, "電話"), -0.1))
    assert opened.transcribe(market, script="simplified")[0].text == "电话"
    opened.transcribe(market, language="en")
    assert opened.engine.asked[-1]["prompt"][1] == opened.vocabulary.ids["<|en|>"]
    assert {"zh", "en"} <= set(opened.languages)
    for wrong in ({"language": "tlh"}, {"script": "runes"}):
        with pytest.raises(UsageError):
            opened.transcribe(market, **wrong)


def test_an_export_is_complete_by_itself(model, opened, market, tmp_path):
    shutil.copytree(model / "onnx", tmp_path / "alone")
    alone = Recognizer.open(tmp_path / "alone")
    assert alone.facts == opened.facts and alone.engine.name == "onnxruntime"
    assert alone.transcribe(market[: 4 * SAMPLE_RATE])


def test_both_engines_write_the_same(market):
    demo = trained_model()
    if not demo:
        pytest.skip("CANTOWHISPER_DEMO_MODEL is not set to a trained model: random weights have no text to compare")
    exported, stock = (Recognizer.open(demo, backend=backend) for backend in ("onnx", "transformers"))
    first = market[: 7 * SAMPLE_RATE]
    pairs = zip(exported.transcribe(first), stock.transcribe(first), strict=True)
    assert sum(a.text == b.text for a, b in pairs) >= 1  # int8 may turn a character
    for a, b in zip(exported.transcribe(first), stock.transcribe(first), strict=True):
        assert abs(a.confidence - b.confidence) < 0.2 and a.start_s == b.start_s


def test_what_is_no_model_is_refused_in_one_line(model, tmp_path):
    (tmp_path / "empty").mkdir()
    shutil.copytree(model / "onnx", tmp_path / "damaged")
    (tmp_path / "damaged" / "decoder.onnx").write_bytes(b"no model")
    shutil.copytree(model / "onnx", tmp_path / "untold")
    (tmp_path / "untold" / "tokenizer.json").unlink()
    for name in ("absent", "empty", "damaged", "untold", "../../etc"):
        with pytest.raises(CantowhisperError) as refusal:
            Recognizer.open(tmp_path / name)
        assert "\n" not in str(refusal.value)
    for wrong in ({"backend": "abacus"}, {"context": "short"}):
        with pytest.raises(CantowhisperError):
            Recognizer.open(model, **wrong)


def test_a_language_token_that_the_tokenizer_lacks_is_refused(opened, market):
    opened.facts = replace(opened.facts, language_token="<|yue|>")
    with pytest.raises(CantowhisperError, match="yue"):
        opened.transcribe(market)


@pytest.mark.parametrize(
    ("files", "wanted", "unwanted"),
    [
        (["onnx/encoder.onnx", "onnx/decoder.onnx", "ct2/model.bin", "model.safetensors"], "onnx/*.onnx", "model.s*"),
        (["encoder.onnx", "decoder.onnx", "config.json"], "*.onnx", "model.s*"),
        (["onnx/encoder_model.onnx", "model.safetensors"], "model.safetensors", "onnx/*.onnx"),  # others' graphs
        (["model.fp32-00001-of-00002.safetensors", "model.safetensors"], "model.safetensors", "model-*.safetensors"),
        (["model-00001-of-00002.safetensors", "ct2/model.bin"], "model-*.safetensors", "ct2/*"),
        (["pytorch_model.bin", "tokenizer.json"], "pytorch_model*.bin", "model.safetensors"),
    ],
)
def test_only_what_serving_needs_is_fetched(files, wanted, unwanted):
    patterns = hub._wanted(files)
    assert wanted in patterns and unwanted not in patterns
    assert not any(".onnx" in pattern for pattern in hub._wanted(files, export=False))


def test_serving_needs_neither_torch_nor_transformers(model, samples, tmp_path):
    """Not even for weights without an export, which get one that is kept."""
    shutil.copytree(model, tmp_path / "weights", ignore=shutil.ignore_patterns("onnx"))
    code = f"""
import sys
sys.modules.update(torch=None, transformers=None)  # importing either fails
import cantowhisper.serving.offline.transcription
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.speech.audio import load_audio
waveform = load_audio({str(samples.parent / "clips" / "market_morning.mp3")!r})[:48000]
texts = [Recognizer.open(folder, threads=1).transcribe(waveform) for folder in sys.argv[1:]]
assert texts[0] and texts[0] == texts[1]
try:
    Recognizer.open(sys.argv[1], backend="transformers")
except Exception as error:
    print(error)
"""
    run = subprocess.run(
        [sys.executable, "-c", code, model, tmp_path / "weights"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")},
    )
    assert run.returncode == 0, run.stderr
    assert "without torch and transformers" in run.stdout and run.stdout.count("\n") == 1
    assert [one.name for one in (tmp_path / "cache").glob("cantowhisper/exports/*/encoder.onnx")] == ["encoder.onnx"]
