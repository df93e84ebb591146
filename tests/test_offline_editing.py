"""Corrected rows: what a browser sends is checked, formatted as before, and cut into clips that features take whole."""

import io
import itertools
import json
import re
import secrets
import zipfile
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from browser import serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.testclient import TestClient
from test_app_offline import Says, app, in_steps  # noqa: F401 (a fixture)

from cantowhisper.contracts import Segment
from cantowhisper.features.config import FeatureConfig
from cantowhisper.features.pipeline import build_features
from cantowhisper.serving.offline.editing import jyutping
from cantowhisper.serving.offline.editing.clips import Gone, write_clips
from cantowhisper.serving.offline.editing.results import as_results, as_rows
from cantowhisper.serving.offline.editing.rows import ADDRESSES, JYUTPING, Corrected, read_rows
from cantowhisper.serving.offline.limits import LimitError, Limits
from cantowhisper.serving.offline.service import Result, Service
from cantowhisper.serving.offline.transcription import Progress
from cantowhisper.serving.offline.updates import Shown, restored, rewritten
from cantowhisper.serving.subtitles import write
from cantowhisper.serving.texts import say
from cantowhisper.serving.texts.say import LANGUAGES, Say
from cantowhisper.serving.web.refusal import Refusal
from cantowhisper.speech.audio import AudioError, load_audio
from cantowhisper.speech.mel import HOP_LENGTH, SAMPLE_RATE

LIMITS = Limits()
ROW = {"start_s": 0.5, "end_s": 1.5, "text": "食咗飯", "confidence": 0.9, "language": "yue"}


def sent(*rows: dict, duration_s: float = 10.0, **more) -> dict:
    return {"recordings": [{"name": "a.wav", "duration_s": duration_s, "rows": list(rows), **more}]}


WRONG = {
    "not a number": (ROW | {"start_s": "0.5"}, "Row 1: start_s is no number."),
    "true is no number": (ROW | {"start_s": True}, "Row 1: start_s is no number."),
    "not finite": (ROW | {"end_s": float("nan")}, "Row 1: end_s is not from 0"),
    "a huge number": (ROW | {"end_s": 10**400}, "Row 1: end_s is not from 0"),
    "before it begins": (ROW | {"end_s": 0.4}, "Row 1: end_s is before the row begins."),
    "after the recording": (ROW | {"end_s": 10.5}, "Row 1: end_s is after the recording's 10 s."),
    "no text": (ROW | {"text": None}, "Row 1: text is no text."),
    "a long text": (ROW | {"text": "食" * 2001}, "Row 1: text is longer than 2000 characters."),
    "half a surrogate pair": (ROW | {"text": "\ud83d"}, "Row 1: text has a broken character"),
    "no such language": (ROW | {"language": "no such language"}, "Row 1: language is no language code."),
    "a long name": (ROW | {"speaker": "x" * 41}, "Row 1: speaker is longer than 40"),
    "too sure": (ROW | {"confidence": 1.5}, "Row 1: confidence is not from 0 to 1."),
    "no row": ([], "Row 1: row is no object."),
}


@pytest.mark.parametrize(("row", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_row_is_one_clear_line(row, words):
    with pytest.raises(Refusal) as refusal:
        read_rows(sent(row), LIMITS)
    assert words in str(refusal.value) and "\n" not in str(refusal.value)
    assert Say("zh-HK").of(str(refusal.value)).startswith("第 1 行：")


def test_what_else_is_refused():
    second = ROW | {"start_s": 1.4, "end_s": 2.0}
    for value, words in (
        (sent(ROW, second), "Row 2: start_s is before the end of the row before."),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ({"recordings": {}}, "no recordings"),
        ({"recordings": [1]}, "no recordings"),
        ({"recordings": [sent()["recordings"][0]] * 11}, "At most 10 recordings"),
        (sent(*[ROW] * 10_001), "more than 10,000 rows"),
        (sent(ROW, duration_s=1e5), "duration_s is not from 0"),
        (sent(ROW, name="x" * 300), "name is longer"),
        (sent(ROW, cut_short="!"), "cut_short is"),
    ):
        with pytest.raises(Refusal, match=words):
            read_rows(value, LIMITS)


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30).map(lambda text: " ".join(text.split()))


@st.composite
def segments(draw) -> list[Segment]:
    edges = sorted(draw(st.lists(st.integers(0, 60_000), min_size=2, max_size=12, unique=True)))
    pairs = list(itertools.pairwise(edges))[::2]
    speakers = st.one_of(st.integers(0, 9), st.sampled_from(["陳太", "<Ann> & 'Bob'", "A:B"]))
    return [
        Segment(
            a / 1000, b / 1000, draw(texts), draw(st.integers(0, 100)) / 100, language="yue", speaker=draw(speakers)
        )
        for a, b in pairs
    ]


@settings(max_examples=60, deadline=None)
@given(segments(), segments())
def test_rows_come_back_as_they_went(rows, before):
    result = Result("街市.wav", Path("街市.wav"), Progress(tuple(rows), 60.0, 1.0, True), tuple(before))
    written = replace(result, progress=replace(result.progress, segments=tuple(replace(s, text="原") for s in rows)))
    value = json.loads(as_rows(result, written, ""))
    (back,) = read_rows({"recordings": [value]}, LIMITS)
    assert back.segments == tuple(rows) and back.before == tuple(before) and back.name == "街市.wav"
    assert all(s.text == "原" or not s.text for s in back.as_written)
    (again,) = as_results([back])
    assert [write(again.progress.segments, name) for name in ("srt", "vtt", "tsv", "json")] == [
        write(rows, name) for name in ("srt", "vtt", "tsv", "json")
    ]


def test_names_of_speakers_are_in_all_formats_and_open_no_tag():
    said = [Segment(0, 1, "食咗飯未呀", 0.9, speaker="陳太"), Segment(1, 2, "食咗", 0.9, speaker="<b>")]
    assert write(said, "txt") == "陳太: 食咗飯未呀\n<b>: 食咗\n"
    assert "<v 陳太>食咗飯未呀" in write(said, "vtt") and "<v &lt;b&gt;>食咗" in write(said, "vtt")
    assert write(said, "tsv").splitlines()[1] == "0\t1000\t食咗飯未呀\t陳太"
    assert json.loads(write(said, "json"))["segments"][0]["speaker"] == "陳太"


# ---------------------------------------------------------------------------------------------------------------- clips


@pytest.fixture(scope="module")
def talk(tmp_path_factory) -> Path:
    """A minute of noise that nobody takes for silence, but for its last ten seconds."""
    sound = np.random.default_rng(0).normal(0, 0.1, 60 * SAMPLE_RATE).astype(np.float32)
    sound[50 * SAMPLE_RATE :] = 0
    path = tmp_path_factory.mktemp("talk") / "talk.wav"
    soundfile.write(path, sound, SAMPLE_RATE)
    return path


def corrected(path: Path, rows: list[Segment], name: str = "talk.wav") -> Corrected:
    return Corrected(name, str(path), 60.0, tuple(rows), tuple(rows))


def unpacked(recordings: list[Corrected], folder: Path, **options):
    file = io.BytesIO()
    report = write_clips(recordings, file, max_seconds=100, **options)
    with zipfile.ZipFile(file) as pack:
        pack.extractall(folder)
    return report


def features_of(folder: Path) -> dict:
    """stats.json of the features that are made of folder/clips."""
    config = FeatureConfig(workers=1)
    return build_features(str(folder / "clips"), folder / "features", config=config, progress=False)


def said(*parts: tuple[float, float, str], **more) -> list[Segment]:
    return [Segment(start, end, text, 0.9, language=more.get("language", "yue")) for start, end, text in parts]


def test_what_features_would_reject_is_left_out_and_counted(talk, tmp_path):
    rows = said(
        *((0, 2, "食咗飯未呀"), (2, 3, ""), (3, 4, "…？"), (4, 4.2, "係"), (5, 6, "一二三四五六七八九十" * 3)),
        *((7, 8.5, '佢話 "好, 呀"\ufeff'), (9, 40, "太長喇"), (40, 49, "食" * 150), (51, 53, "冇聲")),
    )
    report = unpacked([corrected(talk, rows)], tmp_path / "clips")
    assert dict(report.left_out) == {
        **{"no text": 2, "too short": 1, "speed": 1, "too long": 1, "long text": 1, "silent": 1},
    }
    assert "left out 7" in str(report) and "2 without text" in str(report) and "2 冇文字" in report.told(Say("zh-HK"))
    stats = features_of(tmp_path)
    assert not stats["rejected"] and sum(split["clips"] for split in stats["splits"].values()) == report.n_clips == 2


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=segments())
def test_clips_are_as_long_as_their_rows(talk, tmp_path, rows):
    rows = [replace(row, text="食咗飯未呀" if i % 3 else row.text) for i, row in enumerate(rows)]
    try:
        folder = tmp_path / secrets.token_hex(8)
        report = unpacked([corrected(talk, rows)], folder)
    except Refusal as refusal:
        assert "No row is left" in str(refusal)
        return
    kept = sorted((folder / "clips").iterdir())
    assert len(kept) == report.n_clips == len(rows) - report.left_out.total()
    heard = load_audio(talk)
    for file in kept:
        row = rows[int(file.stem) - 1]
        clip, rate = soundfile.read(file, dtype="float32")
        assert rate == SAMPLE_RATE and clip.ndim == 1 and soundfile.info(file).subtype == "PCM_16"
        assert abs(clip.size - (row.end_s - row.start_s) * SAMPLE_RATE) <= HOP_LENGTH
        start = round(row.start_s * SAMPLE_RATE)
        assert np.abs(clip - heard[start : start + clip.size]).max() <= 1 / 32768


@pytest.mark.slow
def test_many_rows_are_judged_by_their_own_speed(talk, tmp_path):
    """Features learn from 200 clips how quickly people speak, and reject what differs."""
    rows = [
        said(*((n * 0.5 + d, n * 0.5 + d + 0.4, "食" if n % 50 else "食咗飯未") for n in range(99)))
        for d in (0, 0.01, 0.02)
    ]
    recordings = [corrected(talk, one, f"{n}.wav") for n, one in enumerate([*rows, rows[0]])]
    report = unpacked(recordings, tmp_path / "clips")
    assert dict(report.left_out) == {"heard before": 99, "speed": 6} and report.n_clips == 291
    assert not features_of(tmp_path)["rejected"]


def test_a_sentence_that_two_of_many_voices_say_is_given_to_one(talk, tmp_path):
    rows = [
        Segment(n, n + 0.9, "係呀" if n % 2 else f"我係{n}號", 0.9, language="yue", speaker=f"人{n // 2}")
        for n in range(40)
    ]
    report = unpacked([corrected(talk, rows)], tmp_path / "clips")
    assert dict(report.left_out) == {"said by others": 19}
    stats = features_of(tmp_path)
    assert not stats["rejected"] and len(stats["splits"]) == 3


def test_a_recording_that_is_gone_or_another_is_told(talk, tmp_path):
    rows = said((0, 2, "食咗飯未呀"))
    with pytest.raises(Gone):
        unpacked([corrected(tmp_path / "gone.wav", rows)], tmp_path / "x")
    with pytest.raises(Refusal, match="is it another file"):
        unpacked([corrected(talk, said((59, 61, "食咗飯未呀")))], tmp_path / "x")
    with pytest.raises(Refusal, match="No row is left"):
        unpacked([corrected(talk, said((0, 2, "")))], tmp_path / "x")


# ------------------------------------------------------------------------------------------------------------- the page


def test_another_script_keeps_corrections():
    rows = sent(ROW | {"text": "後面", "flags": ["edited"]}, ROW | {"start_s": 2, "end_s": 3})
    value = {"result": "abc", "script": "", **rows}
    (changes,) = in_steps(rewritten(None, "simplified", json.dumps(value), limits=LIMITS))
    assert changes["transcript"].splitlines() == ["后面", "食咗饭"] and "data-result='abc'" in changes["segments"]
    assert changes["shown"] is None and changes["txt"]["value"] is None, "the server keeps none"
    anothers = json.dumps({"result": "another", "script": "", **sent(ROW | {"text": "其他"})})
    shown = Shown(as_results(read_rows(rows, LIMITS), written=True), ("",), "traditional", "abc")
    (changes,) = in_steps(rewritten(shown, "", anothers, limits=LIMITS))
    assert changes["transcript"].splitlines() == ["後面", "食咗飯"], "nothing of another transcript"


def test_what_a_browser_kept_is_shown_again_as_text_and_a_lost_recording_is_told():
    value = {
        "result": "'><b>",
        "script": 5,
        **sent(ROW | {"text": "<img src=x>", "speaker": "<i>"}, path="/etc/passwd"),
    }
    (changes,) = in_steps(restored(json.dumps(value), limits=LIMITS))
    assert not [tag for tag in ("<img", "<b>", "<i>") if tag in changes["segments"]]
    assert "<p class='status gone'>" in changes["segments"] and "etc" not in changes["segments"]
    assert "src=" not in changes["player"]
    (changes,) = in_steps(restored("{}", limits=LIMITS))
    assert list(changes) == ["state"] and "no recordings" in changes["state"]


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (
            LimitError(say.said("ask.large_file", size="300 MB", most="200 MB")),
            ["上限係", "上限是", "the limit is"],
        ),
        (AudioError("no sound in it", reason="empty"), ["請再錄過", "请重新录制", "No sound in it."]),
    ],
    ids=["told", "of a decoder"],
)
def test_why_a_file_failed_follows_the_language_of_the_page(problem, words):
    failed = Result("b.wav", Path("b.wav"), Progress((), 0.0, 0.0), problem=problem)
    kept = as_rows(failed, failed, "")
    for _ in range(2):  # from one language to another and on
        value = {"result": "abc", "script": "", "recordings": [sent(ROW)["recordings"][0], json.loads(kept)]}
        for language, own in zip(LANGUAGES, words, strict=True):
            (changes,) = in_steps(restored(json.dumps(value), limits=LIMITS, say=Say(language)))
            shown = re.search(r"<p class='status problem' role='alert'>(.*?)</p>", changes["segments"])[1]
            assert own in shown and not [one for one in words if one != own and one in shown]
        (_, back) = as_results(read_rows(value, LIMITS))
        kept = as_rows(back, back, "")
    older = {"recordings": [sent(problem="It was too long.")["recordings"][0]]}
    assert str(as_results(read_rows(older, LIMITS))[0].problem) == "It was too long."


def test_downloads_over_http(app, talk, tmp_path):  # noqa: F811
    service = Service(Says({0.0: "食咗飯"}), limits=LIMITS)
    page = app.build_page(service, examples=[])
    with serving(page, **app.launch_options(service)) as url, httpx.Client(base_url=url, timeout=60) as client:
        with talk.open("rb") as file:
            (path,) = client.post("/gradio_api/upload", files={"files": file}).json()
        body = sent(ROW | {"start_s": 1.0, "end_s": 3.0, "speaker": "陳太"}, duration_s=60.0, path=path)
        for name in ("txt", "srt", "vtt", "tsv", "json"):
            answer = client.post(f"/edited/{name}", json=body)
            assert answer.text == write([Segment(1.0, 3.0, "食咗飯", 0.9, language="yue", speaker="陳太")], name)
            assert answer.headers["content-disposition"].endswith(f"a.{name}")
        answer = client.post("/edited/clips", json=body)
        assert answer.status_code == 200 and "1%20" in answer.headers["x-report"]
        with zipfile.ZipFile(io.BytesIO(answer.content)) as pack:
            assert pack.namelist() == ["clips/00001.flac", "metadata.csv"]
            assert pack.read("metadata.csv").decode().split() == [
                "file_name,text,language,speaker",
                "clips/00001.flac,食咗飯,yue,陳太",
            ]
        for body_of, status in (
            (sent(ROW, path="/etc/passwd"), 403),
            (sent(ROW, path="http://127.0.0.1/x.wav"), 403),
            (sent(ROW), 410),
            (sent(ROW, path=path.replace("talk", "other")), 410),
            (sent(ROW | {"text": 5}), 400),
            ([], 400),
        ):
            answer = client.post("/edited/clips", json=body_of)
            assert answer.status_code == status and "\n" not in answer.text and str(tmp_path.parent) not in answer.text
        assert client.post("/edited/txt", content=b"x" * 2_000_001).status_code == 413
        assert client.get("/edited/txt").status_code == 404
        for other in ("/edited/", "/edited/exe", "/edited/txt/..", "/edited"):
            assert client.post(other, json=body).status_code == 404


def test_the_live_page_has_no_such_routes():
    from cantowhisper.serving.web.filter import Open

    assert not any(Open(files=True).lets_through("POST", address) for address in ADDRESSES.values())


def test_jyutping_is_asked_for_within_bounds():
    pytest.importorskip("ToJyutping")
    with TestClient(Starlette(routes=jyutping.routes())) as http:
        ask = lambda value: http.post(JYUTPING, json=value, headers={"Accept-Language": "zh-HK"})
        assert ask({"texts": ["行街, OK", ""]}).json() == {
            "texts": [[["行", "haang4"], ["街", "gaai1"], [", OK", ""]], []]
        }
        long = ask({"texts": ["行" * 10_000] * 2})
        assert (long.status_code, long.text) == (413, "一次最多 20,000 個字。")
        for wrong in ([], {}, {"texts": "行"}, {"texts": [1]}):
            assert ask(wrong).status_code == 400
        for body in (b"", b"{", b"\xff", b"[" * 100_000):
            assert http.post(JYUTPING, content=body).status_code == 400
    text = "咁啱老世要求佢等陣要開會 OK\n12 食咗飯未呀？😀"
    assert "".join(part for part, _ in jyutping.annotated(text)) == text
