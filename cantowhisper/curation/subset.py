"""A part of a finished feature dataset as another one: its rows and promises, and what was left out and why."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from cantowhisper.contracts import FEATURE_COLUMNS, SPLITS, STATS_FILE, CantowhisperError
from cantowhisper.features.dataset import ShardWriter
from cantowhisper.features.plan import CLIPS_PER_CHUNK, Reject
from cantowhisper.features.report import REJECTED_FILE, collect_stats, read_rejects, write_documents
from cantowhisper.hub_errors import hub_errors
from cantowhisper.speech.mel import FRAMES_PER_SECOND
from cantowhisper.training.data.load import load_split


@dataclass(frozen=True)
class Origin:
    """The source of a finished dataset, as its stats.json describes it: what the report asks of a source."""

    name: str
    license: str
    about: str
    terms: str


class FeatureFolder:
    """A finished feature dataset, in a folder or on the Hub, with what it says of itself.

    Raises CantowhisperError when there is none.
    """

    def __init__(self, features: str | os.PathLike):
        self.name = str(features)
        self.documents = Path(features) if Path(features).is_dir() else _fetched(self.name)
        path = self.documents / STATS_FILE
        try:
            self.stats = json.loads(path.read_text(encoding="utf-8"))
            self.splits = [split for split in SPLITS if split in self.stats["splits"]]
            self.identity = dict(self.stats["identity"])
        except FileNotFoundError:
            raise CantowhisperError(
                f"{self.name} is no finished feature dataset: it has no {STATS_FILE}; "
                "make it with cantowhisper features"
            ) from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CantowhisperError(f"{path} is not readable as a dataset's facts ({error})") from error
        terms = "The terms of its source hold for it, so it is kept private."  # of datasets before these were kept
        self.origin = Origin(
            self.stats["source"],
            self.stats.get("license", "unknown"),
            self.stats.get("about", f"Features of {self.stats['source']}."),
            self.stats.get("terms", terms),
        )

    def split(self, name: str):
        """One split as a `datasets.Dataset`."""
        return load_split(self.name, name)

    def rejects(self) -> list[Reject]:
        """What was left out when it was made."""
        return read_rejects(self.documents) if (self.documents / REJECTED_FILE).is_file() else []


def _fetched(repo: str) -> Path:
    """The folder with the documents of a dataset on the Hub."""
    from huggingface_hub import snapshot_download

    with hub_errors("cannot read the features", repo):
        return Path(snapshot_download(repo, repo_type="dataset", allow_patterns=[STATS_FILE, REJECTED_FILE]))


def write_subset(
    origin: FeatureFolder,
    folder: Path,
    keep: Mapping[str, Sequence[int]],
    *,
    rejects: Sequence[Reject],
    identity: Mapping,
    notes: Sequence[str],
    facts: Mapping,
) -> dict:
    """Write some rows of a dataset to an empty folder, with stats.json, rejected.tsv and card.

    keep : {split: rows}; a split that is not named is written whole
    rejects : the rows that are not kept, besides those that the dataset left out itself
    identity : what is added to the dataset's, so that no two are taken for each other
    facts : what else stats.json is to say

    Returns the new stats.json.
    """
    changed = {name: origin.split(name).select(rows) for name, rows in keep.items()}
    return write_changed(origin, folder, changed, rejects=rejects, identity=identity, notes=notes, facts=facts)


def write_changed(
    origin: FeatureFolder,
    folder: Path,
    changed: Mapping[str, object],
    *,
    rejects: Sequence[Reject] = (),
    identity: Mapping,
    notes: Sequence[str],
    facts: Mapping | None = None,
) -> dict:
    """As `write_subset`, with other rows for some splits: {split: `datasets.Dataset` with the contract's columns}."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    for stale in data.glob("*.parquet"):
        stale.unlink()  # of a write that was killed
    for name in origin.splits:
        _write_split(data, name, changed[name] if name in changed else origin.split(name), origin.identity)
    everything = [*origin.rejects(), *rejects]
    stats = collect_stats(data, origin.origin, {**origin.identity, **identity}, everything)
    stats |= {"notes": [*origin.stats.get("notes", ()), *notes], **(facts or {})}
    write_documents(folder, origin.origin, stats, everything)
    return stats


def _write_split(data: Path, name: str, rows, identity: Mapping) -> None:
    n_mels = identity["n_mels"]
    shards = list(_shards(rows["duration_s"], FRAMES_PER_SECOND * n_mels * 2, identity["shard_megabytes"] * 1e6))
    table = rows.with_format("arrow")
    for number, (start, end) in enumerate(shards):
        path = data / f"{name}-{number:05d}-of-{len(shards):05d}.parquet"
        with ShardWriter(path, n_mels=n_mels) as writer:
            for first in range(start, end, CLIPS_PER_CHUNK):
                writer.write(_stored(table[first : min(first + CLIPS_PER_CHUNK, end)]))


def _shards(seconds: Sequence[float], bytes_per_second: float, limit: float) -> Iterator[tuple[int, int]]:
    """(first, last + 1) of the rows of each file."""
    start, size = 0, 0.0
    for row, length in enumerate(seconds):
        if size >= limit:
            yield start, row
            start, size = row, 0.0
        size += length * bytes_per_second
    if start < len(seconds):
        yield start, len(seconds)


def _stored(rows: pa.Table) -> pa.RecordBatch:
    columns = {name: rows[name].combine_chunks() for name in FEATURE_COLUMNS}
    return pa.RecordBatch.from_pydict(
        {name: one.storage if isinstance(one, pa.ExtensionArray) else one for name, one in columns.items()}
    )
