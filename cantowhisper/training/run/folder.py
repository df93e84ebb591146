"""The folder of a run: whose it is, whether it is finished, and where to go on from."""

import dataclasses
import json
import os
import shutil
import sys
from pathlib import Path

from cantowhisper.contracts import CantowhisperError
from cantowhisper.files import write_json
from cantowhisper.hub_errors import HubUnreachable
from cantowhisper.training.config import DERIVED, TrainConfig
from cantowhisper.training.results.scoring import METRICS_FILE
from cantowhisper.training.run.checkpoints import CONFIG_FILE, checkpoint_steps, newest_whole_checkpoint, step_of
from cantowhisper.training.run.hub_checkpoints import HubCheckpoints

# Where things lie changes no weight: a run may go on with its features or its copies elsewhere.
PLACES = ("features", "hub_checkpoints")

# What the runs of version 0.1.0 did before it was an option; other options that they lack change nothing.
BEFORE_THEY_WERE_OPTIONS = {"context_kind": "plain"}


def finished(out: Path, config: TrainConfig) -> dict | None:
    """The metrics of a run that has come to its end here, or None; another configuration's are refused."""
    path = out / METRICS_FILE
    if not path.exists():
        return None
    metrics = json.loads(path.read_text(encoding="utf-8"))
    if _changed(dataclasses.asdict(config), metrics.get("config", {})):
        raise CantowhisperError(f"{out} holds a model trained with other options; choose another folder or delete it")
    return metrics


def run_config(
    out: Path, config: TrainConfig, features: str | os.PathLike, hub: HubCheckpoints | None = None
) -> TrainConfig:
    """The configuration to train with: what it leaves to the data is as it was where the run has begun.

    A folder, or a repository, that another configuration has begun is refused.
    """
    out.mkdir(parents=True, exist_ok=True)
    mine = {"features": str(features), **dataclasses.asdict(config)}
    found = {}
    if hub:
        found = hub.config() or {}
        _refuse_other(mine, found, f"{hub.repo} on the Hub", "another repository")
    path = out / CONFIG_FILE
    if path.exists() and checkpoint_steps(out):  # a run that failed before its first checkpoint claims nothing
        found = json.loads(path.read_text(encoding="utf-8"))
        _refuse_other(mine, found, str(out), "another folder")
    return config.with_overrides(**{name: found.get(name) for name in DERIVED if mine[name] is None})


def claim(out: Path, config: TrainConfig, features: str | os.PathLike) -> None:
    """Mark a folder as this run's, unless it has begun."""
    path = out / CONFIG_FILE
    if not (path.exists() and checkpoint_steps(out)):
        write_json({"features": str(features), **dataclasses.asdict(config)}, path)


def _changed(mine: dict, theirs: dict) -> list[str]:
    before = {**mine, **BEFORE_THEY_WERE_OPTIONS, **theirs}
    return sorted(
        key for key in mine if key not in PLACES and not _left_open(key, mine, theirs) and mine[key] != before[key]
    )


def _left_open(key: str, mine: dict, theirs: dict) -> bool:
    """Whether an option is left to the data, and so is whatever was found there."""
    return (key in DERIVED and mine[key] is None) or (key == "language" and not (mine[key] and theirs.get(key)))


def _refuse_other(mine: dict, theirs: dict | None, place: str, instead: str) -> None:
    changed = _changed(mine, theirs) if theirs else []
    if changed:
        what = ", ".join(f"{key} was {theirs.get(key, BEFORE_THEY_WERE_OPTIONS.get(key))!r}" for key in changed[:3])
        raise CantowhisperError(f"{place} holds a run with other options ({what}); choose {instead} or delete it")


def resume_point(out: Path, hub: HubCheckpoints | None = None) -> Path | None:
    """The newest whole checkpoint, of this folder or else of the Hub; torn ones are deleted, with a line each."""
    checkpoint, torn = newest_whole_checkpoint(out)
    for path in torn:
        print(f"skipping {path.name}: it was not written to the end", file=sys.stderr)
        shutil.rmtree(path)
    fetched = hub is not None and _fetch(hub, checkpoint)
    if fetched:
        checkpoint, _ = newest_whole_checkpoint(out)
    if checkpoint:
        print(f"resuming from {checkpoint.name}{f' of {hub.repo}' if fetched else ''}")
    return checkpoint


def _fetch(hub: HubCheckpoints, mine: Path | None) -> bool:
    """Bring the Hub's checkpoints here if one of them is newer; the best one comes too, to be chosen at the end."""
    if max(hub.steps, default=0) <= (step_of(mine) if mine else 0):
        return False
    try:
        hub.fetch()
    except HubUnreachable as error:
        if mine is None:
            raise
        print(f"{error}; resuming from what is here", file=sys.stderr)
        return False
    return True
