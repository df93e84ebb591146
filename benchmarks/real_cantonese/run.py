"""One run in a process of its own: python -m benchmarks.real_cantonese.run RECIPE FOLD SEED WORK OUT [--blends]"""

import dataclasses
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import datasets
import torch

from benchmarks.real_cantonese import folds
from benchmarks.real_cantonese.further import averaged_runs, with_pseudo_labels, with_sentences
from benchmarks.real_cantonese.recipes import (
    RECIPES,
    Recipe,
    averaged,
    described,
    edits_of,
    fit,
    in_training_precision,
    interpolated,
    mixed,
    replayed,
)
from benchmarks.real_cantonese.tables import AVERAGED, INTERPOLATED, STOCK, WITH_SENTENCES
from benchmarks.real_clips import folder_of
from cantowhisper.files import write_json
from cantowhisper.speech.ngram import NGram
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.sampling import frame_counts
from cantowhisper.training.results.analysis import is_loop
from cantowhisper.training.results.scoring import SCORED_CONTEXTS, transcribe_split
from cantowhisper.training.trainer import prepare_model


def run(name: str, fold: int, seed: int, work: Path, *, blends: bool = False) -> list[dict]:
    """The rows of one run: its curve, and how it writes the clips of its test fold and of other languages.

    With blends there is a row for the averaged weights and one for the interpolated ones, too.
    """
    speech, weights = folder_of("REAL_SPEECH"), folder_of("REAL_WEIGHTS")
    recipe = RECIPES.get(name, Recipe())
    config = recipe.config(weights / "whisper-base", seed)
    cantonese = folds.cantonese(speech, work)
    turns = [folds.split_of(cantonese, fold, turn=turn) for turn in range(recipe.turns)]
    splits = turns[0]
    scored, others = folds.mandarin(speech, work, fold)
    if recipe.mandarin:
        splits["train"] = mixed(splits["train"], others, at_most=len(splits["train"]))
    tested = {f"test_{context}": (splits["test"], context) for context in SCORED_CONTEXTS}
    tested |= {"joined": (folds.joined(speech, splits["test"]), "variable")}
    tested |= {"mandarin": (scored, "variable"), "english": (folds.english(speech), "variable")}
    torch.manual_seed(seed)
    model, processor = prepare_model(config, splits["train"]["text"])
    if recipe.replay:
        own = replayed(model, processor, config, others, n=recipe.replay)
        for one in turns:
            one["train"] = mixed(one["train"], own, at_most=recipe.replay)

    def row(called: str, *, splits: dict = tested, ngram: NGram | None = None, **more) -> dict:
        written = scores(model, processor, config, splits, ngram)
        return {"recipe": called, "fold": fold, "seed": seed, **more, **written}

    if name == STOCK:
        return [row(STOCK)]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="cantowhisper-bench-") as folder:
        parts, place = (recipe, model, processor, config), Path(folder)
        if blends or recipe.sentences:
            keeper = fit(*parts, splits, place, blends=True)
            found = {"curve": keeper.curve}
        else:
            found = tuned(*parts, turns, place, speech)
        found |= {"wall_s": round(time.perf_counter() - started, 1)}
        found |= {"peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)}
        found |= {"options": described(config), **heard([one["train"] for one in turns])}
        rows = [row(name, **found)]
        if recipe.sentences:
            found["curve"], ngram = with_sentences(*parts, splits, keeper, folds.sentences())
            found["language_model"] = dataclasses.asdict(ngram.facts) if ngram else None
            found |= {kind: rows[0][kind] for kind in ("mandarin", "english")}  # where it has no say, as in serving
            own = {kind: tested[kind] for kind in tested if kind not in found}
            rows.append(row(name + WITH_SENTENCES, splits=own, ngram=ngram, **found))
        if blends:
            model.load_state_dict(averaged(keeper))
            rows.append(row(AVERAGED))
            share = interpolated(recipe, model, processor, config, splits, keeper)
            rows.append(row(INTERPOLATED, share=share))
    return rows


def tuned(
    recipe: Recipe, model, processor, config: TrainConfig, turns: Sequence[dict], folder: Path, speech: Path
) -> dict:
    """Tune `model` in place, as the recipe says: its curve, and what else was made on the way."""
    parts, splits = (recipe, model, processor, config), turns[0]
    if (n := recipe.seeds * recipe.turns) > 1:
        configs = [dataclasses.replace(config, seed=config.seed + number) for number in range(n)]
        return {"curve": averaged_runs(recipe, model, processor, configs, turns * recipe.seeds, folder)}
    if recipe.pseudo:
        curve, n_labelled = with_pseudo_labels(*parts, splits, folder, speech)
        return {"curve": curve, "n_labelled": n_labelled}
    return {"curve": fit(*parts, splits, folder).curve}


def heard(trained: Sequence[datasets.Dataset]) -> dict:
    """How many clips all runs together have heard, and how many minutes they last."""
    frames = {clip: n for split in trained for clip, n in zip(split["id"], frame_counts(split), strict=True)}
    return {"n_train": len(frames), "train_minutes": round(sum(frames.values()) / 6000, 2)}


def scores(model, processor, config, tested: dict, ngram: NGram | None = None) -> dict:
    """Of each split: ids and speakers of its clips, what was written, [edits, characters] of each, how many loop.

    A model that has learned to write traditional characters has not forgotten Mandarin: that is compared simplified.
    """
    found = {}
    for kind, (split, context) in tested.items():
        with in_training_precision(model, config):
            written = transcribe_split(model, processor, split, config=config, context=context, language_model=ngram)
        found[kind] = {
            "ids": [t.id for t in written],
            "speakers": [str(speaker) for speaker in split["speaker"]],
            "written": [t.prediction for t in written],
            "edits": edits_of(written, view="simplified" if kind == "mandarin" else "no_punctuation"),
            "loops": sum(map(is_loop, written)),
        }
    return found


if __name__ == "__main__":
    recipe, at_fold, at_seed, folder, out = sys.argv[1:6]
    rows = run(recipe, int(at_fold), int(at_seed), Path(folder), blends="--blends" in sys.argv[6:])
    write_json(rows, Path(out))
