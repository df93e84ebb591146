"""Which weights a run ends with: those of a checkpoint, or half of the way to them from the pretrained ones.

Fine-tuning on one language costs others, which the validation clips do not show. Between pretrained and tuned weights
lie models that hear the new language nearly as well and the others better (WiSE-FT, Wortsman et al. 2022,
arXiv 2109.01903).
"""

from collections.abc import Callable
from pathlib import Path

import torch

from cantowhisper.contracts import CantowhisperError
from cantowhisper.training.run import processes
from cantowhisper.training.run.callbacks import SELECTED_BY, best_evaluation
from cantowhisper.training.run.checkpoints import checkpoint_steps


def load_best(trainer) -> dict:
    """Load the weights of the checkpoint that validation chooses into the trainer's model; returns its log entry."""
    best = best_evaluation(trainer.state.log_history, _kept(trainer))
    if best is None:
        raise CantowhisperError("no checkpoint was kept; set save_every_steps to at most max_steps")
    _load(trainer, best["step"])
    if best["step"] == 0 and processes.is_main():
        print("no step was better than the model as it was: the folder holds the weights that the run began with")
    return best


def go_back_halfway(trainer, best: dict, *, pretrained: Callable[[], torch.nn.Module]) -> dict:
    """Leave the mean of pretrained and best weights in the trainer's model, if its validation CER is as low.

    Parameters
    ----------
    best : log entry of the checkpoint whose weights the model has
    pretrained : makes the model that the run began with

    Returns
    -------
    `best`, with the scores of the mean where that is taken, and "halfway": whether it is
    """
    model = trainer.accelerator.unwrap_model(trainer.model)
    _halve(model, pretrained)
    scores = trainer.scores()
    if scores[SELECTED_BY] <= best[f"eval_{SELECTED_BY}"]:
        if processes.is_main():
            print(
                f"half of the way from the pretrained weights to step {best['step']} is as good on validation "
                f"({SELECTED_BY[:3].upper()} {scores[SELECTED_BY]:.1%}) and forgets less: the folder holds that"
            )
        return best | {f"eval_{name}": value for name, value in scores.items()} | {"halfway": True}
    _load(trainer, best["step"])
    return best | {"halfway": False}


def _kept(trainer) -> dict[int, Path]:
    return checkpoint_steps(Path(trainer.args.output_dir).parent)


def _load(trainer, step: int) -> None:
    trainer._load_from_checkpoint(str(_kept(trainer)[step]))


@torch.no_grad()
def _halve(model: torch.nn.Module, pretrained: Callable[[], torch.nn.Module]) -> None:
    """Halve what training has changed, in place."""
    adapters = [weights for name, weights in model.named_parameters() if "lora_B" in name]
    if adapters:  # their products with lora_A are the change, and were 0
        for weights in adapters:
            weights.mul_(0.5)
        return
    begun = dict(pretrained().named_parameters())
    for name, weights in model.named_parameters():
        weights.lerp_(begun[name].to(weights.device, weights.dtype), 0.5)
