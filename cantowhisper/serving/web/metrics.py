"""What operators can watch: /metrics in Prometheus' text format. Numbers alone, nothing of any visitor.

Values are kept here as plain numbers, so that a page without prometheus_client counts all the same and only cannot show
it. Names follow Prometheus' rules: a unit at the end, `_total` for what only grows.
"""

import contextlib
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from cantowhisper.contracts import CantowhisperError
from cantowhisper.serving.web.refusal import Refusal

PREFIX = "cantowhisper_"


class Outcome:
    """How a request ended: "done", "refused", "unusable" (its recording), "failed", or "left" by its visitor."""

    name = "left"


class Metrics:
    """The numbers of one page. Safe between threads."""

    def __init__(self):
        self._counts: dict[tuple[str, str], Counter[tuple[tuple[str, str], ...]]] = {}
        self._watched: list[tuple[str, str, Callable[[], float]]] = []
        self._lock = threading.Lock()

    def count(self, name: str, help_text: str, amount: float = 1, **labels: str) -> None:
        """Add to what only grows; labels take few values, none of them from a visitor."""
        with self._lock:
            self._counts.setdefault((name, help_text), Counter())[tuple(sorted(labels.items()))] += amount

    def watch(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """Have `read` called whenever somebody asks; a name that ends in `_total` only grows."""
        self._watched.append((name, help_text, read))

    def response(self, status: int) -> None:
        """Count an answer of the server."""
        self.count("responses_total", "Answers of the server, by status.", status=str(status))

    @contextlib.contextmanager
    def request(self) -> Iterator[Outcome]:
        """Count a request by how it ends; whoever serves it names the good end."""
        outcome = Outcome()
        try:
            yield outcome
        except Refusal as refusal:
            outcome.name = "refused"
            self.count("refusals_total", "Requests not served, by HTTP's word for why.", status=str(refusal.status))
            raise
        except CantowhisperError:
            outcome.name = "unusable"
            raise
        except Exception:
            outcome.name = "failed"
            raise
        finally:
            self.count("requests_total", "Requests for text, by how they ended.", outcome=outcome.name)

    def collect(self) -> Iterable:
        """As prometheus_client takes it from a collector."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        with self._lock:
            counts = {key: dict(values) for key, values in self._counts.items()}
        for (name, help_text), values in counts.items():
            names = [label for label, _ in next(iter(values))]
            family = CounterMetricFamily(PREFIX + name, help_text, labels=names)
            for labels, value in values.items():
                family.add_metric([text for _, text in labels], value)
            yield family
        for name, help_text, read in self._watched:
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield kind(PREFIX + name, help_text, value=read())

    async def answer(self, request: Request) -> Response:
        """GET /metrics."""
        try:
            from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, ProcessCollector, generate_latest
        except ImportError:
            return PlainTextResponse("metrics need the package prometheus_client: pip install prometheus_client\n", 501)
        registry = CollectorRegistry()
        registry.register(self)
        ProcessCollector(registry=registry)  # memory, processor time, open files
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)
