"""Recordings to waveforms: whatever people have in, float32 mono at 16 kHz out, and never more than was asked for.

A file's header does not decide what exists. libsndfile, which is quick, reads WAV, FLAC, Ogg and MP3 up to where the
header says that they end; where the file goes on, or is damaged, or has another format, FFmpeg reads it (through
PyAV). What is damaged costs what is damaged, and is reported. Decoding goes block by block and stops at the duration
cap: 640 KiB of FLAC can hold an hour of silence, 563 MiB when decoded.
"""

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soxr

from cantowhisper.speech.decoding.containers import Part, mended, parts
from cantowhisper.speech.decoding.decoders import (
    UNKNOWN_FRAMES,
    AudioError,
    Block,
    Findings,
    open_soundfile,
    soundfile_blocks,
    states_length,
)
from cantowhisper.speech.decoding.ffmpeg import ffmpeg_blocks, sound_tracks, stated_seconds
from cantowhisper.speech.decoding.mixing import speaks
from cantowhisper.speech.mel import SAMPLE_RATE

__all__ = ["SAMPLE_RATE", "AudioError", "Sound", "load_audio", "read_sound", "sound_seconds"]

REPORTED_SECONDS = 0.01  # a loss that is worth a word


@dataclass(frozen=True)
class Sound:
    """A decoded recording. Times in `waveform` are the file's own: silence stands where the file has none yet."""

    waveform: np.ndarray  # float32, shape (n_samples,), mono in [-1, 1] at 16,000 Hz
    lost_seconds: float = 0.0  # damaged or missing; as far as it can be told
    notes: tuple[str, ...] = ()  # what people should know of it, one line each


@dataclass(frozen=True)
class _Limits:
    max_seconds: float | None
    should_stop: Callable[[], bool]


def load_audio(source: bytes | str | os.PathLike, *, max_seconds: float | None = None) -> np.ndarray:
    """The waveform of a recording: `read_sound` for those who need no more."""
    return read_sound(source, max_seconds=max_seconds).waveform


def read_sound(
    source: bytes | str | os.PathLike,
    *,
    max_seconds: float | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Sound:
    """Decode a recording.

    Parameters
    ----------
    source : the file's bytes, or its path
    max_seconds : refuse longer recordings; nothing much beyond this is ever decoded
    should_stop : asked while decoding; when it says so, the sound up to there is returned

    Raises
    ------
    AudioError : unreadable, empty, or longer than max_seconds
    """
    limits = _Limits(max_seconds, should_stop)
    with _file(source) as file:
        if not file.read(1):
            raise AudioError("the file is empty (0 bytes); copy or download it again", reason="empty")
        spans = parts(file)
        sounds = [_decode(file if len(spans) == 1 else _cut_out(file, part), part, limits) for part in spans]
    waveform = sounds[0].waveform if len(sounds) == 1 else np.concatenate([sound.waveform for sound in sounds])
    _check_length(waveform.size / SAMPLE_RATE, limits)
    if waveform.size == 0 and not should_stop():
        raise AudioError("the recording holds no sound samples; record it again", reason="empty")
    if not np.isfinite(np.dot(waveform, waveform)):  # float WAVs may hold NaN; a product is quicker than a search
        np.nan_to_num(waveform, copy=False)
    lost = sum(sound.lost_seconds for sound in sounds)
    notes = [f"{lost:.2f} s of the sound is damaged or missing"] if lost >= REPORTED_SECONDS else []
    notes += dict.fromkeys(note for sound in sounds for note in sound.notes)
    return Sound(np.clip(waveform, -1.0, 1.0, out=waveform), lost, tuple(notes))


def sound_seconds(source: bytes | str | os.PathLike) -> float:
    """How long a recording lasts, by its header where that says so, else decoded. Raises AudioError."""
    return header_seconds(source) or load_audio(source).size / SAMPLE_RATE


def header_seconds(source: bytes | str | os.PathLike, *, estimates: bool = True) -> float:
    """How long a recording's header says that it lasts, 0 where it does not; nothing is decoded. Raises AudioError.

    estimates : also for an MP3 that does not count its frames, by the first one's bit rate
    """
    with _file(source) as file:
        if (sound := open_soundfile(file)) is not None:
            with sound:
                if sound.format == "MP3" and not estimates and not states_length(file):
                    return 0.0
                return sound.frames / sound.samplerate if 0 < sound.frames < UNKNOWN_FRAMES else 0.0
        return stated_seconds(file)


def _file(source: bytes | str | os.PathLike) -> BinaryIO:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    try:
        return Path(source).open("rb")
    except OSError as error:
        raise AudioError(f"cannot open {source}: {error.strerror}", reason="unreadable") from error


def _cut_out(file: BinaryIO, part: Part) -> BinaryIO:
    file.seek(part.start)
    return io.BytesIO(file.read(part.end - part.start))


def _decode(file: BinaryIO, part: Part, limits: _Limits) -> Sound:
    """One recording, by the decoder that finds more in it."""
    quick, found = None, Findings()
    if (sound := open_soundfile(file)) is not None:
        quick = _collect(soundfile_blocks(sound, file, found), limits)
        if found.complete or limits.should_stop():
            promised = found.decoded_seconds * part.missing_bytes / (part.end - part.start)
            return Sound(quick, found.lost_seconds + promised)
    try:
        other, noticed = _by_ffmpeg(file, limits)
        if noticed.lost_seconds and (repaired := mended(file)) is not None:
            other, noticed = _by_ffmpeg(repaired, limits)
    except AudioError as error:
        if quick is None or not quick.size or error.reason == "too_long":
            raise
        return Sound(quick, found.lost_seconds)
    if quick is not None and found.decoded_seconds > noticed.decoded_seconds + 0.1:
        return Sound(quick, found.lost_seconds)
    return Sound(other, noticed.lost_seconds, tuple(noticed.notes))


def _by_ffmpeg(file: BinaryIO, limits: _Limits) -> tuple[np.ndarray, Findings]:
    """The first track that speaks, in the order in which the file wants them played; else the first of them."""
    tracks, first = sound_tracks(file), None
    problem = AudioError("the file has no sound track that can be read", reason="unreadable")
    for track in tracks:
        found = Findings()
        try:
            waveform = _collect(ffmpeg_blocks(file, track, found, should_stop=limits.should_stop), limits)
        except AudioError as error:
            problem = error
            continue
        if len(tracks) == 1 or limits.should_stop():
            return waveform, found
        if speaks(waveform):
            why = "players choose it" if track == tracks[0] else "the others before it hold no speech"
            found.notes.append(
                f"of {len(tracks)} sound tracks, number {sorted(tracks).index(track) + 1} is used: {why}"
            )
            return waveform, found
        first = first or (waveform, found)
    if first is None:
        raise problem
    return first


def _collect(blocks: Iterator[Block], limits: _Limits) -> np.ndarray:
    """Resample and join blocks, up to the limits."""
    pieces, seconds = [], 0.0
    for piece in _resampled(blocks):
        pieces.append(piece)
        seconds += piece.size / SAMPLE_RATE
        _check_length(seconds, limits)
        if limits.should_stop():
            break
    return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)


def _check_length(seconds: float, limits: _Limits) -> None:
    if limits.max_seconds is not None and seconds > limits.max_seconds:
        raise AudioError(
            f"the recording is longer than {limits.max_seconds:g} s; cut it into shorter pieces",
            reason="too_long",
            limit_s=limits.max_seconds,
        )


def _resampled(blocks: Iterator[Block]) -> Iterator[np.ndarray]:
    """Mono blocks to mono blocks at 16 kHz, without seams (soxr, its default HQ quality)."""
    stream, previous = None, None
    for block in blocks:
        if previous is not None:
            ends = block.rate != previous.rate
            stream = stream or (None if ends else soxr.ResampleStream(previous.rate, SAMPLE_RATE, 1, dtype="float32"))
            yield _resample(previous, stream, last=ends)
            stream = None if ends else stream
        previous = block
    if previous is not None:
        yield _resample(previous, stream, last=True)


def _resample(block: Block, stream: soxr.ResampleStream | None, *, last: bool) -> np.ndarray:
    samples, rate = block
    if rate == SAMPLE_RATE:
        return samples
    if stream is None:
        return soxr.resample(samples, rate, SAMPLE_RATE)
    return stream.resample_chunk(samples, last=last)
