"""A train split that stays where it is: its sentences and durations are read at once, its features as they are needed.

Parquet keeps columns apart and rows in groups (32 clips and about 1.3 MB in the datasets made here), and the Hub serves
any piece of a file. So all batches of a run are planned from the small columns by the same sampler as ever; only that
an epoch comes in parts: groups from all over the dataset, in an order by seed and epoch, as many as half of
`stream_clips` holds. Batches mix the clips of one part, and a thread reads the next part meanwhile. Nothing is written
to disk, and a run that goes on reads the part that it has come to and none before.
"""

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from cantowhisper.contracts import LATER_COLUMNS, UsageError
from cantowhisper.hub_errors import hub_errors
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.collator import FeatureRows
from cantowhisper.training.data.sampling import Key

SMALL_COLUMNS = ["text", "duration_s"]
LANGUAGE = "language"
CONNECTIONS = 8  # requests to the Hub at a time: each takes some 50 ms, whatever it brings


class StreamedSplit:
    """The Parquet files of a split, with the small columns in memory.

    `split["text"]`, `len(split)` and what of `datasets.Dataset` needs no features are those of `small`, which has a row
    for each clip. Rows count through all files; `groups` are (file, row group in it, first row, rows).
    """

    def __init__(self, files: Sequence[str], *, name: str):
        import datasets
        import fsspec

        self.name = name
        self.remote = files[0].startswith("hf://")
        self.filesystem, _ = fsspec.url_to_fs(files[0])
        self.files = list(files)
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            self.footers = list(pool.map(self._footer, files))
            self.column_names = self.footers[0].schema.to_arrow_schema().names
            self.groups = self._all_groups()
            if not set(SMALL_COLUMNS) <= set(self.column_names):
                return  # no feature dataset; load_split says so
            tables = list(pool.map(self._small, range(len(files))))
        self.small = datasets.Dataset(pa.concat_tables(tables).replace_schema_metadata(None))

    def __len__(self) -> int:
        return len(self.small)

    def __getitem__(self, column: str):
        return self.small[column]

    def with_format(self, *arguments, **options):
        return self.small.with_format(*arguments, **options)

    def select_columns(self, columns):
        return self.small.select_columns(columns)

    def add_column(self, name: str, values: list) -> "StreamedSplit":
        """The same split with another small column (in place: the rest is not here to be copied)."""
        self.small = self.small.add_column(name, values)
        self.column_names = [*self.column_names, name]
        return self

    def read(self, groups: Sequence[int]):
        """A `datasets.Dataset` of the clips of some groups, in their order, with `features`, `text` and `language`."""
        import datasets

        with ThreadPoolExecutor(CONNECTIONS) as pool:
            table = pa.concat_tables(pool.map(self._group, groups))
        languages = self.small.select(self.rows_of(groups))[LANGUAGE]
        table = table.append_column(LANGUAGE, pa.array(languages, pa.string()))
        types = datasets.Features.from_arrow_schema(table.schema)  # of the file's other columns too
        types[LANGUAGE] = datasets.Value("string")
        info = datasets.DatasetInfo(features=datasets.Features({name: types[name] for name in table.column_names}))
        # A fingerprint that is given: to find one would take the checksum of all features.
        return datasets.Dataset(table.replace_schema_metadata(None), info=info, fingerprint="streamed")

    def rows_of(self, groups: Sequence[int]) -> np.ndarray:
        """The rows of some groups, int64, in the order in which `read` brings them."""
        return np.concatenate([np.arange(first, first + n) for _, _, first, n in (self.groups[i] for i in groups)])

    def _all_groups(self) -> list[tuple[int, int, int, int]]:
        groups, first = [], 0
        for file, footer in enumerate(self.footers):
            for number in range(footer.num_row_groups):
                if n := footer.row_group(number).num_rows:
                    groups.append((file, number, first, n))
                    first += n
        return groups

    def _footer(self, file: str) -> pq.FileMetaData:
        with self._opened(file) as parquet:
            return parquet.metadata

    def _small(self, number: int) -> pa.Table:
        columns = [name for name in (*SMALL_COLUMNS, *LATER_COLUMNS) if name in self.column_names]
        with self._opened(self.files[number], metadata=self.footers[number]) as parquet:
            return parquet.read(columns=columns)

    def _group(self, group: int) -> pa.Table:
        file, number, _, _ = self.groups[group]
        with self._opened(self.files[file], metadata=self.footers[file]) as parquet:
            return parquet.read_row_group(number, columns=["features", "text"])

    @contextlib.contextmanager
    def _opened(self, file: str, **options) -> Iterator[pq.ParquetFile]:
        # Neighbouring columns come in one request (pre_buffer), and nothing comes that was not asked for (no cache).
        errors = hub_errors("cannot read the features of", self.name) if self.remote else contextlib.nullcontext()
        with errors, self.filesystem.open(file, "rb", cache_type="none") as handle:
            yield pq.ParquetFile(handle, pre_buffer=True, **options)


class StreamedRows(torch.utils.data.Dataset):
    """Rows of a streamed split by the keys of a sampler that draws from its `parts`, one after the other.

    Each of several processes reads the parts for itself, and takes its own batches from them.
    """

    def __init__(self, split: StreamedSplit, config: TrainConfig):
        self.split = split
        self.seed = config.seed
        self.part_clips = config.stream_clips // 2  # the other half is on its way
        largest = max((n for *_, n in split.groups), default=0)
        if largest > self.part_clips:
            raise UsageError(
                f"{split.name} stores {largest} clips in a row group, which are read together; "
                f"set stream_clips={2 * largest} or more"
            )
        self._current: tuple[int, int] | None = None
        self._reader: ThreadPoolExecutor | None = None
        self._held: dict[tuple[int, int], Future] = {}

    def __len__(self) -> int:
        return len(self.split)

    def parts(self, epoch: int) -> list[np.ndarray]:
        """The rows of each part of an epoch; every row is in one of them."""
        return [self.split.rows_of(groups) for groups in self._groups(epoch)]

    def _groups(self, epoch: int) -> list[list[int]]:
        order = np.random.default_rng((self.seed, epoch, 3)).permutation(len(self.split.groups))
        parts, n_rows = [], self.part_clips
        for group in order.tolist():
            n_rows += (rows := self.split.groups[group][-1])
            if n_rows > self.part_clips:
                parts.append([])
                n_rows = rows
            parts[-1].append(group)
        return parts

    def __getitems__(self, keys: list[Key]) -> list[dict]:
        return [row for part, its in groupby(keys, key=lambda key: key.part) for row in self._rows(part, list(its))]

    def _rows(self, part: tuple[int, int], keys: list[Key]) -> list[dict]:
        if part != self._current:
            self._move_to(part)
        rows, places = self._held[part].result()
        return rows.__getitems__([key._replace(row=places[key.row]) for key in keys])

    def _move_to(self, part: tuple[int, int]) -> None:
        """Let go of all parts but this one and the next, and have those read that are not here."""
        epoch, number = part
        following = (epoch, number + 1) if number + 1 < len(self._groups(epoch)) else (epoch + 1, 0)
        self._held = {one: self._held[one] for one in (part, following) if one in self._held}
        self._reader = self._reader or ThreadPoolExecutor(1)  # made late: a thread does not survive a fork
        for one in (part, following):
            self._held[one] = self._held.get(one) or self._reader.submit(self._read, one)
        self._current = part

    def _read(self, part: tuple[int, int]) -> tuple[FeatureRows, dict[int, int]]:
        epoch, number = part
        groups = self._groups(epoch)[number]
        places = {row: place for place, row in enumerate(self.split.rows_of(groups).tolist())}
        return FeatureRows(self.split.read(groups)), places


def training_rows(split, config: TrainConfig) -> FeatureRows | StreamedRows:
    """The rows of a train split, which `load_split` has opened, for a sampler that draws from their `parts`."""
    return StreamedRows(split, config) if isinstance(split, StreamedSplit) else FeatureRows(split)
