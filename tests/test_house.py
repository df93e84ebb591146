"""The shape of the package: no import circles, folders and files and functions that can be taken in at a glance."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "cantowhisper"
FILES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted(ROOT.glob("*.py"))  # the notebooks
PROGRAMS = sorted(
    file for folder in ("app_offline", "app_online", "benchmarks", "samples") for file in ROOT.glob(f"{folder}/*.py")
)
MAX_FILES, MAX_LINES, MAX_FUNCTION_LINES = 12, 300, 60


def module_of(file: Path) -> str:
    return ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def imports_of(file: Path, modules: set[str]) -> set[str]:
    """Modules of the package that a file imports, in functions too: such a call comes back in a circle as well."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inside = {f"{node.module}.{alias.name}" for alias in node.names} & modules
            found |= inside or {node.module}
    return found & modules - {module_of(file)}


def circles(graph: dict[str, set[str]]) -> list[str]:
    """What is left when modules that import nothing that is left are taken away, again and again."""
    left = dict(graph)
    while leaves := [name for name, others in left.items() if not others & left.keys()]:
        for name in leaves:
            del left[name]
    return sorted(left)


def test_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["a", "b", "c"]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_no_modules_import_each_other_in_a_circle():
    modules = {module_of(file) for file in FILES}
    graph = {module_of(file): imports_of(file, modules) for file in FILES}
    assert sum(map(len, graph.values())) > len(modules), "the imports were read"
    assert circles(graph) == []


@pytest.mark.parametrize("folder", sorted({file.parent for file in FILES}), ids=lambda f: module_of(f / "__init__.py"))
def test_a_folder_holds_few_files(folder):
    names = [file.name for file in folder.glob("*.py") if file.name not in ("__init__.py", "__main__.py")]
    assert len(names) <= MAX_FILES, f"{folder.name} holds {len(names)}: {', '.join(sorted(names))}"


def test_files_and_functions_are_short():
    assert SCRIPTS and PROGRAMS, "they are checked too"
    long = []
    for file in (*FILES, *SCRIPTS, *PROGRAMS):
        text = file.read_text(encoding="utf-8")
        if text.count("\n") > MAX_LINES:
            long.append(f"{module_of(file)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = node.end_lineno - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    long.append(f"{module_of(file)}.{node.name}: {lines} lines")
    assert not long, "; ".join(long)
