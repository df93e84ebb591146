"""The sound of a YouTube video through yt-dlp: best effort, for YouTube often refuses servers.

yt-dlp knows a thousand sites and follows what they say; it is only ever given an address that is made here of an
eleven-character id, with its other extractors switched off, and what it may fetch is capped as for any other link.
"""

import threading
import time
from collections.abc import Callable
from pathlib import Path

from cantowhisper.serving.offline.limits import Limits, LinkError
from cantowhisper.serving.texts.say import Told, said
from cantowhisper.serving.web.refusal import FullDisk, Refusal, is_full

# Sound alone where there is some, and the smallest: speech recognition takes 16 kHz mono anyway.
BLOCK_BYTES = 1 << 20  # about what comes between two looks
FORMAT = "worstaudio[abr>=32]/worstaudio/worst"


def fetch_video(
    video: str,
    folder: Path,
    *,
    limits: Limits,
    given_up: threading.Event | None = None,
    require_room: Callable[[int], None] = lambda n_bytes: None,
) -> Path:
    """Download the sound of the video with this id into a folder and return the file.

    Raises
    ------
    LinkError : YouTube refuses, the video is live, too long or too large, or it takes too long
    FullDisk : no room for it
    """
    try:
        import yt_dlp
    except ImportError as error:
        raise _advice(said("video.none_here")) from error
    watch = _Watch(limits, given_up, require_room)
    options = {
        "outtmpl": {"default": str(folder / "download.%(ext)s")},
        "format": FORMAT,
        "allowed_extractors": ["youtube"],
        "match_filter": watch.refuse_before,
        "progress_hooks": [watch.stop_midway],
        "max_filesize": limits.max_url_bytes,
        "noplaylist": True,
        "socket_timeout": 10,
        "retries": 1,
        "extractor_retries": 0,
        "fragment_retries": 1,
        "cachedir": False,  # nothing of a visitor stays
        "quiet": True,
        "no_warnings": True,
        "noprogress": True,
        "logger": _NoLog(),
    }
    try:
        with yt_dlp.YoutubeDL(options) as downloader:
            downloader.download([f"https://www.youtube.com/watch?v={video}"])
    except Refusal:
        raise
    except Exception as error:  # yt-dlp raises many kinds, and their words hold the link
        if watch.refusal:
            raise watch.refusal from error
        if is_full(error):
            raise FullDisk from error
        raise _advice(said("video.refused")) from error
    if watch.refusal:
        raise watch.refusal
    files = [f for f in folder.iterdir() if f.is_file() and f.suffix != ".part"]
    if not files:
        raise _advice(said("video.no_sound"))
    return files[0]


class _Watch:
    """What yt-dlp asks before and during a download; `refusal` keeps the reason, for yt-dlp words its own."""

    def __init__(self, limits: Limits, given_up: threading.Event | None = None, require_room=lambda n_bytes: None):
        self.limits, self.given_up, self.refusal = limits, given_up or threading.Event(), None
        self.require_room = require_room
        self.ends_at = time.monotonic() + limits.max_download_s

    def refuse_before(self, facts: dict, *, incomplete: bool = False) -> str | None:
        duration_s = facts.get("duration")
        if facts.get("is_live") or facts.get("live_status") in ("is_live", "is_upcoming"):
            self.refusal = LinkError(said("video.live"))
        elif duration_s is not None and duration_s > self.limits.max_audio_s:
            self.refusal = LinkError(said("video.long", minutes=f"{self.limits.max_audio_s / 60:.0f}"))
        return "refused" if self.refusal else None

    def stop_midway(self, state: dict) -> None:
        if time.monotonic() > self.ends_at or self.given_up.is_set():
            self.refusal = _advice(said("video.slow"))
        elif (state.get("downloaded_bytes") or 0) > self.limits.max_url_bytes:
            self.refusal = LinkError(said("video.large"))
        if self.refusal:
            raise self.refusal
        try:
            self.require_room(BLOCK_BYTES)
        except FullDisk as full:
            self.refusal = full
            raise


class _NoLog:
    """A logger that drops everything: yt-dlp prints what it does, and no log of the page holds a visitor's link."""

    def debug(self, message: str) -> None: ...

    info = warning = error = debug


def _advice(why: Told) -> LinkError:
    return LinkError(said("video.advice", why=why))
