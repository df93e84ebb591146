"""The command line: exit codes, errors of one line, and the way from recordings to a scored, exported model."""

import argparse
import json
import os
import subprocess
import sys

import pytest
from training_data import CORPUS, copy_release, small_features

from cantowhisper import __version__
from cantowhisper.cli import transcribe
from cantowhisper.cli.main import COMMANDS, main, parser
from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.speech import context


@pytest.fixture(autouse=True)
def without_network(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def run(capsys, *words) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of a command."""
    try:
        code = main([str(word) for word in words])
    except SystemExit as stopped:  # argparse
        code = stopped.code
    said = capsys.readouterr()
    return code, said.out, said.err


def assert_one_line(error: str) -> None:
    (line,) = [line for line in error.splitlines() if line.startswith("cantowhisper: ")]
    assert "Traceback" not in error and len(line) < 1000


def test_the_version_is_the_packages(capsys):
    assert run(capsys, "--version")[:2] == (0, f"cantowhisper {__version__}\n")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["teach"],
        ["train", "features"],
        ["score", "m", "f", "--split", "dev"],
        ["transcribe", "a.wav"],
        ["transcribe", "a.wav", "--model", "m", "--format", "pdf"],
    ],
)
def test_a_wrong_command_is_exit_code_2(capsys, words):
    code, out, err = run(capsys, *words)
    assert code == 2 and not out and "usage: cantowhisper" in err


@pytest.mark.parametrize(
    "words, reason",
    [
        (["train", "F", "OUT", "--preset", "tpu"], "there is no preset 'tpu'; choose one of demo, cpu, t4, gpu"),
        (["train", "F", "OUT", "--set", "batchsize=4"], "training has no option 'batchsize'; did you mean batch_size"),
        (["train", "F", "OUT", "--set", "batch_size"], "--set takes key=value"),
        (
            ["train", "F", "OUT", "--set", "batch_size=many"],
            "batch_size takes a whole number (clips, at least 1) or null; not 'many'",
        ),
        (
            ["train", "F", "OUT", "--set", "batch_size=0"],
            "batch_size takes a whole number (clips, at least 1) or null; not 0",
        ),
        (["train", "F", "OUT", "--set", "dropout=7"], "dropout takes a number (share, at least 0 and below 1); not 7"),
        (["train", "F", "OUT", "--set", "warmup_steps=-5"], "warmup_steps takes a whole number (steps, at least 0)"),
        (["train", "F", "OUT", "--set", "precision=fp8"], "precision takes auto, fp32, fp16 or bf16; not 'fp8'"),
        (["train", "F", "OUT", "--set", "model="], "model takes text (a Hub id, a folder or miniature); not ''"),
        (["train", "F", "OUT", "--set", "learning_rate=NaN"], "learning_rate takes a number"),
        (["features", "samples", "OUT", "--set", "mels=80"], "features has no option 'mels'; did you mean n_mels"),
        (
            ["features", "samples", "OUT", "--split-policy", "random"],
            "split_policy takes official or validated; not 'random'",
        ),
        (
            ["features", "samples", "OUT", "--workers", "two"],
            "workers takes a whole number (processes, at least 1) or null",
        ),
        (["features", "samples", "OUT", "--set", "workers=two"], "workers takes a whole number"),
        (["features", "samples", "OUT", "--max-hours", "few"], "max_hours takes a number (hours, above 0) or null"),
        (["features", "samples", "OUT", "--set", "min_seconds=abc"], "min_seconds takes a number (seconds, above 0)"),
        (["features", "samples", "OUT", "--set", "n_mels=80.0"], "n_mels takes 80 or 128; not 80.0"),
        (["features", "/no/such/folder", "OUT"], "there is no folder /no/such/folder"),
    ],
)
def test_a_wrong_option_is_exit_code_2_and_names_those_that_exist(capsys, tmp_path, words, reason):
    words = [str(tmp_path / "out") if word == "OUT" else word for word in words]
    code, out, err = run(capsys, *words)
    assert code == 2 and not out and reason in err
    assert_one_line(err)
    assert not (tmp_path / "out").exists(), "nothing was started"


def test_a_folder_that_is_no_release_is_refused(capsys, tmp_path):
    (tmp_path / "holiday.txt").write_text("photos")
    code, _, err = run(capsys, "features", tmp_path, tmp_path / "out")
    assert code == 2 and "is in no layout that is read" in err
    assert_one_line(err)


@pytest.mark.parametrize(
    "words, reason",
    [
        (["train", "ABSENT", "OUT"], "make it with `cantowhisper features SOURCE"),
        (["train", "EMPTY", "OUT"], "has no train split"),
        (["score", "ABSENT", "EMPTY"], "has no test split"),
        (["score", "EMPTY", "EMPTY"], "has no test split"),
        (["export", "ABSENT"], "is no model folder"),
        (["transcribe", "ABSENT", "--model", "EMPTY"], "EMPTY"),
    ],
)
def test_what_is_not_there_is_exit_code_1_and_one_line(capsys, tmp_path, words, reason):
    (tmp_path / "EMPTY").mkdir()
    places = {name: str(tmp_path / name) for name in ("ABSENT", "EMPTY", "OUT")}
    code, _, err = run(capsys, *(places.get(word, word) for word in words))
    assert code == 1 and reason in err
    assert_one_line(err)


def test_a_parquet_file_of_something_else_is_refused(capsys, tmp_path):
    import datasets

    (tmp_path / "data").mkdir()
    datasets.Dataset.from_dict({"a": [1]}).to_parquet(tmp_path / "data" / "train-0.parquet")
    code, _, err = run(capsys, "train", tmp_path, tmp_path / "out", "--preset", "demo")
    assert code == 1 and "is no feature dataset: it has no column duration_s, features" in err
    assert_one_line(err)
    (tmp_path / "data" / "train-0.parquet").write_bytes(b"torn")
    code, _, err = run(capsys, "train", tmp_path, tmp_path / "out", "--preset", "demo")
    assert code == 1 and "cannot read the features" in err  # datasets logs a line of its own besides


def test_debug_shows_where_an_error_comes_from(tmp_path):
    with pytest.raises(UsageError):
        main(["train", "F", str(tmp_path), "--preset", "tpu", "--debug"])
    with pytest.raises(CantowhisperError):
        main(["export", str(tmp_path), "--debug"])


@pytest.mark.parametrize("debug", [False, True])
def test_the_installed_command_ends_with_the_code(tmp_path, debug):
    command = [sys.executable, "-m", "cantowhisper.cli", "features", str(tmp_path / "absent"), str(tmp_path / "out")]
    done = subprocess.run(
        command + ["--debug"] * debug, capture_output=True, text=True, timeout=120, env={**os.environ, "LC_ALL": "C"}
    )
    assert not done.stdout and ("Traceback" in done.stderr) == debug
    if not debug:
        assert done.returncode == 2 and done.stderr.count("\n") == 1


def test_features_of_a_release(capsys, tmp_path, samples):
    release = copy_release(samples, tmp_path / "release" / "yue", train=6, dev=2, test=2)
    code, out, _ = run(capsys, "features", release, tmp_path / "features", "--workers", "1")
    assert code == 0
    rows = [line.split() for line in out.splitlines()]
    assert [row[:2] for row in rows[:4]] == [["train", "6"], ["validation", "2"], ["test", "2"], ["rejected", "0"]]
    assert rows[4][:4] == ["next:", "cantowhisper", "train", str(tmp_path / "features")]
    assert json.loads((tmp_path / "features" / "stats.json").read_text())["n_kept"] == 10
    code, out, _ = run(capsys, "features", release, tmp_path / "features", "--set", "n_mels=128")
    assert code == 1, "other settings are not mixed into a finished dataset"


def test_from_features_to_transcripts(capsys, tmp_path):
    """Three steps say nothing sensible; that every command takes what the one before has written is what matters."""
    model, features = tmp_path / "model", small_features()
    options = (
        "max_steps=3 evaluate_every_steps=50 save_every_steps=50 batch_size=2 validation_clips=2 full_context_share=0"
    )
    sets = [word for option in options.split() for word in ("--set", option)]
    code, out, _ = run(capsys, "train", features, model, "--preset", "demo", *sets)
    assert code == 0 and "validation CER" in out and f"next: cantowhisper score {model}" in out
    report = tmp_path / "report.json"
    code, out, _ = run(
        capsys, "score", model, features, "--split", "test", "--json", report, "--transcripts", tmp_path / "clips.tsv"
    )
    assert code == 0 and "test CER at variable context (n=4): raw " in out
    assert json.loads(report.read_text())["scores"]["variable"]["all"]["n"] == 4
    code, out, _ = run(capsys, "export", model)
    assert (code, out.split()) == (0, [str(model / "onnx"), str(model / "ct2")])
    clips = sorted((CORPUS / "clips").glob("*.mp3"))[:2]
    code, out, err = run(
        capsys, "transcribe", *clips, tmp_path / "absent.wav", "--model", model, "--format", "srt", "--out", tmp_path
    )
    assert code == 1, "one of three failed"
    assert_one_line(err)
    assert out.split() == [str(tmp_path / f"{clip.stem}.srt") for clip in clips]
    assert all((tmp_path / f"{clip.stem}.srt").exists() for clip in clips)


def test_a_context_is_one_that_there_is(capsys):
    assert transcribe.CONTEXTS == context.CONTEXTS
    for command in (["transcribe", "a.wav"], ["serve", "offline"]):
        code, _, error = run(capsys, *command, "--model", "m", "--context", "short")
        assert code == 2 and "invalid choice: 'short'" in error


def test_commands_follow_one_convention():
    (commands,) = (action for action in parser()._actions if isinstance(action, argparse._SubParsersAction))
    names = {name: name.replace("-", "_") for name in commands.choices}
    assert [add.__name__ for add in COMMANDS] == [f"add_{name}" for name in names.values()]
    for name, command in commands.choices.items():
        assert command.get_default("run").__name__ == f"run_{names[name]}"
