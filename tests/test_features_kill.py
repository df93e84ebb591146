"""Longer proofs of the feature pipeline: killed twenty times, and on a cluster."""

import csv
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
KILLS = 20
CLIPS = 1_000
# About 20 clips a file. A start of the process takes seconds, and must not be outlived by all of the work.
SETTINGS = {"workers": 2, "shard_megabytes": 1, "language": "yue"}


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("data/*.parquet")}


@pytest.fixture
def release(samples, tmp_path) -> Path:
    """The first 1,000 of the sample clips."""
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "clips").symlink_to(samples / "clips")
    left = CLIPS
    for table in ("test.tsv", "dev.tsv", "train.tsv"):
        with (samples / table).open(encoding="utf-8", newline="") as file:
            header, *lines = file.read().splitlines()[: left + 1]
        assert "path" in next(csv.reader([header], delimiter="\t"))
        (folder / table).write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
        left -= len(lines)
    assert not left
    return folder


class Build:
    """The build in a process group of its own."""

    def __init__(self, release: Path, out: Path):
        command = (
            "from cantowhisper.features.pipeline import *\n"
            f"build_features({str(release)!r}, {str(out)!r}, config=FeatureConfig(**{SETTINGS!r}), progress=False)"
        )
        self.process = subprocess.Popen([sys.executable, "-c", command], start_new_session=True)
        self.part = out.with_name(out.name + ".part")

    def wait_for_work(self) -> None:
        """Until a file is being written: from then on it is alive and at work."""
        while not list(self.part.glob("data/*.part")):
            assert self.process.poll() is None, "the build ended before it could be killed"
            time.sleep(0.002)

    def kill(self) -> None:
        assert self.process.poll() is None, "the build ended before it could be killed"
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def test_twenty_kills_at_random_moments_change_nothing(release, tmp_path):
    whole, out, part = tmp_path / "whole", tmp_path / "out", tmp_path / "out.part"
    build_features(str(release), whole, config=FeatureConfig(**SETTINGS), progress=False)
    n_files = len(times(whole))
    assert n_files >= 2 * KILLS, "each kill shall leave work to do"
    moments, computed_again = random.Random(7), []
    for i in range(KILLS):
        before = times(part)
        build = Build(release, out)
        build.wait_for_work()
        # A random moment until this share of the files would be there: the last kill, too, finds work.
        most = (i + 1) * (n_files - 4) // KILLS
        target = moments.uniform(len(before), max(len(before), most))
        while len(times(part)) < int(target):
            assert build.process.poll() is None, "the build ended before it could be killed"
            time.sleep(0.002)
        time.sleep(moments.uniform(0, 0.15))  # anywhere in the next file
        build.kill()
        after = times(part)
        again = [name for name in before if after.get(name) != before[name]]
        assert len(again) <= SETTINGS["workers"], f"{again} were whole and are computed again"
        computed_again.append(len(again))
    before = times(part)
    assert len(before) < n_files
    stats = build_features(str(release), out, config=FeatureConfig(**SETTINGS), progress=False)
    assert stats["n_kept"] + stats["n_rejected"] == CLIPS
    again = [name for name in before if times(out)[name] != before[name]]
    assert len(again) <= SETTINGS["workers"]
    assert digests(out) == digests(whole)
    print(f"{KILLS} kills, {n_files} files; whole files computed again after each: {computed_again}, {len(again)}")


def test_a_cluster_of_two_workers_writes_the_same_bytes(samples, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'cantowhisper[ray]'")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    for engine in ("local", "ray"):
        config = FeatureConfig(engine=engine, workers=2, shard_megabytes=20)
        stats = build_features("samples", tmp_path / engine, config=config, progress=False)
        assert stats["n_kept"] >= 1000
    assert digests(tmp_path / "local") == digests(tmp_path / "ray")
