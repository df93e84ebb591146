"""`POST /v1/audio/transcriptions`, as OpenAI's clients speak it, for whoever serves the page themselves.

Fields: file, model (any), language, response_format (json, text, srt, verbose_json, vtt), timestamp_granularities[]
(word gives the time of every character). prompt, temperature and stream are accepted and change nothing.
Recordings lie in a folder of their own while the request lasts. Who closes the connection stops the work.
"""

import json
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.serving.hallucination import compression_ratio
from cantowhisper.serving.offline.service import Choices, Result, Service, language_of, mean_log_prob
from cantowhisper.serving.offline.transcription import friendly
from cantowhisper.serving.subtitles import write
from cantowhisper.serving.web.form import received
from cantowhisper.serving.web.refusal import Refusal
from cantowhisper.serving.web.visitors import visitor_address
from cantowhisper.speech.audio import AudioError
from cantowhisper.speech.text import join_texts

FORMATS = ("json", "text", "srt", "verbose_json", "vtt")


def routes(service: Service) -> list[Route]:
    """The routes, to be put before those of the page."""

    async def transcriptions(request: Request) -> Response:
        try:
            return await _transcriptions(service, request)
        except CantowhisperError as error:
            return _error(error)
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:  # the visitor's words, names and paths stay out of logs and answers
            return _error(error)

    async def models(request: Request) -> Response:
        return JSONResponse(
            {"object": "list", "data": [{"id": service.name, "object": "model", "owned_by": "cantowhisper"}]}
        )

    return [
        Route("/v1/audio/transcriptions", transcriptions, methods=["POST"]),
        Route("/v1/models", models, methods=["GET"]),
    ]


def _error(error: Exception) -> JSONResponse:
    status, headers = (400 if isinstance(error, (AudioError, UsageError)) else 500), {}
    if isinstance(error, Refusal):
        status, headers = error.status, error.headers
    kind = "server_error" if status >= 500 else "invalid_request_error"
    body = {"message": friendly(error), "type": kind, "param": None, "code": None}
    return JSONResponse({"error": body}, status, headers)


async def _transcriptions(service: Service, request: Request) -> Response:
    limits = replace(service.limits.forms, max_files=1)
    count = lambda name, n_bytes: service.site.count_upload(request, n_bytes)
    async with received(request, limits=limits, on_bytes=count) as form:
        upload = next((file for file in form.files if file.field == "file"), None)
        shape = form.get("response_format", "json")
        if upload is None:
            raise Refusal("the field `file` holds no recording")
        if shape not in FORMATS:
            raise Refusal(f"response_format is one of {', '.join(FORMATS)}")
        choices = Choices(language=form.get("language"), characters="word" in form.getlist("timestamp_granularities[]"))
        # The visitor's name for the file reaches nothing.
        result = await _result(service, request, upload.path, choices)
        return _shaped(result, shape, language_of(result, form.get("language") or "", service))


async def _result(service: Service, request: Request, path: Path, choices: Choices) -> Result:
    async with aclosing(service.run([path], visitor=visitor_address(request), choices=choices)) as steps:
        async for standing in steps:
            if standing.stage == "done":
                return standing.results[0]
            if await request.is_disconnected():
                raise ClientDisconnect
    raise Refusal("the request was stopped", status=499)


def _shaped(result: Result, shape: str, language: str) -> Response:
    segments = result.progress.segments
    if shape in ("srt", "vtt"):
        return PlainTextResponse(write(segments, shape))
    text = join_texts((s.text for s in segments), language)
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
