"""One speaker's session: sound in, in order and without loss; text out as a growing list of events.

Whoever pushes sound says from which sample on it is. What is here already is ignored, what is missing is asked for
again, and what nobody has any more is filled with silence and reported, so that times stay right.
"""

import threading
from collections import deque
from dataclasses import dataclass, field

import numpy as np

from cantowhisper.contracts import CantowhisperError
from cantowhisper.serving.live.agreement import DecodeRequest, Hypothesis
from cantowhisper.serving.live.language import SpokenLanguage
from cantowhisper.serving.live.options import LiveOptions
from cantowhisper.serving.live.policy import Line, LivePolicy
from cantowhisper.serving.live.vad import VoiceDetector
from cantowhisper.serving.segments import WINDOW
from cantowhisper.speech.language import language_code
from cantowhisper.speech.mel import SAMPLE_RATE
from cantowhisper.speech.text import to_script

LONGEST_GAP_S = 60  # a longer one is a new session


@dataclass
class Session:
    """What the server holds of one tab. Sound comes from many threads, everything else is the worker's.

    `begin` is the sample of the page's recording at which this session starts: 0, or later when the page goes on after
    the server was restarted. All samples and times that leave or enter count from the start of that recording.
    """

    begin: int = 0
    language: str | None = None
    script: str = "as written"
    words: tuple[str, ...] = ()  # that are likely to be said
    prefix: str = ""  # text that the page has already of the speech at `begin`
    max_held_s: float = 120.0  # of sound without text; then no more is taken, and the page keeps it
    options: LiveOptions = field(default_factory=LiveOptions)
    visitor: str = ""  # whose it is
    own_language: str = ""  # what the model writes where `language` is None
    detection: SpokenLanguage | None = None  # where the language is not told but heard: `language` follows it
    delays_s: deque[float] = field(default_factory=deque)  # of what is committed here, the newest last

    def __post_init__(self):
        self.policy, self._detector = LivePolicy(self.options, prefix=self.prefix), VoiceDetector()
        self.received = self.begin  # samples up to here have arrived
        self.ends_at: int | None = None
        self.final = self.limited = self._all_heard = False
        self.seen_s = self.served_s = 0.0  # the engine's clock: last sign of life, last pass
        self.gaps: list[tuple[int, int]] = []
        self.events: list[dict] = []
        self.tentative, self._show_tentative = "", True
        self._told, self._n_lines = len(self.prefix), 0  # characters of the open line, and lines, that are in `events`
        self._in_line = False  # whether the last line of `events` goes on
        self._inbox: list[np.ndarray] = []
        self._sound = np.zeros(0, np.int16)  # from sample _sound_from (of the policy) on
        self._sound_from = 0
        self._lock = threading.Lock()

    # ----------------------------------------------------------------------------------------------- from the page

    def push(self, offset: int, sound: np.ndarray, *, oldest: int | None = None) -> None:
        """Take sound (int16, shape (n_samples,)) from sample `offset` on; `received` says how far it was taken.

        oldest : the first sample that the page still has; what is missing before it is a gap

        Raises
        ------
        CantowhisperError : the gap is too long for one session
        """
        with self._lock:
            if self.ends_at is not None and offset >= self.ends_at:
                return
            missing = min(offset, offset if oldest is None else oldest) - self.received
            if oldest is not None and missing > 0:
                if missing > LONGEST_GAP_S * SAMPLE_RATE:
                    raise CantowhisperError(f"{missing / SAMPLE_RATE:.0f} s of sound are missing; start a new session")
                self.gaps.append((self.received, self.received + missing))
                self._inbox.append(np.zeros(missing, np.int16))
                self.received += missing
            if offset <= self.received:
                room = max(0, int(self.max_held_s * SAMPLE_RATE) - self.held)
                new = sound[self.received - offset :][:room]
                self._inbox.append(new)
                self.received += new.size

    def end(self, at: int) -> None:
        """No sound from sample `at` on will come."""
        with self._lock:
            self.ends_at = max(at, self.begin)

    @property
    def held(self) -> int:
        """Samples in memory."""
        return self.received - self.keep_from

    @property
    def keep_from(self) -> int:
        """Sound before this sample has its final text, so that the page may forget it."""
        return min(self.begin + self.policy.needed_from, self.received)

    @property
    def lag_s(self) -> float:
        """How far the committed text is behind what has arrived."""
        return 0.0 if self.final else (self.received - self.begin - self.policy.committed_to) / SAMPLE_RATE

    @property
    def behind_s(self) -> float:
        """Seconds of speech that nothing has listened to yet."""
        waiting = sum(sound.size for sound in list(self._inbox))
        return (waiting + self.policy.behind) / SAMPLE_RATE

    @property
    def language_code(self) -> str:
        """Of the language that is written; "" as long as it was not heard."""
        language = self.language or self.own_language
        return language_code(language) if language else ""

    def view(self, seen: int = 0) -> dict:
        """What the page needs: the events since the first `seen`, and the tail that may still change."""
        with self._lock:
            events, line = self.events[max(0, seen) :], self.policy.open_line
            return {
                "have": self.received,
                "keep_from": self.keep_from,
                "known": line.text if line else "",
                "events": events,
                "seen": max(0, seen) + len(events),
                "tentative": self.tentative,
                "lag_s": round(self.lag_s, 2),
                "behind_s": round(self.behind_s, 2),
                "gaps": [[a, b] for a, b in self.gaps],
                "language": self.language_code,
                "limit": self.limited,
                "final": self.final,
            }

    # ------------------------------------------------------------------------------------------------- from the worker

    def listen(self) -> None:
        """Bring what has arrived to the policy: whole windows, and the rest when the end is reached."""
        with self._lock:
            arrived, self._inbox = self._inbox, []
            ended = self.ends_at is not None and self.received >= self.ends_at
            self._sound = np.concatenate([self._sound, *arrived])
        new = self._sound[self.policy.n_samples - self._sound_from :]
        if ended and new.size % WINDOW:
            padding = np.zeros(-new.size % WINDOW, np.int16)
            self._sound, new = np.concatenate([self._sound, padding]), np.concatenate([new, padding])
        probabilities = self._detector(_float(new[: new.size - new.size % WINDOW])).tolist()
        with self._lock:
            self.policy.insert(probabilities)
            if len(self.policy.lines) > self._n_lines:  # a pause came after all had been heard
                self._tell_news()
            self._forget()
            if ended:
                self._all_heard = True
                self.policy.end_input()
                self.final = not self.policy.busy

    def _forget(self) -> None:
        drop = self.policy.sound_from - self._sound_from
        if drop > 0:
            self._sound = self._sound[drop:].copy()
            self._sound_from += drop

    def sound(self, request: DecodeRequest) -> np.ndarray:
        """The waveform of a pass with what it hears again, float32."""
        return _float(self._sound[request.heard_from - self._sound_from : request.end - self._sound_from])

    def accept(self, request: DecodeRequest, hypothesis: Hypothesis, *, show_tentative: bool = True) -> None:
        """Take what a pass heard, and tell what is new."""
        with self._lock:
            self._show_tentative = show_tentative
            self.policy.accept(request, hypothesis)
            self._forget()
            self._tell_news()
            self.final = self._all_heard and not self.policy.busy

    def _tell_news(self) -> None:
        """Make events of what was committed since, and show what is tentative now."""
        for line in self.policy.lines[self._n_lines :]:
            self._tell(line)
            if self._in_line:
                self.events.append({"end_s": self._seconds(line.end)})
            self._in_line, self._told = False, max(0, self._told - len(line.text))
        self._n_lines = len(self.policy.lines)
        if line := self.policy.open_line:
            self._tell(line, self.policy.tentative)
        self.tentative = self._written(self.policy.tentative) if self._show_tentative else ""

    def _tell(self, line: Line, tentative: str = "") -> None:
        new = line.text[self._told :]
        if not new:
            return
        if not self._in_line:
            language = self.language_code
            self.events.append({"start_s": self._seconds(line.start), "before": line.before, "language": language})
        self.events.append({"text": self._written(new)})
        # How long after it was said: characters are taken to be spread evenly over what was listened to.
        middle = (self._told + len(line.text)) / 2 / len(line.text + tentative)
        said = self.begin + line.start + (line.end - line.start) * middle
        self.delays_s.append((self.received - said) / SAMPLE_RATE)
        self._in_line, self._told = True, len(line.text)

    def _written(self, text: str) -> str:
        return to_script(text, self.script, language=self.language_code)

    def _seconds(self, sample: int) -> float:
        return round((self.begin + sample) / SAMPLE_RATE, 2)


def _float(sound: np.ndarray) -> np.ndarray:
    return sound.astype(np.float32) / 32768
