"""What changes on the offline page as the work on a request goes on, by the names of the page's outputs.

Text is recognised as the model writes it and shown in the script that the visitor chose, so that another choice later
takes no other recognition.
"""

import logging
import secrets
import tempfile
import zipfile
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path

import gradio as gr
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder
from starlette.concurrency import run_in_threadpool

from cantowhisper.contracts import CantowhisperError, Segment
from cantowhisper.serving.glossary import read_words
from cantowhisper.serving.offline import view
from cantowhisper.serving.offline.editing.results import as_results, as_rows
from cantowhisper.serving.offline.editing.rows import parsed, read_rows
from cantowhisper.serving.offline.limits import Limits
from cantowhisper.serving.offline.service import Choices, Result, Service, Status
from cantowhisper.serving.offline.transcription import friendly, write_files
from cantowhisper.serving.texts.say import Say
from cantowhisper.serving.web.refusal import Refusal
from cantowhisper.speech.text import to_script

DOWNLOADS = ("txt", "srt", "vtt", "tsv", "json")
SCRIPTS = ("", "traditional", "simplified")
NO_TEXT = {"player": "", "transcript": "", "segments": "", "shown": None}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shown:
    """What a visitor's page shows after the work, so that its script can be changed."""

    results: tuple[Result, ...]  # as recognised, or as corrected
    media: tuple[str, ...]  # where the browser finds each recording; "" where it is no longer there
    script: str
    key: str = field(default_factory=lambda: secrets.token_hex(8))  # by which the browser keeps corrections


class _Scripted:
    """Results in a script of Chinese; "" leaves them as they are. A segment that comes again is not converted again."""

    def __init__(self, script: str):
        self.script, self._converted = script, {}

    def __call__(self, results: Sequence[Result]) -> tuple[Result, ...]:
        if not self.script:
            return tuple(results)
        return tuple(
            replace(
                result,
                progress=replace(result.progress, segments=tuple(map(self._segment, result.progress.segments))),
                before=tuple(map(self._segment, result.before)),
            )
            for result in results
        )

    def _segment(self, segment: Segment) -> Segment:
        if segment not in self._converted:
            text = to_script(segment.text, self.script, language=segment.language)
            self._converted[segment] = replace(segment, text=text)
        return self._converted[segment]


async def updates(
    service: Service,
    paths: Sequence[str],
    link: str = "",
    choices: Choices | None = None,
    visitor: str = "",
    session: str = "",
    listed: str | None = "",
    say: Say | None = None,
) -> AsyncIterator[dict]:
    """What changes on the page as the work on one request goes on: new values by the name of an output.

    listed : names and terms as they were typed; None where the page has no box for them
    say : in the visitor's language; by default in English

    The last one has what `rewritten` takes as "shown", or None where nothing was transcribed.
    """
    choices, say = choices or Choices(), say or Say()
    scripted = _Scripted(choices.script)
    if not paths and not link:
        yield _refused(say("state.nothing"))
        return
    yield {"state": view.status_line(say("state.reading"), say), **NO_TEXT}
    try:
        # Gradio copies files into its own store when they are yielded, so this folder need not live longer.
        with tempfile.TemporaryDirectory(prefix="cantowhisper-") as folder:
            media: dict[Path, str] = {Path(path): str(path) for path in paths}
            as_written = replace(choices, script="", words=read_words(listed or ""))
            asked = {"visitor": visitor, "link": link, "choices": as_written, "session": session}
            async with aclosing(service.run(paths, **asked)) as statuses:
                async for status in statuses:
                    if status.stage != "unchanged":
                        # In a thread: a long transcript takes a while to write, and others' events wait for this one.
                        yield await run_in_threadpool(_changes, status, media, folder, scripted, say)
    except Exception as error:
        if not isinstance(error, CantowhisperError):
            log.error("a request failed: %s", type(error).__name__)  # never the visitor's words, names or paths
        yield _refused(friendly(error, say))


async def rewritten(
    shown: Shown | None, script: str, kept: str = "", *, limits: Limits, say: Say | None = None
) -> AsyncIterator[dict]:
    """What changes on the page when another script is chosen after the work; nothing is recognised again.

    kept : what the browser has, where people corrected something: then that is written in the other script
    say : as in `updates`
    """
    say = say or Say()
    try:
        found = await run_in_threadpool(_shown_by, kept, limits) if kept else None
    except Refusal as refusal:
        yield {"state": view.problem(friendly(refusal, say))}
        return
    corrected = found is not None and (shown is None or shown.key == found.key)  # else another one came meanwhile
    shown = found if corrected else shown
    if shown is None or shown.script == script:
        yield {"shown": gr.skip()}
        return
    if corrected:
        yield await run_in_threadpool(_corrected, replace(shown, script=script), say)
        return
    with tempfile.TemporaryDirectory(prefix="cantowhisper-") as folder:
        yield await run_in_threadpool(_rewrite, replace(shown, script=script), folder, say)


async def restored(kept: str, *, limits: Limits, say: Say | None = None) -> AsyncIterator[dict]:
    """What changes on a page that is opened again in a tab with corrections. kept, say : as in `rewritten`"""
    say = say or Say()
    if not kept:
        yield {"shown": gr.skip()}
        return
    try:
        shown = await run_in_threadpool(_shown_by, kept, limits)
    except Refusal as refusal:
        yield {"state": view.problem(friendly(refusal, say))}
        return
    changes = await run_in_threadpool(_corrected, shown, say)
    first = next(filter(None, shown.media), "")
    yield changes | {"state": view.status_line(say("editor.restored"), say), "player": view.player(first, say)}


def _shown_by(kept: str, limits: Limits) -> Shown:
    """What a browser has: rows, the key of their transcript, and the script that they are shown in.

    Raises
    ------
    Refusal : what `read_rows` says is wrong
    """
    value = parsed(kept)
    found = read_rows(value, limits)
    media = tuple(one.path if one.path and Path(one.path).is_file() else "" for one in found)
    script = value.get("script")
    script = script if script in SCRIPTS else ""
    return Shown(as_results(found, written=True), media, script, str(value.get("result", ""))[:40])


def _rewrite(shown: Shown, folder: str, say: Say) -> dict:
    results = _Scripted(shown.script)(shown.results)
    return _finished(results, shown, say) | _files(results, folder, say) | {"shown": shown}


def _corrected(shown: Shown, say: Say) -> dict:
    """Corrected rows are shown and not kept: the browser has them, and asks for files of them (see editing/)."""
    results = _Scripted(shown.script)(shown.results)
    files = {name: gr.update(value=None, interactive=True) for name in DOWNLOADS}
    return _finished(results, shown, say) | files | {"clips": gr.update(interactive=True), "shown": None}


def _finished(results: Sequence[Result], shown: Shown, say: Say) -> dict:
    """The text of a finished transcript, with what the page's editor takes."""
    rows = [as_rows(*one) for one in zip(results, shown.results, shown.media, strict=True)]
    table = view.sections(results, shown.media, say, key=shown.key, script=shown.script, rows=rows)
    return {"transcript": view.text_of(results, say), "segments": table}


def _changes(status: Status, media: dict[Path, str], folder: str, scripted: _Scripted, say: Say) -> dict:
    return _kept(status, media) | _shown(status, media, folder, scripted, say)


def _kept(status: Status, media: dict[Path, str]) -> dict:
    """Add to `media` what a link named: its folder goes, and the player still needs it."""
    fetched = [result.path for result in status.results if result.path not in media]
    media |= {path: save_file_to_cache(path, cache_dir=get_upload_folder()) for path in fetched}
    return {"kept": media[fetched[-1]]} if fetched else {}


def _shown(status: Status, media: dict[Path, str], folder: str, scripted: _Scripted, say: Say) -> dict:
    """What the page shows of where a request stands."""
    results, state = status.results, {"state": view.describe(status, say)}
    if not results:
        return state
    where = tuple(media[result.path] for result in results)
    texts = scripted(results)
    if status.stage == "done":
        if not any(r.progress.segments or r.before or r.problem for r in results):
            last = results[-1]
            return _refused(view.cut_short(last, say) if last.progress.cut_short else say("state.no_speech"))
        shown = Shown(results, where, scripted.script)
        return state | _finished(texts, shown, say) | _files(texts, folder, say) | {"shown": shown}
    # The player is set once: a new one would begin again each time.
    begun = any(r.progress.segments or r.before for r in results)
    text = {"transcript": view.text_of(texts, say), "segments": view.sections(texts, where, say)}
    return state | text | ({} if begun or len(where) > 1 else {"player": view.player(where[0], say)})


def _files(results: Sequence[Result], folder: str, say: Say) -> dict:
    paths = downloads(results, folder, say=say)
    if not paths:
        return _no_files()
    files = {name: gr.update(value=path, interactive=True) for name, path in zip(DOWNLOADS, paths, strict=True)}
    return files | {"clips": gr.update(interactive=True)}


def downloads(
    results: Sequence[Result], folder: str, names: Sequence[str] = DOWNLOADS, *, say: Say | None = None
) -> list[str]:
    """One file a format; of several transcripts, an archive a format. What could not be read is in none of them.

    The base model's transcript is one more, NAME.before. say : as in subtitles.write
    """
    transcripts: list[tuple[str, Sequence[Segment]]] = []
    for number, result in enumerate(results, start=1):
        if result.problem is None:
            name = result.path.stem if len(results) == 1 else f"{number:02d}_{result.path.stem}"
            transcripts.append((name, result.progress.segments))
            transcripts += [(f"{name}.before", result.before)] if result.before else []
    if len(transcripts) <= 1 and len(results) == 1:
        return [path for name, segments in transcripts for path in write_files(segments, folder, name, names, say)]
    archives = [Path(folder) / f"transcripts-{name}.zip" for name in names]
    for name, segments in transcripts:
        for archive, file in zip(archives, write_files(segments, folder, name, names, say), strict=True):
            with zipfile.ZipFile(archive, "a") as pack:
                pack.write(file, Path(file).name)
    return [str(archive) for archive in archives] if transcripts else []


def _no_files() -> dict:
    files = {name: gr.update(value=None, interactive=False) for name in DOWNLOADS}
    return files | {"clips": gr.update(interactive=False)}


def _refused(message: str) -> dict:
    return {"state": view.problem(message), **NO_TEXT, **_no_files()}
