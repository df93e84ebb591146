"""What every entrance to the offline page shares: the page, its named endpoints, and the OpenAI-compatible one.

A request is recordings and a link from one visitor. It is admitted, its link is fetched, it waits its turn, and the
worker transcribes its recordings one after the other; on the way it says where it stands.
"""

import math
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cantowhisper.contracts import CantowhisperError, Segment
from cantowhisper.serving.offline.download import Reach, fetch
from cantowhisper.serving.offline.limits import LimitError, Limits
from cantowhisper.serving.offline.queue import Visitors, Waiting, Worker
from cantowhisper.serving.offline.transcription import Progress, StopRequests, transcribe_file
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.serving.web.filter import Open
from cantowhisper.serving.web.site import Site
from cantowhisper.serving.web.storage import Storage
from cantowhisper.speech.text import join_texts

DOWNLOADS_AT_ONCE = 4  # they wait on other servers and hold no core


@dataclass(frozen=True)
class Choices:
    """What a visitor may choose. "" stands for what the model was trained for."""

    language: str = ""  # code; "auto" has the model tell
    script: str = ""  # "traditional", "simplified", or as written
    beam_size: int = 1
    compare: bool = False  # also with the model before fine-tuning
    characters: bool = False  # times of every character

    def __post_init__(self):
        if self.beam_size not in (1, 5):
            raise LimitError("beam 只可以係 1 或者 5。 The beam size is 1 or 5.")


@dataclass(frozen=True)
class Result:
    """One recording: what was heard by now. `before` is the base model's transcript, `problem` an error."""

    name: str
    path: Path
    progress: Progress
    before: tuple[Segment, ...] = ()
    problem: CantowhisperError | None = None

    @property
    def heard(self) -> str:
        """The code of the language that it was decoded as; "" where nothing was said."""
        return next((s.language for s in self.progress.segments if s.language), "")


@dataclass(frozen=True)
class Standing:
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
            doors=Open(files=True),
            forms=self.limits.forms,
            upload_bytes_per_hour=self.limits.max_upload_bytes_per_hour,
            storage=storage,
        )
        self.stops = StopRequests()
        self._worker, self._visitors = Worker(self.limits), Visitors(self.limits)
        self._fetching = threading.BoundedSemaphore(DOWNLOADS_AT_ONCE)

    def run(
        self,
        paths: Sequence[str | os.PathLike],
        *,
        visitor: str,
        link: str = "",
        choices: Choices | None = None,
        session: str = "",
    ) -> Iterator[Standing]:
        """Transcribe recordings, and what a link names. The last Standing is "done".

        paths : files of the visitor's request; they are only read
        visitor : who takes turns and is counted, an address
        session : what `stops.ask` will be called with, if the visitor presses Stop

        What was fetched is deleted when the iterator ends, so a caller that wants it takes it before.

        Raises
        ------
        CantowhisperError : nothing was transcribed; with several recordings, `Result.problem` says it of each
        """
        choices = choices or Choices()
        self.stops.clear(session)
        if len(paths) + bool(link) > self.limits.max_files:
            raise LimitError(
                f"一次最多 {self.limits.max_files} 個檔案。 {self.limits.max_files} files at once at most."
            )
        self._visitors.admit(visitor)
        with tempfile.TemporaryDirectory(prefix="cantowhisper-") as folder:
            sources = [Path(path) for path in paths]
            if link:
                yield Standing("fetching")
                sources.append(self._fetch(link, Path(folder)))
            job = lambda should_stop: self._work(sources, choices, should_stop)
            for event in self._worker.run(visitor, job, asked_to_stop=lambda: self.stops.asked(session)):
                if isinstance(event, Waiting):
                    event = Standing("waiting", waiting=event) if event.place else Standing("unchanged")
                yield event

    def _fetch(self, link: str, folder: Path) -> Path:
        if not self._fetching.acquire(timeout=self.limits.max_download_s):
            raise LimitError("而家太多下載。 Too many links are being fetched; please try again later.")
        try:
            return fetch(link.strip(), folder, limits=self.limits, reach=self.reach)
        finally:
            self._fetching.release()

    def _work(self, sources: list[Path], choices: Choices, should_stop: Callable[[], bool]) -> Iterator[Standing]:
        started, done = time.monotonic(), []
        compare = choices.compare and self.base is not None
        models = [self.recognizer, *([self.base] if compare else [])]
        n_parts = len(sources) * len(models)
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
        yield Standing("done", results=tuple(done), share=1.0)

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
        )


def _with(result: Result, progress: Progress, *, before: bool) -> Result:
    return replace(result, before=progress.segments) if before else replace(result, progress=progress)


def _working(results: tuple[Result, ...], share: float, spent_s: float) -> Standing:
    # Below a few percent the estimate jumps about: decoding of the file, the first batch.
    left_s = spent_s * (1 - share) / share if share > 0.03 else None
    return Standing("working", results=results, share=share, left_s=left_s)


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
    return result.heard or named or facts.language or facts.language_token.strip("<|>")
