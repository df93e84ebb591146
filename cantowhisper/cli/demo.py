"""The whole path in one command: both notebooks as scripts, one after the other, then the page."""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from cantowhisper.cli.options import port
from cantowhisper.repository import load_page, repository_file

NOTEBOOKS = ("whisper_feature_pipeline.py", "whisper_training_pipeline.py")


def add_demo(subparsers) -> argparse.ArgumentParser:
    command = subparsers.add_parser("demo", help="the whole path: both notebooks, then the page")
    command.add_argument("--source", default="samples", help="as in `features` (default: samples)")
    command.add_argument("--model", help="what to train (default: a miniature from scratch; or openai/whisper-small …)")
    command.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything that is made")
    command.add_argument("--preset", help="default: demo; with --model t4, or cpu where there is no GPU")
    command.add_argument("--open", default="1", choices=("0", "1"), help="1 leaves the page running, 0 ends")
    command.add_argument("--port", type=port, default=7860)
    command.set_defaults(run=run_demo)
    return command


def run_demo(arguments) -> int:
    """Features, training, scores and three transcripts in --out; then the page, until Ctrl-C. Returns an exit code."""
    out = arguments.out
    settings = {
        "CANTOWHISPER_SOURCE": arguments.source,
        "CANTOWHISPER_OUT": str(out),
        "CANTOWHISPER_PRESET": arguments.preset or default_preset(arguments.model),
        "CANTOWHISPER_MODEL": arguments.model or "",
        "CANTOWHISPER_CLIPS": os.environ.get("CANTOWHISPER_CLIPS") or _recordings(arguments.source),
        "MPLBACKEND": "Agg",  # plots are saved in `out`; there is no window to show them in
        "PYTHONUNBUFFERED": "1",
    }
    started = time.monotonic()
    for number, name in enumerate(NOTEBOOKS, start=1):
        print(f"── {number}/{len(NOTEBOOKS)} {name}", flush=True)
        code = subprocess.call([sys.executable, str(repository_file(name))], env={**os.environ, **settings})
        if code:
            print(f"{name} ended with code {code}; the same command resumes from there", file=sys.stderr)
            return 1
    print(f"── done in {(time.monotonic() - started) / 60:.1f} min; the model is in {out / 'model'}", flush=True)
    if arguments.open == "1":
        load_page("offline").main(str(out / "model"), host="127.0.0.1", port=arguments.port)
    return 0


def default_preset(model: str | None) -> str:
    """The preset that ends within minutes."""
    if model in (None, "", "miniature"):
        return "demo"
    import torch  # only here: it takes seconds

    return "t4" if torch.cuda.is_available() else "cpu"


def _recordings(source: str) -> str:
    """The folder with the recordings of a source, to transcribe some at the end; "" for one that is no folder."""
    from cantowhisper.features.sources.open import parse

    name = parse(source)[0].name
    return name if Path(name).is_dir() and name != "samples" else ""
