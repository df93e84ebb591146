"""What every entrance to the offline page shares: the page, its named endpoints, and the OpenAI-compatible one.

A request is recordings and a link from one visitor. It is admitted, its link is fetched, it waits its turn, and the
worker transcribes its recordings one after the other; on the way it says where it stands.
"""

import math
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

from cantowhisper.contracts import CantowhisperError, Segment
from cantowhisper.serving.offline.addresses import Reach
from cantowhisper.serving.offline.editing.rows import MAX_ROWS_BYTES, POSTS
from cantowhisper.serving.offline.limits import LimitError, Limits
from cantowhisper.serving.offline.links import Links
from cantowhisper.serving.offline.queue import Waiting, Worker
from cantowhisper.serving.offline.transcription import Progress, StopRequests, transcribe_file
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.serving.texts.say import Told, said
from cantowhisper.serving.web.filter import Open
from cantowhisper.serving.web.refusal import Closing
from cantowhisper.serving.web.site import Site
from cantowhisper.serving.web.storage import Storage
from cantowhisper.serving.web.visitors import Hourly, UnderWay
from cantowhisper.speech.text import join_texts


@dataclass(frozen=True)
class Choices:
    """What a visitor may choose. "" stands for what the model was trained for."""

    language: str = ""  # code; "auto" has the model tell
    script: str = ""  # "traditional", "simplified", or as written
    beam_size: int = 1
    compare: bool = False  # also with the model before fine-tuning
    characters: bool = False  # times of every character
    translate: bool = False  # into English, where the model does that
    words: tuple[str, ...] = ()  # names and terms that are likely to be said
    speakers: int | None = None  # also who speaks: how many there are, or 0 for as many as are heard

    def __post_init__(self):
        if self.beam_size not in (1, 5):
            raise LimitError(said("ask.beam"))


@dataclass(frozen=True)
class Result:
    """One recording: what was heard by now. `before` is the base model's transcript, `problem` an error."""

    name: str
    path: Path
    progress: Progress
    before: tuple[Segment, ...] = ()
    problem: CantowhisperError | None = None

    @property
    def detected_language(self) -> str:
        """The code of the language that it was decoded as; "" where nothing was said."""
        return next((s.language for s in self.progress.segments if s.language), "")


@dataclass(frozen=True)
class Status:
    """Where a request is: "fetching", "waiting" (then `waiting` says where), "working" or "done".

    "unchanged" comes when there is nothing to say for a while.
    """

    stage: str
    waiting: Waiting | None = None
    results: tuple[Result, ...] = ()
    share: float = 0.0
    left_s: float | None = None


class Service:
    """One model (and perhaps its base model), its limits and its queue."""

    def __init__(
        self,
        recognizer: Recognizer,
        *,
        base: Recognizer | None = None,
        limits: Limits | None = None,
        reach: Reach | None = None,
        name: str = "cantowhisper",
        storage: Storage | None = None,
    ):
        self.recognizer, self.base, self.name = recognizer, base, name
        self.limits, self.reach = limits or Limits(), reach
        self.site = Site(
            doors=Open(files=True, posts=POSTS, max_json_bytes=MAX_ROWS_BYTES),
            forms=self.limits.forms,
            upload_bytes_per_hour=self.limits.max_upload_bytes_per_hour,
            events_per_second=self.limits.max_events_per_second,
            storage=storage,
        )
        self.stops = StopRequests()
        self.worker, self._links = Worker(), Links(self.limits, reach, require_room=self.site.require_room)
        self._hourly = Hourly(self.limits.max_requests_per_hour, _too_often)
        self.under_way = UnderWay(per_visitor=self.limits.max_under_way_per_visitor, in_all=self.limits.max_queue)
        self._watch()

    async def run(
        self,
        paths: Sequence[str | os.PathLike],
        *,
        visitor: str,
        link: str = "",
        choices: Choices | None = None,
        session: str = "",
    ) -> AsyncIterator[Status]:
        """Transcribe recordings, and what a link names. The last Status is "done".

        paths : files of the visitor's request; they are only read
        visitor : who takes turns and is counted, an address
        session : what `stops.ask` will be called with, if the visitor presses Stop

        What was fetched is deleted when the iterator ends, so a caller that wants it takes it before. The caller
        closes the iterator (`contextlib.aclosing`): that is how a visitor who went away gives up the place.

        Raises
        ------
        CantowhisperError : nothing was transcribed; with several recordings, `Result.problem` says it of each
        """
        choices = choices or Choices()
        self.stops.clear(session)
        with self.site.metrics.request() as outcome:
            self._require_open(len(paths) + bool(link))
            with (
                self.site.keeping(paths),
                self.under_way.one(visitor) as place,
                tempfile.TemporaryDirectory(prefix="cantowhisper-", ignore_cleanup_errors=True) as folder,
            ):
                self._hourly.take(visitor)
                sources = [Path(path) for path in paths]
                async with aclosing(
                    self._steps(sources, link.strip(), visitor, choices, session, Path(folder))
                ) as steps:
                    async for status in steps:
                        place.look()
                        if status.stage == "done":
                            outcome.name = "done"
                            self._count_sound(status.results)
                        yield status

    def _require_open(self, n_sources: int) -> None:
        if n_sources > self.limits.max_files:
            raise LimitError(said("ask.files", most=self.limits.max_files))
        if self.site.closing.is_set():
            raise Closing

    async def _steps(self, sources: list[Path], link, visitor, choices, session, folder: Path) -> AsyncIterator:
        """Fetch, wait, and work."""
        if link:
            async with aclosing(self._links.fetched(link, folder, visitor)) as fetched:
                async for path in fetched:
                    yield Status("unchanged" if path else "fetching")
            sources = [*sources, path]
        job = lambda should_stop: self._work(sources, choices, should_stop)
        events = self.worker.run(visitor, job, asked_to_stop=lambda: self.stops.asked(session))
        async with aclosing(events):
            async for event in events:
                if isinstance(event, Waiting):
                    event = Status("waiting", waiting=event) if event.place else Status("unchanged")
                yield event

    def _watch(self) -> None:
        """What operators see of the queue and the work."""
        watch, worker = self.site.metrics.watch, self.worker
        watch("requests_under_way", "Requests that are fetched, wait or are worked on.", lambda: len(self.under_way))
        watch("requests_waiting", "Requests in the queue.", lambda: worker.n_waiting)
        watch("links_under_way", "Links that are being fetched.", lambda: self._links.n_under_way)
        watch("running_seconds", "How long the recording in work has taken by now.", lambda: worker.running_s)
        watch("work_seconds_total", "Time spent on recordings, reading them included.", lambda: worker.work_s)

    def _count_sound(self, results: Sequence[Result]) -> None:
        seconds = sum(result.progress.duration_s for result in results)
        self.site.metrics.count("sound_seconds_total", "Length of the recordings that were transcribed.", seconds)

    def close(self) -> None:
        """Let nobody in, and end what is under way: everybody who waits is told so."""
        self.site.closing.set()
        self.worker.close()

    def _work(self, sources: list[Path], choices: Choices, should_stop: Callable[[], bool]) -> Iterator[Status]:
        started, done = time.monotonic(), []
        compare = choices.compare and self.base is not None
        models = [self.recognizer, *([self.base] if compare else [])]
        n_parts, share = len(sources) * len(models), 0.0
        for path in sources:
            current = Result(path.name, path, Progress((), 0.0, 0.0))
            try:
                for i, model in enumerate(models):
                    for progress in self._transcribe(model, path, choices, should_stop, started):
                        current = _with(current, progress, before=i > 0)
                        share = (len(done) * len(models) + i + progress.share) / n_parts
                        yield _working((*done, current), share, time.monotonic() - started)
            except CantowhisperError as error:
                if len(sources) == 1:
                    raise
                current = replace(current, problem=error)
            done.append(current)
            if current.progress.cut_short:
                break
        cut_short = bool(done) and bool(done[-1].progress.cut_short)
        yield Status("done", results=tuple(done), share=share if cut_short else 1.0)

    def _transcribe(self, model, path: Path, choices: Choices, should_stop, started: float) -> Iterator[Progress]:
        left_s = max(0.0, self.limits.max_work_s - (time.monotonic() - started))
        return transcribe_file(
            model,
            path,
            limits=replace(self.limits, max_work_s=left_s),
            language=choices.language or None,
            script=choices.script or None,
            beam_size=choices.beam_size,
            should_stop=should_stop,
            **({"characters": True} if choices.characters else {}),
            **({"task": "translate"} if choices.translate else {}),
            **({"words": choices.words} if choices.words else {}),
            **({"speakers": choices.speakers} if choices.speakers is not None else {}),
        )


def _with(result: Result, progress: Progress, *, before: bool) -> Result:
    if not before:
        return replace(result, progress=progress)
    return replace(result, before=progress.segments, progress=replace(result.progress, cut_short=progress.cut_short))


def _working(results: tuple[Result, ...], share: float, spent_s: float) -> Status:
    # Below a few percent the estimate jumps about: decoding of the file, the first batch.
    left_s = spent_s * (1 - share) / share if share > 0.03 else None
    return Status("working", results=results, share=share, left_s=left_s)


def _too_often(at_most: float, minutes: int) -> Told:
    return said("refusal.hourly", most=f"{at_most:g}", minutes=minutes)


def as_json(result: Result, *, model: str, language: str) -> dict:
    """The documented result of the named endpoints (see app_offline/README.md)."""
    rows = []
    for segment in result.progress.segments:
        row = {
            "start_s": round(segment.start_s, 3),
            "end_s": round(segment.end_s, 3),
            "text": segment.text,
            "confidence": round(segment.confidence, 4),
            "flags": list(segment.flags),
        }
        if segment.speaker:
            row["speaker"] = segment.speaker
        if segment.characters:
            row["characters"] = [list(one) for one in segment.characters]
        rows.append(row)
    return {
        "text": join_texts((row["text"] for row in rows), language),
        "language": language,
        "duration_s": round(result.progress.duration_s, 3),
        "segments": rows,
        "cut_short": result.progress.cut_short,
        "notes": list(result.progress.notes),
        "model": model,
    }


def mean_log_prob(segment: Segment) -> float:
    """What OpenAI's format wants where this project keeps a probability."""
    return math.log(max(segment.confidence, 1e-6))


def language_of(result: Result, asked: str, service: Service) -> str:
    """The language of a result's text: what it was decoded as, and for a silent recording what would have been."""
    facts = service.recognizer.facts
    named = asked if asked != "auto" else ""
    return result.detected_language or named or facts.language or facts.language_token.strip("<|>")
