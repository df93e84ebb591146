"""What the offline page shows, as HTML and words: the state of the work, transcripts by the second, head and limits.

Everything that was recognised or that a visitor named is escaped. Rows carry their times as data, and the page's
script (player.js) turns them into playing from a row and captions.
"""

import html
import re
from collections.abc import Sequence
from urllib.parse import quote

from cantowhisper.contracts import ModelFacts, Segment
from cantowhisper.serving.captions.turns import named_turns
from cantowhisper.serving.offline.editing import jyutping
from cantowhisper.serving.offline.editing.rows import EDITED, is_doubtful
from cantowhisper.serving.offline.limits import Limits
from cantowhisper.serving.offline.service import Result, Status
from cantowhisper.serving.offline.transcription import friendly
from cantowhisper.serving.subtitles import clock
from cantowhisper.serving.texts.languages import name_of
from cantowhisper.serving.texts.say import Say, how_long
from cantowhisper.serving.theme import page_head

KEYS = {"play": "Ctrl Enter", "next": "Enter", "split": "Shift Enter", "undo": "Ctrl Z"}  # of the editor
# What a decoder notes of a recording, in the words of speech/audio.py.
NOTES = {
    "note.damaged": r"(?P<seconds>[\d.]+) s of the sound is damaged or missing",
    "note.track": r"of (?P<n>\d+) sound tracks, number (?P<number>\d+) is used: .*",
}


def title_of(facts: ModelFacts, say: Say) -> str:
    """What the page turns into text, by the model that it serves.

    >>> title_of(ModelFacts(language="yue", language_token="<|zh|>"), Say("zh-HK")), title_of(ModelFacts(), Say())
    ('粵語轉文字', 'Speech to text')
    """
    trained = facts.language or facts.language_token
    return say("title", language=name_of(trained, say)) if trained else say("title.any")


def header(facts: ModelFacts, say: Say) -> str:
    return page_head(title_of(facts, say), say("head"), say)


def footer(limits: Limits, say: Say) -> str:
    items = "".join(
        f"<div><dt>{html.escape(what)}</dt><dd>{html.escape(value)}</dd></div>" for what, value in limits.described(say)
    )
    privacy = html.escape(say("privacy"))
    return f"<footer class='limits'><h2>{say('limits')}</h2><dl>{items}</dl><p>{privacy}</p></footer>"


def status_line(message: str, say: Say, *, share: float | None = None) -> str:
    """A line that screen readers announce, and a bar for the eyes."""
    bar = ""
    if share is not None:
        bar = (
            f"<div class='bar' role='progressbar' aria-label='{say('progress')}' aria-valuemin='0' aria-valuemax='100' "
            f"aria-valuenow='{share * 100:.0f}'><i style='width:{share:.1%}'></i></div>"
        )
    return f"<p class='status' role='status'>{html.escape(message)}</p>{bar}"


def problem(message: str) -> str:
    return f"<p class='status problem' role='alert'>{html.escape(message)}</p>"


def describe(status: Status, say: Say) -> str:
    """The state of a request as HTML."""
    if status.stage == "fetching":
        return status_line(say("state.fetching"), say)
    if status.stage == "waiting":
        wait = status.waiting
        about = [] if wait.wait_s is None else [say("state.wait", time=how_long(wait.wait_s, say))]
        return status_line(" · ".join([say("state.waiting", place=wait.place), *about]), say)
    if status.stage == "working":
        n_segments = sum(len(r.progress.segments) for r in status.results)
        left = [] if status.left_s is None else [say("state.left", time=how_long(status.left_s, say))]
        line = " · ".join([f"{status.share:.0%}", say("state.working", n=n_segments), *left])
        return status_line(line, say, share=status.share)
    return _describe_end(status, say)


def _describe_end(status: Status, say: Say) -> str:
    *_, last = status.results
    failed = sum(r.problem is not None for r in status.results)
    if failed == len(status.results):
        return problem(say("state.all_failed"))
    codes = dict.fromkeys(r.detected_language for r in status.results if r.detected_language)
    more = [name_of(code, say) for code in codes]
    more += [say("state.some_failed", n=failed)] if failed else []
    if last.progress.cut_short:
        return status_line(" · ".join([cut_short(last, say), *more]), say, share=status.share)
    seconds = sum(r.progress.duration_s for r in status.results)
    work_s = sum(r.progress.work_s for r in status.results)
    worked = say("state.worked", time=say("seconds", n=f"{work_s:.1f}"))
    line = [say("state.done"), *more, say("seconds", n=f"{seconds:.0f}"), worked]
    return status_line(" · ".join(line), say, share=1.0)


def cut_short(result: Result, say: Say) -> str:
    """Why the text is not that of the whole recording."""
    return say("state.time") if result.progress.cut_short == "time" else say("state.stopped")


def text_of(results: Sequence[Result], say: Say) -> str:
    """The transcripts as plain text, under the recordings' names if there are several."""
    lines = lambda segments: "\n".join(s.text for s in named_turns(segments, say))
    texts = [(r.name, lines(r.progress.segments)) for r in results if r.problem is None]
    if len(results) == 1:
        return "".join(text for _, text in texts)
    return "\n\n".join(f"— {name} —\n{text}" for name, text in texts)


def sections(
    results: Sequence[Result],
    media: Sequence[str],
    say: Say,
    *,
    key: str = "",
    script: str = "",
    rows: Sequence[str] = (),
) -> str:
    """One table a recording.

    media : where the browser finds each recording, as a path on this server; "" where it is no longer there
    key, script, rows : of a transcript that can be edited: its name, and each recording's rows as JSON (see editing/)
    """
    of = f" data-result='{html.escape(key)}' data-script='{html.escape(script)}'"
    edits = [f"{of} data-rows='{html.escape(one)}'" for one in rows] or [""] * len(results)
    parts = [_section(*one, say, alone=len(results) == 1) for one in zip(results, media, edits, strict=True)]
    is_cantonese = any(segment.language == "yue" for result in results for segment in result.progress.segments)
    return (_editing(say, with_jyutping=is_cantonese and jyutping.available()) if rows else "") + "".join(parts)


def _editing(say: Say, *, with_jyutping: bool) -> str:
    """How rows are corrected, and a place for what the editor has to tell."""
    keys = {name: "+".join(f"<kbd>{key}</kbd>" for key in keys.split()) for name, keys in KEYS.items()}
    box = f"<label><input type='checkbox' id='jyutping'> {say('jyutping')}</label>" if with_jyutping else ""
    return (
        f"<div class='editing'><p>{say('editor.help', **keys)}</p>{box}"
        "<p class='status' role='status' id='told'></p></div>"
    )


def _section(result: Result, media: str, edit: str, say: Say, *, alone: bool) -> str:
    name = "" if alone else f"<h3>{html.escape(result.name)}</h3>"
    if result.problem is not None:
        return f"<section{edit}>{name}{problem(friendly(result.problem, say))}</section>"
    source = html.escape(f"gradio_api/file={quote(media)}", quote=True) if media else ""
    notes = "".join(f"<p class='status'>{html.escape(note_of(note, say))}</p>" for note in result.progress.notes)
    table = segments_table(result.progress.segments, say, before=result.before)
    if not table and result.progress.finished and not result.progress.cut_short:
        table = f"<p class='status'>{html.escape(say('state.no_speech'))}</p>"
    gone = _gone(say, hidden=bool(media)) if edit else ""
    return f"<section data-media='{source}'{edit}>{name}{notes}{gone}{table}</section>"


def _gone(say: Say, *, hidden: bool) -> str:
    return (
        f"<p class='status gone'{' hidden' * hidden}>{html.escape(say('editor.gone'))} <input type='file' "
        f"accept='audio/*,video/*' aria-label='{html.escape(say('editor.again'))}'></p>"
    )


def note_of(note: str, say: Say) -> str:
    """What a decoder notes, for the reader."""
    for key, pattern in NOTES.items():
        found = re.fullmatch(pattern, note)
        if found and say.language != "en":
            note = say(key, **found.groupdict())
    return say("note", note=note)


def player(media: str, say: Say) -> str:
    """A video element for sound and pictures alike, because audio elements show no captions. media : "" for none yet"""
    source = f"src='{html.escape(f'gradio_api/file={quote(media)}', quote=True)}'" if media else "hidden"
    return (
        f"<video controls playsinline preload='metadata' {source} aria-label='{say('player')}'></video>"
        f"<p class='status' hidden>{say('player.cannot')}</p>"
    )


def segments_table(segments: Sequence[Segment], say: Say, *, before: Sequence[Segment] = ()) -> str:
    """The timed segments; with `before`, the base model's text beside them, matched by time."""
    if not segments and not before:
        return ""
    speakers = any(s.speaker for s in segments)
    columns = [say("column.time"), say("text"), *([say("column.before")] if before else [])]
    columns += [*([say("column.speaker")] if speakers else []), say("column.sure")]
    head = "".join(f"<th scope='col'>{name}</th>" for name in columns)
    earlier = {round(s.start_s, 2): s for s in before}
    pairs = [(s, earlier.pop(round(s.start_s, 2), None)) for s in segments]
    pairs += [(Segment(s.start_s, s.end_s, "", 0.0), s) for s in earlier.values()]
    pairs.sort(key=lambda pair: pair[0].start_s)
    rows = [_row(*pair, say, both=bool(before), speakers=speakers) for pair in pairs]
    kind = "segments both" if before else "segments"
    return f"<table class='{kind}'><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _row(segment: Segment, before: Segment | None, say: Say, *, both: bool, speakers: bool) -> str:
    only_before = bool(before and not (segment.text or segment.confidence))
    kind = " class='only-before'" if only_before else " class='unsure'" if is_doubtful(segment) else ""
    short = lambda seconds: clock(seconds)[3:-2] if seconds < 3600 else clock(seconds)[:-2]
    start, end = short(segment.start_s), short(segment.end_s)
    play = f"<button type='button' aria-label='{say('play_from', at=start)}'>{start} – {end}</button>"
    cells = [f"<td>{play}</td>", f"<td class='text'{_tag(segment)}>{html.escape(segment.text)}</td>"]
    if both:
        cells.append(f"<td class='before'{_tag(before)}>{html.escape(before.text) if before else ''}</td>")
    if speakers:
        name = html.escape(str(segment.speaker or ""))
        cells.append(f"<td class='speaker' data-label='{say('column.speaker')}'>{name}</td>")
    cells.append(f"<td>{_sureness(segment, say)}</td>")
    times = f"data-start='{segment.start_s:.2f}' data-end='{segment.end_s:.2f}'"
    return f"<tr {times}{kind}>{''.join(cells)}</tr>"


def _tag(segment: Segment | None) -> str:
    """The language of what was said, where it is known: voices and fonts go by it."""
    return f" lang='{html.escape(segment.language)}'" if segment and segment.language else ""


def _sureness(segment: Segment, say: Say) -> str:
    """How sure the model was; a mark beside it where somebody should listen; a word where somebody has."""
    if EDITED in segment.flags:
        return say("edited")
    doubt = html.escape(say("doubt"))
    mark = f"<span class='doubt' role='img' aria-label='{doubt}' title='{doubt}'>?</span> "
    return f"{mark if is_doubtful(segment) else ''}{segment.confidence:.0%}" if segment.text else ""
