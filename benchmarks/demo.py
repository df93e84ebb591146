"""Run `make demo OPEN=0` into empty folders and keep what it reached: python -m benchmarks.demo --json FILE

The whole demo runs once for each seed: weights, order and augmentation are drawn anew, the recordings stay. The first
run, with the default seed, also gives the table and the transcripts.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import describe

ROOT = Path(__file__).resolve().parents[1]
SEEDS = (20, 21, 22)  # 20 is the preset's own


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/demo.json"))
    parser.add_argument("--keep", type=Path, help="an empty folder for what the demos make (default: thrown away)")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    arguments = parser.parse_args()
    path, keep = arguments.json, arguments.keep
    if keep and keep.exists() and any(keep.iterdir()):
        sys.exit(f"{keep} is not empty: the demo would go on with what is there")
    subprocess.run(["make", ".venv/.ready"], cwd=ROOT, check=True)  # the set-up is not counted
    with tempfile.TemporaryDirectory() as folder:
        runs = {seed: run(Path(keep or folder).resolve() / f"seed_{seed}", seed) for seed in arguments.seeds}
    result = {"machine": describe(), **next(iter(runs.values())), "seeds": {str(s): _kept(r) for s, r in runs.items()}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def run(folder: Path, seed: int) -> dict:
    """One demo from nothing: its minutes, its scores and the lines of its output that are worth showing."""
    command = ["make", "demo", "OPEN=0", f"DEMO={folder}"]
    changed = {**os.environ, "CANTOWHISPER_CHANGES": json.dumps({"seed": seed})}
    started, lines = time.monotonic(), []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=changed) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.rstrip().replace(str(folder), "demo"))
    if process.returncode:
        sys.exit(f"the demo ended with code {process.returncode}")
    return {
        "minutes": round((time.monotonic() - started) / 60, 1),
        **json.loads((folder / "scores.json").read_text(encoding="utf-8")),
        "validation": json.loads((folder / "model/metrics.json").read_text(encoding="utf-8"))["validation"],
        "output": _worth_showing(lines),
    }


def _kept(one: dict) -> dict:
    """Of a run: its minutes, and the error rate of all test clips in both contexts."""
    scores = one["scores"]
    rates = {name: scores[name]["all"]["cer_no_punctuation"] for name in ("after", "after, 30 s windows")}
    pieces = [line.strip() for line in one["output"] if "(CER " in line]
    return {"minutes": one["minutes"], "cer": rates, "longer_pieces": pieces}


def _worth_showing(lines: list[str]) -> list[str]:
    """The score table and the transcripts of the longer pieces."""
    first = next(i for i, line in enumerate(lines) if line.startswith("CER, no punctuation"))
    wanted = ("CER,", "known", "unseen", "all", "  heard", "  written")
    return [line for line in lines[first:] if line.startswith(wanted) or "(CER " in line]


if __name__ == "__main__":
    main()
