"""What a sentence must be like to be learned: not longer than Whisper writes."""

from functools import cache

from cantowhisper.contracts import CantowhisperError
from cantowhisper.speech.context import MAX_DECODER_TOKENS, PROMPT_TOKENS

SPECIAL_TOKENS = PROMPT_TOKENS + 1  # and the end
TOO_MANY_TOKENS = f"more than {MAX_DECODER_TOKENS} tokens"


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
