"""What of Gradio is open: over HTTP, with real pages, and a real server that must not be asked.

The lists hold every route of the installed Gradio: a new version's new ones fail here until somebody has looked.
"""

import re
import socket
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import numpy as np
import pytest
import soundfile
from browser import serving
from web import answer, website

from cantowhisper.contracts import ModelFacts, Segment
from cantowhisper.repository import load_page
from cantowhisper.serving.offline.editing.rows import MAX_ROWS_BYTES, POSTS
from cantowhisper.serving.offline.limits import Limits
from cantowhisper.serving.offline.service import Service
from cantowhisper.serving.web.filter import Open, is_own_file

gradio = pytest.importorskip("gradio")

LIMITS = replace(Limits(), max_file_bytes=300_000, max_files=3, max_upload_bytes_per_hour=0)
GRADIO = "/gradio_api"
OPEN = {
    *("GET /", "GET /assets/{path:path}", "GET /static/{path:path}", "GET /svelte/{path:path}", "GET /theme.css"),
    *("GET /config", "GET /favicon.ico", "GET /robots.txt", "GET /manifest.json"),
    *("GET /pwa_icon", "GET /pwa_icon/{size}"),
    *(f"GET {GRADIO}/{name}" for name in ("info", "openapi.json", "startup-events", "theme.css", "queue/data")),
    *(f"GET {GRADIO}/{name}" for name in ("heartbeat/{session_hash}", "file={path_or_url:path}", "upload_progress")),
    *(f"GET {GRADIO}/call/{name}" for name in ("{api_name}/{event_id}", "v2/{api_name}/{event_id}")),
    *(f"POST {GRADIO}/{name}" for name in ("upload", "queue/join", "cancel", "reset", "run/{api_name}")),
    *(f"POST {GRADIO}/{name}" for name in ("api/{api_name}", "call/{api_name}", "call/v2/{api_name}")),
}
SHUT = {
    *("POST /login", "GET /logout", "GET /gradio_api/deep_link", "GET /monitoring", "GET /monitoring/{key}"),
    *("GET /monitoring/summary", "GET /docs", "GET /redoc", "GET /openapi.json", "GET /docs/oauth2-redirect"),
    *(f"GET {GRADIO}/{name}" for name in ("user", "login_check", "token", "app_id", "dev/reload", "runs")),
    *(f"GET {GRADIO}/run-history/{name}" for name in ("buckets", "records")),
    f"GET {GRADIO}/run-history/records/{{endpoint}}/{{record_id}}/assets/{{asset_id}}",
    *(f"GET {GRADIO}/{name}" for name in ("proxy={url_path:path}", "file/{path:path}", "queue/status", "vibe-code")),
    f"GET {GRADIO}/custom_component/{{id}}/{{environment}}/{{type}}/{{file_name}}",
    *(f"GET {GRADIO}/stream/{{session_hash}}/{{run}}/{{component_id}}/{x}" for x in ("playlist.m3u8", "playlist-file")),
    f"GET {GRADIO}/stream/{{session_hash}}/{{run}}/{{component_id}}/{{segment_id}}.{{ext}}",
    *(f"POST {GRADIO}/{name}" for name in ("run-history/connect", "stream/{event_id}", "stream/{event_id}/close")),
    *(f"POST {GRADIO}/{name}" for name in ("component_server", "process_recording", "vibe-edit", "undo-vibe-edit")),
    *(f"POST {GRADIO}/{name}" for name in ("vibe-code", "vibe-starter-queries")),
}
OURS = {"POST /v1/audio/transcriptions", "GET /v1/models", "GET /v1/models/{name:path}"}
OURS |= {"POST /v1/audio/translations", "GET /healthz", "GET /metrics"}
OURS |= {f"POST {address}" for address in POSTS}


http = httpx.Client(timeout=60)  # one for all: making a client takes longer than a request


class Waits:
    """A recognizer that hears nothing."""

    facts, languages, slow = ModelFacts(), ["en", "yue", "zh"], False
    takes_words = True

    def stream(self, waveform, **options):
        yield Segment(0.0, 1.0, "聽到", 0.9)


@pytest.fixture(scope="module")
def page():
    app = load_page("offline")
    service = Service(Waits(), limits=LIMITS)
    built = app.build_page(service, examples=[])
    with serving(built, **app.launch_options(service)) as address:
        yield SimpleNamespace(url=address.rstrip("/"), gradio=built.app, site=service.site, blocks=built)


def all_routes(routes) -> set[str]:
    """ "METHOD path" of each route, GET for HEAD, and without a slash at the end."""
    found = set()
    for route in routes:
        if inner := getattr(getattr(route, "original_router", None), "routes", None) or getattr(route, "routes", None):
            found |= all_routes(inner)
        elif methods := getattr(route, "methods", None):
            found |= {f"{m.replace('HEAD', 'GET')} {route.path.rstrip('/') or '/'}" for m in methods}
    return found


def test_every_route_of_gradio_is_known_as_open_or_shut(page):
    assert all_routes(page.gradio.routes) - OURS - OPEN == SHUT & all_routes(page.gradio.routes)
    assert {route for route in OPEN if GRADIO in route} <= all_routes(page.gradio.routes) | {f"GET {GRADIO}/theme.css"}


def example(route: str) -> tuple[str, str]:
    method, path = route.split(" ")
    return method, re.sub(r"\{[^}]+\}", "x1", path)


@pytest.mark.parametrize("route", sorted(SHUT))
def test_what_is_shut_says_that_there_is_no_such_page(page, route):
    method, path = example(route)
    for end in ("", "/"):
        response = http.request(method, page.url + path + end, json={})
        assert response.status_code == 404 and "no such page" in response.text


@pytest.mark.parametrize("live", [False, True], ids=["offline", "live"])
def test_open_routes_pass_the_filter_and_the_live_page_takes_no_files(live):
    doors = Open(files=not live, server_functions=live)
    for route in OPEN:
        needs_files = "upload" in route or "file=" in route
        if "file=" not in route:
            assert doors.lets_through(*example(route)) == (not live or not needs_files), route
    assert doors.lets_through("POST", f"{GRADIO}/component_server/") == live
    assert not any(doors.lets_through(method, "/gradio_api/file=x") for method in ("GET", "HEAD", "PUT"))


URLS = ["http://{}/x.wav", "https://{}/x.wav", "HTTP://{}/x", "//{}/x", "ftp://{}/x", "\\\\{}\\x", "file:///etc/passwd"]
OTHERS = ["/etc/passwd", "/proc/self/environ", "../x", "x.wav", "", {"path": "x"}, 7, ["http://{}/x.wav"], "/a\0b"]


def bodies(path) -> list:
    """Everywhere in an event's body that a file can be written."""
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    return [[file], [[file]], [{"path": path}], [{"deep": [{"er": file}]}], [{**file, "url": path, "orig_name": "x"}]]


@pytest.fixture(scope="module")
def other():
    """A server of somebody else. Gradio is told to take its address for a public one, so that it would be asked."""
    from gradio import processing_utils

    with website(x=answer(b"RIFF")) as (url, port, asked):
        processing_utils.PUBLIC_HOSTNAME_WHITELIST.append("127.0.0.1")
        yield SimpleNamespace(host=f"127.0.0.1:{port}", asked=asked, url=url)
        processing_utils.PUBLIC_HOSTNAME_WHITELIST.remove("127.0.0.1")


def test_without_the_filter_gradio_would_fetch(other):
    """What all of this is for; where this fails, Gradio has mended it and the filter may go."""
    app, service = load_page("offline"), Service(Waits(), limits=LIMITS)
    options = app.launch_options(service)
    with serving(app.build_page(service, examples=[]), **{**options, "app_kwargs": {}}) as address:
        body = {"data": [bodies(f"{other.url}/x.wav")[0][0], "", "", 1, False]}
        assert http.post(f"{address}gradio_api/call/transcribe", json=body).status_code == 200
        ends = time.monotonic() + 20
        while not other.asked and time.monotonic() < ends:
            time.sleep(0.05)
    assert other.asked == ["/x.wav"]
    other.asked.clear()


@pytest.mark.parametrize(
    "door", ["call/transcribe", "call/v2/transcribe", "run/transcribe", "api/transcribe", "queue/join"]
)
def test_no_event_may_name_a_file_that_was_not_uploaded(page, other, door):
    for named in [*URLS, *OTHERS]:
        path = named.format(other.host) if isinstance(named, str) else named
        for data in bodies(path)[: None if door == "queue/join" else 1]:
            body = {"data": [*data, "", "", 1, False], "fn_index": 0, "session_hash": "x", "file": data[0]}
            response = http.post(f"{page.url}/gradio_api/{door}", json=body)
            assert response.status_code == 403 and "uploaded first" in response.text, (path, response.text)
    assert other.asked == []


def test_no_path_leaves_the_folder_of_uploads(tmp_path, monkeypatch):
    uploads = tmp_path / "uploads"
    (uploads / "a").mkdir(parents=True)
    (tmp_path / "secret").write_text("x")
    (uploads / "link").symlink_to(tmp_path / "secret")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(uploads))
    assert is_own_file(f"{uploads}/a/x.wav") and is_own_file(f"{uploads}/a/../x.wav")
    for path in ("../secret", "a/../../secret", "a/../../uploads2/x", "link", "../uploads2"):
        assert not is_own_file(f"{uploads}/{path}"), path


def test_no_url_is_relayed(page, other):
    for named in [*URLS, *(o for o in OTHERS if isinstance(o, str))]:
        path = named.format(other.host).replace("\0", "%00")
        for door in ("file=", "proxy=", "file/"):
            response = http.get(f"{page.url}/gradio_api/{door}{path}")
            assert response.status_code in (403, 404, 307), path
    for encoded in ("http%3A%2F%2F", "http:%2f%2f", "%68ttp://"):
        assert http.get(f"{page.url}/gradio_api/file={encoded}{other.host}/x").status_code == 404
    assert other.asked == []


def test_bodies_that_are_no_json_too_large_or_too_deep_are_refused(page):
    join = f"{page.url}/gradio_api/queue/join"
    deep = b'{"data":' * 5000 + b"1" + b"}" * 5000
    for content, status in [(b"", 400), (b"{", 400), (deep, 400), (b'"' + b"x" * (MAX_ROWS_BYTES + 9) + b'"', 413)]:
        assert http.post(join, content=content).status_code == status
    doubled = '{"data": [{"path": "/etc/passwd", "path": "http://x/"}], "fn_index": 0, "session_hash": "x"}'
    assert http.post(join, content=doubled).status_code == 403


def wav(seconds: float = 1.0) -> bytes:
    import io

    out = io.BytesIO()
    soundfile.write(out, np.zeros(int(seconds * 16000), np.float32), 16000, format="WAV")
    return out.getvalue()


def test_calls_whose_answers_nobody_asks_for_are_not_kept(page):
    """Each is a session to Gradio, which would hold 0.1 MB of 10,000 of them, and a row of statistics."""
    link = {"data": ["http://127.0.0.1/", "", "", 1, False]}
    for _ in range(130):
        http.post(f"{page.url}/gradio_api/call/transcribe_url", json=link).raise_for_status()
    kept = page.blocks.state_holder.session_data
    assert 1 <= len(kept) <= 100
    n_blocks = len(page.blocks.blocks)
    assert all(len(state.config_values) < n_blocks / 2 for state in kept.values()), "no copy of the page for each"
    queue = page.blocks._queue
    assert len(queue.event_analytics) <= 1 and queue.cached_event_analytics_summary == {"functions": {}}


def test_events_that_come_too_quickly_are_refused_before_gradio_hears_of_them(page):
    link, visitor = {"data": ["http://127.0.0.1/", "", "", 1, False]}, {"X-Forwarded-For": "203.0.113.9"}
    address, before = f"{page.url}/gradio_api/call/transcribe_url", page.blocks._queue.events_recorded
    answers = [http.post(address, json=link, headers=visitor) for _ in range(45)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) >= 10 and int(refused[0].headers["Retry-After"]) >= 1
    assert page.blocks._queue.events_recorded - before == 45 - len(refused) >= 30
    other = {"X-Forwarded-For": "203.0.113.10"}
    http.post(address, json=link, headers=other).raise_for_status()


def test_an_upload_is_counted_as_it_arrives(page):
    upload = lambda *files: http.post(f"{page.url}/gradio_api/upload", files=[("files", file) for file in files])
    good = upload(("a.wav", wav()), ("../../b?.wav", wav()))
    paths = [Path(path) for path in good.json()]
    assert [p.name for p in paths] == ["a.wav", "b.wav"] and all(is_own_file(str(p)) for p in paths)
    assert paths[0].parent != paths[1].parent, "nobody learns that somebody else has the same recording"
    assert http.get(f"{page.url}/gradio_api/file={paths[0]}").content == wav()
    assert upload(("large.wav", bytes(LIMITS.max_file_bytes + 1))).status_code == 413
    assert upload(*[(f"{i}.wav", wav(0.1)) for i in range(4)]).status_code == 413
    assert http.post(f"{page.url}/gradio_api/upload", content=b"x").status_code == 400


def test_an_aborted_or_broken_upload_leaves_nothing(page, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    host, port = page.url.removeprefix("http://").split(":")
    head = 'Content-Disposition: form-data; name="files"; filename="x.wav"\r\n\r\n'
    begin = b"--b\r\n" + head.encode() + bytes(200_000)
    line = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{line}Content-Length: 290000\r\n\r\n".encode() + begin)
        ends = time.monotonic() + 20
        while not list(tmp_path.iterdir()):
            assert time.monotonic() < ends
            time.sleep(0.01)
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{line}Content-Length: {len(begin)}\r\n\r\n".encode() + begin)
        assert b" 400 " in connection.recv(1000)
    while list(tmp_path.iterdir()):
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_the_pages_upload_bar_moves(page):
    import threading

    def slowly():
        yield b"--b\r\n" + b'Content-Disposition: form-data; name="files"; filename="x.wav"\r\n\r\n'
        for _ in range(5):
            time.sleep(0.15)
            yield bytes(10_000)
        yield b"\r\n--b--\r\n"

    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    post = lambda: http.post(f"{page.url}/gradio_api/upload?upload_id=u1", content=slowly(), headers=kind)
    thread = threading.Thread(target=post)
    thread.start()
    told = http.get(f"{page.url}/gradio_api/upload_progress?upload_id=u1", timeout=20).text
    thread.join()
    sizes = [int(n) for n in re.findall(r'"orig_name": "x.wav", "chunk_size": (\d+)', told)]
    assert sum(sizes) == 50_000 and len(sizes) >= 2 and told.rstrip().endswith('{"msg": "done"}')


def test_a_page_that_is_being_stopped_lets_nobody_in_and_says_so(page):
    assert http.get(f"{page.url}/healthz").json() == {"status": "ok"}
    page.site.closing.set()
    try:
        health, config = http.get(f"{page.url}/healthz"), http.get(f"{page.url}/config")
    finally:
        page.site.closing.clear()
    assert health.status_code == 503 and health.json() == {"status": "stopping"}
    assert config.status_code == 503 and config.headers["retry-after"] == "60" and "restarted" in config.text


def test_the_live_page_fetches_nothing_and_takes_no_upload(other):
    app = load_page("online")
    with serving(app.build_page(Waits()), **app.launch_options()) as address:
        events = [f"{address}gradio_api/call/{name}" for name in ("start", "push", "poll", "finish")]
        for door in [*events, f"{address}gradio_api/component_server", f"{address}gradio_api/queue/join"]:
            body = {"data": bodies(f"{other.url}/x.wav")[0], "component_id": 1, "session_hash": "x", "fn_name": "y"}
            assert http.post(door, json=body).status_code == 403
        assert http.post(f"{address}gradio_api/upload", files={"files": b"x"}).status_code == 404
        assert http.get(f"{address}gradio_api/file={other.url}/x.wav").status_code == 404
        function = {"files": {"file": b"x" * 100_000}, "data": {"component_id": "1", "session_hash": "x"}}
        assert http.post(f"{address}gradio_api/component_server", **function).status_code == 400
    assert other.asked == []
