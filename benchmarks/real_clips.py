"""Real recordings and their sentences, from REAL_SPEECH, and comparisons over them."""

import csv
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE

SETS = {  # folder and Whisper's language of each set of Common Voice clips
    "zh-HK": ("common_voice_17_layout/cv-corpus-17.0-2024-03-15/zh-HK", "zh"),
    "zh-CN": ("common_voice_17_layout/cv-corpus-17.0-2024-03-15/zh-CN", "zh"),
    "zh-TW": ("common_voice_6_layout/zh-TW", "zh"),
}
FIXTURES = {
    "jfk.flac": "And so my fellow Americans, ask not what your country can do for you, "
    "ask what you can do for your country.",
    "LJ001-0002.wav": "in being comparatively modern.",
}


def folder_of(name: str) -> Path:
    """The folder that an environment variable names; ends the program where there is none."""
    found = os.environ.get(name, "")
    if not found or not Path(found).is_dir():
        sys.exit(f"set {name} to the folder of real recordings or weights: this measurement needs it")
    return Path(found)


def read_clips(folder: Path, n: int) -> list[tuple[np.ndarray, str]]:
    """(waveform, sentence) of n clips, spread over a Common Voice table."""
    rows = list(_rows(folder))
    chosen = [rows[i * len(rows) // n] for i in range(min(n, len(rows)))]
    return [(load_audio(path), sentence) for path, sentence in chosen]


def clips_near(speech: Path, *, seconds: float, n: int) -> list[tuple[np.ndarray, str]]:
    """The n clips of all sets whose length is nearest to `seconds`."""
    clips = [clip for path, _ in SETS.values() for clip in read_clips(speech / path, 100)]
    return sorted(clips, key=lambda clip: abs(clip[0].size / SAMPLE_RATE - seconds))[:n]


def read_fixtures(speech: Path) -> list[tuple[np.ndarray, str]]:
    return [(load_audio(speech / "fixtures" / name), said) for name, said in FIXTURES.items()]


def paired_interval(one: np.ndarray, other: np.ndarray, *, draws: int = 2000) -> list[float]:
    """95 % interval, in points, of the difference of two corpus error rates.

    Both are (clips, 2): edits and characters of each clip. Clips are drawn with both their results.
    """
    chosen = np.random.default_rng(0).integers(0, len(one), (draws, len(one)))
    rates = [100 * each[chosen, 0].sum(axis=1) / each[chosen, 1].sum(axis=1) for each in (one, other)]
    return [round(float(x), 2) for x in np.percentile(rates[0] - rates[1], [2.5, 97.5])]


def _rows(folder: Path) -> Iterator[tuple[Path, str]]:
    with (folder / "validated.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            yield folder / "clips" / row["path"], row["sentence"]
