"""Files of the repository that are no part of the package: pages, notebooks, samples. They need a clone."""

import csv
import importlib.util
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

import cantowhisper
from cantowhisper.contracts import CantowhisperError

ROOT = Path(cantowhisper.__file__).resolve().parents[1]


def repository_file(name: str) -> Path:
    """A file or folder of the repository, by its path in it. Raises CantowhisperError where there is no clone."""
    path = ROOT / name
    if not path.exists():
        raise CantowhisperError(f"{name} is not here: run this in a clone of the repository, installed with pip -e")
    return path


def load_page(page: str) -> ModuleType:
    """The app module of a page, "offline" or "online"."""
    path = repository_file(f"app_{page}/app.py")
    spec = importlib.util.spec_from_file_location(f"app_{page}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def sample_voices(ids: Iterable[str]) -> dict[str, str]:
    """For clips of the sample corpus, whether train has their voice; nothing for clips of other sources."""
    voices = {}
    for split in ("train", "test"):
        rows = _rows(f"samples/corpus/{split}.tsv")
        voices[split] = {row["path"].removesuffix(".mp3"): row["accents"] for row in rows}
    known = set(voices["train"].values())
    return {i: "known voices" if voices["test"][i] in known else "unseen voice" for i in ids if i in voices["test"]}


def sample_clips(*names: str) -> list[tuple[Path, str]]:
    """(path, reference text) of long sample pieces, by file name."""
    rows = _rows("samples/clips/references.tsv")
    texts = {name: "".join(row["text"] for row in rows if row["file"] == name) for name in names}
    return [(repository_file(f"samples/clips/{name}"), texts[name]) for name in names]


def _rows(table: str) -> list[dict[str, str]]:
    with repository_file(table).open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
