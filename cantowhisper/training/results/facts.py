"""What a model folder says of its model: how it was trained, what it writes, and what it was made from."""

import dataclasses
import json
import os
from pathlib import Path

from cantowhisper.contracts import ModelFacts
from cantowhisper.speech.language import language_code, usual_script
from cantowhisper.speech.text import cer_view
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.load import HUB_ID


def model_facts(config: TrainConfig, model, features, *, texts) -> ModelFacts:
    """What serving must know of the trained model."""
    source, revision = feature_origin(features)
    return ModelFacts(
        trained_contexts="full" if config.full_context_share >= 1 else TRAINED[config.context_kind],
        context={} if config.full_context_share >= 1 else dataclasses.asdict(config.context),
        language=language_code(config.language),
        language_token=f"<|{model.generation_config.language}|>",
        script=script_of(config.language, texts),
        feature_source=source,
        feature_revision=revision,
    )


# What ModelFacts calls a model that was trained with a kind of context.
TRAINED = {"merged": "merged", "plain": "variable", "full": "full"}


def script_of(language: str, texts) -> str:
    """The script of a model's sentences: "traditional", "simplified", or "other" where they are not Chinese."""
    if usual_script(language) not in ("Hans", "Hant"):
        return "other"
    written = "".join(texts)
    return "simplified" if cer_view(written, "simplified") == cer_view(written) else "traditional"


def model_origin(name: str) -> str:
    """Where a run's model came from: "scratch" (the miniature), "folder" (of this machine), or "hub"."""
    if name == "miniature":
        return "scratch"
    return "hub" if HUB_ID.fullmatch(name) and not Path(name).exists() else "folder"


def feature_origin(features: str | os.PathLike) -> tuple[str, str]:
    """(source, revision) of a feature dataset: what it was made from, and the checksum of that."""
    path = Path(features) / "stats.json"
    if not path.is_file():
        return str(features), ""
    stats = json.loads(path.read_text(encoding="utf-8"))
    return str(stats.get("source", "")), str(stats.get("identity", {}).get("source_checksum", ""))[:16]
