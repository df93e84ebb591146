"""Which file of a folder a row means: people write paths of other machines, without ending, with backslashes."""

import os
import re
import unicodedata
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from posixpath import join, normpath, splitext

SOUND_ENDINGS = {
    f".{name}"
    for name in "wav mp3 flac ogg opus oga m4a aac mp4 webm mkv mka mov amr wma aiff aif au caf w64 sph mp2 3gp avi ts".split()  # noqa: E501,SIM905
}
USUAL_FOLDERS = ("clips", "audio", "audios", "wavs", "wav", "recordings", "data")
_WINDOWS_DRIVE = re.compile(r"[A-Za-z]:[/\\]")


class FolderFiles:
    """The files below a folder, listed once."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._claimed: dict[str, str] = {}  # files that were found by the end of a path only: by which path

    @cached_property
    def names(self) -> dict[str, str]:
        """{name in one normal form: name as the file system has it}, relative to the folder, with slashes."""
        found, seen = {}, set()
        for folder, folders, files in os.walk(self.folder, followlinks=True):
            if (real := os.path.realpath(folder)) in seen:  # a link that leads back up
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            inside = Path(folder).relative_to(self.folder).as_posix()
            for name in files:
                if not name.startswith("."):  # `._a.wav` is macOS's note on a.wav
                    path = normpath(join(inside, name))
                    found[_normal(path)] = path
        return found

    @cached_property
    def _lower(self) -> dict[str, list[str]]:
        return self._grouped(str.lower)

    @cached_property
    def _stems(self) -> dict[str, list[str]]:
        stem = lambda path: splitext(path)[0] if splitext(path)[1].lower() in SOUND_ENDINGS else ""
        return self._grouped(stem)

    def _grouped(self, key) -> dict[str, list[str]]:
        groups = defaultdict(list)
        for normal, path in self.names.items():
            groups[key(normal)].append(path)
        return groups

    def sounds(self) -> list[str]:
        """The recordings, in order."""
        return sorted(path for path in self.names.values() if splitext(path)[1].lower() in SOUND_ENDINGS)

    def find(self, name: str, base: str = "") -> tuple[str, str | None]:
        """The file that a row at `base` means by `name`, and None; or the path that was tried, and what is wrong."""
        path = _normal(name.removeprefix("file://")).replace("\\", "/")
        absolute = path.startswith("/") or bool(_WINDOWS_DRIVE.match(path))
        whole = path if absolute else normpath(join(self.folder.absolute().as_posix(), base, path))
        inside = self._inside(whole)
        if inside is None and not absolute:
            return path, "file outside the folder"
        candidates = [] if inside is None else [inside]
        if not absolute:
            candidates += [normpath(join(place, path)) for place in _places(base)] + self._after_own_path(path, base)
        for candidate in candidates:
            if found := self._look_up(candidate):
                return found
        return self._by_its_end(path) if absolute else (candidates[0], f"missing file: {candidates[0]}")

    def _look_up(self, path: str) -> tuple[str, str | None] | None:
        """The one file that fits a path, if need be by another case or without its ending; None if there is none."""
        if path in self.names:
            return self.names[path], None
        stem, ending = splitext(path)
        groups = [self._lower.get(path.lower()), self._stems.get(path)]
        groups.append(self._stems.get(stem) if ending.lower() in SOUND_ENDINGS else None)
        group = next(filter(None, groups), None)
        if group and len(group) > 1:
            return path, f"several files fit: {', '.join(sorted(group))}"
        return (group[0], None) if group else None

    def _inside(self, path: str) -> str | None:
        """An absolute path below the folder, relative to it."""
        for folder in (self.folder.absolute(), self.folder.resolve()):
            if normpath(path).startswith(f"{folder.as_posix()}/"):
                return normpath(path)[len(folder.as_posix()) + 1 :]
        return None

    def _after_own_path(self, path: str, base: str) -> list[str]:
        """A path from a project's root: what follows the end of this folder's own path in it."""
        parts, own = normpath(path).split("/"), self.folder.resolve().parts
        below = tuple(filter(None, base.split("/")))
        found = []
        for n in range(1, len(parts)):
            for start, whole in (("", own), (base, own + below)):
                if whole[-n:] == tuple(parts[:n]):
                    found.append(normpath(join(start, *parts[n:])))
        return found

    def _by_its_end(self, path: str) -> tuple[str, str | None]:
        """A path of another machine: the longest end of it that is here, unless another path has taken that file."""
        parts = [part for part in path.split("/") if part]
        for n in range(1, len(parts)):
            end = normpath("/".join(parts[n:]))
            file, wrong = (None if end.startswith("..") else self._look_up(end)) or (None, "")
            if wrong is None:
                if self._claimed.setdefault(file, path) == path:
                    return file, None
                return path, f"several paths end like {file}"
        return path, "file outside the folder"


def _normal(path: str) -> str:
    """macOS writes é as two characters, others as one."""
    return unicodedata.normalize("NFC", path)


def _places(base: str) -> list[str]:
    """Where else a relative path may begin: the folders above its table, and the usual ones for recordings."""
    above, folder = [], base
    while folder:
        folder = folder.rpartition("/")[0]
        above.append(folder)
    return [*above, *(normpath(join(folder, usual)) for folder in (base, *above) for usual in USUAL_FOLDERS)]
