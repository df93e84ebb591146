"""Reading a feature dataset by its contract, one split at a time."""

import os
from pathlib import Path

from cantowhisper.contracts import FEATURE_COLUMNS, SPLITS, CantowhisperError
from cantowhisper.training.data.streaming import StreamedSplit


def load_split(features: str | os.PathLike, split: str, *, streaming: bool = False):
    """One split of a feature dataset (folder or Hub id) as a `datasets.Dataset`, or with streaming a StreamedSplit.

    Only the split's own files are opened: nothing that trains or selects can see the test split by accident.
    """
    import datasets

    if split not in SPLITS:
        raise CantowhisperError(f"a feature dataset has the splits {', '.join(SPLITS)}, not {split!r}")
    folder = Path(features)
    try:
        if folder.is_dir():
            files = sorted(str(path) for path in (folder / "data").glob(f"{split}-*.parquet"))
            if not files:
                raise CantowhisperError(f"{features} has no {split} split; make it with `cantowhisper features`")
            name, data_files = "parquet", {split: files}
        else:
            name, data_files = str(features), {split: f"data/{split}-*.parquet"}
        if streaming:
            builder = datasets.load_dataset_builder(name, data_files=data_files)  # whose names have the Hub's revision
            found = StreamedSplit(builder.config.data_files[split], name=str(features))
        else:
            found = datasets.load_dataset(name, data_files=data_files, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetNotFoundError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CantowhisperError(f"cannot read the features {str(features)!r}: {reason}") from error
    missing = set(FEATURE_COLUMNS) - set(found.column_names)
    if missing:
        raise CantowhisperError(f"{features} is no feature dataset: it has no column {', '.join(sorted(missing))}")
    return found


def amounts(**splits) -> dict[str, dict]:
    """Clips and hours of each split."""
    return {
        name: {"clips": len(split), "hours": round(float(sum(split["duration_s"])) / 3600, 3)}
        for name, split in splits.items()
    }


def evenly(split, n_rows: int):
    """At most `n_rows` rows, spread over the whole split, which is often ordered by speaker."""
    n_rows = min(n_rows, len(split))
    return split.select([i * len(split) // n_rows for i in range(n_rows)])
