"""From times of tokens to times of characters: a Chinese character is often two or three tokens of UTF-8 bytes."""

from collections.abc import Callable, Iterator, Sequence

from cantowhisper.serving.live.agreement import common_prefix_length
from cantowhisper.speech.text import REPLACEMENT_CHARACTER


def character_times(
    decode: Callable[[list[int]], str], ids: Sequence[int], times: Sequence[float]
) -> Iterator[tuple[str, float, float]]:
    """Yield (character, start, end) for each character but spaces.

    decode : token ids to text
    times : when each token begins, and when the last one ends; len(ids) + 1 numbers that do not fall

    Tokens are gathered until they are whole characters; several characters of one token share its time equally.
    """
    held: list[int] = []
    start = times[0]
    for number, (token, begins, ends) in enumerate(zip(ids, times, times[1:], strict=False), start=1):
        start = start if held else begins
        held.append(token)
        text = decode(held)
        if text.endswith(REPLACEMENT_CHARACTER) and number < len(ids):
            continue
        held = []
        width = max(ends - start, 0.0) / max(len(text), 1)
        for i, character in enumerate(text):
            if not character.isspace():
                yield character, round(start + i * width, 3), round(start + (i + 1) * width, 3)


def least_values(
    decode: Callable[[list[int]], str], begin: list[int], ids: Sequence[int], values: Sequence[float]
) -> Iterator[float]:
    """Yield for each character of a text the least of its tokens' values; characters of one token share its value.

    decode : token ids to text
    begin : tokens before the text
    ids, values : its tokens, and a value of each
    """
    text, least = decode([*begin, *ids]), float("inf")
    n = common_prefix_length(decode(begin), text)
    for number, value in enumerate(values, start=1):
        least = min(least, value)
        n_whole = common_prefix_length(decode([*begin, *ids[:number]]), text)
        if n_whole > n:
            yield from [least] * (n_whole - n)
            n, least = n_whole, float("inf")
