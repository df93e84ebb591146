"""The recipes side by side. All take steps of four clips and are validated at the same steps."""

import dataclasses
import time
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import numpy as np
import torch
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, TrainerCallback

from cantowhisper.speech.context import Context
from cantowhisper.speech.mel import N_FRAMES, pad_to
from cantowhisper.speech.text import cer_edits
from cantowhisper.training.data.collator import pad_labels
from cantowhisper.training.presets import TrainConfig
from cantowhisper.training.results.scoring import transcribe_split
from cantowhisper.training.trainer import WhisperTrainer

BATCH, STEPS, EVALUATE_EVERY = 4, 80, 10  # five epochs of 60 clips
FULL = Context(kind="full")


@dataclass(frozen=True)
class Recipe:
    """`padded` is the usual one: clips padded to 30 s by stock Seq2SeqTrainer; the others are options of `train`."""

    padded: bool = False
    mandarin: bool = False  # clips of the related language are mixed in
    options: dict = field(default_factory=dict)

    @property
    def context(self) -> str:
        """The context that it is validated in: what it was trained with."""
        return "full" if self.padded else "variable"

    def config(self, model: Path, seed: int) -> TrainConfig:
        shared = {
            "model": str(model),
            "language": "yue",
            "batch_size": BATCH,
            "full_context_batch_size": 1,
            "max_steps": STEPS,
            "warmup_steps": STEPS // 10,
            "evaluate_every_steps": EVALUATE_EVERY,
            "save_every_steps": 10 * STEPS,  # KeepBest keeps what is chosen
            "log_every_steps": EVALUATE_EVERY,
            "data_workers": 0,
            "seed": seed,
        }
        return TrainConfig().with_overrides(**(shared | self.options))


RECIPES = {
    "usual": Recipe(padded=True, options={"learning_rate": 1e-5}),  # the blog post's learning rate
    "ours": Recipe(options={"learning_rate": 1.5e-5, "packed_share": 0.2}),
    "lora": Recipe(options={"lora_rank": 32, "packed_share": 0.2}),
    "frozen encoder": Recipe(options={"learning_rate": 1.5e-5, "packed_share": 0.2, "freeze_encoder": True}),
    "with Mandarin": Recipe(mandarin=True, options={"learning_rate": 1.5e-5, "packed_share": 0.2}),
}


class Clock(TrainerCallback):
    """Seconds of training so far, without evaluations and checkpoints: of the clock, and of all cores together."""

    def __init__(self):
        self.train_s = np.zeros(2)

    def on_train_begin(self, args, state, control, **kwargs):
        self._since = self._now()

    def on_step_end(self, args, state, control, **kwargs):
        now = self._now()
        self.train_s, self._since = self.train_s + now - self._since, now

    def on_evaluate(self, args, state, control, **kwargs):
        self._since = self._now()

    @staticmethod
    def _now() -> np.ndarray:
        return np.array([time.perf_counter(), time.process_time()])

    on_save = on_evaluate


class KeepBest(TrainerCallback):
    """The weights with the lowest validation CER, in a file; and the curve: step, seconds, [edits, characters]."""

    def __init__(self, path: Path, clock: Clock, unchanged: list[int]):
        self.path, self.clock = path, clock
        self.curve: list[dict] = []
        self._add(0, unchanged)

    @property
    def best(self) -> dict:
        return min(self.curve, key=lambda one: (one["validation"][0] / one["validation"][1], one["step"]))

    def _add(self, step: int, edits: list[int]) -> None:
        wall_s, cpu_s = self.clock.train_s.round(2).tolist()
        self.curve.append({"step": step, "train_s": wall_s, "train_cpu_s": cpu_s, "validation": edits})

    def add(self, step: int, edits: list[int], model) -> None:
        self._add(step, edits)
        if self.best["step"] == step:
            torch.save(model.state_dict(), self.path)


def edits_of(transcripts) -> list[list[int]]:
    """[edits, characters] of each clip, without punctuation."""
    return [list(cer_edits(t.prediction, t.reference) or (0, 0)) for t in transcripts]


def fit(recipe: Recipe, model, processor, config: TrainConfig, splits: dict, folder: Path) -> list[dict]:
    """Train `model` in place and leave the weights of the best validation in it; returns the curve."""

    def validate() -> list[int]:
        written = transcribe_split(model, processor, splits["validation"], config=config, context=recipe.context)
        return np.sum(edits_of(written), axis=0).tolist()

    clock = Clock()
    keeper = KeepBest(folder / "best.pt", clock, validate())
    torch.save(model.state_dict(), keeper.path)
    make = _usual_trainer if recipe.padded else _our_trainer
    trainer = make(model, processor, config, splits["train"], splits["validation"], folder)
    trainer.evaluate = lambda *args, **kwargs: _evaluated(trainer, keeper, validate(), model)
    trainer.add_callback(clock)
    trainer.train()
    model.load_state_dict(torch.load(keeper.path, weights_only=True))
    return keeper.curve


def _evaluated(trainer, keeper: KeepBest, edits: list[int], model) -> dict:
    keeper.add(trainer.state.global_step, edits, model)
    rate = edits[0] / edits[1]
    print(f"  step {trainer.state.global_step}: {keeper.clock.train_s[0]:.0f} s, validation CER {rate:.1%}", flush=True)
    trainer.control = trainer.callback_handler.on_evaluate(trainer.args, trainer.state, trainer.control, {})
    return {"eval_cer_no_punctuation": rate}


def _our_trainer(model, processor, config, train, validation, folder):
    trainer = WhisperTrainer(model, processor, train, validation, out=folder, config=config, progress=False)
    for callback in list(trainer.callback_handler.callbacks):
        if type(callback).__name__ in ("StatusLine", "CheckpointKeeper"):  # those of a run with checkpoints
            trainer.remove_callback(callback)
    return trainer


def _usual_trainer(model, processor, config, train, validation, folder):
    """Stored features of 30 s, batches in random order; the start token is given once, which the blog post misses."""
    rows = [
        {
            "input_features": pad_to(row["features"].T, N_FRAMES),
            "labels": processor.tokenizer(str(row["text"])).input_ids[1:],
        }
        for row in train
    ]

    def collate(batch):
        features = torch.from_numpy(np.stack([row["input_features"] for row in batch]).astype(np.float32))
        return {"input_features": features, "labels": pad_labels([row["labels"] for row in batch])}

    arguments = Seq2SeqTrainingArguments(
        output_dir=str(folder),
        max_steps=config.max_steps,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        warmup_steps=config.warmup_steps,
        eval_strategy="steps",
        eval_steps=config.evaluate_every_steps,
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        seed=config.seed,
        disable_tqdm=True,
        logging_steps=10_000,
        remove_unused_columns=False,
        label_names=["labels"],
    )
    return Seq2SeqTrainer(model=model, args=arguments, train_dataset=rows, eval_dataset=rows[:1], data_collator=collate)


def mixed(train: datasets.Dataset, others: datasets.Dataset) -> datasets.Dataset:
    """As many clips of the other language as there are, spread over it."""
    chosen = np.linspace(0, len(others) - 1, min(len(train), len(others))).round().astype(int)
    return datasets.concatenate_datasets([train, others.select(np.unique(chosen))]).with_format("numpy")


def described(config: TrainConfig) -> dict:
    """What a row says of its options: those that differ from the defaults, without folders."""
    standard = dataclasses.asdict(TrainConfig())
    return {k: v for k, v in dataclasses.asdict(config).items() if v != standard[k] and k != "model"}
