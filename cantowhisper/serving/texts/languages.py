"""What languages are called in the language of the reader."""

from cantowhisper.serving.texts.say import Say
from cantowhisper.speech.language import language_code, language_name

_NAMED_IN = {"zh-HK": "zh-Hant-HK", "zh-CN": "zh-Hans", "en": "en"}
# langcodes has Taiwan's names for all traditional Chinese; these are CLDR's for Hong Kong.
_HONG_KONG = {
    "am": "阿姆哈拉文",
    "az": "阿塞拜疆文",
    "bs": "波斯尼亞文",
    "ca": "加泰隆尼亞文",
    "gl": "加里西亞文",
    "hr": "克羅地亞文",
    "it": "意大利文",
    "ka": "格魯吉亞文",
    "kn": "坎納達文",
    "ml": "馬拉雅拉姆文",
    "mt": "馬耳他文",
    "sl": "斯洛文尼亞文",
    "so": "索馬里文",
    "ta": "泰米爾文",
    "ur": "烏爾都文",
}


def name_of(language: str, say: Say) -> str:
    """A language's name for a reader.

    >>> [name_of("yue", Say(reader)) for reader in ("zh-HK", "zh-CN", "en")], name_of("it", Say("zh-HK"))
    (['粵語', '粤语', 'Cantonese'], '意大利文')
    """
    own = _HONG_KONG.get(language_code(language)) if say.language == "zh-HK" else None
    return own or language_name(language, _NAMED_IN[say.language])
