"""Checkpoints of a run: which are whole, which one to go on from, and which may go."""

import json
import os
import re
import shutil
from collections.abc import Collection
from pathlib import Path

from cantowhisper.files import sync, write_json

FOLDER = "checkpoints"
CONFIG_FILE = "train_config.json"  # beside that folder: whose checkpoints they are
# Written last, with the size of every other file: a checkpoint without it, or with other sizes, is torn.
MANIFEST_FILE = "whole.json"
OPTIMIZER_FILE = "optimizer.pt"  # as the Trainer calls it


def checkpoint_steps(run: str | os.PathLike) -> dict[int, Path]:
    """All checkpoint folders of a run by step, oldest first, whole or not."""
    folder = Path(run) / FOLDER
    found = (re.fullmatch(r"checkpoint-(\d+)", path.name) for path in folder.glob("checkpoint-*"))
    return {step: folder / f"checkpoint-{step}" for step in sorted(int(match[1]) for match in found if match)}


def step_of(checkpoint: Path) -> int:
    """The step of a checkpoint folder."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def seal(checkpoint: Path) -> None:
    """Declare a checkpoint whole: its files reach the disk first, and then its manifest does.

    Without the first, a machine that loses power may keep the manifest and lose what it vouches for.
    """
    files = sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name != MANIFEST_FILE)
    for path in files:
        sync(path)
    sizes = {path.relative_to(checkpoint).as_posix(): path.stat().st_size for path in files}
    write_json({"files": sizes}, checkpoint / MANIFEST_FILE, durable=True)


def is_whole(checkpoint: Path) -> bool:
    """True if the manifest is there and every file that it names has the size that it says."""
    try:
        sizes = json.loads((checkpoint / MANIFEST_FILE).read_text(encoding="utf-8"))["files"]
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def newest_whole_checkpoint(run: str | os.PathLike) -> tuple[Path | None, list[Path]]:
    """The checkpoint to resume from, and newer ones that are torn (a machine that died while writing)."""
    torn = []
    for _, path in sorted(checkpoint_steps(run).items(), reverse=True):
        if is_whole(path):
            return path, torn
        torn.append(path)
    return None, torn


def prune(run: str | os.PathLike, *, keep: int, spare: Collection[int]) -> None:
    """Delete all but the last `keep` whole checkpoints, and never those of the steps in `spare`.

    The Trainer's own rotation would delete the old ones before the new one is sealed, and a machine that dies between
    would leave nothing.
    """
    whole = [step for step, path in checkpoint_steps(run).items() if is_whole(path)]
    for step in whole[:-keep]:
        if step not in spare:
            path = checkpoint_steps(run)[step]
            (path / MANIFEST_FILE).unlink()  # from here on it is torn, however far the deletion comes
            shutil.rmtree(path, ignore_errors=True)


def drop_optimizer_states(run: str | os.PathLike) -> int:
    """Delete the optimizer's state, two thirds of a checkpoint, of a run that is finished; returns bytes.

    The checkpoints stay whole: they hold weights, and nothing is trained from them any more.
    """
    dropped = 0
    for path in checkpoint_steps(run).values():
        state = path / OPTIMIZER_FILE
        if is_whole(path) and state.exists():
            dropped += state.stat().st_size
            (path / MANIFEST_FILE).unlink()
            state.unlink()
            seal(path)
    return dropped
