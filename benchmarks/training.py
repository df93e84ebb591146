"""Training speed against the recipe that everybody copies: python -m benchmarks.training --json FILE

The reference is a stock Seq2SeqTrainer on features padded to 30 s. Ours has the same model, batch size, optimizer and
precision, and each clip's own length. Both see clips as long as those of Common Voice (4 s on average), made up: speed
does not depend on what is said. Every measurement is a process of its own, and they take turns: ours at natural length,
ours in each kind of 30 s windows, the reference, and again. What a run costs, where a share of the steps has windows,
is computed from those. With REAL_WEIGHTS the encoder of the base shape is whisper-base's own.

Where there is an accelerator, whisper-small is measured on it too, in its own precision and with as many clips a step
as the presets t4 and gpu have.
"""

import argparse
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

# Clips a step on a CPU: one step of the reference then takes half a minute on two cores, and a window a quarter of it.
BATCH_SIZES = {"tiny": 8, "base": 8, "small": 4}
ON_ACCELERATOR = (16, 64)  # of the presets t4 and gpu
RUN_CLIPS = 4000 * 16  # of the run whose hours are projected: the one that the usual recipe needs 9 h for on a T4
REFERENCE, NATURAL = "reference", "natural"
NATURAL_STEPS = 5  # for each step of the others: its batches differ in length, and take a sixth of the time


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/training.json"))
    shapes = "on the CPU; without any, an accelerator alone is measured"
    parser.add_argument("--shapes", nargs="*", choices=list(BATCH_SIZES), default=["base", "small"], help=shapes)
    sizes = f"default: {BATCH_SIZES}, and {ON_ACCELERATOR} on an accelerator"
    parser.add_argument("--batch-size", type=int, help=sizes)
    parser.add_argument("--steps", type=int, help="timed steps in a process, after one that is not (default: 1 or 20)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=6, help="of each shape: no round begins that would end later")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help=argparse.SUPPRESS)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.shapes[0], options)))
        return
    result = {"machine": describe(), "threads": options.threads, "cpu": {}, "accelerator": "not measured"}
    for shape in options.shapes:
        result["cpu"][shape] = shown(shape, compare(shape, options))
    result["accelerator"] = on_accelerator(options)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def on_accelerator(options) -> dict | str:
    """The same for whisper-small on this machine's accelerator by clips a step, with the hours of a whole run."""
    import torch

    if not torch.cuda.is_available():
        print("accelerator: not measured")
        return "not measured"
    options.device, options.steps = "cuda", options.steps or 20
    found = {"name": torch.cuda.get_device_name()}
    for size in [options.batch_size] if options.batch_size else ON_ACCELERATOR:
        options.batch_size = size
        row = compare("small", options)
        hours = {kind: round(RUN_CLIPS / rate / 3600, 2) for kind, rate in row["samples_per_second"].items()}
        found[str(size)] = shown(f"small, {size} clips", row | {"hours_of_64000_clips": hours})
    return found


def shown(shape: str, row: dict) -> dict:
    print(shape, json.dumps({key: value for key, value in row.items() if key != "rounds"}), flush=True)
    return row


def compare(shape: str, options) -> dict:
    """All rounds of a shape: a ratio a round, their median, least and largest, and the peak memory of each kind."""
    from benchmarks.training_programs import window_shares

    shares = window_shares()
    kinds = (NATURAL, *shares, REFERENCE)
    rounds, begun = [], time.monotonic()
    while len(rounds) < options.rounds:
        taken = time.monotonic() - begun
        if rounds and taken * (1 + 1 / len(rounds)) > 60 * options.minutes:
            break
        rounds.append({kind: _in_a_process(kind, shape, options) for kind in kinds})
    mixed = [_mixed(runs, shares) for runs in rounds]
    ratios = [rate / _rate(runs[REFERENCE]) for rate, runs in zip(mixed, rounds, strict=True)]
    natural = [_rate(runs[NATURAL]) / _rate(runs[REFERENCE]) for runs in rounds]
    rates = {kind: statistics.median(_rate(runs[kind]) for runs in rounds) for kind in kinds}
    rates["mixed"] = statistics.median(mixed)
    return {
        "batch_size": _batch_size(shape, options),
        "precision": rounds[0][REFERENCE]["precision"],
        "encoder": rounds[0][REFERENCE]["encoder"],
        "window_shares": shares,
        "samples_per_second_ratio": round(statistics.median(ratios), 2),
        "samples_per_second_ratio_spread": [round(min(ratios), 2), round(max(ratios), 2)],
        "natural_length_only_ratio": round(statistics.median(natural), 2),
        "samples_per_second": {kind: round(rate, 3) for kind, rate in rates.items()},
        "peak_mib": {kind: max(runs[kind]["peak_mib"] for runs in rounds) for kind in kinds},
        "rounds": rounds,
    }


def _batch_size(shape: str, options) -> int:
    return options.batch_size or BATCH_SIZES[shape]


def _in_a_process(kind: str, shape: str, options) -> dict:
    words = ["--one", kind, "--shapes", shape, "--batch-size", _batch_size(shape, options)]
    words += ["--steps", options.steps or 1, "--threads", options.threads, "--device", options.device]
    command = [sys.executable, "-m", "benchmarks.training", *map(str, words)]
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if options.device == "cpu" else {}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **hidden})
    if done.returncode:
        sys.exit(f"{kind} of {shape} ended with code {done.returncode}: {done.stderr[-1000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _rate(run: dict) -> float:
    return sum(run["clips"]) / sum(run["seconds"])


def _mixed(runs: dict, shares: dict[str, float]) -> float:
    """Clips a second where shares of the steps have 30 s windows and the others natural length."""
    steps = [(1 - sum(shares.values()), runs[NATURAL]), *((share, runs[kind]) for kind, share in shares.items())]
    clips = sum(share * statistics.mean(run["clips"]) for share, run in steps)
    return clips / sum(share * statistics.mean(run["seconds"]) for share, run in steps)


def measure(kind: str, shape: str, options) -> dict:
    """Seconds and clips of each timed step, and the peak memory of this process (or of the accelerator) in MiB."""
    import torch

    from benchmarks.training_programs import Clock, build_model, own_trainer, reference_trainer
    from cantowhisper.training.run.device import pick_precision

    torch.set_num_threads(options.threads)
    options.steps *= NATURAL_STEPS if kind == NATURAL else 1
    precision = "fp32" if options.device == "cpu" else pick_precision()[0]
    model, processor, encoder = build_model(shape)
    with tempfile.TemporaryDirectory() as folder:
        if kind == REFERENCE:
            trainer = reference_trainer(model, processor, options, Path(folder), precision)
        else:
            trainer = own_trainer(kind, model, processor, options, Path(folder), precision)
        clock = Clock()
        trainer.add_callback(clock)
        collate, clips = trainer.data_collator, []
        trainer.data_collator = lambda rows: clips.append(len(rows)) or collate(rows)
        trainer.train()
    seconds = [end - start for start, end in zip(clock.ends, clock.ends[1:], strict=False)]
    return {
        "seconds": seconds,
        "clips": clips[1 : 1 + len(seconds)],
        "peak_mib": _peak_mib(options.device),
        "precision": precision,
        "encoder": encoder,
    }


def _peak_mib(device: str) -> int:
    import torch

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 2**10
    return round((torch.cuda.max_memory_allocated() if device == "cuda" else peak) / 2**20)


if __name__ == "__main__":
    main()
