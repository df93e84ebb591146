"""A transcript as a file: plain text, subtitles (SRT, WebVTT), a table (TSV), or everything (JSON).

All take segments in time order and return text that ends with a line break (nothing at all for no segments, except
where the format has a head). Times are rounded once, to whole milliseconds. Subtitles are captions (captions/cues.py),
with lines and times for readers; the table and JSON have the segments as they were recognised. Where segments say who
speaks, all formats do: text and SRT where another one begins, the others each time. The table and JSON have speakers'
numbers, the others call them in the language of a `say`, by default in English.
"""

import dataclasses
import html
import json
from collections.abc import Callable, Sequence

from cantowhisper.contracts import Segment, UsageError
from cantowhisper.serving.captions.cues import Cue, captions
from cantowhisper.serving.captions.rules import RULES, script_of
from cantowhisper.serving.captions.turns import named_turns, speaker_name
from cantowhisper.serving.texts.say import Say
from cantowhisper.speech.text import join_texts


def to_txt(segments: Sequence[Segment], say: Say | None = None) -> str:
    """One line a segment, without times."""
    return "".join(f"{_one_line(s.text)}\n" for s in named_turns(segments, say))


def to_srt(segments: Sequence[Segment], say: Say | None = None) -> str:
    """SubRip: numbered cues with comma decimals. The format has no escapes; players show its text as it is."""
    cues = [
        f"{number}\n{clock(cue.start_s, ',')} --> {clock(cue.end_s, ',')}\n{_lines(cue)}\n"
        for number, cue in enumerate(_captions_with_names(segments, say), start=1)
    ]
    return "\n".join(cues)


def to_vtt(segments: Sequence[Segment], say: Say | None = None) -> str:
    """WebVTT (w3.org/TR/webvtt1): `&`, `<` and `>` are escaped, so no text can end a cue or open a tag.

    Who speaks stands in a voice tag, which players do not show unless a style sheet says so.
    """
    escaped = lambda cue: html.escape(_lines(cue), quote=False)
    cues = [
        f"{clock(cue.start_s, '.')} --> {clock(cue.end_s, '.')}\n{_voice(cue, say)}{escaped(cue)}\n"
        for cue in captions(segments)
    ]
    return "\n".join(["WEBVTT\n", *cues])


def to_tsv(segments: Sequence[Segment]) -> str:
    """start and end in whole milliseconds, and the text without tabs (the layout of openai-whisper's writer).

    Then the speaker's number or name, where segments have one.
    """
    rows = [[_ms(s.start_s), _ms(s.end_s), _one_line(s.text), s.speaker] for s in segments]
    n = 4 if any(s.speaker for s in segments) else 3
    return "".join("\t".join(map(str, row[:n])) + "\n" for row in [["start", "end", "text", "speaker"], *rows])


def to_json(segments: Sequence[Segment]) -> str:
    """The whole text on one line, its language, and every field of each segment."""
    rows = [{**dataclasses.asdict(s), "start_s": _ms(s.start_s) / 1000, "end_s": _ms(s.end_s) / 1000} for s in segments]
    for row in rows:
        row["confidence"] = round(row["confidence"], 4)
        del row["language"]  # all have one
        if not row["characters"]:  # only where they were asked for
            del row["characters"]
        if not row["speaker"]:
            del row["speaker"]
    language = next((s.language for s in segments if s.language), "")
    text = join_texts((s.text for s in segments), language)
    told = {"language": language} if language else {}
    return json.dumps({"text": text, **told, "segments": rows}, ensure_ascii=False, indent=2) + "\n"


FORMATS: dict[str, Callable[..., str]] = {
    "txt": to_txt,
    "srt": to_srt,
    "vtt": to_vtt,
    "tsv": to_tsv,
    "json": to_json,
}
NAMING = ("txt", "srt", "vtt")  # those that call speakers by names


def write(segments: Sequence[Segment], name: str, say: Say | None = None) -> str:
    """Segments in the format of that name, one of FORMATS. say : the language of speakers' names"""
    if name not in FORMATS:
        raise UsageError(f"{name!r} is no transcript format; choose one of {', '.join(FORMATS)}")
    return FORMATS[name](segments, say) if name in NAMING else FORMATS[name](segments)


def clock(seconds: float, decimal: str = ".") -> str:
    """Hours, minutes, seconds and milliseconds. Rounded before it is taken apart, so never "00:00:60.000".

    >>> clock(59.9996), clock(3661.5, ",")
    ('00:01:00.000', '01:01:01,500')
    """
    rest, ms = divmod(_ms(seconds), 1000)
    minutes, s = divmod(rest, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{s:02d}{decimal}{ms:03d}"


def _ms(seconds: float) -> int:
    return max(0, round(seconds * 1000))


def _captions_with_names(segments: Sequence[Segment], say: Say | None) -> list[Cue]:
    if not any(segment.speaker for segment in segments):
        return captions(segments)
    # Names are part of the text, so that lines have room for them; how long lines may be is for the text alone to say.
    rules = RULES[script_of(join_texts(s.text for s in segments))]
    return captions(list(named_turns(segments, say)), rules)


def _voice(cue: Cue, say: Say | None) -> str:
    return f"<v {html.escape(speaker_name(cue.speaker, say), quote=False)}>" if cue.speaker else ""


def _lines(cue: Cue) -> str:
    return "\n".join(cue.lines)


def _one_line(text: str) -> str:
    # A line break inside a cue's text would end the cue, and a tab a table cell; "-->" is for times only.
    return " ".join(text.split()).replace("-->", "→")
