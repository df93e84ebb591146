"""A list of names and terms that are likely to be said, as people write it and as the search for text favours it.

They are not given to the decoder as a prompt: Whisper reads a list as what was said before, and writes it out where
nobody speaks. Instead a word that the model itself finds nearly likely enough is tried (engines/rivals.py).

The weight of a word was chosen with whisper-base on 100 zh-TW and 100 ja clips of Common Voice, which are not those of
the table in docs/serving.md: `python -m benchmarks.words --choose`, with one list of the rarest word of each of their
sentences (162 words), greedy. Of the 176 places where a listed word was said, and of all other characters:

    weight (nats)   NEAR   words missed   CER of the rest: zh-TW, ja   listed but not said   CPU time
    0 (no list)            58             17.0 %, 27.3 %               2                     1
    1               1      45             16.7 %, 27.5 %               2
    2               1      41             16.7 %, 27.5 %               3                     0.96
    3               1      41             16.7 %, 27.8 %               4
    2               2      36             17.2 %, 27.4 %               6                     1.08

(CPU time of one run each, on a busy machine.) NEAR (rivals.py) decides how often a word is tried: 2 nats find more
words, and cost more than 5 % of the time.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from itertools import accumulate, product

from cantowhisper.contracts import UsageError
from cantowhisper.serving.engines.words import Words
from cantowhisper.serving.texts.say import said
from cantowhisper.speech.scripts import to_script

WEIGHT = 2.0  # nats, of a whole word
NO_WORDS = "a list of words needs the model's export, and this model runs through transformers; leave the list out"
MAX_WORDS, MAX_CHARACTERS = 200, 40
MAX_LIST_CHARACTERS = 10_000  # of a list with all its commas and comments
MAX_SPLIT = 8  # characters of a word whose every division into tokens is known
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")


def read_words(text: str) -> tuple[str, ...]:
    """The words of a list: one a line, or divided by commas or 、. Repeated ones and # comments are left out.

    Raises
    ------
    UsageError : too many of them, or one that is too long

    >>> read_words("深水埗、陳大文\\n# people\\nAlice Wong, 陳大文,")
    ('深水埗', '陳大文', 'Alice Wong')
    """
    if len(text) > MAX_LIST_CHARACTERS:
        raise UsageError(said("ask.long_list", n=f"{len(text):,}", most=f"{MAX_LIST_CHARACTERS:,}"))
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    words = dict.fromkeys(" ".join(word.split()) for line in lines for word in re.split("[,，、;；\t]", line))
    words.pop("", None)
    if len(words) > MAX_WORDS:
        raise UsageError(said("ask.many_words", n=len(words), most=MAX_WORDS))
    for word in words:
        if len(word) > MAX_CHARACTERS:
            raise UsageError(said("ask.long_word", word=word[:12], n=len(word), most=MAX_CHARACTERS))
    return tuple(words)


def favoured(words: Sequence[str], encode: Callable[[str], list[int]], *, weight: float = WEIGHT) -> Words:
    """What the search for text takes. encode : a text's tokens"""
    known = cache(encode)  # the words of a list share characters
    return Words([tokenisations(word, known) for word in words], weight=weight)


def tokenisations(word: str, encode: Callable[[str], list[int]]) -> list[tuple[int, ...]]:
    """All that a model may write for a word: after a space or not, in either Chinese script, in other tokens.

    Whisper's tokens are sequences of bytes: a rare character takes two or three, and some take two characters. A model
    also writes two characters as two tokens, where the tokenizer would make one of them.
    """
    found: dict[tuple[int, ...], None] = {}
    for spelling in spellings(word):
        divided = _divisions(spelling) if _UNSPACED.search(spelling) else [[spelling]]
        found |= dict.fromkeys(tuple(token for part in parts for token in encode(part)) for parts in divided)
        after_space = tuple(encode(f" {spelling}"))
        if after_space[1:] not in found:  # else the space is a token of its own, and no part of the word
            found[after_space] = None
    return list(found)


def spellings(word: str) -> list[str]:
    """A word as it is written, and in traditional and simplified characters.

    >>> spellings("深水埗"), spellings("陳大文"), spellings("裡面"), spellings("Alice")
    (['深水埗'], ['陳大文', '陈大文'], ['裡面', '里面'], ['Alice'])
    """
    if not _UNSPACED.search(word):
        return [word]
    simplified = to_script(word, "simplified")
    traditional = (to_script(word, "traditional", language=language) for language in ("", "zh-HK", "zh-TW"))
    return list(dict.fromkeys([word, simplified, *traditional]))


def _divisions(text: str) -> list[list[str]]:
    """A text in all ways of cutting it between characters; a long one whole, and in single characters."""
    if len(text) > MAX_SPLIT:
        return [[text], list(text)]
    found = []
    for cuts in product((0, 1), repeat=len(text) - 1):
        numbers = list(accumulate(cuts, initial=0))
        found.append(["".join(c for c, k in zip(text, numbers, strict=True) if k == n) for n in range(numbers[-1] + 1)])
    return found
