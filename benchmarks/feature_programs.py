"""What benchmarks.features compares. Each program runs alone in a fresh process with one thread:

    python -m benchmarks.feature_programs PROGRAM FOLDER OUT [--workers N]

and prints its figures as one line of JSON. Imports and whatever else happens once in a process are over before the
clock starts: every program first handles WARM_UP clips (`start_seconds` tells how long that took).
"""

import argparse
import csv
import json
import resource
import time
from collections.abc import Iterator
from pathlib import Path

WARM_UP = 64  # two chunks: also a second worker process is there before the clock starts
COMPARED = 200  # clips whose features are compared number by number
TABLES = ("train.tsv", "dev.tsv", "test.tsv")


def rows_of(folder: Path) -> list[dict[str, str]]:
    """The rows of a release's official splits."""
    rows = []
    for table in TABLES:
        with (folder / table).open(encoding="utf-8", newline="") as file:
            rows += csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    return rows


def make_release(folder: Path, rows: list[dict[str, str]]) -> Path:
    """A release of these rows for training, without its clips."""
    folder.mkdir(parents=True, exist_ok=True)
    header = "client_id\tpath\tsentence\n"
    lines = [f"{row['client_id']}\t{row['path']}\t{row['sentence']}\n" for row in rows]
    for table in TABLES:
        content = header + "".join(lines if table == "train.tsv" else [])
        (folder / table).write_text(content, encoding="utf-8")
    return folder


def ours(folder: Path, out: Path, workers: int) -> Iterator[dict]:
    """`cantowhisper features`."""
    from cantowhisper.features.pipeline import FeatureConfig, build_features

    config = FeatureConfig(workers=workers, language="yue")
    few = make_release(out.with_name("few") / "yue", rows_of(folder)[:WARM_UP])
    (few / "clips").symlink_to(folder.resolve() / "clips")
    build_features(str(few), out.with_name("warm"), config=config, progress=False)
    yield {}
    stats = build_features(str(folder), out, config=config, progress=False)
    hours = sum(split["hours"] for split in stats["splits"].values())
    n_clips = stats["n_kept"] + stats["n_rejected"]
    yield {"clips": n_clips, "rejected": stats["n_rejected"], "hours": hours, "bytes": size_of(out)}


def reference(folder: Path, out: Path, workers: int) -> Iterator[dict]:
    """The usual recipe: `datasets` map with WhisperFeatureExtractor, padded float32, save_to_disk.

    Kind to it: the decoders and the resampler are ours, and it writes every 100 clips instead of every 1,000, which
    would keep a gigabyte in memory.
    """
    import datasets
    from transformers import WhisperFeatureExtractor

    from cantowhisper.speech.audio import load_audio

    extractor = WhisperFeatureExtractor()
    datasets.disable_progress_bars()

    def prepare(row: dict) -> dict:
        waveform = load_audio(row["path"])
        row["input_features"] = extractor(waveform, sampling_rate=16_000, return_tensors="np")["input_features"][0]
        return row

    def made(rows: list[dict], name: str) -> datasets.Dataset:
        listed = [{"path": str(folder / "clips" / row["path"]), "sentence": row["sentence"]} for row in rows]
        datasets.Dataset.from_list(listed).save_to_disk(out.with_name(f"{name}-list"))
        on_disk = datasets.load_from_disk(out.with_name(f"{name}-list"))  # map keeps what it makes on disk, too
        return on_disk.map(prepare, remove_columns=["path"], writer_batch_size=100)

    rows = rows_of(folder)
    made(rows[:WARM_UP], "few").save_to_disk(out.with_name("warm"))
    yield {}
    made(rows, "all").save_to_disk(out)
    yield {"clips": len(rows), "bytes": size_of(out)}


def decode(folder: Path, out: Path, workers: int) -> Iterator[dict]:
    """Reading, decoding and resampling alone: what no pipeline on these libraries can be quicker than."""
    from cantowhisper.speech.audio import load_audio

    paths = [folder / "clips" / row["path"] for row in rows_of(folder)]
    for path in paths[:WARM_UP]:
        load_audio(path.read_bytes())
    yield {}
    for path in paths:
        load_audio(path.read_bytes())
    yield {"clips": len(paths)}


def write(folder: Path, out: Path, workers: int) -> Iterator[dict]:
    """Writing alone, which one process does for all workers of a cluster: no cluster is quicker than this."""
    from cantowhisper.features.clip import process_chunk
    from cantowhisper.features.dataset import ShardWriter
    from cantowhisper.features.pipeline import FeatureConfig
    from cantowhisper.features.plan import CLIPS_PER_CHUNK, PlannedClip
    from cantowhisper.features.sources.clip import FileRecording

    clips = [
        PlannedClip(row["path"], row["sentence"], "", "", "yue", FileRecording(str(folder / "clips"), row["path"]))
        for row in rows_of(folder)[: 4 * CLIPS_PER_CHUNK]
    ]
    config, times = FeatureConfig(language="yue"), 10
    chunks = [
        process_chunk(clips[i : i + CLIPS_PER_CHUNK], "train", config) for i in range(0, len(clips), CLIPS_PER_CHUNK)
    ]
    yield {}
    with ShardWriter(out, n_mels=config.n_mels) as writer:
        for chunk in chunks * times:
            writer.write(chunk.columns)
    yield {"clips": len(clips) * times}


def restore_error(folder: Path, out: Path, workers: int) -> Iterator[dict]:
    """Largest difference from WhisperFeatureExtractor on padded audio: as computed, and as read from the files."""
    import datasets
    import numpy as np
    from transformers import WhisperFeatureExtractor

    from cantowhisper.features.pipeline import FeatureConfig, build_features
    from cantowhisper.speech.audio import load_audio
    from cantowhisper.speech.mel import log_mel, pad_to

    extractor, before, after = WhisperFeatureExtractor(), 0.0, 0.0
    few = make_release(out.with_name("few") / "yue", rows_of(folder)[:COMPARED])
    (few / "clips").symlink_to(folder.resolve() / "clips")
    build_features(str(few), out, config=FeatureConfig(workers=1, language="yue"), progress=False)
    datasets.disable_progress_bars()
    yield {}
    clips = datasets.load_dataset(str(out), split="train", cache_dir=str(out.with_name("cache"))).with_format("numpy")
    for clip in clips:
        waveform = load_audio(folder / "clips" / f"{clip['id']}.mp3")
        expected = extractor(waveform, sampling_rate=16_000, return_tensors="np")["input_features"][0]
        before = max(before, float(np.abs(pad_to(log_mel(waveform)) - expected).max()))
        after = max(after, float(np.abs(pad_to(clip["features"].T) - expected).max()))
    yield {"clips": len(clips), "before_storage": before, "after_storage": after}


PROGRAMS = {program.__name__: program for program in (ours, reference, decode, write, restore_error)}


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def main() -> None:
    began = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", choices=PROGRAMS)
    parser.add_argument("folder", type=Path, help="a Common Voice release")
    parser.add_argument("out", type=Path, help="a path that does not exist, in a folder for scratch files")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    steps = PROGRAMS[arguments.program](arguments.folder, arguments.out, arguments.workers)
    next(steps)
    warm = time.monotonic()
    found = next(steps)
    seconds = time.monotonic() - warm
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    rate = found["clips"] / seconds
    print(json.dumps({**found, "clips_per_second": rate, "start_seconds": warm - began, "peak_mb": round(peak_mb, 1)}))


if __name__ == "__main__":
    main()
