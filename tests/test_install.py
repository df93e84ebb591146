"""The package is found from where people start Python, also where its clone lies beside them, as on Colab."""

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from cantowhisper import __version__

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(not importlib.util.find_spec("setuptools"), reason="setuptools is not installed")
def test_the_package_is_found_from_the_folder_above_a_clone(tmp_path):
    clone, venv = tmp_path / "cantowhisper", tmp_path / "venv"
    files = ("pyproject.toml", "README.md", "LICENSE")
    shutil.copytree(ROOT / "cantowhisper", clone / "cantowhisper", ignore=shutil.ignore_patterns("__pycache__"))
    for name in files:
        shutil.copy(ROOT / name, clone)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=120)
    python = venv / "bin" / "python"
    install = ["install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--editable", clone]
    # Without network: the new environment borrows this one's setuptools for the build.
    borrowed = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
    subprocess.run([sys.executable, "-m", "pip", "--python", python, *install], check=True, env=borrowed, timeout=300)
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    code = "import cantowhisper; print(cantowhisper.__version__, cantowhisper.__file__)"
    done = subprocess.run([python, "-c", code], cwd=tmp_path, env=alone, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == [__version__, str(clone / "cantowhisper" / "__init__.py")], done.stderr
