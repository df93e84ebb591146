"""From the name of a model, a folder or a Hub id, to a folder on disk."""

import os
import re
from pathlib import Path

from cantowhisper.contracts import DECODER_CROSS_FILE, DECODER_FILE, EXPORT_FOLDER, CantowhisperError
from cantowhisper.hub_errors import hub_errors

_CONFIG_FILES = ["*.json", "*.txt"]


def model_folder(model: str | os.PathLike) -> Path:
    """The folder of a model, fetched from the Hugging Face Hub (or its cache) when `model` is no folder here.

    Only what serving needs is fetched: the CTranslate2 export if the repository has one (a quarter of the bytes),
    else the checkpoint.

    Raises
    ------
    CantowhisperError : neither a folder nor a Hub id, or the Hub does not give it
    """
    folder = Path(model)
    if folder.is_dir():
        return folder
    name = str(model)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or name.startswith("."):
        raise CantowhisperError(f"there is no model folder {name}, and a Hub id looks like owner/name")
    return _fetch(name)


def _fetch(name: str) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    try:
        with hub_errors(f"there is no folder {name}, and the Hub does not give", name):
            files = HfApi().list_repo_files(name)
    except CantowhisperError:
        try:  # no network, or the Hub is down: what was fetched before still serves
            return Path(snapshot_download(name, local_files_only=True))
        except (OSError, ValueError):
            pass
        raise
    with hub_errors("cannot fetch", name):
        return Path(snapshot_download(name, allow_patterns=_wanted(files)))


def _wanted(files: list[str]) -> list[str]:
    """Patterns of the files to fetch from a repository with these files."""
    if f"{EXPORT_FOLDER}/model.bin" in files:
        return [f"{EXPORT_FOLDER}/*", "tokenizer.json", "cantowhisper.json"]
    if "model.bin" in files:  # a repository that is itself an export
        return ["model.bin", DECODER_FILE, DECODER_CROSS_FILE, *_CONFIG_FILES]
    if any(f.endswith(".safetensors") for f in files):
        return ["*.safetensors", *_CONFIG_FILES]
    return ["pytorch_model*.bin", *_CONFIG_FILES]
