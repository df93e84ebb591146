"""Reading a feature dataset by its contract, one split at a time."""

import contextlib
import os
import re
from pathlib import Path

from cantowhisper.contracts import FEATURE_COLUMNS, LATER_COLUMNS, SPLITS, CantowhisperError
from cantowhisper.hub_errors import hub_errors
from cantowhisper.training.data.languages import card_language
from cantowhisper.training.data.streaming import StreamedSplit

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load_split(features: str | os.PathLike, split: str, *, streaming: bool = False):
    """One split of a feature dataset (folder or Hub id) as a `datasets.Dataset`, or with streaming a StreamedSplit.

    Only the split's own files are opened: nothing that trains or selects can see the test split by accident.
    """
    if split not in SPLITS:
        raise CantowhisperError(f"a feature dataset has the splits {', '.join(SPLITS)}, not {split!r}")
    failed, name = "cannot read the features", repr(str(features))
    if not Path(features).is_dir() and not HUB_ID.fullmatch(str(features)):
        raise CantowhisperError(
            f"there is no folder {features}; make it with `cantowhisper features SOURCE {features}`, "
            "or name a dataset on the Hub as owner/name"
        )
    try:
        with contextlib.nullcontext() if Path(features).is_dir() else hub_errors(failed, name):
            found = _open(features, split, streaming)
    except (OSError, ValueError) as error:
        raise CantowhisperError(f"{failed} {name}: {str(error).strip().splitlines()[0]}") from error
    missing = set(FEATURE_COLUMNS) - set(found.column_names) - set(LATER_COLUMNS)
    if missing:
        raise CantowhisperError(f"{features} is no feature dataset: it has no column {', '.join(sorted(missing))}")
    if "language" not in found.column_names:  # of an older dataset: all of it is what its card says
        found = found.add_column("language", [card_language(features)] * len(found))
    for later in LATER_COLUMNS:
        if later not in found.column_names:
            found = found.add_column(later, [""] * len(found))
    return found


def _open(features: str | os.PathLike, split: str, streaming: bool):
    import datasets

    folder = Path(features)
    if folder.is_dir():
        files = sorted(str(path) for path in (folder / "data").glob(f"{split}-*.parquet"))
        if not files:
            raise CantowhisperError(f"{features} has no {split} split; make it with `cantowhisper features`")
        name, data_files = "parquet", {split: files}
    else:
        name, data_files = str(features), {split: f"data/{split}-*.parquet"}
    if streaming:
        builder = datasets.load_dataset_builder(name, data_files=data_files)  # whose names have the Hub's revision
        return StreamedSplit(builder.config.data_files[split], name=str(features))
    return datasets.load_dataset(name, data_files=data_files, split=split)


def amounts(**splits) -> dict[str, dict]:
    """Clips and hours of each split, and how many speakers are known and clips pseudo-labelled, where any are."""
    found = {}
    for name, split in splits.items():
        found[name] = {"clips": len(split), "hours": round(float(sum(split["duration_s"])) / 3600, 3)}
        streamed = isinstance(split, StreamedSplit)  # whose speakers would have to be fetched
        if not streamed and (n := len(set(split["speaker"]) - {""})):
            found[name]["speakers"] = n
        if n := sum(map(bool, split["labelled_by"])):
            found[name]["pseudo_labelled"] = n
    return found


def evenly(split, n_rows: int):
    """At most `n_rows` rows, spread over the whole split, which is often ordered by speaker."""
    n_rows = min(n_rows, len(split))
    return split.select([i * len(split) // n_rows for i in range(n_rows)])
