"""A throw-away model for tests of serving: a miniature Whisper with random weights, and its export.

What it writes means nothing; that it is batched, cut, ordered and shown rightly can be seen all the same. Tests that
need sensible text take the trained demo model from the environment variable CANTOWHISPER_DEMO_MODEL.
"""

import functools
import os
import tempfile
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from cantowhisper.contracts import ModelFacts
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.serving.segments import Span

TEXTS = ["你好呀我哋今日去邊度食飯", "唔該畀碗雲吞麵我呀多謝", "電話係二三四五六七八九"]
CORES = int(os.environ.get("OMP_NUM_THREADS", 2))  # of a test: workers side by side have one each
_keep = []  # the temporary folder lives as long as the process


@functools.cache
def random_model() -> Path:
    """Folder of the throw-away model, trained on "variable" contexts as far as its facts go; made once a process."""
    for package in ("torch", "transformers", "onnx"):
        pytest.importorskip(package)
    from cantowhisper.training.miniature import build_miniature
    from cantowhisper.training.model import save_model
    from cantowhisper.training.results.export import export_onnx

    _keep.append(tempfile.TemporaryDirectory(prefix="cantowhisper-test-"))
    folder = Path(_keep[-1].name) / "model"
    model, processor = build_miniature(TEXTS)
    save_model(model, processor, folder)
    ModelFacts(language="yue", language_token="<|zh|>", trained_contexts="variable", context=PLAIN).save(folder)
    export_onnx(folder, folder / "onnx")
    return folder


# An input as long as the clip and 1.28 s, in whole seconds, as models were trained before silence was merged.
PLAIN = {"kind": "plain", "margin_frames": 128, "bucket_frames": 100, "min_frames": 200}


def trained_model() -> Path | None:
    """The demo model, if the environment names one."""
    found = os.environ.get("CANTOWHISPER_DEMO_MODEL")
    return Path(found) if found and Path(found).is_dir() else None


class Scripted:
    """An engine that answers what it is told to, and remembers what it was asked."""

    name, n_mels = "scripted", 80

    def __init__(self, answer):
        self.answer, self.asked, self.first = answer, [], None

    def decode(self, mels, windows, prompt, options):
        self.asked.append({"shape": mels.shape, "windows": windows, "prompt": prompt, **asdict(options)})
        return [self.answer(mel, options.repetition_penalty > 1) for mel in mels]

    def first_probabilities(self, mels, windows, start):
        return np.stack([self.first] * len(mels))


def with_engine(opened: Recognizer, answer) -> Recognizer:
    opened.engine = Scripted(answer)
    return opened


def ids(opened: Recognizer, text: str) -> list[int]:
    return opened.vocabulary.encode(text)


def inputs(opened: Recognizer, *pieces: np.ndarray):
    """What an engine takes for these pieces: log-Mels and windows."""
    waveform, spans = np.concatenate(pieces), np.cumsum([0, *map(len, pieces)]).tolist()
    pieces = opened._pieces(waveform, None)
    return pieces.inputs([pieces.job(Span(*at)) for at in pairwise(spans)])
