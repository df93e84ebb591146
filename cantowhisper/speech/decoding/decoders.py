"""What both decoders give, and the first of them: libsndfile, which is quick and reads WAV, FLAC, Ogg and MP3."""

import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile

from cantowhisper.contracts import CantowhisperError
from cantowhisper.speech.decoding.mixing import to_mono

BLOCK_SECONDS = 30  # long enough that a Common Voice clip is one block, short enough to stop early
BLOCK_VALUES = 4 << 20  # samples × channels, 16 MiB
RATES_HZ = (1_000, 768_000)
MAX_CHANNELS = 32
TOLERANCE_SECONDS = 0.1  # what encoders add or cut at the ends is less
PADDING_BYTES = 48  # less than two of the smallest MP3 frames: one that only pads, and libmpg123 leaves where it is
UNKNOWN_FRAMES = 2**40  # a year at any rate: libsndfile's word for a FLAC file that was written to a pipe


class AudioError(CantowhisperError):
    """A recording cannot be used. `reason` is "unreadable", "empty" or "too_long"; the message is one line.

    limit_s : of a recording that is too long, the longest that is taken
    """

    def __init__(self, message: str, *, reason: str, limit_s: float | None = None):
        super().__init__(message)
        self.reason, self.limit_s = reason, limit_s


class Block(NamedTuple):
    samples: np.ndarray  # float32 (n_samples,), mono
    rate: int  # Hz; it may change between blocks


@dataclass
class Findings:
    """What a decoder notices on the way."""

    decoded_seconds: float = 0.0  # of sound that was decoded
    lost_seconds: float = 0.0  # of sound that was there, or should be
    complete: bool = True  # False: there may be more, and another decoder should try
    notes: list[str] = field(default_factory=list)


def check_format(rate: int, n_channels: int) -> None:
    """Raise AudioError for what no recorder makes: it would cost memory and time without bound."""
    if not RATES_HZ[0] <= rate <= RATES_HZ[1]:
        raise AudioError(
            f"the file says that its sample rate is {rate:,} Hz; that is no recording or a damaged one",
            reason="unreadable",
        )
    if n_channels > MAX_CHANNELS:
        raise AudioError(f"the file has {n_channels} channels; export one of up to {MAX_CHANNELS}", reason="unreadable")


def block_frames(rate: int, n_channels: int) -> int:
    """Samples of each channel that are decoded at a time."""
    return max(1, min(BLOCK_SECONDS * rate, BLOCK_VALUES // n_channels))


def open_soundfile(file: BinaryIO) -> soundfile.SoundFile | None:
    """None where libsndfile does not know the format, or FFmpeg knows more of it.

    Three channels and more are FFmpeg's: it tells which of them is the centre.
    """
    file.seek(0)
    try:
        sound = soundfile.SoundFile(file)
    except (soundfile.LibsndfileError, RuntimeError, TypeError):
        return None
    if sound.channels > MAX_CHANNELS or not RATES_HZ[0] <= sound.samplerate <= RATES_HZ[1]:
        check_format(sound.samplerate, sound.channels)
    return sound if sound.channels <= 2 else None


def soundfile_blocks(sound: soundfile.SoundFile, file: BinaryIO, found: Findings) -> Iterator[Block]:
    """Decode with libsndfile, which believes headers; `found.complete` says whether the file ends there."""
    with sound:
        rate, frames, promised = sound.samplerate, 0, sound.frames
        # One more than the header promises: a block that comes back short is the last. Headers may promise anything.
        wanted = min(block_frames(rate, sound.channels), max(promised, rate) + 1)
        while True:
            try:
                block = sound.read(wanted, dtype="float32", always_2d=True)
            except (soundfile.LibsndfileError, RuntimeError):
                found.complete = False
                break
            frames += len(block)
            if len(block):
                yield Block(to_mono(block), rate)
            if len(block) < wanted:
                break
        found.decoded_seconds = frames / rate
        found.lost_seconds = _missing_seconds(sound, file, frames)
        # A hole in an Ogg stream moves what follows it; FFmpeg leaves that where it was.
        holed = found.lost_seconds > 0 and sound.format in ("FLAC", "OGG")
        found.complete &= frames > 0 and not holed and not _more_follows(sound, file)


def _missing_seconds(sound: soundfile.SoundFile, file: BinaryIO, frames: int) -> float:
    """What the header promises beyond the `frames` that came."""
    if sound.frames > UNKNOWN_FRAMES or (sound.format == "MP3" and not states_length(file)):
        return 0.0  # without a header that counts them, an MP3's frames are estimated by the first one's bit rate
    missing = (sound.frames - frames) / sound.samplerate
    return missing if missing > TOLERANCE_SECONDS else 0.0


def _more_follows(sound: soundfile.SoundFile, file: BinaryIO) -> bool:
    """Whether a stream goes on where libsndfile stopped: another stream, or another sample rate."""
    if sound.format not in ("MP3", "OGG", "FLAC"):
        return False
    while True:
        rest = file.read(32)
        if rest.startswith(b"APETAGEX"):
            file.seek(int.from_bytes(rest[12:16], "little"), io.SEEK_CUR)
        elif rest.startswith(b"TAG"):  # ID3v1
            file.seek(128 - len(rest), io.SEEK_CUR)
        else:  # zeros pad the end of many files, and the tags before a second FLAC stream
            pieces = chain([rest], iter(lambda: file.read(1 << 16), b""))
            return sum(len(piece.strip(b"\0")) for piece in pieces) > (PADDING_BYTES if sound.format == "MP3" else 0)


def states_length(file: BinaryIO) -> bool:
    """Whether an MP3's first frame holds the number of frames (Xing, Info or VBRI header)."""
    position = file.tell()
    file.seek(0)
    head = file.read(10)
    skip = 0
    if head[:3] == b"ID3":  # its size is in four times 7 bits
        skip = 10 + sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=False))
    file.seek(skip)
    start = file.read(512)
    file.seek(position)
    return any(mark in start for mark in (b"Xing", b"Info", b"VBRI"))
