"""The pages attacked in a network namespace of their own: the parts of benchmarks.attack that take minutes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


def run(tmp_path, *options: str) -> dict:
    tried = subprocess.run(["unshare", "--net", "--mount", "--map-root-user", "true"], capture_output=True)
    if tried.returncode or not shutil.which("ip"):
        pytest.skip("no network namespace can be made here")
    command = [
        sys.executable,
        "-m",
        "benchmarks.attack",
        "--json",
        str(tmp_path / "a.json"),
        "--minutes",
        "0",
        *options,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3000)
    result = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert done.returncode == 0, result["attempts_failed"] or result
    return result


def test_both_pages_behind_nginx(tmp_path):
    if not shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin"):
        pytest.skip("nginx is not installed here")
    assert run(tmp_path, "--times", "0", "--only", "nginx")["n_attempts"] > 15


def test_nothing_is_fetched_relayed_or_reached(tmp_path):
    for trial in ("gradios", "addresses", "openai", "operators"):
        assert run(tmp_path, "--times", "0", "--only", trial).get("urls_fetched_by_framework", 0) == 0


def test_however_a_page_ends_during_work_nothing_stays_and_the_next_one_serves(tmp_path):
    ends = run(tmp_path, "--times", "2", "--only", "-")["endings"]
    assert len(ends) == 7 and all(one["files_left"] == 0 and one["exit_codes_right"] for one in ends.values())
