"""Recordings to waveforms: whatever people have in, float32 mono at 16 kHz out, and never more than was asked for.

soundfile (libsndfile) reads WAV, FLAC, OGG and MP3; the rest (M4A, MP4, WebM, MOV, …) goes to PyAV. Files come from
strangers, so PyAV may only use the demuxers named below: FFmpeg follows playlists, and a text file named .wav could
otherwise make it read other local files or fetch addresses. Decoding goes block by block and stops at the duration
cap: 640 KiB of FLAC can hold an hour of silence, 563 MiB when decoded.
"""

import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile
import soxr

from cantowhisper.contracts import CantowhisperError
from cantowhisper.speech.mel import SAMPLE_RATE

BLOCK_SECONDS = 30  # long enough that a Common Voice clip is one block, short enough to stop early

# Containers that hold exactly their own sound. Not in the list, on purpose: hls, dash, concat, imf, sdp, image lists.
DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,ogg,flac,mp3,wav,w64,aac,amr,aiff,au,caf,asf,avi,flv,mpegts,mpeg"
PLAYABLE = "WAV, MP3, M4A, AAC, OGG, Opus, FLAC, WebM, MP4, MKV or MOV"


class AudioError(CantowhisperError):
    """A recording cannot be used. `reason` is "unreadable", "empty" or "too_long"; the message is one line."""

    def __init__(self, message: str, *, reason: str):
        super().__init__(message)
        self.reason = reason


def load_audio(source: bytes | str | os.PathLike, *, max_seconds: float | None = None) -> np.ndarray:
    """Decode a recording.

    Parameters
    ----------
    source : the file's bytes, or its path
    max_seconds : refuse longer recordings; nothing much beyond this is ever decoded

    Returns
    -------
    float32, shape (n_samples,), mono in [-1, 1] at 16,000 Hz

    Raises
    ------
    AudioError : unreadable, empty, or longer than max_seconds
    """
    blocks, seconds = [], 0.0
    for block in _resampled(_blocks(source)):
        blocks.append(block)
        seconds += block.size / SAMPLE_RATE
        if max_seconds is not None and seconds > max_seconds:
            raise AudioError(
                f"the recording is longer than {max_seconds:g} s; cut it into shorter pieces", reason="too_long"
            )
    waveform = np.concatenate(blocks) if blocks else np.zeros(0, np.float32)
    if waveform.size == 0:
        raise AudioError("the recording holds no sound samples; record it again", reason="empty")
    if not np.isfinite(np.dot(waveform, waveform)):  # float WAVs may hold NaN; a product is quicker than a search
        np.nan_to_num(waveform, copy=False)
    return np.clip(waveform, -1.0, 1.0, out=waveform)


def _resampled(blocks: Iterator[tuple[np.ndarray, int]]) -> Iterator[np.ndarray]:
    """Mono blocks at the recording's rate to mono blocks at 16 kHz, without seams (soxr, its default HQ quality)."""
    stream, previous, rate = None, None, None
    for block, rate in blocks:
        if rate == SAMPLE_RATE:
            yield block
        elif previous is not None:
            stream = stream or soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
            yield stream.resample_chunk(previous)
        previous = block
    if previous is None or rate == SAMPLE_RATE:
        return
    yield stream.resample_chunk(previous, last=True) if stream else soxr.resample(previous, rate, SAMPLE_RATE)


def _blocks(source: bytes | str | os.PathLike) -> Iterator[tuple[np.ndarray, int]]:
    """Yield (mono float32 block, sample rate). Our own file object in both cases: av is never given a name."""
    if not isinstance(source, (bytes, bytearray, memoryview)):
        try:
            source = Path(source).open("rb")  # noqa: SIM115 - closed below, after the last block
        except OSError as error:
            raise AudioError(f"cannot open {source}: {error.strerror}", reason="unreadable") from error
    with io.BytesIO(source) if not hasattr(source, "read") else source as file:
        if not file.read(1):
            raise AudioError("the file is empty (0 bytes); copy or download it again", reason="empty")
        file.seek(0)
        try:
            sound = soundfile.SoundFile(file)
        except (soundfile.LibsndfileError, RuntimeError, TypeError):
            sound = None
        if sound is not None:
            yield from _soundfile_blocks(sound)
        else:
            file.seek(0)
            yield from _av_blocks(file)


def _soundfile_blocks(sound: soundfile.SoundFile) -> Iterator[tuple[np.ndarray, int]]:
    with sound:
        rate = sound.samplerate
        # One more than the header promises: a block that comes back short is the last. Headers may promise anything.
        wanted = min(BLOCK_SECONDS * rate, max(sound.frames, rate) + 1)
        while True:
            try:
                block = sound.read(wanted, dtype="float32", always_2d=True)
            except (soundfile.LibsndfileError, RuntimeError) as error:
                raise AudioError(f"the sound data is damaged ({error})", reason="unreadable") from error
            if len(block):
                yield (block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)), rate
            if len(block) < wanted:
                return


def _av_blocks(file) -> Iterator[tuple[np.ndarray, int]]:
    """Decode with FFmpeg through PyAV, which is imported only when it is needed."""
    import av

    try:
        options = {"format_whitelist": DEMUXERS, "protocol_whitelist": "none"}
        with av.open(file, options=options, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise AudioError("the file holds no sound track; choose one with sound", reason="unreadable")
            yield from _av_frames(container)
    except (av.error.FFmpegError, ValueError, EOFError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise AudioError(
            f"this is not a recording that can be read ({why}); use {PLAYABLE}", reason="unreadable"
        ) from (error)


def _av_frames(container) -> Iterator[tuple[np.ndarray, int]]:
    import av

    # Only the sample format is converted here. Down-mixing by FFmpeg would add the channels (√2 too loud), and
    # resampling stays with soxr, so that both decoders give the same waveform.
    planar = av.AudioResampler(format="fltp")
    held, n_held, rate = [], 0, None
    for frame in container.decode(container.streams.audio[0]):
        for piece in planar.resample(frame):
            block = piece.to_ndarray().mean(axis=0, dtype=np.float32)
            rate = piece.sample_rate
            held.append(block)
            n_held += block.size
        if rate and n_held >= BLOCK_SECONDS * rate:
            yield np.concatenate(held), rate
            held, n_held = [], 0
    if held:
        yield np.concatenate(held), rate
