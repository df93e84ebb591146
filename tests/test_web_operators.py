"""What operators have: /metrics over HTTP without anything of a visitor, and a log without noise."""

import io
import logging
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from browser import serving
from starlette.requests import ClientDisconnect

from cantowhisper.contracts import ModelFacts, Segment
from cantowhisper.repository import load_page
from cantowhisper.serving.live.engine import LiveEngine
from cantowhisper.serving.live.limits import LiveLimits
from cantowhisper.serving.offline.limits import Limits
from cantowhisper.serving.offline.service import Service
from cantowhisper.serving.web.logs import NOISE, quiet

pytest.importorskip("gradio")
prometheus = pytest.importorskip("prometheus_client.parser")
ROOT = Path(__file__).resolve().parents[1]
VISITOR = "203.0.113.7"
http = httpx.Client(timeout=60, headers={"X-Forwarded-For": VISITOR})


class Hears:
    facts, languages, slow = ModelFacts(), ["en", "yue", "zh"], False
    takes_words = True

    def stream(self, waveform, **options):
        yield Segment(0.0, 1.0, "秘密", 0.9)


def wav(seconds: float = 2.0) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, np.zeros(int(seconds * 16000), np.float32), 16000, format="WAV")
    return out.getvalue()


def metrics(url: str) -> dict[str, float]:
    """Value by name with labels, as a parser of Prometheus' own reads it."""
    text = http.get(f"{url}metrics").text
    samples = [sample for family in prometheus.text_string_to_metric_families(text) for sample in family.samples]
    return {"".join([s.name, *(f"{{{k}={v}}}" for k, v in s.labels.items())]): s.value for s in samples}


def test_what_happens_on_the_page_is_counted_and_nothing_of_visitors_is():
    app, limits = load_page("offline"), replace(Limits(), max_requests_per_hour=2)
    service = Service(Hears(), limits=limits)
    with serving(app.build_page(service, examples=[]), **app.launch_options(service)) as url:
        api = f"{url}v1/audio/transcriptions"
        answers = [http.post(api, files={"file": ("private.wav", file)}) for file in (wav(), b"no sound", wav())]
        assert [answer.status_code for answer in answers] == [200, 400, 429]
        found, text = metrics(url), http.get(f"{url}metrics").text
    assert found["cantowhisper_requests_total{outcome=done}"] == 1
    assert found["cantowhisper_requests_total{outcome=unusable}"] == 1
    assert found["cantowhisper_requests_total{outcome=refused}"] == 1
    assert found["cantowhisper_refusals_total{status=429}"] == 1
    assert found["cantowhisper_responses_total{status=429}"] == 1
    assert found["cantowhisper_sound_seconds_total"] == 2 and found["cantowhisper_uploaded_bytes_total"] > 64_000
    assert found["cantowhisper_work_seconds_total"] > 0 and found["process_resident_memory_bytes"] > 1e6
    for name in ("requests_under_way", "requests_waiting", "links_under_way", "running_seconds"):
        assert found[f"cantowhisper_{name}"] == 0
    assert not any(word in text for word in (VISITOR, "private", "秘密"))


def test_a_request_that_is_left_is_no_failure():
    service = Service(Hears())
    with pytest.raises(GeneratorExit), service.site.metrics.request():
        raise GeneratorExit
    with pytest.raises(KeyError), service.site.metrics.request():
        raise KeyError
    families = {family.name: family for family in service.site.metrics.collect()}
    outcomes = {s.labels["outcome"]: s.value for s in families["cantowhisper_requests"].samples}
    assert outcomes == {"left": 1, "failed": 1}


def test_the_live_page_counts_sessions_and_one_visitor_has_a_few():
    app, limits = load_page("online"), replace(LiveLimits(), max_sessions=4, max_sessions_per_visitor=2)
    engine = LiveEngine(Hears(), limits=limits)
    page = app.build_page(Hears(), limits=limits, engine=engine)
    with serving(page, **app.launch_options(limits, site=page.site)) as url:

        def start(**headers) -> str:
            event = http.post(f"{url}gradio_api/call/start", json={"data": ["", "", 0, ""]}, headers=headers).json()
            return http.get(f"{url}gradio_api/call/start/{event['event_id']}").text

        said = [start() for _ in range(3)]
        assert "session" in said[0] and "session" in said[1] and "2 of your sessions are open" in said[2]
        assert "session" in start(**{"X-Forwarded-For": "203.0.113.8"})
        assert metrics(url)["cantowhisper_live_sessions"] == 3
    assert [engine.start(visitor="127.0.0.1") is not None for _ in range(2)] == [True, False], "all places but no more"
    engine.close()


def test_a_page_without_prometheus_client_says_so_in_one_line():
    program = """
import asyncio, sys
sys.modules["prometheus_client"] = None
from cantowhisper.serving.web.metrics import Metrics
metrics = Metrics()
metrics.response(200)
answer = asyncio.run(metrics.answer(None))
print(answer.status_code, answer.body.decode(), end="")
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "501 metrics need the package prometheus_client: pip install prometheus_client\n"


def test_what_libmpg123_prints_of_a_damaged_file_stays_out_of_the_log(tmp_path, capfd):
    from cantowhisper.speech.audio import read_sound

    data = bytearray((ROOT / "samples/clips/market_morning.mp3").read_bytes()[:60_000])
    data[20_000:20_400] = os.urandom(400)
    (tmp_path / "a.mp3").write_bytes(data)
    read_sound(tmp_path / "a.mp3")
    assert capfd.readouterr().err, "without the filter it prints"
    with quiet():
        os.write(2, b"before\n\n")
        read_sound(tmp_path / "a.mp3")
        print("after", file=sys.stderr)
    said = capfd.readouterr().err
    assert re.fullmatch(r"before\n+after\n", said), said
    assert not NOISE.match(b"Traceback (most recent call last):") and not NOISE.match(b"Note: disk is full")


def test_a_visitor_who_goes_away_is_no_error_and_everything_else_is(caplog):
    errors = logging.getLogger("uvicorn.error")
    with quiet():
        for error in (ClientDisconnect(), ConnectionResetError(), ValueError("a bug")):
            try:
                raise error
            except Exception:
                errors.exception("Exception in ASGI application")
    assert [record.exc_info[0] for record in caplog.records] == [ValueError]
