"""Recordings → feature dataset, on a small release of our own making and on real ones."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import yaml
from test_features_release import ONE, Release, rejected, small_release, sound, stored

from cantowhisper.contracts import FEATURE_COLUMNS, CantowhisperError, UsageError
from cantowhisper.features.pipeline import FeatureConfig, build_features
from cantowhisper.speech.audio import SAMPLE_RATE, load_audio
from cantowhisper.speech.mel import log_mel, n_frames


@pytest.fixture
def release(tmp_path) -> Release:
    return small_release(tmp_path)


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_contract_is_kept(release, tmp_path):
    out = tmp_path / "out"
    stats = build_features(release.write(), out, config=ONE, progress=False)
    assert {split: s["clips"] for split, s in stats["splits"].items()} == {"train": 3, "validation": 1, "test": 1}
    assert json.loads((out / "stats.json").read_text()) == stats
    assert stats["n_kept"] == 5 and stats["n_rejected"] == 0 and rejected(out) == []
    rows = stored(out, "train")
    assert list(rows[0]) == list(FEATURE_COLUMNS)
    assert [row["id"] for row in rows] == ["train_0", "train_1", "train_2"]
    assert rows[1]["text"] == "第1句訓練" and rows[1]["source"] == "cv-corpus-99.0-2030-01-01/yue"
    waveform = load_audio(release.folder / "clips" / "train_1.mp3")
    mel = np.array(rows[1]["features"], dtype=np.float16)
    assert mel.shape == (n_frames(waveform.size), 80)
    assert np.array_equal(mel, log_mel(waveform).T.astype(np.float16))
    assert rows[1]["duration_s"] == pytest.approx(waveform.size / SAMPLE_RATE)
    assert not list(tmp_path.glob("*.part"))


# Processes that end right behind the count of what was written; forked, because imports take seconds.
COUNT_AND_END = """
import os, sys
from pathlib import Path
from cantowhisper.features.report import _split_stats

ends = []
for _ in range(10):
    child = os.fork()
    if not child:
        _split_stats("train", sorted(Path(sys.argv[1]).glob("train-*.parquet")), {"sentence": {}, "speaker": {}})
        sys.exit()
    ends.append(os.waitpid(child, 0)[1])
print(ends)
os._exit(0)
"""


def test_the_process_ends_well_behind_its_last_file(release, tmp_path):
    """Threads of Arrow that outlive a read abort one process in four: the dataset is whole and the exit code 134."""
    build_features(release.write(), tmp_path / "out", config=ONE, progress=False)
    command = [sys.executable, "-c", COUNT_AND_END, str(tmp_path / "out" / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [0] * 10, done.stderr


@pytest.mark.parametrize("n_mels", [80, 128])
def test_datasets_reads_the_folder_with_its_types(release, tmp_path, n_mels):
    out = tmp_path / "out"
    build_features(release.write(), out, config=FeatureConfig(workers=1, n_mels=n_mels), progress=False)
    found = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert {split: rows.num_rows for split, rows in found.items()} == {"train": 3, "validation": 1, "test": 1}
    assert found["train"].features["features"] == datasets.Array2D((None, n_mels), "float16")
    assert found["train"].features["duration_s"] == datasets.Value("float32")
    mel = found["train"].with_format("numpy", dtype=np.float16)[2]["features"]
    waveform = load_audio(release.folder / "clips" / "train_2.mp3")
    assert np.array_equal(mel, log_mel(waveform, n_mels=n_mels).T.astype(np.float16))
    streamed = datasets.load_dataset(str(out), split="train", streaming=True)
    assert [row["id"] for row in streamed] == ["train_0", "train_1", "train_2"]
    files = {"train": str(out / "data" / "train-*.parquet")}
    alone = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))["train"]
    assert alone.features == found["train"].features, "the types are in the files themselves"


def test_the_card_tells_what_is_inside(release, tmp_path):
    release.add("mute", "無聲", audio=sound(loudness=0))
    out = tmp_path / "out"
    build_features(release.write(), out, config=ONE, progress=False)
    card = (out / "README.md").read_text(encoding="utf-8")
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "cc0-1.0" and front["language"] == ["yue"]
    assert [f["split"] for f in front["configs"][0]["data_files"]] == ["train", "validation", "test"]
    assert "| train | silent | 1 |" in card and "1 of 6 clips" in card
    assert "| train | 3 | 0.00 | 3 |" in card


def test_no_speaker_id_salt_or_path_leaves(release, tmp_path):
    out = tmp_path / "out"
    config = FeatureConfig(workers=1, salt="a-secret-salt")
    build_features(release.write(), out, config=config, progress=False)
    content = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    for secret in (b"client-of-", b"a-secret-salt", str(tmp_path).encode()):
        assert secret not in content
    speaker = stored(out, "test", columns=["speaker"])[0]["speaker"]
    assert speaker == hashlib.sha256(b"a-secret-saltclient-of-test_0").hexdigest()[:16]
    assert speaker.encode() in content  # stored as written: the search above would have found the others


def test_a_random_salt_is_kept_beside_the_dataset_and_nowhere_else(release, tmp_path):
    source, config = release.write(), FeatureConfig(workers=1, salt="random")
    speakers = []
    for name in ("a", "b"):
        out = tmp_path / name
        first = build_features(source, out, config=config, progress=False)
        assert build_features(source, out, config=config, progress=False) == first, "the same salt again"
        secret = tmp_path / f"{name}.salt"
        assert secret.stat().st_mode & 0o777 == 0o600 and len(secret.read_text()) == 32
        assert not any(secret.read_bytes() in path.read_bytes() for path in out.rglob("*") if path.is_file())
        speakers.append({row["speaker"] for row in stored(out, "train", columns=["speaker"])})
    assert len(speakers[0]) == 3 and not speakers[0] & speakers[1]
    (tmp_path / "b.salt").unlink()
    with pytest.raises(CantowhisperError, match="was made with salt 'sha256:"):
        build_features(source, tmp_path / "b", config=config, progress=False)


def test_the_bytes_depend_on_neither_workers_nor_the_day(release, tmp_path):
    for i in range(70):  # three chunks
        release.add(f"more_{i}", f"再加第{i}句", audio=sound(0.5, pitch_hz=100 + i))
    release.add("broken", "壞", audio=b"no sound")
    source = release.write()
    made = []
    for name, workers in (("one", 1), ("two", 2), ("again", 2)):
        build_features(source, tmp_path / name, config=FeatureConfig(workers=workers), progress=False)
        made.append(digests(tmp_path / name))
    assert made[0] == made[1] == made[2]


def test_a_script_without_a_main_guard_starts_once(release, tmp_path):
    """Notebooks run as scripts call us at their top level; worker processes must not run them again."""
    script = tmp_path / "script.py"
    script.write_text(
        "from cantowhisper.features.pipeline import FeatureConfig, build_features\nprint('started')\n"
        f"build_features({release.write()!r}, {str(tmp_path / 'out')!r}, config=FeatureConfig(workers=2))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["started"] and (tmp_path / "out" / "stats.json").exists()


@pytest.mark.parametrize("how", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL])
def test_an_interrupted_build_goes_on_and_ends_the_same(release, tmp_path, how):
    for i in range(80):  # enough that a busy machine is not done before the signal comes
        release.add(f"more_{i}", f"再加第{i}句", audio=sound(6, pitch_hz=100 + i))
    source, out, part = release.write(), tmp_path / "out", tmp_path / "out.part"
    config = FeatureConfig(workers=2, shard_megabytes=1)
    build_features(source, tmp_path / "whole", config=config, progress=False)
    command = (
        "from cantowhisper.features.pipeline import *\n"
        f"build_features({source!r}, {str(out)!r}, config=FeatureConfig(workers=2, shard_megabytes=1))"
    )
    process = subprocess.Popen([sys.executable, "-c", command], start_new_session=True, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(part.glob("data/train-*.parquet"))) < 2:
        time.sleep(0.01)
    process.send_signal(how)
    assert process.wait(timeout=60) != 0 and not out.exists()
    before = {path.name: path.stat().st_mtime_ns for path in part.glob("data/*.parquet")}
    workers_end(process.pid)
    build_features(source, out, config=config, progress=False)
    assert digests(out) == digests(tmp_path / "whole")
    after = {path.name: path.stat().st_mtime_ns for path in out.glob("data/*.parquet")}
    kept = [name for name in before if before[name] == after[name]]
    assert len(kept) >= len(before) - 1 and kept, "finished files are not computed again"


def test_files_that_the_disk_forgot_are_made_again(release, tmp_path):
    for i in range(60):
        release.add(f"more_{i}", f"再加第{i}句", audio=sound(2, pitch_hz=100 + i))
    release.add("broken", "壞咗", audio=b"no sound")
    source, out = release.write(), tmp_path / "out"
    config = FeatureConfig(workers=1, shard_megabytes=1)
    build_features(source, tmp_path / "whole", config=config, progress=False)
    with pytest.raises(CantowhisperError, match="--strict: broken"):
        build_features(source, out, config=replace(config, strict=True), progress=False)
    short, empty, good = sorted((tmp_path / "out.part" / "data").glob("train-*.parquet"))[:3]
    os.truncate(short, short.stat().st_size // 2)  # as after a power cut
    size = empty.stat().st_size
    os.truncate(empty, 0)
    os.truncate(empty, size)  # space reserved, nothing written
    before = good.stat().st_mtime_ns
    build_features(source, out, config=config, progress=False)
    assert digests(out) == digests(tmp_path / "whole")
    assert (out / "data" / good.name).stat().st_mtime_ns == before


def test_a_resumed_build_knows_the_recordings_of_its_finished_files(release, tmp_path):
    """A duplicate is one after an interruption too: of a clip in the first file, in a file that was not yet made."""
    first, again = sound(12, pitch_hz=333), sound(12, pitch_hz=444)
    release.add("early", "最早嗰句", audio=first)
    for i in range(14):
        release.add(f"more_{i}", f"再加第{i}句", audio=sound(12, pitch_hz=100 + i))
    release.add("broken", "壞咗", audio=b"no sound")
    release.add("early_again", "同一段聲", audio=first)
    release.add("late", "遲嗰句", audio=again)
    release.add("late_again", "又係同一段聲", audio=again)
    source, out = release.write(), tmp_path / "out"
    config = FeatureConfig(workers=1, shard_megabytes=1)
    build_features(source, tmp_path / "whole", config=config, progress=False)
    reasons = {id_: reason for id_, _, reason in rejected(tmp_path / "whole")}
    assert reasons == {"broken": "unreadable", "early_again": "duplicate audio", "late_again": "duplicate audio"}
    with pytest.raises(CantowhisperError, match="--strict: broken"):  # ends the work in the middle
        build_features(source, out, config=replace(config, strict=True), progress=False)
    assert list((tmp_path / "out.part" / "data").glob("train-*.parquet")), "some files were finished"
    build_features(source, out, config=config, progress=False)
    assert digests(out) == digests(tmp_path / "whole")


@pytest.mark.parametrize("document", ["rejected.tsv", "README.md", "stats.json"])
def test_nothing_is_named_out_before_all_of_it_is_written(release, tmp_path, document):
    source, out, part = release.write(), tmp_path / "out", tmp_path / "out.part"
    (part / "data").mkdir(parents=True)
    (part / f"{document}.part").symlink_to("/dev/full")
    with pytest.raises(CantowhisperError, match="No space left on device"):
        build_features(source, out, config=ONE, progress=False)
    assert not out.exists() and not (part / document).exists()
    assert len(list((part / "data").glob("*.parquet"))) == 3
    (part / f"{document}.part").unlink(missing_ok=True)
    assert build_features(source, out, config=ONE, progress=False)["n_kept"] == 5
    assert (out / document).is_file() and not part.exists()


def workers_end(session: int) -> None:
    """Wait until no process of a session is left: a killed build leaves no workers behind."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.killpg(session, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail("worker processes outlive the build")


def test_a_split_whose_clips_are_all_unusable_is_empty(tmp_path):
    release = small_release(tmp_path)
    release.rows["dev"].clear()
    release.add("dev_broken", "壞咗", table="dev", audio=b"no sound")
    out = tmp_path / "out"
    stats = build_features(release.write(), out, config=ONE, progress=False)
    assert "validation" not in stats["splits"] and rejected(out) == [("dev_broken", "validation", "unreadable")]
    assert set(datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))) == {"train", "test"}


def test_what_is_there_is_reused_and_what_is_other_is_refused(release, tmp_path):
    source, out = release.write(), tmp_path / "out"
    first = build_features(source, out, config=ONE, progress=False)
    made = digests(out)
    assert build_features(source, out, config=FeatureConfig(workers=2), progress=False) == first
    with pytest.raises(CantowhisperError, match="n_mels 80 instead of 128"):
        build_features(source, out, config=FeatureConfig(n_mels=128), progress=False)
    release.add("new", "新句")
    with pytest.raises(CantowhisperError, match="source_checksum"):
        build_features(release.write(), out, config=ONE, progress=False)
    assert digests(out) == made
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.doc").write_text("precious")
    with pytest.raises(CantowhisperError, match="is no feature dataset"):
        build_features(source, other, config=ONE, progress=False)


def test_unknown_settings_are_refused():
    with pytest.raises(UsageError, match="no option 'n_mel'; did you mean n_mels"):
        FeatureConfig.from_dict({"n_mel": 80})
    for wrong in ({"n_mels": 90}, {"split_policy": "all"}, {"max_seconds": 40}, {"workers": 0}):
        with pytest.raises(UsageError):
            FeatureConfig().with_overrides(**wrong)
