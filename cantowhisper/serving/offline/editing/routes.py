"""Downloads of corrected rows: `POST /edited/txt` (srt, vtt, tsv, json, and clips: see clips.py), answered with a file.

What a browser sends is formatted and answered; nothing of it is kept, and no result is looked up here: whose rows they
are does not matter, and a recording is found only by its path, whose folder nobody else can guess. The web filter has
bounded and read the body (serving/web/filter.py), and counts these calls as events of a visitor.
"""

import asyncio
import contextlib
import logging
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from cantowhisper.contracts import CantowhisperError
from cantowhisper.serving.offline.editing import jyutping
from cantowhisper.serving.offline.editing.clips import Report, write_clips
from cantowhisper.serving.offline.editing.results import as_results
from cantowhisper.serving.offline.editing.rows import ADDRESSES, Corrected, read_rows
from cantowhisper.serving.offline.service import Service
from cantowhisper.serving.offline.transcription import friendly
from cantowhisper.serving.offline.updates import downloads
from cantowhisper.serving.texts.say import Say, said
from cantowhisper.serving.web.language import language_of
from cantowhisper.serving.web.refusal import FullDisk, Refusal, is_full
from cantowhisper.serving.web.visitors import visitor_address
from cantowhisper.speech.mel import SAMPLE_RATE

BLOCK_BYTES = 1 << 20
LOOK_EVERY_S = 1.0  # whether whoever asked is still there
REPORT = "X-Report"  # what an archive holds and what is left out, percent-encoded

log = logging.getLogger(__name__)


def routes(service: Service) -> list[Route]:
    """The routes, to be put before those of the page."""
    one_at_a_time = threading.Semaphore()  # a decoded recording is up to 170 MB
    one_core = asyncio.Semaphore()  # whatever is written at once; the longest text takes a minute

    async def edited(request: Request) -> Response:
        name = request.url.path.rpartition("/")[2]
        try:
            recordings = await run_in_threadpool(read_rows, await request.json(), service.limits)
            if name == "clips":
                return await _clips(service, request, recordings, one_at_a_time)
            async with one_core:
                say = Say(language_of(request))
                content, file_name = await run_in_threadpool(_transcript, recordings, name, say)
            return Response(content, headers=_headers(file_name))
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:
            return _refused(error, language_of(request))

    return [*(Route(address, edited, methods=["POST"]) for address in ADDRESSES.values()), *jyutping.routes()]


def _refused(error: Exception, language: str) -> Response:
    if is_full(error):
        error = FullDisk()
    if not isinstance(error, CantowhisperError):
        log.error("a download failed: %s", type(error).__name__)  # never the visitor's words, names or paths
    if isinstance(error, Refusal):
        return error.response(language)
    told = friendly(error, Say(language))
    return Refusal(told, status=400 if isinstance(error, CantowhisperError) else 500).response()


def _transcript(recordings: Sequence[Corrected], name: str, say: Say) -> tuple[bytes, str]:
    """The file's bytes and name."""
    with tempfile.TemporaryDirectory(prefix="cantowhisper-") as folder:
        paths = [Path(path) for path in downloads(as_results(recordings), folder, [name], say=say)]
        if not paths:
            raise Refusal(said("rows.no_transcript"))
        return paths[0].read_bytes(), paths[0].name


async def _clips(service: Service, request: Request, recordings: Sequence[Corrected], turn) -> Response:
    """Cut clips in a thread, and stop when whoever asked has gone."""
    seconds = sum(segment.end_s - segment.start_s for one in recordings for segment in one.segments)
    service.site.require_room(round(2 * SAMPLE_RATE * seconds))
    gone = threading.Event()
    with service.under_way.one(visitor_address(request)) as place:
        while not turn.acquire(blocking=False):
            await asyncio.sleep(0.1)
            await _look(request, place)
        work = asyncio.ensure_future(run_in_threadpool(_archive, service, recordings, gone))
        work.add_done_callback(lambda done: (turn.release(), done.exception()))  # asked for, or asyncio logs it
        try:
            while not work.done():
                await asyncio.wait([work], timeout=LOOK_EVERY_S)
                await _look(request, place)
            file, report = work.result()
        finally:
            gone.set()
    stem = Path(Path(recordings[0].name).name or "recording").stem if len(recordings) == 1 else "recordings"
    headers = _headers(f"{stem}-training.zip") | {REPORT: quote(report.told(Say(language_of(request))))}
    return StreamingResponse(_blocks(file), headers=headers)


async def _look(request: Request, place) -> None:
    place.look()
    if await request.is_disconnected():
        raise ClientDisconnect


def _archive(service: Service, recordings: Sequence[Corrected], gone: threading.Event) -> tuple[BinaryIO, Report]:
    """The archive as a file without a name, which goes when it is closed."""
    facts = service.recognizer.facts
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(tempfile.TemporaryFile(prefix="cantowhisper-"))
        with service.site.keeping([one.path for one in recordings if one.path]):
            language = facts.language or facts.language_token.strip("<|>")
            options = {"max_seconds": service.limits.max_audio_s, "language": language, "should_stop": gone.is_set}
            report = write_clips(recordings, file, **options)
        if gone.is_set():
            raise ClientDisconnect
        stack.pop_all()  # who sends it closes it
        return file, report


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while block := file.read(BLOCK_BYTES):
            yield block


def _headers(name: str) -> dict[str, str]:
    return {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name)}",
        "Cache-Control": "no-store",
    }
