"""A page from its start to its end: the port, the signals, and an end in order.

SIGTERM and Ctrl-C end a page in the same way: nobody new is let in, who waits is told, the work in hand stops at its
next look, the server closes, the files go, and the exit code is 0. A second signal does not wait.
"""

import contextlib
import errno
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

from cantowhisper.contracts import CantowhisperError, UsageError

MAX_OPEN_FILES = 65_536
DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 7860
log = logging.getLogger(__name__)


def require_port(host: str | None, port: int | None) -> tuple[str, int]:
    """Where to listen: what is given, else what Gradio's variables say (as on a Space), else 127.0.0.1:7860.

    Raises
    ------
    UsageError : no port number, or no address of this machine
    CantowhisperError : the port is in use
    """
    host = host or os.environ.get("GRADIO_SERVER_NAME") or DEFAULT_HOST
    named = port if port is not None else os.environ.get("GRADIO_SERVER_PORT") or DEFAULT_PORT
    if not str(named).isdigit() or not 1 <= int(named) <= 65535:
        raise UsageError(f"{named} is no port; choose a number from 1 to 65535")
    port = int(named)
    try:
        family, *_, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except (socket.gaierror, UnicodeError) as error:
        raise UsageError(
            f"{host} is no address of this machine; 127.0.0.1 is for you alone, 0.0.0.0 for all"
        ) from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CantowhisperError(
                f"port {port} is in use; stop what uses it, or name another: --port {port % 65535 + 1}"
            ) from error
        if error.errno == errno.EACCES:
            raise CantowhisperError(f"port {port} needs more rights; name one above 1023: --port 7860") from error
        raise UsageError(
            f"{host} is no address of this machine; 127.0.0.1 is for you alone, 0.0.0.0 for all"
        ) from error
    return host, port


def allow_many_connections() -> None:
    """Take as many open files as this user may have: each connection is one, and 1,024 are soon held by somebody."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, MAX_OPEN_FILES), most))


@contextlib.contextmanager
def signals() -> Iterator[threading.Event]:
    """An event that SIGTERM and SIGINT set; the second signal ends the process at once."""
    asked = threading.Event()

    def ask(number, frame):
        if asked.is_set():
            os._exit(128 + number)
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_until_asked(start: Callable[[], None], *, ending: Sequence[Callable[[], object]]) -> None:
    """Call `start`, wait for a signal, then call each of `ending`, whatever the others do."""
    with signals() as asked:
        try:
            start()
            asked.wait()
            print("stopping …", file=sys.stderr, flush=True)
        finally:
            for end in ending:
                try:
                    end()
                except Exception as error:
                    log.error("%s failed at the end: %s", getattr(end, "__qualname__", end), type(error).__name__)


def leave_at_once_if_busy(*threads: threading.Thread | None) -> None:
    """End the process without Python's own clean-up while a thread may still compute in native code.

    That clean-up takes away what such a thread stands on, and the program would end with an abort. Besides `threads`,
    those count in which the server answers calls: one may be loading a model.
    """
    answering = [thread for thread in threading.enumerate() if thread.name.startswith("AnyIO worker")]
    if any(thread is not None and thread.is_alive() for thread in (*threads, *answering)):
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(0)
