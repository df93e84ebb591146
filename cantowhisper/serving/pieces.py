"""The pieces of one recording, decoded: what was written, what speaks against it, a second try where it looped.

Neighbouring pieces may be decoded together, as a chunk: Whisper then hears each sentence with those around it, and
writes when each begins and ends. A chunk whose text is empty or goes round in a loop is decoded again piece by piece,
and so are pieces after the point where its text stops.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from cantowhisper.contracts import DecodingOptions, Segment
from cantowhisper.serving import hallucination
from cantowhisper.serving.batches import Job, batches
from cantowhisper.serving.characters import character_times
from cantowhisper.serving.engines.engine import Decoded, Engine
from cantowhisper.serving.engines.timestamps import Passage
from cantowhisper.serving.engines.vocabulary import Vocabulary
from cantowhisper.serving.engines.words import Words
from cantowhisper.serving.segments import Span
from cantowhisper.speech.context import Context, Windows, phrase_tokens, stack, token_budget
from cantowhisper.speech.mel import SAMPLE_RATE, log_mel, n_frames, pad_to
from cantowhisper.speech.ngram import FUSION_BEAM, NGram
from cantowhisper.speech.text import normalize

# A second try for a piece that looped. Whisper draws at a higher temperature there; a wider search to which repeating
# costs something breaks loops too, and gives the same text every time.
SECOND_TRY_BEAM = 5
REPETITION_PENALTY = 1.3
TIMESTAMPS_A_PIECE = 4  # tokens: a sentence costs two, and a piece may hold two sentences
HEARD_S = 0.2  # a piece that begins this little before a chunk's text ends was not heard in it


@dataclass(frozen=True)
class Attempt:
    """One decoding of a piece. `looped`: it repeats itself, or was still going when its tokens were used up."""

    text: str
    confidence: float
    looped: bool
    retried: bool = False

    def segment(self, span: Span) -> Segment:
        """The piece as it is given out, with what speaks against its text."""
        signs = {
            "repetition": self.looped,
            "second_try": self.retried,
            "low_confidence": self.confidence < hallucination.MIN_CONFIDENCE,
            "no_voice_detected": span.by_level,
        }
        return Segment(
            start_s=span.start / SAMPLE_RATE,
            end_s=span.end / SAMPLE_RATE,
            text=self.text,
            confidence=self.confidence,
            flags=tuple(name for name, seen in signs.items() if seen),
            speaker=span.speaker,
        )


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """A recording on its way to text.

    waveform : float32, shape (n_samples,), 16 kHz
    prompt : of a transcript without timestamps
    language : the code by whose script budgets are set
    """

    engine: Engine
    vocabulary: Vocabulary
    context: Context
    waveform: np.ndarray
    prompt: list[int]
    language: str
    beam_size: int = 1
    words: Words | None = None  # that are favoured
    language_model: NGram | None = None  # of the language that is spoken

    def job(self, *spans: Span) -> Job:
        """What there is to do for a piece, or for neighbouring pieces as a chunk."""
        whole = spans[0]._replace(end=spans[-1].end)
        window = self.context.window(n_frames(whole.end - whole.start))
        return Job(spans, window, token_budget(whole.seconds, language=self.language))

    def decode(self, batch: list[Job]) -> list[list[Segment]]:
        """The segments of each job in time order; pieces without text are left out."""
        found = self._decode_chunks(batch) if batch[0].is_chunk else self._decode_alone(batch)
        return [[segment for segment in segments if segment.text] for segments in found]

    def decode_after(self, job: Job, prefix: list[int], *, attention: bool = False) -> Decoded:
        """What follows the tokens `prefix`, which are text already, in one piece; as it comes, without a second try.

        attention : also where that of each token peaks
        """
        options = DecodingOptions(
            max_new_tokens=max(1, job.budget - len(prefix)),
            suppress_tokens=self.vocabulary.suppressed,
            prefix_length=len(prefix),
            peaks_in_frames=n_frames(job.span.end - job.span.start) if attention else None,
            **self._search(),
        )
        (decoded,) = self.engine.decode(*self.inputs([job]), [*self.prompt, *prefix], options)
        return decoded

    def first_probabilities(self, job: Job) -> np.ndarray:
        """Of the token with which the model begins, (vocabulary,): a language, or nobody speaks."""
        return self.engine.first_probabilities(*self.inputs([job]), self.prompt[0])[0]

    def characters(self, segment: Segment) -> tuple[tuple[str, float, float], ...]:
        """(character, start, end) in seconds of the recording for each character of a segment."""
        ids = self.vocabulary.encode(segment.text)
        span = Span(round(segment.start_s * SAMPLE_RATE), round(segment.end_s * SAMPLE_RATE))
        times = [0.0]
        if ids:
            n = n_frames(span.end - span.start)
            times = self.engine.align(*self.inputs([self.job(span)]), self.prompt, ids, n_frames=n)
        at = [min(segment.start_s + t, segment.end_s) for t in times]
        return tuple(character_times(self.vocabulary.decode, ids, at))

    def _search(self) -> dict:
        """How a text is searched for, as DecodingOptions takes it."""
        beam_size = max(self.beam_size, FUSION_BEAM) if self.language_model else self.beam_size
        return {"beam_size": beam_size, "words": self.words, "language_model": self.language_model}

    def _decode_alone(self, batch: list[Job]) -> list[list[Segment]]:
        options = DecodingOptions(
            max_new_tokens=max(job.budget for job in batch),
            suppress_tokens=self.vocabulary.suppressed,
            **self._search(),
        )
        decoded = self.engine.decode(*self.inputs(batch), self.prompt, options)
        found = []
        for job, one in zip(batch, decoded, strict=True):
            attempt = self._judge(job, one)
            if attempt.looped and self.language_model:  # which holds what was said often to be likely
                alone = replace(options, beam_size=self.beam_size, language_model=None, max_new_tokens=job.budget)
                (one,) = self.engine.decode(*self.inputs([job]), self.prompt, alone)
                attempt = self._judge(job, one)
            if attempt.looped:
                attempt = self._second_try(job, attempt)
            found.append([] if self._is_invented(job, attempt) else [attempt.segment(job.span)])
        return found

    def _decode_chunks(self, batch: list[Job]) -> list[list[Segment]]:
        options = DecodingOptions(
            max_new_tokens=max(job.budget + TIMESTAMPS_A_PIECE * len(job.spans) for job in batch),
            suppress_tokens=self.vocabulary.suppressed_but_timestamps,
            first_timestamp=self.vocabulary.timestamps.first,
            **self._search(),
        )
        decoded = self.engine.decode(*self.inputs(batch), self.prompt[:-1], options)
        found, places, alone = [], [], []
        for place, (job, one) in enumerate(zip(batch, decoded, strict=True)):
            passages = self.vocabulary.timestamps.passages(one.token_ids, one.log_probs)
            segments = list(self._passage_segments(job, passages))
            if self._is_doubtful(job, one, segments):
                segments = []
            until = segments[-1].end_s - HEARD_S if segments else 0.0
            left = [span for span in job.spans if not segments or span.start / SAMPLE_RATE >= until]
            places += [place] * len(left)
            alone += [self.job(span) for span in left]
            found.append(segments)
        again = chain.from_iterable(map(self._decode_alone, batches(alone)))
        for place, segments in zip(places, again, strict=True):
            found[place] += segments
        return [sorted(segments, key=lambda segment: segment.start_s) for segments in found]

    def _passage_segments(self, job: Job, passages: list[Passage]) -> Iterator[Segment]:
        start_s, end_s = job.span.start / SAMPLE_RATE, job.span.end / SAMPLE_RATE
        for passage in passages:
            ends = end_s if passage.end_s is None else min(start_s + passage.end_s, end_s)
            begins = min(start_s + passage.start_s, ends)
            confidence = float(np.exp(np.mean(passage.log_probs)))
            text = normalize(self.vocabulary.decode(self.vocabulary.text_ids(passage.token_ids)))
            flags = ("low_confidence",) if confidence < hallucination.MIN_CONFIDENCE else ()
            if text:
                yield Segment(begins, ends, text, confidence, flags, speaker=job.span.speaker)

    def _is_doubtful(self, job: Job, decoded: Decoded, segments: list[Segment]) -> bool:
        """Whether a chunk's text is worth less than that of its pieces: a loop, no end, or an invention."""
        texts = [segment.text for segment in segments]
        n = len(self.vocabulary.text_ids(decoded.token_ids))
        return (
            n >= job.budget or hallucination.repeats("".join(texts)) or any(map(hallucination.known_invention, texts))
        )

    def _is_invented(self, job: Job, attempt: Attempt) -> bool:
        """Whether text is to be dropped, for want of evidence that somebody speaks.

        Where VAD heard no voice, loudness alone made the piece: the model must be sure of it. Elsewhere only text that
        Whisper is known to invent is asked for evidence.
        """
        if job.span.by_level:
            unsure = attempt.confidence < hallucination.MIN_CONFIDENCE_WITHOUT_VOICE
            return attempt.looped or attempt.retried or unsure or self._nobody_speaks(job)
        if not hallucination.known_invention(attempt.text) or attempt.retried:
            return False
        return attempt.confidence < hallucination.MIN_CONFIDENCE or self._nobody_speaks(job)

    def _nobody_speaks(self, job: Job) -> bool:
        token = self.vocabulary.nobody_speaks
        return token is not None and self.first_probabilities(job)[token] > hallucination.NO_SPEECH

    def _second_try(self, job: Job, first: Attempt) -> Attempt:
        """Decode a piece once more, by a search that avoids repetition."""
        options = DecodingOptions(
            max_new_tokens=job.budget,
            suppress_tokens=self.vocabulary.suppressed,
            beam_size=SECOND_TRY_BEAM,
            repetition_penalty=REPETITION_PENALTY,
            no_repeat_ngram_size=phrase_tokens(self.language),
            words=self.words,
        )
        (decoded,) = self.engine.decode(*self.inputs([job]), self.prompt, options)
        second = self._judge(job, decoded)
        better = second if not second.looped or len(second.text) < len(first.text) else first
        return replace(better, retried=True)

    def _judge(self, job: Job, decoded: Decoded) -> Attempt:
        ids = self.vocabulary.text_ids(decoded.token_ids)
        text = normalize(self.vocabulary.decode(ids[: job.budget]))
        looped = len(ids) >= job.budget or hallucination.repeats(text)
        return Attempt(text, min(float(np.exp(decoded.mean_log_prob)), 1.0), looped)

    def inputs(self, jobs: list[Job]) -> tuple[np.ndarray, Windows]:
        """What an engine takes for these jobs: log-Mels and windows."""
        windows = stack([job.window for job in jobs])
        sounds = (self.waveform[job.span.start : job.span.end] for job in jobs)
        mels = [log_mel(sound, n_mels=self.engine.n_mels, engine="numpy") for sound in sounds]
        return np.stack([pad_to(mel, windows.n_frames) for mel in mels]), windows
