"""Short training runs that tests share: their options, one that was not interrupted, and processes to interrupt."""

import contextlib
import dataclasses
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_data import small_features, temporary_folder
from transformers import TrainerCallback

from cantowhisper.contracts import CantowhisperError
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.load import load_split
from cantowhisper.training.presets import PRESETS
from cantowhisper.training.trainer import WhisperTrainer, train

# Seven steps, with an evaluation and a checkpoint each third and one more at the end. Clips are varied by chance, so
# that only a run that draws the same again resumes to the bit.
VARIED = {
    "stretch": 0.1,
    "warp": 0.05,
    "equalizer_db": 12.0,
    "gain_db": 3.0,
    "time_masks": 1,
    "feature_masks": 1,
    "token_dropout": 0.2,
}
TINY = PRESETS["demo"].with_overrides(
    language="yue",  # for models that are made without features, too
    context_kind="merged",
    context_bucket_frames=40,
    min_context_frames=0,
    context_groups=16,
    full_context_share=0.0,
    max_steps=7,
    evaluate_every_steps=3,
    save_every_steps=3,
    log_every_steps=1,
    keep_checkpoints=3,
    warmup_steps=1,
    batch_size=4,
    full_context_batch_size=1,
    precision="fp32",  # as exact as the sums that tests do by hand
    **VARIED,
)
PLAIN = {name: type(value)(0) for name, value in VARIED.items()}


ALIKE_S = 2.55  # five clips of the samples' validation split differ by 0.1 s around it


@functools.cache
def sealed_features() -> Path:
    """The small dataset with a test split that nobody can read."""
    folder = temporary_folder() / "yue"
    # Random weights write until they may no longer, so batches of validation take most of a short run: one is enough.
    shutil.copytree(small_features(ALIKE_S), folder)
    for path in (folder / "data").glob("test-*.parquet"):
        path.write_bytes(b"not for training")
    with pytest.raises(CantowhisperError):
        load_split(folder, "test")
    return folder


@functools.cache
def finished_run() -> tuple[Path, dict]:
    """(model folder, metrics) of one uninterrupted run; not to be written to."""
    out = temporary_folder() / "model"
    with checkpoints_copied(out.parent / "checkpoints"):
        return out, train(sealed_features(), out, config=TINY, progress=False)


def curve(metrics: dict) -> list[dict]:
    return [{k: v for k, v in entry.items() if not k.endswith("_seconds")} for entry in metrics["curve"]]


def assert_same_run(out: Path, metrics: dict, finished: tuple[Path, dict]) -> None:
    expected_out, expected = finished
    assert_same_weights(out, expected_out)
    assert_same_curve(metrics, expected)
    assert metrics["best_step"] == expected["best_step"]


def assert_same_weights(one: Path, other: Path) -> None:
    """Of two model folders or checkpoints: the same bits on a CPU.

    A GPU adds up in another order each time, and Adam takes whole steps along gradients that are nearly 0.
    """
    first, second = (folder / "model.safetensors" for folder in (one, other))
    if not torch.cuda.is_available():
        assert first.read_bytes() == second.read_bytes()
        return
    here, there = load_file(first), load_file(second)
    assert here.keys() == there.keys()
    apart = torch.cat([(here[name] - there[name]).float().abs().flatten() for name in here])
    assert apart.mean() < TINY.learning_rate / 100


def assert_same_curve(one: dict, other: dict) -> None:
    """Of two runs' metrics: the same numbers on a CPU, and nearly the same losses on a GPU."""
    first, second = curve(one), curve(other)
    if not torch.cuda.is_available():
        assert first == second
        return
    assert [entry.keys() for entry in first] == [entry.keys() for entry in second]
    for here, there in zip(first, second, strict=True):
        same = ("step", "epoch", "learning_rate", "eval_n")
        assert {name: here.get(name) for name in same} == {name: there.get(name) for name in same}
        assert here.get("loss", 0) == pytest.approx(there.get("loss", 0), rel=1e-3)


def begun_again(folder: Path, *, without: tuple[int, ...] = ()) -> Path:
    """The finished run as it was before it wrote its model: the claim, and its checkpoints but some."""
    shutil.copytree(finished_run()[0].parent / "checkpoints", folder / "checkpoints")
    for step in without:
        shutil.rmtree(folder / "checkpoints" / f"checkpoint-{step}")
    config = {"features": "elsewhere", **dataclasses.asdict(TINY)}
    (folder / "train_config.json").write_text(json.dumps(config))
    return folder


@contextlib.contextmanager
def with_callback(make: Callable[[WhisperTrainer], TrainerCallback]) -> Iterator[None]:
    """Within this, trainers have one more callback: make(trainer)."""

    def build_with_callback(trainer, *args, **kwargs):
        build(trainer, *args, **kwargs)
        trainer.add_callback(make(trainer))

    build = WhisperTrainer.__init__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(WhisperTrainer, "__init__", build_with_callback)
        yield


def at_each_step(action: Callable[[WhisperTrainer, int], None]):
    """Within this, trainers call action(trainer, steps done) before each step."""

    class Beside(TrainerCallback):
        def __init__(self, trainer):
            self.trainer = trainer

        def on_step_begin(self, args, state, control, **kwargs):
            action(self.trainer, state.global_step)

    return with_callback(Beside)


def checkpoints_copied(folder: Path):
    """Within this, the checkpoints of a run are copied when it has trained: as a kill at its very end leaves them.

    A run that has written its model deletes the optimizer's state.
    """

    class AtTheEnd(TrainerCallback):
        def on_train_end(self, args, state, control, **kwargs):
            if state.is_world_process_zero:
                shutil.copytree(args.output_dir, folder)

    return with_callback(lambda _: AtTheEnd())


def press_ctrl_c_after(step: int) -> Callable[[WhisperTrainer, int], None]:
    """An action for `at_each_step`: the run ends with a checkpoint of the step behind this one."""
    return lambda _, done: os.kill(os.getpid(), signal.SIGINT) if done == step else None


RUN = (
    "import json, sys\n"
    "from cantowhisper.training.config import TrainConfig\n"
    "from cantowhisper.training.trainer import train\n"
    "train(sys.argv[1], sys.argv[2], config=TrainConfig(**json.loads(sys.argv[3])), progress=False)"
)


def started(features: Path, out: Path, *, config: TrainConfig = TINY, **options) -> subprocess.Popen:
    """The run in a process of its own."""
    # The same number of threads: sums in another order would be rounded to other bits.
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    words = [sys.executable, "-c", RUN, str(features), str(out), json.dumps(dataclasses.asdict(config))]
    return subprocess.Popen(words, env=environment, text=True, **options)


def wait_for(run: subprocess.Popen, path: Path) -> None:
    deadline = time.monotonic() + 240
    while not path.exists():
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
