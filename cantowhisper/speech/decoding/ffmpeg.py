"""The second decoder: FFmpeg through PyAV. It reads nearly everything, goes on after damage, and knows the time.

Files come from strangers, so it may only use the demuxers named below: FFmpeg follows playlists, and a text file named
.wav could otherwise make it read other local files or fetch addresses. It is given our own file object, never a name.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import numpy as np

from cantowhisper.speech.decoding.decoders import (
    TOLERANCE_SECONDS,
    AudioError,
    Block,
    Findings,
    block_frames,
    check_format,
)
from cantowhisper.speech.decoding.mixing import STANDARD_CENTRE, to_mono

# Containers that hold exactly their own sound. Not in the list, on purpose: hls, dash, concat, imf, sdp, image lists.
DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,ogg,flac,mp3,wav,w64,aac,amr,aiff,au,caf,asf,avi,flv,mpegts,mpeg"
PLAYABLE = "WAV, MP3, M4A, AAC, OGG, Opus, FLAC, WebM, MP4, MKV or MOV"

LONGEST_SILENCE_SECONDS = 3600.0  # that is filled in, in all: timestamps may say anything
RESTART_SECONDS = 0.5  # a time this far back is another recording's clock
NO_PAUSES = ("flac", "ogg")  # a hole between their timestamps is damage; with MP4 it may be meant
TAG_MARKS = (b"ID3", b"TAG", b"Xing", b"Info")  # in packets that hold no sound, where MP3s were joined


@contextmanager
def _opened(file: BinaryIO):
    import av
    from av.error import FFmpegError

    file.seek(0)
    # For the container alone: `options` goes to the streams as well, and before version 18 PyAV crashed over formats
    # that find their streams while reading, such as FLV.
    options = {"format_whitelist": DEMUXERS, "protocol_whitelist": "none"}
    # A title in another encoding than UTF-8 must not stop anything. From version 19 on it never does.
    old: dict[str, Any] = {"metadata_errors": "ignore"} if int(av.__version__.partition(".")[0]) < 19 else {}
    try:
        with av.open(file, container_options=options, **old) as container:
            yield container
    except (FFmpegError, ValueError, EOFError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise AudioError(
            f"this is not a recording that can be read ({why}); use {PLAYABLE}", reason="unreadable"
        ) from error


def sound_tracks(file: BinaryIO) -> list[int]:
    """The indices of the sound tracks, the one first that players choose: what the file says is the default.

    Raises AudioError when the file cannot be read or has none.
    """
    with _opened(file) as container:
        tracks = [stream.index for stream in container.streams.audio if stream.codec_context is not None]
        if not tracks:
            raise AudioError("the file holds no sound track; choose one with sound", reason="unreadable")
        chosen = container.streams.best("audio")
        return sorted(tracks, key=lambda index: chosen is None or index != chosen.index)


def stated_seconds(file: BinaryIO) -> float:
    """How long the file says that it plays, by estimate if need be; 0 if it does not say. Raises AudioError."""
    with _opened(file) as container:
        return (container.duration or 0) / 1e6


def ffmpeg_blocks(file: BinaryIO, track: int, found: Findings, *, should_stop: Callable[[], bool]) -> Iterator[Block]:
    """Decode one track. What cannot be decoded is left out, and silence put where the file's clock tells of a hole."""
    with _opened(file) as container:
        stream = container.streams[track]
        if stream.codec_context.name == "flac":  # by default a damaged frame is played as noise
            stream.codec_context.options = {"err_detect": "crccheck+explode"}
        clock = _Clock(container, stream, found)
        yield from _blocks(_frames(container, stream, clock, should_stop), clock)
        clock.end(_stated_seconds(container, stream))


def _frames(container, stream, clock: "_Clock", should_stop: Callable[[], bool]) -> Iterator:
    """The frames of a stream; packets that cannot be decoded are told to the clock."""
    from av.error import FFmpegError

    packets = container.demux()
    while not should_stop():
        try:
            packet = next(packets)
        except StopIteration:
            return
        except (FFmpegError, ValueError):  # the container itself is damaged from here on
            clock.found.complete = False
            return
        clock.pass_bytes(packet)
        if packet.stream_index != stream.index:
            continue
        try:
            yield from packet.decode()
        except (FFmpegError, ValueError):
            clock.fail(packet)


def _blocks(frames: Iterator, clock: "_Clock") -> Iterator[Block]:
    """Frames put together to blocks of one rate and number of channels."""
    held, n_held, centre = [], 0, None
    kind: tuple[int, int] | None = None
    for frame in frames:
        samples, silence = _samples(frame), clock.silence_before(frame)
        now = (frame.sample_rate, samples.shape[1])
        if kind != now:
            check_format(*now)
        if held and kind and (kind != now or silence or n_held >= block_frames(*kind)):
            yield Block(to_mono(np.concatenate(held), centre=centre), kind[0])
            held, n_held = [], 0
        yield from _silence(silence, now[0])
        kind, centre = now, _centre(frame.layout, now[1])
        held.append(samples)
        n_held += len(samples)
    if held and kind:
        yield Block(to_mono(np.concatenate(held), centre=centre), kind[0])


def _silence(seconds: float, rate: int) -> Iterator[Block]:
    left = round(seconds * rate)
    while left > 0:
        block = np.zeros(min(left, block_frames(rate, 1)), np.float32)
        left -= block.size
        yield Block(block, rate)


def _samples(frame) -> np.ndarray:
    """A frame as float32 (n_samples, n_channels) in [-1, 1]."""
    data = frame.to_ndarray()
    data = data.T if frame.format.is_planar else data.reshape(frame.samples, -1)
    if data.dtype.kind == "f":
        return data.astype(np.float32, copy=False)
    middle = 128 if data.dtype == np.uint8 else 0
    return (data.astype(np.float32) - middle) / np.float32(2.0 ** (8 * data.itemsize - 1))


def _centre(layout, n_channels: int) -> int | None:
    names = [channel.name for channel in layout.channels]
    if "FC" in names and n_channels > 2:
        return names.index("FC")
    return None if "FL" in names else STANDARD_CENTRE.get(n_channels)


def _stated_seconds(container, stream) -> float:
    """How long the file says that the track is; 0 where it does not say, or FFmpeg only estimates."""
    kind = container.format.name.partition(",")[0]
    if kind == "matroska":
        return (container.duration or 0) / 1e6 if len(container.streams) == 1 else 0.0
    if kind in ("mov", "flac", "ogg", "aiff"):  # an MP3's is an estimate where the file goes on after its last frame
        return float((stream.duration or 0) * stream.time_base)
    return 0.0


class _Clock:
    """Compares what was decoded with the container's time, and counts what is lost.

    Zero is where the file begins to play: where its first track begins, which may be the picture.
    """

    def __init__(self, container, stream, found: Findings):
        self.found, self._unit = found, float(stream.time_base)
        self._kind = container.format.name.partition(",")[0]
        start = container.start_time if len(container.streams) > 1 else None
        self._zero = None if start is None else start / 1e6
        self._position = self._filled = self._lead = 0.0  # seconds given out; of them silence; of that before the sound
        self._expected: float | None = None  # time of the next frame if nothing is missing
        self._failed = 0.0  # seconds of packets since the last frame that could not be decoded
        self._read_to, self._skipped, self._used = 0, 0, 0  # bytes of the file

    def pass_bytes(self, packet) -> None:
        """Note what lies between packets: after damage, Matroska goes on with the next cluster and says nothing."""
        if packet.pos is not None and packet.pos >= 0:
            self._skipped += max(0, packet.pos - self._read_to) if self._read_to else 0
            self._read_to = max(self._read_to, packet.pos + packet.size)
        self._used += packet.size

    def fail(self, packet) -> None:
        """Count a packet that could not be decoded."""
        if packet.size and not any(mark in bytes(packet) for mark in TAG_MARKS):
            self._failed += (packet.duration or 0) * self._unit

    def silence_before(self, frame) -> float:
        """Seconds of silence that belong before a frame, which is counted from now on."""
        seconds, time, silence = frame.samples / frame.sample_rate, frame.time, 0.0
        if time is not None:
            self._count_lost(time)
            silence = self._drift(time)
            self._expected = time + seconds
        elif self._expected is not None:
            self._expected += seconds
        if not self.found.decoded_seconds:
            self._lead = silence
        self._position += silence + seconds
        self._filled += silence
        self.found.decoded_seconds += seconds
        self._skipped = 0
        return silence

    def _drift(self, time: float) -> float:
        """How far a frame's time is ahead of what was given out."""
        if self._zero is None:
            self._zero = time
        drift = time - self._zero - self._position
        if drift < -RESTART_SECONDS or drift + self._filled > LONGEST_SILENCE_SECONDS:
            self._zero += drift  # files were joined, or the timestamps are nonsense
        return drift if TOLERANCE_SECONDS < drift <= LONGEST_SILENCE_SECONDS - self._filled else 0.0

    def _count_lost(self, time: float) -> None:
        hole = 0.0 if self._expected is None else time - self._expected
        if not 0.01 < hole <= LONGEST_SILENCE_SECONDS:
            hole = 0.0
        damaged = self._failed or self._kind in NO_PAUSES or (self._kind == "matroska" and self._lost_bytes(hole))
        if damaged:
            self.found.lost_seconds += max(self._failed, hole)
        self._failed = 0.0

    def _lost_bytes(self, hole: float) -> bool:
        """Whether more bytes were skipped than a quarter of what sound of that length takes."""
        return hole > 0 and self._skipped > 0.25 * hole * self._used / max(self._position, 1.0)

    def end(self, stated_seconds: float) -> None:
        """Count what is missing at the end of a file that says how long it is."""
        self.found.lost_seconds += self._failed
        missing = stated_seconds - (self._position - self._lead) - self._failed
        if missing > TOLERANCE_SECONDS:
            self.found.lost_seconds += missing
