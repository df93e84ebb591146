"""Training runs: what a step computes, and that a run can be killed, torn, repeated and finished."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from training_data import small_split, with_texts
from training_runs import (
    PLAIN,
    RUN,
    TINY,
    assert_same_run,
    assert_same_weights,
    at_each_step,
    begun_again,
    finished_run,
    press_ctrl_c_after,
    sealed_features,
    started,
    wait_for,
)
from transformers import WhisperForConditionalGeneration, WhisperTokenizer

from cantowhisper.contracts import CantowhisperError, ModelFacts, UsageError
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.context import context_of
from cantowhisper.speech.mel import N_FRAMES, log_mel, pad_to
from cantowhisper.speech.torch_context import ContextSeam
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.collator import Collator, FeatureRows, windows_and_inputs
from cantowhisper.training.miniature import build_miniature
from cantowhisper.training.presets import PRESETS
from cantowhisper.training.run.checkpoints import checkpoint_steps, newest_whole_checkpoint
from cantowhisper.training.run.device import reproducible
from cantowhisper.training.trainer import WhisperTrainer, prepare_model, train

TEXTS = ["你好呀我哋今日去邊度食飯", "唔該畀碗雲吞麵我呀多謝", "電話係二三四五六七八九"]


# -------------------------------------------------------------------------------------------------------- a step


class Losses:
    """Loss and gradient norm of each step of a run on eight clips of one context and equally many tokens."""

    CONFIG = dataclasses.replace(
        TINY,
        max_steps=2,
        full_context_share=0.0,
        context_bucket_frames=1000,
        max_batch_frames=12_000,
        augment_from=0.0,  # before it, silence is cut off, and steps of several batches get there later
        validation_clips=1,
        **PLAIN,
    )

    def __init__(self, folder: Path, *, accepts_loss_kwargs: bool | None = None, **overrides):
        config = self.CONFIG.with_overrides(**overrides)
        texts = [text[:9] for text in TEXTS * 3][:8]
        split = with_texts(small_split("train").select(range(8)), texts)
        model, processor = build_miniature(TEXTS * 2)
        if accepts_loss_kwargs is not None:
            model.accepts_loss_kwargs = accepts_loss_kwargs
        validation = small_split("validation").select(range(1))
        trainer = WhisperTrainer(model, processor, split, validation, out=folder, config=config, progress=False)
        trainer.train()
        steps = [entry for entry in trainer.state.log_history if "loss" in entry]
        self.loss = [entry["loss"] for entry in steps]
        self.grad_norm = [entry["grad_norm"] for entry in steps]


def test_accumulated_batches_equal_one_large_batch(tmp_path):
    large = Losses(tmp_path / "large", batch_size=8)
    accumulated = Losses(tmp_path / "accumulated", batch_size=2, gradient_accumulation_steps=4)
    assert len(large.loss) == 2
    assert accumulated.loss == pytest.approx(large.loss, rel=2e-3)
    assert accumulated.grad_norm == pytest.approx(large.grad_norm, rel=2e-3)
    # What it mends: the Trainer takes Whisper for a model that divides by the items of all accumulated batches.
    stock = Losses(
        tmp_path / "stock", batch_size=2, gradient_accumulation_steps=4, max_steps=1, accepts_loss_kwargs=True
    )
    assert stock.loss[0] == pytest.approx(4 * large.loss[0], rel=2e-3)


def test_label_smoothing_trains(tmp_path):
    plain, smooth = Losses(tmp_path / "plain", max_steps=1), Losses(tmp_path / "s", max_steps=1, label_smoothing=0.2)
    assert np.isfinite(smooth.loss[0]) and smooth.grad_norm[0] > 0
    assert smooth.loss[0] != plain.loss[0]


def test_variations_are_of_the_batch_and_never_of_the_stored_features():
    split = small_split("train")
    model, processor = prepare_model(TINY, split["text"])
    rows = [FeatureRows(split)[(i, False)] for i in range(4)]
    before = [row["features"].copy() for row in rows]
    batches = {}
    for name, config in (("varied", TINY), ("again", TINY), ("plain", dataclasses.replace(TINY, **PLAIN))):
        collate = Collator(processor, config, start_token_id=model.config.decoder_start_token_id)
        batches[name] = collate(rows)
        for i, (row, features) in enumerate(zip(rows, before, strict=True)):
            assert np.array_equal(row["features"], features)
            assert np.array_equal(FeatureRows(split)[(i, False)]["features"], features)
    for name in ("input_features", "decoder_input_ids"):
        assert torch.equal(batches["varied"][name], batches["again"][name])  # of the batch's number: resuming agrees
        assert not torch.equal(batches["varied"][name], batches["plain"][name])
    assert torch.equal(batches["varied"]["labels"], batches["plain"]["labels"])  # what is to be learned stays
    assert torch.equal(batches["varied"]["decoder_input_ids"][:, :4], batches["plain"]["decoder_input_ids"][:, :4])


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_dropout_acts_in_training_and_only_there(share):
    split = small_split("train")
    config = dataclasses.replace(TINY, dropout=share, **PLAIN)
    model, processor = prepare_model(config, split["text"])
    batch = Collator(processor, config, start_token_id=model.config.decoder_start_token_id)(
        [FeatureRows(split)[(i, False)] for i in range(4)]
    )
    windows, inputs = windows_and_inputs(batch)
    with torch.no_grad(), ContextSeam.on(model).of(windows):
        losses = {mode: [model.train(mode)(**inputs).loss.item() for _ in range(2)] for mode in (True, False)}
    assert losses[False][0] == losses[False][1]
    assert (losses[True][0] == losses[True][1]) == (share == 0.0)


def test_a_batch_is_trained_on_without_being_changed(tmp_path):
    split = small_split("train")
    model, processor = prepare_model(TINY, split["text"])
    validation = small_split("validation").select(range(1))
    trainer = WhisperTrainer(model, processor, split, validation, out=tmp_path, config=TINY, progress=False)
    batch = trainer.data_collator([FeatureRows(split)[(i, False)] for i in range(4)])
    before = {name: tensor.clone() for name, tensor in batch.items()}
    windows, inputs = windows_and_inputs(batch)
    with trainer.seam.of(windows):
        trainer.compute_loss(model.train(), trainer._prepare_inputs(inputs)).backward()
    assert all(torch.equal(batch[name], tensor) for name, tensor in before.items())


# ------------------------------------------------------------------------------------------------------- options


def test_options_are_checked():
    config = PRESETS["demo"]
    assert config.with_overrides(max_steps=5, learning_rate=1).learning_rate == 1
    for wrong in (
        {"batchsize": 4},
        {"batch_size": 1.5},
        {"batch_size": True},
        {"batch_size": 0},
        {"max_steps": -1},
        {"model": None},
        {"full_context_share": 1.5},
        {"min_context_frames": 201},
        {"context_kind": "short"},
        {"context_groups": 0},
        {"context_bucket_frames": 0},
        {"max_batch_frames": 100},
    ):
        with pytest.raises(UsageError) as caught:
            config.with_overrides(**wrong)
        assert next(iter(wrong)) in str(caught.value) or "context" in str(caught.value)


# -------------------------------------------------------------------------------------------------- a whole run


@pytest.fixture
def features() -> Path:
    return sealed_features()


@pytest.fixture
def finished() -> tuple[Path, dict]:
    return finished_run()


def test_a_run_writes_the_model_folder_of_the_contract(finished, features):
    out, metrics = finished
    assert metrics == json.loads((out / "metrics.json").read_text())
    assert metrics["steps"] == 7 and metrics["best_step"] in (3, 6, 7)
    assert metrics["config"] == dataclasses.asdict(TINY) and metrics["parameters"] > 1e6
    assert [e["step"] for e in metrics["curve"] if "loss" in e] == [1, 2, 3, 4, 5, 6, 7]
    evaluated = {e["step"]: e["eval_cer_no_punctuation"] for e in metrics["curve"] if "eval_cer_raw" in e}
    assert list(evaluated) == [3, 6, 7]
    assert evaluated[metrics["best_step"]] == metrics["validation"]["cer_no_punctuation"]
    assert metrics["validation"]["n"] == 5 and evaluated[metrics["best_step"]] <= min(evaluated.values()) * 1.18
    facts = ModelFacts.load(out)
    assert facts.trained_contexts == "merged" and context_of(facts) == TINY.context
    assert facts.language_token == "<|zh|>" and facts.script == "traditional"
    assert facts.feature_revision and "/" not in facts.feature_source
    assert not (out / "train_config.json").exists()
    assert json.loads((out / "config.json").read_text())["max_source_positions"] == 1500
    best = load_file(checkpoint_steps(out)[metrics["best_step"]] / "model.safetensors")
    written = load_file(out / "model.safetensors")
    assert all(torch.equal(written[name], best[name]) for name in written)


def test_the_stock_pipeline_transcribes_with_it(finished, samples, tmp_path):
    """With the language, the task and the spectrogram of training, and nothing said of them to the pipeline."""
    from transformers import pipeline

    folder = shutil.copytree(finished[0], tmp_path / "model", ignore=shutil.ignore_patterns("checkpoints"))
    weights = load_file(folder / "model.safetensors")
    # Seven steps teach it one character. Large weights make what it writes depend on all that came before.
    strong = {name: 5 * w if "_attn." in name or ".fc" in name else w for name, w in weights.items()}
    save_file(strong, folder / "model.safetensors", metadata={"format": "pt"})
    waveform = load_audio(min((samples / "clips").glob("*.mp3")))
    recognize = pipeline("automatic-speech-recognition", model=str(folder))
    no_control = list(range(recognize.tokenizer.eos_token_id, len(recognize.tokenizer)))
    options = {"max_new_tokens": 12, "num_beams": 1, "suppress_tokens": no_control}
    text = recognize(waveform, generate_kwargs=options)["text"]
    assert text == greedy(folder, waveform, 12) and len(set(text)) > 2
    assert text != greedy(folder, waveform, 12, language="<|en|>")


def greedy(folder: Path, waveform: np.ndarray, n_tokens: int, *, language: str = "<|zh|>") -> str:
    """The most probable characters, token by token, without times. Cantonese goes by Whisper's token for Chinese."""
    tokenizer = WhisperTokenizer.from_pretrained(folder)
    model = WhisperForConditionalGeneration.from_pretrained(folder).eval()
    prefix = tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", language, "<|transcribe|>", "<|notimestamps|>"])
    ids, mel = list(prefix), torch.from_numpy(pad_to(log_mel(waveform), N_FRAMES))[None]
    for _ in range(n_tokens):
        with torch.no_grad():
            logits = model(mel, decoder_input_ids=torch.tensor([ids])).logits[0, -1]
        ids.append(int(logits[: tokenizer.eos_token_id].argmax()))  # all control tokens have larger numbers
    return tokenizer.decode(ids[len(prefix) :])


def test_a_second_call_trains_nothing(finished, features, capsys):
    out, metrics = finished
    assert train(features, out, config=TINY) == metrics
    assert "already trained (7 steps)" in capsys.readouterr().out
    with pytest.raises(CantowhisperError, match="trained with other options") as caught:
        train(features, out, config=dataclasses.replace(TINY, seed=5))
    assert "\n" not in str(caught.value)


def test_torn_checkpoints_are_skipped(finished, features, tmp_path, capsys):
    out = begun_again(tmp_path / "model")
    steps = checkpoint_steps(out)
    assert list(steps) == [3, 6, 7]
    (steps[7] / "whole.json").unlink()  # killed before the last file was written
    weights = steps[6] / "model.safetensors"  # all files are there, and one is too short: a machine lost its power
    os.truncate(weights, weights.stat().st_size // 2)
    metrics = train(features, out, config=TINY, progress=False)
    said = capsys.readouterr()
    assert "skipping checkpoint-7" in said.err and "skipping checkpoint-6" in said.err
    assert "resuming from checkpoint-3" in said.out
    assert_same_run(out, metrics, finished)


def test_a_run_killed_before_it_wrote_its_model_is_finished(finished, features, tmp_path):
    out = begun_again(tmp_path / "model")
    assert_same_run(out, train(features, out, config=TINY, progress=False), finished)


def test_another_configuration_does_not_go_on_with_a_run(finished, features, tmp_path):
    out = begun_again(tmp_path / "model")
    with pytest.raises(CantowhisperError, match=r"holds a run with other options \(seed was 20") as caught:
        train(features, out, config=dataclasses.replace(TINY, seed=21))
    assert "\n" not in str(caught.value)


def test_a_run_that_never_began_claims_nothing(features, tmp_path):
    out = tmp_path / "model"
    with pytest.raises(CantowhisperError, match="cannot load the model"):
        train(features, out, config=dataclasses.replace(TINY, model=str(tmp_path / "mistyped")))
    with pytest.raises(CantowhisperError, match="has no train split"):
        train(tmp_path, out, config=TINY)


@pytest.mark.slow  # test_notebooks kills a run, too
def test_a_killed_run_goes_on_to_the_same_bits(finished, features, tmp_path, capsys):
    out = tmp_path / "model"
    run = started(features, out)
    try:
        wait_for(run, out / "checkpoints" / "checkpoint-3" / "whole.json")
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert not (out / "metrics.json").exists()
    metrics = train(features, out, config=TINY, progress=False)
    assert "resuming from checkpoint-" in capsys.readouterr().out
    assert_same_run(out, metrics, finished)


def test_sigterm_saves_the_step_that_it_interrupts(finished, features, tmp_path):
    out = tmp_path / "model"
    run = started(features, out, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        wait_for(run, out / "checkpoints" / "checkpoint-3" / "whole.json")
        run.terminate()
        said, complaint = run.communicate(timeout=240)
    finally:
        run.kill()
    assert run.returncode and "SIGTERM: saving a checkpoint" in said
    assert complaint.rstrip().endswith("KeyboardInterrupt: SIGTERM")
    kept, torn = newest_whole_checkpoint(out)
    assert 3 <= int(kept.name.removeprefix("checkpoint-")) < 7 and not torn
    assert_same_run(out, train(features, out, config=TINY, progress=False), finished)


@pytest.mark.slow  # SIGTERM, above, takes the same way
def test_ctrl_c_saves_the_step_that_it_interrupts(finished, features, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    out = tmp_path / "model"
    with at_each_step(press_ctrl_c_after(1)), pytest.raises(KeyboardInterrupt, match="SIGINT"):
        train(features, out, config=TINY, progress=False)
    assert signal.getsignal(signal.SIGINT) is before
    assert newest_whole_checkpoint(out) == (checkpoint_steps(out)[2], [])
    assert_same_run(out, train(features, out, config=TINY, progress=False), finished)


FULL_DISK = """
mount -t tmpfs -o size=40m tmpfs "$1" || exit 77
cd "$1"
"$2" -c "$3" "$4" "$1/model" "$5"
echo "code $?"
mount -o remount,size=400m "$1"
"$2" -c "$3" "$4" "$1/model" "$5"
echo "code $?"
cp model/model.safetensors "$6"
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("unshare"), reason="a small disk is made with unshare")
def test_a_full_disk_costs_nothing_but_the_checkpoint_that_did_not_fit(finished, features, tmp_path):
    """A checkpoint of the miniature takes some 25 MB: the first fits on a disk of 40 MB, the second does not."""
    disk, script = tmp_path / "disk", tmp_path / "script.sh"
    disk.mkdir()
    script.write_text(FULL_DISK)
    code = RUN.replace("train(sys", "import cantowhisper.contracts as c\ntry:\n    train(sys")
    code += "\nexcept c.CantowhisperError as error:\n    print('refused:', error)\n    sys.exit(1)"
    config = json.dumps(dataclasses.asdict(TINY))
    words = [disk, sys.executable, code, features, config, tmp_path / "model.safetensors"]
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", str(script), *map(str, words)],
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        text=True,
        timeout=500,
    )
    if done.returncode == 77 or "unshare" in done.stderr:
        pytest.skip("this system lets nobody mount a disk of their own")
    refused = next(line for line in done.stdout.splitlines() if line.startswith("refused:"))
    assert "cannot write the checkpoint of step 6" in refused and "make room" in refused
    assert "resuming from checkpoint-3" in done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("code ")] == ["code 1", "code 0"]
    assert_same_weights(tmp_path, finished[0])


def test_defaults_are_those_of_the_free_gpu():
    assert PRESETS["t4"] == TrainConfig()


def test_threads_add_up_gradients_in_one_order():
    """The gradient of an embedding: sums of many rows, which threads would else make in any order."""
    torch.manual_seed(0)
    table = torch.randn(50, 128, requires_grad=True)
    rows, weights = torch.randint(0, 50, (4000,)), torch.randn(4000, 128)

    def gradient():
        return torch.autograd.grad((torch.nn.functional.embedding(rows, table) * weights).sum(), table)[0]

    before = torch.are_deterministic_algorithms_enabled()
    with reproducible():
        assert torch.cuda.is_available() or torch.are_deterministic_algorithms_enabled()
        first = gradient()
        assert all(torch.equal(gradient(), first) for _ in range(20))
    assert torch.are_deterministic_algorithms_enabled() == before
