"""Where visitors' files lie while they are here: one folder of our own, in which nothing grows old.

    ROOT/run-…        a folder for each running page, removed when it ends
    ROOT/run-….lock   locked by that page while it runs

Everything that a page writes lies in its run's folder: uploads, recordings, what links name, transcripts to download,
temporary files of the libraries. Whatever is too old is removed, known or not, and so is all that a killed page left.
"""

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from cantowhisper.contracts import CantowhisperError
from cantowhisper.serving.web.refusal import FullDisk

try:
    import fcntl
except ImportError:  # Windows: no page is known to have ended, so that age alone decides
    fcntl = None

GRADIO_FOLDER = "GRADIO_TEMP_DIR"  # the environment variable that Gradio asks for its folder
WORK, GRADIO = "work", "gradio"  # inside a run's folder
SPARE_BYTES = 100_000_000  # of the disk is left to everybody else


class Storage:
    """The folder of one running page.

    root : made if it is not there; others' pages may share it
    keep_s : nothing lies here for longer, unless somebody is `using` it
    sweep_every_s : how often that is looked after
    """

    def __init__(self, root: str | os.PathLike | None = None, *, keep_s: float, sweep_every_s: float):
        self.root = _own_folder(Path(root) if root else default_root())
        self.keep_s, self.sweep_every_s = keep_s, sweep_every_s
        name = f"run-{secrets.token_hex(8)}"
        self._lock_file = _locked(self.root / f"{name}.lock")
        self.folder = self.root / name
        self.folder.mkdir(mode=0o700)
        self._used: Counter[Path] = Counter()
        self._lasting: set[Path] = set()
        self._ended, self._changed = threading.Event(), threading.Lock()
        self.sweep()
        self._thread = threading.Thread(target=self._sweep_on, name="storage", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------------------------------------------ while it runs

    def take_in_temporary_files(self) -> None:
        """From now on, temporary files of this process and Gradio's folder lie here."""
        for name in (WORK, GRADIO):
            (self.folder / name).mkdir(exist_ok=True)
        tempfile.tempdir = str(self.folder / WORK)
        os.environ[GRADIO_FOLDER] = str(self.folder / GRADIO)

    def keep_what_is_here(self) -> None:
        """Files that lie here by now are the page's own, such as its examples: they stay until it ends."""
        self._lasting |= {path for path in self.folder.rglob("*") if path.is_file()}

    @contextlib.contextmanager
    def using(self, paths: Iterable[str | os.PathLike]) -> Iterator[None]:
        """Keep these files, however old, for as long as this lasts: somebody waits for what is in them."""
        paths = [Path(path) for path in paths]
        with self._changed:
            self._used.update(paths)
        try:
            yield
        finally:
            with self._changed:
                self._used.subtract(paths)
                self._used += Counter()  # drops those at zero

    def require_room(self, n_bytes: int = 0) -> None:
        """Refuse a file for which there is no room.

        Raises
        ------
        FullDisk
        """
        if shutil.disk_usage(self.folder).free < n_bytes + self._spare_bytes():
            raise FullDisk

    def _spare_bytes(self) -> int:
        # A small disk of its own, as in a container, is all for visitors but a tenth.
        return min(SPARE_BYTES, shutil.disk_usage(self.folder).total // 10)

    # ---------------------------------------------------------------------------------------------------- what goes

    def sweep(self, *, now: float | None = None) -> int:
        """Remove what is too old, and what pages that have ended left. Returns the number of files removed."""
        removed = 0
        for lock in self.root.glob("run-*.lock"):
            removed += self._remove_dead(lock)
        # What would be too old before the next time goes now.
        oldest = (time.time() if now is None else now) - max(self.keep_s - self.sweep_every_s, 0)
        for folder, _, files in os.walk(self.root, topdown=False):
            removed += sum(self._remove_if_old(Path(folder) / name, oldest) for name in files)
            if not self._is_in_place(Path(folder)):
                _remove_if_empty(Path(folder), oldest)
        return removed

    def _is_in_place(self, folder: Path) -> bool:
        """Whether a running page expects to find this folder, this one or another: empty or not, it stays."""
        run, *inside = folder.relative_to(self.root).parts or ("",)
        running = (self.root / run).with_suffix(".lock").exists()
        return folder == self.root or (running and (not inside or inside in ([WORK], [GRADIO])))

    def _remove_dead(self, lock: Path) -> int:
        """What a page left that was killed: whoever runs holds the lock of its folder."""
        if lock == self._lock_path or fcntl is None:
            return 0
        with contextlib.suppress(OSError), lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            folder = lock.with_suffix("")
            n_files = sum(len(files) for _, _, files in os.walk(folder))
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink()
            return n_files
        return 0

    def _remove_if_old(self, path: Path, oldest: float) -> int:
        if path.suffix == ".lock" and path.parent == self.root:
            return 0
        with contextlib.suppress(OSError), self._changed:
            found = path.lstat()
            # A copy keeps the time of writing of its original; the time of the change is when it came here.
            if max(found.st_mtime, found.st_ctime) < oldest and path not in self._used and path not in self._lasting:
                path.unlink()
                return 1
        return 0

    @property
    def _lock_path(self) -> Path:
        return self.folder.with_suffix(".lock")

    def _sweep_on(self) -> None:
        while not self._ended.wait(self.sweep_every_s):
            self.sweep()

    def close(self) -> None:
        """Remove everything of this page."""
        self._ended.set()
        self._thread.join(timeout=10)
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock_path.unlink(missing_ok=True)
        self._lock_file.close()
        with contextlib.suppress(OSError):  # others' pages are there
            self.root.rmdir()


def default_root() -> Path:
    """A folder for this user's pages among the machine's temporary files."""
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    return Path(tempfile.gettempdir()) / f"cantowhisper-{user}"


def _own_folder(root: Path) -> Path:
    """Make the folder, for this user only; refuse one that somebody else made, who could read or swap what is in it."""
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = root.lstat()
    except OSError as error:
        raise CantowhisperError(f"cannot make {root} for visitors' files ({error.strerror}); name another") from error
    if not stat.S_ISDIR(found.st_mode) or (hasattr(os, "getuid") and found.st_uid != os.getuid()):
        raise CantowhisperError(f"{root} is not a folder of this user; name another for visitors' files")
    root.chmod(0o700)
    return root.resolve()


def _locked(path: Path):
    """A new file, open and locked for as long as this process lives."""
    while True:
        file = path.open("wb")
        if fcntl is None:
            return file
        fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists():  # else another page took it for a dead one's, between the two lines above
            return file
        file.close()


def _remove_if_empty(folder: Path, oldest: float) -> None:
    # A folder that was just made is about to get its file.
    with contextlib.suppress(OSError):
        if max(folder.lstat().st_mtime, folder.lstat().st_ctime) < oldest:
            folder.rmdir()
