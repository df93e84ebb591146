"""Results of the work as rows that a browser edits, and back."""

import json
from collections.abc import Sequence
from pathlib import Path

from cantowhisper.contracts import CantowhisperError, Segment
from cantowhisper.serving.offline.editing.rows import MAX_NOTE, Corrected
from cantowhisper.serving.offline.service import Result
from cantowhisper.serving.offline.transcription import Progress, friendly
from cantowhisper.serving.texts.say import LANGUAGES, Say
from cantowhisper.serving.web.refusal import Refusal


def as_rows(result: Result, written: Result, media: str) -> str:
    """A recording for the editor in the page, as JSON (see rows.py).

    written : the same result in the script that the model wrote
    media : where the recording lies among the uploads; "" where it does not
    """
    value = {
        "name": result.name,
        **({"path": media} if media else {}),
        "duration_s": round(result.progress.duration_s, 3),
        "rows": list(map(_row, result.progress.segments, written.progress.segments)),
        "before": list(map(_row, result.before, written.before)),
        "notes": list(result.progress.notes),
        "cut_short": result.progress.cut_short,
        "problem": _reasons(result.problem) if result.problem else "",
    }
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _reasons(problem: CantowhisperError) -> dict[str, str]:
    """In each language, because the page may be shown in another one later."""
    return {tag: friendly(problem, Say(tag))[:MAX_NOTE] for tag in LANGUAGES}


def _row(segment: Segment, written: Segment) -> dict:
    row = {
        "start_s": round(segment.start_s, 3),
        "end_s": round(segment.end_s, 3),
        "text": segment.text,
        "confidence": round(segment.confidence, 4),
    }
    more = {"flags": list(segment.flags), "language": segment.language, "speaker": segment.speaker}
    more["written"] = written.text if written.text != segment.text else ""
    return row | {key: value for key, value in more.items() if value}


def as_results(recordings: Sequence[Corrected], *, written: bool = False) -> tuple[Result, ...]:
    """Corrected rows as results that are formatted and shown like others. written : with the text as it was written"""
    return tuple(
        Result(
            name=one.name,
            path=Path(Path(one.name).name or "recording"),
            progress=Progress(
                one.as_written if written else one.segments,
                one.duration_s,
                0.0,
                finished=True,
                cut_short=one.cut_short,
                notes=one.notes,
            ),
            before=one.before_as_written if written else one.before,
            problem=Refusal(one.problem) if one.problem else None,
        )
        for one in recordings
    )
