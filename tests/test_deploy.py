"""The folder of a Space: complete by itself, nothing too much, and taken in one commit by a hub on loopback."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from loopback_hub import READER
from model_hub import connected_model_hub

from cantowhisper.cli import deploy
from cantowhisper.cli import main as cli
from cantowhisper.contracts import CantowhisperError

ROOT = Path(__file__).resolve().parents[1]
CHECKPOINT = {name: b"{}" for name in ("config.json", "tokenizer.json", "model.safetensors")}
BUILT = [page for page in deploy.PAGES if (ROOT / f"app_{page}" / "app.py").exists()]


@pytest.fixture(params=BUILT)
def bundle(request, tmp_path) -> Path:
    return deploy.write_bundle(request.param, tmp_path / "space", models=["me/model"])


def front_matter(card: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+): *(.*)$", card.split("---\n")[1], re.MULTILINE))


def test_the_bundle_imports_nothing_that_it_does_not_hold(bundle):
    for file in bundle.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                if name.startswith("cantowhisper."):
                    place = bundle / name.replace(".", "/")
                    assert place.is_dir() or place.with_suffix(".py").exists(), f"{file.name} imports {name}"


def test_the_package_in_the_bundle_is_found_from_its_own_folder(bundle):
    code = "import cantowhisper, cantowhisper.serving.recognizer; print(cantowhisper.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=bundle, capture_output=True, text=True, timeout=120)
    assert Path(done.stdout.strip()) == bundle / "cantowhisper" / "__init__.py", done.stderr


def test_the_card_configures_the_space(bundle):
    card = (bundle / "README.md").read_text(encoding="utf-8")
    facts = front_matter(card)
    assert facts["sdk"] == "gradio" and (bundle / facts["app_file"]).exists()
    assert len(facts["short_description"]) <= 60
    assert "models:\n- me/model\n---\n" in card
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert f"gradio=={facts['sdk_version']}" in pins, "the Space runs the Gradio that the tests run with"


def test_requirements_are_pinned_to_the_tested_set_and_hold_no_torch(bundle):
    lines = (bundle / "requirements.txt").read_text().splitlines()
    wanted = [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]
    tested = {line.lower() for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert [line for line in wanted if line.lower() not in tested] == []
    assert not any(line.startswith("torch") for line in wanted)


@pytest.mark.parametrize("page", BUILT)
def test_a_bundle_for_zero_gpu_brings_what_can_borrow_one(page, tmp_path):
    bundle = deploy.write_bundle(page, tmp_path / "space", models=["me/model"], zero_gpu=True)
    lines = (bundle / "requirements.txt").read_text().splitlines()
    plain = (ROOT / f"app_{page}" / "requirements.txt").read_text().splitlines()
    added = lines[len(plain) :]
    assert lines[: len(plain)] == plain and any(line.startswith("spaces==") for line in added)
    assert any(line.startswith("torch==") for line in added) == (page == "offline"), "the live page runs on the CPU"
    tested = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in added if line not in tested and not line.startswith("torch==")] == []


def test_the_bundle_holds_no_litter(bundle):
    litter = [f for f in bundle.rglob("*") if f.name.startswith(".") or f.suffix in (".pyc", ".part")]
    assert litter == [] and (bundle / "LICENSE").exists()
    assert not (bundle / "cantowhisper" / "training").exists()


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CantowhisperError, match="not empty"):
        deploy.write_bundle(BUILT[0], tmp_path, models=["me/model"])
    assert [f.name for f in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("wrong", [["noslash", "--model", "me/model"], ["me/page", "--model", "../model"]])
def test_names_are_checked_before_anything_happens(wrong, capsys):
    assert cli.main(["deploy", BUILT[0], *wrong]) == 2
    assert "no Hub id" in capsys.readouterr().err


def test_the_command_writes_the_bundle(tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["deploy", BUILT[0], "me/page", "--model", "me/model", "--bundle", str(out)]) == 0
    assert (out / "app.py").exists() and capsys.readouterr().out.strip() == str(out)


@pytest.fixture
def hub(monkeypatch):
    with connected_model_hub(monkeypatch) as server:
        for model in ("me/model", "me/first", "me/second", "openai/whisper-small"):
            server.add(model, CHECKPOINT)
        yield server


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("page", BUILT)
@pytest.mark.parametrize("options", [[], ["--private"], ["--zero-gpu", "--base-model", "openai/whisper-small"]])
def test_a_space_is_made_as_it_was_asked_for(hub, page, options, tmp_path, capsys):
    assert cli.main(["deploy", page, "me/page", "--model", "me/model", *options]) == 0
    assert capsys.readouterr().out.strip() == f"{hub.url}/spaces/me/page"
    (asked,) = hub.created
    space, zero_gpu, models = hub.repos["me/page"], "--zero-gpu" in options, {"MODEL_ID": "me/model"}
    assert (asked["type"], asked["sdk"], space.private) == ("space", "gradio", "--private" in options)
    assert asked.get("hardware") == (deploy.ZERO_GPU_HARDWARE if zero_gpu else None)
    if "--base-model" in options:
        models["BASE_MODEL_ID"] = "openai/whisper-small"
    assert {name: variable["value"] for name, variable in space.variables.items()} == models
    bundle = deploy.write_bundle(page, tmp_path / "space", models=list(models.values()), zero_gpu=zero_gpu)
    assert space.files == files_of(bundle)


def test_a_space_that_is_there_is_renewed_whole_in_one_commit_after_its_variables(hub, capsys):
    space = hub.add("me/page", {"old.py": b"print()", "cantowhisper/training/old.py": b"", "app.py": b"old"})
    for n, model in enumerate(["me/first", "me/second"], start=1):
        assert cli.main(["deploy", BUILT[0], "me/page", "--model", model]) == 0
        assert space.commits == n and space.variables["MODEL_ID"] == {"value": model, "before_commit": n}
        assert f"models:\n- {model}\n---".encode() in space.files["README.md"]
        assert space.files["app.py"] == (ROOT / f"app_{BUILT[0]}" / "app.py").read_bytes()
        assert not any("old.py" in path for path in space.files), "a Space would still import it"
    capsys.readouterr()


def test_a_free_account_is_told_of_zero_gpu(hub, capsys):
    hub.wants_pro = True
    assert cli.main(["deploy", BUILT[0], "me/page", "--model", "me/model"]) == 1
    said = capsys.readouterr().err
    assert "PRO accounts only" in said and "--zero-gpu" in said and said.count("\n") == 1 and "me/page" not in hub.repos
    assert cli.main(["deploy", BUILT[0], "me/page", "--model", "me/model", "--zero-gpu"]) == 0


def test_without_the_right_to_write_the_space_stays_as_it_is(hub, monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", READER)
    space = hub.add("me/page", {"app.py": b"old"})
    assert cli.main(["deploy", BUILT[0], "me/page", "--model", "me/model"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "me/page" in said and "token" in said
    assert (space.files, space.variables) == ({"app.py": b"old"}, {})


def test_without_a_hub_the_error_is_one_line(tmp_path):
    """The Hub's address is read when huggingface_hub is imported, hence a process of its own."""
    command = [sys.executable, "-m", "cantowhisper.cli", "deploy", BUILT[0], "me/page", "--model", "me/model"]
    settings = {"PATH": "", "HF_ENDPOINT": "http://127.0.0.1:9", "HF_TOKEN": "hf_none", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        command, cwd=ROOT, env={**settings, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "me/model" in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("files", "options", "says"),
    [
        (["config.json", "tokenizer.json", "pytorch_model.bin"], [], "old format"),
        (["README.md"], [], "neither an export nor weights"),
        (["config.json", "model.safetensors"], [], "no tokenizer.json"),
        (["tokenizer.json", "model.safetensors"], [], "no config.json"),
        (["onnx/encoder.onnx", "onnx/decoder.onnx", "onnx/tokenizer.json"], ["--zero-gpu"], "no weights"),
        (["config.json", "tokenizer.json", "pytorch_model.bin"], ["--zero-gpu"], ""),
        (["onnx/encoder.onnx", "onnx/decoder.onnx", "onnx/tokenizer.json"], [], ""),
        (["config.json", "tokenizer.json", "model-00001-of-00002.safetensors"], [], ""),
    ],
)
def test_a_model_that_the_space_cannot_run_is_told_before_the_upload(hub, files, options, says, capsys):
    hub.add("me/other", {name: b"{}" for name in files})
    code = cli.main(["deploy", "offline", "me/page", "--model", "me/model", "--base-model", "me/other", *options])
    said = capsys.readouterr().err
    assert code == (1 if says else 0), said
    if says:
        assert "cannot run me/other" in said and says in said and said.count("\n") == 1
        assert "me/page" not in hub.repos, "nothing was made"


def test_a_model_that_is_not_there_or_private_is_told(hub, capsys):
    assert cli.main(["deploy", "online", "me/page", "--model", "me/none"]) == 1
    assert "me/none: there is no such repository" in capsys.readouterr().err and "me/page" not in hub.repos
    hub.add("me/secret", CHECKPOINT).private = True
    assert cli.main(["deploy", "online", "me/page", "--model", "me/secret"]) == 0
    assert "me/secret is private" in capsys.readouterr().err
