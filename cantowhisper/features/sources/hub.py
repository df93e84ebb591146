"""Datasets of the Hugging Face Hub with an audio and a text column.

Which files belong to which split of a configuration is resolved by `datasets` itself. Parquet files are downloaded
into the Hub's cache (an interrupted download goes on) and read where they lie: a worker reads the bytes of its own
clips, still encoded. Other formats are refused: `datasets` needs torchcodec to prepare them.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import replace

from cantowhisper.contracts import UsageError
from cantowhisper.features.sources.clip import Clip, Recording, seconds_of
from cantowhisper.features.sources.columns import check_columns, parquet_rows, schema_of
from cantowhisper.features.sources.rows import SPLIT_NAMES, as_number, as_text
from cantowhisper.features.sources.table import pick_columns
from cantowhisper.hub_errors import hub_errors

NAME = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(?::(?P<config>[\w.-]+))?(?:@(?P<revision>[\w./-]+))?")


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
            yield from self._clips(split, theirs, files[theirs])

    def _clips(self, split: str, theirs: str, urls: list[str]) -> Iterator[Clip]:
        """Of training clips, with `hours=H`, those of as many files as hold so much."""
        cap_s = 3600 * float(self.options["hours"]) if split == "train" and "hours" in self.options else math.inf
        number, found_s = 0, 0.0
        for url in urls:
            if found_s >= cap_s:
                return
            for cell, recording in self._parquet_rows(url):
                clip = self._clip(cell, recording, split, f"{theirs}-{number:06d}")
                if math.isfinite(cap_s):
                    clip = replace(clip, seconds=seconds_of(clip) or None)
                    found_s += clip.seconds or 0.0
                number += 1
                yield clip

    def _parquet_rows(self, url: str) -> Iterator[tuple[dict, Recording]]:
        """(cells by what they are, recording) of each row of a file, which is fetched first."""
        from huggingface_hub import hf_hub_download

        inside = url.split(f"@{self.revision}/", 1)[-1]
        with hub_errors("cannot read the dataset", self.repo):
            path = hf_hub_download(self.repo, inside, repo_type="dataset", revision=self.revision)
        schema = schema_of(path)
        columns = pick_columns(schema.names, self.options, self.name)
        check_columns(schema, columns, self.name)
        for cells, recording in parquet_rows(path, columns):
            if isinstance(recording, str):
                raise UsageError(
                    f"the column {columns['audio']} of {self.name} holds names of files, and not the files "
                    f"({recording[:80]!r}); try hub:{self.repo}@refs/convert/parquet"
                )
            yield {what: cells.get(column) for what, column in columns.items()}, recording

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
            labelled_by=as_text(cell.get("labelled_by")),
            gender=as_text(cell.get("gender")),
            age=as_text(cell.get("age")),
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
