"""Play recordings into the live engine as microphones would, and measure how late the text comes.

The real clock waits for each chunk. The simulated one jumps: it goes on by the time that passes really take, and to
the next chunk when there is nothing to do. So both count computation, and a replay is as late as a live session.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cantowhisper.contracts import UsageError
from cantowhisper.serving.live.agreement import common_prefix_length
from cantowhisper.serving.live.engine import LiveEngine
from cantowhisper.speech.mel import SAMPLE_RATE

CHUNK_S = 0.25  # as the page sends


class SimulatedClock:
    """Seconds that pass only when told to."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@dataclass
class Track:
    """One replayed recording: what was shown when. Times are the clock's, minus the recording's start."""

    name: str
    lines: list[dict] = field(default_factory=list)  # start_s, end_s, text, first_shown_s, characters_s, done_s
    final_s: float = 0.0
    seen: int = 0
    tentative: str = ""
    tentative_from_s: float | None = None
    shown_tentative: int = 0
    revised_tentative: int = 0
    view: dict = field(default_factory=dict)

    @property
    def text(self) -> str:
        """All text, a line an utterance."""
        return "\n".join(line["text"].strip() for line in self.lines)

    def take(self, now_s: float, view: dict) -> None:
        """Note what is new in a view."""
        new = "".join(event.get("text", "") for event in view["events"])
        self._count_revisions(new + view["tentative"])
        if view["tentative"] and self.tentative_from_s is None:
            self.tentative_from_s = now_s
        for event in view["events"]:
            self._event(now_s, event)
        self.shown_tentative += len(view["tentative"]) if view["tentative"] != self.tentative else 0
        self.seen, self.tentative, self.view = view["seen"], view["tentative"], view
        if view["final"]:
            self.final_s = now_s

    def _count_revisions(self, now: str) -> None:
        """Tentative characters that another pass wrote otherwise."""
        self.revised_tentative += len(self.tentative) - common_prefix_length(self.tentative, now)

    def _event(self, now_s: float, event: dict) -> None:
        if "start_s" in event:
            self.lines.append({"start_s": event["start_s"], "end_s": None, "text": "", "characters_s": []})
            shown_s = now_s if self.tentative_from_s is None else self.tentative_from_s
            self.lines[-1]["first_shown_s"] = shown_s
            self.tentative_from_s = None
        elif "text" in event:
            self.lines[-1]["text"] += event["text"]
            self.lines[-1]["characters_s"] += [now_s] * len(event["text"])
        else:
            self.lines[-1] |= {"end_s": event["end_s"], "done_s": now_s}
            self.tentative_from_s = None


def replay(
    engine: LiveEngine,
    recordings: Sequence[tuple[str, np.ndarray]],
    *,
    simulated: bool = True,
    language: str | None = None,
    script: str | None = None,
    words: Sequence[str] = (),
    on_time: bool = False,
) -> list[Track]:
    """Play recordings at once, one speaker each, and return a Track of each.

    Parameters
    ----------
    engine : one without a running thread; with `simulated`, its clock is a SimulatedClock
    recordings : (name, float32 waveform at 16 kHz)
    on_time : simulated passes cost no time, so that every one of them is done when it is due
    """
    clock = engine.clock
    if simulated != isinstance(clock, SimulatedClock):
        raise UsageError("a simulated replay needs an engine with a SimulatedClock, a real one any other")
    began_s = clock()
    speakers = [_Speaker(engine, name, wave, language, script, words) for name, wave in recordings]
    while not all(speaker.done for speaker in speakers):
        now_s = clock() - began_s
        for speaker in speakers:
            speaker.speak(now_s)
        started = time.perf_counter()
        worked = engine.work_once()
        if simulated and worked and not on_time:
            clock.now_s += time.perf_counter() - started
        for speaker in speakers:
            speaker.look(clock() - began_s)
        if not worked:
            _wait(clock, began_s + min((s.next_s for s in speakers if not s.done), default=0.0), simulated)
    return [speaker.track for speaker in speakers]


def _wait(clock, until_s: float, simulated: bool) -> None:
    if simulated:
        clock.now_s = max(clock.now_s, until_s)
    else:
        time.sleep(max(0.0, until_s - clock()))


class _Speaker:
    def __init__(self, engine: LiveEngine, name: str, waveform: np.ndarray, language, script, words):
        self._engine, self.track = engine, Track(name)
        self._sound = (np.clip(waveform, -1, 1) * 32767).astype(np.int16)
        self._session = engine.start(language=language, script=script, words=words)
        if self._session is None:
            raise UsageError(f"the engine takes {engine.limits.max_sessions} speakers at once")
        self._offset = 0
        self.done = False

    @property
    def next_s(self) -> float:
        """When the next chunk has been spoken to its end."""
        if self._offset >= self._sound.size:
            return 0.0
        return min(self._offset + int(CHUNK_S * SAMPLE_RATE), self._sound.size) / SAMPLE_RATE

    def speak(self, now_s: float) -> None:
        """Push every chunk that has been spoken by now."""
        while self._offset < self._sound.size and self.next_s <= now_s + 1e-9:
            chunk = self._sound[self._offset : self._offset + int(CHUNK_S * SAMPLE_RATE)]
            view = self._engine.push(
                self._session,
                self._offset,
                chunk,
                seen=self.track.seen,
                end=self._offset + chunk.size >= self._sound.size,
            )
            self.track.take(now_s, view)
            if view["have"] == self._offset:  # no room: as the page does, say it again later
                return
            self._offset = view["have"]

    def look(self, now_s: float) -> None:
        if not self.done:
            self.track.take(now_s, self._engine.poll(self._session, seen=self.track.seen))
            self.done = self.track.view["final"]
            if self.done:
                self._engine.forget(self._session)


def delays(track: Track, *, spoken: Sequence[tuple[float, float]] | None = None) -> dict[str, list[float]]:
    """How late text came, in seconds: of each character its commit, of each line its first text and its end.

    When a character was said is not known; characters are taken to be spread evenly over their utterance:
    that of the line itself without the padding around it, or the `spoken` (start s, end s) that overlaps it most.
    """
    found = {"commit": [], "first_tentative": [], "final": []}
    for line in track.lines:
        start_s, end_s = _speech_of(line, spoken)
        n = len(line["text"])
        for i, at_s in enumerate(line["characters_s"]):
            found["commit"].append(at_s - (start_s + (end_s - start_s) * (i + 1) / n))
        found["first_tentative"].append(line["first_shown_s"] - start_s)
        found["final"].append(line.get("done_s", track.final_s) - end_s)
    return found


def _speech_of(line: dict, spoken: Sequence[tuple[float, float]] | None) -> tuple[float, float]:
    start_s, end_s = line["start_s"], line["end_s"]
    overlap = lambda piece: min(piece[1], end_s) - max(piece[0], start_s)
    best = max(spoken or (), key=overlap, default=None)
    if best and overlap(best) > 0:
        return max(best[0], start_s), min(best[1], end_s)
    pad_s = min(0.25, (end_s - start_s) / 4)
    return start_s + pad_s, end_s - pad_s


def report(tracks: Sequence[Track], engine: LiveEngine, *, audio_s: float, spoken=None) -> dict:
    """The latency report of a replay, in seconds and shares, ready for JSON."""
    found = [delays(track, spoken=spoken.get(track.name) if spoken else None) for track in tracks]
    together = {name: np.concatenate([one[name] for one in found]) for name in ("commit", "first_tentative", "final")}
    quantile = lambda name, q: round(float(np.percentile(together[name], q)), 3) if together[name].size else None
    shown = sum(track.shown_tentative for track in tracks)
    return {
        "audio_s": round(audio_s, 2),
        "characters": int(together["commit"].size),
        "commit_delay_p50_s": quantile("commit", 50),
        "commit_delay_p95_s": quantile("commit", 95),
        "first_tentative_delay_p50_s": quantile("first_tentative", 50),
        "end_of_speech_to_final_p50_s": quantile("final", 50),
        "end_of_speech_to_final_p95_s": quantile("final", 95),
        "revision_rate": round(sum(track.revised_tentative for track in tracks) / shown, 4) if shown else 0.0,
        "passes": engine.n_passes,
        "compute_s_per_audio_s": round(engine.busy_s / audio_s, 4),
    }
