"""Both pages look alike: one theme and one style for what they share."""

import re

import pytest

from cantowhisper.contracts import ModelFacts
from cantowhisper.repository import load_page

pytest.importorskip("gradio")

from cantowhisper.serving.offline.service import Service
from cantowhisper.serving.theme import SHARED_STYLE


class Silent:
    facts, languages = ModelFacts(), ["yue"]


@pytest.fixture(scope="module")
def looks() -> list[dict]:
    """What each page is launched with."""
    return [load_page("offline").launch_options(Service(Silent())), load_page("online").launch_options()]


def selectors(style: str) -> set[str]:
    rules = re.sub(r"/\*.*?\*/|@media[^{]*{", "", style, flags=re.DOTALL)
    return {one.strip() for names in re.findall(r"([^{}]+){", rules) for one in names.split(",")}


def test_the_pages_share_theme_and_style(looks):
    offline, online = looks
    assert offline["theme"]._get_theme_css() == online["theme"]._get_theme_css()
    assert offline["css_paths"][0] == online["css_paths"][0] == SHARED_STYLE
    assert all(path.is_file() for look in looks for path in look["css_paths"])


def test_no_rule_stands_in_two_files(looks):
    shared, *own = [
        selectors(path.read_text(encoding="utf-8"))
        for path in {path: 0 for look in looks for path in look["css_paths"]}
    ]
    assert len(shared) > 10 and all(len(rules) > 10 for rules in own)
    twice = (own[0] & own[1]) | (shared & own[0]) | (shared & own[1])
    assert twice == {".gradio-container"}, "the width is all that may differ"
