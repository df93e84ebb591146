"""What a run shows in the terminal or in a notebook: one bar with loss, CER and the time that is left, and its end."""

import math
import sys
import time
from datetime import datetime, timedelta

from tqdm import tqdm
from transformers import TrainerCallback


class ProgressBar(TrainerCallback):
    """Instead of the Trainer's own bar, which writes its log between two states of itself as dictionaries."""

    def __init__(self):
        self.bar: tqdm | None = None
        self.shown: dict[str, str] = {}

    def on_train_begin(self, args, state, control, **kwargs):
        if state.is_world_process_zero:
            self.bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                unit="step",
                desc="training",
                dynamic_ncols=True,
                # In a file a bar is a line for each of its states: one in half a minute is enough there.
                mininterval=0.5 if sys.stderr.isatty() or "ipykernel" in sys.modules else 30,
            )

    def on_step_end(self, args, state, control, **kwargs):
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if self.bar is not None and "loss" in (logs or {}):
            self._show(epoch=f"{state.epoch or 0:.1f}", loss=f"{logs['loss']:.3f}")

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        if self.bar is not None:
            self._show(CER=f"{metrics['eval_cer_no_punctuation']:.1%}")

    def on_train_end(self, args, state, control, **kwargs):
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def _show(self, **values: str) -> None:
        self.shown |= values
        self.bar.set_postfix(self.shown, refresh=False)


class ExpectedEnd(TrainerCallback):
    """One line after ten steps: how long the run will take, validations included, by what it has taken so far."""

    STEPS = 10

    def __init__(self):
        self.taken: list[float] = []  # seconds of each step, the batch's way from the disk included
        self.begun = 0.0

    def on_train_begin(self, args, state, control, **kwargs):
        self.taken = []

    def on_step_end(self, args, state, control, **kwargs):
        now = time.perf_counter()
        self.taken.append(now - self.begun)
        self.begun = now
        # The first step warms up, and the bar's own estimate would stay wrong by it for long.
        if len(self.taken) == self.STEPS + 1 and state.is_world_process_zero and state.global_step < state.max_steps:
            tqdm.write(end_line(seconds_left(state, self.taken[1:])))
            sys.stdout.flush()

    def on_evaluate(self, args, state, control, **kwargs):
        self.begun = time.perf_counter()

    def on_save(self, args, state, control, **kwargs):
        self.begun = time.perf_counter()


def seconds_left(state, taken: list[float]) -> float:
    """Seconds until the end of a run, by those that some steps took and the last validation."""
    left = state.max_steps - state.global_step
    validations = [entry["eval_seconds"] for entry in state.log_history if "eval_seconds" in entry]
    of_validation = math.ceil(left / state.eval_steps) * validations[-1] if validations else 0.0
    return left * sum(taken) / len(taken) + of_validation


def end_line(seconds: float) -> str:
    """A length of time and the hour of its end, in words."""
    end = datetime.now() + timedelta(seconds=seconds)
    length = f"{seconds / 3600:.1f} hours" if seconds >= 5400 else f"{math.ceil(seconds / 60)} min"
    day = "" if end.date() == datetime.now().date() else f"{end:%Y-%m-%d} at "
    return f"about {length} to go: until {day}{end:%H:%M}"
