"""Many speakers, one model, one worker: whose speech is listened to next.

Passes at the end of an utterance come first and none is left out. Passes in the middle of speech always cover
everything said so far, so a late one replaces those that were not done: the newest wins. When there is too much to
do, pace.py says what gives way, in which order; sound never does.
"""

import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.serving.glossary import NO_WORDS
from cantowhisper.serving.live.agreement import DecodeRequest, Hypothesis, implausible, letters_of
from cantowhisper.serving.live.language import SpokenLanguage
from cantowhisper.serving.live.limits import LiveLimits
from cantowhisper.serving.live.options import ATTENTION, LiveOptions
from cantowhisper.serving.live.pace import Level, Pace, PaceOptions
from cantowhisper.serving.live.session import Session
from cantowhisper.serving.menus import default_script
from cantowhisper.serving.texts.say import said
from cantowhisper.serving.web.refusal import Refusal
from cantowhisper.serving.web.visitors import is_owner
from cantowhisper.speech.language import both_names, language_token
from cantowhisper.speech.mel import SAMPLE_RATE
from cantowhisper.speech.text import to_script

N_USUAL = 50  # commits, of all speakers, whose delay is the usual one
FORGET_UNUSED_AFTER_S = 15.0  # a place in which nothing was ever said; the page asks for another when it speaks
MAX_PREFIX = 200  # characters: more are not said before they are trimmed

log = logging.getLogger(__name__)


class UnknownSession(CantowhisperError):
    """The session is not here (any more): start another one."""


@dataclass
class LiveEngine:
    """All sessions. `recognizer` needs `decode`, `languages`, `takes_words` and `facts`, and to hear languages
    `language_log_probs` (serving.recognizer.Recognizer).

    `work_once` does one pass; `run` does so in a thread of its own until `close`.
    """

    recognizer: object
    limits: LiveLimits = field(default_factory=LiveLimits)
    options: LiveOptions = field(default_factory=LiveOptions)
    pace_options: PaceOptions = field(default_factory=PaceOptions)
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self):
        self.sessions: dict[str, Session] = {}
        self.pace = Pace(self.pace_options)
        self.busy_s, self.n_passes = 0.0, 0
        self.delays_s: deque[float] = deque(maxlen=N_USUAL)
        self._changed = threading.Condition()
        self.thread: threading.Thread | None = None
        self._closing = self._arrived = False

    # ---------------------------------------------------------------------------------------------------- for pages

    def start(
        self,
        *,
        language: str | None = None,
        script: str | None = None,
        at: int = 0,
        prefix: str = "",
        words: Sequence[str] = (),
        visitor: str = "",
    ) -> str | None:
        """Open a session and return its name; None when there is no room now (ask again after `ask_again_s`).

        at : sample of the speaker's recording at which it starts
        prefix : committed text that the page has already of the speech there (its session was lost)
        words : names and terms that are likely to be said
        visitor : address of whoever speaks; "" is not counted

        Raises
        ------
        UsageError : the model does not know the language, takes no words, or there is no such script
        Refusal : the visitor has too many sessions
        """
        facts, named = self.recognizer.facts, bool(language) and language != "auto"
        if named:
            language_token([f"<|{code}|>" for code in self.recognizer.languages], language)  # refuses what it lacks
        own = facts.language or facts.language_token
        script = script or default_script(facts, language)
        to_script("", script)
        if words and not self.recognizer.takes_words:
            raise UsageError(NO_WORDS)
        session = Session(
            max(0, int(at)),
            language=language if named else None,
            script=script,
            prefix=prefix[:MAX_PREFIX],
            words=tuple(words),
            max_held_s=self.limits.max_held_s,
            options=self.options.for_model(facts),
            visitor=visitor,
            own_language="" if language == "auto" else own,
            detection=SpokenLanguage() if language == "auto" or not (named or own) else None,
            delays_s=self.delays_s,
        )
        with self._changed:
            self._drop_forgotten()
            self._require_place(visitor)
            if len(self.sessions) >= self.limits.max_sessions or (self.sessions and self.level == "full"):
                return None
            session.seen_s = session.served_s = self.clock()
            name = secrets.token_urlsafe(12)
            self.sessions[name] = session
        return name

    def _require_place(self, visitor: str) -> None:
        mine = sum(session.visitor == visitor for session in self.sessions.values())
        if visitor and mine >= self.limits.max_sessions_per_visitor and not is_owner(visitor):
            raise Refusal(
                said("live.open_already", mine=mine),
                status=429,
                retry_after_s=self.limits.forget_after_s,
            )

    def push(
        self, name: str, offset: int, sound: np.ndarray, *, oldest: int | None = None, seen: int = 0, end: bool = False
    ) -> dict:
        """Take sound (int16, 16 kHz mono) from sample `offset` on and return `Session.view(seen)`.

        end : this is the last sound; go on asking until the view is `final`

        Raises
        ------
        UnknownSession, CantowhisperError
        """
        if sound.size > self.limits.max_push_s * SAMPLE_RATE:
            raise UsageError(f"at most {self.limits.max_push_s:.0f} s of sound at a time")
        session = self._session(name)
        longest = session.begin + int(self.limits.max_session_s * SAMPLE_RATE)
        session.push(int(offset), sound[: max(0, longest - int(offset))], oldest=oldest)
        session.limited = session.received >= longest
        if end or session.limited:
            session.end(min(int(offset) + sound.size, longest) if end else longest)
        with self._changed:
            self._arrived = True
            self._changed.notify()
        return self._view(session, seen)

    def poll(self, name: str, *, seen: int = 0) -> dict:
        """The view of a session without pushing anything."""
        return self._view(self._session(name), seen)

    def forget(self, name: str) -> None:
        """Drop a session and everything of it."""
        with self._changed:
            self.sessions.pop(name, None)

    def _session(self, name: str) -> Session:
        with self._changed:
            session = self.sessions.get(name)
        if session is None:
            raise UnknownSession("this session is not here any more; start another one")
        session.seen_s = self.clock()
        return session

    def _view(self, session: Session, seen: int) -> dict:
        view = {**session.view(seen), "level": self.level, "usual_s": self.usual_s}
        name = both_names(view["language"]) if view["language"] else ""
        return {**view, "language_name": name, "detected": session.detection is not None}

    # --------------------------------------------------------------------------------------------------- for the worker

    @property
    def level(self) -> Level:
        """What gives way at the moment."""
        n_speaking, behind_s = self._load()
        return self.pace.level(n_speaking, behind_s=behind_s)

    @property
    def behind_s(self) -> float:
        """How much sound waits, of the session with most."""
        return self._load()[1]

    @property
    def usual_s(self) -> float | None:
        """How long after it is said text is committed here: the median of late, or None where nobody has spoken."""
        delays = list(self.delays_s)
        return round(float(np.median(delays)), 1) if delays else None

    def _load(self) -> tuple[int, float]:
        sessions = list(self.sessions.values())
        return sum(s.policy.speaking for s in sessions), max((s.behind_s for s in sessions), default=0.0)

    def work_once(self) -> bool:
        """Listen to what has arrived, and do the most urgent pass. Returns whether there was one."""
        with self._changed:
            self._drop_forgotten()
            sessions = list(self.sessions.values())
        for session in sessions:
            session.listen()
        n_speaking, behind_s = self._load()
        step_s = self.pace.step_s(n_speaking, behind_s=behind_s)
        waiting = [(s, request) for s in sessions if (request := s.policy.due(step_s=step_s))]
        if not waiting:
            return False
        session, request = min(waiting, key=lambda one: (not one[1].final, one[0].served_s))
        hypothesis = self._recognise(session, request)
        session.served_s = self.clock()
        show = self.pace.level(n_speaking, behind_s=behind_s) in ("", "longer_step")
        session.accept(request, hypothesis, show_tentative=show)
        return True

    def _recognise(self, session: Session, request: DecodeRequest) -> Hypothesis:
        started = time.perf_counter()
        try:
            if session.detection and session.detection.is_wanted(request):
                session.detection.hear(request, self.recognizer.language_log_probs(session.sound(request.alone)))
                session.language = session.detection.token
            hypothesis = self._heard(session, request)
        except Exception as error:  # one speaker's trouble must not end everybody's session
            log.error("a pass failed: %s", type(error).__name__)  # never what was said
            hypothesis = Hypothesis(session.policy.tentative)
        took_s = time.perf_counter() - started
        self.busy_s, self.n_passes = self.busy_s + took_s, self.n_passes + 1
        if not request.final:
            self.pace.measured(took_s)
        return hypothesis

    def _heard(self, session: Session, request: DecodeRequest) -> Hypothesis:
        """What a pass writes, after the lines before it or, where that gives nothing or a loop, alone."""
        begin = request.heard + request.prefix
        asked = {"language": session.language} | ({"words": session.words} if session.words else {})
        asked |= {"attention": True} if session.options.commit == ATTENTION and not request.final else {}
        hypothesis = self.recognizer.decode(session.sound(request), begin, **asked)
        nothing = not request.prefix and not letters_of(hypothesis.text)
        if request.heard and (nothing or implausible(hypothesis.text, request)):
            return self._heard(session, request.alone)
        return hypothesis

    def _drop_forgotten(self) -> None:
        now = self.clock()
        after_s = self.limits.forget_after_s
        for name, session in list(self.sessions.items()):
            used = session.received > session.begin
            if now - session.seen_s > (after_s if used else min(after_s, FORGET_UNUSED_AFTER_S)):
                del self.sessions[name]

    def run(self) -> "LiveEngine":
        """Start the worker's thread (once)."""
        if self.thread is None:
            self.thread = threading.Thread(target=self._work, name="cantowhisper-live", daemon=True)
            self.thread.start()
        return self

    def _work(self) -> None:
        while not self._closing:
            self._arrived = False
            if self.work_once():
                continue
            with self._changed:
                # Without anybody there is nothing to look after; else come back to drop who has gone.
                self._changed.wait_for(lambda: self._arrived or self._closing, 1.0 if self.sessions else 60.0)

    def close(self) -> None:
        """End the worker's thread and drop all sessions."""
        self._closing = True
        with self._changed:
            self.sessions.clear()
            self._changed.notify_all()
        if self.thread:
            self.thread.join(timeout=5)
