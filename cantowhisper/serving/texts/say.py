"""Texts in the language of whoever reads them.

A text is found by its key in one of the catalogues beside this file, each with its three languages. Where the reader is
not known yet (a page that is built once for all, an error that a program may get, too) it travels as a `Told`: a str
that is English, and that can say itself in the other languages.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from cantowhisper.serving.texts import editor, live, offline, refusals, shared

LANGUAGES = {"zh-HK": "繁體中文", "zh-CN": "简体中文", "en": "English"}  # tags, and what the pages' switch calls them
CATALOGUES = (shared, offline, editor, live, refusals)
TEXTS = {key: dict(zip(LANGUAGES, texts, strict=True)) for module in CATALOGUES for key, texts in module.TEXTS.items()}


@dataclass(frozen=True)
class Say:
    """Texts in one language: `Say("zh-HK")("go")`. A language that the pages do not speak stands for English."""

    language: str = "en"

    def __post_init__(self):
        if self.language not in LANGUAGES:
            object.__setattr__(self, "language", "en")

    def __call__(self, key: str, **values) -> str:
        """The text of a key, with values in its places; those that are Told are said in the same language."""
        return TEXTS[key][self.language].format(**{name: self.of(value) for name, value in values.items()})

    def of(self, value):
        """A value with all that is Told in it, in dictionaries and lists too, as plain str of this language."""
        if isinstance(value, Told):
            return value.tell(self)
        if isinstance(value, dict):
            return {key: self.of(one) for key, one in value.items()}
        if type(value) in (list, tuple):
            return type(value)(map(self.of, value))
        return value


class Told(str):
    """A text in all languages of the pages. As a str it is English: what programs and logs get.

    tell : makes the text, of a Say
    """

    tell: Callable[[Say], str]

    def __new__(cls, tell: Callable[[Say], str]):
        made = super().__new__(cls, tell(Say()))
        made.tell = tell
        return made

    def __str__(self) -> "Told":
        return self  # so that Gradio, and an error that is asked for its words, keep it whole

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        return Told, (self.tell,)


def said(key: str, **values) -> Told:
    """A text of the catalogues whose reader is not known yet.

    >>> said("state.worked", time=said("seconds", n=3)), Say("zh-HK").of(said("seconds", n=3))
    ('3 s to transcribe', '3 秒')
    """
    return Told(partial(_say, key=key, values=values))


def how_long(seconds: float, say: Say) -> str:
    """A duration in the unit that a reader would choose.

    >>> [how_long(s, Say()) for s in (20, 1200, 7200)]
    ['20 s', '20 min', '2 h']
    """
    unit, length_s = ("seconds", 1) if seconds < 90 else ("minutes", 60) if seconds < 5400 else ("hours", 3600)
    return say(unit, n=format(seconds / length_s, ".3g" if unit == "hours" else ".0f"))


def _say(say: Say, *, key: str, values: dict) -> str:
    return say(key, **values)


def as_said(texts: Mapping[str, str]) -> Told:
    """A text that was said before, by the language; for one that is missing any other stands.

    >>> as_said({"zh-HK": "大", "en": "large"}), Say("zh-HK").of(as_said({"zh-HK": "大", "en": "large"}))
    ('large', '大')
    """
    return Told(partial(_pick, texts=dict(texts)))


def _pick(say: Say, *, texts: dict[str, str]) -> str:
    return texts.get(say.language) or next(filter(None, texts.values()), "")


def script_of(modules: Iterable, say: Say) -> str:
    """JavaScript that defines `LANGUAGE` and `phrase(key, values)`, with the texts of these catalogues."""
    keys = [key for module in modules for key in module.TEXTS]
    texts = json.dumps({key: TEXTS[key][say.language] for key in keys}, ensure_ascii=False).replace("<", "\\u003c")
    return (
        f"const LANGUAGE = {json.dumps(say.language)}, TEXTS = {texts};\n"
        "const phrase = (key, values = {}) => TEXTS[key].replace(/\\{(\\w+)\\}/g, (_, name) => values[name]);\n"
    )
