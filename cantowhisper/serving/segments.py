"""Where speech is in a recording: voice activity, cut at pauses into pieces of about a sentence.

Silence is never shown to the model by itself (it invents text there), and a piece is as short as the clips that models
are tuned on. No text is carried over from one to the next, so one bad piece stays one bad piece. A stock model hears
neighbouring pieces together (batches.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from cantowhisper.contracts import UsageError
from cantowhisper.options import Options, option
from cantowhisper.speech.mel import CHUNK_SECONDS, SAMPLE_RATE

WINDOW = 512  # samples that silero VAD judges at a time: 32 ms at 16 kHz
_BLOCK_WINDOWS = 18_750  # ten minutes: bounds the memory of a long recording, and the cost of one cut is nothing
_SOFT_DBFS, _USUAL_DBFS = -45.0, -22.0  # loudest parts of a recording that is made louder, and of one as people make
_DRAWN_NEAR = 0.5  # a cut of over-long speech is looked for in this last share of the allowed length


@dataclass(frozen=True)
class SegmentOptions(Options):
    """How speech is found and cut.

    The defaults were set on 95 Common Voice sentences joined with 0.6 s of silence (found: 95 pieces, 98.9 % of the
    time in which there is sound) and on espeak-ng's Cantonese voices.
    """

    stage = "finding speech"

    speech_threshold: float = option(
        0.35, "silero's usual 0.5 starts late on soft and synthetic voices", unit="probability", least=0, most=1
    )
    peak_threshold: float = option(
        0.5, "… but somewhere it must be reached: white noise alone comes to 0.43", unit="probability", least=0, most=1
    )
    silence_threshold: float = option(
        0.2,
        "lower than where speech starts, so that a dip inside a word does not end it",
        unit="probability",
        least=0,
        most=1,
    )
    min_pause_s: float = option(0.4, "people pause this long between sentences, seldom within", unit="seconds", least=0)
    min_speech_s: float = option(0.1, "shorter than any syllable: a click", unit="seconds", least=0)
    pad_s: float = option(
        0.25,
        "kept around speech: silero finds onsets late, and tuning clips start with some silence",
        unit="seconds",
        least=0,
    )
    short_s: float = option(
        1.2,
        "a piece shorter than this is hard to understand alone: it joins a neighbour …",
        unit="seconds",
        least=0,
    )
    join_gap_s: float = option(0.8, "… if that is this near (between the padded pieces) …", unit="seconds", least=0)
    joined_max_s: float = option(
        10.0,
        "… and both together stay as long as tuning clips are (Common Voice: 2-10 s)",
        unit="seconds",
        above=0,
    )
    max_segment_s: float = option(
        15.0,
        "longer than nearly all tuning clips; never more than Whisper's window",
        unit="seconds",
        above=0,
        most=CHUNK_SECONDS,
    )
    silent_below_dbfs: float = option(
        -80.0, "a recording whose loudest parts are softer than this is silent", unit="dB of full scale", most=0
    )
    min_level_range_db: float = option(
        12.0, "speech rises and falls by more; steady noise does by 2-3 dB", unit="dB", least=0
    )

    def check(self) -> None:
        if self.joined_max_s > self.max_segment_s:
            raise UsageError("joined_max_s is over max_segment_s: what is joined would be cut again")
        if self.silence_threshold > self.speech_threshold:
            raise UsageError("silence_threshold is over speech_threshold: speech would end where it begins")


class Span(NamedTuple):
    """A piece of a recording, in samples at 16 kHz; `by_level` when VAD heard no speech and loudness was used.

    speaker : a number from 1, or 0 where speakers were not asked for
    """

    start: int
    end: int
    by_level: bool = False
    speaker: int = 0

    @property
    def seconds(self) -> float:
        return (self.end - self.start) / SAMPLE_RATE


def find_segments(waveform: np.ndarray, options: SegmentOptions | None = None) -> list[Span]:
    """Pieces of speech in time order, not overlapping, inside the recording, each at most `max_segment_s` long.

    Parameters
    ----------
    waveform : float32, shape (n_samples,), 16 kHz

    Returns
    -------
    list of Span; empty for a silent recording and for steady noise
    """
    options = options or SegmentOptions()
    if waveform.size == 0:
        return []
    levels = window_levels(waveform)
    if np.percentile(levels, 99) < options.silent_below_dbfs:
        return []
    runs, by_level = _runs(speech_probabilities(waveform), options), False
    if not runs:
        # Whispered, sung or far-off speech, or a synthetic voice: trim by loudness rather than answer nothing.
        runs, by_level = _runs(_louder_than_background(waveform, options), options), True
    if not runs:
        return []
    spans = [Span(start * WINDOW, min(end * WINDOW, waveform.size), by_level) for start, end in runs]
    spans = _join_short(_pad(spans, waveform.size, options), options)
    return [piece for span in spans for piece in _cut_long(span, levels, options)]


def audible(waveform: np.ndarray, options: SegmentOptions) -> np.ndarray:
    """A soft recording made as loud as most are; others, and silence, as they are. float32, shape (n_samples,).

    VAD hears nothing at -60 dBFS, and log_mel takes what is softer than 1e-10 for silence.
    """
    if not waveform.size:
        return waveform
    loud = float(np.percentile(window_levels(waveform), 99))
    if not options.silent_below_dbfs <= loud < _SOFT_DBFS:
        return waveform
    return np.clip(waveform * np.float32(10 ** ((_USUAL_DBFS - loud) / 20)), -1, 1)


def speech_probabilities(waveform: np.ndarray) -> np.ndarray:
    """Silero VAD (snakers4/silero-vad, the ONNX file in faster-whisper's package).

    Returns float32, shape (ceil(n_samples / 512),): for each 32 ms the probability that somebody speaks.
    """
    from faster_whisper.vad import get_vad_model  # 0.3 s to import, and only recognition needs it

    model = get_vad_model()
    blocks = []
    for start in range(0, waveform.size, _BLOCK_WINDOWS * WINDOW):
        block = waveform[start : start + _BLOCK_WINDOWS * WINDOW]
        blocks.append(model(np.pad(block, (0, -block.size % WINDOW))).reshape(-1))
    return np.concatenate(blocks)


def window_levels(waveform: np.ndarray) -> np.ndarray:
    """Loudness of each 32 ms in dB under full scale (float32, shape (ceil(n_samples / 512),)); -120 for nothing."""
    windows = np.pad(waveform, (0, -waveform.size % WINDOW)).reshape(-1, WINDOW)
    power = np.einsum("ij,ij->i", windows, windows) / WINDOW
    return (10 * np.log10(np.maximum(power, 1e-12))).astype(np.float32)


def _louder_than_background(waveform: np.ndarray, options: SegmentOptions) -> np.ndarray:
    """1 where a window stands out of the recording's own background, else 0; all 0 for steady noise."""
    # The difference of neighbouring samples leaves out rumble and wind, which swell and fade without any speech.
    levels = window_levels(np.diff(waveform, prepend=waveform[:1]))
    background, loud = np.percentile(levels, (10, 95))
    if loud - background < options.min_level_range_db:
        return np.zeros_like(levels)
    floor = max(background + 0.3 * (loud - background), loud - 35)
    return (levels > floor).astype(np.float32)


def _runs(probabilities: np.ndarray, options: SegmentOptions) -> list[tuple[int, int]]:
    """(first window, window after the last) of each stretch of speech; pauses under `min_pause_s` do not end one."""
    min_pause, min_speech = (s * SAMPLE_RATE / WINDOW for s in (options.min_pause_s, options.min_speech_s))
    runs, start, last = [], None, 0
    for window, probability in enumerate(probabilities):
        if start is None:
            if probability >= options.speech_threshold:
                start, last = window, window
        elif probability >= options.silence_threshold:
            last = window
        elif window - last >= min_pause:
            runs.append((start, last + 1))
            start = None
    if start is not None:
        runs.append((start, last + 1))
    reached = options.peak_threshold
    return [(a, b) for a, b in runs if b - a >= min_speech and probabilities[a:b].max() >= reached]


def _pad(spans: list[Span], n_samples: int, options: SegmentOptions) -> list[Span]:
    """Widen each piece by `pad_s`; neighbours that are nearer than that share the pause."""
    pad = int(options.pad_s * SAMPLE_RATE)
    edges = [0, *((a.end + b.start) // 2 for a, b in pairwise(spans)), n_samples]
    return [
        span._replace(start=max(span.start - pad, before), end=min(span.end + pad, after))
        for span, (before, after) in zip(spans, pairwise(edges), strict=True)
    ]


def _join_short(spans: list[Span], options: SegmentOptions) -> list[Span]:
    """Join a short piece with the one before it or after it, if that is near and the result not too long."""
    joined: list[Span] = []
    for span in spans:
        if joined and min(span.seconds, joined[-1].seconds) < options.short_s:
            gap_s = (span.start - joined[-1].end) / SAMPLE_RATE
            both = joined[-1]._replace(end=span.end)
            if gap_s <= options.join_gap_s and both.seconds <= options.joined_max_s:
                joined[-1] = both
                continue
        joined.append(span)
    return joined


def _cut_long(span: Span, levels: np.ndarray, options: SegmentOptions) -> Iterator[Span]:
    """Cut speech without pauses at its softest 160 ms in the second half of the allowed length."""
    limit = int(options.max_segment_s * SAMPLE_RATE)
    while span.end - span.start > limit:
        first, last = (span.start + int(limit * _DRAWN_NEAR)) // WINDOW, (span.start + limit) // WINDOW
        smooth = np.convolve(levels[first:last], np.full(5, 0.2), mode="valid")
        cut = min((first + 2 + int(smooth.argmin())) * WINDOW + WINDOW // 2, span.start + limit)
        yield span._replace(end=cut)
        span = span._replace(start=cut)
    yield span
