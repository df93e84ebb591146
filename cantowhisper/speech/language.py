"""What a language is called, how it is written, and which token a tokenizer has for it.

People name languages as they like: "Cantonese", `yue`, `zh-HK`, `cmn-Hans-CN`, `deu`, `<|jw|>`. langcodes (the IANA
registry and Unicode's CLDR) knows them all, so that `jv` finds Whisper's `<|jw|>`, `nb-NO` `<|no|>` and `fil` `<|tl|>`.

Two rules are ours. The Chinese of Hong Kong and Macau is Cantonese when it is spoken (Common Voice's `zh-HK`), unless
`cmn` is said. And whisper-tiny … large-v2 know Cantonese as `<|zh|>` only; large-v3 and turbo added `<|yue|>`. Asking
the older tokenizers for "cantonese" silently yields another token's id (that of `<|translate|>`), so every language
goes through here, and one whose token is absent is refused.
"""

import re
from collections.abc import Iterable
from functools import cache

import langcodes
from langcodes.tag_parser import LanguageTagError

from cantowhisper.contracts import UsageError
from cantowhisper.speech.relatives import WHISPER, relatives

# CLDR's distance between two languages: 0 for other codes of one language (jv and jw), 1 for nb and no, 5 for sh and
# sr. At 8 begin languages that merely are near (gsw and de), which nobody should be given without asking.
SAME_LANGUAGE = 5
CANTONESE_REGIONS = ("HK", "MO")
NO_LANGUAGE = ("und", "mul", "zxx", "mis")  # ISO 639 for undetermined, several, none and uncoded
# Scripts that put no spaces between words (Hrkt: both kana). Korean and Vietnamese do.
WITHOUT_SPACES = {"Hans", "Hant", "Hani", "Jpan", "Hrkt", "Hira", "Kana", "Thai", "Laoo", "Khmr", "Mymr", "Tibt"}
MANY = 12  # languages: a model that knows more is not listed in an error


@cache
def language_code(language: str) -> str:
    """The code of a language given as name, tag, Common Voice locale or token: two letters where there are such.

    >>> language_code("Cantonese"), language_code("zh-TW"), language_code("<|jw|>"), language_code("nb-NO")
    ('yue', 'zh', 'jv', 'nb')

    Raises
    ------
    UsageError : it is none
    """
    found = _parsed(language)
    if found.language == "cmn":
        return "zh"
    code = found.language or ""
    return "yue" if code == "zh" and found.territory in CANTONESE_REGIONS else code


@cache
def language_tag(language: str) -> str:
    """A language as it is stored beside a clip: its tag in the standard's spelling, with region and script if told.

    >>> language_tag("zh_HK"), language_tag("Cantonese"), language_tag("deu")
    ('zh-HK', 'yue', 'de')
    """
    return _parsed(language).to_tag()


def is_tag(text: str) -> bool:
    """Whether a text is a language tag, not a name: what a folder may be called.

    >>> is_tag("zh-HK"), is_tag("German"), is_tag("corpus")
    (True, False, False)
    """
    return _tag(text) is not None


def _tag(text: str) -> langcodes.Language | None:
    try:
        found = langcodes.Language.get(text.strip().removeprefix("<|").removesuffix("|>").replace("_", "-"))
    except (LanguageTagError, AttributeError):
        return None
    code = found.language or ""
    # Longer ones are reserved in the standard; those that langcodes reads as such ("thai") are names.
    return found if re.fullmatch(r"[a-z]{2,3}", code) and code not in NO_LANGUAGE else None


def _parsed(text: str) -> langcodes.Language:
    found = _tag(text)
    if found is None:
        try:
            found = langcodes.find(text.strip())
        except LookupError:
            raise UsageError(
                f"{text!r} is no language; give its code or English name, such as yue, zh-HK, de or German"
            ) from None
    return found


def language_token(vocabulary, language: str) -> str:
    """The token to decode `language` with.

    Parameters
    ----------
    vocabulary : a tokenizer (anything with `get_vocab()`), a mapping from token to id, or the tokens
    language : "yue", "cantonese", "zh-HK", "zh", "de", …

    Raises
    ------
    UsageError : the tokenizer has no token for it; the message names relatives that have one
    """
    tokens = vocabulary.get_vocab() if hasattr(vocabulary, "get_vocab") else vocabulary
    return _token(tuple(known_languages(tokens)), language)


@cache
def _token(known: tuple[str, ...], language: str) -> str:
    code = language_code(language)
    for wanted in (code, "zh") if code == "yue" else (code,):
        distance, nearest = min(((_distance(wanted, one), one) for one in known), default=(SAME_LANGUAGE + 1, ""))
        if distance <= SAME_LANGUAGE:
            return f"<|{nearest}|>"
    raise UsageError(f"this model has no token for {language!r} ({language_name(code)}); {_way_out(code, known)}")


def stand_in(language: str) -> str:
    """The code of the language under whose token a stock Whisper learns one that it has no token for; "" if it has one.

    >>> stand_in("yue"), stand_in("ky")
    ('', 'kk')
    """
    try:
        _token(tuple(WHISPER), language)
    except UsageError:
        return relatives(language_code(language), WHISPER)[0]
    return ""


def _distance(code: str, other: str) -> int:
    return 0 if code == other else langcodes.tag_distance(code, other)


def _way_out(code: str, known: tuple[str, ...]) -> str:
    near = relatives(code, known)
    if len(known) <= MANY:
        return f"it knows: {', '.join(known) or 'none'}"
    listed = ", ".join(f"{one} ({language_name(one)})" for one in near)
    return f"near languages that have one: {listed}. Train it under such a one: --set language_token={near[0]}"


def known_languages(tokens: Iterable[str]) -> list[str]:
    """Codes of all language tokens in a vocabulary: two or three letters in `<|…|>`.

    >>> known_languages(["<|zh|>", "<|translate|>", "<|0.00|>", "a", "<|yue|>"])
    ['yue', 'zh']
    """
    return sorted(t[2:-2] for t in tokens if re.fullmatch(r"<\|[a-z]{2,3}\|>", t))


@cache
def language_name(language: str, told_in: str = "en") -> str:
    """A language's name, in English or another language.

    >>> language_name("yue"), language_name("jw"), language_name("de", "zh-Hant-HK")
    ('Cantonese', 'Javanese', '德文')
    """
    return langcodes.Language.make(language=language_code(language)).display_name(told_in)


@cache
def both_names(language: str) -> str:
    """What a language calls itself, and its English name.

    >>> both_names("yue"), both_names("en"), both_names("de")
    ('粵語 Cantonese', 'English', 'Deutsch German')
    """
    own = langcodes.Language.make(language=language_code(language)).autonym()
    english = language_name(language)
    return own if own == english else f"{own[:1].upper()}{own[1:]} {english}"


@cache
def written_with_spaces(language: str) -> bool:
    """Whether a language puts spaces between its words, by its usual script: then its error rate is one of words.

    >>> [code for code in ("yue", "ja", "th", "my", "ko", "vi", "ka") if written_with_spaces(code)]
    ['ko', 'vi', 'ka']
    """
    return usual_script(language) not in WITHOUT_SPACES


@cache
def usual_script(language: str) -> str:
    """The script that a language is written in where nothing else is said (ISO 15924): Hant, Latn, Geor, …; or "".

    >>> usual_script("zh-HK"), usual_script("zh"), usual_script("sr-Latn"), usual_script("Tamil")
    ('Hant', 'Hans', 'Latn', 'Taml')
    """
    return _parsed(language).maximize().script or ""
