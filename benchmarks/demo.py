"""Run `make demo OPEN=0` into an empty folder and keep what it reached: python -m benchmarks.demo --json FILE"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import describe

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/demo.json"))
    parser.add_argument("--keep", type=Path, help="an empty folder for what the demo makes (default: thrown away)")
    arguments = parser.parse_args()
    path, keep = arguments.json, arguments.keep
    if keep and keep.exists() and any(keep.iterdir()):
        sys.exit(f"{keep} is not empty: the demo would go on with what is there")
    with contextlib.nullcontext(str(keep.resolve())) if keep else tempfile.TemporaryDirectory() as folder:
        command = ["make", "demo", "OPEN=0", f"DEMO={folder}"]
        subprocess.run(["make", ".venv/.ready"], cwd=ROOT, check=True)  # the set-up is not counted
        started = time.monotonic()
        lines = []
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
            for line in process.stdout:
                print(line, end="", flush=True)
                lines.append(line.rstrip().replace(folder, "demo"))
        if process.returncode:
            sys.exit(f"the demo ended with code {process.returncode}")
        result = {
            "machine": describe(),
            "minutes": round((time.monotonic() - started) / 60, 1),
            **json.loads((Path(folder) / "scores.json").read_text(encoding="utf-8")),
            "validation": json.loads((Path(folder) / "model/metrics.json").read_text(encoding="utf-8"))["validation"],
            "output": _worth_showing(lines),
        }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _worth_showing(lines: list[str]) -> list[str]:
    """The score table and the transcripts of the longer pieces."""
    first = next(i for i, line in enumerate(lines) if line.startswith("CER, no punctuation"))
    wanted = ("CER,", "known", "unseen", "all", "  heard", "  written")
    return [line for line in lines[first:] if line.startswith(wanted) or "(CER " in line]


if __name__ == "__main__":
    main()
