"""Mozilla Common Voice releases: a folder of TSV tables and `clips/*.mp3`.

    cv-corpus-17.0-2024-03-15/zh-HK/{train,dev,test,validated,…}.tsv, clip_durations.tsv, clips/*.mp3

Columns up to v16: client_id path sentence up_votes down_votes age gender accent(s) locale segment; v17 added
sentence_id, sentence_domain and variant. Only client_id, path and sentence are needed here, and found by name.
The tables are not quoted: a sentence may hold a bare ", which a CSV reader left to itself takes for an opening quote
and then swallows the following lines.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.features.sources import Clip, FileRecording

SPLIT_TABLES = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
VALIDATED = "validated.tsv"
COLUMNS = ("client_id", "path", "sentence")
ABOUT = "Mozilla Common Voice, read sentences recorded and checked by volunteers (commonvoice.mozilla.org)."


class CommonVoiceFolder:
    """One language of a Common Voice release, unpacked.

    Parameters
    ----------
    folder : the language's folder, or one above it that holds exactly one language
    """

    license = "cc0-1.0"

    def __init__(self, folder: Path, *, name: str | None = None, language: str | None = None, about: str = ABOUT):
        self.folder = find_language_folder(folder)
        release = self.folder.resolve().parent.name
        own = self.folder.resolve().name
        self.name = name or (f"{release}/{own}" if release.startswith("cv-corpus-") else own)
        self.language = language or _locale(self.folder) or own
        self.about = about

    def clips(self, *, split_policy: str) -> Iterator[Clip]:
        seconds = read_durations(self.folder / "clip_durations.tsv")
        tables = {split: self.folder / table for split, table in SPLIT_TABLES.items()}
        if split_policy == "validated":
            yield from self._validated_for_training(tables, seconds)
            tables.pop("train")
        elif not any(path.exists() for path in tables.values()):
            raise UsageError(
                f"{self.name} has no train.tsv, dev.tsv or test.tsv, only validated clips; "
                "--split-policy validated puts all of them into train"
            )
        for split, path in tables.items():
            if path.exists():
                for row in read_rows(path):
                    yield self._clip(row, split, seconds)

    def _validated_for_training(self, tables: dict[str, Path], seconds: dict[str, float]) -> Iterator[Clip]:
        """Every validated clip that is not itself in dev or test (those are counted there)."""
        held_out = {
            row["path"]
            for split in ("validation", "test")
            if tables[split].exists()
            for row in read_rows(tables[split])
        }
        for row in read_rows(self.folder / VALIDATED):
            if row["path"] not in held_out:
                yield self._clip(row, "train", seconds)

    def _clip(self, row: dict[str, str], split: str, seconds: dict[str, float]) -> Clip:
        file_name = Path(row["path"]).name  # a name only: a table must not point out of the clips folder
        return Clip(
            id=Path(file_name).stem or "(row without a file name)",
            split=split,
            sentence=row["sentence"],
            speaker=row["client_id"],
            recording=FileRecording(str(self.folder / "clips" / file_name)),
            seconds=seconds.get(file_name),
        )


def find_language_folder(folder: Path) -> Path:
    """The folder with the tables: itself, or the only one below (LANG, or cv-corpus-*/LANG)."""
    tables = (*SPLIT_TABLES.values(), VALIDATED)
    found = []
    for pattern in ("", "*/", "cv-corpus-*/*/"):
        found = sorted({path.parent for table in tables for path in folder.glob(pattern + table)})
        if found:
            break
    if not found:
        raise UsageError(f"{folder} is no Common Voice release: it holds no validated.tsv or train.tsv")
    if len(found) > 1:
        languages = ", ".join(path.name for path in found)
        raise UsageError(f"{folder} holds several languages ({languages}); give the folder of one")
    return found[0]


def _locale(folder: Path) -> str | None:
    """What the tables say their language is: people rename folders."""
    tables = (folder / f"{name}.tsv" for name in ("train", "validated", "test", "dev"))
    rows = (row for table in tables if table.exists() for row in read_rows(table))
    return next((row["locale"] for row in rows if row.get("locale")), None)


def read_rows(table: Path) -> Iterator[dict[str, str]]:
    """The rows of a table as {column: text}. Raises CantowhisperError when it is no such table."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE, restval="")
            missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
            if missing:
                has = ", ".join(rows.fieldnames or ()) or "no header"
                raise CantowhisperError(f"{table} has no column {', '.join(missing)} (it has: {has})")
            yield from rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CantowhisperError(f"cannot read {table}: {error}; download or unpack the release again") from error


def read_durations(table: Path) -> dict[str, float]:
    """clip_durations.tsv (clip, duration[ms]) as {file name: seconds}; empty when absent, as before v12."""
    if not table.exists():
        return {}
    found = {}
    for line in table.read_text(encoding="utf-8").splitlines()[1:]:
        name, _, milliseconds = line.partition("\t")
        if milliseconds.strip().isdigit():
            found[name] = int(milliseconds) / 1000
    return found
