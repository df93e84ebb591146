"""Untranscribed recordings → a feature dataset with the text that a model writes, where it is sure of it.

The recognizer of the pages transcribes. What it writes is kept in `OUT.pseudo/`: `transcripts.jsonl` as it comes, so
that a command that was stopped goes on, and at the end `pseudo_labels.jsonl`, a table that `features` reads like any
other, with the columns `labelled_by` and `confidence`. So another confidence, or another mixture with labelled sources,
takes no second transcription.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm.auto import tqdm

from cantowhisper.contracts import STATS_FILE, CantowhisperError, Segment, UsageError
from cantowhisper.curation.ledger import Ledger
from cantowhisper.features.config import FeatureConfig
from cantowhisper.features.pipeline import build_features
from cantowhisper.features.sources.combined import Combined
from cantowhisper.features.sources.folder_files import FolderFiles
from cantowhisper.features.sources.layouts import open_folder
from cantowhisper.features.sources.open import open_source
from cantowhisper.files import write_text
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.speech.audio import AudioError, load_audio
from cantowhisper.speech.language import language_tag
from cantowhisper.speech.mel import CHUNK_SECONDS, SAMPLE_RATE
from cantowhisper.speech.text import join_texts

CONFIDENCE = 0.6
TRANSCRIPTS, TABLE = "transcripts.jsonl", "pseudo_labels.jsonl"
NEVER_RIGHT = {"repetition", "no_voice_detected"}  # flags of segments whose text is not believed, however sure


class PseudoLabels(NamedTuple):
    """What pseudo_label has done."""

    stats: dict  # stats.json of the feature dataset
    table: Path  # all that was written, for `features`
    n_clips: int
    n_unreadable: int


def pseudo_label(
    recordings: str | os.PathLike,
    out: str | os.PathLike,
    *,
    model: str | os.PathLike,
    language: str | None = None,
    confidence: float = CONFIDENCE,
    labelled: str | None = None,
    settings: dict | None = None,
    threads: int | None = None,
    progress: bool = True,
) -> PseudoLabels:
    """Transcribe a folder of recordings and make the feature dataset of what is sure.

    Parameters
    ----------
    recordings : folder; one of up to 30 s becomes a clip, a longer one a clip for each sentence that is found in it
    out : feature dataset to write. The transcripts are kept beside it, in `out`.pseudo
    language : what is spoken; default is what the model was trained for, or hears in each recording
    confidence : the least that is kept, 0 to 1: exp(mean log-probability of a token) of a clip's least sure part
    labelled : a source as `features` takes it, whose clips come first, and whose validation and test clips are the only
        ones
    settings : options of FeatureConfig; n_mels is by default that of the model

    Raises
    ------
    UsageError : no recordings there, or no such language
    CantowhisperError : no such model, nothing is sure enough, `out` holds something else
    """
    folder, out = Path(recordings), Path(out)
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; give one with recordings")
    files = FolderFiles(folder)
    if not files.sounds():
        raise UsageError(f"{folder} holds no recordings; give a folder with some (WAV, MP3, FLAC, …)")
    if out.exists() and not (out / STATS_FILE).is_file() and (not out.is_dir() or any(out.iterdir())):
        raise CantowhisperError(f"{out} exists and is no feature dataset; choose another folder")
    first = open_source(labelled) if labelled else None  # refused before the work
    recognizer = Recognizer.open(model, threads=threads)
    name = Path(model).resolve().name if Path(model).is_dir() else str(model)
    kept = out.with_name(f"{out.name}.pseudo")
    asked = language_tag(language) if language else ""
    ledger = Ledger(kept / TRANSCRIPTS, {"recordings": folder.name, "model": name, "language": asked})
    _transcribe(files, ledger, recognizer, asked, progress)
    rows = [{**row, "labelled_by": name} for file in files.sounds() for row in ledger.items[file]]
    table = kept / TABLE
    write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), table)
    options = {"confidence": str(confidence)} | ({"language": asked} if asked else {})
    source = open_folder(folder, options=options, table=table)
    if first:
        source = Combined([first, source], hours=[None, None], weights=[None, None])
    config = FeatureConfig(**{"n_mels": recognizer.engine.n_mels, **(settings or {})})
    stats = build_features(source, out, config=config, progress=progress)
    return PseudoLabels(stats, table, len(rows), sum("unreadable" in row for row in rows))


def _transcribe(files: FolderFiles, ledger: Ledger, recognizer: Recognizer, language: str, progress: bool) -> None:
    to_do = [file for file in files.sounds() if file not in ledger.items]
    done = len(files.sounds()) - len(to_do)
    with tqdm(total=done + len(to_do), initial=done, unit="recording", disable=not progress) as bar:
        for file in to_do:
            try:
                waveform = load_audio(files.folder / file)
            except (AudioError, OSError) as error:
                rows = [{"file": file, "text": "", "language": language, "unreadable": str(error)}]
            else:
                segments = recognizer.transcribe(waveform, language=language or None)
                rows = list(clip_rows(file, waveform, segments, language))
            ledger.add([(file, rows)])
            bar.update()


def clip_rows(file: str, waveform: np.ndarray, segments: Sequence[Segment], language: str) -> Iterator[dict]:
    """The rows of a recording's clips: one of the whole where that fits Whisper's window, else one a segment."""
    heard = language or next((segment.language for segment in segments), "")
    if waveform.size <= CHUNK_SECONDS * SAMPLE_RATE:
        text = join_texts((segment.text for segment in segments), heard)
        sure = min(map(_confidence, segments), default=0.0)
        yield {"file": file, "text": text, "language": heard, "confidence": round(sure, 4)}
        return
    for segment in segments:
        start_s = max(round(segment.start_s, 4), 1e-4)  # in a table, an offset of 0 means all of the recording
        yield {
            "file": file,
            "text": segment.text,
            "language": language or segment.language,
            "confidence": round(_confidence(segment), 4),
            "offset": start_s,
            "duration": round(segment.end_s - start_s, 4),
        }


def _confidence(segment: Segment) -> float:
    return 0.0 if NEVER_RIGHT & set(segment.flags) else segment.confidence
