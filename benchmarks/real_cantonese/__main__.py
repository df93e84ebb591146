"""Real Whisper, real Cantonese: python -m benchmarks.real_cantonese --json FILE

100 Common Voice zh-HK clips in five folds by speaker. Each recipe tunes whisper-base on three folds, its checkpoint is
chosen on the fourth and tested on the fifth: every clip is tested once, by a model that has heard neither its speaker
nor its sentence. Recipes take turns within a fold, two at a time with half of the cores each. What they forget shows in
100 Mandarin clips, of which each fold scores a fifth, and in two English recordings, before and after. Intervals draw
speakers, with all their clips.

It needs REAL_SPEECH and REAL_WEIGHTS. A run is a row in FILE; rows that are there are not run again, so the command
may be stopped and given again.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

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
    parser.add_argument("--jobs", type=int, default=2, help="runs beside each other, of 5 GB each (default: 2)")
    parser.add_argument("--work", type=Path, help="where features are kept (default: made again for each call)")
    options = parser.parse_args()
    folder_of("REAL_SPEECH"), folder_of("REAL_WEIGHTS")
    result = json.loads(options.json.read_text(encoding="utf-8")) if options.json.exists() else {"rows": []}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    done = {(row["recipe"], row["fold"], row["seed"]) for row in result["rows"]}
    planned = [one for one in runs(options) if one not in done]
    with tempfile.TemporaryDirectory(prefix="cantowhisper-bench-") as folder:
        for rows in in_turn(planned, options.work or Path(folder), jobs=options.jobs, blends=options.blends):
            result["rows"] += rows
            result |= {"machine": describe(), "steps": STEPS, "clips_a_step": BATCH, "evaluated_every": EVALUATE_EVERY}
            write_json(result | compared(result["rows"]), options.json)
    result |= compared(result["rows"])
    write_json(result, options.json)
    print(json.dumps({k: v for k, v in result.items() if k not in ("rows", "machine")}, indent=2, ensure_ascii=False))
    return 0


def runs(options) -> list[tuple[str, int, int]]:
    """Seeds one after the other; within a fold recipes take turns, so that what slows the machine slows all.

    The shortest run of a fold is its last: less is waited for at the end.
    """
    planned = []
    for number, seed in enumerate(SEEDS[: max(1, options.seeds)]):
        names = [*options.recipes, STOCK] if number == 0 else [name for name in options.recipes if name == OURS]
        planned += [(name, fold, seed) for fold in options.folds for name in names]
    return planned


def in_turn(planned: list[tuple[str, int, int]], work: Path, *, jobs: int, blends: bool) -> Iterator[list[dict]]:
    """The rows of each run as it ends; so many are under way at once, each with a folder and a share of the cores."""
    folders: SimpleQueue[Path] = SimpleQueue()
    for number in range(jobs):
        folders.put(work / str(number))

    def go(run: tuple[str, int, int]) -> list[dict]:
        folder = folders.get()
        try:
            return one_run(*run, folder, threads=max(1, (os.cpu_count() or 1) // jobs), blends=blends)
        finally:
            folders.put(folder)

    with ThreadPoolExecutor(jobs) as pool:
        try:
            yield from (run.result() for run in as_completed([pool.submit(go, run) for run in planned]))
        finally:
            pool.shutdown(cancel_futures=True)  # one has failed, or Ctrl-C: what has not begun does not begin


def one_run(name: str, fold: int, seed: int, work: Path, *, threads: int, blends: bool) -> list[dict]:
    """A run in a process of its own, whose peak memory is its own."""
    print(f"{name}, fold {fold}, seed {seed}", flush=True)
    work.mkdir(parents=True, exist_ok=True)
    out = work / "row.json"
    command = [sys.executable, "-m", "benchmarks.real_cantonese.run", name, str(fold), str(seed), str(work), str(out)]
    command += ["--blends"] * (blends and name == OURS)
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)})
    return json.loads(out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    sys.exit(main())
