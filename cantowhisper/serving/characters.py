"""From times of tokens to times of characters: a Chinese character is often two or three tokens of UTF-8 bytes."""

from collections.abc import Callable, Iterator, Sequence

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
