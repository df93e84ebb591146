"""README and docs/ are true: their links, commands, options, limits, environment variables, files and figures."""

import contextlib
import dataclasses
import io
import itertools
import re
import shlex
from pathlib import Path

import pytest

from benchmarks.readme import PAGES, RENDERERS, RESULTS, render
from cantowhisper.cli.main import parser
from cantowhisper.features.config import FeatureConfig
from cantowhisper.features.sources.open import OPTIONS, parse
from cantowhisper.serving.captions.rules import RULES, CaptionRules
from cantowhisper.serving.live.engine import LiveLimits
from cantowhisper.serving.offline.limits import Limits
from cantowhisper.serving.web.language import QUERY
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.presets import PRESETS

ROOT = Path(__file__).resolve().parents[1]
README, CHINESE = ROOT / "README.md", ROOT / "README.zh-HK.md"
OTHERS = [ROOT / "CONTRIBUTING.md", ROOT / "app_offline/README.md", ROOT / "app_online/README.md"]
DOCUMENTS = [*PAGES, *OTHERS]
NAMES = [str(path.relative_to(ROOT)) for path in DOCUMENTS]
BRANCH = "https://github.com/cantowhisper/cantowhisper/blob/main/"


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def lines_of_code(text: str) -> list[str]:
    """The lines of all ```sh blocks, joined where they go on, without comments."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in (re.sub(r"(^|\s)#.*", "", line).strip() for line in lines) if line]


def inline(text: str) -> list[str]:
    """What stands in `backticks` outside of blocks of code."""
    return re.findall(r"`([^`]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def commands(text: str) -> list[list[str]]:
    """The words of every command of ours, in blocks and in backticks (there only whole ones, with their operands)."""
    lines = [part.strip() for line in lines_of_code(text) for part in line.split("&&")]
    lines = [re.sub(r"^(\w+=\S+ )+", "", line) for line in lines]
    return [shlex.split(line)[1:] for line in lines if line.startswith("cantowhisper ")]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def all_options() -> set[str]:
    """The long options of every command."""
    found, waiting = set(), [parser()]
    while waiting:
        for action in waiting.pop()._actions:
            found |= {option for option in action.option_strings if option.startswith("--")}
            if isinstance(action.choices, dict):
                waiting += action.choices.values()
    for limits in (Limits, LiveLimits):
        found |= {"--" + field.name.replace("_", "-") for field in dataclasses.fields(limits)}
    return found | {"--host", "--port", "--base", "--threads", "--root-path", "--trusted-proxies", "--files"}


# ------------------------------------------------------------------------------------------------------ front door


def test_readme_is_short_and_begins_with_a_command():
    text = read(README)
    assert len(text.split()) <= 1000
    first = next(i for i, line in enumerate(text.splitlines(), 1) if line.startswith("git clone "))
    assert first <= 40
    assert "SenseVoice-small" in text.split("## Limits")[1].split("\n- ")[1]


def test_every_command_is_documented():
    (choices,) = (action.choices for action in parser()._actions if isinstance(action.choices, dict))
    shown = {words[0] for page in PAGES for words in commands(read(page)) if words}
    shown |= {words[1] for page in PAGES for text in inline(read(page)) if (words := text.split())[0] == "cantowhisper"}
    assert set(choices) - shown == {"demo"}  # which is what `make demo` runs
    assert "make demo" in read(README)


def test_the_chinese_readme_says_the_same():
    english, chinese = read(README), read(CHINESE)
    assert lines_of_code(english) == lines_of_code(chinese)
    assert re.findall(r"^#+", english, re.MULTILINE) == re.findall(r"^#+", chinese, re.MULTILINE)
    links = [set(re.findall(r"\]\(([^)]+)\)", text)) for text in (english, chinese)]
    assert links[0] - {"README.zh-HK.md"} == links[1] - {"README.md"}
    assert [english.count(mark) for mark in ("\n- ", "\n|", "-->")] == [
        chinese.count(mark) for mark in ("\n- ", "\n|", "-->")
    ]


# -------------------------------------------------------------------------------------------------- what they name


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_somewhere(name):
    page = ROOT / name
    for link in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        if link.startswith("http"):
            blob = re.sub(
                r"^https://(colab\.research\.google\.com/github/|kaggle\.com/kernels/welcome\?src=)", "", link
            )
            blob = blob if blob.startswith("http") else f"https://github.com/{blob}"
            assert link.startswith("https://")
            assert not blob.startswith(BRANCH) or (ROOT / blob.removeprefix(BRANCH)).is_file(), link
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        assert not anchor or anchor in anchors(read(path)), link


@pytest.mark.parametrize("name", NAMES)
def test_commands_parse(name):
    for words in commands(read(ROOT / name)):
        complaint = io.StringIO()
        with contextlib.redirect_stderr(complaint):
            try:
                parser().parse_args([word.replace("MODEL", "model") for word in words])
            except SystemExit:
                pytest.fail(f"cantowhisper {' '.join(words)}: {complaint.getvalue()}")
        if words[0] == "features":
            assert parse(words[1])
        for given, value in itertools.pairwise(words):
            if given == "--preset":
                assert value in PRESETS


@pytest.mark.parametrize("name", NAMES)
def test_options_exist(name):
    text = read(ROOT / name)
    ours = [line for line in lines_of_code(text) if "accelerate launch" not in line and "cantowhisper" in line]
    shown = [word for line in ours for word in line.split()]
    shown += [word for code in inline(text) if "accelerate" not in code for word in code.split()]
    shown = {match[0] for word in shown if (match := re.match(r"--[a-z][a-z-]+(?=[=`.,)]|$)", word))}
    benchmark = {"--machine-rank"}  # an option of accelerate
    assert shown - all_options() <= benchmark | {"--no-deps", "--machine_rank", "--quiet"}


@pytest.mark.parametrize("name", NAMES)
def test_settings_exist_and_take_their_values(name):
    text = read(ROOT / name)
    fields = {field.name for config in (TrainConfig, FeatureConfig) for field in dataclasses.fields(config)}
    known = fields | set(OPTIONS) | {"stream", "OPEN", "PYTHON", "SOURCE", "MODEL", QUERY}
    for code in inline(text):
        for key, value in re.findall(r"\b([a-z_]{4,}|OPEN)=([\w.@,/:-]*)", code):
            assert key in known or key.isupper(), f"{key}={value}"
            if key in {field.name for field in dataclasses.fields(TrainConfig)} and value:
                TrainConfig().with_overrides(**TrainConfig.read([f"{key}={value}"]))


@pytest.mark.parametrize("name", NAMES)
def test_environment_variables_are_read_somewhere(name):
    sources = [*ROOT.glob("cantowhisper/**/*.py"), *ROOT.glob("whisper_*.py"), *ROOT.glob("app_*/app.py")]
    sources += [*ROOT.glob("benchmarks/*.py"), *ROOT.glob("tests/*.py")]
    code = "\n".join(read(path) for path in sources)
    limits = {f"CANTOWHISPER_{f.name.upper()}" for kind in (Limits, LiveLimits) for f in dataclasses.fields(kind)}
    text = read(ROOT / name)
    for variable in set(re.findall(r"\b((?:CANTOWHISPER|REAL|RAY|MDC|HF)_[A-Z_]*[A-Z])\b", text)):
        assert variable in limits or re.search(rf'["\'{{]{variable}["\'\]]|{variable}', code), variable


@pytest.mark.parametrize("name", NAMES)
def test_files_exist(name):
    text = read(ROOT / name)
    for path in re.findall(r"(?<![\w/.])((?:cantowhisper|tests|benchmarks|samples|app_\w+)/[\w./]+\w)", text):
        assert (ROOT / path).exists(), path
    for module in re.findall(r"python -m (benchmarks\.\w+)", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


def test_the_map_of_the_package_names_what_is_there():
    block = re.search(r"```\n(whisper_feature.*?)```", read(ROOT / "docs/extending.md"), re.DOTALL)[1]
    folder = ROOT
    for line in block.splitlines():
        indent, names = len(line) - len(line.lstrip()), re.split(r" {2,}", line.strip())[0].split()
        names = [name for name in names if re.fullmatch(r"[\w.]+(/|\.\w+)", name)]
        if indent == 2:
            folder = ROOT / "cantowhisper"
        base = {0: ROOT, 2: ROOT / "cantowhisper"}.get(indent, folder)
        assert names and all((base / name).exists() for name in names), line
        folder = base / names[0] if indent == 2 else folder
    packages = {path.parent.name for path in (ROOT / "cantowhisper").glob("*/__init__.py")}
    assert packages <= set(re.findall(r"(\w+)/", block))


@pytest.mark.parametrize("page", ["app_offline", "app_online"])
def test_tables_of_limits_have_the_defaults(page):
    limits = (Limits if page == "app_offline" else LiveLimits)()
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", read(ROOT / page / "README.md"), re.MULTILINE)
    assert {name: float(value.replace(",", "")) for name, value in rows} == {
        field.name: float(getattr(limits, field.name)) for field in dataclasses.fields(limits)
    }


def test_the_table_of_captions_has_the_limits_of_every_script():
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|$", read(ROOT / "docs/serving.md"), re.MULTILINE)
    told = {name: [float(cell) for cell in cells.split(" | ")[:-1]] for name, cells in rows}
    scripts = [RULES[name] for name in ("chinese", "japanese", "korean", "other")]
    limits = [field.name for field in dataclasses.fields(CaptionRules) if field.name != "full_width"]
    assert told == {name: [float(getattr(kept, name)) for kept in scripts] for name in limits}
    assert [kept.full_width for kept in scripts] == [True, True, True, False]


def test_targets_of_make_exist():
    targets = set(re.findall(r"^([a-z-]+):", read(ROOT / "Makefile"), re.MULTILINE))
    for page in DOCUMENTS:
        lines = [code for code in inline(read(page)) + lines_of_code(read(page)) if code.startswith("make ")]
        for line in lines:
            assert {word for word in line.split()[1:] if "=" not in word} <= targets, line


# --------------------------------------------------------------------------------------------------------- figures


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_figures_are_those_of_the_results(page):
    assert render(read(page)) == read(page)


def test_every_result_is_shown():
    shown = {name for page in PAGES for name in re.findall(r"<!-- ([\w.]+):begin -->", read(page))}
    assert set(RENDERERS) <= shown
    assert {path.stem for path in RESULTS.glob("*.json")} <= {name.partition(".")[0] for name in shown}
