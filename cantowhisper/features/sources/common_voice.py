"""Mozilla Common Voice releases: TSV tables and `clips/*.mp3`, in a folder or still in the archive.

    cv-corpus-17.0-2024-03-15/zh-HK/{train,dev,test,validated,…}.tsv, clip_durations.tsv, clips/*.mp3

Columns up to v16: client_id path sentence up_votes down_votes age gender accent(s) locale segment; v17 added
sentence_id, sentence_domain and variant. Columns are found by name, and only client_id, path and sentence are needed.
The tables are not quoted: a sentence may hold a bare ", which a CSV reader left to itself takes for an opening quote
and then swallows the following lines.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.features.sources.clip import Clip
from cantowhisper.features.sources.release_files import TABLES, ReleaseArchive, ReleaseFolder
from cantowhisper.features.sources.rows import as_number
from cantowhisper.speech.language import is_tag

SPLIT_TABLES = {"train": "train.tsv", "validation": "dev.tsv", "test": "test.tsv"}
VALIDATED = "validated.tsv"
COLUMNS = ("client_id", "path", "sentence")
ABOUT = "Mozilla Common Voice, read sentences recorded and checked by volunteers (commonvoice.mozilla.org)."
TERMS = (
    "The recordings are CC0, but Mozilla Data Collective, which gives them out, does not allow re-hosting: "
    "everyone who uses them accepts its terms there. Features made from them are kept private for that reason."
)


class CommonVoice:
    """One language of a Common Voice release."""

    license = "cc0-1.0"

    def __init__(
        self,
        files: ReleaseFolder | ReleaseArchive,
        *,
        name: str | None = None,
        language: str | None = None,
        about: str = ABOUT,
        terms: str = TERMS,
    ):
        self.files = files
        own = files.language_folder
        self.name = name or (f"{files.release}/{own}" if files.release.startswith("cv-corpus-") else own)
        self.language = language or self._locale() or (own if is_tag(own) else "")
        self.about, self.terms = about, terms

    def clips(self, *, split_policy: str) -> Iterator[Clip]:
        seconds = self._durations()
        tables = {split: table for split, table in SPLIT_TABLES.items() if self.files.has(table)}
        if split_policy == "validated" or not tables:  # a release without splits has no others; the plan makes some
            yield from self._validated_for_training(tables, seconds)
            tables.pop("train", None)
        for split, table in tables.items():
            yield from self._clips(self._rows(table), split, seconds)

    def _validated_for_training(self, tables: dict[str, str], seconds: dict[str, float]) -> Iterator[Clip]:
        """Every validated clip that is not itself in dev or test (those are counted there)."""
        if not self.files.has(VALIDATED):
            remedy = "; --split-policy official uses the splits that it has" if tables else ", and no table of splits"
            raise UsageError(f"{self.name} has no {VALIDATED}{remedy}")
        held_out = {
            row["path"] for split in ("validation", "test") if split in tables for row in self._rows(tables[split])
        }
        rows = (row for row in self._rows(VALIDATED) if row["path"] not in held_out)
        yield from self._clips(rows, "train", seconds)

    def _clips(self, rows: Iterator[dict], split: str, seconds: dict[str, float]) -> Iterator[Clip]:
        clips = (self._clip(row, split, seconds) for row in rows)
        if isinstance(self.files, ReleaseArchive):
            clips = sorted(clips, key=lambda clip: clip.recording.offset)  # the archive is read in one direction
        yield from clips

    def _clip(self, row: dict[str, str], split: str, seconds: dict[str, float]) -> Clip:
        file_name = Path(row["path"]).name  # a name only: a table must not point out of the clips folder
        return Clip(
            id=Path(file_name).stem or "(row without a file name)",
            split=split,
            sentence=row["sentence"],
            speaker=row["client_id"],
            recording=self.files.recording(file_name),
            seconds=seconds.get(file_name),
            votes=_count(row.get("up_votes")) - _count(row.get("down_votes")),
            source=self.name,
            language=self.language,
            gender=row.get("gender") or "",
            age=row.get("age") or "",
        )

    def _locale(self) -> str | None:
        """What the tables say their language is: people rename folders."""
        rows = (row for table in TABLES if self.files.has(table) for row in self._rows(table))
        return next((row["locale"] for row in rows if row.get("locale")), None)

    def _rows(self, table: str) -> Iterator[dict[str, str]]:
        """The rows of a table as {column: text}. Raises CantowhisperError when it is no such table."""
        where = self.files.where(table)
        try:
            rows = csv.DictReader(self.files.lines(table), delimiter="\t", quoting=csv.QUOTE_NONE, restval="")
            missing = [column for column in COLUMNS if column not in (rows.fieldnames or ())]
            if missing:
                has = ", ".join(rows.fieldnames or ()) or "no header"
                raise CantowhisperError(f"{where} has no column {', '.join(missing)} (it has: {has})")
            yield from rows
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise CantowhisperError(f"cannot read {where}: {error}; download or unpack the release again") from error

    def _durations(self) -> dict[str, float]:
        """clip_durations.tsv (clip, duration[ms]) as {file name: seconds}; empty when absent, as before v12."""
        found = {}
        if self.files.has("clip_durations.tsv"):
            for line in self.files.lines("clip_durations.tsv"):
                name, _, milliseconds = line.partition("\t")
                if milliseconds.strip().isdigit():
                    found[name] = int(milliseconds) / 1000
        return found


def _count(text: str | None) -> int:
    return round(as_number(text) or 0)  # pandas writes 2 as 2.0


def find_language_folder(folder: Path) -> Path | None:
    """The folder with the tables: itself, or the only one below (LANG, or cv-corpus-*/LANG); None if there is none.

    A release is known by its `clips` folder or its validated.tsv: other folders of recordings have a train.tsv too.
    """
    found = []
    for pattern in ("", "*/", "cv-corpus-*/*/"):
        beside = {path.parent for table in TABLES for path in folder.glob(pattern + table)}
        found = sorted(path for path in beside if (path / "clips").is_dir() or (path / VALIDATED).exists())
        if found:
            break
    if len(found) > 1:
        languages = ", ".join(path.name for path in found)
        raise UsageError(f"{folder} holds several languages ({languages}); give the folder of one")
    return found[0] if found else None
