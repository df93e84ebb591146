"""Real Whisper, real Cantonese: python -m benchmarks.real_cantonese --json FILE

100 Common Voice zh-HK clips in five folds by speaker. Each recipe tunes whisper-base on three folds, its checkpoint is
chosen on the fourth and tested on the fifth: every clip is tested once, by a model that has heard neither its speaker
nor its sentence. Recipes take turns within a fold. What it forgets is shown by 100 Mandarin clips, of which each fold
scores a fifth, and by two English recordings, before and after. Intervals draw speakers, with all their clips.

It needs REAL_SPEECH and REAL_WEIGHTS. A run is a row in FILE; rows that are there are not run again, so the command
may be stopped and given again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.real_cantonese.folds import N_FOLDS
from benchmarks.real_cantonese.recipes import BATCH, EVALUATE_EVERY, RECIPES, STEPS
from benchmarks.real_cantonese.tables import OURS, STOCK, compared
from benchmarks.real_clips import folder_of
from cantowhisper.files import write_json

SEEDS = (20, 21, 22)  # of `ours`; the others are run with the first


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/real_cantonese.json"))
    parser.add_argument("--recipes", nargs="+", choices=tuple(RECIPES), default=["usual", "ours"])
    parser.add_argument("--seeds", type=int, default=1, help="of `ours`, up to 3 (default: 1)")
    parser.add_argument("--folds", type=int, nargs="+", choices=range(N_FOLDS), default=list(range(N_FOLDS)))
    parser.add_argument("--blends", action="store_true", help="of `ours`: weights averaged and interpolated, too")
    parser.add_argument("--work", type=Path, help="where features are kept (default: made again for each call)")
    options = parser.parse_args()
    folder_of("REAL_SPEECH"), folder_of("REAL_WEIGHTS")
    result = json.loads(options.json.read_text(encoding="utf-8")) if options.json.exists() else {"rows": []}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="cantowhisper-bench-") as folder:
        for name, fold, seed in runs(options):
            if any((row["recipe"], row["fold"], row["seed"]) == (name, fold, seed) for row in result["rows"]):
                continue
            print(f"{name}, fold {fold}, seed {seed}", flush=True)
            result["rows"] += one_run(name, fold, seed, options.work or Path(folder), blends=options.blends)
            result |= {"machine": describe(), "steps": STEPS, "clips_a_step": BATCH, "evaluated_every": EVALUATE_EVERY}
            write_json(result | compared(result["rows"]), options.json)
    result |= compared(result["rows"])
    write_json(result, options.json)
    print(json.dumps({k: v for k, v in result.items() if k not in ("rows", "machine")}, indent=2, ensure_ascii=False))
    return 0


def runs(options) -> list[tuple[str, int, int]]:
    """Seeds one after the other; within a fold recipes take turns, so that what slows the machine slows all."""
    planned = []
    for number, seed in enumerate(SEEDS[: max(1, options.seeds)]):
        names = [STOCK, *options.recipes] if number == 0 else [name for name in options.recipes if name == OURS]
        planned += [(name, fold, seed) for fold in options.folds for name in names]
    return planned


def one_run(name: str, fold: int, seed: int, work: Path, *, blends: bool) -> list[dict]:
    """A run in a process of its own, whose peak memory is its own."""
    work.mkdir(parents=True, exist_ok=True)
    out = work / "row.json"
    command = [sys.executable, "-m", "benchmarks.real_cantonese.run", name, str(fold), str(seed), str(work), str(out)]
    subprocess.run(command + ["--blends"] * (blends and name == OURS), check=True)
    return json.loads(out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
