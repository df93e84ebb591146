"""A model folder to the Hugging Face Hub: weights, export and model card."""

import os
from pathlib import Path

from cantowhisper.contracts import (
    CARD_FILE,
    CT2_FOLDER,
    LANGUAGE_MODEL_FILE,
    LANGUAGE_MODEL_REPORT_FILE,
    ONNX_FOLDER,
    CantowhisperError,
)
from cantowhisper.files import write_aside, write_text
from cantowhisper.hub_errors import hub_errors
from cantowhisper.training.results.card import CURVE_FILE, model_card, read_metrics
from cantowhisper.training.results.scoring import METRICS_FILE
from cantowhisper.training.run.checkpoints import CONFIG_FILE, FOLDER

# What stays: sentences of others, leftovers, and a file that names folders of this machine (the card has the rest).
PRIVATE_FILES = ("test_transcripts*", "*.part", "*.part/*", ".*", CONFIG_FILE, METRICS_FILE, f"{FOLDER}/*")
# Of an earlier model in the same repository: who finds its export there serves that instead of these weights.
REPLACED_FILES = (
    f"{ONNX_FOLDER}/*",
    f"{CT2_FOLDER}/*",
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*",
    LANGUAGE_MODEL_FILE,
    LANGUAGE_MODEL_REPORT_FILE,
)


def push_model(model: str | os.PathLike, repo: str, *, public: bool = False) -> str:
    """Upload a finished model folder to `repo` in one commit, with its card; returns the address of its page.

    Private unless `public`: the licence of the recordings decides who may see what was made of them. Transcripts of
    the test split and checkpoints stay here.
    """
    import matplotlib.pyplot as plt
    from huggingface_hub import HfApi

    from cantowhisper.training.results.plots import plot_curve

    folder = Path(model)
    write_text(model_card(folder, repo=repo), folder / CARD_FILE)
    figure = plot_curve(read_metrics(folder))
    with write_aside(folder / CURVE_FILE) as aside:
        figure.savefig(aside, format="png")
    plt.close(figure)
    api = HfApi()
    with hub_errors("cannot push to", repo):
        url = str(api.create_repo(repo, private=not public, exist_ok=True))
        there = api.model_info(repo)
        if not public and not there.private:
            raise CantowhisperError(f"{repo} is public: make it private in its settings, or give --public")
        operations = _operations(folder, [file.rfilename for file in there.siblings or []])
        api.create_commit(repo, operations, commit_message="Model, export and card")
    return url


def _operations(folder: Path, there: list[str]) -> list:
    """What makes a repository with the files `there` hold this model: one commit, so that nobody loads half of it."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.utils import filter_repo_objects

    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    ours = list(filter_repo_objects(names, ignore_patterns=list(PRIVATE_FILES)))
    stale = [name for name in filter_repo_objects(there, allow_patterns=list(REPLACED_FILES)) if name not in ours]
    added = [CommitOperationAdd(name, folder / name) for name in ours]
    return [*added, *(CommitOperationDelete(name) for name in stale)]
