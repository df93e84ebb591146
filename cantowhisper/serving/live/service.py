"""The live engine as four calls over JSON, for the page and for other programs. Nothing raises; a refusal is an answer.

Sound travels as base64 of 16-bit little-endian samples, 16 kHz mono. Every call may be repeated: samples are numbered
from the start of the recording, and events from the start of the session.
"""

import base64
import binascii
import functools
import logging
import threading
from collections.abc import Callable

import numpy as np

from cantowhisper.contracts import CantowhisperError
from cantowhisper.serving.glossary import read_words
from cantowhisper.serving.live.engine import LiveEngine, UnknownSession
from cantowhisper.serving.offline.editing.rows import read_lines
from cantowhisper.serving.subtitles import write
from cantowhisper.serving.texts.say import said
from cantowhisper.serving.web.refusal import Refusal
from cantowhisper.serving.web.visitors import UnderWay
from cantowhisper.speech.mel import SAMPLE_RATE

MAX_FILE_CHARACTERS = 200_000  # of one file of subtitles: ten hours of speech, seconds of work at the worst
MAX_SAMPLE = 2**40  # two years of sound: a number beyond it is a mistake
log = logging.getLogger(__name__)


def answered(call: Callable[..., dict]) -> Callable[..., dict]:
    """A method whose errors are answers."""

    @functools.wraps(call)
    def answer(*arguments, **named) -> dict:
        try:
            return call(*arguments, **named)
        except UnknownSession:
            return {"unknown": True}
        except CantowhisperError as error:
            return {"error": str(error)}
        except Exception as error:
            log.error("a live request failed: %s", type(error).__name__)  # never what was said
            return {"error": "the request is not as documented"}

    return answer


class LiveService:
    """start, push, poll, finish.

    visitor : the address of whoever calls, asked in the call
    """

    def __init__(self, engine: LiveEngine, *, visitor: Callable[[], str] = lambda: ""):
        self._engine, self._visitor = engine, visitor
        # Whoever waits holds a thread, and who writes a core.
        self._files, self._one_at_a_time = UnderWay(per_visitor=2, in_all=4), threading.Lock()

    @answered
    def start(self, language: str = "", script: str = "", at: int = 0, known: str = "") -> dict:
        """Open a live session: {"session": name}, or {"busy": true, "retry_s": s} when all places are taken.

        language: code such as "yue", or "auto" (default: the model's own); script: "traditional", "simplified" or "as
        written" (default: as written; a stock model's Cantonese traditional). To go on after a lost session, at: the
        first sample that will be pushed; known: its text so far.
        """
        return self.start_with("", language, script, at, known)

    @answered
    def start_with(self, words: str, language: str = "", script: str = "", at: int = 0, known: str = "") -> dict:
        """`start` with names and terms that are likely to be said, one a line or divided by commas.

        No endpoint: Gradio's must be called with all of their arguments, so that one more would break its callers.
        """
        name = self._engine.start(
            language=str(language or ""),
            script=str(script or ""),
            at=_count(at),
            prefix=str(known or ""),
            words=read_words(str(words or "")),
            visitor=self._visitor(),
        )
        return {"session": name} if name else {"busy": True, "retry_s": self._engine.limits.ask_again_s}

    @answered
    def push(self, session: str, offset: int, audio: str, oldest: int = -1, seen: int = 0, end: bool = False) -> dict:
        """Send sound and get what is new of the text.

        offset: number of the first sample in `audio` (base64 of int16, at most 30 s); oldest: the first sample that
        can still be sent (-1: all of them); seen: events received so far; end: nothing follows.

        Answers {"have": next sample wanted, "keep_from": samples before it are done, "events": [{"start_s", "before",
        "language"} | {"text"} | {"end_s"}], "seen", "tentative", "known", "language", "language_name", "detected",
        "lag_s", "behind_s", "usual_s": how late text is here, "gaps", "level", "limit": the session has its full
        length, "final"}; {"unknown": true} when it is gone, and {"error": why}. Where a session is gone or has its full
        length, start one at `keep_from` with `known` to go on.
        """
        sound = _decode(str(audio), most=int(self._engine.limits.max_push_s * SAMPLE_RATE))
        oldest = None if int(oldest) < 0 else _count(oldest)
        return self._engine.push(str(session), _count(offset), sound, oldest=oldest, seen=_count(seen), end=bool(end))

    @answered
    def poll(self, session: str, seen: int = 0) -> dict:
        """The answer of push, without sending sound. After a final answer whose events are all seen, the session
        is gone."""
        view = self._engine.poll(str(session), seen=_count(seen))
        if view["final"] and not view["events"]:
            self._engine.forget(str(session))
        return view

    def finish(self, session: str, at: int, seen: int = 0) -> dict:
        """Say that sample `at` is the end, and get the answer of push. Poll until it is `final`."""
        return self.push(session, at, "", seen=seen, end=True)

    @answered
    def subtitles(self, name: str, lines: list) -> dict:
        """The lines that a tab has as {"file": text}, by the rules of captions; nothing of it is kept.

        No endpoint: programs have their lines, and `write` of serving/subtitles.py.

        name : "srt" or "vtt"
        lines : rows as in offline/editing/rows.py, without a recording
        """
        segments = read_lines(lines)
        if sum(len(segment.text) for segment in segments) > MAX_FILE_CHARACTERS:
            long = said("rows.long", what="text", most=f"{MAX_FILE_CHARACTERS:,}")
            raise Refusal(said("rows.wrong", fault=long), status=413)
        with self._files.one(self._visitor()), self._one_at_a_time:
            return {"file": write(segments, str(name))}


def _count(value) -> int:
    number = int(value)
    if not 0 <= number <= MAX_SAMPLE:
        raise CantowhisperError("numbers of samples and events are not negative, and not beyond two years of sound")
    return number


def _decode(audio: str, *, most: int) -> np.ndarray:
    """base64 → int16; refused before decoding where it is too long."""
    if len(audio) > most * 2 * 4 // 3 + 8:
        raise CantowhisperError(f"at most {most // SAMPLE_RATE} s of sound at a time")
    try:
        raw = base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError) as error:
        raise CantowhisperError("audio is not base64") from error
    if len(raw) % 2:
        raise CantowhisperError("audio is not a whole number of 16-bit samples")
    return np.frombuffer(raw, "<i2")
