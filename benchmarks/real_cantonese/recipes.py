"""The recipes side by side. All take steps of four clips and are validated at the same steps."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import datasets
import numpy as np
import torch
from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments

from benchmarks.real_cantonese.curve import Clock, KeepWeights
from cantowhisper.speech.context import Context
from cantowhisper.speech.mel import N_FRAMES, pad_to
from cantowhisper.speech.text import cer_edits
from cantowhisper.training.data.collator import pad_labels
from cantowhisper.training.data.load import evenly
from cantowhisper.training.presets import PRESETS, TrainConfig
from cantowhisper.training.results.analysis import is_loop
from cantowhisper.training.results.scoring import transcribe_split
from cantowhisper.training.run.device import pick_precision
from cantowhisper.training.trainer import WhisperTrainer

BATCH, STEPS, EVALUATE_EVERY = 4, 48, 8  # three epochs of 60 clips
FULL = Context(kind="full")
SHARES = (0.25, 0.5, 0.75, 1.0)  # of tuned weights, the rest is the stock model's


@dataclass(frozen=True)
class Recipe:
    """`padded` is the usual one: clips padded to 30 s by stock Seq2SeqTrainer; the others are options of `train`."""

    padded: bool = False
    by_itself: bool = False  # the preset cpu with nothing else set, and its weights chosen as `train` does
    mandarin: bool = False  # as many clips of the related language are mixed in
    replay: int = 0  # clips of the related language, with the text that the stock model writes of them
    seeds: int = 1  # of runs whose weights are averaged
    turns: int = 1  # of runs, each validated on another of the folds, whose weights are averaged: all clips are heard
    sentences: bool = False  # scored a second time, where a language model of further sentences has a say
    pseudo: bool = False  # the tuned model transcribes further clips, and the stock one is tuned with them, too
    options: dict = field(default_factory=dict)

    @property
    def context(self) -> str:
        """The context that it is validated in: what it was trained with."""
        return "full" if self.padded else "variable"

    def config(self, model: Path, seed: int) -> TrainConfig:
        if self.by_itself:
            return PRESETS["cpu"].with_overrides(model=str(model), language="yue", seed=seed, **self.options)
        shared = {
            "model": str(model),
            "language": "yue",
            "batch_size": BATCH,
            "full_context_batch_size": 1,
            "max_steps": STEPS,
            "warmup_steps": STEPS // 10,
            "evaluate_every_steps": EVALUATE_EVERY,
            "log_every_steps": EVALUATE_EVERY,
            "data_workers": 0,
            "seed": seed,
        }
        return TrainConfig().with_overrides(**(shared | self.options))


# The usual recipe's learning rate, and single clips without times, as the usual recipe has them: merged silence is all
# that differs. What else training offers is measured one by one.
OURS = {"learning_rate": 1e-5, "packed_share": 0.0, "timestamps_share": 0.0, "context_groups": 160}
# Twice the steps, and no clip heard twice in the same way.
LONGER = {"max_steps": 2 * STEPS, "warmup_steps": 2 * STEPS // 10, "evaluate_every_steps": 2 * EVALUATE_EVERY}
VARIED = {"stretch": 0.1, "warp": 0.05, "equalizer_db": 6.0, "time_masks": 2, "feature_masks": 2}
RECIPES = {
    "usual": Recipe(padded=True, options={"learning_rate": 1e-5}),  # the blog post's learning rate
    "ours": Recipe(sentences=True, options=OURS),
    "by itself": Recipe(by_itself=True),
    "all the way": Recipe(by_itself=True, options={"halfway": False}),
    "all the way, single clips": Recipe(
        by_itself=True, options={"halfway": False, "packed_share": 0.0, "timestamps_share": 0.0}
    ),
    "packed windows": Recipe(options=OURS | {"packed_share": 0.2}),
    "times": Recipe(options=OURS | {"timestamps_share": 0.2}),
    "48 groups": Recipe(options=OURS | {"context_groups": 48}),
    "1.5e-5": Recipe(options=OURS | {"learning_rate": 1.5e-5}),
    "96 steps, varied": Recipe(options=OURS | LONGER | VARIED),
    "all four": Recipe(
        options={"learning_rate": 1.5e-5, "packed_share": 0.2, "timestamps_share": 0.2, "context_groups": 48}
    ),
    "lora": Recipe(options=OURS | {"learning_rate": 1e-3, "lora_rank": 32}),
    "frozen encoder": Recipe(options=OURS | {"freeze_encoder": True}),
    "with Mandarin": Recipe(mandarin=True, options=OURS),
    "with Mandarin, 96 steps": Recipe(mandarin=True, sentences=True, options=OURS | LONGER),
    "replay": Recipe(replay=20, options=OURS),
    "three seeds averaged": Recipe(seeds=3, options=OURS),
    "four turns averaged": Recipe(turns=4, options=OURS | {"evaluate_every_steps": 2 * EVALUATE_EVERY}),
    "pseudo-labels": Recipe(pseudo=True, options=OURS),
}


def edits_of(transcripts, *, view: str = "no_punctuation") -> list[list[int]]:
    """[edits, characters] of each clip in a view of the CER."""
    return [list(cer_edits(t.prediction, t.reference, view=view) or (0, 0)) for t in transcripts]


def fit(
    recipe: Recipe,
    model,
    processor,
    config: TrainConfig,
    splits: dict,
    folder: Path,
    *,
    blends: bool = False,
    clock: Clock | None = None,
) -> KeepWeights:
    """Train `model` in place and leave the weights of the best validation in it; by itself also half of the way there.

    blends : all weights are kept
    clock : goes on from an earlier run whose time counts, too
    """
    clock = clock or Clock()
    own = len(splits["validation"]) if recipe.by_itself else None
    keeper = KeepWeights(folder, clock, every=blends or recipe.by_itself, n_clips=own)
    keeper.add(0, validate(recipe, model, processor, config, splits), model)
    make = _usual_trainer if recipe.padded else _our_trainer
    trainer = make(model, processor, config, splits["train"], splits["validation"], folder)
    trainer.evaluate = lambda *args, **kwargs: _evaluated(
        trainer, keeper, validate(recipe, model, processor, config, splits), model
    )
    trainer.add_callback(clock)
    trainer.train()
    tuned = keeper.weights(keeper.best["step"])
    if recipe.by_itself and config.halfway:
        model.load_state_dict(mean_of([keeper.weights(0), tuned]))
        edits, _ = validate(recipe, model, processor, config, splits)
        if edits <= keeper.best["validation"][0]:
            return keeper
    model.load_state_dict(tuned)
    return keeper


def validate(recipe: Recipe, model, processor, config: TrainConfig, splits: dict) -> list[int]:
    """[edits, characters] of the validation split."""
    with in_training_precision(model, config):
        written = transcribe_split(model, processor, splits["validation"], config=config, context=recipe.context)
    return np.sum(edits_of(written), axis=0).tolist()


def in_training_precision(model, config: TrainConfig) -> torch.autocast:
    """What all recipes are validated and scored in: bf16 where `train` takes it, which halves the time here."""
    half = pick_precision(config.precision)[0] == "bf16"
    return torch.autocast(model.device.type, torch.bfloat16, enabled=half)


def averaged(keeper: KeepWeights) -> dict[str, torch.Tensor]:
    """The mean of the weights of the second half of a run."""
    steps = [point["step"] for point in keeper.curve]
    return mean_of([keeper.weights(step) for step in steps if 2 * step > steps[-1]])


def mean_of(states: Sequence[dict], shares: Sequence[float] | None = None) -> dict[str, torch.Tensor]:
    """A weighted mean of weights; without shares all count the same."""
    shares = shares or [1 / len(states)] * len(states)
    return {name: sum(share * state[name] for share, state in zip(shares, states, strict=True)) for name in states[0]}


def interpolated(recipe: Recipe, model, processor, config: TrainConfig, splits: dict, keeper: KeepWeights) -> float:
    """Put the best mixture of stock and tuned weights into `model`; returns the share of tuned ones.

    The share is chosen on the validation split (WiSE-FT, Wortsman et al. 2022, arXiv 2109.01903).
    """
    stock, tuned = keeper.weights(0), keeper.weights(keeper.best["step"])

    def error(share: float) -> float:
        model.load_state_dict(mean_of([stock, tuned], [1 - share, share]))
        edits, characters = validate(recipe, model, processor, config, splits)
        return edits / characters

    share = min(SHARES, key=error)
    model.load_state_dict(mean_of([stock, tuned], [1 - share, share]))
    return share


def _evaluated(trainer, keeper: KeepWeights, edits: list[int], model) -> dict:
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
    trainer._save_checkpoint = lambda *_: None  # KeepWeights keeps what is chosen
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
        bf16=pick_precision(config.precision)[0] == "bf16",  # as fast as this processor can, like the other recipes
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


def mixed(train: datasets.Dataset, others: datasets.Dataset, *, at_most: int) -> datasets.Dataset:
    """With some clips of the other language, spread over what there is."""
    return datasets.concatenate_datasets([train, evenly(others, at_most)]).with_format("numpy")


def replayed(model, processor, config: TrainConfig, others: datasets.Dataset, *, n: int) -> datasets.Dataset:
    """Some clips of the other language with the text that the model, before it is tuned, writes of them at 30 s."""
    chosen = evenly(others, n)
    written = transcribe_split(model, processor, chosen, config=config, context="full")
    kept = [row for row, one in enumerate(written) if one.prediction and not is_loop(one)]
    texts = [written[row].prediction for row in kept]
    return chosen.select(kept).remove_columns("text").add_column("text", texts).select_columns(others.column_names)


def described(config: TrainConfig) -> dict:
    """What a row says of its options: those that differ from the defaults, without folders."""
    standard = dataclasses.asdict(TrainConfig())
    return {k: v for k, v in dataclasses.asdict(config).items() if v != standard[k] and k != "model"}
