"""Item 7: both pages behind docs/container/nginx.conf, with the nginx of this machine."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator

from benchmarks.attack.attempts import Notes, World
from benchmarks.attack.network import PAGES, visitor
from benchmarks.attack.page import OFFLINE, ONLINE, ROOT, client, realtime

PORT = 8080
UPSTREAMS = {"offline:7860": "127.0.0.1:7860", "online:7860": "127.0.0.1:7861"}


def nginx(world: World) -> Iterator[Notes]:
    """Sub-paths, uploads, streams, and whose request it is."""
    note, program = Notes(7, "nginx"), shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if program is None:
        note.expect("nginx", "is not installed here: not tried", True)
        yield note
        return
    prefix = world.folder / "nginx"
    (prefix / "logs").mkdir(parents=True)
    text = (ROOT / "docs/container/nginx.conf").read_text(encoding="utf-8")
    for name, address in UPSTREAMS.items():
        text = text.replace(name, address)
    (prefix / "nginx.conf").write_text(f"user root;\n{text}" if os.getuid() == 0 else text, encoding="utf-8")
    trust = ("--trusted-proxies", "127.0.0.1")
    offline = ("--root-path", "/recordings", "--max-requests-per-hour", "3", "--max-file-bytes", "3000000", *trust)
    with world.page(OFFLINE, *offline), world.page(ONLINE, "--root-path", "/live", *trust):
        command = [program, "-p", str(prefix), "-c", str(prefix / "nginx.conf"), "-g", "daemon off; pid nginx.pid;"]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            _wait(process)
            _recordings(note, world)
            _live(note)
        finally:
            process.terminate()
            process.wait(20)
    yield note


def _wait(process: subprocess.Popen) -> None:
    ends = time.monotonic() + 20
    while time.monotonic() < ends and process.poll() is None:
        try:
            socket.create_connection((PAGES, PORT), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("nginx did not start")


def _recordings(note: Notes, world: World) -> None:
    url = f"http://{PAGES}:{PORT}/recordings"
    with client(visitor(90)) as http:
        config = note.status("GET /recordings/config", http.get(f"{url}/config"), 200).json()
        note.expect("the root that the page's script uses", config["root"], config["root"] == url)
        home = note.status("GET /recordings/", http.get(f"{url}/"), 200).text
        assets = [part.split('"')[0] for part in home.split('src="')[1:]]
        found = [http.get(one if "://" in one else f"{url}/{one.lstrip('./')}").status_code for one in assets[:3]]
        note.expect("its scripts", f"{assets[:3]} {found}", found and set(found) == {200})
        upload = http.post(f"{url}/gradio_api/upload", files={"files": ("a.wav", world.recording)})
        note.status("an upload", upload, 200)
        path = upload.json()[0]
        note.expect("and back", "the same bytes", http.get(f"{url}/gradio_api/file={path}").content == world.recording)
        large = http.post(f"{url}/gradio_api/upload", files={"files": bytes(4_000_000)})
        note.status("an upload of 4 MB where 3 are allowed", large, 413)
        note.status("GET /recordings/metrics from outside", http.get(f"{url}/metrics"), 404)
        ask = lambda http, **headers: http.post(
            f"{url}/v1/audio/transcriptions", files={"file": world.recording}, headers=headers
        )
        stream = {"files": {"file": world.recording}, "data": {"stream": "true"}}
        with http.stream("POST", f"{url}/v1/audio/transcriptions", **stream) as answer:
            events = [line for line in answer.iter_lines() if line.startswith("data: {")]
        note.expect("a stream", events[-1], "transcript.text.done" in events[-1])
        forged = {"X-Forwarded-For": "127.0.0.1"}
        for number, expected in enumerate((200, 200, 429)):
            answer = ask(http, **(forged if number else {}))
            note.status(
                f"3 requests an hour, the {number + 2}. of one visitor, forged: {bool(number)}", answer, expected
            )
    with client(visitor(91)) as http:
        note.status("another visitor", ask(http), 200)


def _live(note: Notes) -> None:
    url = f"http://{PAGES}:{PORT}/live"
    with client(visitor(92)) as http:
        for number in range(4):
            begun = http.post(f"{url}/gradio_api/call/start", json={"data": ["", "", 0, ""]}).json()
            said = http.get(f"{url}/gradio_api/call/start/{begun['event_id']}").text
            held = ("session" in said) if number < 3 else "stop one of them first" in said
            note.expect(f"live session {number + 1} of one visitor, where 3 are allowed", said, held)
    with client(visitor(93)) as http:
        begun = http.post(f"{url}/gradio_api/call/start", json={"data": ["", "", 0, ""]}).json()
        said = http.get(f"{url}/gradio_api/call/start/{begun['event_id']}").text
        note.expect("of another visitor", said, "session" in said)
    with realtime(f"{url}/v1/realtime", visitor(92)) as connection:
        told = json.loads(connection.recv(10))
        note.expect("/live/v1/realtime, a WebSocket", told["type"], told["type"] == "session.created")
