"""How captions look, by script: one home for every limit, its unit and its reason.

The numbers are those of Netflix's timed-text style guides, which are public and which most tools follow: general
requirements, timing, and the guides of English, Chinese, Japanese and Korean.
"""

import re
from dataclasses import dataclass

from cantowhisper.contracts import UsageError
from cantowhisper.options import Options, option


@dataclass(frozen=True)
class CaptionRules(Options):
    """Limits of the lines and times of captions.

    Characters are counted as the script's guide does: where `full_width` is true, a full-width character is one and a
    Latin letter, digit or space half; else every character is one, and a full-width one two. Marks that are drawn over
    or under another character are none.
    """

    stage = "captions"

    line_characters: int = option(42, "English and nearly all other languages", unit="characters", least=4)
    full_width: bool = option(False, "Latin letters are counted as halves beside Chinese characters")
    max_lines: int = option(2, "more would cover the picture", unit="lines", least=1, most=4)
    characters_per_s: float = option(
        17.0, "reading speed of adults; English allows 20", unit="characters a second", above=0
    )
    min_s: float = option(0.833, "5/6 of a second: what is gone sooner is seen and not read", unit="seconds", least=0)
    max_s: float = option(7.0, "what stays longer is read a second time", unit="seconds", above=0)
    gap_s: float = option(
        0.083,
        "two frames at 24 a second: without them two captions look like one that changed",
        unit="seconds",
        least=0,
    )
    close_gap_s: float = option(
        0.5, "a longer gap is a pause; one up to this long flickers and is closed to gap_s", unit="seconds", least=0
    )
    linger_s: float = option(
        0.5, "a caption may stay this long after the last word for the sake of its reader", unit="seconds", least=0
    )

    def check(self) -> None:
        if self.min_s > self.max_s:
            raise UsageError("min_s is over max_s: no caption would do")

    @property
    def character_columns(self) -> int:
        """Columns of one character as these rules count, where a Latin letter takes one and a Chinese character two."""
        return 2 if self.full_width else 1

    @property
    def line_columns(self) -> int:
        return self.line_characters * self.character_columns


RULES = {
    "other": CaptionRules(),
    "chinese": CaptionRules(line_characters=16, full_width=True, characters_per_s=9.0),
    "japanese": CaptionRules(line_characters=13, full_width=True, characters_per_s=4.0),
    "korean": CaptionRules(line_characters=16, full_width=True, characters_per_s=12.0),
}
HAN = "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
KANA = "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
HANGUL = "\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3"
_HAN, _KANA, _HANGUL = (re.compile(f"[{letters}]") for letters in (HAN, KANA, HANGUL))
_LETTER = re.compile(r"[^\W_]")
_KANA_SHARE = 0.1  # Japanese has more of it; a Chinese text has at most a name or a の


def script_of(text: str) -> str:
    """Which of RULES a whole transcript goes by: that of the script that takes most of its room.

    >>> [script_of(text) for text in ("我買咗部iPhone 15", "I said 你好 to them", "今日は晴れ", "안녕 여러분")]
    ['chinese', 'other', 'japanese', 'korean']
    """
    han, kana, hangul = (len(letters.findall(text)) for letters in (_HAN, _KANA, _HANGUL))
    wide = han + kana + hangul
    if not wide or 2 * wide < len(_LETTER.findall(text)) - wide:
        return "other"
    if hangul > han + kana:
        return "korean"
    return "japanese" if kana > _KANA_SHARE * (han + kana) else "chinese"
