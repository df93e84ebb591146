"""In which language a page is shown: told by its address, then by what the visitor chose before, then by the browser.

The address (`?lang=zh-HK`) is what the switch in a page's head changes. It works without a script, and in a frame of
another site, as a Space is shown, where browsers may keep no cookies. The choice is remembered in a cookie: the server
writes the page and needs to know, which it would not of what lies in the browser's own storage.

A page is built once, of texts that are Told. What Gradio knows of it is put into the visitor's language when the page
is asked for. Gradio's own parts go by the browser's language, and know no zh-HK: they are told the nearest.
"""

import json
import re
from contextvars import ContextVar
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

import gradio as gr
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cantowhisper.serving.texts.say import LANGUAGES, Say

QUERY, COOKIE = "lang", "cantowhisper_lang"
REMEMBERED_S = 365 * 24 * 3600
GRADIO_KNOWS = {"zh-HK": "zh-TW", "zh-CN": "zh-CN", "en": "en"}
PAGE, CONFIG = "/", ("/config", "/config/")
_TRADITIONAL_REGIONS = ("hk", "tw", "mo")
_asked: ContextVar[str] = ContextVar("language of the page that is asked for", default="en")

# Before Gradio starts: its language, the page's own, and links of the switch that keep the rest of the address.
_SCRIPT = """<script>(() => {
  const [language, known] = %s, root = document.documentElement;
  Object.defineProperty(navigator, "language", { get: () => known });
  const mark = () => root.lang === language || (root.lang = language);
  new MutationObserver(mark).observe(root, { attributeFilter: ["lang"] });
  document.addEventListener("click", ({ target }) => {
    const link = target.closest?.(".languages a");
    if (!link) return;
    const address = new URL(location);
    address.searchParams.set("lang", link.hreflang);
    link.href = address;
  }, true);
})();</script>"""


def nearest(tag: str) -> str | None:
    """The language of the pages for somebody who reads `tag`; None where that is neither Chinese nor English.

    >>> [nearest(tag) for tag in ("zh-HK", "zh-Hant", "zh-TW", "yue", "zh-SG", "zh-Hans-HK", "zh", "en-GB", "de")]
    ['zh-HK', 'zh-HK', 'zh-HK', 'zh-HK', 'zh-CN', 'zh-CN', 'zh-CN', 'en', None]
    """
    language, *rest = tag.lower().replace("_", "-").split("-")
    if language not in ("zh", "yue", "cmn"):
        return "en" if language == "en" else None
    if "hans" in rest:
        return "zh-CN"
    traditional = "hant" in rest or any(region in rest for region in _TRADITIONAL_REGIONS)
    return "zh-HK" if traditional or language == "yue" else "zh-CN"


def accepted(header: str) -> str:
    """The language of the pages by an Accept-Language header: the nearest to what is liked best, English without any.

    >>> accepted("fr, zh-TW;q=0.8, en;q=0.9"), accepted("de, zh;q=0.5"), accepted("*"), accepted("")
    ('en', 'zh-CN', 'en', 'en')
    """
    liked = []
    for part in header.split(",")[:20]:
        tag, _, weight = part.partition(";")
        found = re.fullmatch(r"\s*q=([01](\.\d{0,3})?)\s*", weight)
        liked.append((float(found[1]) if found else 1.0, tag.strip()))
    ordered = sorted((one for one in liked if one[0] > 0), key=lambda one: -one[0])
    return next(filter(None, (nearest(tag) for _, tag in ordered)), "en")


def language_of(request: HTTPConnection) -> str:
    """The language in which a request is answered: one of LANGUAGES. Programs, which name none, get English."""
    named = _named(request.scope)
    return named or _remembered(request.headers) or accepted(request.headers.get("accept-language", ""))


def _named(scope: Scope) -> str | None:
    values = parse_qs(scope.get("query_string", b"").decode("latin-1")).get(QUERY, [])
    return values[-1] if values and values[-1] in LANGUAGES else None


def _remembered(headers: Headers) -> str | None:
    try:
        kept = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
    except CookieError:
        return None
    return kept.value if kept and kept.value in LANGUAGES else None


class Page(gr.Blocks):
    """Blocks of texts that are Told; its configuration is in the language of whoever asks for the page."""

    @property
    def config(self) -> dict:
        return Say(_asked.get()).of(self._config)

    @config.setter
    def config(self, value: dict) -> None:
        self._config = value


class InLanguage:
    """ASGI middleware before Gradio: says to `Page` who asks, and to the browser what it gets."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", "")) if scope["type"] == "http" else None
        if path != PAGE and path not in CONFIG:
            await self.app(scope, receive, send)
            return
        language = language_of(HTTPConnection(scope))
        before = _asked.set(language)
        try:
            await self.app(scope, receive, _Answer(scope, send, language) if path == PAGE else send)
        finally:
            _asked.reset(before)


class _Answer:
    """The page on its way to the browser, marked with its language."""

    def __init__(self, scope: Scope, send: Send, language: str):
        self.scope, self.send, self.language = scope, send, language
        self._start: Message | None = None
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message  # its length changes
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        body = bytes(self._body)
        if body and self._start["status"] == 200:
            body = self._marked(body.decode()).encode()
        headers = MutableHeaders(raw=self._start.setdefault("headers", []))
        if body or "content-length" not in headers:  # an answer to HEAD has none, and tells another's length
            headers["content-length"] = str(len(body))
        else:
            del headers["content-length"]
        headers["content-language"] = self.language
        headers.add_vary_header("Accept-Language")
        headers.add_vary_header("Cookie")
        if _named(self.scope):
            headers.append("set-cookie", self._cookie())
        await self.send(self._start)
        await self.send({"type": "http.response.body", "body": body})

    def _marked(self, page: str) -> str:
        languages = json.dumps([self.language, GRADIO_KNOWS[self.language]])
        page = re.sub(r'<html([^>]*?)lang="[^"]*"', rf'<html\1lang="{self.language}"', page, count=1)
        return page.replace("<head>", "<head>" + _SCRIPT % languages, 1)

    def _cookie(self) -> str:
        """It says nothing of anybody. In a frame of another site, browsers take it only so, and only over https."""
        where = "SameSite=None; Secure; Partitioned" if self.scope.get("scheme") == "https" else "SameSite=Lax"
        path = self.scope.get("root_path", "") or "/"
        return f"{COOKIE}={self.language}; Path={path}; Max-Age={REMEMBERED_S}; {where}"
