"""Which token a language gets in a given tokenizer.

whisper-tiny … large-v2 know Chinese as `<|zh|>` only; large-v3 and turbo added `<|yue|>` for Cantonese. Asking the
older tokenizers for "cantonese" silently yields another token's id (that of `<|translate|>`), so every language
goes through here, and one whose token is absent is refused.
"""

import re
from collections.abc import Iterable

from cantowhisper.contracts import UsageError

# Spoken language → tokens in order of preference. Everything else is its own ISO 639 code.
PREFERRED = {
    "yue": ("<|yue|>", "<|zh|>"),
    "zh": ("<|zh|>",),
}
ALIASES = {
    "cantonese": "yue",
    "zh-hk": "yue",  # Common Voice's "Chinese (Hong Kong)" is Cantonese speech
    "mandarin": "zh",
    "chinese": "zh",
    "cmn": "zh",
    "english": "en",
}


def language_code(language: str) -> str:
    """The code of a language given as name, ISO code or Common Voice locale.

    >>> language_code("Cantonese"), language_code("zh-TW"), language_code("<|de|>")
    ('yue', 'zh', 'de')
    """
    name = language.strip().removeprefix("<|").removesuffix("|>").lower().replace("_", "-")
    code = ALIASES.get(name) or name.split("-")[0]
    if not re.fullmatch(r"[a-z]{2,3}", code):
        raise UsageError(f"{language!r} is no language; give its code, such as yue, zh, en, de or zh-HK")
    return code


def language_token(vocabulary, language: str) -> str:
    """The token to decode `language` with.

    Parameters
    ----------
    vocabulary : a tokenizer (anything with `get_vocab()`), a mapping from token to id, or the tokens
    language : "yue", "cantonese", "zh-HK", "zh", "de", …

    Raises
    ------
    UsageError : the tokenizer has no token for it
    """
    tokens = vocabulary.get_vocab() if hasattr(vocabulary, "get_vocab") else vocabulary
    code = language_code(language)
    wanted = PREFERRED.get(code, (f"<|{code}|>",))
    for token in wanted:
        if token in tokens:
            return token
    known = ", ".join(known_languages(tokens)) or "none"
    raise UsageError(f"this model has no token for {language!r} ({' or '.join(wanted)}); it knows: {known}")


def known_languages(tokens: Iterable[str]) -> list[str]:
    """Codes of all language tokens in a vocabulary: two or three letters in `<|…|>`.

    >>> known_languages(["<|zh|>", "<|translate|>", "<|0.00|>", "a", "<|yue|>"])
    ['yue', 'zh']
    """
    return sorted(t[2:-2] for t in tokens if re.fullmatch(r"<\|[a-z]{2,3}\|>", t))
