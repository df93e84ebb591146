"""Signs that a transcript is invented: text that repeats itself, too much of it, or a model that is not sure."""

import re
import zlib

# Whisper's own limit (Radford et al. 2022, section 4.5): UTF-8 text that zlib packs more than 2.4-fold is a loop.
MAX_COMPRESSION_RATIO = 2.4
MIN_CONFIDENCE = 0.37  # exp(-1): Whisper's own limit on the mean log-probability of a token

# Short loops stay under the compression limit: a group of 2-12 characters four times in a row, or one character eight
# times (呵呵呵呵 is laughter, and a telephone number may hold a digit four times).
_LOOP = re.compile(r"(.{2,12}?)\1{3,}|(.)\2{7,}", re.DOTALL)

# Nobody says more than 8 characters of Cantonese a second, and Whisper spells a character with 1-3 tokens, two on
# average; English takes 5 tokens a second. More tokens than this are a loop, however sure the model is of them.
TOKENS_PER_SECOND = 16
TOKENS_TO_SPARE = 16


def token_budget(seconds: float, *, at_most: int) -> int:
    """How many tokens a piece of `seconds` may take.

    >>> token_budget(4.0, at_most=440), token_budget(60.0, at_most=440)
    (80, 440)
    """
    return min(int(seconds * TOKENS_PER_SECOND) + TOKENS_TO_SPARE, at_most)


def compression_ratio(text: str) -> float:
    """Bytes of UTF-8 to bytes of zlib; 0 for no text. Speech is under 2, a loop far over 2.4."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw)) if raw else 0.0


def repeats(text: str) -> bool:
    """Whether a transcript goes round in a loop.

    >>> repeats("多謝多謝"), repeats("多謝" * 4), repeats("電話係二二二二八八八八")
    (False, True, False)
    """
    return bool(_LOOP.search(text)) or compression_ratio(text) > MAX_COMPRESSION_RATIO
