"""A page in a process of its own: how long it takes to serve, its memory, and what it leaves on the disk."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
from websockets.sync.client import ClientConnection, connect

from benchmarks.attack.network import PAGES

ROOT = Path(__file__).resolve().parents[2]
OFFLINE, ONLINE = "offline", "online"
PORTS = {OFFLINE: 7860, ONLINE: 7861}


def client(address: str | None = None, *, timeout_s: float = 120.0) -> httpx.Client:
    """A visitor with this address, each request on a connection of its own.

    (A server closes connections that were idle for 5 s; a request that crosses that is lost by nobody's fault.)
    """
    how = {"local_address": address, "limits": httpx.Limits(max_keepalive_connections=0)}
    return httpx.Client(timeout=timeout_s, transport=httpx.HTTPTransport(**how), trust_env=False)


def realtime(url: str, address: str, **options) -> ClientConnection:
    """A visitor's WebSocket, from `address`."""
    return connect(url.replace("http", "ws", 1), source_address=(address, 0), close_timeout=2, proxy=None, **options)


class Page:
    """`cantowhisper serve KIND`, with its visitors' files in `root`, and what it prints in `log`.

    started_s : from the start of the process to its first answer
    """

    def __init__(self, kind: str, model: Path, root: Path, *options: str, log: Path | None = None, **variables: str):
        self.kind, self.root, self.url = kind, root, f"http://{PAGES}:{PORTS[kind]}"
        command = [sys.executable, "-m", "cantowhisper.cli", "serve", kind, "--model", str(model), "--host", "0.0.0.0"]
        command += ["--port", str(PORTS[kind]), "--files", str(root), *options]
        self._log = log or Path(f"{root}.log")
        with self._log.open("wb") as output:
            environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
            began = time.monotonic()
            self.process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment, cwd=ROOT)
        self.wait_for_an_answer()
        self.started_s = time.monotonic() - began

    def wait_for_an_answer(self, within_s: float = 600.0) -> None:
        ends = time.monotonic() + within_s
        with client(timeout_s=5) as http:
            while time.monotonic() < ends:
                try:
                    if http.get(f"{self.url}/config").status_code == 200:
                        return
                except httpx.HTTPError:
                    if self.process.poll() is not None:
                        break
                time.sleep(0.05)
        raise RuntimeError(f"the {self.kind} page does not answer: {self.said()[-2000:]}")

    def said(self) -> str:
        """All that it printed."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def end(self, how: signal.Signals = signal.SIGTERM, *, within_s: float = 120.0) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(how)
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return 999  # no exit code that a page has

    def __enter__(self) -> "Page":
        return self

    def __exit__(self, *_) -> None:
        if self.process.poll() is None:
            self.end()

    # ------------------------------------------------------------------------------------------------ what it takes

    @property
    def rss_mb(self) -> float:
        return psutil.Process(self.process.pid).memory_info().rss / 1e6

    @property
    def n_threads(self) -> int:
        return psutil.Process(self.process.pid).num_threads()

    @property
    def disk_mb(self) -> float:
        total = 0
        for path in files_in(self.root):
            with contextlib.suppress(FileNotFoundError):  # swept meanwhile
                total += path.stat().st_size
        return total / 1e6

    # --------------------------------------------------------------------------------------------------- what is asked

    def call(self, http: httpx.Client, name: str, data: list, *, timeout_s: float = 120.0) -> tuple[str, object]:
        """One of Gradio's named endpoints: the last event and its data; ("refused", text) where nothing was begun."""
        begun = http.post(f"{self.url}/gradio_api/call/{name}", json={"data": data})
        if begun.status_code != 200:
            return "refused", f"{begun.status_code} {begun.text}"
        event = ""
        path = f"{self.url}/gradio_api/call/{name}/{begun.json()['event_id']}"
        with http.stream("GET", path, timeout=timeout_s) as answer:
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    event = line[7:]
                elif line.startswith("data: ") and event in ("complete", "error"):
                    return event, json.loads(line[6:])
        return "cut off", None

    def upload(self, http: httpx.Client, *files: bytes) -> httpx.Response:
        named = [("files", (f"{i}.wav", file)) for i, file in enumerate(files)]
        return http.post(f"{self.url}/gradio_api/upload", files=named)

    def transcribe(self, http: httpx.Client, recording: bytes, **fields) -> httpx.Response:
        files = {"file": ("talk.wav", recording)}
        return http.post(f"{self.url}/v1/audio/transcriptions", files=files, data={"model": "x", **fields})


def files_in(root: Path) -> list[Path]:
    """Visitors' files, without the locks by which pages know each other; what is swept meanwhile is not among them."""
    walked = (Path(folder, name) for folder, _, names in os.walk(root) for name in names)  # skips folders that went
    return [path for path in walked if path.suffix != ".lock" and path.is_file()]
