"""Checkpoints as files: which are whole, which may go, and which one a run goes on from. Nothing is trained here."""

import dataclasses
import json
import os
import shutil
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model_hub import connected_model_hub
from training_data import temporary_folder

from cantowhisper.contracts import CantowhisperError
from cantowhisper.files import write_json
from cantowhisper.training.config import DERIVED
from cantowhisper.training.presets import PRESETS
from cantowhisper.training.results.scoring import METRICS_FILE
from cantowhisper.training.run.checkpoints import (
    CONFIG_FILE,
    checkpoint_steps,
    drop_optimizer_states,
    is_whole,
    newest_whole_checkpoint,
    prune,
    seal,
)
from cantowhisper.training.run.folder import PLACES, claim, finished, resume_point, run_config
from cantowhisper.training.run.hub_checkpoints import HubCheckpoints, Uploads

REPO = "me/run"
# A run has a number for everything that its options leave to the data.
CONFIG = PRESETS["t4"].with_overrides(**dict.fromkeys(DERIVED, 7))
FILES = {"model.safetensors": b"weights", "optimizer.pt": b"moments", "rng/state.pth": b"chance", "empty.json": b""}


def checkpoint(run: Path, step: int, *, torn: bool = False) -> Path:
    """A checkpoint as far as its files tell; a torn one has all of them and no manifest."""
    folder = run / "checkpoints" / f"checkpoint-{step}"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content + str(step).encode() * bool(content))
    if not torn:
        seal(folder)
    return folder


def run_folder(*, whole=(), torn=()) -> Path:
    run = temporary_folder() / "run"
    (run / "checkpoints").mkdir(parents=True)
    for step in (*whole, *torn):
        checkpoint(run, step, torn=step in torn)
    return run


# --------------------------------------------------------------------------------------------------------- a folder


@pytest.mark.parametrize("name", [*FILES, "whole.json"])
@pytest.mark.parametrize("damage", ["gone", "shorter", "longer"])
def test_any_damage_to_any_file_makes_a_checkpoint_torn(name, damage):
    folder = checkpoint(temporary_folder(), 5)
    assert is_whole(folder)
    path = folder / name
    if damage == "gone":
        path.unlink()
    elif damage == "shorter" and path.stat().st_size:
        os.truncate(path, path.stat().st_size // 2)
    else:
        path.write_bytes(path.read_bytes() + b"}")
    assert not is_whole(folder)


steps = st.sets(st.integers(1, 2000), max_size=4)


@settings(deadline=None, max_examples=15)
@given(steps, steps, st.integers(1, 4), st.data())
def test_pruning_leaves_the_last_whole_ones_and_what_is_spared(whole, torn, keep, data):
    """Torn ones count for nothing: a machine that dies after pruning always finds what it would go on from."""
    torn = torn - whole
    spare = data.draw(st.sets(st.sampled_from(sorted(whole | torn)), max_size=2)) if whole | torn else set()
    run = run_folder(whole=whole, torn=torn)
    prune(run, keep=keep, spare=spare)
    left = {step for step, path in checkpoint_steps(run).items() if is_whole(path)}
    assert left == set(sorted(whole)[-keep:]) | (spare & whole)
    assert set(checkpoint_steps(run)) - left == torn
    newest, newer_and_torn = newest_whole_checkpoint(run)
    assert newest == (checkpoint_steps(run)[max(whole)] if whole else None)
    assert newer_and_torn == [checkpoint_steps(run)[s] for s in sorted(torn, reverse=True) if s > max(whole, default=0)]


def test_torn_checkpoints_are_cleared_away_before_a_run_goes_on(capsys):
    run = run_folder(whole=(9, 10), torn=(8, 11, 100))
    assert resume_point(run) == checkpoint_steps(run)[10]
    assert set(checkpoint_steps(run)) == {8, 9, 10}  # what would be written again shall find nothing of the old
    assert capsys.readouterr().err.count("was not written to the end") == 2


@pytest.mark.parametrize("field", dataclasses.fields(CONFIG), ids=lambda field: field.name)
def test_a_run_is_gone_on_with_by_its_own_options_only(field):
    """Of every option but the places: what another one would do to the half that is done, nobody could say."""
    config = dataclasses.replace(CONFIG, language="yue")  # one that is left to the features is whatever they say
    other = {**dataclasses.asdict(config), field.name: "something else"}
    begun, done = run_folder(torn=(3,)), run_folder()
    write_json({"features": "elsewhere", **other}, begun / CONFIG_FILE)
    write_json({"config": other}, done / METRICS_FILE)
    if field.name in PLACES:
        assert run_config(begun, config, "features") == config
        assert finished(done, config) == {"config": other}
    else:
        with pytest.raises(CantowhisperError, match=rf"other options \({field.name} was 'something else'\)") as caught:
            run_config(begun, config, "features")
        assert "\n" not in str(caught.value)
        with pytest.raises(CantowhisperError, match="trained with other options"):
            finished(done, config)


@pytest.mark.parametrize("place", ["folder", "hub"])
def test_what_is_left_to_the_data_stays_what_it_was_when_the_run_began(hub, place):
    """Also where clips have been added since, or the package finds other numbers."""
    run, open_ones = run_folder(whole=(3,)), PRESETS["t4"].with_overrides(language="yue", warmup_steps=9)
    begun = CONFIG.with_overrides(language="yue", warmup_steps=9, max_steps=123)
    claim(run_folder(), begun, "features")
    assert run_config(run, open_ones, "features") == open_ones, "nobody has begun here"
    write_json({"features": "elsewhere", **dataclasses.asdict(begun)}, run / CONFIG_FILE)
    if place == "hub":
        put_there(hub, run)
        hub.repos[REPO].files[CONFIG_FILE] = (run / CONFIG_FILE).read_bytes()
        run = run_folder()
    copies = HubCheckpoints.open(REPO, run) if place == "hub" else None
    assert run_config(run, open_ones, "features", copies) == begun
    with pytest.raises(CantowhisperError, match="max_steps was 123"):
        run_config(run, open_ones.with_overrides(max_steps=124), "features", copies)
    done = run_folder()
    write_json({"config": dataclasses.asdict(begun)}, done / METRICS_FILE)
    assert finished(done, open_ones) and finished(done, begun)


def test_a_finished_run_needs_no_optimizer_state():
    run = run_folder(whole=(3, 6), torn=(9,))
    assert drop_optimizer_states(run) == sum(len(FILES["optimizer.pt"]) + len(str(step)) for step in (3, 6))
    for step in (3, 6):
        folder = checkpoint_steps(run)[step]
        assert is_whole(folder) and {p.name for p in folder.iterdir()} == {*FILES, "rng", "whole.json"} - {
            "optimizer.pt",
            "rng/state.pth",
        }
    assert (checkpoint_steps(run)[9] / "optimizer.pt").exists() and drop_optimizer_states(run) == 0


def test_where_things_lie_is_no_option():
    assert set(PLACES) == {"features", "hub_checkpoints"}


# ---------------------------------------------------------------------------------------------------------- the Hub


@pytest.fixture
def hub(monkeypatch):
    with connected_model_hub(monkeypatch) as server:
        yield server


def put_there(hub, run: Path) -> None:
    folder = run / "checkpoints"
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    hub.add(REPO, files, private=True)


def test_what_has_no_manifest_on_the_hub_is_not_there(hub):
    put_there(hub, run_folder(whole=(6,), torn=(9,)))
    run = run_folder(whole=(3,))
    copies = HubCheckpoints.open(REPO, run)
    assert copies.steps == {6}
    assert resume_point(run, copies) == checkpoint_steps(run)[6] and is_whole(checkpoint_steps(run)[6])
    assert set(checkpoint_steps(run)) == {3, 6}


def test_what_is_torn_here_and_whole_there_is_fetched(hub):
    put_there(hub, run_folder(whole=(9, 10)))
    run = run_folder(whole=(9,), torn=(10, 11))
    assert resume_point(run, HubCheckpoints.open(REPO, run)) == checkpoint_steps(run)[10]
    assert all(is_whole(path) for path in checkpoint_steps(run).values()) and set(checkpoint_steps(run)) == {9, 10}
    assert not (run / "checkpoints" / ".incoming").exists()


@pytest.mark.parametrize("here", [(), (3,)], ids=["none here", "an older one here"])
def test_a_copy_that_does_not_arrive_whole_costs_what_it_is_newer_by(hub, capsys, here):
    put_there(hub, run_folder(whole=(6,)))
    hub.repos[REPO].files["checkpoint-6/optimizer.pt"] = b"moments"
    run = run_folder(whole=here)
    copies = HubCheckpoints.open(REPO, run)
    if here:
        assert resume_point(run, copies) == checkpoint_steps(run)[3]
        assert "did not arrive whole" in capsys.readouterr().err
    else:
        with pytest.raises(CantowhisperError, match="did not arrive whole"):
            resume_point(run, copies)
    assert set(checkpoint_steps(run)) == set(here)


def test_what_is_newest_here_is_not_fetched_from_there(hub):
    put_there(hub, run_folder(whole=(9, 10)))
    run = run_folder(whole=(100,))
    served = hub.served_bytes
    assert resume_point(run, HubCheckpoints.open(REPO, run)) == checkpoint_steps(run)[100]
    assert hub.served_bytes == served


def test_the_repository_follows_the_folder(hub):
    """Whatever was offered before: afterwards it holds these checkpoints, whole, and no other."""
    run = run_folder(whole=(3, 6, 9, 10))
    (run / CONFIG_FILE).write_text(json.dumps({"seed": 20}))
    copies = HubCheckpoints.open(REPO, run)
    for steps in ({3}, {3, 6}, {6, 9}, {10}, {9, 10}):
        copies.put(frozenset(steps))
        there = hub.repos[REPO].files
        names = {f"checkpoint-{step}/{name}" for step in steps for name in (*FILES, "whole.json")}
        assert set(there) - {".gitattributes"} == names | {CONFIG_FILE}
    other = run_folder()
    assert HubCheckpoints.open(REPO, other).config() == {"seed": 20}
    shutil.rmtree(run)


def test_what_is_being_sent_is_in_use_and_what_was_offered_last_is_sent_before_the_end(hub):
    begun, go_on = threading.Event(), threading.Event()

    class SlowNetwork(HubCheckpoints):
        def put(self, steps):
            begun.set()
            go_on.wait(20)
            return super().put(steps)

    run = run_folder(whole=(3, 6))
    (run / CONFIG_FILE).write_text("{}")
    with Uploads(SlowNetwork.open(REPO, run)) as uploads:
        uploads.offer(frozenset({3}))
        assert begun.wait(20) and uploads.in_use == {3}, "its folder is being read"
        uploads.offer(frozenset({3, 6}))
        assert uploads.in_use == {3, 6}
        threading.Timer(0.1, go_on.set).start()  # the training has ended by then
    assert uploads.in_use == set()
    assert {int(path.split("/")[0].split("-")[1]) for path in hub.repos[REPO].files if "/" in path} == {3, 6}
