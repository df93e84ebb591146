"""Traditional and simplified Chinese characters.

OpenCC converts what it is given: it takes Hong Kong's 吓, 床, 涌 and 范 for the simplified forms of 嚇, 牀, 湧 and 範,
and changed 8 of 100 sentences of Common Voice's zh-HK that were traditional already. Many characters belong to both
ways of writing, so a text's other characters must tell which one it is in: 们 is simplified only, 們 traditional only.

- What only simplified writing has is converted, in any text.
- What both have is converted (里 to 裏) where the text has more characters that are simplified only than traditional
  only, and else left: in traditional text it is what it looks like.
"""

import re
from functools import cache

from cantowhisper.contracts import UsageError
from cantowhisper.speech.language import language_code, usual_script

SCRIPTS = ("as written", "traditional", "simplified")
# What OpenCC takes for simplified, Big5 has not, and Cantonese writes: 睇吓, "have a look".
CANTONESE = "吓"
# The Cantonese "to be" is 系 in simplified writing, and OpenCC knows Mandarin words only. In these it stays 系.
_TO_BE = re.compile("(?<![學體派星水語母父譜科])系(?![統列數])")


def to_script(text: str, script: str, *, language: str = "") -> str:
    """Convert Chinese text to a script: "as written" (unchanged), "traditional" or "simplified" (OpenCC).

    `language` decides on the forms of traditional characters: those of Hong Kong for Cantonese (zh-HK, yue: 里 becomes
    裏), of Taiwan for zh-TW (裡), else OpenCC's own.

    >>> to_script("边度有嘢食", "traditional"), to_script("東涌", "traditional"), to_script("邊度", "simplified")
    ('邊度有嘢食', '東涌', '边度')
    """
    if script == "as written":
        return text
    if script not in SCRIPTS:
        raise UsageError(f"{script!r} is no script; choose one of {', '.join(SCRIPTS)}")
    return _converter("t2s").convert(text) if script == "simplified" else _traditional(text, _forms(language))


@cache
def _forms(language: str) -> str:
    """The name of OpenCC's conversion into a region's traditional characters."""
    if not language:
        return "s2t"
    if language_code(language) == "yue":
        return "s2hk"
    return "s2tw" if usual_script(language) == "Hant" else "s2t"


def _traditional(text: str, forms: str) -> str:
    converted = _converter(forms).convert(text)
    if converted == text:
        return text
    if len(converted) != len(text):  # it maps characters one to one; should it ever not, nothing can be left
        return converted
    simplified = [_only_simplified(c) for c in text]
    all_of_it = sum(simplified) > sum(_only_traditional(c) for c in text)
    text = "".join(
        new if only or (all_of_it and old not in CANTONESE) else old
        for old, new, only in zip(text, converted, simplified, strict=True)
    )
    return _TO_BE.sub("係", text) if all_of_it and forms == "s2hk" else text


@cache
def _only_simplified(character: str) -> bool:
    """Whether no traditional text has this character: OpenCC changes it, also into Hong Kong's forms, and Big5 lacks
    it."""
    if character in CANTONESE or character in (_converter(f).convert(character) for f in ("s2t", "s2hk")):
        return False
    try:
        character.encode("big5")
    except UnicodeEncodeError:
        return True
    return False


@cache
def _only_traditional(character: str) -> bool:
    return _converter("t2s").convert(character) != character


@cache
def _converter(name: str):
    import opencc  # its dictionaries take a moment; most callers never need them

    return opencc.OpenCC(name)
