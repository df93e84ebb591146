"""What changes on the offline page as the work on a request goes on, by the names of the page's outputs."""

import logging
import tempfile
import zipfile
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path

import gradio as gr
from gradio.processing_utils import save_file_to_cache
from gradio.utils import get_upload_folder
from starlette.concurrency import run_in_threadpool

from cantowhisper.contracts import CantowhisperError
from cantowhisper.serving.offline import view
from cantowhisper.serving.offline.service import Choices, Result, Service, Status
from cantowhisper.serving.offline.transcription import friendly, write_files

DOWNLOADS = ("txt", "srt", "vtt", "tsv", "json")
NO_TEXT = {"player": "", "transcript": "", "segments": ""}

log = logging.getLogger(__name__)


async def updates(
    service: Service,
    paths: Sequence[str],
    link: str = "",
    choices: Choices | None = None,
    visitor: str = "",
    session: str = "",
) -> AsyncIterator[dict]:
    """What changes on the page as the work on one request goes on: new values by the name of an output."""
    if not paths and not link:
        yield _refused("請先揀檔案、錄音或者貼連結。 Choose a file, record something, or paste a link first.")
        return
    yield {"state": view.status_line("讀緊檔案… Reading the recording …"), **NO_TEXT}
    try:
        # Gradio copies files into its own store when they are yielded, so this folder need not live longer.
        with tempfile.TemporaryDirectory(prefix="cantowhisper-") as folder:
            media: dict[Path, str] = {Path(path): str(path) for path in paths}
            asked = {"visitor": visitor, "link": link, "choices": choices, "session": session}
            async with aclosing(service.run(paths, **asked)) as statuses:
                async for status in statuses:
                    if status.stage != "unchanged":
                        # In a thread: a long transcript takes a while to write, and others' events wait for this one.
                        yield await run_in_threadpool(_changes, status, media, folder)
    except Exception as error:
        if not isinstance(error, CantowhisperError):
            log.error("a request failed: %s", type(error).__name__)  # never the visitor's words, names or paths
        yield _refused(friendly(error))


def _changes(status: Status, media: dict[Path, str], folder: str) -> dict:
    return _kept(status, media) | _shown(status, media, folder)


def _kept(status: Status, media: dict[Path, str]) -> dict:
    """Add to `media` what a link named: its folder goes, and the player still needs it."""
    fetched = [result.path for result in status.results if result.path not in media]
    media |= {path: save_file_to_cache(path, cache_dir=get_upload_folder()) for path in fetched}
    return {"kept": media[fetched[-1]]} if fetched else {}


def _shown(status: Status, media: dict[Path, str], folder: str) -> dict:
    """What the page shows of where a request stands."""
    results, state = status.results, {"state": view.describe(status)}
    if not results:
        return state
    where = [media[result.path] for result in results]
    text = {"transcript": view.text_of(results), "segments": view.sections(results, where)}
    anything = any(r.progress.segments or r.before or r.problem for r in results)
    if status.stage == "done":
        if not anything:
            return _refused(view.CUT_SHORT.get(results[-1].progress.cut_short, view.NO_SPEECH))
        files = zip(DOWNLOADS, _downloads(results, folder), strict=True)
        return state | text | {name: gr.update(value=path, interactive=True) for name, path in files}
    # The player is set once: a new one would begin again each time.
    begun = any(r.progress.segments or r.before for r in results)
    return state | text | ({} if begun or len(where) > 1 else {"player": view.player(where[0])})


def _downloads(results: Sequence[Result], folder: str) -> list[str]:
    """One file a format; of several recordings, an archive a format."""
    if len(results) == 1:
        return write_files(results[0].progress.segments, folder, results[0].path.stem, DOWNLOADS)
    archives = [Path(folder) / f"transcripts-{name}.zip" for name in DOWNLOADS]
    for number, result in enumerate(results, start=1):
        inside = Path(folder) / str(number)
        inside.mkdir(exist_ok=True)
        files = write_files(result.progress.segments, inside, result.path.stem, DOWNLOADS)
        for archive, file in zip(archives, files, strict=True):
            with zipfile.ZipFile(archive, "a") as pack:
                pack.write(file, f"{number:02d}_{Path(file).name}")
    return [str(archive) for archive in archives]


def _refused(message: str) -> dict:
    return {
        "state": view.problem(message),
        **NO_TEXT,
        **{name: gr.update(value=None, interactive=False) for name in DOWNLOADS},
    }
