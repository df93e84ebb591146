"""Where a line of captions may end, and how well.

Spaces and punctuation tell most of it. Chinese, Japanese and Thai set no spaces between words; there BudouX
(google/budoux, Apache-2.0, 126 kB, no dependencies) tells phrases apart. It was chosen by measurement: of the 607
stretches of Hong Kong speech in HKCanCor that are longer than a line, cut where both halves are even, 33 % of the cuts
were inside of a word; 13 % with BudouX's model for traditional or for simplified text, 10 % where both agree; 13 % with
ICU (42 MB), 9 to 22 % with jieba (37 MB, 2 s to load, no release since 2020).
"""

import re
import unicodedata
from functools import cache
from itertools import pairwise

from cantowhisper.serving.captions.rules import HAN, KANA
from cantowhisper.speech.scripts import to_script

# The cost of a line that ends here: what reads on best is the cheapest.
SENTENCE, CLAUSE, WORD, PHRASE, INSIDE, FORCED = 0.0, 1.0, 7.0, 9.0, 15.0, 30.0
UNIT = 14.0  # between a number and what is counted: 3月, 99蚊
_UNSPACED = re.compile(f"[{HAN}{KANA}]")  # letters between which a line may end
_THAI = re.compile("[\u0e00-\u0e7f]")
SENTENCE_ENDS, _CLAUSE_ENDS = "。．！？!?…⋯.", "，、；：,;:—～"
_ABBREVIATION = re.compile(r"(?:\b[A-Z]\w{0,2}|\b\w)\.$")  # Mr. Smith, the U.S. team: no sentence ends there
# Signs that cannot begin a line besides closing punctuation: small kana, marks of length and repetition, units.
_NEVER_FIRST = set("ぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶーゝゞヽヾ々〻％‰℃℉°～〜—–-‐")
_STRAIGHT_QUOTES = "\"'"  # they open and close, so no line ends on either side of one but at a space
_JOINER = "\u200d"  # makes one picture of several


def columns(text: str, *, full_width: bool) -> list[int]:
    """Columns that each character takes: 2 for full-width ones, 1, or 0 for marks on another and for joined pictures.

    full_width : beside Chinese text, signs that Unicode calls ambiguous (“ ” … —) are drawn full-width too
    """
    wide = "WFA" if full_width else "WF"
    taken = [_columns(character, wide) for character in text]
    for k, (before, _) in enumerate(pairwise(text), start=1):
        if before == _JOINER:
            taken[k] = 0
    return taken


@cache
def _columns(character: str, wide: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf", "Cc", "Cs") or "\U0001f3fb" <= character <= "\U0001f3ff":
        return 0
    return 2 if unicodedata.east_asian_width(character) in wide else 1


def break_costs(text: str, *, japanese: bool = False) -> list[float | None]:
    """For each position k of a text, what it costs when a line ends before text[k]; None where no line may.

    Never inside of a Latin word or a number, before closing or after opening punctuation. The list has len(text)
    elements, the first of them None.

    >>> costs = break_costs("食飯，buy 9,999 it")
    >>> [text for text, cost in zip("食飯，buy 9,999 it", costs) if cost is not None]
    ['飯', 'b', '9', 'i']
    """
    costs: list[float | None] = [None] * len(text)
    if not text:
        return costs
    votes = _votes(text, japanese)
    for k in range(1, len(text)):
        if text[k - 1] == " ":
            if _ends_something(text[k]):  # as in French: « Bonjour ! »
                continue
            costs[k] = min(_punctuation_cost(text, k - 1), WORD)
        elif _may_end(text, k):
            costs[k] = min(_punctuation_cost(text, k), _word_cost(text, k, votes))
    return costs


def _may_end(text: str, k: int) -> bool:
    """Whether a line may end between two characters without a space."""
    before, after = text[k - 1], text[k]
    if after == " " or _columns(after, "WF") == 0 or before == _JOINER:
        return False
    if before in _STRAIGHT_QUOTES or after in _STRAIGHT_QUOTES or _closes(after) or _opens(before):
        return False
    if _THAI.match(before) and _THAI.match(after):
        return True
    return bool(_unspaced(before) or _unspaced(after)) and not is_in_a_word(text, k)


def is_in_a_word(text: str, k: int) -> bool:
    """Whether a position is inside of a word or number of a script that sets spaces between words."""
    return (_is_spaced(text[k - 1]) and _is_spaced(text[k])) or _digits_on_both_sides(text, k)


def _unspaced(character: str) -> bool:
    """Letters that stand without spaces, and the full-width punctuation between them."""
    wide = unicodedata.east_asian_width(character) in "WF"
    return bool(_UNSPACED.match(character)) or (wide and not character.isalnum())


def _is_spaced(character: str) -> bool:
    """A letter or digit of a script with spaces, full-width ones included."""
    return character.isalnum() and not _UNSPACED.match(character)


def _ends_something(character: str) -> bool:
    return character in SENTENCE_ENDS + _CLAUSE_ENDS or unicodedata.category(character) in ("Pe", "Pf")


def _closes(character: str) -> bool:
    return character in _NEVER_FIRST or unicodedata.category(character) in ("Pe", "Pf", "Po", "Pd")


def _opens(character: str) -> bool:
    return unicodedata.category(character) in ("Ps", "Pi", "Sc") or character in "¿¡＃#＠@·"  # · joins names


def _digits_on_both_sides(text: str, k: int) -> bool:
    """Inside of ９，９９９ or 3：30, whose punctuation is full-width."""
    return k > 1 and text[k].isdigit() and not text[k - 1].isalnum() and text[k - 2].isdigit()


def _punctuation_cost(text: str, k: int) -> float:
    """What the punctuation before position k says, closing quotes and brackets passed over."""
    at = k - 1
    while at > 0 and (unicodedata.category(text[at]) in ("Pe", "Pf") or text[at] in _STRAIGHT_QUOTES):
        at -= 1
    if text[at] in SENTENCE_ENDS:
        return INSIDE if _ABBREVIATION.search(text, max(0, at - 4), at + 1) else SENTENCE
    return CLAUSE if text[at] in _CLAUSE_ENDS else INSIDE


def _word_cost(text: str, k: int, votes: list[int]) -> float:
    before, after = text[k - 1], text[k]
    if _is_spaced(before) != _is_spaced(after):
        return UNIT if before.isdigit() else WORD
    return (INSIDE, PHRASE, WORD)[votes[k]]


def _votes(text: str, japanese: bool) -> list[int]:
    """How sure it is that a word ends before each character: 0, 1 or 2."""
    votes = [0] * (len(text) + 1)
    if _THAI.search(text):
        _vote(votes, "thai", text, weight=2)
    if _UNSPACED.search(text):
        if japanese:
            _vote(votes, "japanese", text, weight=2)
        else:
            _vote(votes, "traditional_chinese", text)
            simplified = to_script(text, "simplified")
            if len(simplified) == len(text):  # its characters are mapped one to one
                _vote(votes, "simplified_chinese", simplified)
    return votes


def _vote(votes: list[int], model: str, text: str, weight: int = 1) -> None:
    end = 0
    for phrase in _parser(model).parse(text):
        end += len(phrase)
        votes[end] = min(2, votes[end] + weight)


@cache
def _parser(model: str):
    import budoux  # only for text that has to be broken

    return getattr(budoux, f"load_default_{model}_parser")()
