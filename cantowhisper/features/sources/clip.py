"""What a source gives: clips, each with its sentence and where its bytes are."""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import soundfile

from cantowhisper.speech.audio import SAMPLE_RATE, AudioError, header_seconds, load_audio, sound_seconds


class Recording(Protocol):
    """Where a clip's bytes are. Small and picklable: it travels to the worker, the bytes do not."""

    def read(self) -> bytes:
        """The file's bytes. Raises OSError, FileNotFoundError if there is no such file."""


@dataclass(frozen=True, slots=True)
class FileRecording:
    folder: str  # shared by all clips of a source: a hundred thousand whole paths would be felt in memory
    name: str

    def read(self) -> bytes:
        with open(os.path.join(self.folder, self.name), "rb") as file:
            return file.read()


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A part of a long recording, such as a cue of its subtitles."""

    whole: Recording
    start_s: float
    end_s: float

    def read(self) -> bytes:
        """A WAV file of the part. Raises AudioError, too: the whole is decoded, once for all its parts in a row."""
        waveform = _decoded(self.whole)
        start, end = (max(0, round(seconds * SAMPLE_RATE)) for seconds in (self.start_s, self.end_s))
        file = io.BytesIO()
        soundfile.write(file, waveform[start:end], SAMPLE_RATE, format="WAV", subtype="PCM_16")
        return file.getvalue()


@lru_cache(maxsize=1)
def _decoded(recording: Recording) -> np.ndarray:
    """A recording as int16: 115 MB for an hour, in each worker."""
    return (load_audio(recording.read()) * 32767).round().astype(np.int16)


@dataclass(frozen=True, slots=True)
class Clip:
    """One row of a source, as it stands there: nothing is left out and nothing cleaned."""

    id: str
    split: str  # one of contracts.SPLITS
    sentence: str
    speaker: str  # the source's own id, "" if unknown; it never leaves planning, which hashes it
    recording: Recording
    seconds: float | None = None  # if the source says so; balances the shards and measures caps in hours
    votes: int = 0  # up minus down, of the people who checked the recording
    source: str = ""  # name of the source, for the `source` column
    language: str = ""
    labelled_by: str = ""  # the model that wrote the sentence; "" if people did
    gender: str = ""  # of the speaker, in the source's words, "" if it does not say
    age: str = ""  # likewise, or in years
    objection: str | None = None  # why the source itself leaves this clip out; it is listed among the rejects

    def said(self) -> bytes:
        """A line with all that the source says of the clip and its features depend on: for the checksum of a source."""
        cells = [self.id, self.split, self.sentence, self.speaker, self.source, self.language]
        if self.labelled_by:  # and whether it was confident enough
            cells += [self.labelled_by, self.objection or ""]
        cells += filter(None, (self.gender, self.age))
        return "\t".join(cells).encode() + b"\n"


def seconds_of(clip: Clip) -> float:
    """A clip's duration, from its file's header where the table does not tell; 0 for what cannot be read."""
    if clip.seconds is not None:
        return clip.seconds
    try:
        return sound_seconds(clip.recording.read())
    except (OSError, ValueError, AudioError):  # it will be rejected when it is decoded
        return 0.0


def seconds_told(recording: Recording) -> float:
    """A recording's duration if its file's header tells it, else 0; nothing is decoded or estimated."""
    try:
        return header_seconds(recording.read(), estimates=False)
    except (OSError, ValueError, AudioError):
        return 0.0


class Source(Protocol):
    name: str  # goes into the `source` column: names the release, holds no path of this machine
    language: str  # as the source calls it: "zh-HK", "yue", …; "" if it does not say
    license: str  # identifier of the Hugging Face Hub: "cc0-1.0", …
    about: str  # one or two sentences for the dataset card
    terms: str  # why its features are kept private; "" if anybody may have them

    def clips(self, *, split_policy: str) -> Iterator[Clip]:
        """All clips, train first. Raises CantowhisperError when the source cannot be read or lacks the splits."""
