"""What both pages offer to choose from."""

from collections.abc import Sequence

from cantowhisper.contracts import ModelFacts
from cantowhisper.speech.language import both_names, language_code, language_name

FIRST = ("yue", "zh", "en")  # of the people that the pages are made for
DETECT = "自動 Detect"


def language_choices(facts: ModelFacts, known: Sequence[str]) -> dict[str, str]:
    """{value: label} of a menu of languages, the default first: what the model was trained for, or what it hears.

    >>> language_choices(ModelFacts(language="yue", language_token="<|zh|>"), ["en", "zh"])
    {'': '粵語 Cantonese', 'auto': '自動 Detect', 'zh': '中文 Chinese', 'en': 'English'}
    >>> language_choices(ModelFacts(), ["en", "zh", "jw"])
    {'': '自動 Detect', 'yue': '粵語 Cantonese', 'zh': '中文 Chinese', 'en': 'English', 'jw': 'Jawa Javanese'}
    """
    trained = facts.language or facts.language_token
    choices = {"": both_names(trained), "auto": DETECT} if trained else {"": DETECT}
    offered = {*known, "yue"} if "zh" in known else set(known)  # Cantonese has the token of Chinese where it has none
    others = sorted(offered - set(FIRST), key=language_name)
    codes = [code for code in FIRST if code in offered] + others
    own = language_code(trained) if trained else ""
    return choices | {code: both_names(code) for code in codes if language_code(code) != own}


def default_script(facts: ModelFacts, language: str | None) -> str:
    """The script of the text where nobody chose one: as the model writes.

    But traditional where a stock model is told to write Cantonese: it would mix both.

    >>> default_script(ModelFacts(), "yue"), default_script(ModelFacts(), "auto"), default_script(ModelFacts(), None)
    ('traditional', 'as written', 'as written')
    """
    named = bool(language) and language != "auto"
    return "traditional" if named and not facts.language_token and language_code(language) == "yue" else "as written"
