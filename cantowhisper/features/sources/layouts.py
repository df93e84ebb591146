"""Folders of recordings as people have them, read to rows (see table.py).

a table            .tsv, .csv, .jsonl, .json: metadata.*, or one for each split (train.tsv, dev_manifest.json, …),
                   in the folder, or in folders named after splits (AudioFolder); NeMo's manifests are such tables
LJSpeech           metadata.csv of `id|text|normalised text`, wavs/
Kaldi, ESPnet      folders with wav.scp and text, with or without segments and utt2spk
LibriSpeech        *.trans.txt beside the recordings
Spontaneous Speech ss-corpus-*.tsv and audios/, of Common Voice
lhotse             cuts*.jsonl(.gz), or recordings*.jsonl(.gz) and supervisions*.jsonl(.gz)
Parquet, Arrow     *.parquet with the recordings inside; what `save_to_disk` of datasets writes (see columns.py)
subtitles          talk.srt or talk.vtt beside a long talk.mp3, which is cut at their cues
text files         a.txt beside a.wav
"""

import csv
import html
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from posixpath import basename, dirname, join, splitext

from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.features.sources.columns import COLUMNAR, columnar_rows
from cantowhisper.features.sources.folder_files import FolderFiles
from cantowhisper.features.sources.release_files import SPONTANEOUS, ReleaseArchive
from cantowhisper.features.sources.rows import ENDINGS, delimited_rows, read_rows, read_text
from cantowhisper.features.sources.table import Row, RowFolder, pick_columns, split_in, table_row
from cantowhisper.speech.text import join_texts

READ = "a table (.tsv, .csv, .jsonl, .json), LJSpeech, Kaldi or ESPnet, LibriSpeech, Common Voice, lhotse's manifests, "
READ += "Parquet or save_to_disk, subtitles (.srt, .vtt) or text files (.txt) beside the recordings"
PREFERRED_TABLES = ("metadata", "all", "index", "transcripts", "transcript", "manifest", "dataset")
# What is often there and not read, with the remedy.
NOT_READ = {
    ".xlsx": "save the sheet as CSV",
    ".xls": "save the sheet as CSV",
    ".textgrid": "export its sentences as a table with columns file, text, start and end, and cut the recordings",
    ".eaf": "export subtitles (.srt) from ELAN",
    ".ass": "convert the subtitles to .srt",
}
_MANIFEST = re.compile(r"(?P<before>.*)(?P<kind>cuts|supervisions)(?P<after>.*)\.jsonl(\.gz)?")
WHOLE_S = 0.05  # a supervision that ends this near to the recording's end means all of it
NOT_A_FILE = "lhotse names a command, a link or an archive; write sound files (CutSet.save_audios)"
_TAGS = re.compile(r"<[^>]*>|\{\\[^}]*\}|\[[^\]]*\]")  # of subtitles; and [music], which nobody says
_DISFLUENCY = re.compile(r"\[[\w -]*\]")  # tags of Spontaneous Speech: [disfluency], [laugh]
_CUE = re.compile(
    r"(?:(\d+):)?(\d+):(\d+)[.,](\d+)\s*-->\s*(?:(\d+):)?(\d+):(\d+)[.,](\d+)[^\n]*\n(.*?)(?=\n\s*\n|\Z)", re.DOTALL
)


def open_folder(folder: Path, *, options: dict[str, str], table: Path | None = None) -> RowFolder:
    """The folder as a source, in the first layout that fits. Raises UsageError when none does."""
    files = FolderFiles(folder)
    if table:
        inside = table.suffix.lower() in COLUMNAR
        rows = columnar_rows(files, options, only=table.name) if inside else _of_tables({"": [table]}, files, options)
        return RowFolder(folder, layout="table", rows=list(rows), files=files, options=options)
    for layout, read in LAYOUTS.items():
        if rows := list(read(files, options)):
            return RowFolder(folder, layout=layout, rows=rows, files=files, options=options)
    endings = {splitext(name)[1].lower() for name in files.names}
    remedies = [f"{ending}: {NOT_READ[ending]}" for ending in sorted(endings & NOT_READ.keys())]
    n_sounds = len(files.sounds())
    nearest = "; ".join(remedies) or (
        f"it holds {n_sounds} recordings and no text for them: add metadata.tsv with the columns file and text"
        if n_sounds
        else "it holds no recordings"
    )
    raise UsageError(f"{folder} is in no layout that is read, which are {READ}; {nearest}")


def _tables(files: FolderFiles, options: dict[str, str]) -> Iterator[Row]:
    """In the folder itself; else in those below it that are named after splits; else in the only one with tables."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in sorted(files.names.values()):
        if name.removesuffix(".gz").lower().endswith(ENDINGS) and name.count("/") < 3:
            by_folder[dirname(name)].append(name)
    if "" not in by_folder:
        named = {folder: names for folder, names in by_folder.items() if split_in(basename(folder))}
        if not named and len(by_folder) > 1:
            raise CantowhisperError(
                f"{files.folder} holds tables in several folders ({', '.join(by_folder)}); give one"
            )
        for folder, names in (named or by_folder).items():
            yield from _of_tables(_by_split(names, files, split_in(basename(folder))), files, options)
    else:
        yield from _of_tables(_by_split(by_folder[""], files, ""), files, options)


def _by_split(names: list[str], files: FolderFiles, own: str) -> dict[str, list[Path]]:
    """{split or "": tables}: tables named after splits, or else the one table that there is ("")."""
    tables: dict[str, list[Path]] = defaultdict(list)
    for name in names:
        if split := own or split_in(splitext(basename(name.removesuffix(".gz")))[0]):
            tables[split].append(files.folder / name)
    if tables:
        return tables
    stem = lambda name: splitext(basename(name))[0].lower()
    named = [name for preferred in PREFERRED_TABLES for name in names if stem(name) == preferred]
    if len(names) > 1 and not named:
        raise CantowhisperError(
            f"{files.folder} holds several tables ({', '.join(map(basename, names))}); name the one to use metadata.tsv"
        )
    return {"": [files.folder / (named or names)[0]]}


def _of_tables(tables: dict[str, list[Path]], files: FolderFiles, options: dict[str, str]) -> list[Row]:
    found = []
    for split, paths in tables.items():
        for path in paths:
            rows = read_rows(path, encoding=options.get("encoding"))
            names = list(dict.fromkeys(str(name) for row in rows for name in row if not str(name).startswith("\0")))
            columns = pick_columns(names, options, str(path)) if rows else {}
            inside = path.is_relative_to(files.folder)  # a table may lie elsewhere: TABLE,recordings=FOLDER
            base = path.parent.relative_to(files.folder).as_posix().removeprefix(".") if inside else ""
            found += [table_row(row, columns, base=base, split=split) for row in rows]
    return found


def _ljspeech(files: FolderFiles, options: dict[str, str]) -> Iterator[Row]:
    if "metadata.csv" not in files.names:
        return
    text = read_text(files.folder / "metadata.csv", encoding=options.get("encoding"))
    lines = [line.split("|") for line in text.splitlines() if line.strip()]
    if lines and all(len(cells) in (2, 3) for cells in lines) and "," not in lines[0][0]:
        for cells in lines:
            if not (cells is lines[0] and cells[0].lower() in ("file_name", "file", "path", "id", "audio")):
                yield Row(audio=cells[0].strip(), text=cells[-1].strip() or cells[1].strip())


def _kaldi(files: FolderFiles, options: dict[str, str]) -> Iterator[Row]:
    for name in sorted(files.names.values()):
        base = dirname(name)
        if basename(name) == "wav.scp" and join(base, "text") in files.names:
            yield from _kaldi_rows(files, base)


def _kaldi_rows(files: FolderFiles, base: str) -> Iterator[Row]:
    def mapping(name: str) -> dict[str, str]:
        if join(base, name) not in files.names:
            return {}
        lines = read_text(files.folder / base / name).splitlines()
        return {key: rest.strip() for key, _, rest in (line.strip().partition(" ") for line in lines) if key}

    recordings, speakers, segments = mapping("wav.scp"), mapping("utt2spk"), mapping("segments")
    for utterance, text in mapping("text").items():
        recording, start, end = (*segments.get(utterance, f"{utterance} - -").split(), "-", "-")[:3]
        path = recordings.get(recording, "")
        command = path.endswith("|") or bool(re.search(r":\d+$", path))
        yield Row(
            audio=path,
            text=text,
            split=split_in(basename(base)),
            speaker=speakers.get(utterance, ""),
            start_s=None if start == "-" else float(start),
            end_s=None if start == "-" else float(end),
            seconds=None if start == "-" else float(end) - float(start),
            id=utterance,
            base=base,
            objection="wav.scp holds a command or an archive; write sound files" if command else None,
        )


def _librispeech(files: FolderFiles, options: dict[str, str]) -> Iterator[Row]:
    for name in sorted(name for name in files.names.values() if name.endswith(".trans.txt")):
        split = next((split for part in name.split("/") if (split := split_in(part))), "")
        for line in read_text(files.folder / name).splitlines():
            utterance, _, text = line.strip().partition(" ")
            if utterance:
                speaker = utterance.split("-")[0]
                yield Row(utterance, text, split=split, speaker=speaker, id=utterance, base=dirname(name))


def _lhotse(files: FolderFiles, options: dict[str, str]) -> Iterator[Row]:
    """Its manifests are JSON, one object a line. Times of a supervision count from the beginning of its cut, and in a
    manifest of its own from the beginning of the recording."""
    manifests = [(name, _MANIFEST.fullmatch(basename(name))) for name in sorted(files.names.values())]
    found = [(name, match) for name, match in manifests if match]
    cuts = [(name, match) for name, match in found if match["kind"] == "cuts"]
    for name, match in cuts or found:
        split = split_in(match["after"]) or split_in(match["before"])  # cuts_train, libri_cuts_dev-clean, train_cuts
        for row in (_lhotse_cuts if cuts else _lhotse_supervisions)(files, name):
            row.split, row.base = split, dirname(name)
            yield row


def _lhotse_cuts(files: FolderFiles, name: str) -> Iterator[Row]:
    for cut in read_rows(files.folder / name):
        for supervision in cut.get("supervisions") or [{}]:
            start_s = cut.get("start", 0.0) + supervision.get("start", 0.0)
            length_s = supervision.get("duration", cut.get("duration", 0.0))
            yield _lhotse_row(supervision, cut.get("recording") or {}, start_s, length_s, cut.get("id", ""))


def _lhotse_supervisions(files: FolderFiles, name: str) -> Iterator[Row]:
    beside = f"{dirname(name)}/{basename(name).replace('supervisions', 'recordings')}".lstrip("/")
    recordings = {each.get("id"): each for each in read_rows(files.folder / beside)} if beside in files.names else {}
    for supervision in read_rows(files.folder / name):
        recording = recordings.get(supervision.get("recording_id"), {})
        yield _lhotse_row(supervision, recording, supervision.get("start", 0.0), supervision.get("duration", 0.0), "")


def _lhotse_row(supervision: dict, recording: dict, start_s: float, length_s: float, cut: str) -> Row:
    source = next(iter(recording.get("sources") or []), {})
    whole = start_s == 0 and abs(recording.get("duration", length_s) - length_s) < WHOLE_S
    return Row(
        audio=str(source.get("source", "")),
        text=str(supervision.get("text") or ""),
        speaker=str(supervision.get("speaker") or ""),
        language=str(supervision.get("language") or ""),
        seconds=length_s or None,
        start_s=None if whole else start_s,
        end_s=None if whole else start_s + length_s,
        id=str(supervision.get("id") or cut),
        objection=NOT_A_FILE if source and source.get("type") != "file" else None,
    )


def _spontaneous(files: FolderFiles, options: dict[str, str]) -> Iterator[Row]:
    for name in sorted(files.names.values()):
        if SPONTANEOUS.fullmatch(basename(name)):
            yield from map(_without_tags, _of_tables({"": [files.folder / name]}, files, options))


def _without_tags(row: Row) -> Row:
    row.text = " ".join(_DISFLUENCY.sub(" ", row.text).split())
    return row


def open_spontaneous(archive: ReleaseArchive, *, options: dict[str, str]) -> RowFolder:
    """A release of Common Voice Spontaneous Speech in the archive as it was downloaded."""
    where = archive.where(archive.spontaneous)
    try:
        table = list(delimited_rows("".join(archive.lines(archive.spontaneous)), ".tsv"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CantowhisperError(f"cannot read {where}: {error}; download it again") from error
    columns = pick_columns(list(table[0]) if table else [], options, where)
    rows = [_without_tags(table_row(cells, columns)) for cells in table]
    for row in rows:
        if row.audio:
            row.id, row.audio = splitext(basename(row.audio))[0], archive.recording(basename(row.audio))
    rows.sort(key=lambda row: getattr(row.audio, "offset", -1))  # the archive is read in one direction
    name = archive.archive.with_name(archive.archive.name.removesuffix(".gz").removesuffix(".tar"))
    return RowFolder(
        name, layout="Common Voice Spontaneous Speech", rows=rows, files=FolderFiles(name), options=options
    )


def _subtitles(files: FolderFiles, options: dict[str, str]) -> Iterator[Row]:
    sounds = {splitext(name)[0]: name for name in files.sounds()}
    for name in sorted(name for name in files.names.values() if name.lower().endswith((".srt", ".vtt"))):
        stem = splitext(name)[0]
        sound = sounds.get(stem) or sounds.get(splitext(stem)[0])  # talk.vtt, talk.zh-HK.vtt
        if sound:
            for *clock, text in _CUE.findall(read_text(files.folder / name).replace("\r\n", "\n")):
                start_s, end_s = _seconds(clock[:4]), _seconds(clock[4:])
                yield Row(
                    audio=sound,
                    text=_cue_text(text, escaped=name.lower().endswith(".vtt")),
                    split=next((split for part in name.split("/")[:-1] if (split := split_in(part))), ""),
                    speaker=f"recording {splitext(sound)[0]}",  # who speaks is not known, but not in two splits
                    seconds=max(end_s - start_s, 0.0),
                    start_s=start_s,
                    end_s=end_s,
                )


def _cue_text(text: str, *, escaped: bool) -> str:
    """What is said in a cue. Its lines are joined as the language writes: Chinese without a space."""
    said = join_texts(_TAGS.sub(" ", line) for line in text.splitlines())
    return html.unescape(said) if escaped else said


def _seconds(clock: list[str]) -> float:
    hours, minutes, seconds, fraction = clock
    return int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds) + float(f"0.{fraction}")


def _texts(files: FolderFiles, options: dict[str, str]) -> Iterator[Row]:
    for sound in files.sounds():
        names = (f"{splitext(sound)[0]}{ending}" for ending in (".txt", ".lab"))
        name = next((name for name in names if name in files.names), "")
        if name in files.names:
            split = next((split for part in sound.split("/")[:-1] if (split := split_in(part))), "")
            yield Row(sound, " ".join(read_text(files.folder / name).split()), split=split)


LAYOUTS: dict[str, Callable[[FolderFiles, dict[str, str]], Iterator[Row]]] = {
    "Kaldi or ESPnet": _kaldi,
    "LibriSpeech": _librispeech,
    "Common Voice Spontaneous Speech": _spontaneous,
    "LJSpeech": _ljspeech,
    "lhotse": _lhotse,
    "Parquet or Arrow": columnar_rows,
    "table": _tables,
    "subtitles": _subtitles,
    "text files": _texts,
}
