"""Rows of a transcript as a browser sends them back after corrections: checked, and made segments again.

    {"recordings": [{"name": …, "path": …, "duration_s": …, "rows": [{"start_s": …, "end_s": …, "text": …,
        "confidence": …, "flags": […], "language": …, "speaker": …, "written": …}, …], "before": [rows of the
        base model], "notes": […], "cut_short": …, "problem": {"zh-HK": …, "zh-CN": …, "en": …}}, …]}

`path` is where the recording lies among the uploads, "" where it does not any more; only who uploaded it knows the
folder's name. `written` is the text in the script that the model wrote, where another one is shown and the row was not
typed over. `problem` says in each language of the pages why a recording was not transcribed; "" where it was.
"""

import json
import math
import unicodedata
from dataclasses import dataclass, replace

from cantowhisper.contracts import Segment, UsageError
from cantowhisper.serving.offline.limits import Limits
from cantowhisper.serving.texts.say import LANGUAGES, as_said, said
from cantowhisper.serving.web.filter import is_own_file
from cantowhisper.serving.web.refusal import Refusal
from cantowhisper.speech.language import language_tag

FORMATS = ("txt", "srt", "vtt", "tsv", "json", "clips")
ADDRESSES = {name: f"/edited/{name}" for name in FORMATS}  # our own routes
JYUTPING = "/jyutping"  # one more of them (see jyutping.py)
POSTS = frozenset({*ADDRESSES.values(), JYUTPING})
EDITED, DOUBTFUL = "edited", ("low_confidence", "repetition")  # flags of a segment

MAX_ROWS = 10_000  # of all recordings together: ten of half an hour have some 6,000
MAX_ROWS_BYTES = 2_000_000
MAX_TEXT, MAX_NAME, MAX_NOTE = 2_000, 255, 500  # characters
MAX_SPEAKER, MAX_PATH = 40, 4096
MAX_FLAGS = 10
SLACK_S = 0.011  # times are told in hundredths of a second, and a recording's length is rounded once more


class _Wrong(Refusal):
    """A field that is wrong; of a row, `_rows` says which."""

    def __init__(self, key: str, what: str, **values):
        self.fault = said(key, what=what, **values)
        super().__init__(said("rows.wrong", fault=self.fault))


@dataclass(frozen=True)
class Corrected:
    """One recording's rows and the base model's, as shown and in the script that they were written in."""

    name: str
    path: str
    duration_s: float
    segments: tuple[Segment, ...]
    as_written: tuple[Segment, ...]
    before: tuple[Segment, ...] = ()
    before_as_written: tuple[Segment, ...] = ()
    notes: tuple[str, ...] = ()
    cut_short: str = ""
    problem: str = ""


def read_rows(value: object, limits: Limits) -> tuple[Corrected, ...]:
    """What a browser sent, as JSON text or parsed.

    Raises
    ------
    Refusal : one line that says what is wrong with which row
    """
    value = parsed(value) if isinstance(value, str) else value
    found = value.get("recordings") if isinstance(value, dict) else None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found) or not found:
        raise Refusal(said("rows.empty"))
    if len(found) > limits.max_files:
        raise Refusal(said("rows.recordings", most=limits.max_files))
    _require_few(sum(len(_list(one, key)) for one in found for key in ("rows", "before")))
    return tuple(_recording(one, limits) for one in found)


def read_lines(rows: object) -> list[Segment]:
    """Rows without a recording, as the live page has them.

    Raises
    ------
    Refusal : one line that says what is wrong with which row
    """
    values = _list({"rows": rows}, "rows")
    _require_few(len(values))
    return [shown for shown, _ in _rows(values, math.inf)]


def _require_few(n_rows: int) -> None:
    if n_rows > MAX_ROWS:
        raise Refusal(said("rows.many", most=f"{MAX_ROWS:,}"), status=413)


def parsed(text: str | bytes) -> object:
    """What JSON text says, or the Refusal that says that it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Refusal(said("rows.no_json")) from None


def _recording(value: dict, limits: Limits) -> Corrected:
    duration_s = _number(value.get("duration_s"), "duration_s", most=limits.max_audio_s + 1)
    rows, before = (_rows(_list(value, key), duration_s) for key in ("rows", "before"))
    cut_short = _text(value.get("cut_short", ""), "cut_short", 10)
    if cut_short not in ("", "time", "stopped"):
        raise _Wrong("rows.cut_short", "cut_short")
    return Corrected(
        name=_text(value.get("name"), "name", MAX_NAME),
        path=_path(value.get("path", "")),
        duration_s=duration_s,
        segments=tuple(shown for shown, _ in rows),
        as_written=tuple(written for _, written in rows),
        before=tuple(shown for shown, _ in before),
        before_as_written=tuple(written for _, written in before),
        notes=tuple(_text(note, "notes", MAX_NOTE) for note in _list(value, "notes", at_most=20)),
        cut_short=cut_short,
        problem=_problem(value.get("problem", "")),
    )


def _problem(value: object) -> str:
    """Told, where the languages of the pages have it each."""
    if not isinstance(value, dict):
        return _text(value, "problem", MAX_NOTE)
    return as_said({tag: _text(value.get(tag, ""), "problem", MAX_NOTE) for tag in LANGUAGES})


def _rows(values: list, duration_s: float) -> list[tuple[Segment, Segment]]:
    """Each row as shown and as written."""
    rows, ended_s = [], 0.0
    for number, value in enumerate(values, start=1):
        try:
            shown, written = _row(value)
            if shown.end_s < shown.start_s:
                raise _Wrong("rows.ends_early", "end_s")
            if shown.start_s < ended_s - SLACK_S:
                raise _Wrong("rows.overlaps", "start_s")
            if shown.end_s > duration_s + SLACK_S:
                raise _Wrong("rows.ends_late", "end_s", seconds=f"{duration_s:g}")
        except _Wrong as wrong:
            raise Refusal(said("rows.wrong_row", number=number, fault=wrong.fault)) from None
        ended_s = shown.end_s
        rows.append((shown, written))
    return rows


def _row(value: object) -> tuple[Segment, Segment]:
    if not isinstance(value, dict):
        raise _Wrong("rows.no_object", "row")
    text = _text(value.get("text"), "text", MAX_TEXT)
    flags = tuple(_text(flag, "flags", MAX_SPEAKER) for flag in _list(value, "flags", at_most=MAX_FLAGS))
    shown = Segment(
        start_s=round(_number(value.get("start_s"), "start_s"), 3),
        end_s=round(_number(value.get("end_s"), "end_s"), 3),
        text=text,
        confidence=_number(value.get("confidence", 1.0), "confidence", most=1.0),
        flags=tuple(flag for flag in flags if EDITED not in flags or flag not in DOUBTFUL),
        language=_language(value.get("language", "")),
        speaker=_speaker(value.get("speaker", 0)),
    )
    written = _text(value.get("written", text), "written", MAX_TEXT)
    return shown, replace(shown, text=written)


def _number(value: object, what: str, *, most: float = math.inf) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _Wrong("rows.no_number", what)
    if not 0 <= value <= min(most, 1e7):  # also NaN
        raise _Wrong("rows.out_of_range", what, most=f"{most:g}")
    return float(value)


def _text(value: object, what: str, at_most: int) -> str:
    """A line of text: spaces for line breaks, no control characters."""
    if not isinstance(value, str):
        raise _Wrong("rows.no_text", what)
    if len(value) > at_most:
        raise _Wrong("rows.long", what, most=at_most)
    line = " ".join(value.split())
    if line.isprintable():
        return line
    if any(unicodedata.category(character) == "Cs" for character in line):
        raise _Wrong("rows.broken", what)
    return "".join(character for character in line if unicodedata.category(character) != "Cc")


def _list(value: dict, key: str, *, at_most: int | None = None) -> list:
    found = value.get(key, [])
    if not isinstance(found, list):
        raise _Wrong("rows.no_list", key)
    if at_most is not None and len(found) > at_most:
        raise _Wrong("rows.long_list", key, most=at_most)
    return found


def _language(value: object) -> str:
    code = _text(value, "language", MAX_SPEAKER)
    try:
        _ = code and language_tag(code)
    except UsageError:
        raise _Wrong("rows.no_language", "language") from None
    return code


def _speaker(value: object) -> int | str:
    """A number, as recognised, or a name."""
    if isinstance(value, int) and not isinstance(value, bool):
        if not 0 <= value <= 1000:
            raise _Wrong("rows.out_of_range", "speaker", most=1000)
        return value
    name = _text(value, "speaker", MAX_SPEAKER)
    return int(name) if name.isascii() and name.isdigit() and len(name) < 4 else name or 0


def _path(value: object) -> str:
    """Where an upload lies, or did before it was swept; "" where no upload ever does, as after a restart."""
    return value if isinstance(value, str) and len(value) <= MAX_PATH and is_own_file(value) else ""


def is_doubtful(segment: Segment) -> bool:
    """Whether somebody should listen to a row again: unsure or going round, and not corrected yet."""
    return bool({*DOUBTFUL} & {*segment.flags}) and EDITED not in segment.flags
