"""A Whisper checkpoint as transformers saves it, read into NumPy without torch or transformers."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cantowhisper.contracts import CantowhisperError

_SIZES = ("d_model", "encoder_layers", "encoder_attention_heads", "decoder_layers", "decoder_attention_heads")


@dataclass(frozen=True)
class Checkpoint:
    """A folder's settings, and its weights by name, each read when it is asked for."""

    folder: Path
    config: dict
    generation: dict  # of generation_config.json; what old checkpoints lack of it, from config.json
    _files: dict[str, Path] = field(repr=False)  # tensor's name → file that holds it

    @classmethod
    def open(cls, folder: Path) -> "Checkpoint":
        """Raises CantowhisperError where there is no Whisper, or none that can be exported."""
        config = _json(folder / "config.json")
        if config.get("model_type") != "whisper" or not all(size in config for size in _SIZES):
            raise CantowhisperError(f"{folder} holds no Whisper (config.json says {config.get('model_type')!r})")
        if config.get("activation_function", "gelu") != "gelu" or config.get("scale_embedding"):
            raise CantowhisperError(
                f"{folder} cannot be exported: only Whispers as they were published can (gelu, unscaled embeddings)"
            )
        generation = {**config, **_json(folder / "generation_config.json", absent={})}
        return cls(folder, config, generation, dict(_tensor_files(folder)))

    def tensors(self, part: str) -> dict[str, np.ndarray]:
        """Weights of "encoder" or "decoder" in float32, by their names within it."""
        from safetensors import safe_open

        prefix = f"model.{part}."
        names = sorted(name for name in self._files if name.startswith(prefix))
        if not names:
            raise CantowhisperError(f"{self.folder} has no weights of a Whisper's {part}")
        opened = {path: safe_open(path, "np") for path in {self._files[name] for name in names}}
        return {
            name.removeprefix(prefix): opened[self._files[name]].get_tensor(name).astype(np.float32) for name in names
        }


def _json(path: Path, *, absent: dict | None = None) -> dict:
    if absent is not None and not path.exists():
        return absent
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CantowhisperError(f"{path} cannot be read ({error}); is {path.parent} a model folder?") from error


def _tensor_files(folder: Path):
    import ml_dtypes  # noqa: F401  NumPy knows bfloat16 after this, which safetensors asks it for
    from safetensors import SafetensorError, safe_open

    whole = folder / "model.safetensors"  # alone: others beside it hold the same weights in another precision
    files = [whole] if whole.exists() else sorted(folder.glob("model-*.safetensors"))
    if not files:
        raise CantowhisperError(
            f"{folder} has no weights in safetensors, which the export reads; save it again with a current transformers"
        )
    for path in files:
        try:
            yield from ((name, path) for name in safe_open(path, "np").keys())  # noqa: SIM118  it is no dict
        except (SafetensorError, OSError) as error:
            raise CantowhisperError(f"{path} is damaged ({error}); fetch or save the model again") from error
