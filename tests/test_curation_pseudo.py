"""`cantowhisper pseudo-label`: recordings and a model → a feature dataset that says who wrote its text."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from serving_model import random_model
from training_data import copy_release

from cantowhisper.cli.main import main
from cantowhisper.contracts import CantowhisperError, Segment, UsageError
from cantowhisper.curation.pseudo import clip_rows, pseudo_label
from cantowhisper.features.pipeline import FeatureConfig, build_features
from cantowhisper.training.data.load import amounts, load_split


@pytest.fixture
def recordings(samples, tmp_path):
    folder = tmp_path / "recordings"
    (folder / "more").mkdir(parents=True)
    for i, clip in enumerate(sorted((samples / "clips").glob("*.mp3"))[:3]):
        shutil.copy(clip, folder / ("more" if i else "") / f"clip-{i}.mp3")
    return folder


def table_of(out) -> list[dict]:
    lines = (out.with_name(f"{out.name}.pseudo") / "pseudo_labels.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_recordings_become_marked_clips_beside_labelled_ones(recordings, samples, tmp_path, capsys):
    release = copy_release(samples, tmp_path / "release" / "yue", train=6, dev=2, test=2)
    for clip in recordings.rglob("*.mp3"):  # no recording of the release
        waveform, rate = soundfile.read(clip)
        soundfile.write(clip.with_suffix(".wav"), waveform * 0.5, rate)
        clip.unlink()
    out = tmp_path / "out"
    words = ["pseudo-label", recordings, out, "--model", random_model(), "--confidence", "0", "--with", release]
    assert main([*map(str, words)]) == 0
    rows = [row for row in table_of(out) if row["text"]]
    assert len(table_of(out)) == 3 and rows and {row["labelled_by"] for row in rows} == {"model"}
    stats = json.loads((out / "stats.json").read_text(encoding="utf-8"))
    kept = stats["pseudo_labelled"]["model"]
    assert 0 < kept <= len(rows) and stats["splits"]["validation"]["clips"] == 2
    train = load_split(out, "train")
    marked = [text for text, by in zip(train["text"], train["labelled_by"], strict=True) if by]
    assert len(marked) == kept and set(marked) <= {row["text"] for row in rows}
    assert amounts(train=train)["train"]["pseudo_labelled"] == kept
    assert not any(load_split(out, "test")["labelled_by"])
    assert f"**{kept} clips are pseudo-labelled**" in (out / "README.md").read_text(encoding="utf-8")
    said = capsys.readouterr().out
    source = said.split("cantowhisper features ")[1].split(" OUT")[0].strip("'").removeprefix("SOURCE+")
    again = build_features(f"{release}+{source}", tmp_path / "mixed", config=FeatureConfig(workers=1), progress=False)
    assert again["pseudo_labelled"] == stats["pseudo_labelled"]


def test_a_stopped_command_goes_on_and_another_confidence_takes_no_new_transcripts(recordings, tmp_path):
    out, model = tmp_path / "out", random_model()
    first = pseudo_label(recordings, out, model=model, confidence=0, progress=False)
    ledger = out.with_name("out.pseudo") / "transcripts.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    mark = lines[1].replace(b'"text": "', b'"text": "\xe5\x96\xba')  # what is there is not transcribed again
    ledger.write_bytes(lines[0] + mark + lines[2][:40])  # killed while it wrote the second
    shutil.rmtree(out)
    second = pseudo_label(recordings, out, model=model, confidence=0, progress=False)
    assert second.n_clips == first.n_clips == 3
    texts = [row["text"] for row in table_of(out)]
    assert texts[0].startswith("喺") and all(texts)
    shutil.rmtree(out)
    with pytest.raises(CantowhisperError, match="no usable clip"):
        pseudo_label(recordings, out, model=model, confidence=1, progress=False)
    with pytest.raises(CantowhisperError, match="language"):
        pseudo_label(recordings, out, model=model, language="en", confidence=0, progress=False)


def test_pseudo_labels_are_held_out_only_where_there_is_nothing_else(recordings, tmp_path):
    table = tmp_path / "table.jsonl"
    names = [path.relative_to(recordings).as_posix() for path in sorted(recordings.rglob("*.mp3"))]
    by = ["", "", "m"]
    rows = [
        {"file": n, "text": f"第{i}句說話", "labelled_by": b} for i, (n, b) in enumerate(zip(names, by, strict=True))
    ]
    table.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    config = FeatureConfig(workers=1, language="yue", hold_out=0.34)
    stats = build_features(f"{table},recordings={recordings}", tmp_path / "one", config=config, progress=False)
    assert all(
        not any(load_split(tmp_path / "one", split)["labelled_by"]) for split in stats["splits"] if split != "train"
    )
    for row in rows:
        row["labelled_by"] = "m"
    table.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    stats = build_features(f"{table},recordings={recordings}", tmp_path / "two", config=config, progress=False)
    assert stats["pseudo_labelled"] == {"m": 3} and any("is pseudo-labelled like the rest" in n for n in stats["notes"])


def test_long_recordings_become_a_clip_a_sentence_and_loops_are_never_kept():
    said = [Segment(0.0, 9.5, "一", 0.9), Segment(20.0, 24.0, "二二二二", 0.99, ("repetition",))]
    short = list(clip_rows("a.wav", np.zeros(16_000 * 30, np.float32), said, "yue"))
    assert short == [{"file": "a.wav", "text": "一二二二二", "language": "yue", "confidence": 0.0}]
    first, second = clip_rows("a.wav", np.zeros(16_000 * 31, np.float32), said, "yue")
    assert first["offset"] > 0 and first["offset"] + first["duration"] == 9.5 and first["confidence"] == 0.9
    assert second["confidence"] == 0.0 and second["offset"] == 20.0
    assert list(clip_rows("a.wav", np.zeros(16_000 * 31, np.float32), [], "yue")) == []


def test_bad_input_is_one_line(recordings, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    refused = [
        (tmp_path / "none", tmp_path / "out", UsageError, "is no folder"),
        (tmp_path / "empty", tmp_path / "out", UsageError, "holds no recordings"),
        (recordings, tmp_path / "mine", CantowhisperError, "exists and is no feature dataset"),
    ]
    for source, out, kind, message in refused:
        with pytest.raises(kind, match=message):
            pseudo_label(source, out, model=random_model(), progress=False)
    (recordings / "clip-0.txt").write_text("你好", encoding="utf-8")
    with pytest.raises(UsageError, match="is no number from 0 to 1"):
        build_features(f"{recordings},confidence=high", tmp_path / "out", progress=False)


@pytest.mark.slow
def test_a_killed_command_goes_on_with_real_clips(real_speech, real_weights, tmp_path):
    folder, out = tmp_path / "radio", tmp_path / "out"
    folder.mkdir()
    for clip in sorted((real_speech / "zh-HK-radio").glob("*.mp3"))[:12]:
        shutil.copy(clip, folder)
    words = ["pseudo-label", folder, out, "--model", real_weights / "whisper-base", "--language", "yue"]
    command = [sys.executable, "-m", "cantowhisper.cli", *map(str, words)]
    ledger = tmp_path / "out.pseudo" / "transcripts.jsonl"
    run = subprocess.Popen(command)
    while run.poll() is None and not (ledger.exists() and ledger.read_bytes().count(b"\n") > 4):
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    assert run.wait() == -signal.SIGKILL
    done = ledger.read_bytes()
    assert subprocess.run(command).returncode == 0
    assert ledger.read_bytes().startswith(done) and len(table_of(out)) == 12
