"""Fetching what a visitor's link names, without lending visitors the reach of this machine.

Whoever can make a server fetch a URL can make it talk to its own network: cloud metadata, databases, routers. So the
name is resolved here, every address it has must be a public one, and the connection goes to the address that was
looked at (a second look-up could answer otherwise: DNS rebinding). The same again for every redirect. What comes back
is capped in bytes (before and after decompression) and in time, and goes to a file in the caller's own folder.

YouTube is best effort: only the video's id is taken from the link, and yt-dlp does the rest within the same limits.
"""

import contextlib
import http.client
import os
import re
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import SplitResult, urljoin, urlsplit

from cantowhisper.serving.offline.addresses import PORTS, Reach, ascii_host
from cantowhisper.serving.offline.limits import Limits, LinkError
from cantowhisper.serving.texts.say import said
from cantowhisper.serving.web.refusal import FullDisk, is_full

MAX_REDIRECTS = 5
MAX_URL_CHARACTERS = 2000
CONNECT_TIMEOUT_S = 10.0  # also the longest silence between two blocks
BLOCK_BYTES = 64 * 1024
_REDIRECTS = (301, 302, 303, 307, 308)
# Stream formats that only list addresses to fetch: no recordings.
_PLAYLISTS = ("mpegurl", "dash+xml", "xspf", "scpls", "smil")
_YOUTUBE_HOSTS = ("youtube.com", "www.youtube.com", "m.youtube.com", "music.youtube.com", "youtu.be")
_YOUTUBE_ID = re.compile(r"[\w-]{11}")


def fetch(
    link: str,
    folder: str | Path,
    *,
    limits: Limits | None = None,
    reach: Reach | None = None,
    given_up: threading.Event | None = None,
    require_room: Callable[[int], None] = lambda n_bytes: None,
) -> Path:
    """Download what a link names into a folder and return the file.

    link : http or https, a recording or a YouTube page
    folder : the caller's own, who removes it; at most one file is left there
    reach : where connections may go
    given_up : set by whoever does not want the file any more; the download then ends at once
    require_room : called with the bytes that are about to be written; raises FullDisk where there is none

    Raises
    ------
    LinkError : refused, unreachable, too large, too slow, or not a recording
    FullDisk : no room for it
    """
    limits, given_up = limits or Limits(), given_up or threading.Event()
    video = youtube_id(link)
    if video:
        from cantowhisper.serving.offline.youtube import fetch_video

        return fetch_video(video, Path(folder), limits=limits, given_up=given_up, require_room=require_room)
    return _Download(Path(folder), limits, reach or Reach(), given_up, require_room).run(link)


def youtube_id(link: str) -> str | None:
    """The id of a YouTube video; None for any other link.

    >>> youtube_id("https://youtu.be/dQw4w9WgXcQ?t=3"), youtube_id("https://example.org/watch?v=dQw4w9WgXcQ")
    ('dQw4w9WgXcQ', None)
    """
    parts = _split(link)
    if parts is None or (parts.hostname or "") not in _YOUTUBE_HOSTS:
        return None
    asked = re.search(r"(?:^|&)v=([\w-]{11})(?:&|$)", parts.query)
    path = [piece for piece in parts.path.split("/") if piece]
    if parts.hostname == "youtu.be" or (path and path[0] in ("shorts", "live", "embed")):
        found = path[-1] if path else ""
    else:
        found = asked[1] if asked else ""
    return found if _YOUTUBE_ID.fullmatch(found) else None


def _split(link: str) -> SplitResult | None:
    try:
        parts = urlsplit(link)
        _ = parts.port, parts.hostname  # both are parsed only when asked for
        return parts
    except ValueError:
        return None


class _Download:
    """One download: its clock and its byte count go on over redirects."""

    def __init__(self, folder: Path, limits: Limits, reach: Reach, given_up: threading.Event, require_room):
        self.folder, self.limits, self.reach, self.over = folder, limits, reach, given_up
        self._require_room = require_room
        self._line: socket.socket | None = None
        self._changed = threading.Lock()
        self.ends_at = time.monotonic() + limits.max_download_s

    def run(self, link: str) -> Path:
        # Timeouts of a socket begin anew with every byte, so a slow drip outlasts them: somebody else has the clock.
        threading.Thread(target=self._watch_clock, name="clock of a link", daemon=True).start()
        try:
            for _ in range(MAX_REDIRECTS + 1):
                file_or_link = self._step(link)
                if isinstance(file_or_link, Path):
                    return file_or_link
                link = file_or_link
        except (OSError, http.client.HTTPException, zlib.error) as error:
            raise FullDisk if is_full(error) else self._broken(error) from error
        finally:
            self.over.set()
            self._hold(None)
        raise LinkError(said("link.redirects", most=MAX_REDIRECTS))

    def _step(self, link: str) -> Path | str:
        """One request: the file, or where it redirects to."""
        parts = self._checked(link)
        with contextlib.closing(self._connect(parts)) as connection:
            answer = self._ask(connection, parts)
            if answer.status in _REDIRECTS:
                return urljoin(link, _readable(answer.headers.get("Location") or ""))
            return self._save(answer)

    def _watch_clock(self) -> None:
        self.over.wait(max(0.0, self.ends_at - time.monotonic()))
        self.over.set()
        with self._changed, contextlib.suppress(OSError):  # closed already
            if self._line is not None:
                self._line.shutdown(socket.SHUT_RDWR)

    def _hold(self, connected: socket.socket | None) -> None:
        """Keep a line's end of our own: TLS takes the socket itself away, also while it still shakes hands."""
        with self._changed:
            if self._line is not None:
                self._line.close()
            self._line = connected and socket.socket(fileno=os.dup(connected.fileno()))
        if connected:
            self._patience()  # the clock may have looked before there was anything to hold

    def _checked(self, link: str) -> SplitResult:
        parts = _split(link) if len(link) <= MAX_URL_CHARACTERS else None
        if parts is None or parts.scheme not in PORTS or not parts.hostname or re.search(r"[\s\x00-\x1f\x7f]", link):
            raise LinkError(said("link.scheme"))
        if parts.username is not None or parts.password is not None:
            raise LinkError(said("link.password"))
        return parts

    def _connect(self, parts: SplitResult) -> http.client.HTTPConnection:
        """Connected to an address that was checked; the name is only used for TLS and the Host line."""
        port, host = parts.port or PORTS[parts.scheme], ascii_host(parts.hostname)
        addresses = self.reach.addresses(host, port, timeout_s=self._patience())
        connected = self._first_to_answer(addresses, port)
        try:
            self._hold(connected)
            if parts.scheme == "https":
                connected = ssl.create_default_context().wrap_socket(connected, server_hostname=host)
        except BaseException:
            connected.close()
            raise
        connection = http.client.HTTPConnection(host, port)
        connection.sock = connected
        return connection

    def _first_to_answer(self, addresses: list[str], port: int) -> socket.socket:
        for address in addresses[:-1]:
            with contextlib.suppress(OSError):  # a machine without IPv6, say: the next one
                return socket.create_connection((address, port), timeout=self._patience())
        return socket.create_connection((addresses[-1], port), timeout=self._patience())

    def _ask(self, connection: http.client.HTTPConnection, parts: SplitResult) -> http.client.HTTPResponse:
        host = f"[{parts.hostname}]" if ":" in parts.hostname else ascii_host(parts.hostname)
        usual = parts.port in (None, PORTS[parts.scheme])
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        target = re.sub(r"[^\x21-\x7e]", lambda m: "".join(f"%{b:02X}" for b in m[0].encode()), target)
        headers = {
            "Host": host if usual else f"{host}:{parts.port}",
            "User-Agent": "cantowhisper",
            "Accept": "audio/*, video/*, application/octet-stream",
            "Accept-Encoding": "identity",
        }
        connection.putrequest("GET", target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse()

    def _save(self, answer: http.client.HTTPResponse) -> Path:
        if answer.status != 200:
            raise LinkError(said("link.status", status=answer.status))
        kind = (answer.headers.get_content_type() or "").lower()
        if kind in ("text/html", "application/xhtml+xml") or any(name in kind for name in _PLAYLISTS):
            raise LinkError(said("link.web_page"))
        declared = answer.headers.get("Content-Length", "")
        if declared.isdigit() and int(declared) > self.limits.max_url_bytes:
            raise self._too_large()
        # The file's name is ours: nothing of the link reaches the disk.
        path = self.folder / "download.media"
        with path.open("wb") as file:
            written = 0
            for block in self._unpacked(answer):
                written += len(block)
                if written > self.limits.max_url_bytes:
                    raise self._too_large()
                self._require_room(len(block))
                file.write(block)
        return path

    def _unpacked(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        """The body in blocks; compressed ones are unpacked a block at a time, so that a bomb ends at the limit."""
        encoding = (answer.headers.get("Content-Encoding") or "identity").strip().lower()
        if encoding == "identity":
            yield from self._blocks(answer)
            return
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise LinkError(said("link.packed"))
        unpack = zlib.decompressobj(wbits=47)  # 32 + 15: gzip or zlib, told by the header
        for packed in self._blocks(answer):
            while packed:
                yield unpack.decompress(packed, BLOCK_BYTES)
                packed = unpack.unconsumed_tail

    def _blocks(self, answer: http.client.HTTPResponse) -> Iterator[bytes]:
        received = 0
        while block := answer.read1(BLOCK_BYTES):
            received += len(block)
            if received > self.limits.max_url_bytes:
                raise self._too_large()
            self._patience()
            yield block
        if answer.length:  # fewer bytes than the server announced
            raise http.client.IncompleteRead(b"", answer.length)
        self._patience()  # an end that the clock made looks like one that the server made

    def _patience(self) -> float:
        """Seconds that the next step may take."""
        left = self.ends_at - time.monotonic()
        if left <= 0 or self.over.is_set():
            raise TimeoutError
        return min(left, CONNECT_TIMEOUT_S)

    def _broken(self, error: Exception) -> LinkError:
        if isinstance(error, TimeoutError) or self.over.is_set() or time.monotonic() >= self.ends_at:
            return self._too_slow()
        if isinstance(error, ssl.SSLError):
            return LinkError(said("link.certificate"))
        return LinkError(said("link.failed"))

    def _too_slow(self) -> LinkError:
        return LinkError(said("link.slow", seconds=f"{self.limits.max_download_s:.0f}"))

    def _too_large(self) -> LinkError:
        return LinkError(said("link.large", most=f"{self.limits.max_url_bytes / 1e6:.0f} MB"))


def _readable(location: str) -> str:
    """A redirect's target: header lines come as Latin-1, and servers that write other letters mean UTF-8."""
    with contextlib.suppress(UnicodeError):
        return location.encode("latin-1").decode("utf-8")
    return location
