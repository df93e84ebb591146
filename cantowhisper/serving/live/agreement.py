"""What a pass of live transcription is asked and answers, and what two answers have in common."""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

from cantowhisper.serving import hallucination
from cantowhisper.speech.mel import SAMPLE_RATE

# A model is sure of a token from this probability on. It is rarely so sure of what it makes up of sound that it has
# heard in part: two passes that agree and are sure were right nearly as often as passes that only agree for a second.
# At 0.9 one of two models wrote one character in a hundred more wrongly (13 recordings of samples/clips).
CONFIDENT = 0.95
BETWEEN_LINES = " ,，、。."  # what a model writes first where it goes on after an earlier line
MAX_CHARACTERS_PER_SECOND = 25  # of the fastest English with its spaces; Cantonese has at most 8
SPARE_CHARACTERS = 16


class DecodeRequest(NamedTuple):
    """One recognition to do: samples start to end, going on from `prefix`; a final one is never left out."""

    start: int
    end: int
    prefix: str
    final: bool
    heard_from: int = 0  # sound from here to `start` is heard again …
    heard: str = ""  # … and this is its text, which comes before `prefix`; "": `start` is where the sound begins

    @property
    def alone(self) -> "DecodeRequest":
        """The same without what came before."""
        return self._replace(heard_from=self.start, heard="")


class Hypothesis(NamedTuple):
    """The text that a decoding pass wrote, and how many characters from its beginning the model was sure of."""

    text: str
    n_confident: int = 0
    # Of each character, seconds of sound that came after where the model looked for it; () where nobody knows.
    from_end_s: tuple[float, ...] = ()

    def without_first(self, n: int) -> "Hypothesis":
        """The same without its first n characters."""
        return Hypothesis(self.text[n:], max(0, self.n_confident - n), self.from_end_s[n:])


def agreed(new: str, old: str) -> int:
    """How many characters of `new` two passes agree on, whatever their punctuation, spaces and case.

    >>> agreed("你好，今日好", "你好今日去"), agreed("你好", ""), agreed("唔該，", "唔該。")
    (5, 0, 2)
    """
    letters = letters_of(new)
    n = common_letters(letters, letters_of(old))
    return letters[n - 1][0] + 1 if n else 0


def letters_of(text: str) -> list[tuple[int, str]]:
    """(place, letter) of everything in a text but punctuation, spaces and case."""
    return [
        (i, c.casefold()) for i, c in enumerate(text) if not unicodedata.category(c).startswith(("P", "S", "Z", "C"))
    ]


def common_letters(a: list[tuple[int, str]], b: list[tuple[int, str]]) -> int:
    """How many letters two texts have in common at their beginning."""
    return common_prefix_length([letter for _, letter in a], [letter for _, letter in b])


def common_prefix_length(a: Sequence, b: Sequence) -> int:
    """How many elements two sequences have in common at their beginning.

    >>> common_prefix_length("今日好凍", "今日落雨"), common_prefix_length("", "今日")
    (2, 0)
    """
    return next((n for n, (mine, theirs) in enumerate(zip(a, b, strict=False)) if mine != theirs), min(len(a), len(b)))


def implausible(text: str, request: DecodeRequest) -> bool:
    """Whether a hypothesis goes round in a loop, or has more characters than anybody can say in its time."""
    most = int((request.end - request.start) / SAMPLE_RATE * MAX_CHARACTERS_PER_SECOND) + SPARE_CHARACTERS
    looped = hallucination.repeats(text) or (
        hallucination.repeats(request.prefix + text) and not hallucination.repeats(request.prefix)
    )
    return looped or len(text) > most
