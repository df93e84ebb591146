"""A model to the Hub by the real client on loopback, and a card that says what metrics.json says."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from huggingface_hub import ModelCard
from loopback_hub import READER, WRITER
from model_hub import connected_model_hub
from training_data import CORPUS
from training_runs import finished_run

from cantowhisper.cli.main import main
from cantowhisper.contracts import CantowhisperError, ModelFacts
from cantowhisper.files import write_json
from cantowhisper.training.presets import PRESETS
from cantowhisper.training.results.analysis import Transcript, measure, paired_difference
from cantowhisper.training.results.card import model_card
from cantowhisper.training.results.export import export_model
from cantowhisper.training.results.facts import model_origin
from cantowhisper.training.results.report import record, record_test_scores

SAID = [Transcript("a", "食咗飯未呀？", "食左飯未", 1.5), Transcript("b", "你好", "你好", 1.0)]


@pytest.fixture
def folder(tmp_path):
    """What `train` leaves, with weights that are only bytes: publishing reads none of them."""
    folder = tmp_path / "model"
    (folder / "checkpoints" / "checkpoint-3").mkdir(parents=True)
    (folder / "checkpoints" / "checkpoint-3" / "optimizer.pt").write_bytes(b"moments")
    (folder / "ct2").mkdir()
    (folder / "ct2" / "model.bin").write_bytes(bytes(range(256)))
    (folder / "model.safetensors").write_bytes(bytes(1000))
    (folder / "config.json").write_text("{}")
    (folder / "test_transcripts.tsv").write_text("secret sentences")
    told = {"language": "yue", "language_token": "<|zh|>", "script": "traditional"}
    ModelFacts(trained_contexts="merged", feature_source="cv-22/yue", feature_revision="0123abc", **told).save(folder)
    row = measure(SAID)
    metrics = {
        "config": dataclasses.asdict(PRESETS["t4"]),
        "features": "/home/somebody/features",
        "data": {"train": {"clips": 8450, "hours": 9.71}, "validation": {"clips": 2000, "hours": 2.3}},
        "steps": 7,
        "best_step": 6,
        "validation": row,
        "parameters": 2_000_000,
        "train_seconds": 90.0,
        "curve": [{"step": 6, "loss": 2.5}, {"step": 6, **{f"eval_{key}": value for key, value in row.items()}}],
    }
    write_json(metrics, folder / "metrics.json")
    return folder


def test_a_card_tells_of_a_language_model(folder):
    assert "## Language model" not in model_card(folder, repo="me/mine")
    gone = [dataclasses.replace(t, prediction="") for t in SAID]
    told = {"n_sentences": 9444, "order": 3, "weight": 0.1, "validation": {"n": 20}}
    write_json(told, folder / "language_model.json")
    card = " ".join(model_card(folder, repo="me/mine").split())
    assert (
        "counts 9,444 sentences in runs of 3 tokens" in card and "weight of 0.1, chosen on 20 validation clips" in card
    )
    test = {"before": measure(gone), "after": measure(SAID), "difference": paired_difference(gone, SAID)}
    write_json(told | {"test": test}, folder / "language_model.json")
    card = " ".join(model_card(folder, repo="me/mine").split())
    assert "the CER of 2 test clips is 28.57% instead of 100.00%" in card


@pytest.fixture
def hub(monkeypatch):
    with connected_model_hub(monkeypatch) as server:
        yield server


def test_a_card_says_that_no_step_was_better(folder):
    card = " ".join(model_card(folder, repo="me/model").split())
    assert "Weights of step 6 of 7, chosen by CER on validation; 1.5 minutes" in card
    metrics = json.loads((folder / "metrics.json").read_text())
    write_json({**metrics, "best_step": 0}, folder / "metrics.json")
    card = " ".join(model_card(folder, repo="me/model").split())
    assert "None of 7 steps was better than the model as it was, and these are its weights, chosen by CER" in card


def test_a_card_names_no_folder_as_its_base_model(folder, monkeypatch):
    """Not even one that looks like an id of the Hub where it no longer is."""
    (folder.parent / "weights" / "whisper-base").mkdir(parents=True)
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["data"]["train"] = {"clips": 60, "hours": 0.065}
    for name in ("weights/whisper-base", str(folder.parent / "weights" / "whisper-base"), "./weights/whisper-base"):
        monkeypatch.chdir(folder.parent)
        metrics["config"]["model"], metrics["model_origin"] = name, model_origin(name)
        write_json(metrics, folder / "metrics.json")
        monkeypatch.chdir(folder)
        card = model_card(folder, repo="me/mine")
        assert "base_model" not in card.split("---")[1] and "weights" not in card
        assert "fine-tuned from a local copy of `whisper-base`" in card and "on 3.9 minutes (60 clips) of" in card


def test_a_card_warns_of_little_data(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    enough = {"train": {"clips": 1000, "hours": 1.0}, "validation": {"clips": 30, "hours": 0.1, "speakers": 5}}
    few = {"train": {"clips": 60, "hours": 0.065}, "validation": {"clips": 20, "hours": 0.1, "speakers": 4}}
    for data, n, said in (
        (enough, 30, []),
        (few, 20, ["3.9 minutes of training speech", "20 validation clips", "4 validation speakers"]),
        (enough | {"validation": few["validation"]}, 30, ["4 validation speakers"]),
    ):
        write_json({**metrics, "data": data, "validation": {**metrics["validation"], "n": n}}, folder / "metrics.json")
        (warning,) = [line for line in model_card(folder, repo="me/mine").splitlines() if "Little data" in line] or [""]
        assert all(what in warning for what in said) and warning.count("below") == len(said)


def test_a_card_tells_what_else_was_scored(folder):
    """The paired difference, groups, other data and speed; all of the dataset that was scored last."""
    gone = [dataclasses.replace(t, prediction="") for t in SAID]
    difference = {"context": "full", **paired_difference(gone, SAID)}
    other = {"source": "cv-22/en", "language": "en", "split": "test", "context": "full", "difference": difference}
    other |= {"before": measure(gone), "after": measure(SAID), "before_model": "whisper-base"}
    scores = {"full": {"all": measure(SAID)}}
    told = {
        "before": {"full": {"all": measure(gone)}},
        "before_model": "whisper-base",
        "difference": difference,
        "groups": {"gender": {"female": measure(SAID), "other": measure(gone)}},
        "speed": {"device": "a processor", "threads": 2, "sound_seconds_a_second": {"full": 12.34}},
        "dataset": {"source": "cv-22/zh-HK", "revision": "4567"},
    }
    record_test_scores(folder, scores, [], **told)
    record(folder, elsewhere=[other])
    card = model_card(folder, repo="me/mine")
    assert "The model before is `whisper-base`; after − before at full context: −71.4 points of CER" in card
    assert "| gender, other | 2 | 100.00% (100.00%–100.00%) | clips |" in card
    assert "Elsewhere, before (`whisper-base`) → after (CER, no punctuation, full context)" in card
    assert "- cv-22/en (English, test, n=2): 100.0% → 28.6%, −71.4 points (" in card
    assert "12.3 at full context (PyTorch, greedy, in batches; a processor, 2 threads)." in card
    (result,) = yaml.safe_load(card.split("---")[1])["model-index"][0]["results"]
    assert result["dataset"]["name"] == "cv-22/zh-HK" and result["dataset"]["revision"] == "4567"
    record_test_scores(folder, scores, [], dataset=told["dataset"])
    assert "−71.4 points of CER" in model_card(folder, repo="me/mine")
    record_test_scores(folder, scores, [], dataset={"source": "cv-23/zh-HK", "revision": "89"})
    card = model_card(folder, repo="me/mine")
    assert "points of CER" not in card and "| before" not in card, "those were of other clips"


def test_a_push_makes_a_private_repository_with_the_model_and_its_card(hub, folder, capsys):
    assert main(["push", str(folder), "me/whisper-small-yue"]) == 0
    assert capsys.readouterr().out.strip().endswith("me/whisper-small-yue")
    repo = hub.repos["me/whisper-small-yue"]
    assert repo.private and repo.commits == 1
    assert set(repo.files) == {
        "README.md",
        "cantowhisper.json",
        "config.json",
        "ct2/model.bin",
        "learning_curve.png",
        "model.safetensors",
    }
    for name in ("model.safetensors", "ct2/model.bin"):
        assert repo.files[name] == (folder / name).read_bytes()
    assert repo.files["README.md"] == (folder / "README.md").read_bytes()
    assert main(["push", str(folder), "me/whisper-small-yue"]) == 0  # again: nothing in the way


def test_only_the_model_leaves_whatever_else_lies_in_its_folder(hub, folder):
    """Sentences of others, checkpoints, and what a killed export or upload left."""
    stays = [
        "test_transcripts.full.tsv",
        "test_transcripts.variable.tsv",
        "train_config.json",
        "metrics.json.part",
        "ct2.part/model.bin",
        "ct2/model.bin.part",
        "checkpoints/checkpoint-3/rng/state.pth",
        ".cache/huggingface/token",
        ".git/config",
    ]
    assert main(["push", str(folder), "me/before"]) == 0
    for name in stays:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("what others must not see")
    assert main(["push", str(folder), "me/after"]) == 0
    before, after = (hub.repos[repo].files for repo in ("me/before", "me/after"))
    assert set(after) == set(before) and b"what others must not see" not in after.values()


def test_a_push_leaves_nothing_of_the_model_before_and_everything_of_others(hub, folder):
    """An export that stayed would be served instead of the new weights."""
    hub.add("me/mine", {"notes.md": b"by hand", "pytorch_model.bin": b"older", "ct2/x/y.bin": b"older"}, private=True)
    assert main(["push", str(folder), "me/mine"]) == 0
    assert "ct2/model.bin" in hub.repos["me/mine"].files
    shutil.rmtree(folder / "ct2")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    assert main(["push", str(folder), "me/mine"]) == 0
    files = hub.repos["me/mine"].files
    assert [n for n in sorted(files) if n.endswith((".bin", ".safetensors"))] == ["model-00001-of-00001.safetensors"]
    assert files["notes.md"] == b"by hand" and hub.repos["me/mine"].commits == 2


def test_a_push_that_fails_is_one_line(hub, folder, capsys, monkeypatch):
    hub.add("me/open", {"README.md": b"mine"})
    monkeypatch.setenv("HF_TOKEN", READER)
    for repo in ("me/new", "not a name"):
        assert main(["push", str(folder), repo]) == 1
    monkeypatch.setenv("HF_TOKEN", WRITER)
    assert main(["push", str(folder), "me/open"]) == 1
    (folder / "metrics.json").unlink()
    assert main(["push", str(folder), "me/new"]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    reasons = ("check HF_TOKEN", "owner/name", "me/open is public", "no finished model folder")
    assert len(lines) == 4 and all(reason in line for reason, line in zip(reasons, lines, strict=True))
    assert hub.repos["me/open"].files == {"README.md": b"mine"} and "me/new" not in hub.repos


def test_the_card_says_what_metrics_say(folder):
    card = model_card(folder, repo="me/mine")
    assert "Test was not read" in card and "/home" not in card
    scores = {context: {"all": measure(SAID)} for context in ("variable", "full")}
    worse = {"full": {"all": measure([Transcript("a", "食咗飯未呀？", "多謝", 1.5), SAID[1]])}}
    record_test_scores(folder, scores, [], before=worse)
    record(folder, export_parity={"n": 16, "identical": 15, "cer": 0.013})
    card = model_card(folder, repo="me/mine")
    assert "on 9.7 hours (8,450 clips) of `cv-22/yue` (revision `0123abc`)" in " ".join(card.split())
    table = [line.split(" | ")[0] for line in card.splitlines() if line.startswith("| ")]
    assert table[1:] == [
        "| before, test, full context",
        "| after, test, variable context",
        "| after, test, full context",
        "| after, validation (used for selection)",
    ]
    before = next(line for line in card.splitlines() if line.startswith("| before"))
    assert f"{worse['full']['all']['cer_raw']:.2%}" in before
    assert "same text as the model for 15 of 16 validation clips (1.3% of the characters differ)" in card
    parsed = ModelCard(card)
    assert parsed.data.base_model == "openai/whisper-small" and parsed.data.language == "yue"
    head = yaml.safe_load(card.split("---")[1])
    results = head["model-index"][0]["results"]
    assert [r["dataset"]["split"] for r in results] == ["test", "test"]
    row = measure(SAID)
    assert results[0]["metrics"][1]["value"] == pytest.approx(100 * row["cer_no_punctuation"], abs=0.01)
    low, high = row["cer_no_punctuation_interval"]
    assert card.count(f"{row['cer_no_punctuation']:.2%} ({low:.2%}–{high:.2%})") == 3 * 2  # and as simplified
    assert "read 1 time(s)" in card
    config = json.loads(card.split("```json")[1].split("```")[0])
    trained = dataclasses.asdict(PRESETS["t4"])
    assert config.keys() == trained.keys() - {"hub_checkpoints"}
    assert all(config[key] == trained[key] for key in config)


@pytest.mark.slow
def test_the_examples_of_the_card_run(hub, tmp_path):
    """Both programs of a pushed card, as they stand there, by the real clients."""
    shutil.copytree(finished_run()[0], tmp_path / "model")
    export_model(tmp_path / "model")
    assert main(["push", str(tmp_path / "model"), "me/mini"]) == 0
    blocks = re.findall(r"```python\n(.*?)```", hub.repos["me/mini"].files["README.md"].decode(), re.DOTALL)
    assert len(blocks) == 2
    shutil.copy(min((CORPUS / "clips").glob("*.mp3")), tmp_path / "talk.mp3")
    settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "cache"), "HF_TOKEN": READER}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=tmp_path,
        env={**os.environ, **settings, "HF_HUB_DISABLE_XET": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 2  # what seven steps have taught it is not looked at


def test_a_folder_that_is_not_finished_has_no_card(tmp_path):
    with pytest.raises(CantowhisperError, match="no finished model folder"):
        model_card(tmp_path, repo="me/mine")
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(CantowhisperError, match="not readable"):
        model_card(tmp_path, repo="me/mine")
