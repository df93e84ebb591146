"""What a run will be, before its first step: its length by the data, and the disk that it takes."""

import itertools
import math
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from cantowhisper.contracts import CantowhisperError
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.batch_sizes import with_batch_sizes
from cantowhisper.training.data.sampling import BucketBatchSampler
from cantowhisper.training.run.checkpoints import checkpoint_steps
from cantowhisper.training.schedules import read_accumulation, step_sizes

MOST_WARMUP_STEPS = 400
EVALUATIONS = 8  # a run
MOST_STEPS_BETWEEN = 500  # evaluations
LOSSES = 40  # a run
MOST_STEPS_A_LOSS = 25
ENOUGH_HOURS = 1.0  # of training speech
ENOUGH_SPEAKERS = 5  # for validation
ENOUGH_CLIPS = 30  # for validation: of fewer, the error rate changes by points with a handful of characters


def planned(config: TrainConfig, n_frames: Sequence[int], *, n_processes: int = 1, **known) -> TrainConfig:
    """The config with a number for every option that is left to the data; what is set stays.

    Parameters
    ----------
    n_frames : of each clip of the train split; `known` is what else `BucketBatchSampler` takes: n_tokens, parts, …
    """
    config = with_batch_sizes(config, len(n_frames), n_processes=n_processes)
    steps = config.max_steps or _steps(config, n_frames, n_processes, known)
    save, evaluate = config.save_every_steps, config.evaluate_every_steps
    if evaluate is None:
        evaluate = min(math.ceil(steps / EVALUATIONS), MOST_STEPS_BETWEEN)
        if save:  # where the user saves, so that what was scored is kept
            evaluate = max(evaluate // save, 1) * save
    return config.with_overrides(
        max_steps=steps,
        warmup_steps=_or(config.warmup_steps, min(math.ceil(steps / 10), MOST_WARMUP_STEPS)),
        evaluate_every_steps=evaluate,
        save_every_steps=_or(save, evaluate),
        log_every_steps=_or(config.log_every_steps, min(math.ceil(steps / LOSSES), MOST_STEPS_A_LOSS)),
    )


def _or(set_by_user: int | None, found: int) -> int:
    return found if set_by_user is None else set_by_user


def _steps(config: TrainConfig, n_frames: Sequence[int], n_processes: int, known: dict) -> int:
    """Steps until every clip has been heard `epochs` times, or `max_clips_heard` are full batches."""
    most = math.ceil(config.max_clips_heard / config.batch_size)
    # Early batches without windows would need to know how many batches there are.
    batches = BucketBatchSampler(n_frames, config.with_overrides(augment_from=0.0), n_batches=most, **known)
    heard = itertools.accumulate(map(len, batches))
    n_batches = next((n for n, clips in enumerate(heard, 1) if clips >= config.epochs * len(n_frames)), most)
    after_steps = itertools.accumulate(size * n_processes for size in _batches_a_step(config))
    return next(step for step, n in enumerate(after_steps, 1) if n >= n_batches)


def _batches_a_step(config: TrainConfig) -> Iterator[int]:
    schedule = config.accumulation_schedule or f"{config.gradient_accumulation_steps}@0"
    return step_sizes(read_accumulation(schedule), config.max_clips_heard)


def length_line(config: TrainConfig, *, data: dict[str, dict], epochs: float) -> str:
    """Clips, hours, epochs and steps of a run, for the user."""
    clips, hours = data["train"]["clips"], data["train"]["hours"]
    n_validation = min(data["validation"]["clips"], config.validation_clips)
    return (
        f"{clips:,} clips, {hours:.2f} h: {epochs:.1f} epochs are {config.max_steps:,} steps of up to "
        f"{config.batch_size} clips; {n_validation} validation clips every {config.evaluate_every_steps} steps"
    )


def validation_line(config: TrainConfig, n_clips: int) -> str:
    """What the user should know of a small validation split; "" where it is large enough."""
    if n_clips >= ENOUGH_CLIPS:
        return ""
    stop = " or stop a run early" if config.early_stopping_evaluations else ""
    return (
        f"{n_clips} validation clips are too few to choose between checkpoints{stop}; {ENOUGH_CLIPS} begin to be enough"
    )


def little_data(data: dict[str, dict], n_validation: int) -> str:
    """A warning where results rest on little; "" where they do not. data : clips, hours, … of each split (see amounts)

    n_validation : clips that the checkpoint was chosen by
    """
    few = []
    if (hours := data["train"]["hours"]) < ENOUGH_HOURS:
        few.append(f"{spoken_length(hours)} of training speech (below {ENOUGH_HOURS:g} hour)")
    if n_validation < ENOUGH_CLIPS:
        few.append(f"{n_validation} validation clips (below {ENOUGH_CLIPS})")
    if (speakers := data["validation"].get("speakers", ENOUGH_SPEAKERS)) < ENOUGH_SPEAKERS:
        few.append(f"{speakers} validation speaker{'s' * (speakers > 1)} (below {ENOUGH_SPEAKERS})")
    if not few:
        return ""
    return f"Little data: {', '.join(few)}. The choice of the checkpoint and the intervals of its scores are weak."


def spoken_length(hours: float) -> str:
    """Hours, below one in minutes."""
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.1f} minutes"


def checkpoint_bytes(model: torch.nn.Module, config: TrainConfig) -> tuple[int, int]:
    """(bytes of a checkpoint, bytes of the weights in it)."""
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    moments = sum(
        p.numel() * (2 if config.adam_8bit else 2 * p.element_size()) for p in model.parameters() if p.requires_grad
    )
    return weights + moments, weights


def room_line(out: Path, model: torch.nn.Module, config: TrainConfig) -> str:
    """What the checkpoints of a run take of the disk, and what is free.

    Raises CantowhisperError where not even one has room.
    """
    one, weights = checkpoint_bytes(model, config)
    n_saves = math.ceil(config.max_steps / config.save_every_steps) + (config.model != "miniature")  # step 0
    kept = config.keep_checkpoints + 1  # and the best one
    needed = max(
        min(n_saves, kept + 1) * one, min(n_saves, kept) * one + weights
    )  # while the next, or the model, comes
    here = sum(file.stat().st_size for path in checkpoint_steps(out).values() for file in path.rglob("*"))
    free = shutil.disk_usage(out).free + here
    said = f"checkpoints take up to {_size(needed)} ({_size(one)} each); {_size(free)} are free at {out}"
    smaller = "make room, or set keep_checkpoints=1, adam_8bit=true or lora_rank=32"
    if free < one:
        raise CantowhisperError(f"{said}: not enough for one; {smaller}")
    return said if free >= needed else f"{said}: the disk may be full before the end; {smaller}"


def _size(n_bytes: float) -> str:
    return f"{n_bytes / 1e9:.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.0f} MB"
