"""A run that is killed ten times, half of them inside a checkpoint write, ends at the bits of one that was not."""

import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from training_data import temporary_folder
from training_runs import TINY, assert_same_run, sealed_features, started

from cantowhisper.training.run.checkpoints import checkpoint_steps, is_whole
from cantowhisper.training.trainer import train

# A checkpoint every other step, and more of them than ten kills cost.
LONG = TINY.with_overrides(
    max_steps=60, save_every_steps=2, evaluate_every_steps=30, keep_checkpoints=2, validation_clips=2
)
KILLS = 10
PATIENCE_S = 300


def whole_steps(out: Path) -> set[int]:
    return {step for step, path in checkpoint_steps(out).items() if is_whole(path)}


def watch(run: subprocess.Popen, condition):
    """The first true value of a condition; the run must live until then."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        assert run.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return found


def wait_until_it_trains(run: subprocess.Popen, out: Path, newest: int) -> None:
    """Until it has gone past the checkpoint that it began from, and sealed one of its own."""
    watch(run, lambda: max(whole_steps(out), default=0) > newest)


def being_written(out: Path, newer_than: int) -> Path | None:
    """A checkpoint folder that is there and has no manifest yet."""
    unsealed = (p for s, p in checkpoint_steps(out).items() if s > newer_than and not (p / "whole.json").exists())
    return next(unsealed, None)


def kill(run: subprocess.Popen) -> None:
    assert run.poll() is None
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL


def kill_while_writing(run: subprocess.Popen, out: Path, newest: int) -> bool:
    """Kill as soon as a checkpoint has begun; True if it never got its manifest."""
    torn = watch(run, lambda: being_written(out, newest))
    kill(run)
    return not is_whole(torn)


def kill_at_random(run: subprocess.Popen, rng: np.random.Generator) -> None:
    """Kill anywhere in the next steps, of which one takes some hundredths of a second."""
    moment = time.monotonic() + rng.uniform(0, 0.3)
    watch(run, lambda: time.monotonic() >= moment)
    kill(run)


@pytest.mark.slow
def test_ten_kills_change_no_bit(tmp_path, capsys):
    expected = temporary_folder() / "model"
    finished = expected, train(sealed_features(), expected, config=LONG, progress=False)
    out, rng = tmp_path / "model", np.random.default_rng()  # other moments each time
    torn = 0
    for number in range(KILLS):
        newest = max(whole_steps(out), default=0)
        run = started(sealed_features(), out, config=LONG)
        try:
            wait_until_it_trains(run, out, newest)
            if number % 2:
                torn += kill_while_writing(run, out, max(whole_steps(out)))
            else:
                kill_at_random(run, rng)
        finally:
            run.kill()
            run.wait()
    assert torn >= 3, "too few of the kills met a checkpoint that was being written"
    assert max(whole_steps(out)) < LONG.max_steps
    with capsys.disabled():
        print(f"\n{KILLS} kills, {torn} of them inside a checkpoint write; the last at step {max(whole_steps(out))}")
    assert_same_run(out, train(sealed_features(), out, config=LONG, progress=False), finished)
