"""A form with files, received within limits while its bytes arrive; what is not received whole leaves nothing.

Web frameworks parse forms too, but count too late: Gradio takes a thousand files of any sum and keeps those of a
visitor who went away, and Starlette knows no largest file.
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from cantowhisper.serving.texts.say import said
from cantowhisper.serving.web.refusal import FullDisk, Refusal, is_full

WRITE_BYTES = 1 << 20  # written at a time, in a thread: disks may be slow
FRAME_BYTES = 100_000  # of the body, for what stands around files and fields


@dataclass(frozen=True)
class FormLimits:
    """What a form may hold. Sizes in bytes."""

    max_files: int
    max_file_bytes: int
    max_fields: int = 20
    max_field_bytes: int = 10_000
    max_silence_s: float = 30.0  # between two blocks of the body

    @property
    def max_body_bytes(self) -> int:
        return self.max_files * self.max_file_bytes + FRAME_BYTES + self.max_fields * self.max_field_bytes


@dataclass
class ReceivedFile:
    """`name` is what the visitor calls it, `path` where it lies, under a name of ours."""

    field: str
    name: str
    path: Path
    n_bytes: int = 0


@dataclass
class Form:
    """What was received. Whoever takes the files moves them out of their folder."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    files: list[ReceivedFile] = field(default_factory=list)

    def get(self, name: str, default: str = "") -> str:
        """The last value of a field."""
        return next((value for key, value in reversed(self.fields) if key == name), default)

    def getlist(self, name: str) -> list[str]:
        """All values of a field."""
        return [value for key, value in self.fields if key == name]


@contextlib.asynccontextmanager
async def received(
    request: Request, *, limits: FormLimits, on_bytes: Callable[[str, int], None] = lambda name, n_bytes: None
) -> AsyncIterator[Form]:
    """The form of a request, whose files lie in a temporary folder for as long as this lasts.

    on_bytes : called with a file's name and a number of bytes as they arrive; may raise a Refusal

    Raises
    ------
    Refusal : no form, over a limit, no room on the disk
    starlette.requests.ClientDisconnect : the visitor went away
    """
    with tempfile.TemporaryDirectory(prefix="received-", ignore_cleanup_errors=True) as folder:
        receiver = _Receiver(Path(folder), limits, on_bytes)
        try:
            yield await receiver.run(request)
        finally:
            receiver.close()


class _Receiver:
    """The parser calls `_on_…` for what it finds in a block; what is to be written is collected meanwhile."""

    def __init__(self, folder: Path, limits: FormLimits, on_bytes: Callable[[str, int], None]):
        self.folder, self.limits, self.on_bytes, self.form = folder, limits, on_bytes, Form()
        self._headers: list[tuple[bytes, bytes]] = []
        self._name, self._value = b"", b""
        self._field: tuple[str, bytearray] | None = None
        self._file: ReceivedFile | None = None
        self._open, self._waiting = None, bytearray()
        self._ended = False

    async def run(self, request: Request) -> Form:
        boundary = _boundary(request)
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self.limits.max_body_bytes:
            raise self._too_large()
        parser = MultipartParser(boundary, _callbacks(self), max_size=self.limits.max_body_bytes)
        try:
            async for block in _blocks(request, self.limits):
                parser.write(block)
                if len(self._waiting) >= WRITE_BYTES:
                    await run_in_threadpool(self._write)
            parser.finalize()
        except FormParserError as error:
            raise _unreadable() from error
        except OSError as error:
            if not is_full(error):
                raise
            raise FullDisk from error
        if not self._ended:
            raise _unreadable()
        return self.form

    def _write(self) -> None:
        if self._open is not None and self._waiting:
            self._open.write(self._waiting)
            self._waiting.clear()

    def close(self) -> None:
        """Let go of a file that was not received whole."""
        if self._open is not None:
            with contextlib.suppress(OSError):  # what could not be written before cannot be now
                self._open.close()
            self._open = None

    # ------------------------------------------------------------------------------------------- from the parser

    def _on_part_begin(self) -> None:
        self._headers, self._name, self._value = [], b"", b""
        self._field, self._file = None, None

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers.append((self._name.lower(), self._value))
        self._name, self._value = b"", b""

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(dict(self._headers).get(b"content-disposition", b""))
        if b"name" not in options:
            raise _unreadable()
        name = options[b"name"].decode("utf-8", "replace")
        if b"filename" not in options:
            if len(self.form.fields) >= self.limits.max_fields:
                raise Refusal(said("form.fields", most=self.limits.max_fields))
            self._field = (name, bytearray())
            return
        if len(self.form.files) >= self.limits.max_files:
            n = self.limits.max_files
            raise Refusal(said("form.files", most=n) if n > 1 else said("form.one_file"), status=413)
        path = self.folder / str(len(self.form.files))
        self._file = ReceivedFile(name, options[b"filename"].decode("utf-8", "replace"), path)
        self._open = path.open("wb")
        self.form.files.append(self._file)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.n_bytes += end - start
            if self._file.n_bytes > self.limits.max_file_bytes:
                raise self._too_large()
            self.on_bytes(self._file.name, end - start)
            self._waiting += data[start:end]
        elif self._field is not None:
            name, value = self._field
            if len(value) + end - start > self.limits.max_field_bytes:
                most = f"{self.limits.max_field_bytes / 1000:.0f} kB"
                raise Refusal(said("form.long_field", name=name[:40], most=most))
            value += data[start:end]

    def _on_part_end(self) -> None:
        if self._file is not None:
            self._write()
            self._open.close()
            self._open = None
        elif self._field is not None:
            name, value = self._field
            self.form.fields.append((name, value.decode("utf-8", "replace")))

    def _on_end(self) -> None:
        self._ended = True

    def _too_large(self) -> Refusal:
        return Refusal(said("form.large_file", most=f"{self.limits.max_file_bytes / 1e6:.0f} MB"), status=413)


def _callbacks(receiver: _Receiver) -> dict[str, Callable]:
    names = ("part_begin", "header_field", "header_value", "header_end", "headers_finished")
    return {f"on_{name}": getattr(receiver, f"_on_{name}") for name in (*names, "part_data", "part_end", "end")}


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise Refusal(said("form.no_form"))
    return options[b"boundary"]


def _unreadable() -> Refusal:
    return Refusal(said("form.unreadable"))


async def _blocks(request: Request, limits: FormLimits) -> AsyncIterator[bytes]:
    """The body, until it is too much or stands still."""
    stream, n_bytes = request.stream(), 0
    while True:
        try:
            async with asyncio.timeout(limits.max_silence_s):
                block = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise Refusal(said("upload.stands_still"), status=408) from None
        n_bytes += len(block)
        if n_bytes > limits.max_body_bytes:
            raise Refusal(said("upload.large"), status=413)
        yield block


def move_into(file: ReceivedFile, folder: Path, name: str) -> Path:
    """Move a received file into a folder (made if need be) under this name; replaces what has it."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / name
    shutil.move(file.path, target)
    return target
