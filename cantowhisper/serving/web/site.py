"""What one running page has besides its model: open doors, uploads within limits, numbers, whether it is stopped."""

import contextlib
import os
import sys
import threading
from collections.abc import Sequence
from types import SimpleNamespace

from gradio import state_holder
from gradio.state_holder import SessionState
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from cantowhisper.serving.texts.say import Told, said
from cantowhisper.serving.web import uploads
from cantowhisper.serving.web.filter import Open, RequestFilter
from cantowhisper.serving.web.form import FormLimits
from cantowhisper.serving.web.language import InLanguage
from cantowhisper.serving.web.metrics import Metrics
from cantowhisper.serving.web.storage import Storage
from cantowhisper.serving.web.visitors import Hourly, Rate, visitor_address


class Site:
    """Shared by everything that answers requests of one page.

    doors : what of Gradio is open
    forms : what one upload may hold; None where nothing is uploaded
    upload_bytes_per_hour : by one visitor; 0 is without end
    events_per_second : by one visitor, and ten times as many at once; 0 is without end
    storage : where files lie; None leaves them to the system's temporary folder
    """

    def __init__(
        self,
        *,
        doors: Open,
        forms: FormLimits | None = None,
        upload_bytes_per_hour: int = 0,
        events_per_second: float = 0.0,
        storage: Storage | None = None,
    ):
        self.doors, self.forms, self.storage = doors, forms, storage
        self.closing, self.metrics = threading.Event(), Metrics()
        self._uploaded = Hourly(upload_bytes_per_hour, _too_much)
        self._events = Rate(events_per_second, at_once=max(1, round(10 * events_per_second)))

    def app_kwargs(self, routes: Sequence[BaseRoute] = ()) -> dict:
        """What Gradio's `launch(app_kwargs=…)` takes: routes before its own, and the filter before all."""
        routes = [*routes, Route("/healthz", self._health, methods=["GET"])]
        routes.append(Route("/metrics", self.metrics.answer, methods=["GET"]))
        if self.forms:
            routes += uploads.routes(self.forms, admit=self.count_upload)
        told = {"closing": self.closing.is_set, "on_event": self.count_event, "on_response": self.metrics.response}
        keep_out = Middleware(RequestFilter, doors=self.doors, **told)
        return {"routes": routes, "middleware": [keep_out, Middleware(InLanguage)]}

    async def _health(self, request: Request) -> Response:
        """For whoever looks after the page: 200 while it lets visitors in, 503 once it is being stopped."""
        closing = self.closing.is_set()
        return JSONResponse({"status": "stopping" if closing else "ok"}, 503 if closing else 200)

    def keeping(self, paths) -> contextlib.AbstractContextManager:
        """Files that somebody waits for are not swept meanwhile."""
        return self.storage.using(paths) if self.storage else contextlib.nullcontext()

    def count_event(self, request: Request) -> None:
        """Count an event before Gradio hears of it: one that is refused later costs it a hundred times as much.

        Raises
        ------
        Refusal : too many of this visitor's in a short time
        """
        self._events.take(visitor_address(request))

    def count_upload(self, request: Request, n_bytes: int) -> None:
        """Count bytes that arrive.

        Raises
        ------
        Refusal : too many of this visitor's in an hour, or no room
        """
        self._uploaded.take(visitor_address(request), n_bytes)
        self.metrics.count("uploaded_bytes_total", "Bytes of visitors' files that arrived.", n_bytes)
        self.require_room(n_bytes)

    def require_room(self, n_bytes: int) -> None:
        """Look at the disk before bytes of a visitor are written.

        Raises
        ------
        FullDisk
        """
        if self.storage:
            self.storage.require_room(n_bytes)


def lighten_gradio() -> None:
    """Have pages that Gradio serves from now on do without what none of ours uses. Safe to call again.

    Statistics: after each event, and twice after an error, Gradio makes a pandas table of the last 10,000 events in a
    thread. A visitor whose calls were all refused took 40 threads, a processor and hundreds of megabytes with it.
    Links into a tab's state: for them, each call of a program without a session of its own copies the page's whole
    configuration, 7 ms of the event loop in which nobody is answered. The filter refuses such links.
    """
    os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")
    os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(sys.maxsize))
    state_holder.SessionState = _LightState


class _LightState(SessionState):
    """Of one tab; what is changed in it is still kept, as it is changed."""

    def __init__(self, blocks):
        super().__init__(SimpleNamespace(default_config=blocks.default_config, blocks={}))


def _too_much(at_most: float, minutes: int) -> Told:
    return said("refusal.hourly_bytes", most=f"{at_most / 1e9:g} GB", minutes=minutes)
