"""Nothing is written in place: a file goes to a temporary name beside its own, and is renamed when it is whole."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def write_aside(path: str | os.PathLike, *, durable: bool = False) -> Iterator[Path]:
    """The temporary name to write a file or folder to; it takes the place of `path` when the block ends well.

    When the block raises, what was written is deleted and `path` stays as it was.

    Parameters
    ----------
    durable : the file reaches the disk before it is renamed, so that no loss of power leaves an empty one of its name
    """
    path = Path(path)
    aside = path.with_name(path.name + ".part")
    if aside.is_dir():
        _remove(aside)  # of a process that was killed
    try:
        yield aside
        if durable:
            sync(aside)
        if aside.is_dir():
            _remove(path)  # a folder does not replace one that holds files
        os.replace(aside, path)
    except BaseException:
        _remove(aside)
        raise


def write_text(text: str, path: str | os.PathLike, *, durable: bool = False) -> None:
    """Write a text file, UTF-8, whole or not at all."""
    with write_aside(path, durable=durable) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(content: object, path: str | os.PathLike, *, durable: bool = False) -> None:
    """Write a JSON file that people can read, whole or not at all."""
    write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", path, durable=durable)


def sync(path: Path) -> None:
    """Come back when what was written to a file has reached the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
