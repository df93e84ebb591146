"""The curve of a run: what each validation has found after so many seconds of training, and the weights of the best."""

import time
from pathlib import Path

import numpy as np
import torch
from transformers import TrainerCallback

from cantowhisper.training.run.callbacks import SELECTED_BY, best_evaluation


class Clock(TrainerCallback):
    """Seconds of training so far, without evaluations and checkpoints: of the clock, and of all cores together."""

    def __init__(self):
        self.train_s = np.zeros(2)

    def on_train_begin(self, args, state, control, **kwargs):
        self._since = self.now()

    def on_step_end(self, args, state, control, **kwargs):
        now = self.now()
        self.train_s, self._since = self.train_s + now - self._since, now
        if state.global_step >= state.max_steps:  # as `train` does, also when max_steps is no multiple
            control.should_evaluate = True

    def on_evaluate(self, args, state, control, **kwargs):
        self._since = self.now()

    def point(self, step: int, edits: list[int]) -> dict:
        """A point of a curve: what a validation has found after so much training."""
        wall_s, cpu_s = self.train_s.round(2).tolist()
        return {"step": step, "train_s": wall_s, "train_cpu_s": cpu_s, "validation": edits}

    @staticmethod
    def now() -> np.ndarray:
        return np.array([time.perf_counter(), time.process_time()])

    on_save = on_evaluate


class KeepWeights(TrainerCallback):
    """The curve of a run: step, seconds, [edits, characters]; and in a folder the weights of its best validation.

    every : those of all validations, which blends need
    n_clips : how many are validated; the best is then chosen as `train` does, and not always the lowest error rate
    """

    def __init__(self, folder: Path, clock: Clock, *, every: bool = False, n_clips: int | None = None):
        self.folder, self.clock, self.every, self.n_clips = folder, clock, every, n_clips
        self.curve: list[dict] = []

    @property
    def best(self) -> dict:
        rates = {one["step"]: one["validation"][0] / one["validation"][1] for one in self.curve}
        if self.n_clips is None:
            step = min(rates, key=lambda step: (rates[step], step))
        else:
            log = [{"step": n, f"eval_{SELECTED_BY}": rate, "eval_n": self.n_clips} for n, rate in rates.items()]
            step = best_evaluation(log, rates)["step"]
        return next(one for one in self.curve if one["step"] == step)

    def add(self, step: int, edits: list[int], model) -> None:
        self.curve.append(self.clock.point(step, edits))
        if self.every or self.best["step"] == step:
            torch.save(model.state_dict(), self.folder / f"{step}.pt")
        for path in [] if self.every else self.folder.glob("*.pt"):
            if path.stem != str(self.best["step"]):
                path.unlink()

    def weights(self, step: int) -> dict[str, torch.Tensor]:
        return torch.load(self.folder / f"{step}.pt", weights_only=True)
