"""Ends of a page during work: kill -9, SIGTERM, Ctrl-C and a full disk; what is left, and the next start."""

import contextlib
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from benchmarks.attack.attempts import World
from benchmarks.attack.network import ELSEWHERE, PAGES, visitor
from benchmarks.attack.page import OFFLINE, ONLINE, PORTS, Page, client, files_in

CODES = {signal.SIGKILL: -9, signal.SIGTERM: 0, signal.SIGINT: 0}
SERVES_WITHIN_S = 10.0
DISK_MB = 24


def run(world: World, *, times: int) -> dict:
    """Each end `times` times, on both pages; a full disk for recordings only, the live page stores none."""
    found: dict = {}
    for kind in (OFFLINE, ONLINE):
        for how in CODES:
            found[f"{kind} {how.name}"] = _ends(world, kind, how, times)
            print(f"{kind} {how.name}: {found[f'{kind} {how.name}']}", flush=True)
    found["offline full disk"] = _full_disk(world, times)
    print(f"full disk: {found['offline full disk']}", flush=True)
    return found


def _ends(world: World, kind: str, how: signal.Signals, times: int) -> dict:
    codes, left, starts, said = [], [], [], 0
    page = world.page(kind)
    for _ in range(times):
        busy = _work(world, page)
        codes.append(page.end(how))
        said += "Traceback" in page.said() or "terminate called" in page.said()
        for thing in busy:
            thing.close() if isinstance(thing, socket.socket) else thing.join(30)
        before = set(files_in(page.root))  # what a kill leaves; the next start removes it
        began = time.monotonic()
        page = world.page(kind)
        _serve_one(world, page)
        starts.append(time.monotonic() - began)
        left.append(len(before & set(files_in(page.root))))
    page.end()
    return {
        "times": times,
        "exit_codes": sorted(set(codes)),
        "exit_codes_right": all(code == CODES[how] for code in codes),
        "files_left": sum(left) + len(files_in(page.root)),
        "next_start_serves_s": round(max(starts), 2),
        "tracebacks": said,
    }


def _work(world: World, page: Page) -> list:
    """Requests under way: an upload that holds, a link that drips, and recordings in work; or a live session."""
    if page.kind == ONLINE:
        with client(visitor(60)) as http:
            _, (session, *_) = page.call(http, "start", ["", "", 0, ""])
            _, _ = page.call(http, "push", [session["session"], 0, "AAAA" * 4000, -1, 0, False])
        return []
    upload = socket.create_connection((PAGES, PORTS[OFFLINE]), source_address=(visitor(61), 0))
    head = "POST /gradio_api/upload HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    part = b'--b\r\nContent-Disposition: form-data; name="files"; filename="x.wav"\r\n\r\n' + bytes(1_500_000)
    upload.sendall(f"{head}Content-Length: 3000000\r\n\r\n".encode() + part)

    def ask(number: int) -> None:
        with client(visitor(62 + number)) as http:
            try:
                if number == 0:
                    page.call(http, "transcribe_url", [f"http://{ELSEWHERE}/large", "", "", 1, False])
                else:
                    page.transcribe(http, world.recording * 1)
            except Exception:
                return  # the page ends meanwhile: that is the point

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    ends = time.monotonic() + 20
    while len(files_in(page.root)) < 2 and time.monotonic() < ends:
        time.sleep(0.01)
    return [upload, *threads]


def _serve_one(world: World, page: Page) -> None:
    """The page does what it is for."""
    with client(visitor(70)) as http:
        if page.kind == OFFLINE:
            page.transcribe(http, world.recording).raise_for_status()
        else:
            _, (answer, *_) = page.call(http, "start", ["", "", 0, ""])
            assert "session" in answer, answer


def _full_disk(world: World, times: int) -> dict:
    """A small disk that others fill while recordings are uploaded and a link is fetched; then there is room again."""
    disk = world.folder / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(disk)], check=True)
    codes, left, starts, refusals, recovered = [], 0, [], [], 0
    for _ in range(times):
        began = time.monotonic()
        with Page(OFFLINE, world.model, disk / "files", log=world.folder / "full-disk.log") as page:
            _serve_one(world, page)
            starts.append(time.monotonic() - began)
            refusals.append(_while_full(world, page, disk / "others"))
            (disk / "others").unlink()
            with client(visitor(80)) as http:
                event, _ = page.call(http, "transcribe_url", [f"http://{ELSEWHERE}/x.wav", "", "", 1, False])
                again = (
                    page.upload(http, world.recording).status_code,
                    page.transcribe(http, world.recording).status_code,
                )
            recovered += event == "complete" and again == (200, 200)
            codes.append(page.end())
            said = page.said()
        left += len(files_in(page.root))
    subprocess.run(["umount", "-l", str(disk)], check=False)
    return {
        "times": times,
        "exit_codes": sorted(set(codes)),
        "exit_codes_right": all(code == 0 for code in codes),
        "files_left": left,
        "next_start_serves_s": round(max(starts), 2),
        "refused_in_one_line": sum(all(map(_is_full, one.values())) for one in refusals),
        "recovered": recovered,
        "tracebacks": said.count("Traceback"),
        "answers": sorted({f"{name}: {answer}" for one in refusals for name, answer in one.items()}),
    }


def _is_full(told: str) -> bool:
    return "disk is full" in told and "\n" not in told


def _fill(others: Path) -> None:
    with contextlib.suppress(OSError), others.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(100_000))


def _while_full(world: World, page: Page, others: Path) -> dict:
    """What a link, an upload and OpenAI's clients are told."""
    link: list = []

    def fetch() -> None:
        with client(visitor(81)) as http:
            link.append(page.call(http, "transcribe_url", [f"http://{ELSEWHERE}/large", "", "", 1, False]))

    thread = threading.Thread(target=fetch)
    thread.start()
    time.sleep(0.5)  # the link's first bytes are here
    _fill(others)
    thread.join(120)
    _fill(others)  # what the link had taken is free again
    with client(visitor(82)) as http:
        upload, api = page.upload(http, bytes(2_000_000)), page.transcribe(http, world.recording)
    return {
        "link": str(link[0][1] if link else "nothing in 120 s"),
        "upload": f"{upload.status_code} {upload.text}",
        "OpenAI's API": f"{api.status_code} {api.text}",
    }
