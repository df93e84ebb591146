"""A small web server on loopback that behaves as badly as it is told to; each path is a function."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@contextlib.contextmanager
def website(**pages: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[tuple[str, int, list[str]]]:
    """Serve /name for each function. Yields (address without last slash, port, paths that were asked for)."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            with contextlib.suppress(OSError):  # a client that hangs up is what many tests want
                pages[self.path.strip("/").split("?")[0].split(".")[0]](self)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.server_port, asked
    finally:
        server.shutdown()
        server.server_close()


def answer(body: bytes, *, status: int = 200, kind: str = "audio/mpeg", **headers: str) -> Callable:
    """A page that sends these bytes."""

    def page(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content_Type": kind, "Content_Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return page


def redirect(target: str) -> Callable:
    return answer(b"", status=302, Location=target)
