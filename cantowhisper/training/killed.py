"""A run that is killed and resumed, beside one that is not: what a lost machine costs, for people to see."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from cantowhisper.training.data.load import load_split
from cantowhisper.training.presets import PRESETS
from cantowhisper.training.run import processes
from cantowhisper.training.run.checkpoints import is_whole
from cantowhisper.training.trainer import train

SHORT = {"max_steps": 6, "save_every_steps": 2, "evaluate_every_steps": 6, "log_every_steps": 1, "warmup_steps": 1}
SHORT |= {"batch_size": 4, "validation_clips": 2}


class Killed(NamedTuple):
    """Exit code of the killed process, whether it left a whole checkpoint, losses of both runs, same weights or not."""

    code: int
    checkpoint: bool
    resumed_losses: list[float]
    whole_losses: list[float]
    same_weights: bool


def kill_and_resume(features: str | os.PathLike, folder: Path, *, streaming: bool = False) -> Killed | None:
    """Train six steps of the miniature twice in `folder`, which is removed afterwards.

    The first run is a process that is killed with SIGKILL once its first checkpoint is whole, and then resumed by the
    same call; the second is left alone. None where several processes train, and for features of other than 80 Mel
    channels, which the miniature does not take.
    """
    if processes.count() > 1 or len(load_split(features, "validation")[0]["features"][0]) != 80:
        return None
    shutil.rmtree(folder, ignore_errors=True)
    changes = {**SHORT, "streaming": streaming}
    words = [word for key, value in changes.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    killed = folder / "killed"
    command = [sys.executable, "-m", "cantowhisper.cli", "train", str(features), str(killed), "--preset", "demo"]
    run = subprocess.Popen([*command, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    checkpoint = killed / "checkpoints" / "checkpoint-2"
    while run.poll() is None and not is_whole(checkpoint):
        time.sleep(0.05)
    run.kill()
    code, left = run.wait(), is_whole(checkpoint)
    losses = []
    for out in (killed, folder / "whole"):
        curve = train(features, out, config=PRESETS["demo"].with_overrides(**changes), progress=False)["curve"]
        losses.append([entry["loss"] for entry in curve if "loss" in entry])
    weights = [(folder / name / "model.safetensors").read_bytes() for name in ("killed", "whole")]
    shutil.rmtree(folder)
    return Killed(code, left, *losses, weights[0] == weights[1])
