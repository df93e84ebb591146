"""Longer proofs of the feature pipeline: killed twenty times, and on a cluster."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cantowhisper.features.pipeline import FeatureConfig, build_features

pytestmark = pytest.mark.slow
SETTINGS = {"workers": 2, "shard_megabytes": 2}  # about 45 clips a file


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("data/*.parquet")}


def test_twenty_kills_at_random_moments_change_nothing(samples, tmp_path):
    whole, out, part = tmp_path / "whole", tmp_path / "out", tmp_path / "out.part"
    started = time.monotonic()
    build_features("samples", whole, config=FeatureConfig(**SETTINGS), progress=False)
    duration = time.monotonic() - started
    command = (
        "from cantowhisper.features.pipeline import *\n"
        f"build_features('samples', {str(out)!r}, config=FeatureConfig(**{SETTINGS!r}), progress=False)"
    )
    moments, kills = random.Random(7), 0
    while kills < 20 and not out.exists():
        before = times(part)
        process = subprocess.Popen([sys.executable, "-c", command], start_new_session=True)
        # Anywhere from the imports to several files on; later ones would end the work before the twentieth.
        deadline = time.monotonic() + moments.uniform(0.1, 0.35) * duration
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        after = times(part) if part.exists() else times(out)
        again = [name for name in before if after.get(name) != before[name]]
        assert len(again) <= SETTINGS["workers"], f"{again} were whole and are computed again"
    assert kills >= 5
    build_features("samples", out, config=FeatureConfig(**SETTINGS), progress=False)
    assert digests(out) == digests(whole)


def test_a_cluster_of_two_workers_writes_the_same_bytes(samples, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'cantowhisper[ray]'")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    for engine in ("local", "ray"):
        config = FeatureConfig(engine=engine, workers=2, shard_megabytes=20)
        stats = build_features("samples", tmp_path / engine, config=config, progress=False)
        assert stats["n_kept"] >= 1000
    assert digests(tmp_path / "local") == digests(tmp_path / "ray")
