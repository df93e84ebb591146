"""One run in a process of its own: python -m benchmarks.real_cantonese.run RECIPE FOLD SEED WORK OUT"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.real_cantonese import folds
from benchmarks.real_cantonese.recipes import RECIPES, Recipe, described, edits_of, fit, mixed
from benchmarks.real_clips import folder_of
from cantowhisper.files import write_json
from cantowhisper.training.data.sampling import frame_counts
from cantowhisper.training.results.analysis import is_loop
from cantowhisper.training.results.scoring import SCORED_CONTEXTS, transcribe_split
from cantowhisper.training.trainer import prepare_model

STOCK = "stock"  # nothing is trained


def run(name: str, fold: int, seed: int, work: Path) -> dict:
    """The row of one run: its curve, and how it writes the clips of its test fold and of other languages."""
    speech, weights = folder_of("REAL_SPEECH"), folder_of("REAL_WEIGHTS")
    recipe = RECIPES.get(name, Recipe())
    config = recipe.config(weights / "whisper-base", seed)
    splits = folds.split_of(folds.cantonese(speech, work), fold)
    scored, others = folds.mandarin(speech, work)
    if recipe.mandarin:
        splits["train"] = mixed(splits["train"], others)
    row = {"recipe": name, "fold": fold, "seed": seed}
    torch.manual_seed(seed)
    model, processor = prepare_model(config, splits["train"]["text"])
    if name != STOCK:
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="cantowhisper-bench-") as folder:
            row["curve"] = fit(recipe, model, processor, config, splits, Path(folder))
        row |= {"wall_s": round(time.perf_counter() - started, 1), "options": described(config)}
        row |= {"n_train": len(splits["train"]), "train_minutes": round(sum(frame_counts(splits["train"])) / 6000, 2)}
        row["peak_mib"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    tested = {f"test_{context}": (splits["test"], context) for context in SCORED_CONTEXTS}
    tested |= {"mandarin": (scored, "variable"), "english": (folds.english(speech), "variable")}
    for kind, (split, context) in tested.items():
        written = transcribe_split(model, processor, split, config=config, context=context)
        row[kind] = {
            "ids": [t.id for t in written],
            "speakers": split["speaker"] if "speaker" in split.column_names else [t.id for t in written],
            "edits": edits_of(written),
            "loops": sum(map(is_loop, written)),
        }
        row[kind] = {k: list(map(str, v)) if k == "speakers" else v for k, v in row[kind].items()}
    return row


if __name__ == "__main__":
    write_json(run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])), Path(sys.argv[5]))
