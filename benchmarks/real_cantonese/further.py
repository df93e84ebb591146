"""What else may help: weights averaged over runs, clips without transcripts, and sentences without recordings."""

from collections.abc import Sequence
from pathlib import Path

import datasets
import numpy as np
import torch

from benchmarks.real_cantonese.curve import Clock, KeepWeights
from benchmarks.real_cantonese.recipes import (
    EVALUATE_EVERY,
    STEPS,
    Recipe,
    edits_of,
    fit,
    in_training_precision,
    mean_of,
)
from cantowhisper.curation.language_model import WEIGHTS, choose_weight, learned, unheard
from cantowhisper.curation.pseudo import pseudo_label
from cantowhisper.speech.ngram import NGram
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.model import save_model
from cantowhisper.training.results.facts import model_facts
from cantowhisper.training.results.scoring import transcribe_split
from cantowhisper.training.trainer import prepare_model

UNLABELLED = "zh-HK-radio"


def averaged_runs(
    recipe: Recipe, model, processor, configs: Sequence[TrainConfig], splits: Sequence[dict], folder: Path
) -> list[dict]:
    """Leave in `model` the mean of the best weights of several runs; returns the curves of all of them.

    configs, splits : of each run
    Runs from the same pretrained weights end near each other, so that their mean is a model too, and often a better one
    (model soups, Wortsman et al. 2022, arXiv 2203.05482).
    """
    clock, states, curve = Clock(), [], []
    for number, (config, own) in enumerate(zip(configs, splits, strict=True)):
        torch.manual_seed(config.seed)
        if number:
            model.load_state_dict(prepare_model(config, splits[0]["train"]["text"])[0].state_dict())
        keeper = fit(recipe, model, processor, config, own, made(folder / str(number)), clock=clock)
        states.append({name: weights.clone() for name, weights in model.state_dict().items()})
        curve += keeper.curve
    model.load_state_dict(mean_of(states))
    return curve


def with_pseudo_labels(
    recipe: Recipe, model, processor, config: TrainConfig, splits: dict, folder: Path, speech: Path
) -> tuple[list[dict], int]:
    """Leave in `model` what the stock model becomes with the clips that its tuned form has labelled, too.

    Returns the curve of both runs, and how many clips were labelled surely enough. The labels' time counts.
    """
    clock = Clock()
    first = fit(recipe, model, processor, config, splits, made(folder / "first"), clock=clock)
    begun = clock.now()
    save_model(model, processor, folder / "model")
    model_facts(config, model, folder, texts=splits["train"]["text"]).save(folder / "model")
    pseudo_label(
        speech / UNLABELLED,
        folder / "labelled",
        model=folder / "model",
        language="yue",
        settings={"storage": "float16"},
        threads=torch.get_num_threads(),
        progress=False,
    )
    clock.train_s = clock.train_s + clock.now() - begun
    files = sorted(str(path) for path in (folder / "labelled" / "data").glob("*.parquet"))
    labelled = datasets.load_dataset("parquet", data_files=files, split="train")
    known = set(np.concatenate([splits[name]["id"] for name in splits]))
    labelled = labelled.select([row for row, clip in enumerate(labelled["id"]) if Path(clip).stem not in known])
    train = datasets.concatenate_datasets([splits["train"], labelled.select_columns(splits["train"].column_names)])
    every = round(EVALUATE_EVERY * len(train) / len(splits["train"]))  # as many epochs, as many evaluations
    longer = config.with_overrides(max_steps=every * STEPS // EVALUATE_EVERY, evaluate_every_steps=every)
    model.load_state_dict(prepare_model(config, splits["train"]["text"])[0].state_dict())
    more = splits | {"train": train.with_format("numpy")}
    second = fit(recipe, model, processor, longer, more, made(folder / "second"), clock=clock)
    return first.curve + second.curve, len(labelled)


def with_sentences(
    recipe: Recipe, model, processor, config: TrainConfig, splits: dict, keeper: KeepWeights, sentences: Sequence[str]
) -> tuple[list[dict], NGram | None]:
    """Choose on the validation clips how much a language model of sentences counts for the weights of a run.

    keeper : of a run that has kept the weights of all validations; `model` has the best of them, before and after
    Returns the curve, validated with the language model at every point but step 0, which is the stock model, and the
    language model; None where none helps. The time that counting takes is in the curve. No clip of any split says a
    sentence that is counted, or six characters in a row of it.
    """
    begun = Clock.now()
    said = [text for split in splits.values() for text in split["text"]]
    counted = learned(unheard(sentences, said), model, processor, config)
    wall_s, cpu_s = Clock.now() - begun

    def hear(ngram: NGram | None):
        clips = splits["validation"]
        with in_training_precision(model, config):
            return transcribe_split(
                model, processor, clips, config=config, context=recipe.context, language_model=ngram
            )

    by_weight = {}
    chosen, _ = choose_weight(counted, WEIGHTS, lambda ngram: by_weight.setdefault(ngram and ngram.facts, hear(ngram)))
    curve = []
    for point in keeper.curve:
        took = {"train_s": round(point["train_s"] + wall_s, 2), "train_cpu_s": round(point["train_cpu_s"] + cpu_s, 2)}
        curve.append(point | took)
        if chosen and point["step"]:
            model.load_state_dict(keeper.weights(point["step"]))
            written = by_weight[chosen.facts] if point is keeper.best else hear(chosen)
            curve[-1] |= {"validation": np.sum(edits_of(written), axis=0).tolist()}
    model.load_state_dict(keeper.weights(keeper.best["step"]))
    return curve, chosen


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
