"""Items 1 to 5: Gradio's doors, one visitor against the others, what stays, limits, addresses."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx

from benchmarks.attack.attempts import Notes, World
from benchmarks.attack.network import ELSEWHERE, visitor
from benchmarks.attack.page import OFFLINE, ONLINE, Page, client, files_in

EVENTS = ("call/{}", "call/v2/{}", "run/{}", "api/{}", "queue/join")
URLS = (
    "http://{}/theirs.wav",
    "https://recordings.example/theirs.wav",
    "HTTP://{}/theirs",
    "//{}/theirs",
    "ftp://{}/x",
)
RELAYS = ("file=http://{}/theirs", "file=http%3A%2F%2F{}%2Ftheirs", "proxy=http://{}/theirs", "file/http://{}/theirs")
N_LINKS = 43  # by one visitor at once
IDLE_S = 11.0  # the thread pool keeps an idle thread for 10


def gradios_doors(world: World) -> Iterator[Notes]:
    """Item 1, on both pages."""
    options = {OFFLINE: ("--max-file-bytes", "5000000", "--max-upload-bytes-per-hour", "12000000"), ONLINE: ()}
    for kind, endpoint in ((OFFLINE, "transcribe"), (ONLINE, "start")):
        note = Notes(1, kind)
        with world.page(kind, *options[kind]) as page, client(visitor(1)) as http:
            before_mb = page.rss_mb
            for door in EVENTS:
                for url in URLS:
                    _name_a_url(note, page, http, door.format(endpoint), url.format(ELSEWHERE))
            for path in RELAYS:
                answer = http.get(f"{page.url}/gradio_api/{path.format(ELSEWHERE)}")
                note.status(f"GET /gradio_api/{path}", answer, 403, 404)
            for path in ("/monitoring", "/gradio_api/runs", "/gradio_api/vibe-code", "/docs", "/login"):
                note.status(f"GET {path}", http.get(page.url + path), 404)
            body = json.dumps({"data": ["x" * 3_000_000]})
            answer = http.post(f"{page.url}/gradio_api/call/{endpoint}", content=body)
            note.status("an event of 3 MB", answer, 413)
            if kind == OFFLINE:
                _uploads(note, page, http)
            else:
                note.status("an upload to the live page", page.upload(http, b"x"), 404)
            time.sleep(1)
            grown_mb = page.rss_mb - before_mb
            note.expect("memory after all of these", f"{grown_mb:+.1f} MB", grown_mb < 40)
        yield note


def _name_a_url(note: Notes, page: Page, http: httpx.Client, door: str, url: str) -> None:
    file = {"path": url, "url": url, "meta": {"_type": "gradio.FileData"}}
    body = {"data": [file, "", "", 1, False], "fn_index": 0, "session_hash": "x"}
    note.status(
        f"POST /gradio_api/{door} with the file {url}", http.post(f"{page.url}/gradio_api/{door}", json=body), 403
    )


def _uploads(note: Notes, page: Page, http: httpx.Client) -> None:
    note.status("an upload of 6 MB where 5 are allowed", page.upload(http, bytes(6_000_000)), 413)
    note.status("11 files at once", page.upload(http, *[b"x"] * 11), 413)
    note.status("an upload of 4 MB", page.upload(http, bytes(4_000_000)), 200)
    note.status("and one over 12 MB an hour", page.upload(http, bytes(4_000_000)), 429)
    with client(visitor(2)) as other:
        note.status("the same by another visitor", page.upload(other, bytes(4_000_000)), 200)


def one_against_the_others(world: World) -> Iterator[Notes]:
    """Item 2: 43 links to a server that drips; and the clock of a link that drips in TLS, in headers, in its body."""
    note = Notes(2, OFFLINE)
    with world.page(OFFLINE, "--max-download-s", "30") as page, ThreadPoolExecutor(N_LINKS) as pool:
        with client(visitor(3)) as other:
            before, threads = _seconds(page, other, world.recording), page.n_threads
            link = [f"http://{ELSEWHERE}/body", "", "", 1, False]
            with client(visitor(4)) as http:
                ask = lambda _: page.call(http, "transcribe_url", link)
                answers = [pool.submit(ask, number) for number in range(N_LINKS)]
                refused, ends = 0, time.monotonic() + 20
                while refused < N_LINKS - 3 and time.monotonic() < ends:
                    time.sleep(0.2)
                    # At the door, because they come too quickly, or as links beyond those that one visitor may have.
                    refused = sum(one.done() and one.result()[0] in ("refused", "error") for one in answers)
                note.expect(f"{N_LINKS} links that drip, by one visitor", f"{refused} refused", refused == N_LINKS - 3)
                refused_at = time.monotonic()
                during = _seconds(page, other, world.recording)
                words = f"{before:.2f} s before, {during:.2f} s meanwhile (medians)"
                note.expect("a recording of another visitor", words, during < 1.5 * before + 0.2)
                time.sleep(max(0.0, refused_at + IDLE_S - time.monotonic()))
                # Gradio's pool lets idle threads go when the next one is asked for, which the API never does.
                page.call(other, "transcribe_url", ["http://127.0.0.1/", "", "", 1, False])
                more = page.n_threads - threads
                note.expect("threads that they hold", f"{more} more", more <= 4)
                told = [one.result()[1] for one in answers]
        slow = sum("longer than 30 s" in str(one) for one in told)
        note.expect("the three that were let in", f"{slow} ended by the clock", slow >= 1)
    drips = (f"https://{ELSEWHERE}:8443/", "https://recordings.example/headers", "https://recordings.example/body")
    with world.page(OFFLINE, "--max-download-s", "4", "--allow-links", f"{ELSEWHERE}:8443") as page:
        for number, link in enumerate(drips):
            with client(visitor(10 + number)) as http:
                began = time.monotonic()
                event, data = page.call(http, "transcribe_url", [link, "", "", 1, False])
                took_s = time.monotonic() - began
            held = event == "error" and "longer than 4 s" in str(data) and took_s < 6
            note.expect(f"{link}, which drips", f"after {took_s:.1f} s: {data}", held)
    yield note


def _seconds(page: Page, http: httpx.Client, recording: bytes, *, times: int = 5) -> float:
    """The median time of a transcript."""
    took = []
    for _ in range(times):
        began = time.monotonic()
        page.transcribe(http, recording).raise_for_status()
        took.append(time.monotonic() - began)
    return sorted(took)[times // 2]


def nothing_stays(world: World) -> Iterator[Notes]:
    """Item 3, while a page runs; its ends are in endings.py."""
    note = Notes(3, OFFLINE)
    keep = ("--keep-files-s", "4", "--look-for-old-files-s", "1")
    with world.page(OFFLINE, *keep) as page, client(visitor(1)) as http:
        own = set(files_in(page.root))
        for _ in range(20):
            _abort_an_upload(page)
        page.upload(http, world.recording)
        page.transcribe(http, world.recording)
        (page.root / "unknown.bin").write_bytes(b"x")
        note.expect("an upload, and a file that nobody knows", f"{len(set(files_in(page.root)) - own)} files", True)
        time.sleep(7)
        left = len(set(files_in(page.root)) - own)
        note.expect(
            "20 aborted uploads, a whole one, an unknown file, after the time that is promised",
            f"{left} left",
            not left,
        )
    note.expect(
        "after the page's end", f"{len(files_in(world.folder / 'offline-files'))} left", not files_in(page.root)
    )
    yield note


def _abort_an_upload(page: Page) -> None:
    def some():
        yield b'--b\r\nContent-Disposition: form-data; name="files"; filename="x.wav"\r\n\r\n' + bytes(300_000)
        raise ConnectionAbortedError

    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    with client(visitor(1)) as http:
        try:
            http.post(f"{page.url}/gradio_api/upload", content=some(), headers=kind)
        except ConnectionAbortedError:
            return


def limits(world: World) -> Iterator[Notes]:
    """Item 4."""
    note, proxy = Notes(4, OFFLINE), visitor(200)
    variables = {"CANTOWHISPER_MAX_REQUESTS_PER_HOUR": "2"}
    with world.page(OFFLINE, "--trusted-proxies", proxy, **variables) as page:
        ask = lambda http, told=None: http.post(
            f"{page.url}/v1/audio/transcriptions",
            files={"file": world.recording},
            headers={"X-Forwarded-For": told} if told else {},
        )
        with client(visitor(20)) as http:
            for expected in (200, 200, 429):
                answer = note.status("CANTOWHISPER_MAX_REQUESTS_PER_HOUR=2, one visitor", ask(http), expected)
            note.expect("when to come back", answer.headers.get("retry-after"), "retry-after" in answer.headers)
            note.status("the same with a forged X-Forwarded-For", ask(http, "8.8.8.8"), 429)
        with client(proxy) as http:
            for number, expected in enumerate((200, 200, 429)):
                told = f"8.8.8.{number}, {visitor(21)}"
                note.status(f"through a trusted proxy, X-Forwarded-For: {told}", ask(http, told), expected)
            note.status("through the proxy, another visitor", ask(http, visitor(22)), 200)
        with client("127.0.0.1") as http:
            page.url = page.url.replace("11.0.0.2", "127.0.0.1")
            answers = [ask(http).status_code for _ in range(4)]
            note.expect("this machine itself, without a proxy", answers, answers == [200] * 4)
    yield note


def addresses(world: World) -> Iterator[Notes]:
    """Item 5: where links may lead. Every one of these addresses would answer."""
    note, asked = Notes(5, OFFLINE), len(world.elsewhere.asked)
    inside = ("127.0.0.1", "10.0.0.1", "169.254.169.254", "192.0.0.1", "192.88.99.1", "[3fff::1]", "[fd00::1]", "[::1]")
    inside += ("[::ffff:10.0.0.1]", "inside.example", "2130706433", "0x7f.1", "0")
    with world.page(OFFLINE, "--max-requests-per-hour", "0") as page, client(visitor(30)) as http:
        link = lambda url: page.call(http, "transcribe_url", [url, "", "", 1, False])
        for host in inside:
            event, data = link(f"http://{host}/never.wav")
            note.expect(f"the link http://{host}/never.wav", data, event == "error" and "text" not in (data or {}))
        event, data = link(f"http://{ELSEWHERE}/inside")
        note.expect("a redirect to 10.0.0.1", data, event == "error")
        event, data = link(f"http://{ELSEWHERE}:8080/x.wav")
        note.expect("a port that is not 80 or 443", data, event == "error")
        for url in (
            "http://粵語.example/x.wav",
            f"http://{ELSEWHERE}/utf8",
            f"http://{ELSEWHERE}/idn",
            "https://recordings.example/x",
        ):
            event, data = link(url)
            note.expect(f"the link {url}", data, event == "complete" and data[0]["duration_s"] == 3.0)
        event, data = link("http://粵\u202e語.example/x.wav")
        note.expect("a host that cannot be", data, event == "error")
    reached = [one for one in world.elsewhere.asked[asked:] if one[0] != ELSEWHERE]
    note.expect("requests that reached an address that is not public", reached, not reached)
    yield note
