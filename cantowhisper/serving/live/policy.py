"""When to listen again, and which characters stay: the policy of live transcription.

Pure: no audio, threads or clocks. It is told how likely each 32 ms is speech, says which samples to
recognise next, and is told what was heard. Committed text never changes: a pass is given it as its beginning, so it
writes only what is new and cannot contradict it. In the middle of speech, witness.py says which characters are
committed; a pause commits everything. No timestamps of the model are used.
"""

import math
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from cantowhisper.serving import hallucination
from cantowhisper.serving.live.agreement import BETWEEN_LINES, DecodeRequest, Hypothesis, implausible
from cantowhisper.serving.live.options import LiveOptions
from cantowhisper.serving.live.witness import Witness
from cantowhisper.serving.segments import WINDOW
from cantowhisper.speech.mel import SAMPLE_RATE
from cantowhisper.speech.text import REPLACEMENT_CHARACTER


class Line(NamedTuple):
    """Text that is done: where it was said, and what stands before it ("" when it goes on within a sentence)."""

    start: int
    end: int
    text: str
    before: str


@dataclass
class _Utterance:
    """Speech between two pauses: what is still listened to, and what is known of it."""

    start: int
    before: str  # what stands between this text and the one before it
    end: int | None = None  # None as long as it goes on
    voice_end: int = 0  # end of the last window with a voice
    peaked: bool = False  # whether it was ever surely speech
    committed: str = ""
    tentative: str = ""
    witness: Witness = field(default_factory=Witness)  # of what is tentative
    decoded_to: int = 0  # end of the last pass
    plausible: bool = False  # whether that pass was believed
    passes: list[tuple[int, int]] = field(default_factory=list)  # end of each, and how many characters by then


class LivePolicy:
    """One speaker's session. `insert` windows, `process` what is due, `finish`.

    `lines` and `committed` only ever grow; `tentative` may change with every pass.
    """

    def __init__(self, options: LiveOptions | None = None, *, prefix: str = ""):
        """prefix: text that was committed before of the speech that comes first (another policy had begun it)."""
        self.options = options or LiveOptions()
        self._prefix = prefix
        self.n_samples = 0
        self.lines: list[Line] = []
        self._utterances: deque[_Utterance] = deque()  # all but the last one have ended
        self._probabilities: deque[float] = deque(maxlen=int(self.options.max_buffer_s * SAMPLE_RATE / WINDOW) + 1)
        self._free_from = 0  # no utterance reaches back behind this

    # ------------------------------------------------------------------------------------------- what is known

    @property
    def open_line(self) -> Line | None:
        """The line that has not ended, with its committed text."""
        if not self._utterances:
            return None
        utterance = self._utterances[0]
        return Line(utterance.start, utterance.decoded_to, utterance.committed, utterance.before)

    @property
    def committed(self) -> str:
        """All text that will not change."""
        line = self.open_line
        return f"{self.finished}{line.before + line.text if line and line.text else ''}".lstrip()

    @property
    def committed_to(self) -> int:
        """All speech before this sample has its final text."""
        if not self._utterances:
            return self.n_samples
        utterance = self._utterances[0]
        return max([utterance.start, *(end for end, n in utterance.passes if n <= len(utterance.committed))])

    @property
    def finished(self) -> str:
        """Text of the lines that have ended."""
        return "".join(line.before + line.text for line in self.lines)

    @property
    def tentative(self) -> str:
        """The tail that may still change."""
        return self._utterances[0].tentative if self._utterances else ""

    @property
    def needed_from(self) -> int:
        """Samples before this one are never asked for again."""
        before_speech = max(self.n_samples - self._samples(self.options.speech.pad_s), self._free_from)
        return self._utterances[0].start if self._utterances else before_speech

    @property
    def sound_from(self) -> int:
        """Sound before this sample is not heard again, not even in front of what is new."""
        end = self._utterances[-1].end or self.n_samples if self._utterances else self.n_samples
        return min(self.needed_from, max(0, end - self._samples(self.options.earlier_s)))

    @property
    def behind(self) -> int:
        """Samples of speech that no pass has heard yet."""
        reached = ((s.end or s.voice_end) - max(s.decoded_to, s.start) for s in self._utterances if s.peaked)
        return sum(max(0, samples) for samples in reached)

    @property
    def busy(self) -> bool:
        """Whether there is speech that has not had its final pass."""
        return bool(self._utterances)

    @property
    def speaking(self) -> bool:
        """Whether somebody is in the middle of an utterance."""
        return bool(self._utterances) and self._utterances[-1].end is None

    # ------------------------------------------------------------------------------------------- where speech is

    def insert(self, probabilities: Iterable[float]) -> None:
        """Take the next windows of 512 samples: for each, how likely it is speech (0 to 1)."""
        for probability in probabilities:
            self.n_samples += WINDOW
            self._probabilities.append(probability)
            if self.speaking:
                self._go_on(self._utterances[-1], probability)
            elif probability >= self.options.speech.speech_threshold:
                start = max(self.n_samples - WINDOW - self._samples(self.options.speech.pad_s), self._free_from)
                prefix, self._prefix = self._prefix, ""
                self._utterances.append(_Utterance(start, "" if prefix else "\n", committed=prefix, decoded_to=start))
                self._go_on(self._utterances[-1], probability)

    def _go_on(self, utterance: _Utterance, probability: float) -> None:
        speech = self.options.speech
        utterance.peaked = utterance.peaked or probability >= speech.peak_threshold
        if probability >= speech.silence_threshold:
            utterance.voice_end = self.n_samples
        short = utterance.voice_end - utterance.start < self._samples(speech.short_s + speech.pad_s)
        pause = self.options.short_pause_s if short else speech.min_pause_s
        if self.n_samples - utterance.voice_end >= self._samples(pause):
            self._end(utterance, min(utterance.voice_end + self._samples(speech.pad_s), self.n_samples))
            if utterance.plausible and utterance.decoded_to == utterance.end:  # a pause asks for no other pass
                self._close(utterance, utterance.tentative)
        elif self.n_samples - utterance.start > self._samples(self.options.max_buffer_s) - WINDOW:
            cut = self._softest(utterance.start + self._samples(self.options.max_buffer_s / 2), self.n_samples - WINDOW)
            self._end(utterance, cut)
            self._utterances.append(self._rest(cut, utterance.voice_end))

    def _rest(self, cut: int, voice_end: int) -> _Utterance:
        """What follows a cut through speech."""
        since = list(self._probabilities)[(cut - self.n_samples) // WINDOW or len(self._probabilities) :]
        peaked = any(probability >= self.options.speech.peak_threshold for probability in since)
        return _Utterance(cut, " ", voice_end=max(cut, voice_end), peaked=peaked, decoded_to=cut)

    def _end(self, utterance: _Utterance, end: int) -> None:
        utterance.end = self._free_from = end
        if not utterance.peaked:  # a click, a breath: never sure enough to be speech
            self._prefix = self._utterances.pop().committed

    def _softest(self, first: int, last: int) -> int:
        """The window boundary in [first, last] where a voice is least likely."""
        ends = range(-(-first // WINDOW) * WINDOW, last + 1, WINDOW)
        return min(ends, key=lambda end: self._probabilities[(end - self.n_samples) // WINDOW - 1])

    # ------------------------------------------------------------------------------------------- what was said

    def due(self, *, step_s: float) -> DecodeRequest | None:
        """The next pass: over an utterance that has ended, or over one that goes on: every `step_s` of new speech, and
        as soon as it seems to end. An infinite step means no passes but those of utterances that have ended."""
        if not self._utterances:
            return None
        first = self._utterances[0]
        if first.end is not None:
            return self._request(first, first.end, final=True)
        new, pause_from = first.voice_end - first.decoded_to, first.voice_end + self._samples(self.options.speech.pad_s)
        if not first.peaked or new <= 0 or step_s == math.inf:
            return None
        if self.n_samples >= pause_from:  # perhaps a pause: the pass that it would ask for, without waiting for it
            return self._request(first, pause_from, final=False)
        if new / SAMPLE_RATE < step_s:
            return None
        return self._request(first, self.n_samples, final=False)

    def _request(self, utterance: _Utterance, end: int, *, final: bool) -> DecodeRequest:
        """A pass with as many of the lines before it as fit into `earlier_s`: a sentence is clearer after another."""
        earliest, lines = end - self._samples(self.options.earlier_s), []
        for line in reversed(self.lines):
            if line.start < earliest or hallucination.repeats(line.text):
                break
            lines.insert(0, line)
        heard = "".join(_in_one_line(line.before) + line.text for line in lines).lstrip()
        if heard and utterance.committed:
            heard += _in_one_line(utterance.before)
        start = utterance.start
        return DecodeRequest(start, end, utterance.committed, final, lines[0].start if heard else start, heard)

    def process(self, recognise: Callable[[DecodeRequest], Hypothesis], *, step_s: float = 1.0) -> bool:
        """Do one pass if one is due. `recognise` returns what follows `prefix`. Returns whether there was one."""
        request = self.due(step_s=step_s)
        if request:
            self.accept(request, recognise(request))
        return request is not None

    def finish(self, recognise: Callable[[DecodeRequest], Hypothesis]) -> None:
        """No more sound will come: a last pass over everything that has not had its final one."""
        self.end_input()
        while self.process(recognise):
            continue

    def end_input(self) -> None:
        """End the utterance that goes on, as a pause would."""
        if self.speaking:
            self._end(self._utterances[-1], self.n_samples)

    def accept(self, request: DecodeRequest, hypothesis: Hypothesis) -> None:
        """Take what a pass heard: commit what is final of it, or all of it at the end of an utterance."""
        utterance, text = self._utterances[0], hypothesis.text
        utterance.decoded_to = request.end
        if request.heard and not request.prefix:  # the line begins here: no space or comma after the one before
            text = text.lstrip(BETWEEN_LINES)
            hypothesis = hypothesis.without_first(len(hypothesis.text) - len(text))
        text = text.replace(REPLACEMENT_CHARACTER, "") if request.final else text.split(REPLACEMENT_CHARACTER)[0]
        utterance.plausible = not implausible(text, request)
        if request.final:
            self._close(utterance, text if utterance.plausible else utterance.tentative)
        elif utterance.plausible:
            heard = hypothesis._replace(text=text)
            n_final = utterance.witness.n_final(heard, utterance.tentative, request.end, self.options)
            utterance.committed += text[:n_final]
            utterance.tentative = text[n_final:]
            utterance.passes.append((request.end, len(utterance.committed) + len(utterance.tentative)))
            self._trim(utterance)

    def _close(self, utterance: _Utterance, text: str) -> None:
        """Commit the rest of the first utterance, which has ended."""
        self._utterances.popleft()
        utterance.committed += text
        self._add_line(utterance, utterance.end, len(utterance.committed))

    def _trim(self, utterance: _Utterance) -> None:
        """Stop listening to the committed beginning of a long utterance.

        Where its last character was said is known without timestamps: a pass that ended at sample e and wrote n
        characters, all committed since, ended right behind the n-th. The softest such e is taken.
        """
        if utterance.end is not None or self.n_samples - utterance.start <= self._samples(self.options.trim_over_s):
            return
        half = utterance.start + self._samples(self.options.trim_over_s / 2)
        n_committed = len(utterance.committed)
        places = [(e, n) for e, n in utterance.passes if half <= e < utterance.decoded_to and n <= n_committed]
        if places:
            end, n = min(places, key=lambda place: self._probabilities[(place[0] - self.n_samples) // WINDOW - 1])
            self._add_line(utterance, end, n)
            utterance.start, utterance.before, utterance.committed = end, "", utterance.committed[n:]
            utterance.passes = [(e, m - n) for e, m in utterance.passes if e > end]

    def _add_line(self, utterance: _Utterance, end: int, n: int) -> None:
        if text := utterance.committed[:n]:
            self.lines.append(Line(utterance.start, end, text, utterance.before))

    @staticmethod
    def _samples(seconds: float) -> int:
        return int(seconds * SAMPLE_RATE)


def _in_one_line(before: str) -> str:
    return before.replace("\n", " ")
