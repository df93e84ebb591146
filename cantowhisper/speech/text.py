"""Sentences: how they are stored, compared, joined and converted.

Chinese is written without spaces, so a "word" error rate counts whole sentences; the field's measure is the
character error rate (CER), and for languages with spaces the word error rate (WER) beside it. Punctuation and script
are conventions of transcribers rather than sounds, hence several views, and a number is only comparable with one of
the same view.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import jiwer

from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.speech.language import usual_script
from cantowhisper.speech.scripts import SCRIPTS, to_script

__all__ = [
    "CER_VIEWS",
    "REPLACEMENT_CHARACTER",
    "SCRIPTS",
    "WER_VIEWS",
    "cer",
    "cer_view",
    "join_texts",
    "normalize",
    "to_script",
    "wer",
]

REPLACEMENT_CHARACTER = "\ufffd"  # what bytes that are no whole character are decoded to
CER_VIEWS = {
    "raw": "as written, spaces and punctuation counted",
    "no_punctuation": "NFKC, lower case, without punctuation, symbols and spaces",
    "simplified": "no_punctuation, with traditional characters converted to simplified ones",
}
WER_VIEWS = {
    "raw": "as written, punctuation counted as part of its word",
    "no_punctuation": "NFKC, lower case, punctuation and symbols read as spaces, apostrophes left out",
}
_DROPPED = ("P", "S", "Z", "Cc", "Cf", "Cs", "Me")  # Unicode: punctuation, symbols, separators, controls, enclosures
_APOSTROPHES = "'’‘`´＇"
# Joiners are spelling in Persian (می‌خواهم) and Sinhala (ක්‍ර). The other formats that stay are visible signs of Arabic,
# Syriac and Kaithi numbers.
_JOINERS = "\u200c\u200d"
_VISIBLE_FORMATS = {*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD}
_NUMERALS = "〇零一二三四五六七八九十百千廿卅年"


class _Kept(dict):
    """For str.translate: None for what is dropped. Looks a character up once."""

    def __missing__(self, code: int) -> int | str | None:
        dropped = unicodedata.category(chr(code)).startswith(_DROPPED) or _selects_a_variant(code) or _is_picture(code)
        return self.setdefault(code, None if dropped else code)


class _Words(_Kept):
    """The same with a space for what stands between words."""

    def __missing__(self, code: int) -> int | str | None:
        between = unicodedata.category(chr(code)).startswith(("P", "S", "Z")) and chr(code) not in _APOSTROPHES
        return self.setdefault(code, " ") if between else super().__missing__(code)


def _selects_a_variant(code: int) -> bool:
    """Variation selectors say how the character before them is drawn; alone they are nothing."""
    return 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF or 0x180B <= code <= 0x180F


def _is_picture(code: int) -> bool:
    """In the blocks that hold pictures only, so that those newer than this Python's tables are pictures too."""
    return 0x1F000 <= code <= 0x1FBEF


_KEPT, _WORDS = _Kept(), _Words()


def normalize(text: str) -> str:
    """A sentence as it is stored: canonical composition (NFC), no control characters, single spaces, no ends.

    What this Python's Unicode tables do not know yet is kept, and so are private-use characters, of which those that
    old Hong Kong systems used are put where Unicode has them now (HKSCS).

    >>> normalize("  食咗飯\\u200b未 呀？\\n"), normalize("我\\ue5ce")
    ('食咗飯未 呀？', '我俌')
    """
    text = unicodedata.normalize("NFC", text)
    if not text.isprintable():
        if _PRIVATE.search(text) and _HAN.search(text):
            text = _PRIVATE.sub(lambda found: _hong_kong(found[0]), text)
        text = "".join(c for c in text if c.isspace() or _is_written(c))
    return " ".join(text.split()).strip(_JOINERS)


def _is_written(character: str) -> bool:
    category = unicodedata.category(character)
    if category == "Cf":
        return character in _JOINERS or ord(character) in _VISIBLE_FORMATS
    return category not in ("Cc", "Cs") and not _is_no_character(ord(character))


def _is_no_character(code: int) -> bool:
    """Code points that Unicode will never assign."""
    return code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF


_PRIVATE, _HAN = re.compile("[\ue000-\uf848]"), re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]")
# Where Windows put the user-defined ranges of Big5, 157 characters a row: (first private code, first row).
_USER_DEFINED = ((0xF672, 0xC6), (0xEEB8, 0x81), (0xE311, 0x8E), (0xE000, 0xFA))
_LAST_BEFORE = {0xF672: 0xF6B1}  # the first 63 places of that row are not user-defined


def _hong_kong(character: str) -> str:
    """The character that HKSCS 1999-2001 had at a private-use code; itself where HKSCS has none."""
    code = ord(character)
    first, row = next((f, r) for f, r in _USER_DEFINED if code >= _LAST_BEFORE.get(f, f))
    rows, place = divmod(code - first, 157)
    try:
        return bytes([row + rows, place + (0x40 if place < 63 else 0x62)]).decode("big5hkscs")
    except UnicodeDecodeError:
        return character


def cer_view(text: str, view: str = "no_punctuation") -> str:
    """A sentence as one of CER_VIEWS compares it.

    >>> cer_view("「Ｏｋ，去 邊度？」"), cer_view("食飯未？", "simplified"), cer_view("二○二四")
    ('ok去邊度', '食饭未', '二〇二四')
    """
    if view not in CER_VIEWS:
        raise UsageError(f"{view!r} is no view of the CER; choose one of {', '.join(CER_VIEWS)}")
    text = normalize(text)
    if view == "raw":
        return text
    text = _folded(text).translate(_KEPT)
    return to_script(text, "simplified") if view == "simplified" else text


def word_view(text: str, view: str = "no_punctuation") -> str:
    """A sentence as one of WER_VIEWS compares it, its words with single spaces between.

    >>> word_view("“Don’t”, he said — well-known!")
    'dont he said well known'
    """
    if view not in WER_VIEWS:
        raise UsageError(f"{view!r} is no view of the WER; choose one of {', '.join(WER_VIEWS)}")
    text = normalize(text)
    return text if view == "raw" else " ".join(_folded(text).translate(_WORDS).split())


def units(text: str) -> list[str]:
    """The words of a sentence without its punctuation; each character of a script without spaces is one.

    >>> units("買咗 iPhone，開心！")
    ['買', '咗', 'iphone', '開', '心']
    """
    return _SPELLED_UNSPACED.sub(r" \g<0> ", _UNSPACED.sub(r" \g<0> ", word_view(text))).split()


def n_spelled_unspaced(text: str) -> int:
    """How many characters are letters of Thai, Lao, Khmer or Burmese, which set no spaces between words of several."""
    return len(_SPELLED_UNSPACED.findall(text))


_CIRCLES = re.compile(f"(?<=[{_NUMERALS}])[○◯]+|[○◯]+(?=[{_NUMERALS}])")


def _folded(text: str) -> str:
    """Width, ligatures and case folded; a circle among Chinese numerals is a zero."""
    text = unicodedata.normalize("NFKC", text).lower()
    return _CIRCLES.sub(lambda found: "〇" * len(found[0]), text) if "○" in text or "◯" in text else text


@dataclass(frozen=True)
class CerResult:
    """A corpus-level character error rate: all edits over all reference characters."""

    cer: float  # 0 is perfect; may exceed 1, since insertions count
    edits: int  # substitutions + deletions + insertions
    characters: int  # in the references
    n: int  # sentences compared
    n_empty_references: int  # left out: nothing can be said right about them


@dataclass(frozen=True)
class WerResult:
    """A corpus-level word error rate: all edits of words over all reference words."""

    wer: float
    edits: int
    words: int
    n: int
    n_empty_references: int


def cer(predictions: Sequence[str], references: Sequence[str], *, view: str = "no_punctuation") -> CerResult:
    """Corpus CER of predictions against references in one view (edit distance by jiwer).

    The mean of the clips' own CERs is another, larger number: it weighs a wrong two-character clip like a wrong
    sentence. References that are empty in this view are left out and counted.
    """
    kept, n_empty = _compared(predictions, references, lambda text: cer_view(text, view))
    found = jiwer.process_characters([r for _, r in kept], [p for p, _ in kept])
    edits, characters = _counts(found)
    return CerResult(edits / characters, edits, characters, len(kept), n_empty)


def wer(predictions: Sequence[str], references: Sequence[str], *, view: str = "no_punctuation") -> WerResult:
    """Corpus WER of predictions against references in one view, for languages that put spaces between words."""
    kept, n_empty = _compared(predictions, references, lambda text: word_view(text, view))
    found = jiwer.process_words([r for _, r in kept], [p for p, _ in kept])
    edits, words = _counts(found)
    return WerResult(edits / words, edits, words, len(kept), n_empty)


def _compared(predictions, references, view) -> tuple[list[tuple[str, str]], int]:
    """(prediction, reference) in a view, without those whose reference is empty in it; and how many those are."""
    if len(predictions) != len(references):
        raise CantowhisperError(f"{len(predictions)} predictions for {len(references)} references; pair them first")
    pairs = [(view(p), view(r)) for p, r in zip(predictions, references, strict=True)]
    kept = [(p, r) for p, r in pairs if r]
    if not kept:
        raise CantowhisperError("no reference has a character to compare; check the text column")
    return kept, len(pairs) - len(kept)


def _counts(found) -> tuple[int, int]:
    """Edits, and characters or words of the references."""
    edits = found.substitutions + found.deletions + found.insertions
    return edits, found.hits + found.substitutions + found.deletions


def cer_edits(prediction: str, reference: str, *, view: str = "no_punctuation") -> tuple[int, int] | None:
    """(edits, characters of the reference) of one sentence, or None where its reference is empty in this view.

    >>> cer_edits("食左飯未", "食咗飯未呀？"), cer_edits("食", "？")
    ((2, 5), None)
    """
    if not cer_view(reference, view):
        return None
    found = cer([prediction], [reference], view=view)
    return found.edits, found.characters


def word_edits(prediction: str, reference: str, *, view: str = "no_punctuation") -> tuple[int, int] | None:
    """(edits, words of the reference) of one sentence, or None where its reference is empty in this view.

    >>> word_edits("ask what", "Ask not what!"), word_edits("ask", "!")
    ((1, 3), None)
    """
    if not word_view(reference, view):
        return None
    found = wer([prediction], [reference], view=view)
    return found.edits, found.words


def join_texts(texts: Iterable[str], language: str = "") -> str:
    """Texts of one recording, piece after piece, on one line: with spaces between where the language sets them.

    Chinese and Japanese set none, but between two foreign words. Thai, Khmer and Burmese write words without spaces
    and sentences with one. Without a language the characters on both sides decide.

    >>> join_texts(["Ask not", "what"], "en"), join_texts(["你好", "今日"], "yue"), join_texts(["買", "iPhone", "12"])
    ('Ask not what', '你好今日', '買iPhone 12')
    """
    always = bool(language) and usual_script(language) not in UNSPACED_SENTENCES
    joined = ""
    for text in filter(None, (" ".join(text.split()) for text in texts)):
        apart = joined and (always or not (_UNSPACED.match(joined[-1]) or _UNSPACED.match(text[0])))
        joined += f" {text}" if apart else text
    return joined


# A group of 2-12 characters four times in a row, or one character eight times. Laughter (呵呵呵呵) is less, and so are
# telephone numbers, in which a digit may stand four times.
_LOOP = re.compile(r"(.{2,12}?)\1{3,}|(.)\2{7,}", re.DOTALL)


def has_loop(text: str) -> bool:
    """Whether a text says the same again and again, as a decoder does that has lost its place.

    >>> has_loop("多謝多謝"), has_loop("多謝" * 4), has_loop("電話係二二二二八八八八")
    (False, True, False)
    """
    return bool(_LOOP.search(text))


UNSPACED_SENTENCES = {"Hans", "Hant", "Hani", "Jpan", "Hrkt", "Hira", "Kana"}
_SPELLED_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")  # Thai and Lao, Burmese, Khmer
# Han, kana and their punctuation and full-width forms.
_UNSPACED = re.compile("[\u2e80-\u312f\u31a0-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef\U00020000-\U0003ffff]")
