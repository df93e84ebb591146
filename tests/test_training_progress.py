"""What a run shows: one bar with loss, CER and the time that is left, and nothing else."""

from training_data import small_split
from training_runs import TINY
from transformers import TrainerState

from cantowhisper.training.run.progress import ProgressBar
from cantowhisper.training.trainer import WhisperTrainer, prepare_model


def test_the_bar_has_loss_cer_and_time_left(capsys):
    bar, state = ProgressBar(), TrainerState(max_steps=10, epoch=1.25)
    bar.on_train_begin(None, state, None)
    for state.global_step in (1, 2, 3, 4):
        bar.on_step_end(None, state, None)
    bar.on_log(None, state, None, logs={"loss": 1.5, "learning_rate": 1e-3})
    bar.on_log(None, state, None, logs={"eval_cer_no_punctuation": 0.25})
    bar.on_evaluate(None, state, None, metrics={"eval_cer_no_punctuation": 0.25})
    bar.on_train_end(None, state, None)
    last = capsys.readouterr().err.replace("\r", "\n").strip().splitlines()[-1]
    assert "4/10" in last and "epoch=1.2" in last and "loss=1.500" in last and "CER=25.0%" in last
    assert "<" in last and "learning_rate" not in last  # time taken < time left


def test_a_trainer_has_this_bar_and_no_other(tmp_path):
    model, processor = prepare_model(TINY, ["食飯"] * 2)
    for progress in (True, False):
        trainer = WhisperTrainer(
            model,
            processor,
            small_split("train"),
            small_split("validation"),
            out=tmp_path / str(progress),
            config=TINY,
            progress=progress,
        )
        shown = [type(one).__name__ for one in trainer.callback_handler.callbacks if "Pr" in type(one).__name__]
        assert shown == (["ProgressBar"] if progress else [])
