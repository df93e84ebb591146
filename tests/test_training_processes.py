"""Two processes train as one would with the same clips a step, and leave one set of files."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from test_notebooks import ROOT
from training_data import small_features
from training_runs import RUN, TINY, curve, sealed_features, wait_for

from cantowhisper.training.run import processes
from cantowhisper.training.run.checkpoints import newest_whole_checkpoint, step_of
from cantowhisper.training.trainer import train

# Chance is drawn from a batch's number, and so the same in any process; dropout alone is drawn in each of them.
TOGETHER = TINY.with_overrides(dropout=0.0, max_steps=6)
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch"]
TWO = ["--multi_gpu", "--num_processes", "2", "--main_process_port", "0"]


# The run, with its checkpoints copied before the optimizer's state is deleted.
COPYING = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from training_runs import checkpoints_copied
with checkpoints_copied(Path(sys.argv[2] + "_checkpoints")):
    {RUN.replace(chr(10), chr(10) + "    ")}
"""


def launched(script: Path, *words: str, **environment: str) -> subprocess.Popen:
    """A script in two processes on the CPU (gloo), as `accelerate launch` starts them."""
    return subprocess.Popen(
        [*ACCELERATE, *TWO, str(script), *words],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def launch(script: Path, *words: str, **environment: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a script in two processes."""
    run = launched(script, *words, **environment)
    try:
        said, complaint = run.communicate(timeout=900)
    finally:
        run.kill()
    return run.returncode, said, complaint


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(tmp_path):
    script, out = tmp_path / "run.py", tmp_path / "two"
    script.write_text(COPYING)
    config = json.dumps(dataclasses.asdict(TOGETHER))
    code, said, complaint = launch(script, str(sealed_features()), str(out), config)
    assert code == 0, complaint
    two = json.loads((out / "metrics.json").read_text())
    one_config = TOGETHER.with_overrides(gradient_accumulation_steps=2)  # the same two batches make a step
    one = train(sealed_features(), tmp_path / "one", config=one_config, progress=False)
    for here, there in zip(curve(one), curve(two), strict=True):
        assert here["step"] == there["step"]
        assert here.keys() == there.keys()
        for key, tolerance in (("loss", 2e-3), ("grad_norm", 2e-3), ("eval_cer_raw", 0.05)):
            if key in here:
                assert there[key] == pytest.approx(here[key], rel=tolerance), (key, here["step"])
    losses = [entry["loss"] for entry in curve(two) if "loss" in entry]
    assert len(losses) == 6 and np.std(losses) > 0.01, "a curve, and not a line"

    apart = {f"checkpoints/checkpoint-{step}/rng_state_{rank}.pth" for step in (3, 6) for rank in (0, 1)}
    assert files(out) - files(tmp_path / "one") == apart
    for step in (3, 6):
        sealed = json.loads((out / "checkpoints" / f"checkpoint-{step}" / "whole.json").read_text())["files"]
        assert {"rng_state_0.pth", "rng_state_1.pth"} <= set(sealed)
    lines = said.splitlines()
    assert [line[:8] for line in lines if line.startswith("step ")] == ["step 3/6", "step 6/6"]
    assert sum(line.startswith("precision fp32") for line in lines) == 1

    shutil.rmtree(out / "checkpoints")  # killed before its end: both go on from the same step
    shutil.move(tmp_path / "two_checkpoints", out / "checkpoints")
    shutil.rmtree(out / "checkpoints" / "checkpoint-6")
    (out / "metrics.json").unlink()
    (out / "train_config.json").write_text(config)
    weights = (out / "model.safetensors").read_bytes()
    code, said, _ = launch(script, str(sealed_features()), str(out), config)
    assert code == 0 and said.count("resuming from checkpoint-3") == 1
    assert (out / "model.safetensors").read_bytes() == weights


@pytest.mark.slow
def test_two_processes_stop_behind_the_same_step(tmp_path):
    """SIGTERM reaches the launcher, as from a machine that is taken away, and each process at a moment of its own."""
    script, out = tmp_path / "run.py", tmp_path / "two"
    script.write_text(RUN)
    config = TOGETHER.with_overrides(max_steps=40, evaluate_every_steps=40)
    words = (str(script), str(sealed_features()), str(out), json.dumps(dataclasses.asdict(config)))
    run = launched(*words)
    try:
        wait_for(run, out / "checkpoints" / "checkpoint-3" / "whole.json")
        run.terminate()
        said, _ = run.communicate(timeout=300)
    finally:
        run.kill()
    assert run.returncode and said.count("SIGTERM: saving a checkpoint") == 1
    kept, torn = newest_whole_checkpoint(out)
    assert not torn and 3 <= step_of(kept) < 40
    state = json.loads((kept / "trainer_state.json").read_text())
    assert state["global_step"] == step_of(kept)
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= files(kept)


@pytest.mark.slow
def test_the_notebooks_script_runs_in_two_processes(tmp_path):
    changes = {"max_steps": 2, "evaluate_every_steps": 2, "save_every_steps": 2, "warmup_steps": 1}
    settings = {"FEATURES": str(small_features()), "OUT": str(tmp_path), "CHANGES": json.dumps(changes)}
    environment = {f"CANTOWHISPER_{name}": value for name, value in settings.items()}
    code, said, complaint = launch(ROOT / "whisper_training_pipeline.py", **environment)
    assert code == 0, complaint
    for line in ("weights of step 2", "the test split was read 1 time(s)", "market_morning.mp3"):
        assert said.count(line) == 1
    assert (tmp_path / "model" / "onnx" / "encoder.onnx").exists()


def test_alone_a_process_is_the_main_one_and_asks_nobody():
    assert processes.is_main() and processes.count() == 1
    assert processes.any_says(True) and not processes.any_says(False)
    assert processes.from_main(lambda: "said") == "said"
    assert processes.dealt("all rows", lambda rows: [rows]) == ["all rows"]
    processes.wait()
    processes.leave_unless_main()
