"""The rooms of the house: who may import whom, and what serving does without."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "cantowhisper"
MAY_IMPORT = {
    "speech": {"contracts"},
    "export": {"contracts"},
    "features": {"contracts", "files", "hub_errors", "options", "repository", "speech"},
    "training": {"contracts", "export", "files", "hub_errors", "options", "speech"},
    "serving": {"contracts", "export", "files", "hub_errors", "options", "speech"},
    "curation": {"contracts", "features", "files", "hub_errors", "serving", "speech", "training"},
    "studies": {"contracts", "curation", "features", "files", "options", "speech", "training"},
}
HEAVY = ("torch", "transformers", "librosa", "datasets", "evaluate")


def imported_rooms(file: Path) -> set[str]:
    """First names under `cantowhisper` that a file imports, wherever in it the import stands."""
    rooms = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: imports are written in full, so that this test can read them"
            names = [alias.name for alias in node.names]
            modules = [f"{node.module}.{name}" for name in names] if node.module == "cantowhisper" else [node.module]
        else:
            continue
        rooms |= {module.split(".")[1] for module in modules if module.startswith("cantowhisper.")}
    return rooms - {"__version__"}


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_comes_before_it(room):
    files = sorted((PACKAGE / room).rglob("*.py"))
    assert files
    for file in files:
        outside = imported_rooms(file) - {room} - MAY_IMPORT[room]
        assert not outside, f"{file.relative_to(PACKAGE)} imports {', '.join(sorted(outside))}"


@pytest.mark.parametrize(
    ("file", "others"),
    [
        ("files", set()),
        ("contracts", {"files"}),
        ("hub_errors", {"contracts"}),
        ("options", {"contracts"}),
        ("repository", {"contracts"}),
    ],
)
def test_what_all_rooms_may_import_needs_none_of_them(file, others):
    assert imported_rooms(PACKAGE / f"{file}.py") <= others


def modules_loaded_by(statement: str) -> set[str]:
    """The HEAVY packages that a fresh interpreter has loaded after a statement."""
    code = f"import sys\n{statement}\nprint(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def module_names(room: str) -> list[str]:
    files = sorted((PACKAGE / room).rglob("[!_]*.py"))
    return [".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts) for file in files]


def test_serving_starts_without_torch():
    statement = "\n".join(f"import {name}" for name in ["cantowhisper.serving", *module_names("serving")])
    assert modules_loaded_by(statement) == set()


def test_speech_starts_without_torch():
    heavy = (".metric", ".torch_context", ".torch_search")  # on purpose, and never imported by the others when they are
    statement = "\n".join(f"import {name}" for name in module_names("speech") if not name.endswith(heavy))
    assert modules_loaded_by(statement) == set()


def test_features_import_torch_only_to_compute():
    assert modules_loaded_by("import cantowhisper.features.pipeline") <= {"datasets"}
