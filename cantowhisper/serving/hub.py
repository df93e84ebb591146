"""From the name of a model, a folder or a Hub id, to a folder on disk."""

import os
import re
from collections.abc import Iterable
from pathlib import Path

from cantowhisper.contracts import (
    DECODER_FILE,
    ENCODER_FILE,
    LANGUAGE_MODEL_FILE,
    MODEL_FACTS_FILE,
    ONNX_FOLDER,
    CantowhisperError,
)
from cantowhisper.hub_errors import hub_errors

_CONFIG_FILES = ["*.json", "*.txt", LANGUAGE_MODEL_FILE]


def model_folder(model: str | os.PathLike, *, export: bool = True) -> Path:
    """The folder of a model, fetched from the Hugging Face Hub (or its cache) when `model` is no folder here.

    export : fetch the export if the repository has one, which is a quarter of the bytes, and else the checkpoint; False
        for the checkpoint in any case

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
    return _fetch(name, export=export)


def _fetch(name: str, *, export: bool) -> Path:
    from huggingface_hub import HfApi, snapshot_download

    try:
        with hub_errors(f"there is no folder {name}, and the Hub does not give", name):
            found = HfApi().model_info(name)
    except CantowhisperError as not_given:
        if kept := _newest_in_cache(name):  # no network, or the Hub is down: what was fetched before still serves
            return kept
        raise not_given from not_given.__cause__
    with hub_errors("cannot fetch", name):
        # The commit that was looked at: somebody may push between the list and the download.
        wanted = _wanted([one.rfilename for one in found.siblings or ()], export=export)
        return Path(snapshot_download(name, revision=found.sha, allow_patterns=wanted))


def _newest_in_cache(name: str) -> Path | None:
    """The commit of a model that was fetched last, if there is one."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repos = scan_cache_dir().repos
    except CacheNotFound:
        return None
    commits = [one for repo in repos if (repo.repo_type, repo.repo_id) == ("model", name) for one in repo.revisions]
    return max(commits, key=lambda one: one.last_modified).snapshot_path if commits else None


def _wanted(files: list[str], *, export: bool = True) -> list[str]:
    """Patterns of the files to fetch from a repository with these files."""
    folder = export_place(files)
    if export and folder is not None:
        return [f"{folder}*.onnx", f"{folder}*.json", "tokenizer.json", MODEL_FACTS_FILE, LANGUAGE_MODEL_FILE]
    if "model.safetensors" in files:  # alone: some repositories have the same weights in other precisions beside it
        return ["model.safetensors", *_CONFIG_FILES]
    if any(f.endswith(".safetensors") for f in files):
        return ["model-*.safetensors", *_CONFIG_FILES]
    return ["pytorch_model*.bin", *_CONFIG_FILES]


def export_place(files: Iterable[str]) -> str | None:
    """What the names of an export's files begin with, in a repository with these files; None where there is none.

    >>> export_place(["onnx/encoder.onnx", "onnx/decoder.onnx"]), export_place(["model.safetensors"])
    ('onnx/', None)
    """
    there = set(files)
    places = (f"{ONNX_FOLDER}/", "")  # of a model, or a repository that is itself an export
    return next((place for place in places if {place + ENCODER_FILE, place + DECODER_FILE} <= there), None)
