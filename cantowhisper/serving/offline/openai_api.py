"""OpenAI's audio API, as its clients speak it, for whoever serves the page themselves.

`POST /v1/audio/transcriptions`. Fields: file, model (any), language, response_format (json, text, srt, verbose_json,
vtt; diarized_json also says who speaks, where the packages for it are installed), timestamp_granularities[] (segment;
word gives the time of every character; both with verbose_json), stream (json and text: each segment as it is ready),
and one that OpenAI has not: words (names and terms that are likely to be said, one a line or divided by commas).
`POST /v1/audio/translations` takes the same and writes English, with a stock Whisper. What cannot be done is refused in
OpenAI's form and not passed over in silence.
Recordings lie in a folder of their own while the request lasts. Who closes the connection stops the work.
"""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from cantowhisper.contracts import UsageError
from cantowhisper.serving.glossary import read_words
from cantowhisper.serving.hallucination import compression_ratio
from cantowhisper.serving.offline.service import Choices, Result, Service, language_of, mean_log_prob
from cantowhisper.serving.offline.transcription import friendly
from cantowhisper.serving.speakers import voices
from cantowhisper.serving.subtitles import write
from cantowhisper.serving.web.form import Form, received
from cantowhisper.serving.web.refusal import FullDisk, Refusal, is_full
from cantowhisper.serving.web.visitors import visitor_address
from cantowhisper.speech.audio import AudioError
from cantowhisper.speech.text import join_texts

FORMATS = ("json", "text", "srt", "verbose_json", "vtt", "diarized_json")


class _Wrong(Refusal):
    """A field that is wrong, or that this server cannot do."""

    def __init__(self, param: str, message: str):
        super().__init__(message)
        self.param = param


def routes(service: Service) -> list[Route]:
    """The routes, to be put before those of the page."""
    model = {"id": service.name, "object": "model", "created": 0, "owned_by": "cantowhisper"}

    async def audio(request: Request) -> Response:
        try:
            return await _audio(service, request, translate=request.url.path.endswith("translations"))
        except ClientDisconnect:
            return Response(status_code=499)
        except Exception as error:  # the visitor's words, names and paths stay out of logs and answers
            return _error(error)

    async def models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [model]})

    async def one_model(request: Request) -> Response:
        if request.path_params["name"] == service.name:
            return JSONResponse(model)
        return _error(Refusal(f"there is no such model; this page serves {service.name!r}", status=404))

    return [
        Route("/v1/audio/transcriptions", audio, methods=["POST"]),
        Route("/v1/audio/translations", audio, methods=["POST"]),
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/models/{name:path}", one_model, methods=["GET"]),
    ]


def _error_body(error: Exception, status: int) -> dict:
    kind, code = ("server_error" if status >= 500 else "invalid_request_error"), None
    if status == 429:
        kind, code = "requests", "rate_limit_exceeded"
    return {"error": {"message": friendly(error), "type": kind, "param": getattr(error, "param", None), "code": code}}


def _error(error: Exception) -> JSONResponse:
    if is_full(error):
        error = FullDisk()
    status, headers = (400 if isinstance(error, (AudioError, UsageError)) else 500), {}
    if isinstance(error, Refusal):
        status, headers = error.status, error.headers
    return JSONResponse(_error_body(error, status), status, headers)


async def _audio(service: Service, request: Request, *, translate: bool) -> Response:
    limits = replace(service.limits.forms, max_files=1)
    count = lambda name, n_bytes: service.site.count_upload(request, n_bytes)
    async with AsyncExitStack() as stack:
        form = await stack.enter_async_context(received(request, limits=limits, on_bytes=count))
        path, choices = _asked(form)
        if translate:
            choices = _translated(choices, service)
        if form.get("stream").lower() in ("true", "1"):
            steps = await stack.enter_async_context(_steps(service, request, path, choices))
            first = await anext(steps)  # a refusal before any text has its own status
            events = _events(service, first, steps, form.get("language"), stack.pop_all())
            return StreamingResponse(events, media_type="text/event-stream")
        result = await _result(service, request, path, choices)
        language = language_of(result, form.get("language"), service)
        shape, words = form.get("response_format", "json"), choices.characters
        return _shaped(result, shape, language, translate=translate, words=words)


def _asked(form: Form) -> tuple[Path, Choices]:
    """The recording and what is wanted of it. The visitor's name for the file reaches nothing.

    Raises
    ------
    _Wrong : a field that is wrong, or that cannot be done
    """
    upload = next((file for file in form.files if file.field == "file"), None)
    if upload is None:
        raise _Wrong("file", "the field `file` holds no recording")
    shape, stream = form.get("response_format", "json"), form.get("stream").lower() in ("true", "1")
    if shape not in FORMATS:
        raise _Wrong("response_format", f"response_format is one of {', '.join(FORMATS)}")
    if stream and shape not in ("json", "text"):
        raise _Wrong("stream", "stream is for response_format json and text")
    times = form.getlist("timestamp_granularities[]") + form.getlist("timestamp_granularities")
    if not set(times) <= {"word", "segment"}:
        raise _Wrong("timestamp_granularities", "timestamp_granularities are word and segment")
    if times and shape != "verbose_json":
        raise _Wrong("timestamp_granularities", "timestamp_granularities need response_format verbose_json")
    if form.get("prompt"):
        raise _Wrong("prompt", "prompt is not supported here; leave it out, and give names and terms as `words`")
    for name in ("include[]", "include"):
        if form.get(name):
            raise _Wrong("include", f"{name} is not supported here; leave it out")
    if form.get("temperature", "0").strip("0.") != "":
        raise _Wrong("temperature", "temperature is 0 here: text is not drawn by chance")
    if form.get("diarize"):
        raise _Wrong("diarize", "diarize is not a field here; response_format=diarized_json says who speaks")
    try:
        words = read_words("\n".join([*form.getlist("words"), *form.getlist("words[]")]))
    except UsageError as error:
        raise _Wrong("words", str(error)) from error
    asked = {"words": words, "speakers": _speakers_asked(shape)}
    return upload.path, Choices(language=form.get("language"), characters="word" in times, **asked)


def _speakers_asked(shape: str) -> int | None:
    if shape != "diarized_json":
        return None
    if not voices.available():
        raise _Wrong("response_format", f"diarized_json is not to be had here: {voices.INSTALL}")
    return 0


def _translated(choices: Choices, service: Service) -> Choices:
    """The same in English.

    Raises
    ------
    _Wrong : the model does not translate, or English has no characters to be timed
    """
    if not service.recognizer.translates:
        raise _Wrong("model", f"{service.name!r} writes what is said and does not translate; a stock Whisper does")
    if choices.characters:
        raise _Wrong("timestamp_granularities", "a translation has times of segments alone")
    return replace(choices, translate=True)


@asynccontextmanager
async def _steps(service: Service, request: Request, path: Path, choices: Choices) -> AsyncIterator:
    async with aclosing(service.run([path], visitor=visitor_address(request), choices=choices)) as steps:
        yield steps


async def _events(service: Service, status, steps, language: str, held: AsyncExitStack) -> AsyncIterator[str]:
    """Server-sent events: what is new of the text, and in the end all of it. `held` is let go of then."""
    async with held:
        told = ""
        try:
            while status.stage != "done":
                for result in status.results:
                    text = join_texts(
                        (s.text for s in result.progress.segments), language_of(result, language, service)
                    )
                    if len(text) > len(told):
                        yield _event({"type": "transcript.text.delta", "delta": text[len(told) :]})
                        told = text
                status = await anext(steps)
            result = _whole(status.results[0])
            text = _text(result, language_of(result, language, service))
            yield _event({"type": "transcript.text.done", "text": text})
        except Exception as error:
            yield _event(_error_body(error, error.status if isinstance(error, Refusal) else 500))


def _text(result: Result, language: str) -> str:
    return join_texts((s.text for s in result.progress.segments), language)


def _event(value: dict) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def _whole(result: Result) -> Result:
    """A result, where all of the recording was heard: a part that looks like the whole is worse than none."""
    if result.progress.cut_short:
        raise Refusal("the recording takes too long here; send it in parts", status=413)
    return result


async def _result(service: Service, request: Request, path: Path, choices: Choices) -> Result:
    async with aclosing(service.run([path], visitor=visitor_address(request), choices=choices)) as steps:
        async for status in steps:
            if status.stage == "done":
                return _whole(status.results[0])
            if await request.is_disconnected():
                raise ClientDisconnect
    raise Refusal("the request was stopped", status=499)


def _shaped(result: Result, shape: str, language: str, *, translate: bool, words: bool) -> Response:
    segments = result.progress.segments
    if shape in ("srt", "vtt"):
        return PlainTextResponse(write(segments, shape))
    text = _text(result, language)
    if shape == "text":
        return PlainTextResponse(text + "\n")
    if shape == "json":
        return _json({"text": text})
    if shape == "diarized_json":
        return _json({"task": "translate" if translate else "transcribe", **_diarized(result, text)})
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
    task = "translate" if translate else "transcribe"
    answer = {"task": task, "language": language, "duration": round(result.progress.duration_s, 3)}
    answer |= {"text": text, "segments": rows}
    if words:  # also where nothing was said: who asked for the field finds it
        answer["words"] = [{"word": c, "start": a, "end": b} for s in segments for c, a, b in s.characters]
    return _json(answer)


def _diarized(result: Result, text: str) -> dict:
    """Speakers are strings there, and of a length that is paid for there is none."""
    rows = [
        {
            "type": "transcript.text.segment",
            "id": f"seg_{number}",
            "start": round(s.start_s, 3),
            "end": round(s.end_s, 3),
            "text": s.text,
            "speaker": str(s.speaker),
        }
        for number, s in enumerate(result.progress.segments)
    ]
    return {"duration": round(result.progress.duration_s, 3), "text": text, "segments": rows}


def _json(value: dict) -> Response:
    return Response(json.dumps(value, ensure_ascii=False), media_type="application/json")
