"""Long recordings that have one text → pieces cut at pauses, each with its part of the text.

A Whisper transcribes the recording and says when each character was said. Its characters are laid beside those of the
text (edit distance), whose words alone are kept. A pause is a cut only where the characters on both sides of it agree
with the text and are neighbours there: then nothing is lost or on the wrong side. Half of the characters may be wrong
elsewhere. What lies between two such pauses and is too long, or has little to do with its text, is listed as a reject.
"""

import os
import unicodedata
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import jiwer
import numpy as np
from tqdm.auto import tqdm

from cantowhisper.contracts import UsageError
from cantowhisper.curation.ledger import Ledger
from cantowhisper.features.config import FeatureConfig
from cantowhisper.features.plan import NOT_ALIGNED
from cantowhisper.features.sources.clip import Clip, Excerpt, Source, seconds_of
from cantowhisper.features.sources.open import open_source
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.serving.segments import SegmentOptions, audible, find_segments
from cantowhisper.speech.audio import AudioError, load_audio
from cantowhisper.speech.language import language_code, stand_in, usual_script
from cantowhisper.speech.mel import SAMPLE_RATE
from cantowhisper.speech.text import UNSPACED_SENTENCES, cer_view, normalize

AGREED, AGREED_LETTERS = 3, 8  # characters on each side of a cut, in scripts without and with spaces between words
LEAST_MATCHED = 0.5  # of a piece's characters, written or recognised: else its text is another one
LEAST_SECONDS = 1.5  # of a piece
FILE = "pieces.jsonl"
VERSION = 1  # of the rules by which pieces are found


class Piece(NamedTuple):
    start_s: float
    end_s: float
    text: str  # "" where it cannot be told


class _Character(NamedTuple):
    folded: str  # as it is compared
    place: float  # in the text, or its middle in seconds


def cut(
    text: str,
    said: Sequence[tuple[str, float, float]],
    pauses: Sequence[float],
    seconds: float,
    *,
    max_seconds: float,
    language: str,
) -> list[Piece]:
    """The pieces of a recording, which follow each other without a gap.

    Parameters
    ----------
    text : what is said in it
    said : (character, start_s, end_s) of a transcript, which may have errors
    pauses : seconds at which it may be cut, rising
    """
    text = normalize(text)
    written = [_Character(each, i) for i, character in enumerate(text) for each in cer_view(character, "simplified")]
    heard = [
        _Character(each, (start + end) / 2)
        for character, start, end in said
        for each in cer_view(character, "simplified")
    ]
    heard.sort(key=lambda one: one.place)
    place = _places(written, heard)
    spaced = usual_script(language) not in UNSPACED_SENTENCES
    cuts = [(0.0, 0, 0)]
    for pause in pauses:
        n_heard = bisect_left(heard, pause, key=lambda one: one.place)
        at = _agreed(place, n_heard, AGREED_LETTERS if spaced else AGREED)
        if at is None or min(pause - cuts[-1][0], seconds - pause) < LEAST_SECONDS or at <= cuts[-1][1]:
            continue
        if not spaced or written[at].place - written[at - 1].place > 1:
            cuts.append((pause, at, n_heard))
    cuts.append((seconds, len(written), len(heard)))
    found = []
    for (start_s, first, first_heard), (end_s, last, last_heard) in pairwise(cuts):
        n_matched = sum(first <= at < last for at in place[first_heard:last_heard])
        n_most = max(last - first, last_heard - first_heard)
        right = n_matched >= LEAST_MATCHED * n_most > 0 and end_s - start_s <= max_seconds
        found.append(Piece(start_s, end_s, _part(text, written, first, last) if right else ""))
    return found


def _places(written: Sequence[_Character], heard: Sequence[_Character]) -> list[int]:
    """For each heard character the written one that it agrees with, -1 where there is none."""
    place = [-1] * len(heard)
    if not written or not heard:
        return place
    reference, hypothesis = ("".join(one.folded for one in each) for each in (written, heard))
    for chunk in jiwer.process_characters(reference, hypothesis).alignments[0]:
        if chunk.type == "equal":
            n = chunk.hyp_end_idx - chunk.hyp_start_idx
            place[chunk.hyp_start_idx : chunk.hyp_end_idx] = range(chunk.ref_start_idx, chunk.ref_start_idx + n)
    return place


def _agreed(place: Sequence[int], n_heard: int, n_agreed: int) -> int | None:
    """The written character with which the text goes on after `n_heard`; None unless it is sure."""
    around = place[max(n_heard - n_agreed, 0) : n_heard + n_agreed]
    sure = (
        len(around) == 2 * n_agreed
        and around[0] >= 0
        and list(around) == list(range(around[0], around[0] + len(around)))
    )
    return around[n_agreed] if sure else None


def _part(text: str, written: Sequence[_Character], first: int, last: int) -> str:
    return text[_border(text, written, first) : _border(text, written, last)].strip()


def _border(text: str, written: Sequence[_Character], at: int) -> int:
    """Where a text is cut before its written character `at`: after punctuation, but before what opens."""
    if at in (0, len(written)):
        return len(text) if at else 0
    before, border = int(written[at - 1].place) + 1, int(written[at].place)
    while border > before and unicodedata.category(text[border - 1]) in ("Ps", "Pi"):
        border -= 1
    return border


class Aligned:
    """A source whose clips of more than `max_seconds` are cut.

    Parameters
    ----------
    folder : keeps the pieces that were found, so that a command that was stopped goes on
    """

    def __init__(self, source: Source, folder: Path, *, model: str, config: FeatureConfig, progress: bool = True):
        self.source, self._model, self._max_seconds, self._progress = source, model, config.max_seconds, progress
        self.name, self.language, self.license, self.terms = source.name, source.language, source.license, source.terms
        self._spoken = config.language
        name = Path(model).resolve().name if Path(model).is_dir() else model
        self.about = f"{source.about} Longer recordings are cut at pauses where {name} agrees with their text."
        self._recognizer: Recognizer | None = None
        identity = {"model": name, "language": self._spoken or "", "max_seconds": self._max_seconds, "version": VERSION}
        self._ledger = Ledger(folder / FILE, identity)

    def clips(self, *, split_policy: str) -> Iterator[Clip]:
        """As `Source.clips`. Raises what the source and Recognizer.open raise."""
        with tqdm(unit=" long recordings", disable=not self._progress) as bar:
            for clip in self.source.clips(split_policy=split_policy):
                if clip.objection or not clip.sentence.strip() or seconds_of(clip) <= self._max_seconds:
                    yield clip
                else:
                    yield from self._cut(clip)
                    bar.update()

    def _cut(self, clip: Clip) -> Iterator[Clip]:
        key = f"{clip.source} {clip.id} {clip.sentence}"
        if key not in self._ledger.items:
            try:
                waveform = load_audio(clip.recording.read())
            except (OSError, AudioError):
                yield clip  # features says what is wrong with it
                return
            self._ledger.add([(key, self._pieces(waveform, clip))])
        for number, (start_s, end_s, text) in enumerate(self._ledger.items[key], start=1):
            seconds = end_s - start_s
            yield replace(
                clip,
                id=f"{clip.id}-{number:02d}",
                sentence=text,
                recording=Excerpt(clip.recording, start_s, end_s),
                seconds=seconds,
                objection=None if text else f"{NOT_ALIGNED}: {seconds:.1f} s",
            )

    def _pieces(self, waveform: np.ndarray, clip: Clip) -> list[Piece]:
        language = clip.language or self._spoken or self.language
        if not language:
            raise UsageError(f"{self.name} does not say what language it is; give it with --set language=CODE")
        self._recognizer = self._recognizer or Recognizer.open(self._model)
        code = stand_in(language) or language_code(language)
        segments = self._recognizer.transcribe(waveform, language=code, script="as written", characters=True)
        said = [character for segment in segments for character in segment.characters]
        seconds = waveform.size / SAMPLE_RATE
        return cut(clip.sentence, said, pauses(waveform), seconds, max_seconds=self._max_seconds, language=language)


def pauses(waveform: np.ndarray) -> list[float]:
    """The middle of each pause in a recording, in seconds."""
    options = SegmentOptions(pad_s=0.0, short_s=0.0, max_segment_s=30.0)
    spans = find_segments(audible(waveform, options), options)
    return [(a.end + b.start) / 2 / SAMPLE_RATE for a, b in pairwise(spans) if b.start > a.end]


def aligned(source: str, out: str | os.PathLike, *, model: str, config: FeatureConfig) -> Aligned:
    """A source as `features` takes it, its long clips cut; the pieces are kept beside `out`, in `out`.aligned.

    Raises
    ------
    UsageError, CantowhisperError : as `open_source`; `out`.aligned is of another model or other settings
    """
    out = Path(out)
    return Aligned(open_source(source), out.with_name(f"{out.name}.aligned"), model=model, config=config)
