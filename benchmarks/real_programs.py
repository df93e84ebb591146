"""This project and faster-whisper as their users run them: a waveform goes in, text comes out, greedily, in int8."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cantowhisper.speech.text import join_texts

Program = Callable[[np.ndarray], str]
LANGUAGE = "zh"


def exported(model: Path, folder: Path) -> Path:
    """A model folder that has an export, or an export of it in `folder`."""
    from cantowhisper.training.results.export import export_onnx

    return model if (model / "onnx").is_dir() else export_onnx(model, folder / "onnx")


def exported_ct2(model: Path, folder: Path) -> Path:
    """The same for CTranslate2."""
    from cantowhisper.training.results.export import export_ctranslate2

    made = [each / "ct2" for each in (model, folder) if (each / "ct2").is_dir()]
    return made[0] if made else export_ctranslate2(model, folder / "ct2")


def ours(model: Path, folder: Path, *, threads: int) -> Program:
    from cantowhisper.serving.recognizer import Recognizer

    recognizer = Recognizer.open(exported(model, folder), threads=threads)
    return lambda waveform: _text(recognizer.transcribe(waveform, language=LANGUAGE))


def faster_whisper(model: Path, folder: Path, *, threads: int, vad: bool) -> Program:
    """vad : with its voice activity detection, as for recordings of several sentences."""
    from faster_whisper import WhisperModel

    export = os.fspath(exported_ct2(model, folder))
    program = WhisperModel(export, device="cpu", compute_type="int8", cpu_threads=threads, num_workers=1)
    return lambda waveform: _text(program.transcribe(waveform, language=LANGUAGE, beam_size=1, vad_filter=vad)[0])


def _text(segments) -> str:
    return join_texts((one.text for one in segments), LANGUAGE)
