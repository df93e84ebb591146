"""What two hypotheses have in common, whatever their punctuation, spaces and case."""

import unicodedata


def agreed(new: str, old: str) -> int:
    """How many characters of `new` two passes agree on, whatever their punctuation, spaces and case.

    >>> agreed("你好，今日好", "你好今日去"), agreed("你好", ""), agreed("唔該，", "唔該。")
    (5, 0, 2)
    """
    letters = letters_of(new)
    n = common(letters, letters_of(old))
    return letters[n - 1][0] + 1 if n else 0


def letters_of(text: str) -> list[tuple[int, str]]:
    """(place, letter) of everything in a text but punctuation, spaces and case."""
    return [
        (i, c.casefold()) for i, c in enumerate(text) if not unicodedata.category(c).startswith(("P", "S", "Z", "C"))
    ]


def common(a: list[tuple[int, str]], b: list[tuple[int, str]]) -> int:
    """How many letters two texts have in common at their beginning."""
    pairs = enumerate(zip(a, b, strict=False))
    return next((n for n, ((_, mine), (_, theirs)) in pairs if mine != theirs), min(len(a), len(b)))
