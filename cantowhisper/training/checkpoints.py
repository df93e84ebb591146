"""Which checkpoints of a run are whole, and which one to go on from."""

import json
import os
import re
from pathlib import Path

FOLDER = "checkpoints"
LAST_FILE = "trainer_state.json"  # the Trainer writes it when everything else is there
NEEDED = ("model.safetensors", "optimizer.pt", "scheduler.pt", LAST_FILE)


def checkpoint_steps(run: str | os.PathLike) -> dict[int, Path]:
    """All checkpoint folders of a run by step, oldest first, whole or not."""
    folder = Path(run) / FOLDER
    found = (re.fullmatch(r"checkpoint-(\d+)", path.name) for path in folder.glob("checkpoint-*"))
    return {step: folder / f"checkpoint-{step}" for step in sorted(int(match[1]) for match in found if match)}


def is_whole(checkpoint: Path) -> bool:
    """True if every file that resuming needs is there and not empty, and the last one is readable."""
    if not all((checkpoint / name).is_file() and (checkpoint / name).stat().st_size for name in NEEDED):
        return False
    try:
        json.loads((checkpoint / LAST_FILE).read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def newest_whole_checkpoint(run: str | os.PathLike) -> tuple[Path | None, list[Path]]:
    """The checkpoint to resume from, and newer ones that are torn (a machine that died while writing)."""
    torn = []
    for _, path in sorted(checkpoint_steps(run).items(), reverse=True):
        if is_whole(path):
            return path, torn
        torn.append(path)
    return None, torn
