"""What the repository promises outside of its code: requirements, notebooks, workflow. Documents: test_documents.py."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import jupytext
import pytest
import yaml

from cantowhisper import __version__

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ("whisper_feature_pipeline", "whisper_training_pipeline")


def names(requirements) -> dict[str, str]:
    """Requirement lines by normalised package name."""
    lines = (re.sub(r"\s*#.*", "", line).strip() for line in requirements)
    split = (re.match(r"([A-Za-z0-9_.-]+)(\[[^]]*\])?(.*)", line) for line in lines if line)
    return {match[1].lower().replace("_", "-"): match[3].strip() for match in split}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_requirements_are_those_of_the_rooms():
    wanted = list(project()["dependencies"])
    for room in ("features", "training", "serving"):
        wanted += project()["optional-dependencies"][room]
    assert names((ROOT / "requirements.txt").read_text().splitlines()) == names(wanted)


def test_everything_required_is_pinned_in_constraints():
    pinned = names((ROOT / "constraints.txt").read_text().splitlines())
    extras = project()["optional-dependencies"]
    wanted = names(
        [*project()["dependencies"], *extras["features"], *extras["training"], *extras["serving"], *extras["dev"]]
    )
    assert not set(wanted) - set(pinned)
    assert all(bound.startswith("==") for bound in pinned.values())
    assert pinned["torch"] == "==2.13.0"  # the release whose CPU build is tested


# What a Colab machine has; none of it may have to be upgraded.
COLAB = {"transformers": "5.15", "datasets": "4.0", "huggingface-hub": "1.27", "torch": "2.11"}


@pytest.mark.parametrize("package", COLAB)
def test_what_colab_has_satisfies_the_bounds(package):
    from packaging.specifiers import SpecifierSet

    bound = names((ROOT / "requirements.txt").read_text().splitlines())[package]
    assert COLAB[package] in SpecifierSet(bound)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_and_script_hold_the_same_cells(name):
    notebook = jupytext.read(ROOT / f"{name}.ipynb")
    script = jupytext.read(ROOT / f"{name}.py")
    assert [(c.cell_type, c.source) for c in notebook.cells] == [(c.cell_type, c.source) for c in script.cells]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook_is_clean_and_cells_are_short(name):
    notebook = json.loads((ROOT / f"{name}.ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    assert max(len(cell["source"]) for cell in code) <= 25
    text = json.dumps(notebook)
    assert not re.search(r'"/(home|root|content|tmp|work)/', text)
    assert sum("parameters" in cell["metadata"].get("tags", []) for cell in code) == 1


@pytest.mark.skipif(not shutil.which("make"), reason="make is not installed")
def test_make_alone_lists_every_target_in_a_line():
    alone, asked = (
        subprocess.run(["make", "--no-print-directory", *words], cwd=ROOT, capture_output=True, text=True, timeout=60)
        for words in ([], ["help"])
    )
    assert alone.returncode == 0 and alone.stdout == asked.stdout and not alone.stderr
    (phony,) = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert re.findall(r"^make (\S+) +\S", alone.stdout, re.MULTILINE) == phony.split()


def test_the_newest_changes_and_the_citation_are_of_this_version():
    newest = re.search(r"^## (\S+) \((\d{4}-\d\d-\d\d)\)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert newest.groups() == (__version__, str(cited["date-released"]))
    assert cited["version"] == __version__ and cited["license"] == project()["license"]


def test_the_workflow_runs_on_every_supported_python_with_few_rights():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text("utf-8"))
    versions = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    first, after = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", project()["requires-python"]).groups()
    assert versions == [f"3.{minor}" for minor in range(int(first), int(after))]
    assert workflow["permissions"] == {"contents": "read"}


def test_a_report_of_a_fault_holds_the_traceback():
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "bug.yml").read_text("utf-8"))
    (field,) = [field for field in form["body"] if "--debug" in field["attributes"]["label"]]
    assert field["validations"]["required"]
