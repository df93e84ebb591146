"""What both pages offer to choose from."""

from collections.abc import Sequence

from cantowhisper.contracts import ModelFacts
from cantowhisper.serving.texts.languages import name_of
from cantowhisper.serving.texts.say import Told, said
from cantowhisper.speech.language import language_code, language_name

FIRST = ("yue", "zh", "en")  # of the people that the pages are made for


def language_choices(facts: ModelFacts, known: Sequence[str]) -> dict[str, Told]:
    """{value: label} of a menu of languages, the default first: what the model was trained for, or what it hears.

    >>> language_choices(ModelFacts(language="yue", language_token="<|zh|>"), ["en", "zh"])
    {'': 'Cantonese', 'auto': 'Detect', 'zh': 'Chinese', 'en': 'English'}
    >>> from cantowhisper.serving.texts.say import Say
    >>> Say("zh-HK").of(language_choices(ModelFacts(), ["en", "zh", "jw"]))
    {'': '自動', 'yue': '粵語', 'zh': '中文', 'en': '英文', 'jw': '爪哇文'}
    """
    trained = facts.language or facts.language_token
    named = lambda code: Told(lambda say: name_of(code, say))
    detect = said("language.detect")
    choices = {"": named(trained), "auto": detect} if trained else {"": detect}
    offered = {*known, "yue"} if "zh" in known else set(known)  # Cantonese has the token of Chinese where it has none
    others = sorted(offered - set(FIRST), key=language_name)
    codes = [code for code in FIRST if code in offered] + others
    own = language_code(trained) if trained else ""
    return choices | {code: named(code) for code in codes if language_code(code) != own}


def default_script(facts: ModelFacts, language: str | None) -> str:
    """The script of the text where nobody chose one: as the model writes.

    But traditional where a stock model is told to write Cantonese: it would mix both.

    >>> default_script(ModelFacts(), "yue"), default_script(ModelFacts(), "auto"), default_script(ModelFacts(), None)
    ('traditional', 'as written', 'as written')
    """
    named = bool(language) and language != "auto"
    return "traditional" if named and not facts.language_token and language_code(language) == "yue" else "as written"
