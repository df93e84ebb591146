"""What happens beside the steps of a run: a line an evaluation, sealed checkpoints, and stops that save first."""

import math
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tqdm import tqdm
from transformers import TrainerCallback, TrainerState
from transformers.trainer import TRAINER_STATE_NAME

from cantowhisper.training.run import processes
from cantowhisper.training.run.checkpoints import checkpoint_steps, prune, seal
from cantowhisper.training.run.hub_checkpoints import Uploads

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C; a machine that is taken away

# What checkpoints are chosen by, in every language: a model that does not know one yet has a WER of 100 % or more, and
# the lowest of those is one that writes a single long word; a few dozen clips also have more characters than words.
SELECTED_BY = "cer_no_punctuation"
SHOWN = (SELECTED_BY, "wer_no_punctuation")  # that of words where a language has spaces between them

# How much the validation error rate changes by chance between checkpoints that are as good: by this share of it for one
# clip, by √n less for n of them. With 16 clips that is a tenth, with 400 a fiftieth.
CHANCE = 0.4


def shown_rates(scores: Mapping, *, digits: int) -> str:
    """The error rates of a validation that a line shows.

    >>> shown_rates({"cer_no_punctuation": 0.125, "wer_no_punctuation": 0.5}, digits=1)
    'CER 12.5%, WER 50.0%'
    """
    return ", ".join(f"{name[:3].upper()} {scores[name]:.{digits}%}" for name in SHOWN if name in scores)


class TrueEpoch(TrainerCallback):
    """The log's epoch: how often a clip has been heard after each step. The Trainer counts the whole run as one."""

    def __init__(self, epochs: Sequence[float]):
        self.epochs = epochs

    def on_step_end(self, args, state, control, **kwargs):
        state.epoch = round(float(self.epochs[state.global_step - 1]), 4)


class StartingPoint(TrainerCallback):
    """Calls `keep`, which scores and keeps the model, before the first step of a run."""

    def __init__(self, keep: Callable[[], None]):
        self.keep = keep

    def on_train_begin(self, args, state, control, **kwargs):
        if not state.log_history:  # else a run that goes on
            self.keep()


class StatusLine(TrainerCallback):
    """One line an evaluation: where the run is and what it has reached."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step >= state.max_steps:  # also when max_steps is no multiple of the other two
            control.should_evaluate = control.should_save = True

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        loss = f"loss {losses[-1]:.3f}, " if losses else ""
        told = shown_rates({name.removeprefix("eval_"): value for name, value in metrics.items()}, digits=1)
        line = f"step {state.global_step}/{state.max_steps}: {loss}validation {told}"
        if state.is_world_process_zero:
            tqdm.write(f"{line} (no punctuation, n={metrics['eval_n']})")  # above the bar, if there is one
            sys.stdout.flush()

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_local_process_zero and logs:
            logs.pop("total_flos", None)


class CheckpointKeeper(TrainerCallback):
    """Seals each new checkpoint, offers it to `uploads`, then deletes those that are no longer needed."""

    def __init__(self, run: Path, *, keep: int):
        self.run = run
        self.keep = keep
        self.uploads: Uploads | None = None

    def on_save(self, args, state, control, **kwargs):
        processes.wait()  # each process writes a file of its own into the checkpoint
        if not args.should_save:
            return
        kept = checkpoint_steps(self.run)
        seal(kept[state.global_step])
        best = best_evaluation(state.log_history, kept)
        needed = frozenset({state.global_step, best["step"] if best else state.global_step})
        if self.uploads:
            self.uploads.offer(needed)
        prune(self.run, keep=self.keep, spare=needed | (self.uploads.in_use if self.uploads else frozenset()))


def best_evaluation(log_history: Sequence[dict], kept) -> dict | None:
    """The evaluation whose checkpoint is taken: the last whose error rate may be the lowest but for chance.

    A low rate of a few clips is often luck, and with it an early step, at the peak of the learning rate, may go round
    in loops on other clips. The model as it was is taken unless a step has a lower rate.

    kept : steps whose checkpoint is kept; where none of them comes so near, that with the lowest rate is taken
    """
    found = _evaluations(log_history)
    here = [entry for entry in found if entry["step"] in kept]
    if not here:
        return None
    lowest = min(map(_rate, found))
    before = [_rate(entry) for entry in found if entry["step"] == 0]
    near = [
        entry
        for entry in here
        if _rate(entry) <= lowest * (1 + CHANCE / math.sqrt(entry["eval_n"]))
        and (entry["step"] == 0 or all(_rate(entry) < rate for rate in before))
    ]
    if near:
        return max(near, key=lambda entry: entry["step"])
    return min(here, key=lambda entry: (_rate(entry), entry["step"]))


def _evaluations(log_history: Sequence[dict]) -> list[dict]:
    return [entry for entry in log_history if f"eval_{SELECTED_BY}" in entry]


def _rate(entry: dict) -> float:
    return entry[f"eval_{SELECTED_BY}"]


class StopSignal(TrainerCallback):
    """SIGTERM and Ctrl-C end the run after the step that is being computed, with a checkpoint.

    Use as a context manager around the training; `received` is the signal's name, or None. A second signal is not
    held back: it ends the process at once. (Not so in one of several processes: their launcher passes on what its
    terminal has already told them, and takes them down by itself when they do not end.)
    """

    def __init__(self):
        self.received: str | None = None
        self._before: dict = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():  # Python takes signals nowhere else
            self._before = {number: signal.signal(number, self._receive) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *_):
        self._restore()

    def _receive(self, number, _frame):
        said_before, self.received = self.received, signal.Signals(number).name
        if processes.is_main() and not said_before:
            print(f"\n{self.received}: saving a checkpoint, then stopping", flush=True)
        if processes.count() == 1:
            self._restore()

    def _restore(self):
        while self._before:
            signal.signal(*self._before.popitem())

    def on_step_end(self, args, state, control, **kwargs):
        if processes.any_says(self.received is not None):  # all of them stop after the same step
            self.received = self.received or "stopped"
            control.should_save = control.should_training_stop = True


class EarlyStop(TrainerCallback):
    """Ends a run when the error rate has not become better for `patience` evaluations; 0 never does.

    It reads the run's own history and so knows the same after a resume.
    """

    def __init__(self, patience: int):
        self.patience = patience

    def ended(self, checkpoint: Path | None) -> TrainerState | None:
        """The state of a run that stopped here and was killed before its model was written; None for all others."""
        state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME)) if checkpoint else None
        return state if state and self._has_come(state) else None

    def _has_come(self, state) -> bool:
        return bool(self.patience) and evaluations_since_best(state.log_history) >= self.patience

    def on_evaluate(self, args, state, control, **kwargs):
        if self._has_come(state):
            if state.is_world_process_zero and state.global_step < state.max_steps:
                print(f"stopping at step {state.global_step}: no better validation CER in {self.patience} evaluations")
            control.should_training_stop = control.should_save = True


def evaluations_since_best(log_history: list[dict]) -> int:
    """How many evaluations came after the one with the lowest error rate."""
    scores = [_rate(entry) for entry in _evaluations(log_history)]
    return len(scores) - 1 - scores.index(min(scores)) if scores else 0
