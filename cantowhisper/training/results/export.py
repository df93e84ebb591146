"""What others run of a model folder: `onnx/` for the web pages, `ct2/` for users of faster-whisper and CTranslate2."""

import os
from collections.abc import Callable
from pathlib import Path

from cantowhisper.contracts import CT2_FOLDER, ENCODER_FILE, ONNX_FOLDER, CantowhisperError
from cantowhisper.export.folder import COPIED, write_export
from cantowhisper.files import write_aside


def export_model(
    model: str | os.PathLike, out: str | os.PathLike | None = None, *, quantization: str = "int8"
) -> tuple[Path, Path]:
    """Write both exports of a model folder into `out` (by default the model folder itself) and return their folders.

    quantization : of the one for CTranslate2: "int8" (CPU), "float16" (GPU), "float32", …

    Raises
    ------
    CantowhisperError : it is no model folder, or there is something else where an export would go
    """
    out = Path(out) if out is not None else Path(model)
    return (
        export_onnx(model, out / ONNX_FOLDER),
        export_ctranslate2(model, out / CT2_FOLDER, quantization=quantization),
    )


def export_onnx(model: str | os.PathLike, out: str | os.PathLike) -> Path:
    """Write graphs of 8-bit weights that take merged windows; complete by itself, and replaced as a whole."""
    return _replace(Path(model), Path(out), ENCODER_FILE, lambda aside: write_export(Path(model), aside))


def export_ctranslate2(model: str | os.PathLike, out: str | os.PathLike, *, quantization: str = "int8") -> Path:
    """Convert with CTranslate2's own converter; complete by itself, and replaced as a whole."""
    from ctranslate2.converters import TransformersConverter

    def write(aside: Path) -> None:
        converter = TransformersConverter(str(model), copy_files=[n for n in COPIED if (Path(model) / n).exists()])
        converter.convert(str(aside), quantization=quantization)

    return _replace(Path(model), Path(out), "model.bin", write)


def _replace(model: Path, out: Path, mark: str, write: Callable[[Path], None]) -> Path:
    """`write` a folder that takes the place of `out`, which may be an export of its kind, known by the file `mark`."""
    if not (model / "config.json").exists():
        raise CantowhisperError(f"{model} is no model folder (it has no config.json); give what `train` wrote")
    if out.exists() and not (out / mark).exists() and (not out.is_dir() or any(out.iterdir())):
        raise CantowhisperError(f"{out} holds something else than an export; choose another folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with write_aside(out) as aside:
            write(aside)
    except (OSError, ValueError, KeyError) as error:
        raise CantowhisperError(f"cannot export {model}: {str(error).splitlines()[0]}") from error
    return out
