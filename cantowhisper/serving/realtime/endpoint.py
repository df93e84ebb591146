"""The WebSocket at /v1/realtime: one connection, one RealtimeSession."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from cantowhisper.serving.live.engine import LiveEngine
from cantowhisper.serving.realtime.config import RATES
from cantowhisper.serving.realtime.session import RealtimeSession
from cantowhisper.serving.web.refusal import Refusal
from cantowhisper.serving.web.visitors import UnderWay, visitor_address

PATH = "/v1/realtime"
POLL_S = 0.1  # how often new text is looked for
PAUSE_S = 0.005  # after each message, so that a flood of them keeps nobody else waiting
NOT_ALLOWED, FAILED, GOING_AWAY, TRY_LATER = 1008, 1011, 1001, 1013  # RFC 6455's close codes
log = logging.getLogger(__name__)


class Realtime:
    """All connections of one page.

    engine : shared with the page
    closing : asked often; True ends all connections
    model : the name by which the model is told
    """

    def __init__(self, engine: LiveEngine, *, closing: Callable[[], bool] = lambda: False, model: str = "cantowhisper"):
        self._engine, self._closing, self._model = engine, closing, model
        most = engine.limits.max_sessions
        # A connection in which nobody speaks has no place in the engine, but costs something all the same.
        self.connections = UnderWay(per_visitor=most, in_all=4 * most)

    def bound_messages(self, server) -> None:
        """Have a running server (uvicorn's, as Gradio starts it) refuse messages longer than any that is served.

        Without this it takes 16 MB of each connection before anybody may look at them.
        """
        server.config.ws_max_size = self._engine.limits.bytes_at(max(RATES))

    def routes(self) -> list[WebSocketRoute]:
        """To be put before those of the page."""
        return [WebSocketRoute(PATH, self.serve)]

    async def serve(self, websocket: WebSocket) -> None:
        """Serve one connection to its end."""
        if not _of_this_site(websocket):
            await websocket.close(NOT_ALLOWED)
            return
        visitor = visitor_address(websocket)
        session = RealtimeSession(self._engine, visitor=visitor, model=self._model)
        offered = websocket.scope.get("subprotocols") or []
        code, reason = GOING_AWAY, ""
        try:
            with self.connections.one(visitor) as place:
                await websocket.accept("realtime" if "realtime" in offered else None)
                await self._converse(websocket, session, place.look)
        except WebSocketDisconnect:
            return
        except Refusal as refusal:
            code, reason = TRY_LATER, str(refusal)[:40]  # 123 bytes at most
        except Exception as error:
            log.error("a realtime connection failed: %s", type(error).__name__)  # never what was said
            code = FAILED
        finally:
            session.close()
        with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it has gone meanwhile
            await websocket.close(code, reason)

    async def _converse(self, websocket: WebSocket, session: RealtimeSession, look: Callable[[], None]) -> None:
        """Until the client leaves (WebSocketDisconnect), or the page is stopped."""
        answers, incoming = session.begin(), None
        try:
            while not self._closing():
                for one in answers:
                    await websocket.send_text(json.dumps(one, ensure_ascii=False))
                look()
                if incoming is None and session.takes_more:
                    incoming = asyncio.ensure_future(websocket.receive())
                await asyncio.wait([incoming or asyncio.ensure_future(asyncio.sleep(POLL_S))], timeout=POLL_S)
                answers = session.news()
                if incoming and incoming.done():
                    answers += session.take(_read(incoming.result()))
                    incoming = None
                    await asyncio.sleep(PAUSE_S)
        finally:
            if incoming:
                incoming.cancel()


def _read(message: dict):
    """The JSON of a frame; None where it is none."""
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    try:
        return json.loads(message.get("text") or "")
    except (ValueError, RecursionError):
        return None


def _of_this_site(websocket: WebSocket) -> bool:
    """Programs send no Origin; browsers always do, and no other site's script may use a visitor's page."""
    origin = websocket.headers.get("origin")
    return not origin or urlsplit(origin).netloc == websocket.headers.get("host", "")
