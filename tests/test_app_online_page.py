"""What the live page tells, keeps and looks like, in a real browser; most of it without a microphone."""

import re
from pathlib import Path

import numpy as np
import pytest
from browser import PHONE, browser, chromium, serving, visit
from contrast import CONTRASTS, low
from test_app_online import (  # noqa: F401
    Listening,
    Scripted,
    app,
    engine,
    microphone,
    new_engine,
    sent,
    source,
    start,
    stop,
    url,
)
from tongues import strangers

from cantowhisper.contracts import ModelFacts
from cantowhisper.serving.live.engine import LiveLimits
from cantowhisper.speech.mel import SAMPLE_RATE

SAID = ["今日街市啲菜好靚。", "阿芳飲奶茶，媽媽飲咖啡。", "張太今日買咗三條魚"]
# Two lines that are done and one that goes on, in Cantonese, as the server would tell it.
FILL = """(said) => {
  const { transcript, show } = cantowhisperLive();
  const events = said.flatMap((text, i) => [
    { start_s: 4 * i, before: "\\n", language: "yue" }, { text }, { end_s: 4 * i + 3 },
  ]).slice(0, -1);
  show({ events, tentative: "同埋兩斤菜心", language: "yue", language_name: "Cantonese", detected: true, lag_s: 2,
    usual_s: 1.2, level: "longer_step", gaps: [] });
}"""


@pytest.fixture(scope="module")
def chrome():
    chromium()
    with browser() as launched:
        yield launched


@pytest.fixture(scope="module")
def still(app):
    """The address of a page into which nobody speaks."""
    engine = new_engine()
    with serving(app.build_page(engine.recognizer, engine=engine), **app.launch_options()) as address:
        yield address + "?raw"
    engine.close()


@pytest.fixture
def tab(chrome, still):
    with visit(chrome, still) as opened:
        yield opened


def answer_dialogs(tab) -> list[str]:
    """Agree to leave whenever the page asks; the kinds of what was asked."""
    asked: list[str] = []
    tab.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.accept()))
    return asked


def shown(tab, name: str) -> str:
    return tab.locator(f"#live-{name}").inner_text()


# ------------------------------------------------------------------------------------------------------------- keep


def test_text_outlives_a_reload_and_a_look_at_another_page_until_it_is_cleared(tab):
    asked = answer_dialogs(tab)
    tab.locator("#live-times").check()  # a browser asks only whom has touched the page
    tab.reload()
    assert asked == [], "there is nothing to lose yet"
    tab.locator("#live-times").check()
    tab.evaluate(FILL, SAID)
    text = "".join(SAID) + "同埋兩斤菜心"
    tab.reload()
    assert asked == ["beforeunload"]
    tab.locator(".live[data-state=idle]").wait_for()
    assert shown(tab, "committed").replace("\n", "") == text, "text that was not final is kept as it was"
    assert "Clear" in shown(tab, "state") and tab.locator("#live-clear").is_enabled()
    assert tab.locator("#live-committed span").first.get_attribute("lang") == "zh-HK"
    rows = tab.evaluate("cantowhisperLive().transcript.rows()")
    assert [row["text"] for row in rows] == [*SAID[:2], SAID[2] + "同埋兩斤菜心"] and rows[0]["language"] == "yue"
    tab.goto("about:blank")
    tab.go_back()
    tab.locator("#live-committed span").first.wait_for()
    assert shown(tab, "committed").replace("\n", "") == text
    tab.locator("#live-clear").click()
    del asked[:]
    tab.reload()
    tab.locator(".live.empty").wait_for()
    assert asked == [] and shown(tab, "committed") == ""


def test_names_and_terms_outlive_a_reload_and_another_language(tab):
    tab.locator("#live-words").fill("深水埗\n陳大文")
    tab.reload()
    tab.wait_for_function("document.querySelector('#live-words')?.value === '深水埗\\n陳大文'")
    tab.locator(".languages a[lang=zh-HK]").click()
    tab.locator("html[lang=zh-HK]").wait_for()
    tab.wait_for_function("document.querySelector('#live-words')?.value === '深水埗\\n陳大文'")


def test_subtitles_come_from_the_server_and_plain_text_does_without_it(tab):
    answer_dialogs(tab)
    tab.evaluate(FILL, ["我哋今日去街市買餸之後返屋企，煮飯食然後一齊睇戲同埋飲茶", "<b>"])
    assert saved(tab, "srt").split("\n\n")[0].splitlines() == [
        "1",
        "00:00:00,000 --> 00:00:03,111",  # 28 characters at 9 a second
        "我哋今日去街市買餸之後返屋企，",
        "煮飯食然後一齊睇戲同埋飲茶",
    ]
    assert saved(tab, "vtt").startswith("WEBVTT\n\n00:00:00.000") and "&lt;b&gt;" in saved(tab, "vtt")
    tab.route("**/component_server/**", lambda route: route.abort())
    tab.locator("[data-format=srt]").click()
    tab.locator("#live-problem[data-problem=no_file]").wait_for()
    assert saved(tab, "txt").endswith("<b>\n")
    tab.unroute("**/component_server/**")
    assert "-->" in saved(tab, "srt") and tab.locator("#live-problem").is_hidden()


def saved(tab, name: str) -> str:
    with tab.expect_download() as download:
        tab.locator(f"[data-format={name}]").click()
    assert download.value.suggested_filename == f"live.{name}"
    return Path(download.value.path()).read_text("utf-8")


@pytest.mark.slow
def test_names_and_terms_go_with_the_session(url, engine, microphone):
    with browser(microphone=microphone) as launched, visit(launched, url) as tab:
        tab.locator("#live-words").fill("深水埗、陳大文\nAlice Wong")
        start(tab)
        tab.wait_for_function("cantowhisperLive().transport.session")
        (session,) = engine.sessions.values()
        assert session.words == ("深水埗", "陳大文", "Alice Wong") and tab.locator("#live-words").is_disabled()
        stop(tab)
        assert tab.locator("#live-words").is_enabled()


@pytest.mark.slow
def test_a_reload_in_the_middle_of_speech_keeps_the_text_and_the_next_recording_goes_on_after_it(
    url,
    engine,
    microphone,
):
    with browser(microphone=microphone) as launched, visit(launched, url) as tab:
        asked = answer_dialogs(tab)
        start(tab)
        tab.locator("#live-committed span").first.wait_for(timeout=60_000)
        before = shown(tab, "committed")
        tab.reload()
        assert asked == ["beforeunload"]
        tab.locator("#live-state[data-said=restored]").wait_for()
        assert shown(tab, "committed").startswith(before)
        assert engine.sessions == {}, "the place is free at once"
        kept, recorded = shown(tab, "committed"), tab.evaluate("cantowhisperLive().sound.total")
        start(tab)
        tab.wait_for_function(f"cantowhisperLive().sound.total >= {recorded + 3 * SAMPLE_RATE}", timeout=60_000)
        assert stop(tab).startswith(kept)
        assert engine.kept[list(engine.kept)[-1]][0][0] == recorded > 0, "times go on where the first recording ended"
        disabled = tab.locator(".time").evaluate_all("all => all.map((one) => one.disabled)")
        assert disabled[0], "what has no sound any more cannot be played"


@pytest.mark.slow
def test_times_are_played_by_keyboard_and_start_pauses_the_playback(url, microphone):
    with browser(microphone=microphone) as launched, visit(launched, url) as tab:
        answer_dialogs(tab)
        start(tab)
        tab.wait_for_function(f"cantowhisperLive().sound.total >= {5 * SAMPLE_RATE}", timeout=60_000)
        stop(tab)
        tab.locator("#live-times").check()
        tab.wait_for_function("document.querySelector('#live-playback').duration > 4")
        tab.locator("#live-paper").focus()
        tab.keyboard.press("Tab")
        assert tab.evaluate("document.activeElement.className") == "time"
        tab.keyboard.press("Enter")
        tab.wait_for_function("!document.querySelector('#live-playback').paused")
        start(tab)
        assert tab.evaluate("document.querySelector('#live-playback').paused")
        stop(tab)


# ------------------------------------------------------------------------------------------------------ say what is


@pytest.mark.slow
def test_at_the_time_limit_the_next_session_opens_by_itself_and_nothing_is_lost(app, microphone):
    engine = Listening(Scripted(), limits=LiveLimits(max_session_s=2.0, max_sessions=1))
    engine.kept = {}
    try:
        with (
            serving(app.build_page(engine.recognizer, engine=engine), **app.launch_options()) as address,
            browser(microphone=microphone) as launched,
            visit(launched, address + "?raw") as tab,
        ):
            answer_dialogs(tab)
            start(tab)
            tab.locator("#live-state[data-said=limit]").wait_for(timeout=60_000)
            tab.wait_for_function(f"cantowhisperLive().sound.total >= {5 * SAMPLE_RATE}", timeout=60_000)
            assert tab.locator(".live").get_attribute("data-state") == "running"
            assert tab.locator("#live-problem").is_hidden()
            text = stop(tab)
            whole, reached = sent(tab), 0
            assert len(engine.kept) >= 3
            for name, pieces in engine.kept.items():
                begin, received = pieces[0][0], engine.received(name)
                assert begin <= reached, "no sample is left out between two sessions"
                assert np.array_equal(received[begin:], whole[begin : received.size])
                reached = received.size
            assert reached == whole.size and len(text) >= 6
    finally:
        engine.close()


@pytest.mark.slow
def test_offline_the_lag_counts_on_and_the_alert_goes_with_its_reason(url, engine, microphone):
    late_s = lambda: int((re.search(r"(\d+) s behind", shown(tab, "lag")) or [0, 0])[1])
    with browser(microphone=microphone) as launched, visit(launched, url) as tab:
        answer_dialogs(tab)
        start(tab)
        tab.locator("#live-committed span").first.wait_for(timeout=60_000)
        tab.route("**/component_server/**", lambda route: route.abort())
        tab.locator("#live-problem[data-problem=offline]").wait_for()
        before = late_s()
        tab.wait_for_timeout(2500)
        assert late_s() >= before + 2, "no answer comes, and the page says how late it is"
        tab.unroute("**/component_server/**")
        tab.wait_for_function("document.querySelector('#live-lag').textContent.includes('up to date')", timeout=60_000)
        assert tab.locator("#live-problem").is_hidden()
        stop(tab)
        (name,) = engine.kept
        assert np.array_equal(engine.received(name), sent(tab))


@pytest.mark.slow
def test_who_stops_while_the_server_is_away_need_not_wait_for_it(url, microphone):
    with browser(microphone=microphone) as launched, visit(launched, url) as tab:
        answer_dialogs(tab)
        start(tab)
        tab.locator("#live-tentative:not(:empty)").wait_for(timeout=60_000)
        tab.route("**/component_server/**", lambda route: route.abort())
        tab.locator("#live-problem[data-problem=offline]").wait_for()
        last = shown(tab, "committed") + shown(tab, "tentative").strip()
        tab.locator("#live-go").evaluate("go => { go.click(); go.click(); }")
        assert "Don’t wait" in shown(tab, "go")
        assert tab.locator(".live").get_attribute("data-state") == "stopping", "a double click is no wish to go"
        tab.wait_for_timeout(1600)
        tab.locator("#live-go").click()
        tab.locator(".live[data-state=idle]").wait_for()
        assert shown(tab, "committed") == last and tab.locator("#live-problem").is_hidden()
        assert tab.locator("#live-playback").is_visible() and tab.locator("[data-format=srt]").is_enabled()


@pytest.mark.slow
def test_the_language_that_is_heard_is_said_and_marks_the_text(app, microphone):
    class Hears(Scripted):
        facts, n_heard, n_passes = ModelFacts(), 0, 0

        def decode(self, waveform, prefix="", *, language=None, attention=False):
            assert language == "<|yue|>"
            self.n_passes += 1
            return super().decode(waveform, prefix, language=language)

        def language_log_probs(self, waveform):
            self.n_heard += 1
            return {"<|en|>": -4.0, "<|yue|>": -0.03, "<|zh|>": -5.0}

    engine = Listening(Hears())
    engine.kept = {}
    try:
        with (
            serving(app.build_page(engine.recognizer, engine=engine), **app.launch_options()) as address,
            browser(microphone=microphone) as launched,
            visit(launched, address + "?raw") as tab,
        ):
            answer_dialogs(tab)
            start(tab)
            tab.wait_for_function(f"cantowhisperLive().sound.total >= {5 * SAMPLE_RATE}", timeout=60_000)
            assert shown(tab, "heard") == "Cantonese (detected)" and "(usually" in shown(tab, "lag")
            stop(tab)
            assert tab.locator("#live-committed > span").first.get_attribute("lang") == "zh-HK"
            assert 0 < engine.recognizer.n_heard < engine.recognizer.n_passes
    finally:
        engine.close()


def test_a_model_without_an_export_is_said_to_be_slow(app):
    class Slow(Scripted):
        slow = True

    page = app.build_page(Slow())
    page.engine.close()
    assert any("cantowhisper export" in str(getattr(block, "value", "")) for block in page.blocks.values())


# ----------------------------------------------------------------------------------------------------------- access


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_text_has_the_contrast_that_faint_eyes_need(chrome, still, dark):
    with visit(chrome, still, dark=dark) as tab:
        answer_dialogs(tab)
        idle = tab.evaluate(CONTRASTS)
        assert any("Sound is sent to the server" in text for _, _, text in idle)
        tab.evaluate(FILL, SAID)
        tab.evaluate("cantowhisperLive().alerts.raise('offline')")
        tab.locator("#live-times").check()
        filled = tab.evaluate(CONTRASTS)
        seen = " ".join(text for _, _, text in filled)
        assert all(text in seen for text in ("同埋兩斤菜心", SAID[0], "00:04.0", "No connection"))
        assert not low(idle) and not low(filled)
        tab.add_style_tag(content="#live-tentative { opacity: 0.6 }")
        assert [text for _, _, text in low(tab.evaluate(CONTRASTS))] == ["同埋兩斤菜心"], (
            "the measure sees what is faint"
        )


@pytest.mark.parametrize("locale", ["zh-TW", "zh-CN", "en-US"])
def test_a_visitor_reads_one_language_and_text_has_the_tag_of_what_is_spoken(chrome, still, locale):
    language = {"zh-TW": "zh-HK", "zh-CN": "zh-CN"}.get(locale, "en")
    with visit(chrome, still, locale=locale) as tab:
        answer_dialogs(tab)
        assert strangers(tab, language) == [], "with all that is chosen from"
        for state in ("running", "stopping"):
            tab.evaluate("state => (document.querySelector('.live').dataset.state = state)", state)
            assert strangers(tab, language) == []
        tab.evaluate(FILL, SAID)
        tab.evaluate("cantowhisperLive().alerts.raise('refused_by_server')")
        tab.locator("#live-times").check()
        assert strangers(tab, language, beside="#live-committed > span, #live-tentative, #live-heard") == []
        assert tab.locator("html").get_attribute("lang") == language
        assert tab.locator("#live-committed > span").first.get_attribute("lang") == "zh-HK"
        assert tab.locator("#live-tentative").get_attribute("lang") == "zh-HK"
        if language == "zh-CN":
            tab.locator(".languages a[lang=zh-HK]").focus()
            tab.keyboard.press("Enter")
            tab.locator("html[lang=zh-HK]").wait_for()
            assert tab.url.endswith("?raw=&lang=zh-HK"), "the rest of the address stays"
            assert shown(tab, "committed").replace("\n", "") == "".join(SAID) + "同埋兩斤菜心"
            tab.goto(still)  # without ?lang=
            tab.locator("html[lang=zh-HK]").wait_for()
            assert "開始" in shown(tab, "go")


def test_text_of_a_language_has_its_tag(tab):
    tags = tab.evaluate(
        "[['yue', ''], ['yue', 'simplified'], ['zh', 'traditional'], ['zh', ''], ['de', '']]"
        ".map(([code, script]) => cantowhisperLive().textTag(code, script))"
    )
    assert tags == ["zh-HK", "yue-Hans", "zh-Hant", "zh", "de"]


def test_on_a_phone_the_text_has_the_room_while_somebody_speaks(chrome, still):
    with visit(chrome, still, viewport=PHONE) as tab:
        answer_dialogs(tab)
        tab.evaluate(FILL, SAID)
        tab.evaluate("document.querySelector('.live').dataset.state = 'running'")
        paper, actions = (tab.locator(place).bounding_box() for place in ("#live-paper", ".live .actions"))
        go = tab.locator("#live-go").bounding_box()
        assert paper["height"] >= 0.6 * PHONE["height"] and paper["width"] >= 0.85 * PHONE["width"]
        assert go["y"] >= 0 and actions["y"] + actions["height"] <= PHONE["height"], "Stop and Copy are seen too"
        assert tab.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


def test_selects_look_like_selects(tab):
    answer_dialogs(tab)
    for name in ("language", "script"):
        style = tab.locator(f"#live-{name}").evaluate(
            "e => [getComputedStyle(e).backgroundImage, getComputedStyle(e).borderTopWidth]"
        )
        assert "gradient" in style[0] and style[1] == "1px"
    page = tab.locator(".gradio-container").inner_text()
    assert "cantowhisper export" not in page, "this model is not slow"
    assert "8 speakers at once" in page
