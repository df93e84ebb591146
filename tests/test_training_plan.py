"""What a run will be: steps by clips and epochs, all that follows from them, and what is said before the first step."""

import dataclasses
import json
import re
import shutil
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from training_data import corpus_texts, small_features, temporary_folder
from training_runs import TINY, assert_same_curve, assert_same_weights, checkpoints_copied, curve, finished_run
from transformers import TrainerState

from cantowhisper.contracts import CantowhisperError
from cantowhisper.training.config import DERIVED, TrainConfig
from cantowhisper.training.data.sampling import epochs_after_steps, run_batches
from cantowhisper.training.miniature import build_miniature
from cantowhisper.training.model import save_model
from cantowhisper.training.presets import PRESETS
from cantowhisper.training.run.checkpoints import checkpoint_steps
from cantowhisper.training.run.plan import planned, room_line, validation_line
from cantowhisper.training.run.progress import end_line, seconds_left
from cantowhisper.training.trainer import train


def lengths(n_clips: int, seconds: float = 4.0) -> np.ndarray:
    """Frames of clips that last about so long."""
    return np.random.default_rng(n_clips).integers(int(50 * seconds), int(150 * seconds), n_clips)


def epochs(config: TrainConfig, n_frames: np.ndarray, n_processes: int = 1) -> np.ndarray:
    batches = run_batches(n_frames, np.zeros_like(n_frames), config, n_processes=n_processes)
    return epochs_after_steps(batches, config, n_clips=len(n_frames), n_processes=n_processes)


# -------------------------------------------------------------------------------------------------------- the length


def test_sixty_clips_train_for_minutes_and_large_data_as_long_as_ever():
    few, many = (planned(PRESETS["t4"], lengths(n)) for n in (60, 20_000))
    assert (few.batch_size, few.full_context_batch_size) == (4, 1) and 140 <= few.max_steps <= 150
    assert (many.batch_size, many.full_context_batch_size, many.max_steps) == (16, 4, 4000)
    assert (many.warmup_steps, many.evaluate_every_steps, many.save_every_steps) == (400, 500, 500)
    assert many.log_every_steps == 25
    gpu = planned(PRESETS["gpu"], lengths(25_000))
    assert (gpu.batch_size, gpu.full_context_batch_size, gpu.max_steps, gpu.warmup_steps) == (64, 16, 2000, 200)
    cpu = planned(PRESETS["cpu"], lengths(850))
    assert cpu.max_steps * cpu.batch_size <= 1000 + cpu.batch_size


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 3000), st.floats(0.5, 9), st.integers(1, 3), st.integers(1, 2))
def test_a_run_hears_its_clips_as_often_as_it_says(n_clips, wanted, accumulated, n_processes):
    n_frames = lengths(n_clips)
    config = PRESETS["t4"].with_overrides(epochs=wanted, gradient_accumulation_steps=accumulated)
    found = planned(config, n_frames, n_processes=n_processes)
    assert planned(found, n_frames, n_processes=n_processes) == found and None not in dataclasses.astuple(found)
    heard = epochs(found, n_frames, n_processes)
    assert len(heard) == found.max_steps and heard[-1] >= wanted
    assert found.max_steps == 1 or heard[-2] < wanted, "the step that reaches the epochs is the last"
    assert 4 <= found.batch_size <= 16 and found.full_context_batch_size == found.batch_size // 4
    if n_clips // (accumulated * n_processes) >= 48:
        assert n_clips >= 12 * found.batch_size * accumulated * n_processes, "a dozen steps an epoch"
    assert found.warmup_steps == min(-(-found.max_steps // 10), 400)
    evaluations = -(-found.max_steps // found.evaluate_every_steps)
    assert evaluations <= 10 and (evaluations >= 7 or found.max_steps < 40)


def test_long_clips_are_counted_by_what_batches_hold_of_them():
    """Of 25 s, six fit into the frames of a batch: the steps of whole batches would hear them four times, not ten."""
    n_frames = np.full(600, 2500)
    found = planned(PRESETS["t4"], n_frames)
    assert found.batch_size == 16 and found.max_steps > 2 * 600 * 10 / 16
    assert epochs(found, n_frames)[-1] == pytest.approx(10, abs=0.05)


def test_schedules_count_their_batches():
    n_frames = lengths(400)
    plain, scheduled = (planned(TrainConfig(accumulation_schedule=schedule), n_frames) for schedule in ("", "4@0,1@20"))
    assert scheduled.max_steps == plain.max_steps - 60
    assert epochs(scheduled, n_frames)[-1] == pytest.approx(10, abs=0.05)


@settings(deadline=None, max_examples=20)
@given(st.sets(st.sampled_from(DERIVED)), st.integers(1, 700), st.integers(5, 400))
def test_what_is_set_wins(names, value, n_clips):
    given_options = dict.fromkeys(names, value)
    found = planned(PRESETS["t4"].with_overrides(**given_options), lengths(n_clips))
    assert {name: getattr(found, name) for name in names} == given_options
    assert (
        found.save_every_steps % found.evaluate_every_steps == 0
        or "evaluate_every_steps" in names
        or (found.evaluate_every_steps % found.save_every_steps == 0)
    ), "what is scored is kept"


def test_the_log_counts_true_epochs():
    """24 clips, four a step: after six steps each has been heard once."""
    steps = {entry["step"]: entry["epoch"] for entry in curve(finished_run()[1])}
    assert steps == {step: pytest.approx(step / 6, abs=1e-3) for step in range(1, 8)}
    assert finished_run()[1]["epochs"] == pytest.approx(7 / 6, abs=0.01)


# ------------------------------------------------------------------------------------------------ before the first step


@pytest.fixture(scope="module")
def pretrained():
    """A folder with a Whisper as it might have been downloaded."""
    model, processor = build_miniature(corpus_texts(), seed=3, language="yue")
    return save_model(model, processor, temporary_folder() / "pretrained")


def test_a_run_whose_steps_are_no_better_keeps_the_model_as_it_was(pretrained, tmp_path, capsys):
    """Weights change and no transcript does: the first of equal evaluations wins, and that is the one before step 1."""
    changes = {"model": str(pretrained), "learning_rate": 1e-7, "validation_clips": 2, "epochs": 2.0}
    config = TINY.with_overrides(**dict.fromkeys(DERIVED), **changes).with_overrides(evaluate_every_steps=6)
    out = tmp_path / "model"
    with checkpoints_copied(tmp_path / "left" / "checkpoints"):
        metrics = train(small_features(), out, config=config, progress=False)
    said = capsys.readouterr().out
    assert "24 clips, 0.02 h: 2.0 epochs are 12 steps of up to 4 clips; 2 validation clips every 6 steps" in said
    assert re.search(r"checkpoints take up to \d+ MB \(\d+ MB each\); [\d.]+ [GM]B are free at ", said)
    assert "2 validation clips are too few to choose between checkpoints; 30 begin to be enough" in said
    assert re.search(r"^about 1 min to go: until ", said, re.MULTILINE)
    assert "no step was better than the model as it was" in said
    assert [entry["step"] for entry in metrics["curve"] if "eval_cer_raw" in entry] == [0, 6, 12]
    assert metrics["best_step"] == 0 and metrics["steps"] == 12 and metrics["config"]["max_steps"] == 12
    begun, last = load_file(pretrained / "model.safetensors"), checkpoint_steps(out)[12]
    kept, trained = load_file(out / "model.safetensors"), load_file(last / "model.safetensors")
    assert all(torch.equal(kept[name], begun[name]) for name in begun)
    assert not all(torch.equal(trained[name], begun[name]) for name in begun)
    freed = sum((path / "optimizer.pt").stat().st_size for path in checkpoint_steps(tmp_path / "left").values())
    assert f"the optimizer's state is no longer needed: {freed / 1e6:,.0f} MB are free again" in said
    assert not list(out.rglob("optimizer.pt"))
    goes_on_from_its_start(tmp_path / "left" / "checkpoints" / "checkpoint-0", config, metrics, tmp_path, capsys)


def goes_on_from_its_start(checkpoint, config, metrics, folder, capsys) -> None:
    """A run that was killed when it had nothing but its start is the same afterwards, and scores it once."""
    out = folder / "again"
    shutil.copytree(checkpoint, out / "checkpoints" / checkpoint.name)
    (out / "train_config.json").write_text(json.dumps(metrics["config"]))
    again = train(small_features(), out, config=config.with_overrides(epochs=2.0), progress=False)
    assert "resuming from checkpoint-0" in capsys.readouterr().out
    assert_same_curve(again, metrics)
    for step in (0, 12):
        assert_same_weights(*(checkpoint_steps(run)[step] for run in (folder / "model", out)))


def test_fresh_weights_are_not_scored():
    assert {entry["step"] for entry in finished_run()[1]["curve"] if "eval_cer_raw" in entry} == {3, 6, 7}


def test_few_validation_clips_are_a_line():
    config = TrainConfig(early_stopping_evaluations=3)
    assert validation_line(config, 30) == ""
    assert "10 validation clips are too few to choose between checkpoints or stop a run early" in validation_line(
        config, 10
    )


def test_a_disk_with_less_than_the_run_takes_is_said_or_refused(tmp_path):
    config = TrainConfig(max_steps=4000, save_every_steps=500, keep_checkpoints=2)
    free = shutil.disk_usage(tmp_path).free

    def model(n_bytes: float) -> torch.nn.Module:
        """Weights that take so much, without taking it; Adam adds twice as much."""
        return torch.nn.Linear(1, int(n_bytes / 4), bias=False, device="meta")

    assert "; set keep_checkpoints=1" not in room_line(tmp_path, model(free / 3 / 4.2), config)
    assert ": the disk may be full before the end; make room, or set" in room_line(
        tmp_path, model(free / 3 / 3.8), config
    )
    with pytest.raises(CantowhisperError, match="not enough for one; make room, or set keep_checkpoints=1") as caught:
        room_line(tmp_path, model(free / 2), config)
    assert "\n" not in str(caught.value)
    assert "may be full" not in room_line(tmp_path, model(free / 3 / 2.5), config.with_overrides(max_steps=500))
    # A run that goes on has its own checkpoints there already, and replaces them.
    (tmp_path / "checkpoints" / "checkpoint-500").mkdir(parents=True)
    with (tmp_path / "checkpoints" / "checkpoint-500" / "optimizer.pt").open("wb") as file:
        file.truncate(2 * free)  # takes no room by itself
    assert "; set keep_checkpoints=1" not in room_line(tmp_path, model(free / 2), config.with_overrides(max_steps=500))


def test_the_end_is_told_by_steps_and_validations():
    state = TrainerState(max_steps=100, global_step=11, eval_steps=30)
    assert seconds_left(state, [2.0] * 10) == pytest.approx(178)
    state.log_history = [{"eval_seconds": 50.0}]
    assert seconds_left(state, [1.0, 3.0]) == pytest.approx(178 + 3 * 50)
    assert re.fullmatch(r"about 10 min to go: until (\d{4}-\d\d-\d\d at )?\d\d:\d\d", end_line(599))
    end = time.localtime(time.time() + 36 * 3600)
    assert end_line(36 * 3600).startswith(f"about 36.0 hours to go: until {time.strftime('%Y-%m-%d', end)} at ")
