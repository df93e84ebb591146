"""Checkpoints in a repository of the Hub: the real client against a Hub on loopback, with and without a network."""

import re
import time
from pathlib import Path

import pytest
from loopback_hub import READER
from model_hub import connected_model_hub
from training_runs import (
    TINY,
    assert_same_run,
    at_each_step,
    begun_again,
    finished_run,
    press_ctrl_c_after,
    sealed_features,
)

from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.hub_errors import HubUnreachable
from cantowhisper.training.run.checkpoints import checkpoint_steps, is_whole
from cantowhisper.training.trainer import train

REPO = "me/run"
KEPT_THERE = TINY.with_overrides(hub_checkpoints=REPO)


@pytest.fixture
def hub(monkeypatch):
    with connected_model_hub(monkeypatch) as server:
        yield server


def run(out: Path, config=KEPT_THERE) -> dict:
    return train(sealed_features(), out, config=config, progress=False)


def steps_there(hub) -> set[int]:
    return {int(found[1]) for path in hub.repos[REPO].files if (found := re.match(r"checkpoint-(\d+)/", path))}


def put_there(hub, run_folder: Path, **how) -> None:
    """A repository with the checkpoints and the claim of a run."""
    files = {path: path.read_bytes() for path in run_folder.rglob("*") if path.is_file()}
    names = {path: path.relative_to(run_folder).as_posix().removeprefix("checkpoints/") for path in files}
    hub.add(REPO, {names[path]: data for path, data in files.items()}, **how)


def test_an_empty_folder_goes_on_from_the_hub_to_the_same_bits(hub, tmp_path, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    with at_each_step(press_ctrl_c_after(4)), pytest.raises(KeyboardInterrupt):
        run(first)
    assert hub.created[0]["name"] == "run" and hub.repos[REPO].private
    assert steps_there(hub) == {3, 5}, "the newest, and the best so far"
    for path in checkpoint_steps(first).values():
        assert is_whole(path)
        for file in path.iterdir():
            assert hub.repos[REPO].files[f"{path.name}/{file.name}"] == file.read_bytes()
    metrics = run(second)
    assert f"resuming from checkpoint-5 of {REPO}" in capsys.readouterr().out
    assert_same_run(second, metrics, finished_run())
    assert steps_there(hub) == {7, metrics["best_step"]}
    assert hub.repos[REPO].squashes, "history would keep what was deleted"
    assert not (second / "checkpoints" / ".incoming").exists()


def test_a_lost_network_costs_nothing_but_the_copy(hub, tmp_path, capsys):
    def lose_and_find(trainer, done):
        if done == 2:
            hub.lost = True
        if done == 6:
            deadline = time.monotonic() + 60
            while trainer.keeper.uploads.in_use and time.monotonic() < deadline:
                time.sleep(0.02)
            hub.lost = False

    with at_each_step(lose_and_find):
        metrics = run(tmp_path / "model")
    assert_same_run(tmp_path / "model", metrics, finished_run())
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("checkpoint ")]
    assert hub.missed and 1 <= len(lines) <= 2  # of the steps 3 and 6, where 6 came before 3 was given up
    assert all("is here only" in line and line.endswith("the next one tries again") for line in lines)
    assert steps_there(hub) == {7, metrics["best_step"]}, "the next one brought what was missing"


def test_deleted_checkpoints_that_stay_in_the_history_are_a_line_and_no_failure(hub, tmp_path, capsys):
    put_there(hub, begun_again(tmp_path / "begun", without=(6, 7)), private=True)
    hub.refuse_squash = True
    metrics = run(tmp_path / "model")
    assert_same_run(tmp_path / "model", metrics, finished_run())
    assert "is on the Hub, and deleted ones still take space there" in capsys.readouterr().err
    assert steps_there(hub) == {7, metrics["best_step"]} and not hub.repos[REPO].squashes


def test_a_run_that_only_the_hub_knows_is_not_mixed_with_another(hub, tmp_path):
    put_there(hub, begun_again(tmp_path / "begun", without=(7,)), private=True)
    before = dict(hub.repos[REPO].files)
    with pytest.raises(CantowhisperError, match=rf"{REPO} on the Hub holds a run with other options \(seed was 20\)"):
        run(tmp_path / "other", KEPT_THERE.with_overrides(seed=21))
    assert hub.repos[REPO].files == before and not checkpoint_steps(tmp_path / "other")


@pytest.mark.parametrize("here, said", [((3,), f"checkpoint-6 of {REPO}"), ((3, 6, 7), "checkpoint-7")])
def test_the_newest_whole_checkpoint_is_gone_on_from_wherever_it_is(hub, tmp_path, capsys, here, said):
    put_there(hub, begun_again(tmp_path / "begun", without=(7,)), private=True)
    out = begun_again(tmp_path / "model", without=tuple({3, 6, 7} - set(here)))
    assert_same_run(out, run(out), finished_run())
    assert f"resuming from {said}\n" in capsys.readouterr().out


def test_a_copy_that_is_not_whole_is_refused(hub, tmp_path):
    put_there(hub, begun_again(tmp_path / "begun", without=(7,)), private=True)
    files = hub.repos[REPO].files
    files["checkpoint-6/optimizer.pt"] = files["checkpoint-6/optimizer.pt"][:1000]
    with pytest.raises(CantowhisperError, match="checkpoint-6 of me/run did not arrive whole"):
        run(tmp_path / "model")
    assert 6 not in checkpoint_steps(tmp_path / "model")


def test_without_a_network_a_run_goes_on_and_none_begins(hub, tmp_path, capsys):
    hub.lost = True
    with pytest.raises(HubUnreachable, match="cannot keep checkpoints in me/run") as caught:
        run(tmp_path / "new")
    assert "\n" not in str(caught.value) and not (tmp_path / "new").exists()
    out = begun_again(tmp_path / "model")
    assert_same_run(out, run(out), finished_run())
    assert "training resumes from what is here" in capsys.readouterr().err


def test_a_repository_that_others_see_or_that_is_not_ours_is_refused(hub, tmp_path, monkeypatch):
    hub.add(REPO, {})
    with pytest.raises(CantowhisperError, match="me/run is public"):
        run(tmp_path / "model")
    with pytest.raises(CantowhisperError, match="give owner/name"):
        run(tmp_path / "model", KEPT_THERE.with_overrides(hub_checkpoints="a b/c"))
    for repo in ("run", "a/b/c"):
        with pytest.raises(UsageError, match=r"hub_checkpoints takes text \(owner/name\)"):
            KEPT_THERE.with_overrides(hub_checkpoints=repo)
    monkeypatch.setenv("HF_TOKEN", READER)
    with pytest.raises(CantowhisperError, match="check HF_TOKEN") as caught:
        run(tmp_path / "model", KEPT_THERE.with_overrides(hub_checkpoints="me/new"))
    assert not isinstance(caught.value, HubUnreachable) and not (tmp_path / "model").exists()
