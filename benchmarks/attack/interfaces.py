"""Items 6 to 8: OpenAI's API, what operators need, and deploying."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from websockets.exceptions import ConnectionClosed, InvalidStatus

from benchmarks.attack.attempts import Notes, World
from benchmarks.attack.network import visitor
from benchmarks.attack.page import OFFLINE, ONLINE, ROOT, client, realtime


def openai_api(world: World) -> Iterator[Notes]:
    """Item 6."""
    note = Notes(6, OFFLINE)
    with world.page(OFFLINE, "--max-under-way-per-visitor", "1") as page, client(visitor(40)) as http:
        ask = lambda **fields: page.transcribe(http, world.recording, **fields)
        plain = note.status("json", ask(), 200)
        events = [json.loads(line[6:]) for line in ask(stream="true").text.splitlines() if line.startswith("data: {")]
        kinds = [event["type"] for event in events]
        held = set(kinds[:-1]) == {"transcript.text.delta"} and kinds[-1] == "transcript.text.done"
        note.expect("stream=true", kinds, held and events[-1]["text"] == plain.json()["text"])
        _error(note, "include[]=logprobs, of which there are none here", ask(**{"include[]": "logprobs"}), 400)
        words = ask(response_format="verbose_json", **{"timestamp_granularities[]": "word"})
        note.expect("timestamp_granularities[]=word", words, words.status_code == 200 and "words" in words.json())
        wrong = {"timestamp_granularities[]": "word", "temperature": "0.7", "prompt": "names", "language": "xx"}
        for name, value in wrong.items():
            _error(note, f"{name}={value}, which cannot be done here", ask(**{name: value}), 400)
        long = _error(note, "a prompt of 11 kB", ask(prompt="x" * 11_000), 400)
        note.expect("what it says", long, "longer than 10 kB" in long)
        two = http.post(f"{page.url}/v1/audio/transcriptions", files=[("file", world.recording)] * 2)
        note.expect("two files", two, two.status_code == 413 and "At most 1 file" in two.text)
        name = http.get(f"{page.url}/v1/models").json()["data"][0]["id"]
        note.status(f"GET /v1/models/{name}", http.get(f"{page.url}/v1/models/{name}"), 200)
        _error(note, "GET /v1/models/other", http.get(f"{page.url}/v1/models/other"), 404)
        url = f"{page.url}/v1/audio/translations"
        answer = http.post(url, files={"file": world.recording}, data={"model": "x"})
        _error(note, "POST /v1/audio/translations, which a fine-tuned model does not do", answer, 400)
        answers: list = []
        at_once = [threading.Thread(target=lambda: answers.append(ask())) for _ in range(4)]
        for thread in at_once:
            thread.start()
        for thread in at_once:
            thread.join()
        refused = [one for one in answers if one.status_code == 429]
        held = refused and all(
            one.json()["error"]["type"] == "requests" and one.headers.get("retry-after") for one in refused
        )
        note.expect("four at once where one is allowed", refused[0] if refused else answers, held)
    yield note


def realtime_api(world: World) -> Iterator[Notes]:
    """Item 6, live: the WebSocket for programs."""
    note = Notes(6, ONLINE)
    with world.page(ONLINE) as page, ExitStack() as held:
        url = f"{page.url}/v1/realtime"
        foreign = _refused(url, visitor(45), origin="https://elsewhere.example")
        note.expect("/v1/realtime from another site's script", foreign, foreign == 403)
        gradios = _refused(f"{page.url}/gradio_api/queue/join", visitor(45))
        note.expect("a WebSocket elsewhere", gradios, gradios == 403)
        connections = [held.enter_context(realtime(url, visitor(45))) for _ in range(8)]
        ninth = _refused(url, visitor(45))
        note.expect("a ninth connection of one visitor, where 8 are allowed", ninth, ninth == 403)
        other = json.loads(held.enter_context(realtime(url, visitor(46))).recv(20))
        note.expect("of another visitor", other["type"], other["type"] == "session.created")
        for connection in connections:
            connection.recv(20)
        before_mb, ends = page.rss_mb, []
        for connection in connections[:4]:
            try:
                connection.send("x" * 20_000_000)
                connection.recv(20)
            except ConnectionClosed as error:
                ends.append(error.rcvd.code if error.rcvd else None)
        grown_mb = page.rss_mb - before_mb
        note.expect("messages of 20 MB", f"{ends}, {grown_mb:+.0f} MB", ends == [1009] * 4 and grown_mb < 40)
        connections[4].send("[" * 1_000_000)
        said = json.loads(connections[4].recv(20))
        note.expect("no JSON", said["error"]["message"], said["type"] == "error")
        took_s = _beside_a_flood(connections[5], page)
        note.expect("/healthz beside a flood of events", f"{took_s:.2f} s at most", took_s < 1)
    yield note


def _refused(url: str, address: str, **options) -> int | None:
    """HTTP's status for a WebSocket that is not opened."""
    try:
        with realtime(url, address, **options):
            return None
    except InvalidStatus as error:
        return error.response.status_code


def _beside_a_flood(connection, page) -> float:
    """The longest of five answers, seconds."""
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            connection.send('{"type": "response.create"}')

    thread = threading.Thread(target=flood, daemon=True)
    thread.start()
    took_s = []
    with client(visitor(46)) as http:
        for _ in range(5):
            began = time.monotonic()
            http.get(f"{page.url}/healthz").raise_for_status()
            took_s.append(time.monotonic() - began)
    stop.set()
    return max(took_s)


def _error(note: Notes, request: str, answer, status: int) -> str:
    """An error in OpenAI's shape; returns its message."""
    error = answer.json().get("error", {}) if answer.headers["content-type"] == "application/json" else {}
    note.expect(request, answer, answer.status_code == status and {"message", "type", "param", "code"} <= set(error))
    return error.get("message", "")


def operators(world: World) -> Iterator[Notes]:
    """Item 7."""
    for kind in (OFFLINE, ONLINE):
        note = Notes(7, kind)
        with world.page(kind, "--root-path", "/speech") as page, client(visitor(50)) as http:
            note.status("GET /healthz", http.get(f"{page.url}/healthz"), 200)
            if kind == OFFLINE:
                page.transcribe(http, world.recording).raise_for_status()
                http.post(f"{page.url}/v1/audio/transcriptions", files={"file": b"no sound"})
            metrics = note.status("GET /metrics", http.get(f"{page.url}/metrics"), 200).text
            shown = sorted(set(re.findall(r"^(cantowhisper_\w+)", metrics, re.MULTILINE)))
            note.expect("what it counts", " ".join(shown), len(shown) >= 4)
            note.expect(
                "what it says of visitors",
                "their address" if visitor(50) in metrics else "nothing",
                visitor(50) not in metrics,
            )
            config = http.get(f"{page.url}/speech/config").json()
            note.expect("--root-path /speech", config["root"], config["root"].endswith("/speech"))
            _second_page(note, world, kind)
            said = page.said()
        noise = [line for line in said.splitlines() if "Traceback" in line or "mpg123" in line or visitor(50) in line]
        note.expect("what the page printed that nobody needs", noise, not noise)
        yield note


def _second_page(note: Notes, world: World, kind: str) -> None:
    for port, code, words in (("7860" if kind == OFFLINE else "7861", 1, "is in use"), ("70000", 2, "is no port")):
        command = [sys.executable, "-m", "cantowhisper.cli", "serve", kind, "--model", str(world.model), "--port", port]
        done = subprocess.run([*command, "--host", "0.0.0.0"], capture_output=True, text=True, cwd=ROOT, timeout=600)
        held = done.returncode == code and words in done.stderr and done.stderr.count("\n") == 1
        note.expect(f"serve --port {port}", f"exit code {done.returncode}: {done.stderr}", held)


def deploying(world: World) -> Iterator[Notes]:
    """Item 8: against a Hub on loopback that has a bare checkpoint, and makes Spaces for those who pay."""
    note = Notes(8, "deploy")

    class Hub(BaseHTTPRequestHandler):
        def do_GET(self):
            files = ["config.json", "pytorch_model.bin"]
            body = {"id": "me/bare", "sha": "0" * 40, "siblings": [{"rfilename": name} for name in files]}
            rows = [{"type": "file", "path": name, "size": 1, "oid": "0" * 40} for name in files]
            self._send(200, rows if "/tree/" in self.path else body)

        def do_POST(self):
            self._send(402, {"error": "Payment Required"})

        def _send(self, status: int, body) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args):
            pass

    hub = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=hub.serve_forever, daemon=True).start()
    environment = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}", "HF_TOKEN": "hf_none"}
    command = [sys.executable, "-m", "cantowhisper.cli", "deploy"]
    for page, words in (("online", "me/bare"), ("offline", "me/bare")):
        done = subprocess.run(
            [*command, page, "me/space", "--model", "me/bare"],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=environment,
        )
        held = done.returncode == 1 and words in done.stderr and done.stderr.count("\n") == 1
        note.expect(f"deploy {page} of a bare checkpoint", f"exit code {done.returncode}: {done.stderr}", held)
    hub.shutdown()
    yield note
