"""Tables with the recordings inside: Parquet files, and Arrow files as `datasets` saves them (`save_to_disk`).

A worker reads the bytes of its own clips, still encoded. A cell holds a file's bytes, or both its name and its bytes as
`datasets.Audio` does; a name alone is a file beside the table, and nothing is read for the name of a dataset's row on
the Hub. What is decoded already (lists of samples) is refused: nobody says at which rate.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from posixpath import basename, dirname, splitext

import pyarrow as pa
import pyarrow.parquet as pq

from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.features.sources.clip import Recording
from cantowhisper.features.sources.folder_files import FolderFiles
from cantowhisper.features.sources.table import Row, pick_columns, split_in, table_row

COLUMNAR = (".parquet", ".arrow")


@dataclass(frozen=True, slots=True)
class ParquetRecording:
    path: str
    row_group: int
    row: int  # in the row group
    column: str

    def read(self) -> bytes:
        return _bytes(_row_group(self.path, self.row_group, self.column)[self.row].as_py())


@dataclass(frozen=True, slots=True)
class ArrowRecording:
    path: str
    row: int
    column: str

    def read(self) -> bytes:
        return _bytes(_table(self.path)[self.column][self.row].as_py())


def _bytes(cell: dict | bytes | None) -> bytes:
    found = cell.get("bytes") if isinstance(cell, dict) else cell
    if found is None:
        raise FileNotFoundError("the audio cell is empty")
    return found


@lru_cache(maxsize=1)  # clips are read in the order of the file: the next one is in the same row group
def _row_group(path: str, row_group: int, column: str) -> pa.ChunkedArray:
    with pq.ParquetFile(path) as file:
        return file.read_row_group(row_group, columns=[column])[column]


@lru_cache(maxsize=2)
def _table(path: str) -> pa.Table:
    """Of an Arrow file, mapped into memory: a row's bytes are read when they are asked for."""
    try:
        return pa.ipc.open_stream(pa.memory_map(path)).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise CantowhisperError(f"cannot read {path}: {error}") from error


def check_columns(schema: pa.Schema, columns: dict[str, str], where: str) -> None:
    """Refuse a column that holds no recordings or no text. columns : {what: column}, as `pick_columns` finds them."""
    audio, text = (schema.field(columns[what]).type for what in ("audio", "text"))
    if pa.types.is_list(audio) or pa.types.is_large_list(audio) or pa.types.is_fixed_size_list(audio):
        wrong = "lists of numbers, and nothing says their rate; keep the recordings as files: cast it to datasets.Audio"
    elif pa.types.is_struct(audio) and audio.get_field_index("bytes") < 0:
        wrong = f"{audio}, and no bytes of recordings; cast it to datasets.Audio"
    elif not (pa.types.is_struct(audio) or _is_binary(audio) or _is_text(audio)):
        wrong = f"{audio} and no recordings"
    elif pa.types.is_nested(text) or _is_binary(text):
        raise UsageError(
            f"the column {columns['text']} of {where} holds {text}, and no text; name another: SOURCE,text=COLUMN"
        )
    else:
        return
    raise UsageError(f"the column {columns['audio']} of {where} holds {wrong}, or name another: SOURCE,audio=COLUMN")


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def parquet_rows(path: str, columns: dict[str, str]) -> Iterator[tuple[dict, str | Recording]]:
    """(cells by column, the recording or the name of its file) of each row of a Parquet file."""
    with pq.ParquetFile(path) as file:
        names = _read_whole(file.schema_arrow, columns)
        for group in range(file.num_row_groups):
            for row, cells in enumerate(file.read_row_group(group, columns=names).to_pylist()):
                recording = ParquetRecording(path, group, row, columns["audio"])
                yield cells, cells.get(columns["audio"], recording) or ""  # a row may name no file


def arrow_rows(path: str, columns: dict[str, str]) -> Iterator[tuple[dict, str | Recording]]:
    """The same of an Arrow file in the format of streams."""
    table = _table(path)
    for row, cells in enumerate(table.select(_read_whole(table.schema, columns)).to_pylist()):
        yield cells, cells.get(columns["audio"], ArrowRecording(path, row, columns["audio"])) or ""


def _read_whole(schema: pa.Schema, columns: dict[str, str]) -> list[str]:
    """Columns whose cells are read for the plan: all but recordings, unless those are names of files."""
    named = _is_text(schema.field(columns["audio"]).type)
    return [column for what, column in columns.items() if what != "audio" or named]


def schema_of(path: str) -> pa.Schema:
    """Raises CantowhisperError when it is no such file."""
    if Path(path).suffix == ".arrow":
        return _table(path).schema
    try:
        return pq.read_schema(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise CantowhisperError(f"cannot read {path}: {error}") from error


def columnar_rows(files: FolderFiles, options: dict[str, str], *, only: str = "") -> Iterator[Row]:
    """Of all Parquet and Arrow files below a folder, or of one; names of files or of their folders say the split."""
    for name in [only] if only else sorted(files.names.values()):
        stem, ending = splitext(basename(name))
        if ending not in COLUMNAR or stem.startswith(("cache-", "tmp")):  # what `map` of datasets leaves there
            continue
        path, where = str(files.folder / name), f"{files.folder}/{name}"
        schema = schema_of(path)
        columns = pick_columns(schema.names, options, where)
        check_columns(schema, columns, where)
        parts = [stem, *reversed(dirname(name).split("/"))]
        split = next((found for part in parts if (found := split_in(part))), "")
        if not split and ending == ".arrow":
            split = basename(dirname(name))  # a DatasetDict has a folder for each split, whatever it is called
        rows = (arrow_rows if ending == ".arrow" else parquet_rows)(path, columns)
        for number, (cells, recording) in enumerate(rows):
            row = table_row(cells, columns, base=dirname(name), split=split)
            if not isinstance(recording, str):
                row.id = f"{splitext(name)[0]}-{number:06d}"
            row.audio = recording
            yield row
