"""A log that says what an operator can do something about, and nothing of visitors.

libmpg123 writes straight to the process's error stream what it finds in damaged MP3 files, some of it for each frame;
the page tells that to the visitor whose file it is. Whoever goes away in the middle of a request is no error either.
"""

import contextlib
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator

from starlette.requests import ClientDisconnect

NOISE = re.compile(
    rb"\[[^\]]*libmpg123/|"
    rb"Note: (Illegal Audio-MPEG-Header|Trying to resync|Skipped \d+ bytes in input|Hit end of)|"
    rb"Warning: (Xing stream size|Encountered more data after|Real sample count)"
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep noise out of the error stream of this process for as long as this lasts."""
    errors, gone = logging.getLogger("uvicorn.error"), _Gone()
    errors.addFilter(gone)
    sys.stderr.flush()
    kept = os.dup(2)
    read, write = os.pipe()
    os.dup2(write, 2)
    os.close(write)
    thread = threading.Thread(target=_pass_on, args=(read, kept), name="log", daemon=True)
    thread.start()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)  # closes the last end to write to, which ends the thread
        thread.join(timeout=5)
        os.close(kept)
        errors.removeFilter(gone)


def _pass_on(read: int, out: int) -> None:
    """Whole lines, but for noise; what libmpg123 puts before its lines is an empty one."""
    with open(read, "rb", buffering=0) as source:
        rest, after_noise = b"", False
        while block := source.read(1 << 16):
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                is_noise = bool(NOISE.match(line))
                if not is_noise and (line or not after_noise):
                    os.write(out, line + b"\n")
                after_noise = is_noise or (after_noise and not line)
        if rest and not NOISE.match(rest):
            os.write(out, rest)


class _Gone(logging.Filter):
    """Drops what the server says of a visitor who went away."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, (ClientDisconnect, ConnectionError))
