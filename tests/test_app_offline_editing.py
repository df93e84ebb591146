"""Correcting a finished transcript in a real browser, and what is made of the corrections."""

import zipfile
from pathlib import Path

import pytest
from browser import serving, visit
from contrast import CONTRASTS, low
from serving_model import random_model
from test_app_offline import LIMITS, app, choose, chrome, clips, transcribe, upload  # noqa: F401 (fixtures)
from test_serving_captions import read
from tongues import strangers

from cantowhisper.contracts import ModelFacts, Segment
from cantowhisper.features.config import FeatureConfig
from cantowhisper.features.pipeline import build_features
from cantowhisper.serving.offline.service import Service

HEARD = [
    "你哋今日食咗麵未",
    "後面條街有間舖頭賣",
    "唔該畀碗雲吞麵我呀",
    "多謝你呀早晨",
    "邊個去街市買菜",
    "一二三四五六",
]


class Hears:
    """A recognizer that hears a sentence each three seconds, three people in turn, and is not sure of the second."""

    facts, languages, takes_words = ModelFacts(language="yue"), ["yue"], False

    def stream(self, waveform, **options):
        for n, text in enumerate(HEARD):
            flags = ("low_confidence",) if n == 1 else ()
            yield Segment(3.0 * n, 3.0 * n + 2.5, text, 0.9 - 0.5 * (n == 1), flags, (), "yue", n % 3 + 1)


@pytest.fixture(scope="module")
def url(app):  # noqa: F811
    service = Service(Hears(), limits=LIMITS)
    with serving(app.build_page(service, examples=[]), **app.launch_options(service)) as address:
        yield address


def texts(tab) -> list[str]:
    return tab.locator("#segments td.text").all_inner_texts()


def edit(tab, number: int):
    """Press a row's text; returns the field."""
    tab.locator("#segments tr[data-start]").nth(number).locator("td.text").click()
    return tab.locator("tr.editor textarea")


def downloaded(tab, name: str) -> Path:
    with tab.expect_download() as download:
        tab.locator(f"#download-{name}").click()
    return Path(download.value.path())


def saved(tab, name: str) -> str:
    return downloaded(tab, name).read_text("utf-8")


def correct_three_and_split_one(tab) -> list[str]:
    """Text by typing, times and a name in their fields, and the cursor; returns the texts then."""
    edit(tab, 0).fill("你哋今日食咗飯未")
    tab.keyboard.press("Enter")  # the next row
    assert tab.locator("tr.editor textarea").input_value() == HEARD[1]
    tab.locator("tr.editor textarea").fill("後面條街有間鋪頭賣")
    tab.locator("tr.editor").get_by_label("End").fill("0:05.8")
    tab.locator("tr.editor").get_by_label("Speaker").fill("陳太")
    tab.keyboard.press("Enter")
    edit(tab, 3).fill("多謝晒你呀早晨")
    tab.keyboard.press("Escape")
    field = edit(tab, 2)
    field.evaluate("field => field.setSelectionRange(2, 2)")
    tab.keyboard.press("Shift+Enter")
    tab.keyboard.press("Escape")
    expected = ["你哋今日食咗飯未", "後面條街有間鋪頭賣", "唔該", "畀碗雲吞麵我呀", "多謝晒你呀早晨", *HEARD[4:]]
    assert texts(tab) == expected
    return expected


def test_rows_are_corrected_and_downloads_carry_it(url, chrome, clips):  # noqa: F811
    with visit(chrome, url) as tab:
        upload(tab, clips / "market_morning.mp3")
        transcribe(tab)
        row = tab.locator("#segments tr[data-start]").nth(1)
        assert row.get_by_role("img", name="Listen again").is_visible(), "unsure rows are marked by more than colour"
        correct_three_and_split_one(tab)
        assert row.get_by_role("img").count() == 0 and "edited" in row.inner_text()
        tab.keyboard.press("Control+z")  # nothing is being typed: the split
        assert texts(tab)[2:4] == ["唔該畀碗雲吞麵我呀", "多謝晒你呀早晨"]
        field = edit(tab, 4)
        video = "document.querySelector('#player video')"
        tab.wait_for_function(f"{video}.currentTime == 12")  # the player follows
        field.press("End")
        tab.keyboard.type("z")
        tab.keyboard.press("Control+z")  # typing is the browser's
        assert field.input_value() == HEARD[4]
        tab.keyboard.press("Control+Enter")
        tab.wait_for_function(f"!{video}.paused")
        tab.keyboard.press("Control+Enter")
        tab.wait_for_function(f"{video}.paused")
        tab.locator("tr.editor").get_by_label("Start").fill("0:01")
        tab.get_by_role("button", name="Join next").click()
        assert "end of the one above" in tab.locator("#told").inner_text(), "the time stays as it was"
        tab.keyboard.press("Escape")
        assert texts(tab)[4:] == [HEARD[4] + HEARD[5]]
        edit(tab, 2)
        tab.get_by_role("button", name="Delete").click()
        tab.keyboard.press("Escape")
        expected = ["你哋今日食咗飯未", "後面條街有間鋪頭賣", "多謝晒你呀早晨", HEARD[4] + HEARD[5]]
        assert texts(tab) == expected
        rows = [line.split("\t") for line in saved(tab, "tsv").splitlines()[1:]]
        assert [row[2] for row in rows] == expected and rows[1] == ["3000", "5800", expected[1], "陳太"]
        assert [row[3] for row in rows] == ["1", "陳太", "1", "陳太"], "a new name is the speaker's"
        assert rows[3][:2] == ["12000", "17500"]
        assert tab.locator("#transcript textarea").input_value().splitlines()[1] == f"陳太: {expected[1]}"


def test_the_player_shows_the_captions_of_the_webvtt_file(url, chrome, clips):  # noqa: F811
    said = "今日我哋去茶餐廳飲奶茶食菠蘿油，跟住搭電車去中環 & 上山頂睇夜景，返到屋企已經十一點"
    with visit(chrome, url) as tab:
        upload(tab, clips / "market_morning.mp3")
        transcribe(tab)
        edit(tab, 5).fill(said)
        tab.keyboard.press("Escape")
        tab.locator("#segments tr[data-start]").nth(5).get_by_role("button").click()
        cues = "[...document.querySelector('#player video').textTracks[0].cues]"
        tab.wait_for_function(f"{cues}.some(cue => cue.text.includes('\\n'))")
        shown = tab.evaluate(f"{cues}.map(cue => [cue.startTime, cue.endTime, cue.text.split('\\n')])")
        written = read(saved(tab, "vtt"), "vtt")
        assert shown == [[cue.start, cue.end, cue.lines] for cue in written]
        assert max(len(line.rpartition(">")[2]) for *_, lines in shown for line in lines) < len(said) / 2


def test_jyutping_stands_above_cantonese_rows_and_in_no_text(url, chrome, clips):  # noqa: F811
    pytest.importorskip("ToJyutping")
    with visit(chrome, url) as tab:
        upload(tab, clips / "market_morning.mp3")
        transcribe(tab)
        tab.get_by_label("Jyutping above the characters").check()
        tab.locator("#segments rt[data-reading=zou2]").wait_for(state="attached")
        edit(tab, 0).fill("銀行 OK 行街")
        tab.keyboard.press("Escape")
        tab.locator("#segments rt[data-reading=hong4]").wait_for(state="attached")
        cell = tab.locator("#segments td.text").first
        readings = "all => all.map((one) => [one.parentElement.textContent, one.dataset.reading])"
        found = [["銀", "ngan4"], ["行", "hong4"], ["行", "haang4"], ["街", "gaai1"]]
        assert cell.locator("rt").evaluate_all(readings) == found and cell.text_content() == "銀行 OK 行街"
        assert saved(tab, "txt").splitlines()[0].endswith("銀行 OK 行街")
        edit(tab, 2)
        assert low(tab.evaluate(CONTRASTS)) == []
        tab.keyboard.press("Escape")
        tab.get_by_label("Jyutping above the characters").uncheck()
        assert tab.locator("#segments ruby").count() == 0 and texts(tab) == ["銀行 OK 行街", *HEARD[1:]]


@pytest.mark.parametrize(
    ("locale", "language", "title", "first"),
    [
        ("zh-HK", "zh-HK", "粵語轉文字", "講者 1："),
        ("zh-SG", "zh-CN", "粤语转文字", "说话人 1："),
        ("en-AU", "en", "Cantonese to text", "Speaker 1: "),
    ],
)
def test_a_visitor_reads_one_language(url, chrome, clips, locale, language, title, first):  # noqa: F811
    with visit(chrome, url, locale=locale) as tab:
        upload(tab, clips / "market_morning.mp3")
        tab.locator("#go").click()
        tab.locator("#download-txt:enabled").wait_for()
        box = tab.locator("#transcript textarea")
        assert [text.startswith(first + HEARD[0]) for text in (box.input_value(), saved(tab, "txt"))] == [True, True]
        edit(tab, 1).fill("後面條街有間鋪頭賣")
        tab.locator("tr.editor .who").fill("陳太")
        tab.keyboard.press("Escape")
        for text in (box.input_value(), saved(tab, "txt"), saved(tab, "srt")):
            assert first + HEARD[0] in text and f"陳太{first[-2:].lstrip('1')}後面" in text, "names stay"
        tab.get_by_role("tab").nth(1).click()
        tab.locator("#recording").wait_for()
        assert strangers(tab, language, beside="td.text, td.speaker, #file, [data-testid=file]") == []
        assert (tab.title(), tab.locator("html").get_attribute("lang")) == (title, language)
        assert tab.locator(".languages [aria-current]").get_attribute("lang") == language
        if language == "zh-HK":
            tab.keyboard.press("Escape")
            tab.locator(".languages a[lang=en]").focus()
            tab.keyboard.press("Enter")
            tab.get_by_text("corrections are back").wait_for()
            assert texts(tab) == [HEARD[0], "後面條街有間鋪頭賣", *HEARD[2:]]
            tab.goto(url)  # without ?lang=
            tab.get_by_role("button", name="Transcribe").wait_for()


@pytest.mark.slow
def test_corrections_survive_and_become_training_clips(url, chrome, clips, tmp_path):  # noqa: F811
    with visit(chrome, url) as tab:
        upload(tab, clips / "market_morning.mp3")
        transcribe(tab)
        expected = correct_three_and_split_one(tab)
        choose(tab, "script", "Simplified")
        tab.locator("#segments .text").get_by_text("后面条街有间铺头卖").wait_for()
        choose(tab, "script", "As is")
        tab.locator("#segments .text").get_by_text(expected[1]).wait_for()
        assert texts(tab) == expected
        edit(tab, 5).fill("邊個去街市買餸")  # and is not left before the page goes
        tab.reload()
        tab.get_by_text("corrections are back").wait_for()
        expected[5] = "邊個去街市買餸"
        assert texts(tab) == expected
        with zipfile.ZipFile(downloaded(tab, "clips")) as pack:
            pack.extractall(tmp_path / "clips")
        tab.get_by_text("7 training clips · 15.3 s", exact=True).wait_for()
        # The server lets go of the recording: the visitor is told, and gives it again.
        for media in tab.locator("#segments section").evaluate_all("all => all.map(one => one.dataset.media)"):
            Path(media.removeprefix("gradio_api/file=")).unlink()
        tab.locator("#download-clips").click()
        tab.locator(".gone").get_by_text("choose the file again").wait_for()
        tab.locator(".gone input").set_input_files(clips / "market_morning.mp3")
        tab.get_by_text("The recording is here again").wait_for()
        assert zipfile.ZipFile(downloaded(tab, "clips")).testzip() is None
        assert texts(tab) == expected
        tab.once("dialog", lambda dialog: dialog.dismiss())
        edit(tab, 0).fill("改")
        tab.locator("#go").click()  # asks first
        assert texts(tab)[1:] == expected[1:]
    config = FeatureConfig(hold_out=0.4, workers=1)
    stats = build_features(str(tmp_path / "clips"), tmp_path / "features", config=config, progress=False)
    assert not stats["rejected"] and sum(split["clips"] for split in stats["splits"].values()) == 7
    tuned_in_two_steps(tmp_path)


def tuned_in_two_steps(folder: Path) -> None:
    from training_runs import TINY

    from cantowhisper.training.trainer import train

    options = {"model": str(random_model()), "max_steps": 2, "evaluate_every_steps": 2, "save_every_steps": 2}
    metrics = train(folder / "features", folder / "model", config=TINY.with_overrides(**options), progress=False)
    assert metrics["steps"] == 2
