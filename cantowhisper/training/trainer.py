"""A training run: features in, a model folder out, resumed by itself when the same command is given again."""

import contextlib
import dataclasses
import os
import shutil
import time
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import Seq2SeqTrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from cantowhisper.contracts import CantowhisperError
from cantowhisper.files import write_json
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.collator import Collator, check_mels
from cantowhisper.training.data.languages import check_tokens, with_language
from cantowhisper.training.data.load import amounts, evenly, load_split
from cantowhisper.training.data.sampling import epochs_after_steps, frame_counts, run_batches
from cantowhisper.training.data.streaming import training_rows
from cantowhisper.training.lora import add_lora, merge_lora
from cantowhisper.training.miniature import build_miniature
from cantowhisper.training.model import load_model, save_model, set_dropout
from cantowhisper.training.results.facts import model_facts, model_origin
from cantowhisper.training.results.scoring import METRICS_FILE, spelling_of, summarize, transcribe_split
from cantowhisper.training.run import callbacks, processes
from cantowhisper.training.run.checkpoints import CONFIG_FILE, FOLDER, drop_optimizer_states
from cantowhisper.training.run.choice import go_back_halfway, load_best
from cantowhisper.training.run.device import memory_is_kept, pick_precision, reproducible
from cantowhisper.training.run.folder import claim, finished, resume_point, run_config
from cantowhisper.training.run.hub_checkpoints import HubCheckpoints, Uploads
from cantowhisper.training.run.optimizer import optimizer_arguments, set_encoder_rate
from cantowhisper.training.run.partwise_trainer import PartwiseTrainer
from cantowhisper.training.run.plan import length_line, planned, room_line, validation_line
from cantowhisper.training.run.progress import ExpectedEnd, ProgressBar


def train(features: str | os.PathLike, out: str | os.PathLike, *, config: TrainConfig, progress: bool = True) -> dict:
    """Fine-tune (or, for "miniature", train) on a feature dataset's train split; select on its validation split.

    Parameters
    ----------
    features : feature dataset, folder or Hub id; its test split is not opened
    out : model folder to write; checkpoints go to `out/checkpoints`, and the newest whole one is gone on from

    Returns
    -------
    the content of `out/metrics.json`: config, curve, best step, validation scores, seconds

    Raises
    ------
    KeyboardInterrupt : after SIGTERM or Ctrl-C, with a checkpoint of the last step written
    CantowhisperError : also when a checkpoint cannot be written; the ones before it stay
    """
    out = Path(out)
    done = processes.from_main(lambda: finished(out, config))
    if done:
        if processes.is_main():
            print(f"{out} is already trained ({done['steps']} steps); delete the folder to train again")
        return done
    copies = config.hub_checkpoints and processes.is_main()
    hub = HubCheckpoints.open(config.hub_checkpoints, out) if copies else None
    config = processes.from_main(lambda: run_config(out, config, features, hub))
    train_split = load_split(features, "train", streaming=config.streaming)
    validation = load_split(features, "validation")  # a fixed few clips, read again and again
    config = with_language(config, train_split)
    model, processor = prepare_model(config, train_split["text"])
    check_mels(validation, processor)  # a dataset has one type in all splits
    for split in (train_split, validation):
        check_tokens(processor.tokenizer, split, config)
    trainer = WhisperTrainer(model, processor, train_split, validation, out=out, config=config, progress=progress)
    config = trainer.cantowhisper_config
    data = amounts(train=train_split, validation=validation)
    processes.from_main(lambda: _announce(trainer, out, data))
    processes.from_main(lambda: claim(out, config, features))
    checkpoint = processes.from_main(lambda: resume_point(out, hub))
    if config.model != "miniature":  # fresh weights write nothing
        trainer.add_callback(callbacks.StartingPoint(trainer.keep_start))
    started = time.perf_counter()
    with callbacks.StopSignal() as stop, Uploads(hub) if hub else contextlib.nullcontext() as uploads:
        trainer.keeper.uploads = uploads
        trainer.add_callback(stop)
        if ended := trainer.early_stop.ended(checkpoint):
            trainer.state = ended
        else:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    if stop.received and trainer.state.global_step < config.max_steps:
        raise KeyboardInterrupt(stop.received)
    best = load_best(trainer)
    if config.halfway and config.model != "miniature" and best["step"]:
        best = go_back_halfway(trainer, best, pretrained=lambda: prepare_model(config, train_split["text"])[0])
    seconds = time.perf_counter() - started
    return processes.from_main(lambda: _finish(trainer, out, features, best=best, data=data, seconds=seconds))


def _announce(trainer: "WhisperTrainer", out: Path, data: dict) -> None:
    """Say what the run will be; raises CantowhisperError where the disk has no room for it."""
    config = trainer.cantowhisper_config
    print(length_line(config, data=data, epochs=trainer.epochs[-1]))
    print(room_line(out, trainer.model, config))
    if few := validation_line(config, len(trainer.validation)):
        print(few, flush=True)


def prepare_model(config: TrainConfig, texts):
    """The model that a run starts from, with its processor: the untrained miniature, or a pretrained Whisper."""
    spoken = config.language_token or config.language
    if config.model == "miniature":
        model, processor = build_miniature(texts, seed=config.seed, language=spoken)
    else:
        model, processor = load_model(config.model, language=spoken)
    set_dropout(model, config.dropout)
    if config.lora_rank:
        add_lora(model, rank=config.lora_rank, seed=config.seed)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable()  # the Trainer's own option changes its name between versions
    if config.freeze_encoder:
        model.freeze_encoder()
    return model, processor


class WhisperTrainer(PartwiseTrainer):
    """Seq2SeqTrainer with our batches, and validation by the CER of greedy transcripts.

    `cantowhisper_config` has a number for what the given config leaves to the data.
    """

    def __init__(self, model, processor, train_split, validation, *, out: Path, config: TrainConfig, progress: bool):
        collator = Collator(processor, config, start_token_id=model.config.decoder_start_token_id)
        rows = training_rows(train_split, config)
        self._clips = {
            "n_frames": frame_counts(train_split),
            "n_tokens": collator.label_lengths(train_split["text"]),
            "parts": rows.parts,
            "languages": train_split["language"],
            "n_processes": processes.count(),
        }
        self.cantowhisper_config = config = planned(config, **self._clips)
        self.epochs = epochs_after_steps(
            self._batches(), config, n_clips=len(train_split), n_processes=processes.count()
        )
        self.whisper_processor = processor
        self.validation = evenly(validation, config.validation_clips)  # the same clips in each evaluation
        self.early_stop = callbacks.EarlyStop(config.early_stopping_evaluations)
        self.keeper = callbacks.CheckpointKeeper(out, keep=config.keep_checkpoints)
        super().__init__(
            model=model,
            args=_arguments(out, config, progress, d_model=model.config.d_model),
            train_dataset=rows,
            eval_dataset=self.validation,
            data_collator=collator,
            callbacks=[
                callbacks.TrueEpoch(self.epochs),
                callbacks.StatusLine(),
                self.keeper,
                self.early_stop,
                *[ProgressBar()] * progress,
                ExpectedEnd(),
            ],
        )
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)

    def train(self, *args, **kwargs):
        with reproducible(), memory_is_kept():
            return super().train(*args, **kwargs)

    def create_optimizer(self, *model):
        first = self.optimizer is None
        optimizer = super().create_optimizer(*model)
        if first and self.cantowhisper_config.encoder_learning_rate:
            set_encoder_rate(optimizer, self.model, self.cantowhisper_config.encoder_learning_rate)
        return optimizer

    def _batches(self):
        return run_batches(config=self.cantowhisper_config, **self._clips)

    def get_train_dataloader(self):
        config = self.cantowhisper_config
        loader = torch.utils.data.DataLoader(
            self.train_dataset,
            batch_sampler=self._batches(),
            collate_fn=self.data_collator,
            num_workers=0 if config.streaming else config.data_workers,
            pin_memory=torch.cuda.is_available(),
        )
        return self.accelerator.prepare(loader)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval") -> dict[str, float]:
        """`scores` in the log, for the callbacks."""
        started = time.perf_counter()
        scores = self.scores(eval_dataset)
        metrics = {f"{metric_key_prefix}_{name}": value for name, value in scores.items()}
        metrics[f"{metric_key_prefix}_seconds"] = round(time.perf_counter() - started, 2)
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def scores(self, clips=None) -> dict[str, float]:
        """CER on the fixed validation subset, at the context and in the precision that training uses."""
        model = self.accelerator.unwrap_model(self.model)
        with self.accelerator.autocast():  # around all of it: the model's own begins anew, with all weights, each token
            transcripts = processes.dealt(
                clips or self.validation,
                lambda rows: transcribe_split(model, self.whisper_processor, rows, config=self.cantowhisper_config),
            )
        return summarize(transcripts, spelling=spelling_of(self.whisper_processor))["all"]

    def keep_start(self) -> None:
        """Score the model as it is, and keep it as a checkpoint: it may turn out to be the best one."""
        self.state.epoch = 0.0
        self.evaluate()
        self._save_checkpoint(self.model, None)
        self.control = self.callback_handler.on_save(self.args, self.state, self.control)

    def _save_checkpoint(self, model, trial):
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:  # for a full disk, libraries have errors of their own
            raise self._not_written(error) from error

    def _not_written(self, error: Exception) -> CantowhisperError:
        folder = Path(self.args.output_dir)
        shutil.rmtree(folder / f"checkpoint-{self.state.global_step}", ignore_errors=True)
        free = shutil.disk_usage(folder).free / 2**20
        return CantowhisperError(
            f"cannot write the checkpoint of step {self.state.global_step} to {folder} ({free:.0f} MB are free there: "
            f"{' '.join(str(error).split())[:120]}); make room and give the same command again: it resumes from the "
            "checkpoint before"
        )


def _arguments(out: Path, config: TrainConfig, progress: bool, *, d_model: int) -> Seq2SeqTrainingArguments:
    precision, reason = pick_precision(config.precision)
    optimizer, learning_rate = optimizer_arguments(config, d_model)
    if processes.is_main():
        print(f"precision {precision}: {reason}")
        print(learning_rate)
    return Seq2SeqTrainingArguments(
        output_dir=str(out / FOLDER),
        max_steps=config.max_steps,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.gradient_accumulation_steps,
        **optimizer,
        label_smoothing_factor=config.label_smoothing,
        fp16=precision == "fp16",
        bf16=precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        eval_strategy="steps",
        eval_steps=config.evaluate_every_steps,
        save_strategy="steps",
        save_steps=config.save_every_steps,
        save_total_limit=None,  # CheckpointKeeper deletes old ones, when the new one is whole
        logging_steps=config.log_every_steps,
        logging_first_step=True,
        seed=config.seed,
        remove_unused_columns=False,  # our rows are no longer a datasets.Dataset when the Trainer sees them
        label_names=["labels"],
        accelerator_config={"even_batches": False},  # batches differ in size, and there are as many for each process
        report_to="none",
        disable_tqdm=not progress,
    )


def _finish(trainer: WhisperTrainer, out: Path, features, *, best: dict, data: dict, seconds: float) -> dict:
    """Write the model folder, its facts and metrics.json, which is last and means done."""
    config, processor = trainer.cantowhisper_config, trainer.whisper_processor
    model = trainer.accelerator.unwrap_model(trainer.model).eval()
    if config.lora_rank:
        merge_lora(model)
    save_model(model, processor, out)
    model_facts(config, model, features, texts=trainer.validation["text"]).save(out)
    curve = [entry for entry in trainer.state.log_history if "loss" in entry or "eval_cer_raw" in entry]
    metrics = {
        "config": dataclasses.asdict(config),
        "model_origin": model_origin(config.model),  # asked here: elsewhere a folder may look like an id of the Hub
        "features": str(features),
        "data": data,
        "steps": trainer.state.global_step,
        "epochs": round(float(trainer.epochs[trainer.state.global_step - 1]), 2),
        "best_step": best["step"],
        "halfway": best.get("halfway", False),
        "selected_by": callbacks.SELECTED_BY,
        "learning_rate": trainer.args.learning_rate,  # also where the config leaves it to the model's size
        "validation": {key.removeprefix("eval_"): value for key, value in best.items() if key.startswith("eval_")},
        "parameters": sum(p.numel() for p in model.parameters()),
        "train_seconds": round(seconds, 1),
        "curve": curve,
    }
    write_json(metrics, out / METRICS_FILE)
    with contextlib.suppress(FileNotFoundError):
        (out / CONFIG_FILE).unlink()
    print(f"the optimizer's state is no longer needed: {drop_optimizer_states(out) / 1e6:,.0f} MB are free again")
    return metrics
