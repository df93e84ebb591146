"""A folder of recordings with what is said in them, in one of the layouts that people have (see layouts/).

A layout is read to rows; here the rows become clips. Tables find their columns by the usual names, or named:
`FOLDER,audio=file,text=words`. A column `split`, tables named after splits (train.tsv, dev.tsv, test.tsv) or folders
that are named so, say what is held out; other names are mapped: `FOLDER,test=eval_2:eval_3`.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from posixpath import splitext

from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.features.sources.clip import Clip, Excerpt, FileRecording, Recording
from cantowhisper.features.sources.folder_files import SOUND_ENDINGS, FolderFiles
from cantowhisper.features.sources.rows import BROKEN, EXTRA, SPLIT_NAMES, as_number, as_text, printable

USUAL = {
    "audio": [
        *("audio", "path", "file_name", "file", "filename", "audio_path", "wav", "audio_filepath", "audio_file"),
        *("wav_filename", "filepath", "wav_path", "clip"),
    ],
    "text": ["sentence", "text", "transcription", "transcript", "raw_transcription", "normalized_text", "utterance"],
    "speaker": ["speaker", "speaker_id", "client_id", "spk_id", "speaker_name", "spk"],
    "seconds": ["seconds", "duration", "duration_s", "length_s"],
    "milliseconds": ["duration_ms"],
    "offset": ["offset"],  # NeMo: where in the recording the sentence begins
    "split": ["split", "subset"],
    "language": ["language", "locale", "lang"],
    "up_votes": ["up_votes"],
    "down_votes": ["down_votes"],
    "labelled_by": ["labelled_by"],
    "gender": ["gender", "sex"],
    "age": ["age", "age_group"],
    "confidence": ["confidence"],
}
NAMED = ("audio", "text", "speaker")  # columns that an option of the source may name
UNNAMED = "(row without a file name)"


@dataclass(slots=True)
class Row:
    """A row of any layout, as it stands there."""

    audio: str | Recording  # as the row names it, or where it is
    text: str
    split: str = ""  # "" if it does not say
    speaker: str = ""
    language: str = ""
    seconds: float | None = None
    votes: int = 0
    start_s: float | None = None  # of the part of a long recording that is meant
    end_s: float | None = None
    id: str = ""  # if the layout names its sentences
    base: str = ""  # folder, in the source's, that its file names begin from
    labelled_by: str = ""  # the model that wrote the text
    confidence: float | None = None  # of that model, 0 to 1
    gender: str = ""
    age: str = ""
    objection: str | None = None


def pick_columns(columns: Sequence[str], options: dict[str, str], where: str) -> dict[str, str]:
    """{what: column} for every member of USUAL that is there. Raises CantowhisperError without audio or text."""
    found, by_lower = {}, {column.lower(): column for column in reversed(columns)}
    for what, usual in USUAL.items():
        named = what in NAMED and what in options
        wanted = (options[what],) if named else usual
        name = next((by_lower[name.lower()] for name in wanted if name.lower() in by_lower), None)
        if name is not None:
            found[what] = name
        elif what in ("audio", "text") or named:
            has = ", ".join(map(printable, columns)) or "none"
            raise CantowhisperError(
                f"{where} has no column {' or '.join(wanted)} for the {what} (it has: {has}); "
                f"name it: SOURCE,{what}=COLUMN"
            )
    return found


def table_row(cells: dict, columns: dict[str, str], *, base: str = "", split: str = "") -> Row:
    """A table's row. `split` is that of the table, if it is named after one."""
    cell = {what: as_text(cells.get(name)) for what, name in columns.items()}
    number = lambda what: as_number(cells.get(columns.get(what)))
    seconds, start_s = number("seconds"), number("offset")
    if seconds is None and (milliseconds := number("milliseconds")):
        seconds = milliseconds / 1000
    return Row(
        audio=cell["audio"],
        text=cell["text"],
        split=split or cell.get("split", ""),
        speaker=cell.get("speaker", ""),
        language=cell.get("language", ""),
        seconds=seconds if seconds and seconds > 0 else None,
        votes=round((number("up_votes") or 0) - (number("down_votes") or 0)),
        start_s=start_s if start_s and seconds else None,
        end_s=start_s + seconds if start_s and seconds else None,
        base=base,
        labelled_by=cell.get("labelled_by", ""),
        confidence=number("confidence"),
        gender=cell.get("gender", ""),
        age=cell.get("age", ""),
        objection="more cells than columns: an unquoted comma or tab?" if EXTRA in cells else None,
    )


def split_of(name: str, mapping: dict[str, str]) -> str | None:
    """One of ours for what a source calls a split, None if it is not known. mapping : {our split: theirs, …}"""
    for ours, theirs in mapping.items():
        if name in theirs.split(":"):
            return ours
    return SPLIT_NAMES.get(name.lower())


def split_in(name: str) -> str:
    """The split that a file or folder is named after, "" if none: train_manifest, cuts_dev, test-clean."""
    words = [word for word in re.split(r"[^a-z0-9]+", name.lower()) if word]
    return next((SPLIT_NAMES[word] for word in (*words[:1], *words[-1:]) if word in SPLIT_NAMES), "")


class RowFolder:
    """A folder whose layout is read to rows."""

    license = "unknown"
    terms = "Who may have the recordings is not known here, so features made from them are kept private."

    def __init__(self, folder: Path, *, layout: str, rows: list[Row], files: FolderFiles, options: dict[str, str]):
        self.folder, self.files, self.rows = folder, files, rows
        self.mapping = {split: options[split] for split in ("train", "validation", "test") if split in options}
        self.name = folder.resolve().name
        self.language = options.get("language") or next((row.language for row in rows if row.language), "")
        self.confidence = as_number(options.get("confidence"))
        if "confidence" in options and not (self.confidence is not None and 0 <= self.confidence <= 1):
            raise UsageError(f"confidence={options['confidence']} of {self.name} is no number from 0 to 1")
        self.about = f"Recordings of the folder {self.name} ({layout})."

    def clips(self, *, split_policy: str) -> Iterator[Clip]:
        """All clips, in the order of the rows, train first."""
        found = [self._found(row) for row in self.rows]
        stems = Counter(splitext(file)[0] for file in {file for file, _ in found if isinstance(file, str)})
        clips = [self._clip(row, *place, stems) for row, place in zip(self.rows, found, strict=True)]
        for split in ("train", "validation", "test"):
            yield from (clip for clip in clips if clip.split == split)

    def _found(self, row: Row) -> tuple[str | Recording, str | None]:
        """Where a row's recording is, and what is wrong with the row."""
        if not isinstance(row.audio, str):
            return row.audio, row.objection
        if not row.audio:
            return "", row.objection or "missing file: the row names none"
        if BROKEN.search(row.audio) or "\n" in row.audio or "\t" in row.audio:
            return row.audio, row.objection or "control character in the file name"
        file, wrong = self.files.find(row.audio, row.base)
        return file, row.objection or wrong

    def _clip(self, row: Row, place: str | Recording, wrong: str | None, stems: Counter) -> Clip:
        split = split_of(row.split or "train", self.mapping)
        if wrong is None and split is None:
            wrong = f"unknown split {printable(row.split)}"
        if wrong is None and BROKEN.search(row.text):
            wrong = "control character or broken Unicode in the text"
        if wrong is None and self.confidence and row.confidence is not None and row.confidence < self.confidence:
            wrong = f"confidence below {self.confidence:g}: {row.confidence:.2f}"
        recording = FileRecording(str(self.folder), place) if isinstance(place, str) else place
        if row.start_s is not None and row.end_s is not None:
            recording = Excerpt(recording, row.start_s, row.end_s)
        return Clip(
            id=printable(row.id or _id(place, row, stems)),
            split=split or "train",
            sentence=printable(row.text) if BROKEN.search(row.text) else row.text,
            speaker=printable(f"{self.name}/{row.speaker}") if row.speaker else "",  # "A" elsewhere is somebody else
            recording=recording,
            seconds=row.seconds,
            votes=row.votes,
            source=self.name,
            language=row.language or self.language,
            labelled_by=printable(row.labelled_by),
            gender=printable(row.gender),
            age=printable(row.age),
            objection=wrong,
        )


def _id(place: str | Recording, row: Row, stems: Counter) -> str:
    """The file's name, with its ending only where others differ by nothing else, and the time in a long recording."""
    if not isinstance(place, str) or not place:
        return UNNAMED
    stem, ending = splitext(place)
    name = stem if ending.lower() in SOUND_ENDINGS and stems[stem] <= 1 else place
    return name if row.start_s is None else f"{name}-{round(row.start_s * 1000):08d}"
