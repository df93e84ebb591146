"""The whole path in one command: both notebooks as scripts, one after the other, then the page."""

import os
import subprocess
import sys
import time
from pathlib import Path

from cantowhisper.repository import load_page, repository_file

NOTEBOOKS = ("whisper_feature_pipeline.py", "whisper_training_pipeline.py")


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
