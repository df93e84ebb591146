"""Feature pipeline against the usual recipe: python -m benchmarks.features --json FILE

Each program runs in a process of its own with one worker and one thread, in alternation: ours, the reference recipe
(`datasets` map with WhisperFeatureExtractor over 16 kHz audio, padded float32, save_to_disk), and decoding with
resampling alone, which no pipeline on these decoders can beat. A machine that does other work besides makes the
seconds meaningless; ratios of neighbours in the alternation hold better, and their spread is given.
"""

import argparse
import csv
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import describe

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT / "samples" / "corpus"
MEMORY_CLIPS = (1_000, 20_000)


def ours(folder: Path, out: Path, workers: int) -> dict:
    from cantowhisper.features.pipeline import FeatureConfig, build_features

    config = FeatureConfig(workers=workers, language="yue", split_policy="official")
    started = time.monotonic()
    stats = build_features(str(folder), out, config=config, progress=False)
    seconds = time.monotonic() - started
    return {"clips": stats["n_kept"] + stats["n_rejected"], "seconds": seconds, "bytes": size_of(out)}


def reference(folder: Path, out: Path, workers: int) -> dict:
    import datasets
    from transformers import WhisperFeatureExtractor

    from cantowhisper.speech.audio import load_audio

    extractor = WhisperFeatureExtractor()
    datasets.disable_progress_bars()

    def prepare(row: dict) -> dict:
        waveform = load_audio(row["path"])  # soundfile and soxr: the same decoders for both sides
        row["input_features"] = extractor(waveform, sampling_rate=16_000, return_tensors="np")["input_features"][0]
        return row

    started = time.monotonic()
    rows = datasets.Dataset.from_list([{"path": str(p), "sentence": text} for p, text in clips_of(folder)])
    made = rows.map(prepare, remove_columns=["path"], num_proc=None, writer_batch_size=100)
    made.save_to_disk(out)
    return {"clips": len(rows), "seconds": time.monotonic() - started, "bytes": size_of(out)}


def decode(folder: Path, out: Path, workers: int) -> dict:
    from cantowhisper.speech.audio import load_audio

    clips = clips_of(folder)
    started = time.monotonic()
    for path, _ in clips:
        load_audio(path.read_bytes())
    return {"clips": len(clips), "seconds": time.monotonic() - started, "bytes": 0}


def restore_error(folder: Path, out: Path, workers: int) -> dict:
    """Largest difference from WhisperFeatureExtractor on padded audio, before and after storage as float16."""
    import numpy as np
    from transformers import WhisperFeatureExtractor

    from cantowhisper.speech.audio import load_audio
    from cantowhisper.speech.mel import log_mel, pad_to

    extractor, worst = WhisperFeatureExtractor(), {"before": 0.0, "after": 0.0}
    clips = clips_of(folder)[:200]
    for path, _ in clips:
        waveform = load_audio(path)
        expected = extractor(waveform, sampling_rate=16_000, return_tensors="np")["input_features"][0]
        mel = log_mel(waveform)
        worst["before"] = max(worst["before"], float(np.abs(pad_to(mel) - expected).max()))
        worst["after"] = max(worst["after"], float(np.abs(pad_to(mel.astype(np.float16)) - expected).max()))
    return {"clips": len(clips), "seconds": 0.0, "bytes": 0, **worst}


PROGRAMS = {program.__name__: program for program in (ours, reference, decode, restore_error)}


def clips_of(folder: Path) -> list[tuple[Path, str]]:
    rows = []
    for table in ("train.tsv", "dev.tsv", "test.tsv"):
        with (folder / table).open(encoding="utf-8", newline="") as file:
            rows += csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    return [(folder / "clips" / row["path"], row["sentence"]) for row in rows]


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(program: str, folder: Path, *, workers: int = 1) -> dict:
    """Run a program in a fresh process: its figures, clips a second and peak memory."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "benchmarks.features", "--run", program, str(folder), str(workers)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": f"{scratch}/cache"}
        done = subprocess.run(
            [*command, f"{scratch}/out"], stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment, check=True
        )
    found = json.loads(done.stdout.splitlines()[-1])
    found["clips_per_second"] = found["clips"] / found["seconds"] if found["seconds"] else None
    return found


def compare(folder: Path, rounds: int) -> dict:
    """One row of the result: ratios of neighbours, alternating, as median with smallest and largest."""
    runs = {name: [] for name in ("ours", "reference", "decode")}
    for _ in range(rounds):
        for name, found in runs.items():
            found.append(measure(name, folder))
            print(f"{name:<10} {found[-1]['clips_per_second']:7.1f} clips/s", file=sys.stderr)
    exact = measure("restore_error", folder)
    two = [measure("ours", folder, workers=2)["clips_per_second"] for _ in range(rounds)]
    rate = {name: [run["clips_per_second"] for run in found] for name, found in runs.items()}
    return {
        "clips": runs["ours"][0]["clips"],
        "rounds": rounds,
        "clips_per_second": {name: spread(values) for name, values in rate.items()},
        "clips_per_second_ratio": spread(quotients(rate["ours"], rate["reference"])),
        "bytes_ratio": runs["reference"][0]["bytes"] / runs["ours"][0]["bytes"],
        "share_of_decode_limit": spread(quotients(rate["ours"], rate["decode"])),
        "max_restore_error": exact["before"],
        "max_restore_error_stored": exact["after"],
        "peak_mb": {name: max(run["peak_mb"] for run in found) for name, found in runs.items()},
        "two_workers_ratio": spread(quotients(two, rate["ours"])),
    }


def quotients(above: list[float], below: list[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


def spread(values: list[float]) -> dict:
    found = {"median": statistics.median(values), "smallest": min(values), "largest": max(values)}
    return {name: round(value, 3) for name, value in found.items()}


def many_clips(folder: Path, n: int) -> Path:
    """A release of `n` different recordings: the samples, and the samples without their last MP3 frames."""
    (folder / "clips").mkdir(parents=True)
    lines = []
    for i, (path, text) in enumerate((clips_of(SAMPLES) * -(-n // 1000))[:n]):
        data = path.read_bytes()
        name = f"{i:06d}.mp3"
        (folder / "clips" / name).write_bytes(data[: len(data) - 150 * (i // 1000)])
        lines.append(f"speaker {i % 97}\t{name}\t{text}")
    table = "\n".join(["client_id\tpath\tsentence", *lines]) + "\n"
    (folder / "train.tsv").write_text(table, encoding="utf-8")
    for name in ("dev.tsv", "test.tsv"):
        (folder / name).write_text("client_id\tpath\tsentence\n", encoding="utf-8")
    return folder


def memory() -> dict:
    """Peak memory with few and with many clips."""
    peaks = {}
    for n in MEMORY_CLIPS:
        with tempfile.TemporaryDirectory() as scratch:
            peaks[n] = measure("ours", many_clips(Path(scratch) / "yue", n))["peak_mb"]
    few, many = (peaks[n] for n in MEMORY_CLIPS)
    return {"peak_mb": {str(n): peak for n, peak in peaks.items()}, "growth": round(many / few - 1, 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/features.json"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-memory", action="store_true", help="leave out the run over 20,000 clips")
    parser.add_argument("--run", nargs=4, metavar=("PROGRAM", "FOLDER", "WORKERS", "OUT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        program, folder, workers, out = arguments.run
        found = PROGRAMS[program](Path(folder), Path(out), int(workers))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({**found, "peak_mb": round(peak, 1)}))
        return
    load = os.getloadavg()[0]
    result = {"machine": describe(), "load_at_start": round(load, 2), "samples": compare(SAMPLES, arguments.rounds)}
    if speech := os.environ.get("REAL_SPEECH"):
        real = Path(speech) / "common_voice_17_layout/cv-corpus-17.0-2024-03-15/zh-HK"
        result["zh-HK"] = compare(real, arguments.rounds)
    if not arguments.without_memory:
        result["memory"] = memory()
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
