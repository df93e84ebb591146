"""A folder of recordings with a table of what is said in them: .tsv, .csv or .jsonl.

Columns are found by their usual names, or named: `FOLDER,audio=file,text=words`. A column `split`, or several tables
named after splits (train.tsv, dev.tsv, test.tsv), say what is held out; without either everything is for training.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from cantowhisper.contracts import CantowhisperError
from cantowhisper.features.sources.open import Clip, FileRecording

ENDINGS = (".tsv", ".csv", ".jsonl")
USUAL = {
    "audio": ("audio", "path", "file_name", "file", "filename", "audio_path", "wav", "audio_filepath"),
    "text": ("sentence", "text", "transcription", "transcript", "raw_transcription", "normalized_text"),
    "speaker": ("speaker", "speaker_id", "client_id", "spk_id"),
    "seconds": ("seconds", "duration", "duration_s", "length_s"),
    "split": ("split", "subset"),
    "language": ("language", "locale", "lang"),
}
SPLIT_NAMES = {"train": "train", "training": "train", "test": "test", "eval": "test"}
SPLIT_NAMES |= dict.fromkeys(("validation", "valid", "val", "dev", "development"), "validation")
PREFERRED_TABLES = ("metadata", "all", "index")


def find_tables(folder: Path) -> dict[str, Path]:
    """{split or "": table}: tables named after splits, or else the one table that there is ("")."""
    tables = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    by_split = {SPLIT_NAMES[path.stem]: path for path in tables if path.stem in SPLIT_NAMES}
    if by_split:
        return by_split
    named = [path for name in PREFERRED_TABLES for path in tables if path.stem == name]
    if len(tables) > 1 and not named:
        names = ", ".join(path.name for path in tables)
        raise CantowhisperError(f"{folder} holds several tables ({names}); name the one to use metadata{ENDINGS[0]}")
    return {"": (named or tables)[0]} if tables else {}


def pick_columns(columns: list[str], options: dict[str, str], where: str) -> dict[str, str]:
    """{what: column} for every member of USUAL that is there. Raises CantowhisperError without audio or text."""
    found = {}
    for what, usual in USUAL.items():
        wanted = (options[what],) if what in options and what != "language" else usual
        name = next((name for name in wanted if name in columns), None)
        if name:
            found[what] = name
        elif what in ("audio", "text") or (what in options and what != "language"):
            has = ", ".join(columns) or "none"
            raise CantowhisperError(
                f"{where} has no column {' or '.join(wanted)} for the {what} (it has: {has}); "
                f"name it: SOURCE,{what}=COLUMN"
            )
    return found


class TableFolder:
    """A folder of audio files with their table."""

    license = "unknown"
    terms = "Who may have the recordings is not known here, so features made from them are kept private."

    def __init__(self, folder: Path, *, options: dict[str, str]):
        self.folder = folder
        self.tables = find_tables(folder)
        self.options = options
        self.name = folder.resolve().name
        first = next((row for table in self.tables.values() for row in read_table(table)), {})
        self.language = options.get("language") or next((first[c] for c in USUAL["language"] if first.get(c)), "")
        self.about = f"Recordings of the folder {self.name}."

    def clips(self, *, split_policy: str) -> Iterator[Clip]:
        for split in ("train", "", "validation", "test"):
            if split in self.tables:
                yield from self._of_table(self.tables[split], split)

    def _of_table(self, table: Path, split: str) -> Iterator[Clip]:
        columns = None
        for row in read_table(table):
            columns = columns or pick_columns(list(row), self.options, str(table))
            cell = {what: str(row.get(name) or "").strip() for what, name in columns.items()}
            own_split = split or SPLIT_NAMES.get(cell.get("split", "").lower() or "train")
            yield self._clip(cell, own_split)

    def _clip(self, cell: dict[str, str], split: str | None) -> Clip:
        name = cell["audio"]
        path = Path(name)
        objection = None if split else f"unknown split {cell['split']}"
        if path.is_absolute() or ".." in path.parts or not name:
            objection = "file outside the folder" if name else "missing file"
        speaker = cell.get("speaker", "")
        return Clip(
            id=path.with_suffix("").as_posix() if name else "(row without a file name)",
            split=split or "train",
            sentence=cell["text"],
            speaker=f"{self.name}/{speaker}" if speaker else "",  # "A" of another folder is somebody else
            recording=FileRecording(str(self.folder), name),
            seconds=_seconds(cell.get("seconds", "")),
            source=self.name,
            language=cell.get("language") or self.language,
            objection=objection,
        )


def read_table(table: Path) -> Iterator[dict]:
    """The rows of a .tsv (never quoted), .csv or .jsonl file. Raises CantowhisperError when it is none."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            if table.suffix.lower() == ".jsonl":
                for number, line in enumerate(file, start=1):
                    row = json.loads(line) if line.strip() else None
                    if isinstance(row, dict):
                        yield row
                    elif row is not None:
                        raise CantowhisperError(f"line {number} of {table} is no JSON object")
                return
            tabs = table.suffix.lower() == ".tsv"
            how = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {"strict": True}
            yield from csv.DictReader(file, restval="", **how)
    except (OSError, UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise CantowhisperError(f"cannot read {table}: {error}") from error


def _seconds(text: str) -> float | None:
    try:
        return float(text) or None
    except ValueError:
        return None
