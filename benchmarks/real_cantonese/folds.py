"""The 100 real clips in five folds that share no speaker and no sentence, and the clips of other languages."""

import importlib.util
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path

import datasets
import numpy as np

from benchmarks.real_clips import FIXTURES, SETS
from cantowhisper.features.pipeline import FeatureConfig, build_features
from cantowhisper.serving.recognizer import STOCK_CHUNK_S
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE, log_mel
from cantowhisper.speech.text import join_texts, normalize

N_FOLDS = 5
PAUSE = np.zeros(round(0.6 * SAMPLE_RATE), np.float32)  # as in the long recordings of REAL_SPEECH


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
    folder = speech / "fixtures"
    return _as_rows((name, load_audio(folder / name), said, "en", name) for name, said in FIXTURES.items())


def joined(speech: Path, clips: datasets.Dataset) -> datasets.Dataset:
    """zh-HK clips one after the other, with pauses, as recordings of two clips and more; one that is left is not there.

    As long as what a stock model is given at once. A recording counts as one of its first clip's speaker.
    """
    folder, recordings = speech / SETS["zh-HK"][0] / "clips", [[]]
    for clip in clips:
        waveform = load_audio(folder / f"{clip['id']}.mp3")
        seconds = sum(sound.size + PAUSE.size for _, sound in recordings[-1]) + waveform.size
        if seconds > STOCK_CHUNK_S * SAMPLE_RATE:
            recordings.append([])
        recordings[-1].append((clip, waveform))
    return _as_rows(
        (
            "+".join(str(clip["id"]) for clip, _ in parts),
            np.concatenate([sound for _, waveform in parts for sound in (PAUSE, waveform)][1:]),
            join_texts([str(clip["text"]) for clip, _ in parts], "yue"),
            str(parts[0][0]["language"]),
            str(parts[0][0]["speaker"]),
        )
        for parts in recordings
        if len(parts) > 1
    )


def _as_rows(recordings: Iterable[tuple[str, np.ndarray, str, str, str]]) -> datasets.Dataset:
    """(id, waveform, text, language, speaker) of each as rows of a feature dataset."""
    rows = [
        {
            "id": name,
            "features": log_mel(waveform, n_mels=80, engine="numpy").T.astype(np.float16),
            "text": said,
            "duration_s": np.float32(waveform.size / SAMPLE_RATE),
            "language": language,
            "speaker": speaker,
        }
        for name, waveform, said, language, speaker in recordings
    ]
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
