"""Jyutping above Cantonese rows: which sound a character has where it stands, by ToJyutping's dictionary of words.

The package is optional: without it, the page does not offer jyutping. Readings are for the eyes alone; a row's text and
what is downloaded stay as they are.
"""

import threading
from functools import cache
from importlib.util import find_spec

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cantowhisper.serving.offline.editing.rows import JYUTPING, parsed
from cantowhisper.serving.texts.say import said
from cantowhisper.serving.web.language import language_of
from cantowhisper.serving.web.refusal import Refusal

MAX_CHARACTERS = 20_000  # of one request: half a second of work
_ONE_AT_A_TIME = threading.Semaphore()


@cache
def available() -> bool:
    """Whether the package is installed."""
    return find_spec("ToJyutping") is not None


def annotated(text: str) -> list[tuple[str, str]]:
    """A text in parts, each with its jyutping; "" where it has none.

    >>> annotated("行街, OK") if available() else [("行", "haang4"), ("街", "gaai1"), (", OK", "")]
    [('行', 'haang4'), ('街', 'gaai1'), (', OK', '')]
    """
    import ToJyutping

    parts: list[tuple[str, str]] = []
    for characters, reading in ToJyutping.get_jyutping_list(text):
        if not reading and parts and not parts[-1][1]:
            parts[-1] = (parts[-1][0] + characters, "")
        else:
            parts.append((characters, reading or ""))
    return parts


def routes() -> list[Route]:
    """`POST /jyutping` with {"texts": [text, …]}, answered with {"texts": [[[part, reading], …], …]}."""
    return [Route(JYUTPING, _answer, methods=["POST"])] if available() else []


async def _answer(request: Request) -> Response:
    try:
        texts = _texts(parsed(await request.body()))
    except Refusal as refusal:
        return refusal.response(language_of(request))
    except ClientDisconnect:
        return Response(status_code=499)
    return JSONResponse({"texts": await run_in_threadpool(_annotated, texts)})


def _annotated(texts: list[str]) -> list:
    with _ONE_AT_A_TIME:  # whatever is asked for at once, it takes no more than one of the cores
        return [annotated(text) for text in texts]


def _texts(value: object) -> list[str]:
    texts = value.get("texts") if isinstance(value, dict) else None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise Refusal(said("jyutping.no_texts"))
    if sum(len(text) + 1 for text in texts) > MAX_CHARACTERS:
        raise Refusal(said("jyutping.long", most=f"{MAX_CHARACTERS:,}"), status=413)
    return texts
