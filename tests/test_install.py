"""The package is found from where people start Python, also where its clone lies beside them, as on Colab."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from cantowhisper import __version__

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(not importlib.util.find_spec("setuptools"), reason="setuptools is not installed")
QUICK = {"max_steps": 4, "evaluate_every_steps": 2, "save_every_steps": 2, "log_every_steps": 1, "warmup_steps": 1}


def first_cell(notebook: str) -> str:
    """The code of a notebook that fetches and installs what it needs."""
    return re.search(r"# %%\n(# On Colab.*?)\n# %% tags", (ROOT / f"{notebook}.py").read_text("utf-8"), re.DOTALL)[1]


@pytest.fixture
def colab(tmp_path):
    """A folder with a clone in it, and an interpreter that has all packages but this one; the settings to run it with.

    Without network: the new environment borrows this one's packages, and its setuptools for the build. An editable
    install of this environment is not borrowed with them, since Python reads no .pth files there.
    """
    clone, venv = tmp_path / "cantowhisper", tmp_path / "venv"
    ignored = shutil.ignore_patterns("__pycache__", ".venv", ".git", "*.egg-info", ".*_cache", "demo", "runs")
    shutil.copytree(ROOT, clone, ignore=ignored)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=120)
    settings = {"PYTHONPATH": sysconfig.get_path("purelib"), "PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    return tmp_path, venv / "bin" / "python", {**os.environ, **settings, "PIP_NO_DEPS": "1", "MPLBACKEND": "Agg"}


def test_the_first_cell_finds_the_package_beside_a_clone_and_after_a_restart(colab):
    folder, python, settings = colab
    code = first_cell("whisper_feature_pipeline") + "\nimport cantowhisper; print(cantowhisper.__file__)"
    there = str(folder / "cantowhisper" / "cantowhisper" / "__init__.py")

    def run(code: str) -> str:
        words, options = [python, "-c", code], {"capture_output": True, "text": True, "timeout": 300}
        done = subprocess.run(words, cwd=folder, env=settings, **options)
        assert not done.returncode, done.stderr
        return done.stdout.strip()

    before = run("import cantowhisper; print(cantowhisper.__file__)")
    assert before == "None"  # the clone's folder is taken for a package, and holds nothing
    assert run(code) == there
    restarted = first_cell("whisper_training_pipeline").replace("subprocess.run(", "raise SystemExit(")
    assert run(restarted + "\nimport cantowhisper; print(cantowhisper.__version__)") == __version__
    # The first notebook installed the package without what the second one needs besides.
    second = first_cell("whisper_training_pipeline").replace('"evaluate"', '"not_there"')
    (installs,) = run(second.replace("subprocess.run(", "(lambda words, check: print(words))(")).splitlines()
    assert f"'-e', '{folder / 'cantowhisper'}[training,serving]'" in installs


@pytest.mark.slow
def test_both_notebooks_run_from_the_folder_above_a_clone_each_in_a_fresh_kernel(colab, samples):
    from benchmarks.canary.__main__ import small_release

    folder, python, settings = colab
    small_release(samples, folder / "release")
    settings |= {"CANTOWHISPER_SOURCE": "release", "CANTOWHISPER_CHANGES": json.dumps(QUICK)}
    for name in ("whisper_feature_pipeline", "whisper_training_pipeline"):
        words = [python, ROOT / "benchmarks" / "canary" / "notebook.py", f"cantowhisper/{name}.ipynb"]
        options = {"capture_output": True, "text": True, "timeout": 3000}
        done = subprocess.run(words, cwd=folder, env=settings, **options)
        assert not done.returncode, done.stderr
    assert "killed with code -9, after a whole checkpoint" in done.stdout
    assert "the same weights to the last bit" in done.stdout
    assert (folder / "demo" / "model" / "onnx" / "encoder.onnx").is_file()
