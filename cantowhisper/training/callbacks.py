"""What happens beside the steps of a run: a line an evaluation, sealed checkpoints, and a stop that saves first."""

import signal
import threading
from collections.abc import Sequence
from pathlib import Path

from transformers import TrainerCallback

from cantowhisper.training.checkpoints import checkpoint_steps, prune, seal

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)  # Ctrl-C; a machine that is taken away


class StatusLine(TrainerCallback):
    """One line an evaluation: where the run is and what it has reached."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step >= state.max_steps:  # also when max_steps is no multiple of the other two
            control.should_evaluate = control.should_save = True

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        losses = [entry["loss"] for entry in state.log_history if "loss" in entry]
        loss = f"loss {losses[-1]:.3f}, " if losses else ""
        line = (
            f"step {state.global_step}/{state.max_steps}: {loss}validation CER {metrics['eval_cer_no_punctuation']:.1%}"
        )
        print(f"{line} (no punctuation, n={metrics['eval_n']})", flush=True)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.is_local_process_zero and logs:
            logs.pop("total_flos", None)


class CheckpointKeeper(TrainerCallback):
    """Seals each new checkpoint, then deletes those that are no longer needed."""

    def __init__(self, run: Path, *, keep: int):
        self.run = run
        self.keep = keep

    def on_save(self, args, state, control, **kwargs):
        if args.should_save:  # one process of several
            kept = checkpoint_steps(self.run)
            seal(kept[state.global_step])
            best = best_evaluation(state.log_history, kept)
            prune(self.run, keep=self.keep, best_step=best["step"] if best else None)


def best_evaluation(log_history: Sequence[dict], kept) -> dict | None:
    """The evaluation with the lowest CER (without punctuation) among steps whose checkpoint is kept."""
    found = [entry for entry in log_history if "eval_cer_no_punctuation" in entry and entry["step"] in kept]
    return min(found, key=lambda entry: (entry["eval_cer_no_punctuation"], entry["step"]), default=None)


class StopSignal(TrainerCallback):
    """SIGTERM and Ctrl-C end the run behind the step that is being computed, with a checkpoint.

    Use as a context manager around the training; `received` is the signal's name, or None. A second signal is not
    held back: it ends the process at once.
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
        self.received = signal.Signals(number).name
        print(f"\n{self.received}: saving a checkpoint, then stopping", flush=True)
        self._restore()

    def _restore(self):
        while self._before:
            signal.signal(*self._before.popitem())

    def on_step_end(self, args, state, control, **kwargs):
        if self.received:
            control.should_save = control.should_training_stop = True
