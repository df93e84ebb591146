"""Corrected rows as training clips: an archive that `cantowhisper features FOLDER` takes whole, once it is unpacked.

    metadata.csv           file_name, text, language, and speaker if there is any
    clips/00001.flac       16 kHz, mono, 16 bit

Rows that features would reject are left out and counted (features/clip.py, features/plan.py), so that nobody finds out
hours later. Each recording is decoded twice if there are several: what is left out depends on all, and memory has room
for one.
"""

import csv
import hashlib
import io
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile

from cantowhisper.contracts import Segment
from cantowhisper.serving.captions.turns import speaker_name
from cantowhisper.serving.offline.editing.rows import SLACK_S, Corrected
from cantowhisper.serving.texts.say import Say, Told, said
from cantowhisper.serving.web.refusal import Refusal
from cantowhisper.speech.audio import AudioError, read_sound
from cantowhisper.speech.context import MAX_TEXT_TOKENS
from cantowhisper.speech.language import language_code
from cantowhisper.speech.mel import CHUNK_SECONDS, SAMPLE_RATE
from cantowhisper.speech.rates import MIN_PEAK, MIN_SECONDS, drawn, implausible_speed, n_characters, speech_rate
from cantowhisper.speech.text import cer_view, normalize

FULL_SCALE = 32768
MAX_TEXT_BYTES = MAX_TEXT_TOKENS - 1  # and the end: a byte-level tokenizer never writes more tokens than bytes
FEW_VOICES = 10  # of more than this, features hold some out, and a sentence that both say is left out of training
BOUNDS = {"least": f"{MIN_SECONDS:g}", "most": CHUNK_SECONDS, "bytes": MAX_TEXT_BYTES}  # that a text may name


class Gone(Refusal):
    """A recording is no longer among the uploads."""

    def __init__(self):
        super().__init__(said("clips.gone"), status=410)


@dataclass
class Clip:
    """One row's sound, in samples of its recording."""

    recording: int
    start: int
    end: int
    text: str  # normalised, as features do
    language: str
    speaker: str
    id: str = ""  # as features name it
    reason: str = ""  # why it is left out

    @property
    def seconds(self) -> float:
        return (self.end - self.start) / SAMPLE_RATE


@dataclass
class Report:
    """What an archive holds. left_out : rows by the reason"""

    n_clips: int = 0
    seconds: float = 0.0
    left_out: Counter = field(default_factory=Counter)

    def __str__(self) -> str:
        return self.told(Say())

    def told(self, say: Say) -> str:
        """For people: how many clips, and how many rows are left out for which reason."""
        kept = say("clips.kept", n=self.n_clips, seconds=f"{self.seconds:.1f}")
        if not self.left_out:
            return kept
        why = " · ".join(say(f"clips.{reason}", n=n, **BOUNDS) for reason, n in self.left_out.most_common())
        return say("clips.left_out", kept=kept, n=self.left_out.total(), why=why)


def write_clips(
    recordings: Sequence[Corrected],
    archive: BinaryIO,
    *,
    max_seconds: float,
    language: str = "",
    should_stop: Callable[[], bool] = lambda: False,
) -> Report:
    """Cut the rows out of their recordings and write the archive.

    Parameters
    ----------
    recordings : with the paths of the recordings
    archive : a file that is open for writing bytes
    max_seconds : of one recording
    language : code, of rows that do not say theirs
    should_stop : asked between clips; when it says so, what is written is not whole

    Raises
    ------
    Gone : a recording is no longer there
    Refusal : no row is left, or a row ends after its recording
    AudioError : a recording cannot be read
    """

    @lru_cache(maxsize=1)
    def samples(number: int) -> np.ndarray:
        return _samples(recordings[number].path, max_seconds, should_stop)

    heard: set[bytes] = set()
    clips = []
    for number, one in enumerate(recordings):
        clips += _clips_of(number, one, samples, language, heard)
    _leave_out(clips)
    report = Report(left_out=Counter(clip.reason for clip in clips if clip.reason))
    kept = [clip for clip in clips if not clip.reason]
    if not kept:
        raise Refusal(said("clips.none", report=Told(report.told)))
    with zipfile.ZipFile(archive, "w") as pack:  # stored: FLAC is compressed
        for clip in kept:
            if should_stop():
                break
            pack.writestr(f"{clip.id}.flac", _flac(samples(clip.recording)[clip.start : clip.end]))
        pack.writestr("metadata.csv", _table(kept), zipfile.ZIP_DEFLATED)
    report.n_clips, report.seconds = len(kept), sum(clip.seconds for clip in kept)
    return report


def _samples(path: str, max_seconds: float, should_stop: Callable[[], bool]) -> np.ndarray:
    """A recording as int16, shape (n_samples,), 16 kHz: what a clip of it holds."""
    if not path or not Path(path).is_file():
        raise Gone
    try:
        waveform = read_sound(path, max_seconds=max_seconds, should_stop=should_stop).waveform
    except AudioError:
        if Path(path).is_file():
            raise
        raise Gone from None  # swept just now
    return np.clip(np.round(waveform * FULL_SCALE), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


def _clips_of(
    number: int, one: Corrected, samples: Callable[[int], np.ndarray], language: str, heard: set[bytes]
) -> list[Clip]:
    """Clips of one recording, with what is wrong with each by itself. heard : digests of clips by now, added to"""
    if one.problem or not one.segments:
        return []
    sound, clips = samples(number), []
    seconds = sound.size / SAMPLE_RATE
    for row, segment in enumerate(one.segments, start=1):
        if segment.end_s > seconds + SLACK_S:
            times = {"seconds": f"{seconds:.1f}", "end": f"{segment.end_s:.1f}"}
            raise Refusal(said("clips.another_file", row=row, **times))
        start, end = (min(round(at * SAMPLE_RATE), sound.size) for at in (segment.start_s, segment.end_s))
        clip = Clip(number, start, end, normalize(segment.text), segment.language or language, _speaker(segment, one))
        clip.reason = _fault(clip, sound[start:end])
        digest = hashlib.sha256(sound[start:end].tobytes()).digest()
        if not clip.reason and digest in heard:  # somebody gave a recording twice
            clip.reason = "heard before"
        heard |= set() if clip.reason else {digest}
        clips.append(clip)
    return clips


def _speaker(segment: Segment, one: Corrected) -> str:
    """Number 1 of another recording is somebody else; a name is the same person."""
    name = speaker_name(segment.speaker)
    return f"{one.name} {name}" if name and isinstance(segment.speaker, int) else name


def _fault(clip: Clip, sound: np.ndarray) -> str:
    if not n_characters(clip.text):
        return "no text"
    if not clip.language:
        return "no language"
    if clip.seconds < MIN_SECONDS:
        return "too short"
    if clip.seconds > CHUNK_SECONDS:
        return "too long"
    if len(clip.text.encode()) > MAX_TEXT_BYTES:
        return "long text"
    return "silent" if int(np.abs(sound.astype(np.int32)).max()) < MIN_PEAK * FULL_SCALE else ""


def _leave_out(clips: Sequence[Clip]) -> None:
    """Say of clips why features would reject them beside the others, and name those that stay."""
    for number, clip in enumerate(clips, start=1):
        clip.id = f"clips/{number:05d}"
    _leave_out_shared([clip for clip in clips if not clip.reason])
    while True:  # how quickly a language is spoken is taken from its clips: without the worst it may look different
        kept = [clip for clip in clips if not clip.reason]
        rates = {}
        for code in {language_code(clip.language) for clip in kept}:
            rated = drawn((clip for clip in kept if language_code(clip.language) == code), lambda clip: clip.id)
            rates[code] = speech_rate(code, [(n_characters(clip.text), clip.seconds) for clip in rated])
        wrong = [clip for clip in kept if implausible_speed(clip.text, clip.seconds, clip.language, rates)]
        for clip in wrong:
            clip.reason = "speed"
        if not wrong:
            return


def _leave_out_shared(clips: Sequence[Clip]) -> None:
    if len({clip.speaker or clip.text for clip in clips}) <= FEW_VOICES:
        return
    first: dict[str, str] = {}
    for clip in clips:
        if clip.speaker != first.setdefault(cer_view(clip.text), clip.speaker):
            clip.reason = "said by others"


def _flac(sound: np.ndarray) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _table(clips: Sequence[Clip]) -> str:
    table = io.StringIO(newline="")
    with_speakers = any(clip.speaker for clip in clips)
    writer = csv.writer(table)
    writer.writerow(["file_name", "text", "language", *(["speaker"] if with_speakers else [])])
    for clip in clips:
        more = [clip.speaker] if with_speakers else []
        writer.writerow([f"{clip.id}.flac", clip.text, clip.language, *more])
    return table.getvalue()
