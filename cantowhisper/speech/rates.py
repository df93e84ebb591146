"""How quickly people speak, and the shortest and softest clips: what a clip must be like to be learned from.

Features reject clips by them, and a page that makes clips of corrected rows leaves the same out.
"""

import hashlib
import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from cantowhisper.speech.language import language_code
from cantowhisper.speech.text import cer_view

Clip = TypeVar("Clip")

MIN_SECONDS = 0.3  # shorter than a spoken syllable with its onset
MIN_PEAK = 1e-3  # of full scale: below -60 dBFS a 16-bit recording has 33 levels left

# Slowest and quickest speech that is believed without other knowledge, in characters a second without spaces and
# punctuation. Read Cantonese has 2 to 8; the bounds leave room for quick talkers, and catch wrong sentences.
CHARACTER_RATES = {"yue": (0.25, 12.0), "zh": (0.25, 12.0), "ja": (0.25, 18.0), "ko": (0.25, 14.0)}
ALPHABETIC = (0.4, 40.0)
SILENCE_SECONDS = 6.0  # that speakers leave before and after: a word by itself ("E?") may take 3 s

# A language with enough clips of known length says itself how quickly it is spoken. Log rates are nearly normal, and
# median and MAD do not mind that a tenth of the texts is wrong. Five deviations leave out one right clip in a million.
ENOUGH_CLIPS = 200
RATED_CLIPS = 400  # of a language, whose lengths say how quickly it is spoken: its median within 2-3 %
DEVIATIONS = 5.0
SMALLEST_DEVIATION = 0.2  # of log rates, a fifth of the rate: one careful voice is not all that will come
NORMAL_MAD = 1.4826  # standard deviations in one median absolute deviation


@dataclass(frozen=True)
class SpeechRate:
    """Characters a second that are believed in a language."""

    slowest: float  # counted without SILENCE_SECONDS
    quickest: float
    n_clips: int = 0  # that it was found with; 0: fixed

    def believes(self, n_characters: int, seconds: float) -> bool:
        spoken_s = max(seconds - SILENCE_SECONDS, 0.0)
        return n_characters >= self.slowest * spoken_s and n_characters <= self.quickest * seconds


def n_characters(text: str) -> int:
    """Characters that are spoken: without spaces and punctuation."""
    return len(cer_view(text, "no_punctuation"))


def fixed_rate(language: str) -> SpeechRate:
    """What is believed of a language, or of any, without having seen its clips."""
    return SpeechRate(*CHARACTER_RATES.get(language_code(language), ALPHABETIC))


def speech_rate(language: str, clips: Sequence[tuple[int, float]]) -> SpeechRate:
    """What is believed of a language's clips, never more than `fixed_rate`.

    Parameters
    ----------
    clips : characters and seconds of some of them; with fewer than ENOUGH_CLIPS it is `fixed_rate`
    """
    fixed = fixed_rate(language)
    if len(clips) < ENOUGH_CLIPS:
        return fixed
    logs = np.log([n / seconds for n, seconds in clips])
    middle = np.median(logs)
    room = DEVIATIONS * max(NORMAL_MAD * float(np.median(np.abs(logs - middle))), SMALLEST_DEVIATION)
    slowest, quickest = float(np.exp(middle - room)), float(np.exp(middle + room))
    return SpeechRate(max(slowest, fixed.slowest), min(quickest, fixed.quickest), len(clips))


def implausible_speed(text: str, seconds: float, language: str, rates: Mapping[str, SpeechRate] | None = None) -> bool:
    """Whether nobody says `text` in so many seconds. rates : by language code; others are `fixed_rate`."""
    rate = (rates or {}).get(language_code(language)) or fixed_rate(language)
    return not rate.believes(n_characters(text), seconds)


def drawn(clips: Iterable[Clip], id_of: Callable[[Clip], str]) -> list[Clip]:
    """The RATED_CLIPS of a language that say how quickly it is spoken: by their ids, so any order draws the same."""
    return heapq.nsmallest(RATED_CLIPS, clips, key=lambda clip: hashlib.sha256(f"rate/{id_of(clip)}".encode()).digest())
