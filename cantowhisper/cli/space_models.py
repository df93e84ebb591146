"""Whether the models of a Space are such that its page starts with them, asked before anything is uploaded."""

import sys
from collections.abc import Iterable

from cantowhisper.contracts import CantowhisperError
from cantowhisper.hub_errors import hub_errors
from cantowhisper.serving.hub import export_place


def require_models(api, models: Iterable[str], *, page: str, zero_gpu: bool) -> None:
    """Look at the files of each model. One that a Space cannot read without a token is only told of.

    api : huggingface_hub.HfApi
    page, zero_gpu : what the Space runs: the page for recordings on ZeroGPU takes weights, all others an export

    Raises
    ------
    CantowhisperError : there is no such model, or not in a form that the page runs
    """
    for model in models:
        with hub_errors("cannot deploy: the Space could not read", model):
            found = api.model_info(model)
        files = {one.rfilename for one in found.siblings or ()}
        if lack := what_lacks(files, weights=zero_gpu and page == "offline"):
            raise CantowhisperError(f"a Space cannot run {model}: {lack}")
        if found.private or found.gated:
            kind = "private" if found.private else "gated"
            print(f"note: {model} is {kind}; give the Space a secret HF_TOKEN that may read it", file=sys.stderr)


def what_lacks(files: set[str], *, weights: bool) -> str:
    """What a repository with these files lacks, and what to do; "" if nothing.

    weights : transformers runs the checkpoint itself; else its export is run, or made where weights are safetensors
    """
    exported = export_place(files)
    safe = any(name.endswith(".safetensors") and "/" not in name for name in files)
    old = any(name.startswith("pytorch_model") and name.endswith(".bin") for name in files)
    places = {"tokenizer.json"} if weights or exported is None else {"tokenizer.json", f"{exported}tokenizer.json"}
    if weights and not (safe or old):
        return "it has no weights (model.safetensors), which ZeroGPU takes; push them, or leave out --zero-gpu"
    if not weights and exported is None and not safe:
        how = "cantowhisper export MODEL, then cantowhisper push MODEL REPO"
        has = "weights in the old format alone (pytorch_model.bin)" if old else "neither an export nor weights"
        return f"it has {has}; write its export where torch is: {how}"
    if (weights or exported is None) and "config.json" not in files:
        return "it has no config.json; is it a Whisper?"
    if not places & files:
        return "it has no tokenizer.json; save the fast tokenizer beside the model (AutoTokenizer, save_pretrained)"
    return ""
