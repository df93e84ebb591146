"""Studies on samples/: python -m benchmarks.studies NAME … [--work FOLDER]

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
# whisper-base in steps of four single clips without times, and stopped early: runs that have learned everything do not
# differ, and weights are those of the training alone. Wrong texts do not harm it in so few clips, so they are measured
# with a miniature, which learns from nothing; whisper-base finds them.
SINGLE = ["--set", "batch_size=4", "--set", "packed_share=0", "--set", "timestamps_share=0"]
STUDIES = {
    "noise": ["--steps", 1350, "--other", "whisper-base"],
    "growing-batch": ["--model", "whisper-base", "--steps", 48, *SINGLE, "--set", "halfway=false"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=STUDIES, metavar="NAME", help=f"of {', '.join(STUDIES)}")
    parser.add_argument("--work", type=Path, help="a folder for features and runs, kept (default: thrown away)")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cantowhisper-bench-") as folder:
        work = arguments.work or Path(folder)
        features = work / "features"
        if not features.exists():
            cantowhisper("features", ROOT / "samples", features)
        for name in arguments.names:
            options = [folder_of("REAL_WEIGHTS") / one if one == "whisper-base" else one for one in STUDIES[name]]
            cantowhisper("study", name, features, work / name, "--seeds", arguments.seeds, *options)
            found = json.loads((work / name / "results.json").read_text(encoding="utf-8"))
            path = RESULTS / f"study_{name.replace('-', '_')}.json"
            write_json({"machine": describe(), **without_folders(found)}, path)


def cantowhisper(*arguments) -> None:
    """Run a command of the package; it ends the program where it fails."""
    command = [sys.executable, "-m", "cantowhisper.cli", *map(str, arguments)]
    if code := subprocess.run(command, cwd=ROOT).returncode:
        sys.exit(code)


def without_folders(results: dict) -> dict:
    """The results of a study, with the models' names instead of where they lie."""
    settings = results["settings"]
    names = {key: Path(settings[key]).name for key in ("model", "other") if settings[key]}
    return results | {"settings": settings | names}


if __name__ == "__main__":
    main()
