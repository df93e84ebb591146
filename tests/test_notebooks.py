"""Both notebooks from a fresh kernel, top to bottom, as people run them: small here, whole in the slow test."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest
from training_data import copy_release, small_features
from training_runs import ALIKE_S

ROOT = Path(__file__).resolve().parents[1]


def run_notebook(name: str, folder: Path, **settings: str) -> str:
    """Run a notebook in the repository's root with CANTOWHISPER_… settings; returns all that it printed."""
    notebook = nbformat.read(ROOT / f"{name}.ipynb", as_version=4)
    before = dict(os.environ)
    os.environ.update({f"CANTOWHISPER_{key}": value for key, value in settings.items()})
    os.environ["CANTOWHISPER_OUT"] = str(folder)
    try:
        nbclient.NotebookClient(
            notebook, timeout=3000, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}
        ).execute()
    finally:
        os.environ.clear()
        os.environ.update(before)
    outputs = (output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs)
    return "".join(output.get("text", "") for output in outputs)


@pytest.fixture
def small_release(samples, tmp_path) -> Path:
    """A release of 40 + 8 + 8 sample clips."""
    release = copy_release(samples, tmp_path / "release", alike_s=ALIKE_S, train=40, dev=8, test=8)
    shutil.copy(samples / "clip_durations.tsv", release)
    return release


def test_both_notebooks_run_from_a_fresh_kernel(small_release, tmp_path):
    out = tmp_path / "out"
    printed = run_notebook("whisper_feature_pipeline", out, SOURCE=str(small_release))
    assert "56 clips in" in printed
    assert {p.name for p in (out / "plots").iterdir()} == {"spectrogram.png", "padding.png", "lengths.png"}
    changes = {
        "max_steps": 4,
        "evaluate_every_steps": 2,
        "save_every_steps": 2,
        "log_every_steps": 1,
        "warmup_steps": 1,
    }
    printed = run_notebook("whisper_training_pipeline", out, CHANGES=json.dumps(changes))
    assert "killed with code -9, after a whole checkpoint" in printed and "the same weights to the last bit" in printed
    assert "weights of step" in printed
    assert "wrong: ['<|startoftranscript|>', '<|startoftranscript|>'" in printed
    assert "wrong: ['<|startoftranscript|>', '<|translate|>'" in printed and "CER 11%, WER 100%" in printed
    assert "known voices" in printed
    assert "of 8 clips give the same text" in printed
    assert "not pushed: PUSH_TO names no repository" in printed
    scores = json.loads((out / "scores.json").read_text(encoding="utf-8"))["scores"]
    assert list(scores) == ["before", "after", "after, 30 s windows"]
    assert scores["before"]["all"]["n"] == scores["after"]["all"]["n"] == 8
    kept = json.loads((out / "model" / "metrics.json").read_text(encoding="utf-8"))["test"]
    assert kept["reads"] == 1 and kept["scores"]["variable"] == scores["after"]
    assert kept["before"]["variable"] == scores["before"]
    assert not (out / "resume").exists()
    assert (out / "model" / "onnx" / "encoder.onnx").exists() and (out / "model" / "ct2" / "model.bin").exists()
    assert {"batch.png", "learning_curve.png"} <= {p.name for p in (out / "plots").iterdir()}


@pytest.mark.slow
def test_nothing_reads_the_test_split_before_the_final_score(tmp_path):
    """With a test split that nobody can read, the notebook trains to its end and stops where it would score.

    (Its features are streamed; those of the other test here are not.)
    """
    features, out = tmp_path / "features", tmp_path / "out"
    shutil.copytree(small_features(), features)
    for path in (features / "data").glob("test-*.parquet"):
        path.write_bytes(b"not before the final score")
    changes = {"max_steps": 2, "evaluate_every_steps": 2, "save_every_steps": 2, "warmup_steps": 1, "streaming": True}
    settings = {"FEATURES": str(features), "OUT": str(out), "CHANGES": json.dumps(changes)}
    done = subprocess.run(
        [sys.executable, "whisper_training_pipeline.py"],
        cwd=ROOT,
        env={**os.environ, "MPLBACKEND": "Agg", **{f"CANTOWHISPER_{key}": value for key, value in settings.items()}},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode and f"cannot read the features '{features}'" in done.stderr
    assert 'test = load_split(FEATURES, "test")' in done.stderr  # the line of the traceback
    assert "weights of step 2" in done.stdout
    assert "test" not in json.loads((out / "model" / "metrics.json").read_text(encoding="utf-8"))
    assert (out / "plots" / "learning_curve.png").exists()


@pytest.mark.slow
def test_the_demo_learns_the_samples(tmp_path):
    """The whole demo: unseen sentences in known voices are read with at most 6 % character errors."""
    run_notebook("whisper_feature_pipeline", tmp_path, SOURCE="samples")
    run_notebook("whisper_training_pipeline", tmp_path)
    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))["scores"]
    assert scores["before"]["known voices"]["cer_no_punctuation"] > 0.9
    assert scores["after"]["known voices"]["cer_no_punctuation"] <= 0.06
    assert scores["after"]["known voices"]["n"] == 80
    assert scores["after"]["unseen voice"]["n"] == 20
