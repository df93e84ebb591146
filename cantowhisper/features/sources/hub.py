"""Datasets of the Hugging Face Hub with an audio and a text column.

Which files belong to which split of a configuration is resolved by `datasets` itself. Parquet files are downloaded
into the Hub's cache (an interrupted download goes on) and read where they lie: a worker reads the bytes of its own
clips, still encoded. Other formats are refused: `datasets` needs torchcodec to prepare them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cantowhisper.contracts import UsageError
from cantowhisper.features.sources.clip import Clip, Recording
from cantowhisper.features.sources.rows import SPLIT_NAMES, as_number, as_text
from cantowhisper.features.sources.table import pick_columns
from cantowhisper.hub_errors import hub_errors

NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?::(?P<config>[\w.-]+))?(?:@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True, slots=True)
class ParquetRecording:
    path: str
    row_group: int
    row: int  # in the row group
    column: str

    def read(self) -> bytes:
        return _bytes(_row_group(self.path, self.row_group, self.column)[self.row].as_py())


def _bytes(cell: dict | None) -> bytes:
    """What an audio cell holds: the file's bytes, or where the file is."""
    if cell and cell.get("bytes") is not None:
        return cell["bytes"]
    if cell and cell.get("path"):
        return Path(cell["path"]).read_bytes()
    raise FileNotFoundError("the audio cell is empty")


@lru_cache(maxsize=1)  # clips are read in the order of the file: the next one is in the same row group
def _row_group(path: str, row_group: int, column: str):
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.read_row_group(row_group, columns=[column])[column]


class HubDataset:
    """`owner/name[:config][@revision]`. Columns are found, or named: `hub:owner/name,audio=file,text=words`."""

    def __init__(self, name: str, *, options: dict[str, str]):
        from huggingface_hub import HfApi

        match = NAME.fullmatch(name)
        if not match:
            raise UsageError(f"hub:{name} is no dataset name; write hub:owner/name[:config][@revision]")
        self.repo, self.config, revision = match["repo"], match["config"], match["revision"]
        self.options = options
        with hub_errors("cannot read the dataset", self.repo):
            info = HfApi().dataset_info(self.repo, revision=revision)
        self.revision = info.sha  # one commit, whatever is pushed meanwhile
        facts = info.card_data or {}
        self.name = f"{self.repo}{':' + self.config if self.config else ''}@{self.revision[:8]}"
        self.language = options.get("language") or _only(facts.get("language")) or ""
        self.license = _only(facts.get("license")) or "unknown"
        self.about = f"The dataset {self.repo} of the Hugging Face Hub, revision {self.revision}."
        self.terms = f"The terms of {self.repo} hold for features made from it, so they are kept private."

    def clips(self, *, split_policy: str) -> Iterator[Clip]:
        import datasets

        with hub_errors("cannot read the dataset", self.repo):
            builder = datasets.load_dataset_builder(self.repo, self.config, revision=self.revision)
        files = {str(split): list(paths) for split, paths in (builder.config.data_files or {}).items()}
        wanted = _wanted_splits(list(files), split_policy, self.options)
        others = [name for name in files if name not in SPLIT_NAMES]
        if not wanted or ("train" not in [ours for ours, _ in wanted] and others):
            has = ", ".join(files) or "none"
            raise UsageError(
                f"{self.name} has no split of a known name that can be trained on (it has: {has}); "
                f"say which is: hub:{self.repo},train=NAME (several joined by ':')"
            )
        if not all(path.endswith(".parquet") for _, theirs in wanted for path in files[theirs]):
            raise UsageError(f"{self.repo} is not stored as Parquet; try hub:{self.repo}@refs/convert/parquet")
        for split, theirs in wanted:
            rows = self._parquet_rows(files[theirs])
            for number, (cell, recording) in enumerate(rows):
                yield self._clip(cell, recording, split, f"{theirs}-{number:06d}")

    def _parquet_rows(self, urls: list[str]) -> Iterator[tuple[dict, Recording]]:
        import pyarrow.parquet as pq
        from huggingface_hub import hf_hub_download

        for url in urls:
            inside = url.split(f"@{self.revision}/", 1)[-1]
            with hub_errors("cannot read the dataset", self.repo):
                path = hf_hub_download(self.repo, inside, repo_type="dataset", revision=self.revision)
            with pq.ParquetFile(path) as file:
                columns = pick_columns(file.schema_arrow.names, self.options, self.name)
                texts = {what: column for what, column in columns.items() if what != "audio"}
                for group in range(file.num_row_groups):
                    rows = file.read_row_group(group, columns=[*texts.values()]).to_pylist()
                    for row, cells in enumerate(rows):
                        found = {what: cells[column] for what, column in texts.items()}
                        yield found, ParquetRecording(path, group, row, columns["audio"])

    def _clip(self, cell: dict, recording: Recording, split: str, id_: str) -> Clip:
        speaker, seconds = as_text(cell.get("speaker")), as_number(cell.get("seconds"))
        return Clip(
            id=id_,
            split=split,
            sentence=as_text(cell.get("text")),
            speaker=f"{self.repo}/{speaker}" if speaker else "",
            recording=recording,
            seconds=seconds if seconds and seconds > 0 else None,
            source=self.name,
            language=self.language,
        )


def _wanted_splits(names: list[str], split_policy: str, mapping: dict[str, str]) -> list[tuple[str, str]]:
    """(our split, theirs), train first. Splits of other names ("other", "invalidated") are not part of the source,
    unless `mapping` ({our split: their names joined by ":"}) says so."""
    ours = {}
    for name in names:
        if name in SPLIT_NAMES:
            ours.setdefault(SPLIT_NAMES[name], [name])
    if "validated" in names and (split_policy == "validated" or "train" not in ours):
        ours["train"] = ["validated"]
    for split in mapping.keys() & {"train", "validation", "test"}:
        ours[split] = mapping[split].split(":")
        if unknown := [name for name in ours[split] if name not in names]:
            raise UsageError(f"there is no split {', '.join(unknown)}; there are: {', '.join(names)}")
    return [(split, name) for split in ("train", "validation", "test") for name in ours.get(split, ())]


def _only(value) -> str | None:
    """A card's value, which may be a list."""
    values = value if isinstance(value, list) else [value]
    return str(values[0]) if values and values[0] else None
