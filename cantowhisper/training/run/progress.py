"""What a run shows in the terminal or in a notebook: one bar with loss, CER and the time that is left."""

import sys

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
            self._show(loss=f"{logs['loss']:.3f}")

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
