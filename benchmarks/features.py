"""Feature pipeline against the usual recipe: python -m benchmarks.features --json FILE

Ours, the reference recipe (`datasets` map with WhisperFeatureExtractor over 16 kHz audio, padded float32,
save_to_disk), and decoding with resampling alone, which no pipeline on these decoders can beat: in alternation, each
in a process of its own with one worker and one thread (see feature_programs.py). Ratios are of neighbours in the
alternation: median, smallest and largest of the rounds. Two workers are compared with one, beside what two processes
that share nothing reach on the same machine; and the memory for few clips with that for many.

More clips than there are recordings are made by cutting the ends of the MP3s, so that no two are the same.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.feature_programs import make_release, rows_of
from benchmarks.machine import describe

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "samples" / "corpus"
REAL = "common_voice_17_layout/cv-corpus-17.0-2024-03-15/zh-HK"  # in the folder that REAL_SPEECH names
CUT_BYTES = 200  # at least one MP3 frame of these recordings


def many_clips(source: Path, folder: Path, n: int) -> Path:
    """A release of `n` different clips: those of `source`, then the same with one, two, … cuts off their ends."""
    rows, made = rows_of(source), []
    (folder / "clips").mkdir(parents=True)
    for i in range(n):
        row, cuts = rows[i % len(rows)], i // len(rows)
        data, name = (source / "clips" / row["path"]).read_bytes(), f"{i:06d}.mp3"
        if cuts:  # without the count of frames: what is cut off would be a loss, and a reason to reject the clip
            data = data[: len(data) - CUT_BYTES * cuts].replace(b"Xing", b"none", 1).replace(b"Info", b"none", 1)
        (folder / "clips" / name).write_bytes(data)
        made.append({**row, "path": name})
    return make_release(folder, made)


class Process:
    """A program in a fresh process. Its figures are there when it has ended."""

    def __init__(self, program: str, folder: Path, *, workers: int = 1):
        self._scratch = tempfile.TemporaryDirectory(dir=folder.parent)
        out, environment = Path(self._scratch.name) / "out", {**os.environ, "OMP_NUM_THREADS": "1"}
        environment["HF_DATASETS_CACHE"] = f"{self._scratch.name}/cache"
        command = [sys.executable, "-m", "benchmarks.feature_programs", program, str(folder), str(out)]
        self._process = subprocess.Popen(
            [*command, "--workers", str(workers)], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment
        )
        self._name = f"{program}, {workers} worker{'s' if workers > 1 else ''}"

    def figures(self) -> dict:
        with self._scratch:
            printed, _ = self._process.communicate()
            if self._process.returncode:
                sys.exit(f"{self._name} ended with code {self._process.returncode}")
            found = json.loads(printed.splitlines()[-1])
        rate, peak = found["clips_per_second"], found["peak_mb"]
        print(f"{self._name:<24} {found['clips']:>6} clips {rate:8.1f} clips/s {peak:8.0f} MB", file=sys.stderr)
        return found


def measure(program: str, folder: Path, *, workers: int = 1) -> dict:
    return Process(program, folder, workers=workers).figures()


def compare(source: Path, n_clips: int, rounds: int, scratch: Path) -> dict:
    """One row of the result: one worker each side."""
    folder = many_clips(source, scratch / f"compare-{source.name}", n_clips)
    runs: dict[str, list[dict]] = {name: [] for name in ("ours", "decode", "reference")}
    for _ in range(rounds):
        for name, found in runs.items():
            found.append(measure(name, folder))
    exact, writing = measure("restore_error", folder), measure("write", folder)
    rate = {name: [run["clips_per_second"] for run in found] for name, found in runs.items()}
    ratio, share = quotients(rate["ours"], rate["reference"]), quotients(rate["ours"], rate["decode"])
    return {
        "clips": n_clips,
        "hours": runs["ours"][0]["hours"],
        "recordings": min(n_clips, len(rows_of(source))),
        "rejected": runs["ours"][0]["rejected"],
        "rounds": rounds,
        "clips_per_second_ratio": middle(ratio),
        "bytes_ratio": round(runs["reference"][0]["bytes"] / runs["ours"][0]["bytes"], 2),
        "share_of_decode_limit": middle(share),
        "max_restore_error": {when: exact[when] for when in ("before_storage", "after_storage")},
        "restore_error_clips": exact["clips"],
        "peak_mb": {name: max(run["peak_mb"] for run in runs[name]) for name in ("ours", "reference")},
        "bytes_per_clip": {name: round(runs[name][0]["bytes"] / n_clips) for name in ("ours", "reference")},
        "clips_per_second": {name: middle(values) for name, values in rate.items()},
        "writer_clips_per_second": round(writing["clips_per_second"]),
        "spread": {
            "clips_per_second_ratio": ends(ratio),
            "share_of_decode_limit": ends(share),
            "clips_per_second": {name: ends(values) for name, values in rate.items()},
        },
    }


def workers(n_clips: int, rounds: int, scratch: Path) -> dict:
    """Two workers against one, and two independent processes against one: the machine's own limit."""
    folder = many_clips(SAMPLES, scratch / "workers", n_clips)
    rate: dict[str, list[float]] = {"one": [], "two": [], "one decoding": [], "two decoding": []}
    for _ in range(rounds):
        rate["one"].append(measure("ours", folder)["clips_per_second"])
        rate["two"].append(measure("ours", folder, workers=2)["clips_per_second"])
        rate["one decoding"].append(measure("decode", folder)["clips_per_second"])
        both = [Process("decode", folder) for _ in range(2)]
        rate["two decoding"].append(sum(process.figures()["clips_per_second"] for process in both))
    ratio, limit = quotients(rate["two"], rate["one"]), quotients(rate["two decoding"], rate["one decoding"])
    return {
        "clips": n_clips,
        "rounds": rounds,
        "workers_ratio": middle(ratio),
        "machine_limit": middle(limit),
        "clips_per_second": {name: middle(values) for name, values in rate.items()},
        "spread": {"workers_ratio": ends(ratio), "machine_limit": ends(limit)},
    }


def memory(counts: list[int], scratch: Path) -> dict:
    """Peak memory of the process that does all the work, and of the parent of two workers, by number of clips."""
    peaks: dict[str, dict[str, float]] = {"one worker": {}, "parent of two": {}}
    for n in counts:
        folder = many_clips(SAMPLES, scratch / f"memory-{n}", n)
        for n_workers, found in enumerate(peaks.values(), start=1):
            found[str(n)] = measure("ours", folder, workers=n_workers)["peak_mb"]
    few, many = str(min(counts)), str(max(counts))
    growth = {name: round(found[many] / found[few] - 1, 4) for name, found in peaks.items()}
    return {"peak_mb": peaks, "growth": growth}


def quotients(above: list[float], below: list[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


def middle(values: list[float]) -> float:
    return round(statistics.median(values), 3)


def ends(values: list[float]) -> list[float]:
    return [round(min(values), 3), round(max(values), 3)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/features.json"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=1_000, help="of the comparison with the reference")
    parser.add_argument("--worker-clips", type=int, default=12_000, help="of the comparison of two workers with one")
    parser.add_argument("--worker-rounds", type=int, default=5, help="they spread by a tenth")
    parser.add_argument("--memory-clips", type=int, nargs=2, default=[1_000, 20_000], metavar=("FEW", "MANY"))
    parser.add_argument("--only", choices=("samples", "zh-HK", "workers", "memory"), action="append")
    options = parser.parse_args()
    real = Path(os.environ.get("REAL_SPEECH", "")) / REAL
    started, result = time.monotonic(), {"machine": describe(), "load_at_start": round(os.getloadavg()[0], 2)}
    parts = {
        "samples": lambda scratch: compare(SAMPLES, options.clips, options.rounds, scratch),
        "zh-HK": lambda scratch: compare(real, options.clips, options.rounds, scratch),
        "workers": lambda scratch: workers(options.worker_clips, options.worker_rounds, scratch),
        "memory": lambda scratch: memory(options.memory_clips, scratch),
    }
    for name in options.only or parts:
        if name == "zh-HK" and not ("REAL_SPEECH" in os.environ and real.is_dir()):
            print("zh-HK is left out: REAL_SPEECH does not name a folder with that release", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory() as scratch:
            result[name] = parts[name](Path(scratch))
    result["minutes"] = round((time.monotonic() - started) / 60, 1)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
