"""A model folder to CTranslate2 int8 and its decoder to ONNX: what the web pages run on two CPU cores."""

import os
from pathlib import Path

from cantowhisper.contracts import EXPORT_FOLDER, MODEL_FACTS_FILE, CantowhisperError
from cantowhisper.files import write_aside
from cantowhisper.training.results.onnx_export import export_decoder

# Beside the weights, what a recogniser reads: the tokenizer, the Mel channels, and what the model was trained for.
COPIED = ("tokenizer.json", "preprocessor_config.json", "generation_config.json", MODEL_FACTS_FILE)


def export_model(model: str | os.PathLike, out: str | os.PathLike | None = None, *, quantization: str = "int8") -> Path:
    """Convert a Whisper checkpoint folder with CTranslate2's own converter; an int8 one gets an ONNX decoder besides.

    Parameters
    ----------
    model : a model folder
    out : where to; by default `ct2/` inside the model folder. Replaced as a whole, when the new export is complete
    quantization : "int8" (CPU), "float16" (GPU), "float32", …

    Returns
    -------
    the export's folder, which is complete by itself
    """
    from ctranslate2.converters import TransformersConverter

    model = Path(model)
    out = Path(out) if out is not None else model / EXPORT_FOLDER
    if not (model / "config.json").exists():
        raise CantowhisperError(f"{model} is no model folder (it has no config.json); give what `train` wrote")
    if out.exists() and not (out / "model.bin").exists() and (not out.is_dir() or any(out.iterdir())):
        raise CantowhisperError(f"{out} holds something else than an export; choose another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with write_aside(out) as aside:
            converter = TransformersConverter(str(model), copy_files=[n for n in COPIED if (model / n).exists()])
            converter.convert(str(aside), quantization=quantization)
            if quantization == "int8":
                export_decoder(model, aside)
    except (OSError, ValueError, KeyError) as error:
        raise CantowhisperError(f"cannot export {model}: {str(error).splitlines()[0]}") from error
    return out
