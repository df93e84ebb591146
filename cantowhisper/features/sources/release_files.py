"""The files of a Common Voice release: in a folder, or in the archive as it was downloaded.

Nothing of an archive is unpacked to disk. A gzip stream can only be read from its start, so the first pass, which
lists the members anyway, also notes a way in every 4 MiB (indexed_gzip); after it any worker process reads its own
clips out of the archive, in any order, and a build goes on in the middle after an interruption.
"""

import io
import re
import tarfile
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.features.sources.clip import FileRecording, Recording

SPACING_BYTES = 4 << 20  # between the ways in; each takes 32 KiB of memory in every worker: 25 MiB for 3 GB
TABLES = ("train.tsv", "dev.tsv", "test.tsv", "validated.tsv")
SPONTANEOUS = re.compile(r"ss-corpus-[\w-]+\.tsv")  # the one table of Common Voice Spontaneous Speech


class ReleaseFolder:
    """A language's folder, unpacked."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.language_folder, self.release = folder.resolve().name, folder.resolve().parent.name
        self._clips = str(folder / "clips")

    def has(self, table: str) -> bool:
        return (self.folder / table).exists()

    def lines(self, table: str) -> Iterator[str]:
        with (self.folder / table).open(encoding="utf-8-sig", newline="") as file:
            yield from file

    def recording(self, file_name: str) -> Recording:
        return FileRecording(self._clips, file_name if Path(file_name).suffix else f"{file_name}.mp3")

    def where(self, table: str) -> str:
        return str(self.folder / table)


@dataclass(frozen=True, slots=True)
class TarRecording:
    archive: str
    index: str
    offset: int  # in the unpacked archive; -1: the table names a clip that is not there
    size: int

    def read(self) -> bytes:
        if self.offset < 0:
            raise FileNotFoundError(self.archive)
        file = _reader(self.archive, self.index)
        file.seek(self.offset)
        return file.read(self.size)


@lru_cache(maxsize=2)
def _reader(archive: str, index: str):
    """The unpacked bytes of an archive as a file, opened once in each process."""
    if not _is_gzip(archive):
        return Path(archive).open("rb")
    import indexed_gzip

    known = {"index_file": index} if Path(index).exists() else {}  # another machine of a cluster makes its own
    return indexed_gzip.IndexedGzipFile(archive, spacing=SPACING_BYTES, **known)


class ReleaseArchive:
    """A release as `.tar.gz` (or `.tar`). Listing it reads it once from start to end.

    Raises UsageError when the file is no archive, CantowhisperError when it is cut off or holds several languages.
    """

    def __init__(self, archive: Path):
        self.archive = archive
        scratch = tempfile.TemporaryDirectory(prefix="cantowhisper-")
        weakref.finalize(self, scratch.cleanup)
        self._index = str(Path(scratch.name) / "archive.gzidx")
        self._clips: dict[str, tuple[int, int]] = {}
        self._tables: dict[str, tuple[int, int]] = {}
        folders: set[PurePosixPath] = set()
        for path, offset, size in self._members():
            if path.parent.name in ("clips", "audios"):
                self._clips[path.name] = (offset, size)
            elif path.suffix == ".tsv":
                self._tables[path.name] = (offset, size)
                folders |= {path.parent} if path.name in TABLES or SPONTANEOUS.fullmatch(path.name) else set()
        self.spontaneous = next(filter(SPONTANEOUS.fullmatch, self._tables), None)
        if len(folders) != 1:
            found = "several languages" if folders else "no validated.tsv, train.tsv or ss-corpus-*.tsv"
            raise UsageError(f"{archive} is no release of one language: it holds {found}")
        (folder,) = folders
        self.language_folder, self.release = folder.name, folder.parent.name

    def _members(self) -> Iterator[tuple[PurePosixPath, int, int]]:
        try:
            file = _reader(str(self.archive), self._index)
            with tarfile.open(fileobj=file, mode="r|", bufsize=1 << 20) as members:
                end = 0
                for member in members:
                    members.members.clear()  # tarfile would keep a kilobyte for each of 200,000
                    if member.isfile():
                        end = member.offset_data + -(-member.size // 512) * 512
                        yield PurePosixPath(member.name), member.offset_data, member.size
            # A gzip stream that is cut off reads as one that ends: what a whole archive ends with has to be there.
            file.seek(end)
            whole = file.read(1024) == bytes(1024)
            if whole and _is_gzip(self.archive):
                file.export_index(self._index)
        except (tarfile.TarError, EOFError, OSError, ValueError) as error:
            if isinstance(error, tarfile.ReadError) and not _is_gzip(self.archive):
                raise UsageError(f"{self.archive} is no .tar.gz archive of a release: {error}") from error
            raise CantowhisperError(f"{self.archive} is damaged ({error}); download it again") from error
        if not whole:
            raise CantowhisperError(
                f"{self.archive} is cut off after {self.archive.stat().st_size:,} bytes; finish or repeat the download"
            )

    def has(self, table: str) -> bool:
        return table in self._tables

    def lines(self, table: str) -> Iterator[str]:
        data = TarRecording(str(self.archive), self._index, *self._tables[table]).read()
        yield from io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")

    def recording(self, file_name: str) -> Recording:
        offset, size = self._clips.get(file_name) or self._clips.get(f"{file_name}.mp3", (-1, 0))
        return TarRecording(str(self.archive), self._index, offset, size)

    def where(self, table: str) -> str:
        return f"{table} in {self.archive}"


def _is_gzip(path: str | Path) -> bool:
    with Path(path).open("rb") as file:
        return file.read(2) == b"\x1f\x8b"
