"""What the offline page shows, as HTML and words: the state of the work, transcripts by the second, head and limits.

Everything that was recognised or that a visitor named is escaped. Rows carry their times as data, and the page's
script (player.js) turns them into playing from a row and captions.
"""

import html
from collections.abc import Sequence
from urllib.parse import quote

from cantowhisper.contracts import ModelFacts, Segment
from cantowhisper.serving.captions.turns import named_turns
from cantowhisper.serving.offline.editing.rows import EDITED, is_doubtful
from cantowhisper.serving.offline.limits import Limits
from cantowhisper.serving.offline.service import Result, Status
from cantowhisper.serving.offline.transcription import friendly
from cantowhisper.serving.subtitles import clock
from cantowhisper.speech.language import both_names, language_name

CUT_SHORT = {
    "time": "時間到，只轉咗前面部分。 The time allowed was used up: this is the first part only.",
    "stopped": "已停止，呢度係停之前嘅文字。 Stopped: this is the text until then.",
}
EDITING = (
    "<div class='editing'><p>撳一行就可以改。<kbd>Ctrl</kbd>+<kbd>Enter</kbd> 播／停呢行 · <kbd>Enter</kbd> 下一行 · "
    "<kbd>Shift</kbd>+<kbd>Enter</kbd> 喺游標分開 · <kbd>Ctrl</kbd>+<kbd>Z</kbd> 還原。"
    "改動只留喺呢個分頁，伺服器唔會保存。 <span lang='en'>Press a row to correct it. "
    "<kbd>Ctrl</kbd>+<kbd>Enter</kbd> plays or pauses it, <kbd>Enter</kbd> goes to the next, "
    "<kbd>Shift</kbd>+<kbd>Enter</kbd> splits it at the cursor, <kbd>Ctrl</kbd>+<kbd>Z</kbd> undoes. "
    "Corrections stay in this tab; the server keeps none.</span></p>"
    "<p class='status' role='status' id='told'></p></div>"
)
RESTORED = "你嘅改動返嚟喇。 Your corrections are back."
GONE = (
    "<p class='status gone' {hidden}>錄音已經唔喺伺服器：要聽或者要訓練片段，就再揀一次個檔案。 The recording is no "
    "longer on the server: to hear it, or for training clips, choose the file again. <input type='file' "
    "accept='audio/*,video/*' aria-label='再揀錄音 Choose the recording again'></p>"
)
NO_SPEECH = "聽唔到有人講嘢。 No speech was heard in this recording."


def title_of(facts: ModelFacts) -> tuple[str, str]:
    """What the page turns into text, in Chinese and English, by the model that it serves.

    >>> title_of(ModelFacts(language="yue", language_token="<|zh|>")), title_of(ModelFacts(language_token="<|de|>"))
    (('粵語轉文字', 'Cantonese to text'), ('德文轉文字', 'German to text'))
    """
    trained = facts.language or facts.language_token
    if not trained:
        return "語音轉文字", "Speech to text"
    return f"{language_name(trained, 'zh-Hant-HK')}轉文字", f"{language_name(trained)} to text"


def header(facts: ModelFacts) -> str:
    chinese, english = map(html.escape, title_of(facts))
    return (
        f"<header class='head'><h1>{chinese} <span lang='en'>{english}</span></h1>"
        "<p>上載、錄音或者貼一條連結，變成有時間嘅文字。 "
        "<span lang='en'>Upload, record or paste a link, and get the words with times.</span></p></header>"
    )


def footer(limits: Limits) -> str:
    items = "".join(
        f"<div><dt>{zh} {html.escape(en)}</dt><dd>{html.escape(value)}</dd></div>"
        for zh, en, value in limits.described()
    )
    privacy = (
        "<p>錄音同文字唔會記錄低，到時就刪除。 <span lang='en'>Recordings and transcripts are not logged and not kept "
        "after that time; no visitor sees another's.</span></p>"
    )
    return f"<footer class='limits'><h2>上限 Limits</h2><dl>{items}</dl>{privacy}</footer>"


def status_line(message: str, *, share: float | None = None) -> str:
    """A line that screen readers announce, and a bar for the eyes."""
    bar = ""
    if share is not None:
        bar = (
            f"<div class='bar' role='progressbar' aria-label='進度 progress' aria-valuemin='0' aria-valuemax='100' "
            f"aria-valuenow='{share * 100:.0f}'><i style='width:{share:.1%}'></i></div>"
        )
    return f"<p class='status' role='status'>{html.escape(message)}</p>{bar}"


def problem(message: str) -> str:
    return f"<p class='status problem' role='alert'>{html.escape(message)}</p>"


def describe(status: Status) -> str:
    """The state of a request as HTML."""
    if status.stage == "fetching":
        return status_line("下載緊… Fetching the link …")
    if status.stage == "waiting":
        wait = status.waiting
        about = "" if wait.wait_s is None else f" · 約 about {_minutes(wait.wait_s)}"
        return status_line(f"排緊隊：第 {wait.place} 位 · number {wait.place} in the queue{about}")
    if status.stage == "working":
        n_segments = sum(len(r.progress.segments) for r in status.results)
        left = "" if status.left_s is None else f" · 仲要 about {_minutes(status.left_s)} left"
        return status_line(f"{status.share:.0%} · {n_segments} 句 segments{left}", share=status.share)
    return _describe_end(status)


def _describe_end(status: Status) -> str:
    *_, last = status.results
    failed = sum(r.problem is not None for r in status.results)
    if failed == len(status.results):
        return problem("冇一個檔案轉到文字。 None of these files could be transcribed.")
    codes = dict.fromkeys(r.detected_language for r in status.results if r.detected_language)
    more = "".join(f" · {both_names(code)}" for code in codes)
    more += f" · {failed} 個檔案轉唔到 could not be transcribed" if failed else ""
    if last.progress.cut_short:
        return status_line(CUT_SHORT[last.progress.cut_short] + more, share=status.share)
    seconds = sum(r.progress.duration_s for r in status.results)
    work_s = sum(r.progress.work_s for r in status.results)
    return status_line(f"完成 Done{more} · {seconds:.0f} s · {work_s:.1f} s 處理 to transcribe", share=1.0)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def text_of(results: Sequence[Result]) -> str:
    """The transcripts as plain text, under the recordings' names if there are several."""
    lines = lambda segments: "\n".join(s.text for s in named_turns(segments))
    texts = [(r.name, lines(r.progress.segments)) for r in results if r.problem is None]
    if len(results) == 1:
        return "".join(text for _, text in texts)
    return "\n\n".join(f"— {name} —\n{text}" for name, text in texts)


def sections(
    results: Sequence[Result], media: Sequence[str], *, key: str = "", script: str = "", rows: Sequence[str] = ()
) -> str:
    """One table a recording.

    media : where the browser finds each recording, as a path on this server; "" where it is no longer there
    key, script, rows : of a transcript that can be edited: its name, and each recording's rows as JSON (see editing/)
    """
    of = f" data-result='{html.escape(key)}' data-script='{html.escape(script)}'"
    edits = [f"{of} data-rows='{html.escape(one)}'" for one in rows] or [""] * len(results)
    parts = [_section(*one, alone=len(results) == 1) for one in zip(results, media, edits, strict=True)]
    return (EDITING if rows else "") + "".join(parts)


def _section(result: Result, media: str, edit: str, *, alone: bool) -> str:
    name = "" if alone else f"<h3>{html.escape(result.name)}</h3>"
    if result.problem is not None:
        return f"<section{edit}>{name}{problem(friendly(result.problem))}</section>"
    source = html.escape(f"gradio_api/file={quote(media)}", quote=True) if media else ""
    notes = "".join(f"<p class='status'>{html.escape(f'留意 Note: {note}.')}</p>" for note in result.progress.notes)
    table = segments_table(result.progress.segments, before=result.before)
    if not table and result.progress.finished and not result.progress.cut_short:
        table = f"<p class='status'>{html.escape(NO_SPEECH)}</p>"
    gone = GONE.format(hidden="hidden" if media else "") if edit else ""
    return f"<section data-media='{source}'{edit}>{name}{notes}{gone}{table}</section>"


def player(media: str) -> str:
    """A video element for sound and pictures alike, because audio elements show no captions. media : "" for none yet"""
    source = f"src='{html.escape(f'gradio_api/file={quote(media)}', quote=True)}'" if media else "hidden"
    return (
        f"<video controls playsinline preload='metadata' {source} aria-label='播放 Player'></video>"
        "<p class='status' hidden>呢個瀏覽器播唔到呢種檔案。 This browser cannot play this kind of file.</p>"
    )


def segments_table(segments: Sequence[Segment], *, before: Sequence[Segment] = ()) -> str:
    """The timed segments; with `before`, the base model's text beside them, matched by time."""
    if not segments and not before:
        return ""
    speakers = any(s.speaker for s in segments)
    columns = ["時間 Time", "文字 Text", *(["微調之前 Before"] if before else [])]
    columns += [*(["講者 Speaker"] if speakers else []), "把握 Sure"]
    head = "".join(f"<th scope='col'>{name}</th>" for name in columns)
    earlier = {round(s.start_s, 2): s for s in before}
    pairs = [(s, earlier.pop(round(s.start_s, 2), None)) for s in segments]
    pairs += [(Segment(s.start_s, s.end_s, "", 0.0), s) for s in earlier.values()]
    pairs.sort(key=lambda pair: pair[0].start_s)
    rows = [_row(*pair, both=bool(before), speakers=speakers) for pair in pairs]
    kind = "segments both" if before else "segments"
    return f"<table class='{kind}'><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _row(segment: Segment, before: Segment | None, *, both: bool, speakers: bool) -> str:
    only_before = bool(before and not (segment.text or segment.confidence))
    kind = " class='only-before'" if only_before else " class='unsure'" if is_doubtful(segment) else ""
    short = lambda seconds: clock(seconds)[3:-2] if seconds < 3600 else clock(seconds)[:-2]
    start, end = short(segment.start_s), short(segment.end_s)
    play = f"<button type='button' aria-label='由 {start} 播放 Play from {start}'>{start} – {end}</button>"
    cells = [f"<td>{play}</td>", f"<td class='text'>{html.escape(segment.text)}</td>"]
    if both:
        cells.append(f"<td class='before'>{html.escape(before.text) if before else ''}</td>")
    if speakers:
        cells.append(f"<td class='speaker'>{html.escape(str(segment.speaker or ''))}</td>")
    cells.append(f"<td>{_sureness(segment)}</td>")
    times = f"data-start='{segment.start_s:.2f}' data-end='{segment.end_s:.2f}'"
    return f"<tr {times}{kind}>{''.join(cells)}</tr>"


def _sureness(segment: Segment) -> str:
    """How sure the model was; a mark beside it where somebody should listen; a word where somebody has."""
    if EDITED in segment.flags:
        return "已改 edited"
    mark = "<span class='doubt' role='img' aria-label='聽多次 Listen again' title='聽多次 Listen again'>?</span> "
    return f"{mark if is_doubtful(segment) else ''}{segment.confidence:.0%}" if segment.text else ""
