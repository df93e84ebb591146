"""What a list of transcripts says beyond one number: how sure the CER is, and which mistakes make it up."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import jiwer
import numpy as np

from cantowhisper.contracts import CantowhisperError
from cantowhisper.speech.text import CER_VIEWS, cer, cer_view

# A group of 2-12 characters four times in a row, or one character eight times: laughter and telephone numbers are less.
_LOOP = re.compile(r"(.{2,12}?)\1{3,}|(.)\2{7,}", re.DOTALL)
N_RESAMPLES = 1000  # the ends of a 95 % interval then vary by a few hundredths of its width
NOTHING = ""  # stands for the character that is not there, in an insertion or a deletion


@dataclass(frozen=True)
class Transcript:
    """One scored clip."""

    id: str
    reference: str
    prediction: str
    duration_s: float


def measure(transcripts: Sequence[Transcript]) -> dict:
    """What `metrics.json` keeps of a list of transcripts.

    n and characters (those with a reference), empty_outputs, loops, and for each view cer_VIEW with
    cer_VIEW_interval: the 95 % bootstrap interval [low, high] over clips.
    """
    report = {
        "n": 0,
        "characters": 0,
        "empty_outputs": sum(not t.prediction for t in transcripts),
        "loops": sum(is_loop(t) for t in transcripts),
    }
    for view in CER_VIEWS:
        counted = [counts for t in transcripts if (counts := clip_edits(t, view=view))]
        if not counted:
            raise CantowhisperError("no reference has a character to compare; check the text column")
        edits, characters = np.array(counted, dtype=np.int64).T
        if view == "no_punctuation":
            report |= {"n": len(counted), "characters": int(characters.sum())}
        report[f"cer_{view}"] = round(float(edits.sum() / characters.sum()), 6)
        report[f"cer_{view}_interval"] = [round(end, 6) for end in bootstrap_interval(edits, characters)]
    return report


def clip_edits(transcript: Transcript, *, view: str = "no_punctuation") -> tuple[int, int] | None:
    """(edits, characters of the reference) of a clip, or None where its reference is empty in this view."""
    if not cer_view(transcript.reference, view):
        return None
    found = cer([transcript.prediction], [transcript.reference], view=view)
    return found.edits, found.characters


def bootstrap_interval(
    edits: np.ndarray, characters: np.ndarray, *, n_resamples: int = N_RESAMPLES, seed: int = 20
) -> tuple[float, float]:
    """The 95 % percentile interval of a corpus CER, drawing clips with replacement (Bisani and Ney 2004).

    Clips are drawn, not speakers: where few speakers read many clips each, the truth is wider than this says.
    """
    rng = np.random.default_rng(seed)
    rates = np.empty(n_resamples)
    for i in range(n_resamples):
        drawn = rng.integers(0, len(edits), len(edits))
        rates[i] = edits[drawn].sum() / characters[drawn].sum()
    low, high = np.percentile(rates, [2.5, 97.5])
    return float(low), float(high)


def is_loop(transcript: Transcript) -> bool:
    """Whether a prediction goes round in a circle that its reference does not.

    >>> is_loop(Transcript("a", "多謝", "多謝多謝多謝多謝", 1.0)), is_loop(Transcript("b", "哈" * 9, "哈" * 9, 1.0))
    (True, False)
    """
    return bool(_LOOP.search(transcript.prediction)) and not _LOOP.search(transcript.reference)


def confusions(transcripts: Sequence[Transcript], *, at_most: int = 20) -> list[tuple[str, str, int]]:
    """The most frequent mistakes as (said, written, times), without punctuation.

    An empty `written` is a character left out, an empty `said` one too many.
    """
    pairs = [(cer_view(t.reference), cer_view(t.prediction)) for t in transcripts]
    pairs = [(reference, prediction) for reference, prediction in pairs if reference]
    if not pairs:
        return []
    aligned = jiwer.process_characters([r for r, _ in pairs], [p for _, p in pairs])
    counts: Counter[tuple[str, str]] = Counter()
    for (reference, prediction), chunks in zip(pairs, aligned.alignments, strict=True):
        for chunk in chunks:
            said = reference[chunk.ref_start_idx : chunk.ref_end_idx]
            written = prediction[chunk.hyp_start_idx : chunk.hyp_end_idx]
            if chunk.type != "equal":
                length = max(len(said), len(written))
                counts.update(zip(_filled(said, length), _filled(written, length), strict=True))
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [(said, written, times) for (said, written), times in ranked[:at_most]]


def _filled(text: str, length: int) -> list[str]:
    return [*text, *[NOTHING] * (length - len(text))]


def worst_clips(transcripts: Sequence[Transcript]) -> list[tuple[Transcript, float]]:
    """All clips with their own CER (no punctuation; 0 where there is no reference), worst first."""
    rated = []
    for transcript in transcripts:
        edits, characters = clip_edits(transcript) or (0, 1)
        rated.append((transcript, edits / characters))
    return sorted(rated, key=lambda pair: (-round(pair[1], 4), pair[0].id))
