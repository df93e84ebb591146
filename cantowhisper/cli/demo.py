"""The whole path in one command: both notebooks as scripts, one after the other, then the page."""

import csv
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import cantowhisper
from cantowhisper.contracts import CantowhisperError

ROOT = Path(cantowhisper.__file__).resolve().parents[1]
NOTEBOOKS = ("whisper_feature_pipeline.py", "whisper_training_pipeline.py")


def repository_file(name: str) -> Path:
    """A file of the repository beside the package; pages, notebooks and samples are not part of the package."""
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


def run_demo(
    *,
    source: str = "samples",
    model: str | None = None,
    out: str | os.PathLike = "demo",
    preset: str | None = None,
    open_page: bool = True,
    port: int = 7860,
) -> int:
    """Features, training, scores and three transcripts in `out`; then the page, until Ctrl-C. Returns an exit code."""
    out = Path(out)
    settings = {
        "CANTOWHISPER_SOURCE": source,
        "CANTOWHISPER_OUT": str(out),
        "CANTOWHISPER_PRESET": preset or ("t4" if model else "demo"),
        "CANTOWHISPER_MODEL": model or "",
        "MPLBACKEND": "Agg",  # plots are saved in `out`; there is no window to show them in
        "PYTHONUNBUFFERED": "1",
    }
    started = time.monotonic()
    for number, name in enumerate(NOTEBOOKS, start=1):
        print(f"── {number}/{len(NOTEBOOKS)} {name}", flush=True)
        code = subprocess.call([sys.executable, str(repository_file(name))], env={**os.environ, **settings})
        if code:
            print(f"{name} ended with code {code}; the same command goes on from there", file=sys.stderr)
            return 1
    print(f"── done in {(time.monotonic() - started) / 60:.1f} min; the model is in {out / 'model'}", flush=True)
    if open_page:
        load_page("offline").main(str(out / "model"), host="127.0.0.1", port=port)
    return 0


def sample_voices(ids) -> dict[str, str]:
    """For clips of the sample corpus, whether train has their voice; nothing for clips of other sources."""
    voices = {}
    for split in ("train", "test"):
        with repository_file(f"samples/corpus/{split}.tsv").open(encoding="utf-8") as table:
            rows = list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))
        voices[split] = {row["path"].removesuffix(".mp3"): row["accents"] for row in rows}
    known = set(voices["train"].values())
    return {i: "known voices" if voices["test"][i] in known else "unseen voice" for i in ids if i in voices["test"]}


def sample_clips(*names: str) -> list[tuple[Path, str]]:
    """(path, reference text) of long sample pieces, by file name."""
    with repository_file("samples/clips/references.tsv").open(encoding="utf-8") as table:
        rows = list(csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE))
    texts = {name: "".join(row["text"] for row in rows if row["file"] == name) for name in names}
    return [(repository_file(f"samples/clips/{name}"), texts[name]) for name in names]
