"""`POST /v1/audio/transcriptions`, as OpenAI's clients speak it, for whoever serves the page themselves.

Fields: file, model (any), language, response_format (json, text, srt, verbose_json, vtt), timestamp_granularities[]
(word gives the time of every character). prompt, temperature and stream are accepted and change nothing.
Recordings lie in a folder of their own while the request lasts. Who closes the connection stops the work.
"""

import contextlib
import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from starlette.concurrency import iterate_in_threadpool, run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.serving.hallucination import compression_ratio
from cantowhisper.serving.offline.limits import LimitError, visitor_address
from cantowhisper.serving.offline.service import Choices, Result, Service, mean_log_prob
from cantowhisper.serving.offline.transcription import friendly
from cantowhisper.serving.subtitles import to_txt, write
from cantowhisper.speech.audio import AudioError

FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
FORM_SPARE_BYTES = 100_000  # what the other fields and the multipart frames may take


class _Refusal(Exception):
    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status


def routes(service: Service) -> list[Route]:
    """The routes, to be put before those of the page."""

    async def transcriptions(request: Request) -> Response:
        try:
            return await _transcriptions(service, request)
        except (_Refusal, LimitError, AudioError, CantowhisperError) as error:
            return _error(_status(error), str(error) if isinstance(error, _Refusal) else friendly(error))
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:  # the visitor's words, names and paths stay out of logs and answers
            return _error(500, friendly(error))

    async def models(request: Request) -> Response:
        return JSONResponse(
            {"object": "list", "data": [{"id": service.name, "object": "model", "owned_by": "cantowhisper"}]}
        )

    return [
        Route("/v1/audio/transcriptions", transcriptions, methods=["POST"]),
        Route("/v1/models", models, methods=["GET"]),
    ]


def _status(error: Exception) -> int:
    if isinstance(error, _Refusal):
        return error.status
    if isinstance(error, LimitError):
        return 429
    return 400 if isinstance(error, (AudioError, UsageError)) else 500


def _error(status: int, message: str) -> JSONResponse:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return JSONResponse({"error": {"message": message, "type": kind, "param": None, "code": None}}, status)


async def _transcriptions(service: Service, request: Request) -> Response:
    if "multipart/form-data" not in request.headers.get("content-type", ""):
        raise _Refusal(400, "send the recording as multipart/form-data, in the field `file`")
    limit = service.limits.max_file_bytes + FORM_SPARE_BYTES
    parser = MultiPartParser(request.headers, _capped(request, limit), max_files=1, max_fields=20, max_part_size=10_000)
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError) as error:
        raise _Refusal(400, "the form cannot be read; send it as multipart/form-data") from error
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(form.close)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cantowhisper-")))
        upload, shape = form.get("file"), str(form.get("response_format") or "json")
        if not isinstance(upload, UploadFile):
            raise _Refusal(400, "the field `file` holds no recording")
        if shape not in FORMATS:
            raise _Refusal(400, f"response_format is one of {', '.join(FORMATS)}")
        path = folder / "upload.media"  # the visitor's name for it reaches nothing
        await run_in_threadpool(_copy, upload, path)
        choices = Choices(
            language=str(form.get("language") or ""), characters="word" in form.getlist("timestamp_granularities[]")
        )
        result = await _result(service, request, path, choices)
        return _shaped(result, shape, str(form.get("language") or service.recognizer.facts.language_token.strip("<|>")))


def _copy(upload: UploadFile, path: Path) -> None:
    with path.open("wb") as file:
        while block := upload.file.read(1 << 20):
            file.write(block)


async def _capped(request: Request, limit: int) -> AsyncIterator[bytes]:
    """The body, until it is too much."""
    received = 0
    async for block in request.stream():
        received += len(block)
        if received > limit:
            raise _Refusal(413, f"the file is too large; the limit is {limit / 1e6:.0f} MB")
        yield block


async def _result(service: Service, request: Request, path: Path, choices: Choices) -> Result:
    steps = service.run([path], visitor=visitor_address(request), choices=choices)
    try:
        async for standing in iterate_in_threadpool(steps):
            if standing.stage == "done":
                return standing.results[0]
            if await request.is_disconnected():
                raise ClientDisconnect
    finally:
        await run_in_threadpool(steps.close)
    raise _Refusal(499, "the request was stopped")


def _shaped(result: Result, shape: str, language: str) -> Response:
    segments = result.progress.segments
    if shape in ("srt", "vtt"):
        return PlainTextResponse(write(segments, shape))
    text = to_txt(segments).strip()
    if shape == "text":
        return PlainTextResponse(text + "\n")
    if shape == "json":
        return _json({"text": text})
    rows = [
        {
            "id": number,
            "seek": 0,
            "start": round(s.start_s, 3),
            "end": round(s.end_s, 3),
            "text": s.text,
            "tokens": [],
            "temperature": 0.0,
            "avg_logprob": round(mean_log_prob(s), 4),
            "compression_ratio": round(compression_ratio(s.text), 3),
            "no_speech_prob": 0.0,
        }
        for number, s in enumerate(segments)
    ]
    answer = {"task": "transcribe", "language": language, "duration": round(result.progress.duration_s, 3)}
    words = [{"word": c, "start": a, "end": b} for s in segments for c, a, b in s.characters]
    return _json({**answer, "text": text, "segments": rows, **({"words": words} if words else {})})


def _json(value: dict) -> Response:
    return Response(json.dumps(value, ensure_ascii=False), media_type="application/json")
