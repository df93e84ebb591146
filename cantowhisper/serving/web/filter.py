"""What of Gradio is open to visitors. Everything else of it answers 404, and no request names a URL as a file.

Gradio fetches whatever URL stands where a file is expected, whole and into memory, before any function of a page is
called, and relays URLs to whoever asks for /gradio_api/file=https://…. It has no switch for either. So a layer before
it lets through only the routes that a page needs (a new version's new routes stay shut), reads JSON bodies itself, up
to a limit, and hands on what it has looked at.
"""

import asyncio
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

from gradio.utils import get_upload_folder
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cantowhisper.serving.texts.say import said
from cantowhisper.serving.web.language import language_of
from cantowhisper.serving.web.refusal import Closing, Refusal

MAX_SILENCE_S = 30.0  # between two blocks of a body
MAX_JSON_DEPTH = 50

# Parts of every page: its program, style and pictures, of Gradio's own folders.
STATIC = (
    "/assets/",
    "/static/",
    "/svelte/",
    "/favicon.ico",
    "/theme.css",
    "/robots.txt",
    "/manifest.json",
    "/pwa_icon",
)
# Reading: what the page is made of, what an event has to say, whether the tab is still there.
READ = (
    r"/",
    r"/config/?",
    r"/gradio_api/(info/?|openapi\.json|startup-events|theme\.css|queue/data|heartbeat/[\w-]+)",
    r"/gradio_api/call/(v2/)?[\w-]+/[\w-]+",
)
FILES = "/gradio_api/file="
UPLOAD, UPLOAD_PROGRESS = "/gradio_api/upload", "/gradio_api/upload_progress"
# Writing: events with a JSON body.
EVENTS = r"/gradio_api/(queue/join|cancel|reset/?|(run|api)/[\w-]+/?|call/(v2/)?[\w-]+/?)"
SERVER_FUNCTIONS = r"/gradio_api/component_server/?"
# Ours, in every page: they look after themselves.
OWN = ("/healthz", "/metrics", "/v1/", UPLOAD, UPLOAD_PROGRESS)


@dataclass(frozen=True)
class Open:
    """Which doors of Gradio a page needs.

    files : visitors upload files and get some back
    server_functions : the page's script calls functions of components
    websockets : paths of our own WebSockets; Gradio's are shut
    posts : paths of our own routes that are sent JSON, which is looked at and counted like that of events
    max_json_bytes : of one event
    """

    files: bool = True
    server_functions: bool = False
    websockets: Collection[str] = ()
    posts: Collection[str] = ()
    max_json_bytes: int = 1_000_000

    def lets_through(self, method: str, path: str) -> bool:
        """Whether a request may go on, by its method and decoded path."""
        if path.startswith(OWN):
            return self.files or not path.startswith(UPLOAD)
        if method in ("GET", "HEAD"):
            if path.startswith(FILES):
                return self.files and is_own_file(path.removeprefix(FILES))
            return path.startswith(STATIC) or any(re.fullmatch(pattern, path) for pattern in READ)
        return method == "POST" and self.takes_json(path)

    def takes_json(self, path: str) -> bool:
        """Whether a POST to this path has a body that is looked at."""
        if path in self.posts:
            return True
        return bool(re.fullmatch(EVENTS, path) or (self.server_functions and re.fullmatch(SERVER_FUNCTIONS, path)))


def is_own_file(path: str) -> bool:
    """Whether a path as a request names it lies in the folder of uploads and results, and is no URL."""
    if "://" in path or "\0" in path or path.startswith(("//", "\\\\")) or not Path(path).is_absolute():
        return False
    try:
        return Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve())
    except (OSError, ValueError):
        return False


class RequestFilter:
    """ASGI middleware, between the server and Gradio.

    doors : what is open
    closing : asked at each request: True refuses everything, because the page is being stopped
    on_event : called with the request of each event, before Gradio hears of it; may refuse
    on_response : called with the status of each answer
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        doors: Open | None = None,
        closing=lambda: False,
        on_event=lambda request: None,
        on_response=lambda status: None,
    ):
        self.app, self.doors, self.closing = app, doors or Open(), closing
        self.on_event, self.on_response = on_event, on_response

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if scope["type"] == "websocket":
            if path in self.doors.websockets and not self.closing():
                await self.app(scope, receive, send)
            else:
                await send({"type": "websocket.close", "code": 1008})
            return
        send = self._counting(send)
        try:
            if self.closing() and path not in ("/healthz", "/metrics"):
                raise Closing
            if not self.doors.lets_through(scope["method"], path) or "deep_link" in _query(scope):
                raise Refusal(said("refusal.no_page"), status=404)
            if scope["method"] == "POST" and self.doors.takes_json(path):
                self.on_event(Request(scope))
                receive = _once(await self._checked_body(Request(scope, receive)), receive)
        except Refusal as refusal:
            await refusal.response(language_of(Request(scope)))(scope, receive, send)
        except ClientDisconnect:
            return  # nobody is left to answer
        else:
            await self.app(scope, receive, send)

    def _counting(self, send: Send) -> Send:
        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.on_response(message["status"])
            await send(message)

        return counting

    async def _checked_body(self, request: Request) -> bytes:
        """The JSON body, written anew from what was looked at, so that Gradio reads nothing else.

        Raises
        ------
        Refusal : too large, too slow, no JSON, or it names a file that was not uploaded here
        """
        body = bytearray()
        stream = request.stream()
        while True:
            try:
                async with asyncio.timeout(MAX_SILENCE_S):
                    body += await anext(stream)
            except StopAsyncIteration:
                break
            except TimeoutError:
                raise Refusal(said("request.stands_still"), status=408) from None
            if len(body) > self.doors.max_json_bytes:
                raise Refusal(said("request.large"), status=413)
        try:
            value = json.loads(body)
            check_files(value)
        except (ValueError, RecursionError):
            raise Refusal(said("request.no_json")) from None
        return json.dumps(value).encode()


def check_files(value, *, depth: int = 0) -> None:
    """Look for files in what an event was sent: whatever has a path must lie where uploads lie.

    Raises
    ------
    Refusal : a path that is a URL, or leads elsewhere
    ValueError : nested too deep
    """
    if depth > MAX_JSON_DEPTH:
        raise ValueError
    if isinstance(value, dict):
        path = value.get("path")
        if path is not None and not (isinstance(path, str) and is_own_file(path)):
            raise Refusal(said("request.no_upload"), status=403)
        value = value.values()
    if isinstance(value, Collection) and not isinstance(value, (str, bytes)):
        for one in value:
            check_files(one, depth=depth + 1)


def _query(scope: Scope) -> dict:
    return parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)


def _once(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body first, and then what the connection has to say."""
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
