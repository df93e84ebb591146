"""Containers as they really come: files put together as bytes, and damage in Matroska.

**Joined** (`cat a.wav b.wav`). MP3, Ogg, FLAC, AAC and Matroska are streams: a decoder that is not stopped by the first
header reads on. WAV, AIFF and MP4 say how long they are, and every decoder stops there; so they are taken apart here.

**Matroska and WebM.** A cluster holds seconds of sound as blocks, each after its length. Where a length is damaged,
FFmpeg gives up the rest of the cluster, 5 s and more for 200 bad bytes. But the next block can be found: it is where a
chain of blocks begins. What lies before it is declared void, and only that is lost. (Format: RFC 8794 and RFC 9559.)
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

# What recorders write when they do not know the length yet, and leave there when they crash or write to a pipe.
UNKNOWN_FROM = 0x7FFF0000

EBML, SEGMENT, CLUSTER, VOID, CRC = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0xEC, 0xBF
# SeekHead, Info, Tracks, Cues, Attachments, Chapters, Tags
IN_FILE = (0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367)
IN_FILE += (EBML, SEGMENT, CLUSTER, VOID, CRC)
CLUSTER_TIME, SIMPLE_BLOCK, BLOCK_GROUP = 0xE7, 0xA3, 0xA0
BLOCKS = (SIMPLE_BLOCK, BLOCK_GROUP)
IN_CLUSTER = (*BLOCKS, CLUSTER_TIME, 0xA7, 0xAB, VOID, CRC)  # 0xA7, 0xAB: positions of clusters
CHAIN = 4  # elements in a row that are taken for real: by chance that does not happen
LARGEST_BYTES = 256 << 20  # of a file that is mended in memory


@dataclass(frozen=True)
class Part:
    start: int
    end: int
    missing_bytes: int = 0  # that the header promises, and that are not in the file


def parts(file: BinaryIO) -> list[Part]:
    """The recordings in a file, as spans of bytes; one in nearly every file."""
    size = file.seek(0, io.SEEK_END)
    found, start = [], 0
    while start < size:
        end = min(_end(file, start, size), 2**62)
        if not size - end > 12 or not _begins(file, end):  # what follows is no recording: leave it to the decoder
            missing = end - size if start + 12 < end < start + UNKNOWN_FROM else 0
            found.append(Part(start, size, max(missing, 0)))
            break
        found.append(Part(start, end))
        start = end
    return found


def _end(file: BinaryIO, start: int, size: int) -> int:
    """Where the recording that begins at `start` says that it ends; `size` if it does not say."""
    file.seek(start)
    head = file.read(12)
    if head[:4] == b"RIFF" or head[:4] == b"FORM":
        (length,) = struct.unpack("<I" if head[:4] == b"RIFF" else ">I", head[4:8])
        return start + 8 + length + length % 2 if 4 < length < UNKNOWN_FROM else size
    if head[4:8] == b"ftyp":
        seen_index = False
        for offset, kind in _boxes(file, start, size):
            if kind == b"ftyp" and offset > start and seen_index:
                return offset
            seen_index |= kind in (b"moov", b"moof")
    return size


def _begins(file: BinaryIO, offset: int) -> bool:
    """Whether a WAV, AIFF or MP4 file begins there."""
    file.seek(offset)
    head = file.read(12)
    return (head[:4], head[8:12]) == (b"RIFF", b"WAVE") or head[:4] == b"FORM" or head[4:8] == b"ftyp"


def _boxes(file: BinaryIO, start: int, size: int) -> Iterator[tuple[int, bytes]]:
    """(offset, kind) of the boxes of an MP4 file (ISO/IEC 14496-12, section 4.2)."""
    while start + 8 <= size:
        file.seek(start)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1 and start + 16 <= size:
            (length,) = struct.unpack(">Q", file.read(8))
        if length < 8:  # 0: up to the end of the file
            return
        yield start, kind
        start += length


def mended(file: BinaryIO) -> BinaryIO | None:
    """The file without the damage in its clusters; None if it is no Matroska, too large, or nothing was found."""
    file.seek(0)
    if file.read(4) != EBML.to_bytes(4, "big") or file.seek(0, io.SEEK_END) > LARGEST_BYTES:
        return None
    file.seek(0)
    mender = _Mender(bytearray(file.read()))
    return io.BytesIO(mender.data) if mender.walk() else None


class _Mender:
    """Goes through a Matroska file element by element, and writes over what is none."""

    def __init__(self, data: bytearray):
        self.data = data
        self._cluster_time, self._time, self._step = 0, 0, 0  # of the last block, in the file's ticks (1 ms)

    def walk(self) -> int:
        """Mend what is damaged; returns how many places."""
        places, at = 0, 0
        while at < len(self.data):
            kind, content, end = self._element(at) or (None, at, at)
            if kind == CLUSTER:
                mended, at = self._cluster(content, len(self.data) if end is None else min(end, len(self.data)))
                places += mended
            elif kind == SEGMENT:
                at = content
            elif kind in IN_FILE and end is not None:
                at = end
            elif kind is None or self._time:  # damage where a cluster begins
                places, at = places + 1, self._begin_cluster(at)
            else:
                at = content if end is None else end
        return places

    def _cluster(self, at: int, stop: int) -> tuple[int, int]:
        """Mend a cluster's content; returns how many places, and where it ends."""
        places = 0
        while at < stop:
            child = self._element(at)
            if child and (end := self._end_in(child, stop)):
                self._note_time(child[0], child[1], end)
                at = end
            elif child and child[0] in IN_FILE and child[0] != VOID:  # after a cluster that does not say how long it is
                break
            else:
                found = self._next_block(at + 2, stop)
                self._void(at, found)
                places, at = places + 1, found
        return places, at

    def _begin_cluster(self, start: int) -> int:
        """Put a cluster's head before the first block that follows; its time goes on from that of the last block."""
        head = CLUSTER.to_bytes(4, "big") + b"\xff\xe7\x84" + (self._time + self._step).to_bytes(4, "big")
        block = self._next_block(start + len(head) + 2, len(self.data))
        if block < len(self.data):
            self._void(start, block - len(head))
            self.data[block - len(head) : block] = head
            return block - len(head)
        return block

    def _element(self, at: int) -> tuple[int, int, int | None] | None:
        """(kind, start of the content, end of the content or None if it does not say) of what begins at `at`."""
        data = self.data
        if at + 2 > len(data) or not (first := data[at]):
            return None
        n_kind = 9 - first.bit_length()  # the number of leading zeros is the number of bytes that follow
        if n_kind > 4 or at + n_kind >= len(data) or not (first := data[at + n_kind]):
            return None
        n_size = 9 - first.bit_length()
        content = at + n_kind + n_size
        size = int.from_bytes(data[at + n_kind : content], "big") - (1 << 7 * n_size)
        unknown = size == (1 << 7 * n_size) - 1
        return int.from_bytes(data[at : at + n_kind], "big"), content, None if unknown else content + size

    def _end_in(self, element: tuple[int, int, int | None], stop: int) -> int | None:
        """Where this ends, if it can be an element of a cluster that ends at `stop`; else None.

        Lacing, which sound does not use, breaks FFmpeg.
        """
        kind, content, end = element
        if kind not in IN_CLUSTER or end is None or end > stop:
            return None
        whole = end - content > 4 and self.data[content] > 0x80 and not self.data[content + 3] & 0x76
        return end if kind != SIMPLE_BLOCK or whole else None

    def _note_time(self, kind: int, content: int, end: int) -> None:
        if kind == CLUSTER_TIME:
            self._cluster_time = int.from_bytes(self.data[content : min(end, content + 8)], "big")
        elif kind == SIMPLE_BLOCK:
            time = self._cluster_time + int.from_bytes(self.data[content + 1 : content + 3], "big", signed=True)
            self._time, self._step = min(max(time, 0), 2**32 - 1000), min(max(time - self._time, 0), 100)

    def _next_block(self, start: int, stop: int) -> int:
        """Where the next chain of elements begins that opens with a block; `stop` if none does."""
        return next((at for at in range(start, stop) if self.data[at] in BLOCKS and self._is_chain(at, stop)), stop)

    def _is_chain(self, at: int, stop: int) -> bool:
        for _ in range(CHAIN):
            element = self._element(at)
            end = self._end_in(element, stop) if element else None
            if end is None:
                return False
            at = end
            if at == stop:
                break
        return True

    def _void(self, start: int, end: int) -> None:
        """Declare the bytes from start to end, two at least, a void element."""
        length = end - start
        if length < 9:
            self.data[start : start + 2] = bytes([VOID, 0x80 | (length - 2)])
        else:
            self.data[start : start + 9] = bytes([VOID]) + ((1 << 56) | (length - 9)).to_bytes(8, "big")
