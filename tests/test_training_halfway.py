"""Half of the way from pretrained to tuned weights: taken where it is as good on validation, and else left no trace."""

import pytest
import torch
from safetensors.torch import load_file
from training_data import small_split, temporary_folder
from training_runs import TINY, finished_run, sealed_features

from cantowhisper.training.model import load_untrained, save_model
from cantowhisper.training.run.callbacks import SELECTED_BY
from cantowhisper.training.run.checkpoints import checkpoint_steps
from cantowhisper.training.run.choice import go_back_halfway, load_best
from cantowhisper.training.trainer import WhisperTrainer, prepare_model, train

QUICK = {"max_steps": 3, "evaluate_every_steps": 3, "save_every_steps": 3, "validation_clips": 1}


@pytest.fixture(scope="module")
def pretrained():
    """A folder with a Whisper as it might have been downloaded: one that writes far too much, so steps are better."""
    begun = finished_run()[0]
    model, processor = load_untrained(begun)
    model.load_state_dict(load_file(begun.parent / "checkpoints" / "checkpoint-3" / "model.safetensors"), strict=False)
    return save_model(model, processor, temporary_folder() / "pretrained")


@pytest.mark.parametrize("lora_rank", [0, 2])
def test_the_mean_is_taken_where_it_is_as_good_and_else_the_weights_are_those_of_the_step(
    pretrained, tmp_path, capsys, lora_rank
):
    config = TINY.with_overrides(model=str(pretrained), lora_rank=lora_rank, **QUICK)
    train_split, validation = small_split("train"), small_split("validation")
    model, processor = prepare_model(config, train_split["text"])
    begun = {name: weights.detach().clone() for name, weights in model.named_parameters()}
    trainer = WhisperTrainer(model, processor, train_split, validation, out=tmp_path, config=config, progress=False)
    trainer.train()
    best = load_best(trainer)
    tuned = {name: weights.detach().clone().cpu() for name, weights in trainer.model.named_parameters()}
    assert best["step"] == 3 and not all(torch.equal(tuned[name], begun[name]) for name in begun)

    def found(rate: float) -> dict:
        return go_back_halfway(
            trainer, best | {f"eval_{SELECTED_BY}": rate}, pretrained=lambda: load_untrained(pretrained)[0]
        )

    kept = found(-1.0)
    assert kept["halfway"] is False and kept["step"] == 3
    for name, weights in trainer.model.named_parameters():
        assert torch.equal(weights.detach().cpu(), tuned[name]), name
    capsys.readouterr()

    mean = found(1e9)
    assert mean["halfway"] and mean["step"] == 3 and mean[f"eval_{SELECTED_BY}"] == trainer.scores()[SELECTED_BY]
    assert "half of the way from the pretrained weights to step 3 is as good" in capsys.readouterr().out
    for name, weights in trainer.model.named_parameters():
        if lora_rank:
            expected = tuned[name] / 2 if "lora_B" in name else tuned[name]
        else:
            expected = (tuned[name] + begun[name]) / 2
        torch.testing.assert_close(weights.detach().cpu(), expected, msg=name)


@pytest.mark.parametrize("halfway", [True, False])
def test_the_folder_holds_the_weights_that_the_metrics_name(pretrained, tmp_path, halfway):
    config = TINY.with_overrides(model=str(pretrained), halfway=halfway, **QUICK | {"validation_clips": 5})
    metrics = train(sealed_features(), tmp_path / "model", config=config, progress=False)
    saved, begun = (load_file(folder / "model.safetensors") for folder in (tmp_path / "model", pretrained))
    tuned = load_file(checkpoint_steps(tmp_path / "model")[metrics["best_step"]] / "model.safetensors")
    assert metrics["best_step"] == 3 and (halfway or not metrics["halfway"])
    for name, weights in saved.items():
        expected = (tuned[name] + begun[name]) / 2 if metrics["halfway"] else tuned[name]
        torch.testing.assert_close(weights, expected, msg=name)
    evaluated = {entry["step"]: entry for entry in metrics["curve"] if f"eval_{SELECTED_BY}" in entry}
    chosen, before = metrics["validation"][SELECTED_BY], evaluated[3][f"eval_{SELECTED_BY}"]
    assert chosen <= before if metrics["halfway"] else chosen == before
