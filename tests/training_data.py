"""Small things to train on: a few clips of the sample corpus as a release folder, as a feature dataset, as a model."""

import csv
import functools
import os
import shutil
import tempfile
from pathlib import Path

import datasets
import numpy as np
import pytest

from cantowhisper.training.data.sampling import Key

CORPUS = Path(__file__).resolve().parents[1] / "samples" / "corpus"
TABLES = {"train": "train", "dev": "validation", "test": "test"}
_keep = []  # temporary folders live as long as the process


def temporary_folder() -> Path:
    _keep.append(tempfile.TemporaryDirectory(prefix="cantowhisper-test-"))
    return Path(_keep[-1].name)


# `load_dataset` copies what it opens into a cache; that of the tests goes when they go, in subprocesses too.
datasets.config.HF_DATASETS_CACHE = temporary_folder()
os.environ["HF_DATASETS_CACHE"] = str(datasets.config.HF_DATASETS_CACHE)


def copy_release(
    source: Path, folder: Path, *, max_seconds: float = 30, alike_s: float | None = None, **n_clips: int
) -> Path:
    """The first clips of each table of a Common Voice release as a release of its own: train=12, dev=4, …

    alike_s : of dev and test, the clips that are nearest to so many seconds, which are transcribed in one batch
    """
    (folder / "clips").mkdir(parents=True)
    durations = (line.split("\t") for line in (source / "clip_durations.tsv").read_text().splitlines()[1:])
    seconds = {name: float(milliseconds) / 1000 for name, milliseconds in durations}
    for table, n in n_clips.items():
        head, *lines = (source / f"{table}.tsv").read_text(encoding="utf-8").splitlines()
        path = head.split("\t").index("path")
        lines = [line for line in lines if seconds[line.split("\t")[path]] <= max_seconds]
        if alike_s and table != "train":
            lines.sort(key=lambda line: abs(seconds[line.split("\t")[path]] - alike_s))
        lines = lines[:n]
        (folder / f"{table}.tsv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
        for line in lines:
            shutil.copy(source / "clips" / line.split("\t")[path], folder / "clips")
    return folder


@functools.cache
def small_features(alike_s: float | None = None) -> Path:
    """A feature dataset of 24 + 5 + 4 sample clips; made once a process, not to be written to. alike_s : as above"""
    from cantowhisper.features.pipeline import FeatureConfig, build_features

    if not CORPUS.is_dir():
        pytest.skip("the sample corpus is not in this checkout")
    folder = temporary_folder()
    release = copy_release(CORPUS, folder / "release" / "yue", alike_s=alike_s, train=24, dev=5, test=4)
    build_features(str(release), folder / "features", config=FeatureConfig(workers=1), progress=False)
    return folder / "features"


def small_split(split: str = "train"):
    from cantowhisper.training.data.load import load_split

    return load_split(small_features(), split)


@functools.cache
def corpus_texts() -> tuple[str, ...]:
    """All training sentences of the sample corpus."""
    lines = (CORPUS / "train.tsv").read_text(encoding="utf-8").splitlines()
    return tuple(row["sentence"] for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))


def with_texts(split, texts):
    """The split with other sentences."""
    return split.remove_columns("text").add_column("text", list(texts))


def made_up_rows(lengths, *, n_mels: int = 80, text: str = "你好呀"):
    """Rows as the collator takes them, with smooth noise for features."""
    rng = np.random.default_rng(7)
    shapes = [(n, n_mels) for n in lengths]
    key = Key(0)._asdict()
    return [{"features": rng.uniform(-1, 1, s).astype(np.float16), "text": text, "language": "", **key} for s in shapes]


def tiny_whisper(tokenizer, **overrides):
    """A Whisper of 16 dimensions for any tokenizer: as good as a real one wherever only the tokens matter."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    from cantowhisper.training.miniature import _generation_config

    ids = tokenizer.convert_tokens_to_ids
    end = ids("<|endoftext|>")
    options = {
        "d_model": 16,
        "encoder_layers": 1,
        "decoder_layers": 1,
        "encoder_attention_heads": 1,
        "decoder_attention_heads": 1,
        "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32,
        "suppress_tokens": None,
        "begin_suppress_tokens": None,
    }
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        decoder_start_token_id=ids("<|startoftranscript|>"),
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        **{**options, **overrides},
    )
    torch.manual_seed(1)
    model = WhisperForConditionalGeneration(config)
    model.generation_config = _generation_config(config, tokenizer)
    return model
