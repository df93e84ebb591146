"""What a list of transcripts says beyond one number: how sure the CER is, and which mistakes make it up."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import jiwer
import numpy as np

from cantowhisper.contracts import CantowhisperError
from cantowhisper.speech.language import language_code, written_with_spaces
from cantowhisper.speech.text import cer_edits, cer_view, has_loop

TRAITS = ("gender", "age")  # of speakers, in the order of Transcript's fields
FEWEST_CLIPS = 5  # in a group with a row of its own
NOTHING = ""  # stands for the character that is not there, in an insertion or a deletion


@dataclass(frozen=True)
class Transcript:
    """One scored clip."""

    id: str
    reference: str
    prediction: str
    duration_s: float
    language: str = ""  # the clip's tag
    speaker: str = ""  # "" if unknown
    gender: str = ""  # as the speaker says, "" if unknown
    age: str = ""


def measure(transcripts: Sequence[Transcript], *, spelling: Mapping[str, str] | None = None) -> dict:
    """What `metrics.json` keeps of a list of transcripts.

    n and characters (those with a reference), empty_outputs, loops, and for each view cer_VIEW with
    cer_VIEW_interval: the 95 % bootstrap interval [low, high] over speakers; `speakers` is how many there are, or 0
    where they are not known (or only one is) and the interval is over clips. Where there are clips in a language that
    is written with spaces, of those words and wer_VIEW with its interval besides, and wer_whisper: after the normaliser
    that Whisper's own figures use, for English with `spelling` {British: American}, which comes with its tokenizer.
    """
    from cantowhisper.speech.metric import CharacterErrorRate, WordErrorRate  # a second to import; needed late

    found = _computed(CharacterErrorRate, transcripts)
    spaced = [t for t in transcripts if t.language and written_with_spaces(t.language)]
    words = _computed(WordErrorRate, spaced) if any(cer_view(t.reference) for t in spaced) else {}
    for name in ("n", "speakers"):
        words.pop(name, None)
    normal = _as_whisper_counts(spaced, spelling or {}) if words else []
    if any(t.reference for t in normal):
        whisper = _computed(WordErrorRate, normal)
        words |= {name.replace("raw", "whisper"): value for name, value in whisper.items() if "wer_raw" in name}
    return {
        "n": found.pop("n"),
        "speakers": found.pop("speakers"),
        "characters": found.pop("characters"),
        "empty_outputs": sum(not t.prediction for t in transcripts),
        "loops": sum(is_loop(t) for t in transcripts),
        **{name: _rounded(value) for name, value in found.items()},
        **{name: value if name == "words" else _rounded(value) for name, value in words.items()},
    }


def _as_whisper_counts(transcripts: Sequence[Transcript], spelling: Mapping[str, str]) -> list[Transcript]:
    from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

    basic, english = BasicTextNormalizer(), EnglishTextNormalizer(dict(spelling))
    normal = []
    for t in transcripts:
        normalize = english if language_code(t.language) == "en" else basic
        said, written = (" ".join(normalize(text).split()) for text in (t.reference, t.prediction))
        normal.append(replace(t, reference=said, prediction=written))
    return normal


def _computed(metric, transcripts: Sequence[Transcript]) -> dict:
    return metric(keep_in_memory=True).compute(
        predictions=[t.prediction for t in transcripts],
        references=[t.reference for t in transcripts],
        speakers=[t.speaker for t in transcripts],
    )


def paired_difference(
    before: Sequence[Transcript], after: Sequence[Transcript], *, view: str = "no_punctuation"
) -> dict:
    """CER after − before of the same clips in a view of it: {"points", "interval", "n", "speakers"}.

    points and the 95 % bootstrap interval [low, high] in percentage points, both models on the same draws of speakers
    (or clips, where `speakers` is 0). How easy a clip is, which both have in common, does not widen it.
    """
    from cantowhisper.speech.metric import bootstrap_interval, speakers_drawn

    counted = []
    for old, new in zip(before, after, strict=True):
        if (old.id, old.reference) != (new.id, new.reference):
            raise CantowhisperError(f"{old.id} and {new.id} are not the same clip; score both models on the same split")
        if edits := cer_edits(new.prediction, new.reference, view=view):
            counted.append((edits[0] - cer_edits(old.prediction, old.reference, view=view)[0], edits[1]))
    spoken_by = [t.speaker for t in after if cer_view(t.reference, view)]
    edits, characters = np.array(counted, dtype=np.int64).T
    return {
        "points": _points(edits.sum() / characters.sum()),
        "interval": [_points(end) for end in bootstrap_interval(edits, characters, spoken_by)],
        "n": len(counted),
        "speakers": speakers_drawn(spoken_by),
    }


def _points(rate: float) -> float:
    return round(100 * float(rate), 2) + 0.0  # no -0.0


def measure_groups(transcripts: Sequence[Transcript], *, spelling: Mapping[str, str] | None = None) -> dict:
    """Scores by what speakers say of themselves, {trait: {value: `measure`}}, for the traits that some clips have.

    "not said" are the clips without it; groups of fewer than FEWEST_CLIPS clips are together as "other".
    """
    report = {}
    for trait in TRAITS:
        groups: dict[str, list[Transcript]] = {}
        for t in transcripts:
            if cer_view(t.reference):
                groups.setdefault(getattr(t, trait) or "not said", []).append(t)
        if groups.keys() <= {"not said"}:
            continue
        kept = {name: groups[name] for name in sorted(groups) if len(groups[name]) >= FEWEST_CLIPS}
        if rest := [t for name, clips in groups.items() if name not in kept for t in clips]:
            kept["other"] = [*kept.get("other", []), *rest]
        report[trait] = {name: measure(clips, spelling=spelling) for name, clips in kept.items()}
    return report


def drawn_over(row: Mapping) -> str:
    """What the interval of a row of scores draws, in words."""
    return f"{row['speakers']} speakers" if row.get("speakers") else "clips"


def _rounded(value: float | Sequence[float]) -> float | list[float]:
    return round(value, 6) if isinstance(value, float) else [round(end, 6) for end in value]


def is_loop(transcript: Transcript) -> bool:
    """Whether a prediction goes round in a circle that its reference does not.

    >>> is_loop(Transcript("a", "多謝", "多謝多謝多謝多謝", 1.0)), is_loop(Transcript("b", "哈" * 9, "哈" * 9, 1.0))
    (True, False)
    """
    return has_loop(transcript.prediction) and not has_loop(transcript.reference)


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
        edits, characters = cer_edits(transcript.prediction, transcript.reference) or (0, 1)
        rated.append((transcript, edits / characters))
    return sorted(rated, key=lambda pair: (-round(pair[1], 4), pair[0].id))
