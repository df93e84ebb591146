"""One visitor's recording from file to transcript, within the limits; what a page shows on the way."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cantowhisper.contracts import CantowhisperError, Segment
from cantowhisper.files import write_text
from cantowhisper.serving.offline.limits import Limits
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.serving.subtitles import write
from cantowhisper.serving.texts.say import Say, Told
from cantowhisper.serving.web.refusal import FullDisk, is_full
from cantowhisper.speech.audio import AudioError, read_sound
from cantowhisper.speech.mel import SAMPLE_RATE


@dataclass(frozen=True)
class Progress:
    """Where the work on a recording is. `cut_short` says why it ended early: "" (it did not), "time" or "stopped"."""

    segments: tuple[Segment, ...]
    duration_s: float
    work_s: float
    finished: bool = False
    cut_short: str = ""
    notes: tuple[str, ...] = ()  # what people should know of the recording: how much of it is damaged, …

    @property
    def share(self) -> float:
        """How much of the recording is done, 0 to 1: up to the end of the last segment."""
        if self.finished and not self.cut_short:
            return 1.0
        return min(self.segments[-1].end_s / self.duration_s, 1.0) if self.segments else 0.0


def transcribe_file(
    recognizer: Recognizer,
    path: str | Path,
    *,
    limits: Limits,
    language: str | None = None,
    script: str | None = None,
    beam_size: int = 1,
    should_stop: Callable[[], bool] = lambda: False,
    **options,
) -> Iterator[Progress]:
    """Transcribe a recording step by step: one Progress when it is decoded, one with each segment, one at the end.

    `options` go to `Recognizer.stream`. Whoever stops iterating stops the work; `should_stop` ends it with what there
    is by then.

    Raises
    ------
    AudioError, Refusal, UsageError : nothing was recognised; `friendly` words them for visitors
    """
    started = time.monotonic()
    limits.check_file(path)
    spent = lambda: time.monotonic() - started
    segments, why = [], ""

    def ends_here() -> bool:
        nonlocal why
        why = "stopped" if should_stop() else "time" if spent() >= limits.max_work_s else ""
        return bool(why)

    sound = read_sound(path, max_seconds=limits.max_audio_s, should_stop=ends_here)
    duration_s = sound.waveform.size / SAMPLE_RATE
    progress = lambda **more: Progress(tuple(segments), duration_s, spent(), notes=sound.notes, **more)
    yield progress()
    chosen = {"language": language, "script": script, "beam_size": beam_size, **options}
    pieces = recognizer.stream(sound.waveform, **chosen, should_stop=ends_here)
    for segment in pieces:
        segments.append(segment)
        yield progress()
        if ends_here():
            break
    yield progress(finished=True, cut_short=why)


class StopRequests:
    """Which visitors asked for the end of their work. Safe between threads; forgets the oldest over `at_most`."""

    def __init__(self, at_most: int = 1000):
        self._asked: dict[str, None] = {}
        self._at_most, self._lock = at_most, threading.Lock()

    def ask(self, visitor: str) -> None:
        with self._lock:
            self._asked[visitor] = None
            while len(self._asked) > self._at_most:
                del self._asked[next(iter(self._asked))]

    def clear(self, visitor: str) -> None:
        with self._lock:
            self._asked.pop(visitor, None)

    def asked(self, visitor: str) -> bool:
        return visitor in self._asked


def write_files(
    segments: Sequence[Segment], folder: str | Path, stem: str, names: Sequence[str], say: Say | None = None
) -> list[str]:
    """Write the transcript in the formats `names` as folder/stem.name and return the paths in that order.

    say : as in subtitles.write
    """
    paths = [Path(folder) / f"{Path(stem).name or 'transcript'}.{name}" for name in names]
    for path, name in zip(paths, names, strict=True):
        write_text(write(segments, name, say), path)
    return [str(path) for path in paths]


def friendly(error: Exception, say: Say | None = None) -> str:
    """An error for people who did nothing wrong. Gives away no path of this machine.

    English has an unreadable recording's own words; the other languages say what can be done.
    """
    say = say or Say()
    if is_full(error):
        error = FullDisk()
    words = str(error)
    if isinstance(words, Told):
        told = say.of(words)
        return told[0].upper() + told[1:]
    if isinstance(error, AudioError):
        if "/" in words:  # "cannot open /tmp/…": the visitor knows no such path
            return say("sound.not_opened")
        if say.language == "en":
            return f"{words[0].upper()}{words[1:]}."
        return say(f"sound.{error.reason}", **({"limit": f"{error.limit_s:g}"} if error.limit_s else {}))
    if isinstance(error, CantowhisperError):
        return say("refusal.other", detail=words)
    return say("refusal.unforeseen")
