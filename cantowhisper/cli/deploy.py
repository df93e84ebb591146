"""An app folder → a folder that is complete by itself → a Hugging Face Space.

A Space runs `app.py` of its own files and nothing else, so the bundle holds the app folder, the part of the package
that serving needs (no features, no training), the sample clips that the page offers, and the licence. The model stays
where it is: its Hub id becomes the Space's variable MODEL_ID, so that another model is a setting and no upload.
"""

import argparse
import os
import re
import shutil
import tempfile
from pathlib import Path

import cantowhisper
from cantowhisper.cli.space_models import require_models
from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.files import write_aside
from cantowhisper.hub_errors import hub_errors
from cantowhisper.repository import repository_file

PAGES = ("offline", "online")
APP_FILES = ("app.py", "README.md", "requirements.txt")  # without one of these there is no Space
PACKAGE_PARTS = (
    "__init__.py",
    "contracts.py",
    "files.py",
    "hub_errors.py",
    "options.py",
    "export",
    "speech",
    "serving",
)  # what the pages import
SAMPLES = {"offline": "samples/clips"}  # what a page shows as examples, beside its own files
MODEL_VARIABLE, BASE_MODEL_VARIABLE = "MODEL_ID", "BASE_MODEL_ID"
# What a Space on ZeroGPU needs besides. Its torch is one of the versions that ZeroGPU offers, not the tested one. The
# live page runs on the CPU there too, and only has to say that it knows of GPUs.
ZERO_GPU_PACKAGES = {
    "offline": ("torch==2.11.0", "transformers==5.24.0", "spaces==0.51.3"),
    "online": ("spaces==0.51.3",),
}
ZERO_GPU_HARDWARE = "zero-a10g"  # its name at the Hub, whatever cards are behind it
_HUB_ID = re.compile(r"(?!\.)[\w.-]{1,96}/(?!\.)[\w.-]{1,96}")
_LEAVE_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "*.part")


def add_deploy(subparsers) -> argparse.ArgumentParser:
    command = subparsers.add_parser("deploy", help="a page → a Hugging Face Space")
    command.add_argument("page", choices=PAGES, help="offline: files and the microphone; online: live")
    command.add_argument("space", help="owner/name of the Space; it is made if it is not there")
    command.add_argument("--model", required=True, help="Hub id of the model that the page serves")
    command.add_argument("--base-model", help="Hub id of the model before fine-tuning, to compare with")
    command.add_argument("--bundle", type=Path, metavar="DIR", help="only write the Space's files here")
    command.add_argument("--zero-gpu", action="store_true", help="a Space on ZeroGPU instead of two CPU cores")
    command.add_argument("--private", action="store_true", help="make a new Space private")
    command.set_defaults(run=run_deploy)
    return command


def run_deploy(arguments) -> None:
    for option in ("space", "model", "base_model"):
        value = getattr(arguments, option)
        if value is not None and not _HUB_ID.fullmatch(value):
            raise UsageError(f"{value!r} is no Hub id; a {option.replace('_', ' ')} is named owner/name")
    variables = {MODEL_VARIABLE: arguments.model, BASE_MODEL_VARIABLE: arguments.base_model}
    variables = {name: value for name, value in variables.items() if value}
    if arguments.bundle:
        models = list(variables.values())
        print(write_bundle(arguments.page, arguments.bundle, models=models, zero_gpu=arguments.zero_gpu))
    else:
        how = {"private": arguments.private, "zero_gpu": arguments.zero_gpu}
        print(deploy(arguments.page, arguments.space, variables=variables, **how))


def write_bundle(page: str, folder: str | os.PathLike, *, models: list[str], zero_gpu: bool = False) -> Path:
    """Write everything that the Space of a page holds into a new folder.

    page : "offline" or "online"
    folder : must not exist, or be empty
    models : Hub ids, named in the Space's card
    zero_gpu : with the packages that a Space on ZeroGPU needs

    Raises
    ------
    CantowhisperError : the folder is in use, or the page is incomplete
    """
    app, folder = repository_file(f"app_{page}"), Path(folder)
    absent = [name for name in APP_FILES if not (app / name).exists()]
    if absent:
        raise CantowhisperError(f"app_{page} has no {' and no '.join(absent)}; a Space needs it")
    if folder.is_dir() and any(folder.iterdir()):
        raise CantowhisperError(f"{folder} is not empty; name a new folder for the bundle")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with write_aside(folder) as whole:
        _fill(page, app, whole, models)
        if zero_gpu:
            with (whole / "requirements.txt").open("a", encoding="utf-8") as file:
                file.writelines(f"{package}\n" for package in ZERO_GPU_PACKAGES[page])
    return folder


def _fill(page: str, app: Path, target: Path, models: list[str]) -> None:
    shutil.copytree(app, target, ignore=_LEAVE_OUT)
    package = Path(cantowhisper.__file__).resolve().parent
    for part in PACKAGE_PARTS:
        source, copy = package / part, target / "cantowhisper" / part
        if source.is_dir():
            shutil.copytree(source, copy, ignore=_LEAVE_OUT)
        else:
            copy.parent.mkdir(exist_ok=True)
            shutil.copy2(source, copy)
    if page in SAMPLES:
        shutil.copytree(repository_file(SAMPLES[page]), target / SAMPLES[page], ignore=_LEAVE_OUT)
    shutil.copy2(repository_file("LICENSE"), target / "LICENSE")
    card = target / "README.md"
    card.write_text(_name_models(card.read_text(encoding="utf-8"), models), encoding="utf-8")


def _name_models(card: str, models: list[str]) -> str:
    """The Space's card with its models in the front matter, so that the Hub links both ways."""
    parts = card.split("---\n", 2)
    if len(parts) != 3 or parts[0]:
        raise CantowhisperError("the app's README.md has no front matter (--- … ---); a Space is configured there")
    rows = "".join(f"- {model}\n" for model in models)
    return f"---\n{parts[1]}models:\n{rows}---\n{parts[2]}"


def deploy(page: str, space: str, *, variables: dict[str, str], private: bool = False, zero_gpu: bool = False) -> str:
    """Make or renew a Space; returns its address. The token comes from the environment or `hf auth login`.

    variables : set on the Space before its files arrive, because the files start it

    Raises
    ------
    CantowhisperError : a model that the Space cannot run, no token, no right to write there, no network
    """
    from huggingface_hub import HfApi

    api = HfApi()
    require_models(api, variables.values(), page=page, zero_gpu=zero_gpu)
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(page, Path(folder) / "space", models=list(variables.values()), zero_gpu=zero_gpu)
        kind = {"repo_type": "space", "space_sdk": "gradio"}
        if zero_gpu:
            kind["space_hardware"] = ZERO_GPU_HARDWARE
        with hub_errors("cannot deploy to", space):
            address = _make(api, space, private=private, **kind)
            for name, value in variables.items():
                api.add_space_variable(space, name, value)
            # One commit for everything; what an earlier version had and this one has not goes with it.
            api.upload_folder(
                repo_id=space,
                repo_type="space",
                folder_path=bundle,
                delete_patterns="*",
                commit_message=f"cantowhisper {cantowhisper.__version__}: {page} page",
            )
    return str(address)


def _make(api, space: str, **how) -> str:
    """Make the Space, unless it is there.

    Raises
    ------
    CantowhisperError : the account has to pay for one of this kind
    """
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return api.create_repo(space, exist_ok=True, **how)
    except HfHubHTTPError as error:
        if getattr(error.response, "status_code", None) != 402:
            raise
        zero_gpu = "space_hardware" in how
        advice = "free accounts have two" if zero_gpu else "free accounts get two on ZeroGPU: add --zero-gpu"
        raise CantowhisperError(f"the Hub makes {space} of this kind for PRO accounts only; {advice}") from error
