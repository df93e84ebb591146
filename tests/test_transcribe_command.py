"""`cantowhisper transcribe`: text as it is ready, partial files that stay, and no file that overwrites another."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import webvtt
from hypothesis import given
from hypothesis import strategies as st
from serving_model import random_model

from cantowhisper.cli.main import main
from cantowhisper.cli.transcribe import _Transcript, file_names
from cantowhisper.contracts import Segment

names = st.lists(
    st.tuples(st.sampled_from("xyz"), st.sampled_from(["a", "A", "b", "b.c"]), st.sampled_from(["wav", "mp3"])),
    min_size=1,
    max_size=8,
)


@given(names)
def test_no_two_recordings_share_a_file(parts):
    paths = [Path(folder) / f"{stem}.{ending}" for folder, stem, ending in parts]
    found = file_names(paths)
    assert len({name.casefold() for name in found}) == len(paths) and not any("/" in name for name in found)
    if len({path.stem.casefold() for path in paths}) == len(paths):
        assert found == [path.stem for path in paths]


def command(*words) -> list[str]:
    return [sys.executable, "-m", "cantowhisper.cli", "transcribe", *map(str, words)]


@pytest.fixture(scope="module")
def clip(samples) -> Path:
    return samples.parent / "clips" / "market_morning.mp3"


def test_two_recordings_of_one_stem_give_two_files(clip, tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        shutil.copy(clip, tmp_path / folder / "talk.mp3")
    done = subprocess.run(
        command(tmp_path / "x/talk.mp3", tmp_path / "y/talk.mp3", "--model", random_model(), "--out", tmp_path / "out"),
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["x_talk.mp3.txt", "y_talk.mp3.txt"]
    assert len(done.stdout.split()) == 2


def test_a_list_of_words_that_cannot_be_read_is_wrong_usage(tmp_path, capsys):
    (tmp_path / "long.txt").write_text("\n".join(f"字{i}" for i in range(201)), encoding="utf-8")
    (tmp_path / "other.txt").write_bytes("屯門".encode("big5"))
    for name, said in (("absent", "No such file"), ("long", "at most 200"), ("other", "UTF-8")):
        assert main(["transcribe", "a.wav", "--model", "none", "--words", str(tmp_path / f"{name}.txt")]) == 2
        assert said in capsys.readouterr().err


def test_a_list_of_words_is_taken(clip, tmp_path, capsys):
    (tmp_path / "words.txt").write_text("\ufeff# people\n深水埗、陳大文\n", encoding="utf-8")
    model = ["--model", str(random_model()), "--words", str(tmp_path / "words.txt")]
    assert main(["transcribe", str(clip), *model]) == 0 and capsys.readouterr().out


def test_subtitles_are_captions_and_tables_are_the_segments(tmp_path, capsys):
    said = [Segment(0.5, 12.5, "我哋今日去街市買餸，之後返屋企煮飯，" * 2, 0.9), Segment(13.0, 14.0, "好呀", 0.9)]
    for name in ("srt", "vtt", "tsv", "json"):
        transcript = _Transcript(tmp_path / "talk.mp3", name, tmp_path / "talk")
        for segment in said:
            transcript.add(segment)
        transcript.finish()
    for name, read in (("srt", webvtt.from_srt), ("vtt", webvtt.read)):
        lines = [line for cue in read(tmp_path / f"talk.{name}") for line in cue.lines]
        assert "".join(lines) == said[0].text + said[1].text and max(map(len, lines)) <= 16
    assert len((tmp_path / "talk.tsv").read_text(encoding="utf-8").splitlines()) == 3
    assert len(json.loads((tmp_path / "talk.json").read_text(encoding="utf-8"))["segments"]) == 2


def test_what_is_ready_stays_after_ctrl_c(clip, tmp_path):
    """Twelve minutes of sound, stopped as soon as there is some text."""
    import numpy as np
    import soundfile

    from cantowhisper.speech.audio import load_audio

    soundfile.write(tmp_path / "talk.flac", np.tile(load_audio(clip), 30), 16_000)
    process = subprocess.Popen(
        command(tmp_path / "talk.flac", "--model", random_model(), "--out", tmp_path / "out", "--format", "srt"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    partial, until = tmp_path / "out/talk.partial.srt", time.monotonic() + 120
    while not partial.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "stopped at" in errors and str(partial) in errors, errors
    assert partial.read_text(encoding="utf-8").startswith("1\n00:00:")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [partial.name]
