"""The end of a run that has come as far as it can."""

from transformers import TrainerCallback


class EarlyStop(TrainerCallback):
    """Ends a run when validation CER has not become better for `patience` evaluations; 0 never does.

    It reads the run's own history and so knows the same after a resume.
    """

    def __init__(self, patience: int):
        self.patience = patience

    def on_train_begin(self, args, state, control, **kwargs):
        if self._has_come(state):  # killed when it had stopped and not yet written its model
            control.should_training_stop = True

    def _has_come(self, state) -> bool:
        return bool(self.patience) and evaluations_since_best(state.log_history) >= self.patience

    def on_evaluate(self, args, state, control, **kwargs):
        if self._has_come(state):
            if state.is_world_process_zero and state.global_step < state.max_steps:
                print(f"stopping at step {state.global_step}: no better validation CER in {self.patience} evaluations")
            control.should_training_stop = control.should_save = True


def evaluations_since_best(log_history: list[dict]) -> int:
    """How many evaluations came behind the one with the lowest CER (without punctuation)."""
    scores = [entry["eval_cer_no_punctuation"] for entry in log_history if "eval_cer_no_punctuation" in entry]
    return len(scores) - 1 - scores.index(min(scores)) if scores else 0
