"""One run in a process of its own: python -m benchmarks.real_cantonese.run RECIPE FOLD SEED WORK OUT [--blends]"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.real_cantonese import folds
from benchmarks.real_cantonese.further import averaged_seeds, with_pseudo_labels
from benchmarks.real_cantonese.recipes import (
    RECIPES,
    Recipe,
    averaged,
    described,
    edits_of,
    fit,
    interpolated,
    mixed,
    replayed,
)
from benchmarks.real_cantonese.tables import AVERAGED, INTERPOLATED, STOCK
from benchmarks.real_clips import folder_of
from cantowhisper.files import write_json
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
    splits = folds.split_of(folds.cantonese(speech, work), fold)
    scored, others = folds.mandarin(speech, work)
    if recipe.mandarin:
        splits["train"] = mixed(splits["train"], others, at_most=len(splits["train"]))
    tested = {f"test_{context}": (splits["test"], context) for context in SCORED_CONTEXTS}
    tested |= {"mandarin": (scored, "variable"), "english": (folds.english(speech), "variable")}
    torch.manual_seed(seed)
    model, processor = prepare_model(config, splits["train"]["text"])
    if recipe.replay:
        own = replayed(model, processor, config, others, n=recipe.replay)
        splits["train"] = mixed(splits["train"], own, at_most=recipe.replay)

    def row(called: str, **more) -> dict:
        return {"recipe": called, "fold": fold, "seed": seed, **more, **scores(model, processor, config, tested)}

    if name == STOCK:
        return [row(STOCK)]
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="cantowhisper-bench-") as folder:
        parts, place = (recipe, model, processor, config, splits), Path(folder)
        n_labelled = 0
        if recipe.seeds > 1:
            curve = averaged_seeds(*parts, place)
        elif recipe.pseudo:
            curve, n_labelled = with_pseudo_labels(*parts, place, speech)
        else:
            keeper = fit(*parts, place, blends=blends)
            curve = keeper.curve
        spent = {"wall_s": round(time.perf_counter() - started, 1)}
        spent["peak_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        minutes = round(sum(frame_counts(splits["train"])) / 6000, 2)
        said = {"options": described(config), "n_train": len(splits["train"]), "train_minutes": minutes}
        said |= {"n_labelled": n_labelled} if n_labelled else {}
        rows = [row(name, curve=curve, **spent, **said)]
        if blends:
            model.load_state_dict(averaged(keeper))
            rows.append(row(AVERAGED))
            share = interpolated(recipe, model, processor, config, splits, keeper)
            rows.append(row(INTERPOLATED, share=share))
    return rows


def scores(model, processor, config, tested: dict) -> dict:
    """Of each split: ids and speakers of its clips, what was written, [edits, characters] of each, how many loop.

    A model that has learned to write traditional characters has not forgotten Mandarin: that is compared simplified.
    """
    found = {}
    for kind, (split, context) in tested.items():
        written = transcribe_split(model, processor, split, config=config, context=context)
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
