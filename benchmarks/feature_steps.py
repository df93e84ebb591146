"""Where the time of `features` goes, and whether a quicker resampler would do.

    python -m benchmarks.feature_steps --json FILE

Steps and resamplers take turns in one process with one thread; milliseconds of CPU time, medians of the passes.
"""

import argparse
import io
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.feature_programs import rows_of
from benchmarks.features import REAL, SAMPLES
from benchmarks.machine import describe

STEP_CLIPS, PASSES = 48, 3
RESAMPLERS = ("soxr HQ", "soxr MQ", "soxr LQ", "soxr QQ", "scipy resample_poly")  # the first is the pipeline's


def steps(folder: Path, out: Path, n_clips: int = STEP_CLIPS) -> dict:
    """Milliseconds a clip for each step; for each resampler also how far its log-Mel is from the first one's."""
    from cantowhisper.features.clip import process_chunk
    from cantowhisper.features.dataset import ShardWriter
    from cantowhisper.features.parallel import in_order
    from cantowhisper.features.pipeline import FeatureConfig
    from cantowhisper.features.plan import CLIPS_PER_CHUNK, PlannedClip
    from cantowhisper.features.sources.clip import FileRecording
    from cantowhisper.speech.audio import load_audio
    from cantowhisper.speech.mel import log_mel

    rows = rows_of(folder)[:n_clips]
    files = [FileRecording(str(folder / "clips"), row["path"]) for row in rows]
    clips = [
        PlannedClip(row["path"], row["sentence"], "", "", "yue", file) for row, file in zip(rows, files, strict=True)
    ]
    config = FeatureConfig(language="yue")
    jobs = [(clips[i : i + CLIPS_PER_CHUNK], "train", config) for i in range(0, len(clips), CLIPS_PER_CHUNK)]
    chunks = list(in_order(process_chunk, jobs, workers=1, start=lambda: None))
    waveforms, decoded = [load_audio(file.read()) for file in files], [decode(file.read()) for file in files]

    def write() -> None:
        with ShardWriter(out, n_mels=config.n_mels) as writer:
            for chunk in chunks:
                writer.write(chunk.columns)

    measured = {
        "decode": lambda: [decode(file.read()) for file in files],
        "load": lambda: [load_audio(file.read()) for file in files],
        "log-Mel": lambda: [log_mel(waveform) for waveform in waveforms],
        "compute": lambda: [process_chunk(*job) for job in jobs],
        "write": write,
    }
    measured |= {name: lambda name=name: [resample(name, *sound) for sound in decoded] for name in RESAMPLERS}
    ms = {name: statistics.median(values) / len(files) for name, values in timed(measured).items()}
    return {
        "clips": len(files),
        "ms": {name: round(value, 3) for name, value in ms.items() if name not in RESAMPLERS},
        "resamplers": {name: {"ms": round(ms[name], 3), **difference(decoded, name)} for name in RESAMPLERS},
    }


def timed(functions: dict[str, Callable[[], object]]) -> dict[str, list[float]]:
    """CPU milliseconds of each pass, the functions taking turns, with one thread."""
    import torch

    torch.set_num_threads(1)
    found: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(PASSES):
        for name, function in functions.items():
            start = time.process_time()
            function()
            found[name].append(1000 * (time.process_time() - start))
    return found


def decode(data: bytes):
    """Samples and rate, as the pipeline's first decoder gives them."""
    from cantowhisper.speech.decoding.decoders import Findings, open_soundfile, soundfile_blocks

    file = io.BytesIO(data)
    (block,) = soundfile_blocks(open_soundfile(file), file, Findings())
    return block


def resample(name: str, samples, rate: int):
    import numpy as np
    import scipy.signal
    import soxr

    library, quality = name.split()
    if library == "soxr":
        return soxr.resample(samples, rate, 16_000, quality=quality)
    shared = np.gcd(rate, 16_000)
    return scipy.signal.resample_poly(samples, 16_000 // shared, rate // shared).astype(np.float32)


def difference(decoded: list, name: str) -> dict:
    """Of stored log-Mel values from those of the first resampler: largest, and of one in a thousand."""
    import numpy as np

    from cantowhisper.speech.mel import log_mel

    found = []
    for sound in decoded:
        usual, other = (log_mel(resample(each, *sound)) for each in (RESAMPLERS[0], name))
        n_frames = min(usual.shape[1], other.shape[1])
        found.append(np.abs(usual[:, :n_frames] - other[:, :n_frames]).ravel())
    values = np.concatenate(found)
    return {"max_difference": float(values.max()), "difference_99_9": float(np.quantile(values, 0.999))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/feature_steps.json"))
    options = parser.parse_args()
    folders = {"samples": SAMPLES, "zh-HK": Path(os.environ.get("REAL_SPEECH", "")) / REAL}
    result: dict = {"machine": describe(), "passes": PASSES}
    with tempfile.TemporaryDirectory() as scratch:
        for name, folder in folders.items():
            if folder.is_dir():
                result[name] = steps(folder, Path(scratch) / f"{name}.parquet")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
