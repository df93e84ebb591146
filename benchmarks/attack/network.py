"""An internet of this program's own: a network namespace in which public addresses are ours, and servers on them.

Gradio refuses to fetch from addresses that are not public, and so do links, so that a server on loopback would prove
nothing. In a namespace of its own (`unshare`) the loopback device has public addresses too; nothing else is reached.
"""

import contextlib
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

INSIDE = "CANTOWHISPER_ATTACK_NAMESPACE"  # set in the namespace
NETWORK = "11.0.0.0/8"  # public, and here all of it ours: every address of it is this machine
ELSEWHERE, PAGES = "11.0.0.1", "11.0.0.2"  # somebody else's server; the pages under attack
PRIVATE = ("10.0.0.1/32", "169.254.169.254/32", "192.0.0.1/32", "192.88.99.1/32", "3fff::1/128", "fd00::1/128")
NAMES = {"recordings.example": ELSEWHERE, "xn--r7zw8z.example": ELSEWHERE, "inside.example": "10.0.0.1"}  # xn--: 粵語
DRIP_S = 1.0  # between two bytes


def enter() -> None:
    """Run this program again in network and mount namespaces of its own, unless it is there."""
    if os.environ.get(INSIDE):
        _set_up()
        return
    command = ["unshare", "--net", "--mount", "--map-root-user", sys.executable, "-m", "benchmarks.attack"]
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        sys.exit("benchmarks.attack needs Linux with unshare (util-linux) and ip (iproute2)")
    os.execvpe(command[0], [*command, *sys.argv[1:]], {**os.environ, INSIDE: "1"})


def _set_up() -> None:
    run = lambda *command: subprocess.run(command, check=True)
    run("ip", "link", "set", "lo", "up")
    for address in (NETWORK, *PRIVATE):
        run("ip", "address", "add", address, "dev", "lo")
    hosts = Path(tempfile.mkdtemp(prefix="attack-hosts-")) / "hosts"
    hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{address} {name}\n" for name, address in NAMES.items()))
    run("mount", "--bind", str(hosts), "/etc/hosts")
    shutil.rmtree(hosts.parent)  # what is mounted stays


def visitor(number: int) -> str:
    """The address of a visitor; each number is another one."""
    return f"11.1.{number // 250}.{number % 250 + 1}"


def certificate(folder: Path) -> Path:
    """Certificate and key in one file, for the servers above; whoever trusts the file trusts them."""
    file, names = folder / "server.pem", ",".join(f"DNS:{name}" for name in NAMES)
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=recordings.example",
    ]
    command += ["-addext", f"subjectAltName={names}", "-keyout", str(folder / "key"), "-out", str(folder / "crt")]
    subprocess.run(command, check=True, capture_output=True)
    file.write_bytes((folder / "key").read_bytes() + (folder / "crt").read_bytes())
    return file


class Elsewhere:
    """Somebody else's servers on ports 80 and 443 of every address, and one on 8443 that drips its handshake.

    asked : (address, path) of every request
    """

    def __init__(self, recording: bytes, pem: Path):
        self.recording, self.asked = recording, []
        self.servers = [self._server(80), self._server(443, pem)]
        self._handshake = socket.create_server((ELSEWHERE, 8443))
        threading.Thread(target=self._drip_handshakes, daemon=True).start()

    def _server(self, port: int, pem: Path | None = None) -> ThreadingHTTPServer:
        class Server(ThreadingHTTPServer):
            address_family, daemon_threads, request_queue_size = socket.AF_INET6, True, 200

        server = Server(("::", port), self._handler())
        if pem:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server

    def _handler(self) -> type:
        elsewhere = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                address = self.connection.getsockname()[0].removeprefix("::ffff:")
                elsewhere.asked.append((address, self.path))
                with contextlib.suppress(OSError):  # whoever hangs up is right to do so
                    elsewhere.answer(self, self.path.strip("/").split("/")[0].split(".")[0])

            do_HEAD = do_POST = do_GET

            def log_message(self, *args):
                pass

        return Handler

    def answer(self, handler: BaseHTTPRequestHandler, name: str) -> None:
        """/headers and /body drip, /utf8, /inside and /idn redirect, /large is 150 MB, all else a recording."""
        if name == "headers":
            handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
            drip(handler.wfile.write)
        goes_to = {"utf8": "/錄音/x.wav", "inside": "http://inside.example/x.wav", "idn": "http://粵語.example/x.wav"}
        if name in goes_to:
            handler.wfile.write(
                f"HTTP/1.1 302 Found\r\nLocation: {goes_to[name]}\r\nContent-Length: 0\r\n\r\n".encode()
            )
            return
        n_bytes = {"body": 1_000_000, "large": 150_000_000}.get(name, len(self.recording))
        handler.wfile.write(f"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\nContent-Length: {n_bytes}\r\n\r\n".encode())
        if name == "body":
            drip(handler.wfile.write)
        while name == "large":
            handler.wfile.write(bytes(100_000))
            time.sleep(0.02)
        handler.wfile.write(self.recording)

    def _drip_handshakes(self) -> None:
        while True:
            connection, _ = self._handshake.accept()
            # A record of TLS that promises 16 kB, a byte at a time.
            threading.Thread(target=drip, args=(connection.send, b"\x16\x03\x03\x40\x00"), daemon=True).start()


def drip(send, begin: bytes = b"") -> None:
    """A byte every DRIP_S until the other side hangs up."""
    with contextlib.suppress(OSError):
        send(begin) if begin else None
        while True:
            send(b"x")
            time.sleep(DRIP_S)
