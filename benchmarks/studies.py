"""Studies on samples/ with the real whisper-base: python -m benchmarks.studies NAME … [--work FOLDER]

Each is `cantowhisper study NAME` as anybody can type it, in runs short enough for two cores, and its rows go into
benchmarks/results/study_NAME.json, with _ for -. With --work, a study that was interrupted goes on.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.real_clips import folder_of
from cantowhisper.files import write_json

ROOT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).resolve().parent / "results"
# Steps of four single clips without times. Runs that have learned everything do not differ, so the study of batches
# stops early; wrong texts take longer to learn.
SHARED = ["--set", "batch_size=4", "--set", "packed_share=0", "--set", "timestamps_share=0"]
STEPS = {"noise": 150, "growing-batch": 48}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=STEPS, metavar="NAME", help=f"of {', '.join(STEPS)}")
    parser.add_argument("--work", type=Path, help="a folder for features and runs, kept (default: thrown away)")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    weights = folder_of("REAL_WEIGHTS") / "whisper-base"
    with tempfile.TemporaryDirectory(prefix="cantowhisper-bench-") as folder:
        work = arguments.work or Path(folder)
        features = work / "features"
        if not features.exists():
            cantowhisper("features", ROOT / "samples", features)
        for name in arguments.names:
            options = ["--model", weights, "--steps", STEPS[name], "--seeds", arguments.seeds, *SHARED]
            cantowhisper("study", name, features, work / name, *options)
            found = json.loads((work / name / "results.json").read_text(encoding="utf-8"))
            path = RESULTS / f"study_{name.replace('-', '_')}.json"
            write_json({"machine": describe(), **without_folders(found)}, path)


def cantowhisper(*arguments) -> None:
    """Run a command of the package; it ends the program where it fails."""
    command = [sys.executable, "-m", "cantowhisper.cli", *map(str, arguments)]
    if code := subprocess.run(command, cwd=ROOT).returncode:
        sys.exit(code)


def without_folders(results: dict) -> dict:
    """The results of a study, with the model's name instead of where it lies."""
    settings = results["settings"]
    return results | {"settings": settings | {"model": Path(settings["model"]).name}}


if __name__ == "__main__":
    main()
