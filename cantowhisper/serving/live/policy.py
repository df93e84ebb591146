"""When to listen again, and which characters stay: the policy of live transcription.

Pure: no audio, threads or clocks. It is told how likely each 32 ms is speech, says which stretch of samples to
recognise next, and is told what was heard. Text is agreed by LocalAgreement-2 (Macháček et al. 2023, "Turning
Whisper into a real-time transcription system"): what two passes in a row say is committed and never changes. Unlike
there, characters are compared instead of words, both passes must be sure of them or all passes over `agree_s` of new
sound agree, a pause commits everything, a pass is given the committed characters as its beginning (so it only writes
what is new, and cannot contradict them), and no timestamps of the model are used.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from cantowhisper.serving import hallucination
from cantowhisper.serving.live.agreement import Heard, common, letters_of
from cantowhisper.serving.live.options import LiveOptions
from cantowhisper.serving.segments import WINDOW
from cantowhisper.speech.mel import SAMPLE_RATE

CHARACTERS_PER_SECOND = 25  # of the fastest English with its spaces; Cantonese has at most 8
CHARACTERS_TO_SPARE = 16
UNFINISHED = "\ufffd"  # what a decoder writes for a part of a character's UTF-8 bytes


class Pass(NamedTuple):
    """One recognition to do: samples start to end, going on from `known`; a final one is never left out."""

    start: int
    end: int
    known: str
    final: bool


class Line(NamedTuple):
    """Text that is done: where it was said, and what stands before it ("" when it goes on within a sentence)."""

    start: int
    end: int
    text: str
    before: str


@dataclass
class _Stretch:
    """Speech between two pauses: what is still listened to, and what is known of it."""

    start: int
    before: str  # what stands between this text and the one before it
    end: int | None = None  # None as long as it goes on
    voice_end: int = 0  # end of the last window with a voice
    peaked: bool = False  # whether it was ever surely speech
    committed: str = ""
    tentative: str = ""
    said_since: list[int] = field(
        default_factory=list
    )  # of each letter of `tentative`: end of the first pass to say it
    n_sure: int = 0  # so many letters of `tentative` the last pass was sure of
    heard_to: int = 0  # end of the last pass
    understood: bool = False  # whether that pass was believed
    heard: list[tuple[int, int]] = field(default_factory=list)  # of each pass: its end, and how many characters by then


class LivePolicy:
    """One speaker's session. `insert` windows, `process` what is due, `finish`.

    `lines` and `committed` only ever grow; `tentative` may change with every pass.
    """

    def __init__(self, options: LiveOptions | None = None, *, known: str = ""):
        """known: text that was committed before of the speech that comes first (another policy had begun it)."""
        self.options = options or LiveOptions()
        self._known = known
        self.n_samples = 0
        self.lines: list[Line] = []
        self._stretches: deque[_Stretch] = deque()  # all but the last one have ended
        self._probabilities: deque[float] = deque(maxlen=int(self.options.max_buffer_s * SAMPLE_RATE / WINDOW) + 1)
        self._free_from = 0  # no stretch reaches back behind this

    # ------------------------------------------------------------------------------------------- what is known

    @property
    def open_line(self) -> Line | None:
        """The line that has not ended, with its committed text."""
        if not self._stretches:
            return None
        stretch = self._stretches[0]
        return Line(stretch.start, stretch.heard_to, stretch.committed, stretch.before)

    @property
    def committed(self) -> str:
        """All text that will not change."""
        line = self.open_line
        return f"{self.finished}{line.before + line.text if line and line.text else ''}".lstrip()

    @property
    def committed_to(self) -> int:
        """All speech before this sample has its final text."""
        if not self._stretches:
            return self.n_samples
        stretch = self._stretches[0]
        return max([stretch.start, *(end for end, n in stretch.heard if n <= len(stretch.committed))])

    @property
    def finished(self) -> str:
        """Text of the lines that have ended."""
        return "".join(line.before + line.text for line in self.lines)

    @property
    def tentative(self) -> str:
        """The tail that may still change."""
        return self._stretches[0].tentative if self._stretches else ""

    @property
    def needed_from(self) -> int:
        """Samples before this one are never asked for again."""
        before_speech = max(self.n_samples - self._samples(self.options.speech.pad_s), self._free_from)
        return self._stretches[0].start if self._stretches else before_speech

    @property
    def behind(self) -> int:
        """Samples of speech that no pass has heard yet."""
        reached = ((s.end or s.voice_end) - max(s.heard_to, s.start) for s in self._stretches if s.peaked)
        return sum(max(0, samples) for samples in reached)

    @property
    def busy(self) -> bool:
        """Whether there is speech that has not had its final pass."""
        return bool(self._stretches)

    @property
    def speaking(self) -> bool:
        """Whether somebody is in the middle of a stretch."""
        return bool(self._stretches) and self._stretches[-1].end is None

    # ------------------------------------------------------------------------------------------- where speech is

    def insert(self, probabilities: Iterable[float]) -> None:
        """Take the next windows of 512 samples: for each, how likely it is speech (0 to 1)."""
        for probability in probabilities:
            self.n_samples += WINDOW
            self._probabilities.append(probability)
            if self.speaking:
                self._go_on(self._stretches[-1], probability)
            elif probability >= self.options.speech.speech_threshold:
                start = max(self.n_samples - WINDOW - self._samples(self.options.speech.pad_s), self._free_from)
                known, self._known = self._known, ""
                self._stretches.append(_Stretch(start, "" if known else "\n", committed=known, heard_to=start))
                self._go_on(self._stretches[-1], probability)

    def _go_on(self, stretch: _Stretch, probability: float) -> None:
        speech = self.options.speech
        stretch.peaked = stretch.peaked or probability >= speech.peak_threshold
        if probability >= speech.silence_threshold:
            stretch.voice_end = self.n_samples
        short = stretch.voice_end - stretch.start < self._samples(speech.short_s + speech.pad_s)
        pause = self.options.short_pause_s if short else speech.min_pause_s
        if self.n_samples - stretch.voice_end >= self._samples(pause):
            self._end(stretch, min(stretch.voice_end + self._samples(speech.pad_s), self.n_samples))
            if stretch.understood and stretch.heard_to == stretch.end:  # the pass that a pause asks for has been made
                self._close(stretch, stretch.tentative)
        elif self.n_samples - stretch.start > self._samples(self.options.max_buffer_s) - WINDOW:
            cut = self._softest(stretch.start + self._samples(self.options.max_buffer_s / 2), self.n_samples - WINDOW)
            self._end(stretch, cut)
            self._stretches.append(self._rest(cut, stretch.voice_end))

    def _rest(self, cut: int, voice_end: int) -> _Stretch:
        """What follows a cut through speech."""
        since = list(self._probabilities)[(cut - self.n_samples) // WINDOW or len(self._probabilities) :]
        peaked = any(probability >= self.options.speech.peak_threshold for probability in since)
        return _Stretch(cut, " ", voice_end=max(cut, voice_end), peaked=peaked, heard_to=cut)

    def _end(self, stretch: _Stretch, end: int) -> None:
        stretch.end = self._free_from = end
        if not stretch.peaked:  # a click, a breath: never sure enough to be speech
            self._known = self._stretches.pop().committed

    def _softest(self, first: int, last: int) -> int:
        """The window boundary in [first, last] where a voice is least likely."""
        ends = range(-(-first // WINDOW) * WINDOW, last + 1, WINDOW)
        return min(ends, key=lambda end: self._probabilities[(end - self.n_samples) // WINDOW - 1])

    # ------------------------------------------------------------------------------------------- what was said

    def due(self, *, step_s: float) -> Pass | None:
        """The next pass: over a stretch that has ended, or over one that goes on: every `step_s` of new speech, and as
        soon as it seems to end. An infinite step means no passes but those of stretches that have ended."""
        if not self._stretches:
            return None
        first = self._stretches[0]
        if first.end is not None:
            return Pass(first.start, first.end, first.committed, True)
        new, pause_from = first.voice_end - first.heard_to, first.voice_end + self._samples(self.options.speech.pad_s)
        if not first.peaked or new <= 0 or step_s == math.inf:
            return None
        if self.n_samples >= pause_from:  # perhaps a pause: the pass that it would ask for, without waiting for it
            return Pass(first.start, pause_from, first.committed, False)
        return Pass(first.start, self.n_samples, first.committed, False) if new / SAMPLE_RATE >= step_s else None

    def process(self, recognise: Callable[[Pass], Heard], *, step_s: float = 1.0) -> bool:
        """Do one pass if one is due. `recognise` returns what follows `known`. Returns whether there was one."""
        wanted = self.due(step_s=step_s)
        if wanted:
            self.accept(wanted, recognise(wanted))
        return wanted is not None

    def finish(self, recognise: Callable[[Pass], Heard]) -> None:
        """No more sound will come: a last pass over everything that has not had its final one."""
        self.end_input()
        while self.process(recognise):
            continue

    def end_input(self) -> None:
        """End the stretch that goes on, as a pause would."""
        if self.speaking:
            self._end(self._stretches[-1], self.n_samples)

    def accept(self, done: Pass, heard: Heard) -> None:
        """Take what a pass heard: commit what it says like those before, or all of it at the end of a stretch."""
        stretch, text = self._stretches[0], heard.text
        stretch.heard_to = done.end
        text = text.replace(UNFINISHED, "") if done.final else text.split(UNFINISHED)[0]
        stretch.understood = not _invented(text, done)
        if done.final:
            self._close(stretch, text if stretch.understood else stretch.tentative)
        elif stretch.understood:
            n_agreed = self._agree(stretch, Heard(text, heard.n_sure), done.end)
            stretch.committed += text[:n_agreed]
            stretch.tentative = text[n_agreed:]
            stretch.heard.append((done.end, len(stretch.committed) + len(stretch.tentative)))
            self._trim(stretch)

    def _close(self, stretch: _Stretch, text: str) -> None:
        """Commit the rest of the first stretch, which has ended."""
        self._stretches.popleft()
        stretch.committed += text
        self._add_line(stretch, stretch.end, len(stretch.committed))

    def _agree(self, stretch: _Stretch, heard: Heard, end: int) -> int:
        """How many characters to commit: two passes were sure of them, or all of the last `agree_s` say so."""
        letters, said = letters_of(heard.text), letters_of(stretch.tentative)
        n_sure = sum(place < heard.n_sure for place, _ in letters)
        same = common(letters, said)
        since = stretch.said_since[:same] + [end] * (len(letters) - same)
        long_ago = end - self._samples(self.options.agree_s)
        n_old = next((i for i, first in enumerate(since[:same]) if first > long_ago), same)
        n = max(n_old, min(same, n_sure, stretch.n_sure))
        stretch.said_since, stretch.n_sure = since[n:], max(0, n_sure - n)
        return letters[n - 1][0] + 1 if n else 0

    def _trim(self, stretch: _Stretch) -> None:
        """Stop listening to the committed beginning of a long stretch.

        Where its last character was said is known without timestamps: a pass that ended at sample e and wrote n
        characters, all committed since, ended right behind the n-th. The softest such e is taken.
        """
        if stretch.end is not None or self.n_samples - stretch.start <= self._samples(self.options.trim_over_s):
            return
        half = stretch.start + self._samples(self.options.trim_over_s / 2)
        places = [(e, n) for e, n in stretch.heard if half <= e < stretch.heard_to and n <= len(stretch.committed)]
        if places:
            end, n = min(places, key=lambda place: self._probabilities[(place[0] - self.n_samples) // WINDOW - 1])
            self._add_line(stretch, end, n)
            stretch.start, stretch.before, stretch.committed = end, "", stretch.committed[n:]
            stretch.heard = [(e, m - n) for e, m in stretch.heard if e > end]

    def _add_line(self, stretch: _Stretch, end: int, n: int) -> None:
        if text := stretch.committed[:n]:
            self.lines.append(Line(stretch.start, end, text, stretch.before))

    @staticmethod
    def _samples(seconds: float) -> int:
        return int(seconds * SAMPLE_RATE)


def _invented(text: str, done: Pass) -> bool:
    """Whether a hypothesis goes round in a loop, or has more characters than anybody can say in its time."""
    most = int((done.end - done.start) / SAMPLE_RATE * CHARACTERS_PER_SECOND) + CHARACTERS_TO_SPARE
    looped = hallucination.repeats(text) or (
        hallucination.repeats(done.known + text) and not hallucination.repeats(done.known)
    )
    return looped or len(text) > most
