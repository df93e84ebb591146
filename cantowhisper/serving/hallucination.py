"""Signs that a transcript is invented: text that repeats itself, too much of it, or a model that is not sure."""

import re
import zlib

from cantowhisper.speech.text import has_loop

# Whisper's own limit (Radford et al. 2022, section 4.5): text that zlib packs more than 2.4-fold is a loop. It was
# found on text of a byte a character; the UTF-8 of Tamil has the same first bytes in each character, and passes it.
MAX_COMPRESSION_RATIO = 2.4
MIN_CONFIDENCE = 0.37  # exp(-1): Whisper's own limit on the mean log-probability of a token
# Where VAD heard no voice. Typing, breath, tones and sweeps reached 0.41 with whisper-base, real words 0.5 and more.
MIN_CONFIDENCE_WITHOUT_VOICE = 0.5


def compression_ratio(text: str) -> float:
    """Characters, each as one byte, to bytes of zlib; 0 for no text. Speech is under 2, a loop far over 2.4."""
    numbers = {character: min(i, 255) for i, character in enumerate(dict.fromkeys(text))}
    raw = bytes(map(numbers.get, text))
    return len(raw) / len(zlib.compress(raw)) if raw else 0.0


def repeats(text: str) -> bool:
    """Whether a transcript goes round in a loop.

    >>> repeats("多謝多謝"), repeats("多謝" * 4), repeats("電話係二二二二八八八八")
    (False, True, False)
    """
    return has_loop(text) or compression_ratio(text) > MAX_COMPRESSION_RATIO


# What Whisper writes on silence and music in Chinese: credits of the subtitles that it was trained on.
_KNOWN_INVENTIONS = re.compile(
    r"請不吝點贊|请不吝点赞|訂閱.{0,3}轉發.{0,3}打賞|订阅.{0,3}转发.{0,3}打赏|明鏡與點點|明镜与点点"
    r"|字幕由.{0,12}社[群区]提供|Amara\.org|字幕製作|中文字幕志[願愿]者|字幕提供者?[:：]"
    r"|(?:感[謝谢]|多[謝谢]|謝謝|谢谢)(?:大家)?(?:的)?(?:觀看|观看|收看|收聽)"
    r"|Thanks? (?:you )?for watching|ご視聴ありがとう"
)
NO_SPEECH = 0.6  # Whisper's own limit on the probability of there being no speech


def known_invention(text: str) -> bool:
    """Whether a text is one that Whisper is known to invent. People say some of these too, so it proves nothing.

    >>> known_invention("請不吝點贊 訂閱 轉發 打賞支持明鏡與點點欄目"), known_invention("多謝大家")
    (True, False)
    """
    return bool(_KNOWN_INVENTIONS.search(text))
