"""Links of many visitors, fetched at the same time: each has one place, and nobody takes them all.

Whoever waits for a place does so in the event loop; a download itself holds a thread, and no core.
"""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cantowhisper.serving.offline.addresses import Reach
from cantowhisper.serving.offline.download import fetch
from cantowhisper.serving.offline.limits import LimitError, Limits
from cantowhisper.serving.offline.queue import POLL_S
from cantowhisper.serving.texts.say import said

LOOK_AGAIN_S = 0.1  # for a place


class Links:
    """The places for downloads of one page. Safe to use from many event loops."""

    def __init__(self, limits: Limits, reach: Reach | None, *, require_room=lambda n_bytes: None):
        self.limits, self.reach, self._require_room = limits, reach, require_room
        self._threads = ThreadPoolExecutor(limits.max_downloads, thread_name_prefix="link")
        self._visitors: set[str] = set()  # whose link is being fetched
        self._lock = threading.Lock()

    async def fetched(self, link: str, folder: Path, visitor: str) -> AsyncIterator[Path | None]:
        """Yield None every half second, and in the end the file, in `folder`. Whoever stops iterating ends it.

        Raises
        ------
        LinkError, FullDisk : as `fetch` does
        LimitError : no place for long
        """
        ends_at = time.monotonic() + 2 * self.limits.max_download_s
        while not self._enter(visitor):
            if time.monotonic() > ends_at:
                raise LimitError(said("link.many"), status=503, retry_after_s=self.limits.max_download_s)
            yield None
            await asyncio.sleep(LOOK_AGAIN_S)
        given_up = threading.Event()
        task = asyncio.get_running_loop().run_in_executor(self._threads, self._fetch, link, folder, visitor, given_up)
        try:
            while not task.done():
                await asyncio.wait([task], timeout=POLL_S)
                if not task.done():
                    yield None
            yield task.result()
        finally:
            given_up.set()
            await asyncio.wait([task])  # the folder is the caller's, who may remove it now

    @property
    def n_under_way(self) -> int:
        return len(self._visitors)

    def _enter(self, visitor: str) -> bool:
        with self._lock:
            if visitor in self._visitors or len(self._visitors) >= self.limits.max_downloads:
                return False
            self._visitors.add(visitor)
            return True

    def _fetch(self, link: str, folder: Path, visitor: str, given_up: threading.Event) -> Path:
        try:
            how = {"limits": self.limits, "reach": self.reach, "require_room": self._require_room}
            return fetch(link, folder, given_up=given_up, **how)
        finally:
            with self._lock:
                self._visitors.discard(visitor)
