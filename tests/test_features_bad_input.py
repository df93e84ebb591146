"""Bad input, each kind by itself: listed with its reason, one clear line where it ends the work, and nothing lost."""

import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from test_features_release import Release, rejected, small_release, sound, stored

from cantowhisper.cli.main import main
from cantowhisper.features.pipeline import FeatureConfig, build_features


def mp3(seconds: float) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound(seconds, pitch_hz=420), 16_000, format="MP3")
    return file.getvalue()


def hour_of_silence() -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(3600 * 16_000, np.int16), 16_000, format="FLAC")
    return file.getvalue()


def refused(capsys, *words) -> str:
    """The one line with which a command ends; its exit code is 1."""
    code = main(["features", *map(str, words), "--workers", "1"])
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("cantowhisper: "))
    assert code == 1
    return line.removeprefix("cantowhisper: ")


RECORDINGS = {
    "zero_bytes.mp3": (lambda: b"", "empty"),
    "page.mp3": (lambda: b"<!DOCTYPE html><title>403 Forbidden</title>" * 20, "unreadable"),
    "playlist.wav": (lambda: b"ffconcat version 1.0\nfile 'good.wav'\n", "unreadable"),
    "in_its_first_frame.mp3": (lambda: mp3(2)[:60], "unreadable"),
    "hour.flac": (hour_of_silence, "too long: 3600.0 s"),
    "missing.mp3": (None, "missing file: missing.mp3"),
}


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_bad_recording_is_listed_or_with_strict_ends_the_work(name, tmp_path, capsys):
    content, reason = RECORDINGS[name]
    folder, out = tmp_path / "mine", tmp_path / "out"
    folder.mkdir()
    soundfile.write(folder / "good.wav", sound(1), 16_000)
    if content:
        (folder / name).write_bytes(content())
    (folder / "metadata.tsv").write_text(f"file\ttext\ngood.wav\t好聲\n{name}\t壞聲\n", encoding="utf-8")
    stem = Path(name).stem
    line = refused(capsys, f"{folder},language=yue", tmp_path / "strict", "--strict")
    assert line.startswith(
        f"--strict: {stem} (train) is not usable: {reason}; mend or remove it, or leave --strict out"
    )
    assert main(["features", f"{folder},language=yue", str(out), "--workers", "1"]) == 0
    assert rejected(out) == [(stem, "train", reason)]
    assert [row["id"] for row in stored(out, "train", columns=["id"])] == ["good"]


def test_a_truncated_mp3_is_taken_as_far_as_it_plays(tmp_path):
    """Without a count of frames nothing tells that more was there; what is too little for its sentence is listed."""
    release, counted = small_release(tmp_path), mp3(6)
    whole = counted.replace(b"Xing", b"none").replace(b"Info", b"none")
    release.add("counted", "講到一半就冇咗呀", audio=counted[: len(counted) // 2])
    release.add("half", "講到一半就冇咗", audio=whole[: len(whole) // 2])
    release.add("fifth", "呢一句嘅錄音得返開頭嗰少少", audio=whole[: len(whole) // 5])
    build_features(release.write(), tmp_path / "out", config=FeatureConfig(workers=1), progress=False)
    seconds = {row["id"]: row["duration_s"] for row in stored(tmp_path / "out", "train", columns=["id", "duration_s"])}
    assert 2.5 < seconds["half"] < 3.5
    assert rejected(tmp_path / "out") == [
        ("counted", "train", "damaged or cut off"),
        ("fifth", "train", "implausible characters per second"),
    ]


def test_wrong_column_names_are_named(tmp_path, capsys):
    release = small_release(tmp_path)
    table = Path(release.write()) / "train.tsv"
    table.write_text(table.read_text(encoding="utf-8").replace("sentence\t", "words\t"), encoding="utf-8")
    line = refused(capsys, release.folder, tmp_path / "out")
    assert f"{table} has no column sentence (it has: client_id, path, sentence_id, words, " in line
    assert not (tmp_path / "out").exists()


def test_bare_quotes_take_no_line_with_them(tmp_path):
    release = small_release(tmp_path)
    for i in range(10):
        release.add(f"quote_{i}", f'"第{i}句淨係得一個引號' if i % 2 else f'佢話"第{i}句')
    build_features(release.write(), tmp_path / "out", config=FeatureConfig(workers=1), progress=False)
    assert len(stored(tmp_path / "out", "train", columns=["id"])) == 13 and not rejected(tmp_path / "out")


def test_an_archive_cut_in_the_middle_is_refused_before_the_work(tmp_path, capsys):
    release = small_release(tmp_path)
    release.write()
    with tarfile.open(tmp_path / "whole.tar.gz", "w:gz") as tar:
        tar.add(release.folder, arcname="cv-corpus-99.0-2030-01-01/yue")
    whole = (tmp_path / "whole.tar.gz").read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    line = refused(capsys, tmp_path / "cut.tar.gz", tmp_path / "out")
    assert f"{tmp_path / 'cut.tar.gz'} is " in line and "download" in line
    assert not (tmp_path / "out").exists()


def loud_release(tmp_path: Path) -> Release:
    """Several files of features that hardly compress."""
    release = small_release(tmp_path)
    noise = np.random.default_rng(1)
    for i in range(18):
        release.add(f"noise_{i}", f"第{i}句喺噪音入面", audio=noise.normal(0, 0.1, 20 * 16_000).astype(np.float32))
    return release


def test_a_full_disk_keeps_all_finished_files(tmp_path):
    """A real file system without space: 3 MB of memory, mounted in a name space of its own."""
    alone = ["unshare", "--map-root-user", "--mount"]
    if not shutil.which("unshare") or subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("needs unshare and the right to mount in a name space")
    source, small, kept = loud_release(tmp_path).write(), tmp_path / "small", tmp_path / "kept"
    small.mkdir()
    arguments = ["--workers", "1", "--set", "shard_megabytes=1"]
    script = (
        'mount -t tmpfs -o size=3m none "$1" && '
        '"$2" -m cantowhisper.cli features "$3" "$1/out" --workers 1 --set shard_megabytes=1; code=$?; '
        'cp -r "$1" "$4"; exit $code'
    )
    command = [*alone, "sh", "-c", script, "sh", str(small), sys.executable, source, str(kept)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    lines = [line for line in done.stderr.splitlines() if line.startswith("cantowhisper: ")]
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert lines == [f"cantowhisper: cannot write {small}/out: No space left on device; the finished files are kept"]
    files = sorted((kept / "out.part" / "data").iterdir())
    assert len(files) >= 3 and all(file.suffix == ".parquet" for file in files)
    assert sum(pq.read_metadata(file).num_rows for file in files) >= 4
    before = {file.name: file.stat().st_mtime_ns for file in files}
    assert main(["features", source, str(kept / "out"), *arguments]) == 0  # with room, the same command goes on
    assert main(["features", source, str(tmp_path / "whole"), *arguments]) == 0
    found, whole = ({p.name: p.read_bytes() for p in f.glob("data/*")} for f in (kept / "out", tmp_path / "whole"))
    assert found == whole
    assert all((kept / "out" / "data" / name).stat().st_mtime_ns == when for name, when in before.items())


def test_a_folder_that_may_not_be_written_is_told(tmp_path):
    source, locked = small_release(tmp_path).write(), tmp_path / "locked"
    locked.mkdir(mode=0o555)
    command = [sys.executable, "-m", "cantowhisper.cli", "features", source, str(locked / "out"), "--workers", "1"]
    if os.geteuid() == 0:  # who may do everything gives that up first
        prefix = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
        if not shutil.which("setpriv") or subprocess.run([*prefix, "true"], capture_output=True).returncode:
            pytest.skip("runs as root and cannot give that up: needs setpriv")
        command = [*prefix, *command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"cantowhisper: cannot write {locked}/out: Permission denied")
    assert "Traceback" not in done.stderr
