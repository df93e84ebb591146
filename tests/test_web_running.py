"""Pages in processes of their own: their folder, their ends, their options. On loopback, with a throw-away model."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import fields, replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from serving_model import random_model
from web import answer, website

from cantowhisper.cli import main as cli
from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.serving.live.engine import LiveLimits
from cantowhisper.serving.offline.addresses import Reach
from cantowhisper.serving.offline.download import fetch
from cantowhisper.serving.offline.limits import Limits
from cantowhisper.serving.web import storage as storage_module
from cantowhisper.serving.web.refusal import FullDisk
from cantowhisper.serving.web.running import require_port
from cantowhisper.serving.web.settings import PREFIX, Whereabouts, from_environment
from cantowhisper.serving.web.storage import Storage

ROOT = Path(__file__).resolve().parents[1]
http = httpx.Client(timeout=60)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(page: str, root: Path, *options: str) -> tuple[subprocess.Popen, str]:
    """A page with its folder in `root`, when it answers."""
    port = free_port()
    command = [sys.executable, "-m", "cantowhisper.cli", "serve", page, "--model", str(random_model())]
    command += ["--port", str(port), "--files", str(root), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    ends = time.monotonic() + 120
    while time.monotonic() < ends:
        try:
            if http.get(f"http://127.0.0.1:{port}/config").status_code == 200:
                return process, f"http://127.0.0.1:{port}"
        except httpx.HTTPError:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.05)
    raise AssertionError("the page did not start")


def run_python(*lines: str) -> str:
    """What a program prints that ends with code 0, within half a minute."""
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]


def wav(folder: Path, seconds: float = 2.0) -> Path:
    soundfile.write(folder / "a.wav", np.random.default_rng(0).normal(0, 0.1, int(seconds * 16000)), 16000)
    return folder / "a.wav"


def half_an_upload(url: str) -> socket.socket:
    """A connection that has sent the beginning of a file, and holds."""
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="x.wav"\r\n\r\n' + bytes(100_000)
    line = f"POST /gradio_api/upload HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    connection.sendall(f"{line}Content-Length: 900000\r\n\r\n".encode() + head)
    return connection


INTERRUPTED = pytest.param(signal.SIGINT, marks=pytest.mark.slow)  # ends as SIGTERM does


@pytest.mark.parametrize("how", [signal.SIGTERM, INTERRUPTED, signal.SIGKILL], ids=lambda one: one.name)
def test_however_a_page_ends_nothing_of_its_visitors_stays(how, tmp_path):
    root = tmp_path / "files"
    process, url = start("offline", root)
    http.post(f"{url}/gradio_api/upload", files={"files": wav(tmp_path).read_bytes()})
    connection = half_an_upload(url)
    ends = time.monotonic() + 20
    while len(files_in(root)) < 2:
        assert time.monotonic() < ends
        time.sleep(0.05)
    process.send_signal(how)
    said = process.communicate(timeout=30)[1]
    connection.close()
    if how == signal.SIGKILL:
        assert files_in(root)
        storage = Storage(root, keep_s=3600, sweep_every_s=600)  # as the next page does at its start
        assert files_in(root) == []
        storage.close()
    else:
        assert process.returncode == 0 and "Traceback" not in said and "terminate" not in said, said
    assert not root.exists()


def test_a_call_that_is_still_computing_is_not_waited_for():
    said = run_python(
        "import asyncio, threading, time",
        "import anyio.to_thread",
        "from cantowhisper.serving.web.running import leave_at_once_if_busy",
        "begun = threading.Event()",
        "def compute(): begun.set(); time.sleep(60)",
        "async def answer(): await anyio.to_thread.run_sync(compute)",
        "threading.Thread(target=asyncio.run, args=[answer()], daemon=True).start()",
        "begun.wait()",
        "leave_at_once_if_busy(None)",
        "print('went on')",
    )
    assert said == ""


def test_the_live_page_ends_in_order_too(tmp_path):
    process, url = start("online", tmp_path / "files")
    assert http.post(f"{url}/gradio_api/call/start", json={"data": ["", "", 0, ""]}).status_code == 200
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=30)[1]
    assert process.returncode == 0 and "Traceback" not in said and not (tmp_path / "files").exists(), said


def test_what_is_old_goes_known_or_not_but_not_what_is_waited_for(tmp_path):
    storage = Storage(tmp_path / "root", keep_s=100, sweep_every_s=10)
    own = storage.folder / "example.mp3"
    own.write_bytes(b"x")
    storage.keep_what_is_here()
    upload, waited = storage.folder / "gradio" / "a" / "x.wav", storage.folder / "gradio" / "b" / "y.wav"
    for file in (upload, waited, storage.root / "unknown.bin", storage.root / "of an old version" / "z"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    with storage.using([waited]):
        with storage.using([waited]):  # another request for the same file, which ends first
            pass
        assert storage.sweep(now=time.time() + 80) == 0
        assert storage.sweep(now=time.time() + 95) == 3, "what would be too old before the next sweep goes now"
        assert set(files_in(storage.root)) == {own, waited}
    assert storage.sweep(now=time.time() + 95) == 1 and files_in(storage.root) == [own]
    storage.close()


def test_pages_share_a_root_and_only_what_a_dead_one_left_goes(tmp_path):
    first, second = (Storage(tmp_path / "root", keep_s=100, sweep_every_s=10) for _ in range(2))
    for one in (first, second):
        (one.folder / "x").write_bytes(b"x")
    dead = first.root / "run-dead"
    dead.mkdir()
    (dead / "x").write_bytes(b"x")
    (first.root / "run-dead.lock").write_bytes(b"")
    assert first.sweep() == 1 and not dead.exists() and (second.folder / "x").exists()
    second.close()
    assert (first.folder / "x").exists() and not second.folder.exists()
    first.close()


def test_a_sweep_leaves_the_folders_that_running_pages_write_to(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    first, second = (Storage(tmp_path / "root", keep_s=100, sweep_every_s=10) for _ in range(2))
    first.take_in_temporary_files()
    second.take_in_temporary_files()
    (second.folder / "gradio" / "of an upload").mkdir()
    for _ in range(2):  # after hours without a visitor
        first.sweep(now=time.time() + 1000)
    with tempfile.NamedTemporaryFile() as file:
        assert Path(file.name).parent == second.folder / "work"
    assert {p.name for one in (first, second) for p in one.folder.iterdir()} == {"work", "gradio"}
    assert list((second.folder / "gradio").iterdir()) == []
    for one in (first, second):
        one.close()


def test_a_folder_of_somebody_else_is_not_used(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(CantowhisperError, match="not a folder of this user"):
        Storage(tmp_path / "link", keep_s=1, sweep_every_s=1)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 8 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], capture_output=True)
    if made.returncode:
        pytest.skip("a disk of 8 MB cannot be mounted here: that needs the rights of root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=False)


def test_a_full_disk_is_one_line_and_recovers(small_disk, tmp_path):
    root = small_disk / "files"
    process, url = start("offline", root)
    large = lambda n_bytes: http.post(f"{url}/gradio_api/upload", files={"files": bytes(n_bytes)})
    try:
        for _ in range(3):
            answer = large(20_000_000)
            assert answer.status_code == 507 and "disk is full" in answer.text and answer.headers["retry-after"]
        path = wav(tmp_path)
        whole = {"files": {"file": path.read_bytes()}, "data": {"model": "x"}}
        assert http.post(f"{url}/v1/audio/transcriptions", **whole).status_code == 200
        filler = small_disk / "others"
        filler.write_bytes(bytes(7_500_000))
        answer = http.post(f"{url}/v1/audio/transcriptions", **whole)
        assert answer.status_code == 507 and "disk is full" in answer.json()["error"]["message"]
        filler.unlink()
        assert http.post(f"{url}/v1/audio/transcriptions", **whole).status_code == 200
        assert large(100_000).status_code == 200
    finally:
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 0 and "Traceback" not in said, said


def test_a_disk_that_is_full_while_a_link_is_fetched_is_said_so(small_disk):
    # The whole disk is 8 MB, and so is what is to be written: with a look at the room before, and without.
    with website(talk=answer(bytes(20_000_000))) as (site, port, _):
        reach = Reach(frozenset({("127.0.0.1", port)}))
        storage = Storage(small_disk / "files", keep_s=100, sweep_every_s=10)
        for look in ({"require_room": storage.require_room}, {}):
            with pytest.raises(FullDisk, match="disk is full"):
                fetch(f"{site}/talk.wav", storage.folder, reach=reach, **look)
            free = shutil.disk_usage(small_disk).free
            assert (free > 500_000) == bool(look), "what is spared for others"
            (storage.folder / "download.media").unlink()
        storage.close()


@pytest.mark.parametrize("kind", [Limits, LiveLimits, Whereabouts])
def test_every_limit_is_an_option_and_a_variable_and_documented(kind, monkeypatch, capsys):
    page = "online" if kind is LiveLimits else "offline"
    with pytest.raises(SystemExit):
        cli.main(["serve", page, "--help"])
    told = capsys.readouterr().out
    documented = (ROOT / f"app_{page}" / "README.md").read_text(encoding="utf-8")
    for field in fields(kind):
        option, variable = "--" + field.name.replace("_", "-"), PREFIX + field.name.upper()
        assert option in told and f"`{field.name}`" in documented
        if isinstance(field.default, str):
            continue
        monkeypatch.setenv(variable, "7")
        assert getattr(from_environment(kind), field.name) == 7
        assert getattr(from_environment(kind, {field.name: "9"}), field.name) == 9
        for wrong in ("x", "-1", ""):
            with pytest.raises(UsageError, match=option):
                from_environment(kind, {field.name: wrong})
            monkeypatch.setenv(variable, wrong)
            with pytest.raises(UsageError, match=variable):
                from_environment(kind)
        monkeypatch.delenv(variable)


def test_a_port_in_use_and_one_that_is_none_are_said_in_our_words(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CantowhisperError, match=f"port {port} is in use; .* --port"):
            require_port("127.0.0.1", port)
        assert cli.main(["serve", "offline", "--model", "x", "--port", str(port)]) == 1
    for wrong in ("0", "65536", "-1", "seven", "7860.5"):
        assert cli.main(["serve", "online", "--model", "x", "--port", wrong]) == 2
        assert "choose a number from 1 to 65535" in capsys.readouterr().err
    for host in ("203.0.113.9", "no such host", "1.2.3.4.5"):
        with pytest.raises(UsageError, match="no address of this machine"):
            require_port(host, 17860)


def test_whereabouts_are_checked():
    with pytest.raises(UsageError, match="ADDRESS:PORT"):
        from_environment(Whereabouts, {"allow_links": "localhost"})
    with pytest.raises(UsageError, match="/speech"):
        from_environment(Whereabouts, {"root_path": "speech"})
    found = from_environment(Whereabouts, {"allow_links": "127.0.0.1:8000, [::1]:80"})
    assert found.allowed_links == {("127.0.0.1", 8000), ("::1", 80)}
    assert replace(found, allow_links="").allowed_links == frozenset()
    assert os.path.isabs(storage_module.default_root())
