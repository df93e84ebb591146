"""From waveform to segments: input lengths, batches, second tries, order; with a throw-away model."""

import shutil
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from serving_model import ids, random_model, trained_model, with_engine

from cantowhisper.contracts import CantowhisperError, ModelFacts, UsageError
from cantowhisper.serving import batches, hub, recognizer
from cantowhisper.serving.engines import open as engines
from cantowhisper.serving.engines.open import Decoded
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.context import plain_window, stack, token_budget
from cantowhisper.speech.mel import SAMPLE_RATE, log_mel, pad_to

SILENCE = np.zeros(5 * SAMPLE_RATE, np.float32)


@pytest.fixture(scope="module")
def model():
    return random_model()


@pytest.fixture
def opened(model) -> Recognizer:
    return Recognizer.open(model, threads=2)


@pytest.fixture(scope="module")
def market(samples):
    """Eight sentences in 26 s, with pauses."""
    return load_audio(samples.parent / "clips" / "market_morning.mp3")


def test_an_input_is_as_short_as_the_speech_only_for_a_model_trained_so(opened, market, monkeypatch):
    shapes = []
    encode = opened.engine.encode

    def spy(mels):
        encoded = encode(mels)
        shapes.append((mels.shape, tuple(encoded.shape)))
        return encoded

    monkeypatch.setattr(opened.engine, "encode", spy)
    spoken = market[: int(6.5 * SAMPLE_RATE)]
    opened.transcribe(spoken)
    assert shapes and all(200 <= mel[-1] <= 600 and out[1:] == (mel[-1] // 2, 128) for mel, out in shapes)
    shapes.clear()
    opened.facts = replace(opened.facts, trained_contexts="full", context={})
    opened.transcribe(spoken)
    assert shapes and all(mel[-1] == 3000 and out[1:] == (1500, 128) for mel, out in shapes)


@pytest.mark.parametrize(("frames", "wanted"), [(10, 200), (72, 200), (73, 300), (402, 600), (2990, 3000)])
def test_context_is_speech_and_margin_rounded_up(opened, frames, wanted):
    assert opened.context_frames(frames) == wanted


def test_a_result_depends_neither_on_its_batch_nor_on_their_order(opened, market, monkeypatch):
    together = opened.transcribe(market)
    assert any("second_try" in s.flags for s in together), "random weights loop"
    monkeypatch.setattr(batches, "MAX_BATCH", 1)
    alone = opened.transcribe(market)
    assert [s.text for s in together] == [s.text for s in alone] and len(together) == 8
    assert [s.confidence for s in together] == pytest.approx([s.confidence for s in alone], abs=0.01)
    assert all(a.end_s <= b.start_s for a, b in pairwise(together))
    monkeypatch.setattr(recognizer, "batches", lambda jobs: reversed(list(batches.batches(jobs))))
    assert [s.start_s for s in opened.transcribe(market)] == [s.start_s for s in together]


@pytest.mark.parametrize("backend", ["ctranslate2", "transformers"])
def test_what_is_written_already_is_gone_on_from_and_not_repeated(model, market, backend):
    """Greedy: a transcript that is given back to its half goes on with its other half."""
    opened = Recognizer.open(model, threads=2, backend=backend)
    piece = market[: 3 * SAMPLE_RATE]
    mel = opened._mel(piece, opened._job(0, recognizer.Span(0, piece.size)))[None]
    prompt, decode = opened._prompt(None), opened.engine.decode
    (whole,) = decode(mel, prompt, max_new_tokens=24, suppress=opened._suppress)
    assert len(whole.token_ids) > 4
    for n in (1, len(whole.token_ids) // 2, len(whole.token_ids) - 1):
        begin, rest = whole.token_ids[:n], whole.token_ids[n:]
        (found,) = decode(mel, [*prompt, *begin], max_new_tokens=24 - n, suppress=opened._suppress, n_written=n)
        assert found.token_ids == rest


def test_probabilities_of_tokens_are_those_of_the_weights(model, market):
    """Both engines against a forward pass, with and without text before; together they are the mean."""
    torch = pytest.importorskip("torch")
    from cantowhisper.speech.torch_context import ContextSeam
    from cantowhisper.training.model import load_model

    weights = load_model(model, language="yue")[0].eval()
    piece = market[: 3 * SAMPLE_RATE]
    for backend, off in (("ctranslate2", 0.15), ("transformers", 1e-3)):  # int8 rounds
        opened = Recognizer.open(model, threads=2, backend=backend)
        mel = opened._mel(piece, opened._job(0, recognizer.Span(0, piece.size)))[None]
        prompt, decode = opened._prompt(None), opened.engine.decode
        (whole,) = decode(mel, prompt, max_new_tokens=12, suppress=opened._suppress, token_log_probs=True)
        ids = whole.token_ids
        with torch.no_grad(), ContextSeam.on(weights).of(stack([plain_window(mel.shape[2])])):
            logits = weights(torch.from_numpy(mel), decoder_input_ids=torch.tensor([[*prompt, *ids]])).logits[0]
        logits[:, opened._suppress] = -torch.inf
        expected = logits.log_softmax(-1)[len(prompt) - 1 : -1][range(len(ids)), ids].tolist()
        assert whole.log_probs[1:] == pytest.approx(expected[1:], abs=off)  # at the first, more tokens are forbidden
        assert len(ids) == 12 and whole.mean_log_prob == pytest.approx(np.mean(whole.log_probs), abs=1e-3)
        (rest,) = decode(
            mel, [*prompt, *ids[:5]], max_new_tokens=7, suppress=opened._suppress, n_written=5, token_log_probs=True
        )
        assert rest.token_ids == ids[5:] and rest.log_probs == pytest.approx(whole.log_probs[5:], abs=0.02)


@pytest.mark.parametrize("doubted", range(5))
def test_of_what_is_said_next_the_sure_characters_are_counted_to_the_first_unsure_one(opened, market, doubted):
    text, piece = "今日好凍呀", market[:SAMPLE_RATE]
    tokens = ids(opened, text)
    ends = [len(ids(opened, text[:n])) for n in range(6)]
    assert ends[5] == len(tokens) > 5, "a character is several tokens here, and each of them counts"
    for unsure in (ends[doubted], ends[doubted + 1] - 1):
        log_probs = np.log([0.94 if i == unsure else 0.96 for i in range(len(tokens))])
        with_engine(opened, lambda mel, t, p=tuple(log_probs): Decoded(tokens, -0.1, p))
        assert opened.continuation(piece) == (text, doubted)
        special = [opened._vocabulary["<|notimestamps|>"], *tokens]  # is no text, and counts for none
        with_engine(opened, lambda mel, t, s=special, p=tuple(log_probs): Decoded(s, -0.1, (0.0, *p)))
        assert opened.continuation(piece) == (text, doubted)
    with_engine(opened, lambda mel, t: Decoded(tokens, -0.1, (0.0,) * len(tokens)))
    assert opened.continuation(piece) == (text, 5)


def test_silence_gives_no_segment_and_no_work(opened):
    with_engine(opened, lambda mel, t: pytest.fail("the model was asked about silence"))
    assert opened.transcribe(SILENCE) == []
    assert opened.transcribe(np.zeros(0, np.float32)) == []


def test_segments_come_as_they_are_ready_and_stop_when_told(opened, market, monkeypatch):
    with_engine(opened, lambda mel, t: Decoded(ids(opened, "食飯"), -0.1))
    monkeypatch.setattr(batches, "MAX_BATCH", 3)
    seen, calls = [], []
    assert opened.transcribe(market, on_segment=seen.append) == seen
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
    special = [opened._vocabulary[t] for t in ("<|0.00|>", "<|zh|>", "<|startoftranscript|>", "<|endoftext|>")]
    with_engine(opened, lambda mel, t: Decoded([special[0], *ids(opened, "食飯"), *special[1:]], -0.1))
    assert opened.transcribe(market)[0].text == "食飯"
    asked = opened.engine.asked[0]
    assert set(special[:3]) <= set(asked["suppress"]) and special[3] not in asked["suppress"]
    names = ["<|startoftranscript|>", "<|zh|>", "<|transcribe|>", "<|notimestamps|>"]
    assert asked["prompt"] == [opened._vocabulary[n] for n in names]


def test_empty_text_is_no_segment_and_confidence_is_the_mean_probability(opened, market):
    with_engine(opened, lambda mel, t: Decoded([], -0.1))
    assert opened.transcribe(market) == []
    with_engine(opened, lambda mel, t: Decoded(ids(opened, "好"), -0.5))
    assert opened.transcribe(market)[0].confidence == pytest.approx(np.exp(-0.5))


def test_script_and_language(opened, market):
    with_engine(opened, lambda mel, t: Decoded(ids(opened, "電話"), -0.1))
    assert opened.transcribe(market, script="simplified")[0].text == "电话"
    opened.transcribe(market, language="en")
    assert opened.engine.asked[-1]["prompt"][1] == opened._vocabulary["<|en|>"]
    assert {"zh", "en"} <= set(opened.languages)
    for wrong in ({"language": "tlh"}, {"script": "runes"}):
        with pytest.raises(UsageError):
            opened.transcribe(market, **wrong)


def test_an_export_is_complete_by_itself(model, opened, market, tmp_path):
    shutil.copytree(model / "ct2", tmp_path / "alone")
    alone = Recognizer.open(tmp_path / "alone")
    assert alone.facts == opened.facts and alone.engine.name == "ctranslate2"
    assert alone.transcribe(market[: 4 * SAMPLE_RATE])


def test_weights_without_an_export_run_on_transformers(model, market, tmp_path, monkeypatch):
    shutil.copytree(model, tmp_path / "model", ignore=shutil.ignore_patterns("ct2"))
    opened = Recognizer.open(tmp_path / "model", threads=2)
    assert opened.engine.name == "transformers"
    assert opened.context_frames(400) == 3000  # stock weights take nothing else
    monkeypatch.setattr(recognizer, "token_budget", lambda seconds, **_: 5)
    monkeypatch.setattr(opened, "_second_try", lambda job, mel, prompt, first: first)
    (segment,) = opened.transcribe(market[: 3 * SAMPLE_RATE])
    assert 0 < segment.confidence < 1


def test_the_export_computes_what_the_weights_compute_on_short_input(model, opened, market):
    torch = pytest.importorskip("torch")
    from cantowhisper.speech.torch_context import ContextSeam
    from cantowhisper.training.model import load_model

    weights, _ = load_model(model, language="yue")
    mel = pad_to(log_mel(market[: 3 * SAMPLE_RATE], engine="numpy"), 500)[None]
    plainly = ContextSeam.on(weights).of(stack([plain_window(500)]))
    with torch.no_grad(), plainly:
        wanted = weights.eval().get_encoder()(torch.from_numpy(mel)).last_hidden_state.numpy().ravel()
    found = np.array(opened.engine.encode(mel)).ravel()
    assert found @ wanted / np.linalg.norm(found) / np.linalg.norm(wanted) > 0.999  # int8
    prompt = opened._prompt(None)
    (decoded,) = opened.engine.decode(mel, prompt, max_new_tokens=10, suppress=opened._suppress)
    with torch.no_grad(), ContextSeam.on(weights).of(stack([plain_window(500)])):
        tokens = torch.tensor([prompt + decoded.token_ids])
        scores = weights(input_features=torch.from_numpy(mel), decoder_input_ids=tokens).logits[0, len(prompt) - 1 : -1]
    scores[:, opened._suppress] = -torch.inf
    steps = scores.log_softmax(-1).gather(1, tokens[0, len(prompt) :, None])
    assert len(decoded.token_ids) == 10 and steps.mean() == pytest.approx(decoded.mean_log_prob, abs=0.1)


@pytest.mark.parametrize(("n", "score", "mean"), [(7, -8.0 / 7, -1.0), (0, -0.5, -0.5), (10, -1.0, -1.0)])
def test_the_end_token_counts_in_the_mean(n, score, mean):
    assert engines._scored([5] * n, score, 10).mean_log_prob == pytest.approx(mean)


def test_both_engines_write_the_same(market):
    demo = trained_model()
    if not demo:
        pytest.skip("CANTOWHISPER_DEMO_MODEL is not set to a trained model: random weights have no text to compare")
    exported, stock = Recognizer.open(demo), Recognizer.open(demo, backend="transformers")
    exported.facts = replace(exported.facts, trained_contexts="full", context={})
    first = market[: 7 * SAMPLE_RATE]
    pairs = zip(exported.transcribe(first), stock.transcribe(first), strict=True)
    assert sum(a.text == b.text for a, b in pairs) >= 1  # int8 may turn a character
    for a, b in zip(exported.transcribe(first), stock.transcribe(first), strict=True):
        assert abs(a.confidence - b.confidence) < 0.2 and a.start_s == b.start_s


def test_what_is_no_model_is_refused_in_one_line(model, tmp_path):
    (tmp_path / "empty").mkdir()
    shutil.copytree(model / "ct2", tmp_path / "damaged")
    (tmp_path / "damaged" / "model.bin").write_bytes(b"no model")
    shutil.copytree(model / "ct2", tmp_path / "untold")
    (tmp_path / "untold" / "tokenizer.json").unlink()
    for name in ("absent", "empty", "damaged", "untold", "../../etc"):
        with pytest.raises(CantowhisperError) as refusal:
            Recognizer.open(tmp_path / name)
        assert "\n" not in str(refusal.value)
    for wrong in ({"backend": "abacus"}, {"backend": "ctranslate2"}):
        shutil.copytree(model, tmp_path / "m", ignore=shutil.ignore_patterns("ct2"), dirs_exist_ok=True)
        with pytest.raises(CantowhisperError):
            Recognizer.open(tmp_path / "m", **wrong)


def test_a_language_token_that_the_tokenizer_lacks_is_refused(opened, market):
    opened.facts = replace(opened.facts, language_token="<|yue|>")
    with pytest.raises(CantowhisperError, match="yue"):
        opened.transcribe(market)


@pytest.mark.parametrize(
    ("files", "wanted", "unwanted"),
    [
        (["ct2/model.bin", "ct2/config.json", "model.safetensors"], "ct2/*", "*.safetensors"),
        (["model.bin", "config.json", "vocabulary.json"], "model.bin", "*.safetensors"),
        (["model.safetensors", "tokenizer.json"], "*.safetensors", "model.bin"),
    ],
)
def test_only_what_serving_needs_is_fetched(files, wanted, unwanted):
    patterns = hub._wanted(files)
    assert wanted in patterns and unwanted not in patterns


def test_serving_needs_neither_torch_nor_transformers(model, samples):
    code = f"""
import sys
sys.modules.update(torch=None, transformers=None)  # importing either fails
import cantowhisper.serving.offline.transcription
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.speech.audio import load_audio
recognizer = Recognizer.open({str(model)!r}, threads=2)
waveform = load_audio({str(samples.parent / "clips" / "market_morning.mp3")!r})[:48000]
assert recognizer.transcribe(waveform)
try:
    Recognizer.open({str(model)!r}, backend="transformers")
except Exception as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert run.returncode == 0, run.stderr
    assert "without torch and transformers" in run.stdout and run.stdout.count("\n") == 1


def test_facts_of_a_stock_checkpoint_mean_full_contexts(opened):
    opened.facts = ModelFacts()
    assert opened.context_frames(400) == 3000
