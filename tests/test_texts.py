"""The catalogue of what the pages say: whole in each language, used, and the only place of such texts."""

import ast
import copy
import json
import pickle
import re
from pathlib import Path
from string import Formatter

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from tongues import HAN, foreign

from cantowhisper.contracts import UsageError
from cantowhisper.serving.texts.say import CATALOGUES, LANGUAGES, TEXTS, Say, Told, how_long, said, script_of
from cantowhisper.serving.web.language import InLanguage, language_of
from cantowhisper.serving.web.refusal import Refusal

ROOT = Path(__file__).resolve().parents[1]
SERVING = ROOT / "cantowhisper" / "serving"
PYTHON = [file for file in SERVING.rglob("*.py") if file.parent.name != "texts"] + sorted(ROOT.glob("app_*/app.py"))
AUDIO = ROOT / "cantowhisper" / "speech" / "audio.py"  # has the reasons for which a recording is refused
SCRIPTS = [file for kind in ("js", "html", "css") for file in ROOT.glob(f"app_*/*.{kind}")]
# Characters that are no words for visitors: those at which lines break, and what models invent.
NOT_TOLD = {"breaks.py", "rules.py", "turns.py", "hallucination.py", "glossary.py"}


def test_every_text_is_there_once_in_each_language_and_in_no_other():
    keys = [key for catalogue in CATALOGUES for key in catalogue.TEXTS]
    assert len(keys) == len(set(keys)) == len(TEXTS) > 100
    for key, texts in TEXTS.items():
        assert list(texts) == list(LANGUAGES) and all(text.strip() for text in texts.values()), key
        for language, text in texts.items():
            words = "".join(literal for literal, *_ in Formatter().parse(text))
            assert not foreign(words, language), (key, language, foreign(words, language))


def test_languages_are_told_apart():
    assert foreign("轉緊文字 Done", "zh-HK") == "Done" and foreign("轉緊文字", "en") == "轉緊文字"
    assert foreign("转文字", "zh-HK") == "转" and foreign("转文字，請等", "zh-CN") == "請" and foreign("唔好", "zh-CN")


def test_places_for_values_are_the_same_in_each_language():
    for key, texts in TEXTS.items():
        places = {frozenset(name for _, name, _, _ in Formatter().parse(text) if name) for text in texts.values()}
        assert len(places) == 1, key


def test_every_text_is_used():
    sources = "\n".join(file.read_text(encoding="utf-8") for file in (*PYTHON, *SCRIPTS, AUDIO))
    families = {found for found in re.findall(r"[`\"']([a-z.]+\.)\$?{", sources) if found.count(".") <= 2}

    def used(key: str) -> bool:
        if re.search(rf"[\"'`]{re.escape(key)}[\"'`]", sources):
            return True
        family, _, last = key.rpartition(".")
        # One of several that are chosen by a name, which stands in the sources, too.
        return f"{family}." in families and bool(re.search(rf"\b{re.escape(last)}\b", sources))

    assert [key for key in TEXTS if not used(key)] == []


def literals(file: Path) -> list[str]:
    """What a file can show: strings of Python that are no docstrings, scripts and styles without comments."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        return [re.sub(r"/\*.*?\*/|(?m:^\s*//.*$)|(?m:\s// .*$)", "", text, flags=re.DOTALL)]
    tree = ast.parse(text)
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    strings = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    return [node.value for node in strings if id(node) not in alone]


def test_chinese_stands_in_the_catalogue_alone():
    files = [file for file in (*PYTHON, *SCRIPTS) if file.name not in NOT_TOLD]
    assert len(files) > 60 and len(SCRIPTS) > 8
    left = {file.name: text for file in files for text in literals(file) if HAN.search(text)}
    assert left == {}


def test_a_told_text_is_english_for_programs_and_anything_for_people():
    text = said("rows.wrong_row", number=3, fault=said("rows.no_number", what="end_s"))
    assert text == "Row 3: end_s is no number." == json.loads(json.dumps(text))
    assert Say("zh-HK").of({"error": [text, 1]}) == {"error": ["第 3 行：end_s 唔係數字。", 1]}
    for kept in (str(text), copy.deepcopy(text), pickle.loads(pickle.dumps(text)), str(UsageError(text))):
        assert Say("zh-CN").of(kept) == "第 3 行：end_s 不是数字。"
    assert type(Say("en").of(text)) is str and Say("xx") == Say("en")
    assert Refusal(text).response("zh-HK").body.decode() == "第 3 行：end_s 唔係數字。"
    assert Refusal(text).response().body.decode() == text
    assert (
        "<" not in script_of(CATALOGUES, Say("zh-HK")).split(";\nconst")[0] and Told(lambda say: say.language) == "en"
    )


@pytest.mark.parametrize(
    ("query", "cookie", "accept", "language"),
    [
        ("", "", "zh-HK,zh;q=0.9,en;q=0.8", "zh-HK"),
        ("", "", "zh;q=0.5,en;q=0.8", "en"),
        ("", "", "fr-FR,fr;q=0.9,zh-Hans-SG;q=0.5", "zh-CN"),
        ("", "", "de,*;q=0.5,;q=x", "en"),
        ("", "", "", "en"),
        ("", "a=b; cantowhisper_lang=zh-CN", "en", "zh-CN"),
        ("", "cantowhisper_lang=tlh", "zh-TW", "zh-HK"),
        ("", 'cantowhisper_lang="', "zh-TW", "zh-HK"),
        ("lang=en", "cantowhisper_lang=zh-CN", "zh-TW", "en"),
        ("lang=<script>", "cantowhisper_lang=zh-CN", "zh-TW", "zh-CN"),
    ],
)
def test_the_address_comes_before_the_choice_and_that_before_the_browser(query, cookie, accept, language):
    headers = [(b"cookie", cookie.encode()), (b"accept-language", accept.encode())]
    scope = {"type": "http", "path": "/", "query_string": query.encode(), "headers": headers}
    assert language_of(HTTPConnection(scope)) == language


def test_a_page_is_marked_on_its_way_and_the_choice_is_remembered():
    html = lambda request: HTMLResponse('<html\n\tlang="en"><head></head>é</html>')
    routes = [Route("/", html), Route("/other", html)]
    with TestClient(Starlette(routes=routes, middleware=[Middleware(InLanguage)])) as http:
        first = http.get("/", headers={"Accept-Language": "zh-HK"})
        assert first.text.startswith('<html\n\tlang="zh-HK"><head><script>') and first.text.endswith("</head>é</html>")
        assert '["zh-HK", "zh-TW"]' in first.text and "set-cookie" not in first.headers
        assert first.headers["content-language"] == "zh-HK" and "Accept-Language" in first.headers["vary"]
        head = http.head("/", headers={"Accept-Language": "zh-HK"})
        assert head.headers["content-length"] == first.headers["content-length"] == str(len(first.content))
        assert "SameSite=Lax" in http.get("/?lang=zh-CN").headers["set-cookie"]
        assert http.get("/", headers={"Accept-Language": "zh-HK"}).headers["content-language"] == "zh-CN"
        assert http.get("/other").text.startswith('<html\n\tlang="en"><head></head>')
        over_https = http.get("https://testserver/?lang=en").headers["set-cookie"]
        assert "cantowhisper_lang=en" in over_https and "SameSite=None; Secure; Partitioned" in over_https


@pytest.mark.parametrize(("seconds", "text"), [(20, "20 秒"), (1800, "30 分鐘"), (5400, "1.5 小時"), (7200, "2 小時")])
def test_a_duration_has_the_unit_that_a_reader_would_choose(seconds, text):
    assert how_long(seconds, Say("zh-HK")) == text
