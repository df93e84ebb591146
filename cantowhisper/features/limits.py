"""What a sentence must be like to be learned: not longer than Whisper writes, nor quicker than people speak."""

from functools import cache

from cantowhisper.contracts import CantowhisperError
from cantowhisper.speech.context import MAX_DECODER_TOKENS, PROMPT_TOKENS
from cantowhisper.speech.language import language_code
from cantowhisper.speech.text import cer_view

SPECIAL_TOKENS = PROMPT_TOKENS + 1  # and the end
TOO_MANY_TOKENS = f"more than {MAX_DECODER_TOKENS} tokens"

# Slowest and quickest speech that is believed, in characters a second without spaces and punctuation. Read Cantonese
# has 2 to 8; the bounds leave room for silence around a word and for quick talkers, and catch wrong sentences.
CHARACTER_RATES = {"yue": (0.25, 12.0), "zh": (0.25, 12.0), "ja": (0.25, 18.0), "ko": (0.25, 14.0)}
ALPHABETIC = (0.4, 40.0)
# A word by itself ("E?") stands in as much silence as its speaker left, so it may be this slow.
A_WORD, SLOWEST_WORD = 3, 0.1  # characters, and characters a second


def too_many_tokens(text: str, tokenizer: str) -> bool:
    """Whether a sentence with its special tokens is longer than MAX_DECODER_TOKENS.

    A byte-level tokenizer never writes more tokens than bytes, so one is loaded only for sentences of more bytes.
    """
    if len(text.encode()) + SPECIAL_TOKENS <= MAX_DECODER_TOKENS:
        return False
    return len(_tokenizer(tokenizer)(text, add_special_tokens=False)["input_ids"]) + SPECIAL_TOKENS > MAX_DECODER_TOKENS


@cache
def _tokenizer(name: str):
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise CantowhisperError(
            f"a sentence may have more than {MAX_DECODER_TOKENS} tokens, and the tokenizer {name} that counts them "
            "cannot be loaded; connect to the internet, or give a folder with --set tokenizer=FOLDER"
        ) from error


def implausible_speed(text: str, seconds: float, language: str) -> bool:
    """Whether nobody says `text` in so many seconds."""
    slowest, quickest = CHARACTER_RATES.get(language_code(language), ALPHABETIC)
    n = len(cer_view(text, "no_punctuation"))
    return not (SLOWEST_WORD if n <= A_WORD else slowest) <= n / seconds <= quickest
