"""The 100 real clips in five folds that share no speaker and no sentence, and the clips of other languages."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import datasets
import numpy as np

from benchmarks.real_clips import FIXTURES, SETS
from cantowhisper.features.pipeline import FeatureConfig, build_features
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE, log_mel
from cantowhisper.speech.text import normalize

N_FOLDS = 5


def cantonese(speech: Path, work: Path) -> datasets.Dataset:
    """All zh-HK clips as one split, in the order of their ids; features are made once, in `work`."""
    return _all_splits(speech / SETS["zh-HK"][0], work / "zh-HK")


def mandarin(speech: Path, work: Path, fold: int) -> tuple[datasets.Dataset, datasets.Dataset]:
    """zh-CN clips: those of a fold, which show what is forgotten, and the others, which may be mixed into training.

    Over all folds each of the 100 is scored once, by a model that has heard neither its speaker nor its sentence.
    """
    rows = _all_splits(speech / SETS["zh-CN"][0], work / "zh-CN")
    scored = assign_folds(rows["speaker"], rows["text"]) == fold
    return rows.select(np.flatnonzero(scored)), rows.select(np.flatnonzero(~scored))


def english(speech: Path) -> datasets.Dataset:
    """The English fixtures as rows of a feature dataset."""
    rows = []
    for name, said in FIXTURES.items():
        waveform = load_audio(speech / "fixtures" / name)
        features = log_mel(waveform, n_mels=80, engine="numpy").T.astype(np.float16)
        seconds = np.float32(waveform.size / SAMPLE_RATE)
        rows.append(
            {"id": name, "features": features, "text": said, "duration_s": seconds, "language": "en", "speaker": name}
        )
    return datasets.Dataset.from_list(rows).with_format("numpy")


def sentences() -> list[str]:
    """130,536 sentences of Cantonese, each once: Common Voice's and those of CTCPC, as pycantonese has them."""
    package = importlib.util.find_spec("pycantonese")
    if package is None or not package.origin:
        sys.exit("the sentences come with a package: pip install pycantonese==5.0.0")
    folder = Path(package.origin).parent / "data"
    files = [folder / name / "sents.json" for name in ("common_voice", "ctcpc")]
    texts = (normalize(text) for file in files for text in json.loads(file.read_text(encoding="utf-8")))
    return list(dict.fromkeys(text for text in texts if text))


def _all_splits(source: Path, out: Path) -> datasets.Dataset:
    build_features(os.fspath(source), out, config=FeatureConfig(storage="float16"), progress=False)
    files = sorted(str(path) for path in (out / "data").glob("*.parquet"))
    rows = datasets.load_dataset("parquet", data_files=files, split="train")
    return rows.select(np.argsort(rows["id"]))


def assign_folds(speakers, texts, *, n_folds: int = N_FOLDS) -> np.ndarray:
    """The fold of each clip, int64 (n_clips,): clips that share a speaker or a sentence are in one fold.

    Connected clips go together, the largest group first, always into the fold that has the fewest clips.

    >>> assign_folds(["a", "a", "b", "c"], ["x", "y", "y", "z"], n_folds=2).tolist()
    [0, 0, 0, 1]
    """
    group = np.arange(len(speakers))
    for values in (np.asarray(speakers), np.asarray(texts)):
        for value in np.unique(values):
            joined = np.unique(group[values == value])
            group[np.isin(group, joined)] = joined[0]
    names, sizes = np.unique(group, return_counts=True)
    fold, filled = np.zeros(len(group), np.int64), np.zeros(n_folds, np.int64)
    for name, size in sorted(zip(names.tolist(), sizes.tolist(), strict=True), key=lambda one: (-one[1], one[0])):
        into = int(filled.argmin())
        fold[group == name] = into
        filled[into] += size
    return fold


def split_of(rows: datasets.Dataset, fold: int, *, turn: int = 0) -> dict[str, datasets.Dataset]:
    """Tested on one fold, chosen on the next, trained on the other three: each clip is tested once, validated once.

    turn : 0 to N_FOLDS - 2; so many folds further is the one that validates
    """
    folds = assign_folds(rows["speaker"], rows["text"])
    others = [(fold + 1 + number) % N_FOLDS for number in range(N_FOLDS - 1)]
    parts = {"test": folds == fold, "validation": folds == others[turn]}
    parts["train"] = ~(parts["test"] | parts["validation"])
    return {name: rows.select(np.flatnonzero(chosen)).with_format("numpy") for name, chosen in parts.items()}
