"""What version 0.1.0 wrote is still read: a feature dataset, a model folder, and a run to be gone on with.

tests/data/written_by_0.1.0.tar.xz holds all three, of four clips of half a second and a Whisper of 8 dimensions:
`features`, `model` (two steps on it) and `run` (the same, stopped by a signal after one step).
"""

import dataclasses
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from cantowhisper.contracts import CantowhisperError, ModelFacts
from cantowhisper.speech.context import context_of
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.load import load_split
from cantowhisper.training.data.sampling import frame_counts
from cantowhisper.training.run.checkpoints import newest_whole_checkpoint
from cantowhisper.training.run.folder import run_config
from cantowhisper.training.trainer import train

WRITTEN = Path(__file__).resolve().parent / "data" / "written_by_0.1.0.tar.xz"


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(WRITTEN) as archive:
        archive.extractall(folder, filter="data")
    return folder


def test_features_are_read_by_their_contract(old):
    splits = {split: load_split(old / "features", split) for split in ("train", "validation", "test")}
    assert {split: rows["text"] for split, rows in splits.items()} == {
        "train": ["你好呀", "多謝晒"],
        "validation": ["早晨"],
        "test": ["再見"],
    }
    clip = splits["train"].with_format("numpy")[0]
    assert clip["features"].shape == (52, 80)
    assert list(frame_counts(splits["train"])) == [52, 52]


def test_facts_keep_the_context_that_the_model_was_trained_with(old):
    facts = ModelFacts.load(old / "model")
    assert (facts.trained_contexts, facts.language_token) == ("variable", "<|zh|>")
    context = context_of(facts)
    assert (context.kind, context.margin_frames, context.bucket_frames, context.min_frames) == ("plain", 64, 100, 200)


def test_a_model_folder_is_scored(old):
    from cantowhisper.training.results.report import score_folder

    report = score_folder(old / "model", old / "features", split="validation")
    assert [scores["all"]["n"] for scores in report["scores"].values()] == [1]


def test_a_model_folder_is_served_by_its_weights(old):
    from cantowhisper.serving.recognizer import Recognizer

    recognizer = Recognizer.open(old / "model", backend="transformers")
    assert "yue" not in recognizer.languages and "zh" in recognizer.languages
    assert recognizer.transcribe(np.zeros(16_000, np.float32)) == []


def test_a_run_is_gone_on_with_and_none_under_another_context(old, monkeypatch):
    begun = json.loads((old / "run" / "train_config.json").read_text())
    kept = {name: value for name, value in begun.items() if name in {f.name for f in dataclasses.fields(TrainConfig)}}
    config = TrainConfig(**kept, context_kind="plain")
    monkeypatch.chdir(old)
    (old / "begun").symlink_to(old / "model")  # what the run began with
    with pytest.raises(CantowhisperError, match="context_kind was 'plain'"):
        run_config(old / "run", dataclasses.replace(config, context_kind="merged"), "features")
    checkpoint, torn = newest_whole_checkpoint(old / "run")
    assert checkpoint.name == "checkpoint-1" and not torn
    metrics = train("features", "run", config=config, progress=False)
    assert metrics["steps"] == 2 and [entry["step"] for entry in metrics["curve"] if "loss" in entry] == [1, 2]
