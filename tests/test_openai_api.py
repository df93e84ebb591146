"""The OpenAI-compatible endpoint and the named endpoints, over HTTP, with a recognizer that says what it was given."""

import importlib.util
import io
import json
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import webvtt
from browser import serving
from web import answer, website

from cantowhisper.contracts import ModelFacts, Segment
from cantowhisper.serving.offline.addresses import Reach
from cantowhisper.serving.offline.limits import Limits
from cantowhisper.serving.offline.service import Service
from cantowhisper.serving.speakers import voices
from cantowhisper.speech.mel import SAMPLE_RATE

APP = Path(__file__).resolve().parents[1] / "app_offline" / "app.py"
LIMITS = replace(
    Limits(), max_file_bytes=1_000_000, max_audio_s=20.0, max_requests_per_hour=10_000, max_under_way_per_visitor=30
)


class Echo:
    """Hears the length of a recording; one second of speech for each second of sound."""

    facts, languages = ModelFacts(), ["en", "yue", "zh"]
    takes_words = True

    def __init__(self):
        self.running, self.stopped, self.slow = threading.Event(), threading.Event(), False

    def stream(self, waveform, *, should_stop, language=None, characters=False, words=(), **options):
        self.words = words
        self.running.set()
        for second in range(round(waveform.size / SAMPLE_RATE)):
            while self.slow and not should_stop():
                time.sleep(0.02)
            if should_stop():
                self.stopped.set()
                return
            text = f"{waveform.size}<{language}>"
            times = ((text[0], second, second + 0.5),) if characters else ()
            yield Segment(second, second + 1, text, 0.5, (), times)


@pytest.fixture(scope="module")
def app():
    pytest.importorskip("gradio")
    spec = importlib.util.spec_from_file_location("app_offline_api", APP)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def echo():
    return Echo()


@pytest.fixture
def url(app, echo):
    service = Service(echo, limits=LIMITS, name="echo")
    with serving(app.build_page(service, examples=[]), **app.launch_options(service)) as address:
        yield address.rstrip("/")


def recording(folder, seconds=2.0, name="a.wav") -> Path:
    soundfile.write(folder / name, np.zeros(int(seconds * SAMPLE_RATE), np.float32), SAMPLE_RATE)
    return folder / name


def ask(url, path, **fields):
    import httpx

    with path.open("rb") as file:
        return httpx.post(f"{url}/v1/audio/transcriptions", files={"file": file}, data=fields, timeout=60)


def test_every_format_of_the_openai_endpoint(url, tmp_path):
    path = recording(tmp_path)
    said = "32000<None> 32000<None>"
    plain = ask(url, path, model="whisper-1")
    assert plain.json() == {"text": said} and plain.headers["content-type"] == "application/json"
    assert ask(url, path, response_format="text").text == said + "\n"
    assert ask(url, path, response_format="srt").text.startswith("1\n00:00:00,000 --> 00:00:00,917\n32000<None>\n")
    assert ask(url, path, response_format="vtt").text.startswith("WEBVTT\n\n00:00:00.000 --> 00:00:00.917\n32000&lt;")
    verbose = ask(
        url, path, response_format="verbose_json", language="yue", **{"timestamp_granularities[]": "word"}
    ).json()
    assert verbose["duration"] == 2.0 and verbose["language"] == "yue" and len(verbose["segments"]) == 2
    assert {"id", "start", "end", "text", "avg_logprob", "compression_ratio"} <= set(verbose["segments"][0])
    assert verbose["words"] == [{"word": "3", "start": 0, "end": 0.5}, {"word": "3", "start": 1, "end": 1.5}]
    short = recording(tmp_path, seconds=0.2)  # nothing is said in it
    silent = ask(url, short, response_format="verbose_json", **{"timestamp_granularities[]": "word"}).json()
    assert silent["segments"] == silent["words"] == []


def test_subtitles_are_captions(app, tmp_path):
    """A long sentence in several cues of short lines; its segment stays whole where segments were asked for."""
    said = "中華人民共和國行政長官今日下午會見傳媒，宣布明年開始會喺全港十八區推行垃圾徵費計劃。"

    class OneSentence(Echo):
        def stream(self, waveform, **options):
            yield Segment(0.0, 12.0, said, 0.9, language="yue")

    service, path = Service(OneSentence(), limits=LIMITS, name="echo"), recording(tmp_path, 12.0)
    with serving(app.build_page(service, examples=[]), **app.launch_options(service)) as address:
        for name in ("srt", "vtt"):
            file = ask(address.rstrip("/"), path, response_format=name).text
            cues = webvtt.from_buffer(io.StringIO(file), format=name)
            lines = [line for cue in cues for line in cue.lines]
            assert "".join(lines) == said and max(map(len, lines)) <= 16 and len(cues) == 2
        verbose = ask(address.rstrip("/"), path, response_format="verbose_json").json()
        assert [row["text"] for row in verbose["segments"]] == [said]


def test_a_stream_sends_each_segment_as_it_is_ready(url, tmp_path):
    told = [json.loads(line[6:]) for line in ask(url, recording(tmp_path), stream="true").text.splitlines() if line]
    deltas = [event["delta"] for event in told if event["type"] == "transcript.text.delta"]
    assert len(deltas) == 2 and told[-1]["type"] == "transcript.text.done"
    assert told[-1]["text"] == "".join(deltas) == ask(url, recording(tmp_path)).json()["text"]


def test_words_reach_the_recognizer(url, echo, tmp_path):
    assert ask(url, recording(tmp_path), words="深水埗、陳大文\n# people\nAlice Wong").status_code == 200
    assert echo.words == ("深水埗", "陳大文", "Alice Wong")
    assert ask(url, recording(tmp_path)).status_code == 200 and echo.words == ()


def test_what_cannot_be_done_is_refused_by_name(url, tmp_path):
    path = recording(tmp_path)
    wrong = [
        ({"include[]": "logprobs"}, "include"),
        ({"prompt": "names"}, "prompt"),
        ({"temperature": "0.7"}, "temperature"),
    ]
    wrong += [
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities"),
        ({"stream": "true", "response_format": "srt"}, "stream"),
    ]
    for fields, name in wrong:
        answer = ask(url, path, **fields)
        assert answer.status_code == 400 and answer.json()["error"]["param"] == name, answer.text
    refused = ask(url, path, words="x" * 41).json()["error"]
    assert refused["param"] == "words" and "at most 40" in refused["message"]
    assert ask(url, path, temperature="0.0", prompt="").status_code == 200
    assert "longer than 10 kB" in ask(url, path, prompt="x" * 10_001).json()["error"]["message"]


class TwoSpeakers(Echo):
    """Who speaks changes every second."""

    def stream(self, waveform, *, speakers=None, **options):
        for segment in super().stream(waveform, **options):
            who = 0 if speakers is None else round(segment.start_s) % 2 + 1
            yield replace(segment, text=f"{segment.text}<{speakers}>", speaker=who)


def test_who_speaks_is_told_or_refused(app, tmp_path, monkeypatch):
    service, path = Service(TwoSpeakers(), limits=LIMITS, name="echo"), recording(tmp_path)
    with serving(app.build_page(service, examples=[]), **app.launch_options(service)) as address:
        monkeypatch.setattr(voices, "PACKAGES", ("json",))
        told = ask(address.rstrip("/"), path, response_format="diarized_json")
        assert told.status_code == 200 and told.json()["duration"] == 2.0
        assert [row["speaker"] for row in told.json()["segments"]] == ["1", "2"]
        assert {"id", "start", "end", "text", "type"} <= set(told.json()["segments"][0])
        monkeypatch.setattr(voices, "PACKAGES", ("no_such_package",))
        refused = ask(address.rstrip("/"), path, response_format="diarized_json").json()["error"]
        assert refused["param"] == "response_format" and "cantowhisper[speakers]" in refused["message"]
        assert "diarized_json" in ask(address.rstrip("/"), path, diarize="true").json()["error"]["message"]


@pytest.mark.parametrize("installed", [True, False])
def test_the_page_asks_who_speaks_where_that_can_be_told(app, monkeypatch, installed):
    monkeypatch.setattr(voices, "PACKAGES", ("json",) if installed else ("no_such_package",))
    page = app.build_page(Service(Echo(), limits=LIMITS), examples=[])
    (box,) = (block for block in page.blocks.values() if block.elem_id == "speakers")
    assert box.visible is installed


def test_two_files_and_too_many_requests_get_true_messages(app, echo, tmp_path):
    import httpx

    service, path = Service(echo, limits=replace(LIMITS, max_under_way_per_visitor=1), name="echo"), recording(tmp_path)
    with serving(app.build_page(service, examples=[]), **app.launch_options(service)) as address:
        two = [("file", ("a.wav", path.read_bytes())), ("file", ("b.wav", path.read_bytes()))]
        assert "At most 1 file" in httpx.post(f"{address}v1/audio/transcriptions", files=two).json()["error"]["message"]
        assert httpx.get(f"{address}v1/models/echo").json()["id"] == "echo"
        assert httpx.get(f"{address}v1/models/other").json()["error"]["type"] == "invalid_request_error"
        with service.under_way.one("127.0.0.1"):
            answer = ask(address.rstrip("/"), path)
    assert answer.status_code == 429 and answer.headers["retry-after"] == "30"
    assert answer.json()["error"]["type"] == "requests" and answer.json()["error"]["code"] == "rate_limit_exceeded"


def test_the_models_are_listed(url):
    import httpx

    assert [m["id"] for m in httpx.get(f"{url}/v1/models").json()["data"]] == ["echo"]


def test_refusals_of_the_openai_endpoint(url, tmp_path):
    import httpx

    good = recording(tmp_path)
    (tmp_path / "page.mp3").write_text("<html>")
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "large.wav").write_bytes(bytes(LIMITS.max_file_bytes + 200_000))
    (tmp_path / "list.wav").write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    expected = [
        (ask(url, tmp_path / "page.mp3"), 400),
        (ask(url, tmp_path / "empty.wav"), 400),
        (ask(url, tmp_path / "large.wav"), 413),
        (ask(url, tmp_path / "list.wav"), 400),
        (ask(url, good, response_format="docx"), 400),
        (ask(url, recording(tmp_path, 25, "b.wav")), 400),
        (httpx.post(f"{url}/v1/audio/transcriptions", content=b"x"), 400),
        (httpx.post(f"{url}/v1/audio/transcriptions", data={"file": "text"}), 400),
    ]
    for response, status in expected:
        assert response.status_code == status, response.text
        assert response.json()["error"]["message"] and str(tmp_path) not in response.text
        assert "passwd" not in response.text and "/tmp" not in response.text


def test_a_closed_connection_stops_the_work(url, echo, tmp_path):
    echo.slow = True
    body = recording(tmp_path).read_bytes()
    head = 'Content-Disposition: form-data; name="file"; filename="../../etc/x.wav"\r\n\r\n'
    form = b"--b\r\n" + head.encode() + body + b"\r\n--b--\r\n"
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(
            f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(form)}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n".encode()
            + form
        )
        assert echo.running.wait(20)
    assert echo.stopped.wait(20)


def test_nothing_of_a_request_is_left_or_logged(url, tmp_path, monkeypatch, capfd, caplog):
    kept = tmp_path / "kept"
    kept.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(kept))
    path = recording(tmp_path, 2.0, "a_private_name.wav")
    assert ask(url, path).status_code == 200
    assert list(kept.iterdir()) == []
    out, err = capfd.readouterr()
    assert "private" not in out + err + caplog.text and "32000" not in out + err + caplog.text


def test_eight_clients_at_once_get_their_own_answers(url, tmp_path):
    from concurrent.futures import ThreadPoolExecutor

    paths = [recording(tmp_path, 1 + i / 100, f"{i}.wav") for i in range(40)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda path: ask(url, path), paths))
    for i, response in enumerate(answers):
        assert response.json()["text"] == f"{int((1 + i / 100) * SAMPLE_RATE)}<None>", i


def test_the_named_endpoints_give_the_documented_result(app, echo, tmp_path):
    from gradio_client import Client, handle_file
    from gradio_client.exceptions import AppError

    path = recording(tmp_path)
    with website(talk=answer(path.read_bytes())) as (site, port, _):
        service = Service(echo, limits=LIMITS, name="echo", reach=Reach(frozenset({("127.0.0.1", port)})))
        with serving(app.build_page(service, examples=[]), **app.launch_options(service)) as address:
            client = Client(address, verbose=False)
            result = client.predict(handle_file(path), "yue", "", 1, True, api_name="/transcribe")
            linked = client.predict(f"{site}/talk.wav", "yue", "", 1, True, api_name="/transcribe_url")
            with pytest.raises(AppError, match="not public"):
                client.predict("http://10.0.0.1/a.mp3", "", "", 1, False, api_name="/transcribe_url")
            named = set(client.view_api(return_format="dict")["named_endpoints"])
    assert result == linked == json.loads(json.dumps(result)) and named == {"/transcribe", "/transcribe_url"}
    assert set(result) == {"text", "language", "duration_s", "segments", "cut_short", "notes", "model"}
    assert result["duration_s"] == 2.0 and result["language"] == "yue" and result["segments"][1]["start_s"] == 1
    assert result["segments"][0]["characters"] == [["3", 0, 0.5]]


@pytest.mark.parametrize("how", ["cancelled", "hung up"])
def test_a_program_that_gives_up_stops_the_computing(app, echo, tmp_path, how):
    from gradio_client import Client, handle_file

    echo.slow = True
    service = Service(echo, limits=LIMITS)
    with serving(app.build_page(service, examples=[]), **app.launch_options(service)) as address:
        file = handle_file(recording(tmp_path))
        if how == "cancelled":
            job = Client(address, verbose=False).submit(file, "", "", 1, False, api_name="/transcribe")
            assert echo.running.wait(20)
            job.cancel()
        else:
            script = "import sys; from gradio_client import *; c = Client(sys.argv[1], verbose=False)"
            script += "; c.predict(handle_file(sys.argv[2]), '', '', 1, False, api_name='/transcribe')"
            with subprocess.Popen([sys.executable, "-c", script, address, file["path"]]) as program:
                assert echo.running.wait(60)
                program.kill()
        assert echo.stopped.wait(60)  # Gradio's client cancels at the next sign of life, which may be 15 s away
