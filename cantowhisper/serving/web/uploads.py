"""Gradio's upload route, ours: counted where the bytes arrive, and nothing left of what does not arrive whole.

A page's upload posts files to /gradio_api/upload?upload_id=… and meanwhile reads /gradio_api/upload_progress, whose
events say how many bytes of which file have come.
"""

import asyncio
import json
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator
from pathlib import Path

from gradio.utils import get_upload_folder
from gradio_client.utils import strip_invalid_filename_characters
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from cantowhisper.serving.texts.say import said
from cantowhisper.serving.web.filter import UPLOAD, UPLOAD_PROGRESS
from cantowhisper.serving.web.form import Form, FormLimits, move_into, received
from cantowhisper.serving.web.language import language_of
from cantowhisper.serving.web.refusal import Refusal

TOLD_EVERY_S = 0.1
WAIT_FOR_UPLOAD_S = 3.0  # the page asks for the progress before its upload has begun
MAX_TOLD = 1000  # uploads whose progress is known


class UploadProgress:
    """How much of each upload has come. Bounded: who invents names of uploads pushes out others' bars, nothing else."""

    def __init__(self):
        self._bytes: OrderedDict[str, tuple[str, int]] = OrderedDict()
        self._done: set[str] = set()

    def begin(self, upload: str) -> None:
        self._bytes[upload] = ("", 0)
        while len(self._bytes) > MAX_TOLD:
            oldest, _ = self._bytes.popitem(last=False)
            self._done.discard(oldest)

    def add(self, upload: str, name: str, n_bytes: int) -> None:
        if upload in self._bytes:
            before, n_before = self._bytes[upload]
            self._bytes[upload] = (name, n_bytes + (n_before if before == name else 0))

    def end(self, upload: str) -> None:
        if upload in self._bytes:
            self._done.add(upload)

    async def events(self, upload: str) -> AsyncIterator[str]:
        """Server-sent events in Gradio's form: bytes since the last one, then that it is done."""
        while upload in self._bytes:
            done, (name, n_bytes) = upload in self._done, self._bytes[upload]
            if n_bytes:
                self._bytes[upload] = (name, 0)
                yield _event({"msg": "update", "orig_name": name, "chunk_size": n_bytes})
            if done:
                self._done.discard(upload)
                self._bytes.pop(upload, None)
                yield _event({"msg": "done"})
                return
            await asyncio.sleep(TOLD_EVERY_S)

    async def has_begun(self, upload: str) -> bool:
        for _ in range(round(WAIT_FOR_UPLOAD_S / TOLD_EVERY_S)):
            if upload in self._bytes:
                return True
            await asyncio.sleep(TOLD_EVERY_S)
        return False


def routes(limits: FormLimits, *, admit=lambda request, n_bytes: None) -> list[Route]:
    """The routes, to be put before Gradio's.

    admit : called with the request and the bytes that it declares, and then with those that arrive; raises a Refusal
    """
    progress = UploadProgress()

    async def upload(request: Request) -> Response:
        name = request.query_params.get("upload_id", "")[:100]
        if name:
            progress.begin(name)

        def on_bytes(file: str, n_bytes: int) -> None:
            admit(request, n_bytes)
            progress.add(name, file, n_bytes)

        try:
            async with received(request, limits=limits, on_bytes=on_bytes) as form:
                return JSONResponse(await run_in_threadpool(_keep, form))
        except Refusal as refusal:
            return refusal.response(language_of(request))
        except ClientDisconnect:
            return Response(status_code=499)
        finally:
            progress.end(name)

    async def upload_progress(request: Request) -> Response:
        name = request.query_params.get("upload_id", "")[:100]
        if not await progress.has_begun(name):
            return Refusal(said("upload.unknown"), status=404).response(language_of(request))
        return StreamingResponse(progress.events(name), media_type="text/event-stream")

    return [
        Route(UPLOAD, upload, methods=["POST"]),
        Route(UPLOAD_PROGRESS, upload_progress, methods=["GET"]),
    ]


def _keep(form: Form) -> list[str]:
    """Put the files where Gradio looks for uploads, each in a folder that nobody can guess; returns their paths."""
    paths = []
    for file in form.files:
        name = strip_invalid_filename_characters(Path(file.name).name) or "recording"
        paths.append(str(move_into(file, Path(get_upload_folder()) / secrets.token_hex(16), name)))
    return paths


def _event(value: dict) -> str:
    return f"data: {json.dumps(value)}\n\n"
