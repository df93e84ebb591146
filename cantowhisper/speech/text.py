"""Sentences: how they are stored, compared and converted.

Chinese is written without spaces, so a "word" error rate counts whole sentences; the field's measure is the
character error rate (CER). Punctuation and script are conventions of transcribers rather than sounds, hence three
views of it, and a number is only comparable with one of the same view.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import jiwer

from cantowhisper.contracts import CantowhisperError, UsageError

CER_VIEWS = {
    "raw": "as written, spaces and punctuation counted",
    "no_punctuation": "NFKC, lower case, without punctuation, symbols and spaces",
    "simplified": "no_punctuation, with traditional characters converted to simplified ones",
}
SCRIPTS = ("as written", "traditional", "simplified")
_DROPPED = ("P", "S", "Z", "C")  # Unicode: punctuation, symbols, separators, control characters


class _Kept(dict):
    """For str.translate: None for what is dropped. Looks a character up once."""

    def __missing__(self, code: int) -> int | None:
        dropped = unicodedata.category(chr(code)).startswith(_DROPPED)
        return self.setdefault(code, None if dropped else code)


_KEPT = _Kept()


def normalize(text: str) -> str:
    """A sentence as it is stored: canonical composition (NFC), no control characters, single spaces, no ends.

    >>> normalize("  食咗飯\\u200b未 呀？\\n")
    '食咗飯未 呀？'
    """
    text = unicodedata.normalize("NFC", text)
    if not text.isprintable():
        text = "".join(c for c in text if c.isspace() or not unicodedata.category(c).startswith("C"))
    return " ".join(text.split())


def cer_view(text: str, view: str = "no_punctuation") -> str:
    """A sentence as one of CER_VIEWS compares it.

    >>> cer_view("「Ｏｋ，去 邊度？」"), cer_view("食飯未？", "simplified")
    ('ok去邊度', '食饭未')
    """
    if view not in CER_VIEWS:
        raise UsageError(f"{view!r} is no view of the CER; choose one of {', '.join(CER_VIEWS)}")
    text = normalize(text)
    if view == "raw":
        return text
    text = unicodedata.normalize("NFKC", text).lower()
    text = text.translate(_KEPT)
    return to_script(text, "simplified") if view == "simplified" else text


@dataclass(frozen=True)
class CerResult:
    """A corpus-level character error rate: all edits over all reference characters."""

    cer: float  # 0 is perfect; may exceed 1, since insertions count
    edits: int  # substitutions + deletions + insertions
    characters: int  # in the references
    n: int  # sentences compared
    n_empty_references: int  # left out: nothing can be said right about them


def cer(predictions: Sequence[str], references: Sequence[str], *, view: str = "no_punctuation") -> CerResult:
    """Corpus CER of predictions against references in one view (edit distance by jiwer).

    The mean of the clips' own CERs is another, larger number: it weighs a wrong two-character clip like a wrong
    sentence. References that are empty in this view are left out and counted.
    """
    if len(predictions) != len(references):
        raise CantowhisperError(f"{len(predictions)} predictions for {len(references)} references; pair them first")
    pairs = [(cer_view(p, view), cer_view(r, view)) for p, r in zip(predictions, references, strict=True)]
    kept = [(p, r) for p, r in pairs if r]
    if not kept:
        raise CantowhisperError("no reference has a character to compare; check the text column")
    found = jiwer.process_characters([r for _, r in kept], [p for p, _ in kept])
    edits = found.substitutions + found.deletions + found.insertions
    characters = found.hits + found.substitutions + found.deletions
    return CerResult(edits / characters, edits, characters, len(kept), len(pairs) - len(kept))


def cer_edits(prediction: str, reference: str, *, view: str = "no_punctuation") -> tuple[int, int] | None:
    """(edits, characters of the reference) of one sentence, or None where its reference is empty in this view.

    >>> cer_edits("食左飯未", "食咗飯未呀？"), cer_edits("食", "？")
    ((2, 5), None)
    """
    if not cer_view(reference, view):
        return None
    found = cer([prediction], [reference], view=view)
    return found.edits, found.characters


def to_script(text: str, script: str) -> str:
    """Convert Chinese text to a script: "as written" (unchanged), "traditional" or "simplified" (OpenCC).

    >>> to_script("边度有嘢食", "traditional"), to_script("邊度有嘢食", "simplified")
    ('邊度有嘢食', '边度有嘢食')
    """
    if script == "as written":
        return text
    if script not in SCRIPTS:
        raise UsageError(f"{script!r} is no script; choose one of {', '.join(SCRIPTS)}")
    return _converter("s2t" if script == "traditional" else "t2s").convert(text)


@cache
def _converter(name: str):
    import opencc  # its dictionaries take a moment; most callers never need them

    return opencc.OpenCC(name)
