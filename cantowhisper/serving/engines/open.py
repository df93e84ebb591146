"""From a model folder to the engine that runs it."""

import hashlib
import importlib.util
import logging
import os
import tempfile
from pathlib import Path

from cantowhisper.contracts import CT2_FOLDER, DECODER_FILE, ENCODER_FILE, ONNX_FOLDER, CantowhisperError
from cantowhisper.serving.engines.engine import Engine
from cantowhisper.serving.engines.onnx import OnnxEngine
from cantowhisper.serving.engines.transformers import TransformersEngine

BACKENDS = ("auto", "onnx", "transformers")
EXPORT_VERSION = 1  # of what cantowhisper/export writes: another one makes the cached exports anew

log = logging.getLogger(__name__)


def open_engine(folder: Path, *, threads: int, backend: str = "auto") -> Engine:
    """The engine for a model folder.

    backend : "onnx" runs the folder's export, or makes one of its weights, which the user's cache keeps;
        "transformers" runs the weights, on a GPU if there is one; "auto" is "onnx", and "transformers" for weights that
        cannot be exported

    Raises
    ------
    CantowhisperError : the folder holds no model, or none that `backend` or the installed packages can run
    """
    if backend not in BACKENDS:
        raise CantowhisperError(f"{backend!r} is no backend; choose {', '.join(BACKENDS)}")
    if backend == "transformers":
        return TransformersEngine(folder, threads=threads)
    try:
        export = find_export(folder) or cached_export(folder)
    except CantowhisperError:
        if backend == "onnx" or not _has_weights(folder) or not importlib.util.find_spec("torch"):
            raise
        return TransformersEngine(folder, threads=threads)
    return OnnxEngine(export, threads=threads)


def find_export(folder: Path) -> Path | None:
    """The folder of graphs: `onnx/` of a model folder, or the folder itself when it is an export."""
    for candidate in (folder / ONNX_FOLDER, folder):
        if (candidate / ENCODER_FILE).exists() and (candidate / DECODER_FILE).exists():
            return candidate
    return None


def cached_export(folder: Path) -> Path:
    """The export of a folder's weights in the user's cache; made there when it is asked for the first time."""
    if not _has_weights(folder):
        if any((place / "model.bin").exists() for place in (folder, folder / CT2_FOLDER)):
            raise CantowhisperError(
                f"{folder} holds an export for CTranslate2 alone, which is not run here any more; "
                "export the model again: cantowhisper export MODEL"
            )
        raise CantowhisperError(f"{folder} holds neither an export nor weights; is it a model folder?")
    cached = cache_folder() / _fingerprint(folder)
    if not cached.is_dir():
        _export_into(cached, folder)
    return cached


def cache_folder() -> Path:
    """Where exports of models are kept that have none of their own."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cantowhisper" / "exports"


def _export_into(cached: Path, folder: Path) -> None:
    try:
        from cantowhisper.export.folder import write_export
    except ImportError as error:
        raise CantowhisperError(
            f"{folder} has no export, and to make one takes the packages onnx and safetensors ({error})"
        ) from error
    log.info("exporting %s for this machine, once", folder)
    cached.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cached.parent, prefix=".part-") as aside:
        whole = Path(aside) / "export"
        write_export(folder, whole)
        try:
            os.replace(whole, cached)
        except OSError:  # another program was quicker
            if not cached.is_dir():
                raise


def _has_weights(folder: Path) -> bool:
    return any(folder.glob("*.safetensors")) or any(folder.glob("pytorch_model*.bin"))


def _fingerprint(folder: Path) -> str:
    """Another one for other weights. Files of the Hub's cache are links to names that are hashes of their content."""
    digest = hashlib.sha256(str(EXPORT_VERSION).encode())
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.json")]):
        real, stat = path.resolve(), path.stat()
        digest.update(f"{path.name} {real} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]
