"""Which files of a dataset are done, so that the same command goes on after an interruption.

A dataset is built in `OUT.part` beside OUT and becomes OUT by one rename when all of it is there: a folder named OUT
is whole. In `OUT.part`, `journal.jsonl` holds the dataset's identity and a line for each finished file.
"""

import json
import os
import secrets
from pathlib import Path

from cantowhisper.contracts import STATS_FILE, CantowhisperError
from cantowhisper.features.plan import Reject

JOURNAL_FILE = "journal.jsonl"
PARQUET_MARK = b"PAR1"  # the first and the last four bytes of a Parquet file


class Journal:
    """The unfinished dataset `OUT.part`.

    Parameters
    ----------
    identity : what the bytes depend on; `OUT.part` of another one is refused with CantowhisperError
    """

    def __init__(self, out: Path, identity: dict):
        self.out = out
        self.folder = out.with_name(out.name + ".part")
        self.data = self.folder / "data"
        self.finished: dict[str, list[Reject]] = {}  # file name → the clips that it leaves out
        self.digests: set[bytes] = set()  # of the features of all clips in finished files
        self._path = self.folder / JOURNAL_FILE
        self.data.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            self._resume(identity)
        else:
            self._append({"identity": identity})

    def _resume(self, identity: dict) -> None:
        lines = [_parsed(line) for line in self._path.read_text(encoding="utf-8").splitlines()]
        begun = (lines[0] if lines else None) or {}
        refuse_other(begun.get("identity"), identity, self.folder)
        for line in filter(None, lines[1:]):
            if _whole(self.data / line["file"], line.get("bytes")):
                self.finished[line["file"]] = [Reject(*reject) for reject in line["rejects"]]
                self.digests.update(map(bytes.fromhex, line["digests"]))

    def add(self, file_name: str, rejects: list[Reject], digests: list[bytes]) -> None:
        """Note that a file is whole."""
        self.finished[file_name] = rejects
        listed = [[r.id, r.split, r.reason] for r in rejects]
        size = (self.data / file_name).stat().st_size
        entry = {"file": file_name, "bytes": size, "rejects": listed, "digests": [digest.hex() for digest in digests]}
        self._append(entry)

    def _append(self, entry: dict) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            # A line cut off by a kill must not swallow the next one.
            file.write(("\n" if file.tell() else "") + json.dumps(entry, ensure_ascii=False))

    def publish(self) -> None:
        """Rename the whole folder to OUT."""
        self._path.unlink()
        if self.out.exists():
            self.out.rmdir()  # only an empty folder comes this far
        os.replace(self.folder, self.out)


def private_salt(out: Path) -> str:
    """The secret salt of the dataset `out`, drawn when it is first asked for: `OUT.salt` beside it, for its owner only.

    It is not inside the folder, so it is neither pushed nor handed on with it; the same command reads it again.
    """
    path = out.with_name(out.name + ".salt")
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w", encoding="ascii") as file:
                file.write(secrets.token_hex(16))
        salt = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise CantowhisperError(f"cannot keep a secret salt in {path}: {error.strerror}") from error
    if not salt:
        raise CantowhisperError(f"{path} is empty; delete it, and the dataset if there is one, to start over")
    return salt


def _whole(path: Path, size: int | None) -> bool:
    """Whether a file is as it was written.

    Nothing is forced to the disk while building: waiting for it costs a tenth of the time. A machine that loses power
    can therefore forget the last files, whatever the journal says of them: those are then too short or, where the
    system reserves space before it writes, without Parquet's mark at their end.
    """
    if not path.is_file() or path.stat().st_size != size:
        return False
    with path.open("rb") as file:
        file.seek(-len(PARQUET_MARK), os.SEEK_END)
        return file.read() == PARQUET_MARK


def _parsed(line: str) -> dict | None:
    try:
        return json.loads(line)
    except ValueError:
        return None


def existing_stats(out: Path, identity: dict) -> dict | None:
    """stats.json of a finished dataset with this identity; None if there is nothing at `out` yet.

    Raises CantowhisperError when `out` holds anything else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    stats = out / STATS_FILE
    found = _parsed(stats.read_text(encoding="utf-8")) if stats.is_file() else None
    if not isinstance(found, dict) or "identity" not in found:
        raise CantowhisperError(f"{out} exists and is no feature dataset; choose another folder")
    refuse_other(found["identity"], identity, out)
    return found


def refuse_other(found: dict | None, wanted: dict, folder: Path) -> None:
    """Raise CantowhisperError, naming the differences, unless two identities are the same."""
    found = found or {}
    differences = [
        f"{key} {found.get(key)!r} instead of {wanted.get(key)!r}"
        for key in sorted(found.keys() | wanted.keys())
        if found.get(key) != wanted.get(key)
    ]
    if differences:
        raise CantowhisperError(
            f"{folder} was made with {'; '.join(differences)}: choose another folder, or delete it to start over"
        )
