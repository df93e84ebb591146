"""Longer proofs of the offline page: many visitors, damaged files, a killed process, the bundle alone."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import venv
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest
import soundfile
from browser import serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from serving_model import CORES, random_model

from cantowhisper.cli import deploy
from cantowhisper.serving.offline.limits import Limits
from cantowhisper.serving.offline.service import Service
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.speech.audio import AudioError, load_audio
from cantowhisper.speech.mel import SAMPLE_RATE

ROOT = Path(__file__).resolve().parents[1]
CLIPS = ROOT / "samples" / "clips"
LIMITS = replace(Limits(), max_requests_per_hour=10_000, max_under_way_per_visitor=30, max_queue=40)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url():
    spec = importlib.util.spec_from_file_location("app_offline_load", ROOT / "app_offline" / "app.py")
    app = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(app)
    service = Service(Recognizer.open(random_model(), threads=CORES), limits=LIMITS)
    with serving(app.build_page(service, examples=[]), **app.launch_options(service)) as address:
        yield address.rstrip("/")


def ask(url: str, path: Path) -> dict:
    with path.open("rb") as file:
        fields = {"response_format": "verbose_json"}
        answer = httpx.post(f"{url}/v1/audio/transcriptions", files={"file": file}, data=fields, timeout=900)
    assert answer.status_code == 200, answer.text
    return answer.json()


def in_order(answer: dict) -> bool:
    """Segments in time order, not overlapping, within the recording."""
    edges = [t for s in answer["segments"] for t in (s["start"], s["end"])]
    return edges == sorted(edges) and all(0 <= t <= answer["duration"] + 0.001 for t in edges)


def test_118_recordings_by_8_clients_are_all_answered_and_none_mixed_up(url, real_speech):
    paths = sorted((real_speech / "zh-HK-radio").glob("*.mp3")) + sorted((real_speech / "long_form").glob("*.flac"))
    assert len(paths) == 118
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda path: ask(url, path), paths))
    expected = [round(load_audio(path).size / SAMPLE_RATE, 3) for path in paths]
    assert [a["duration"] for a in answers] == expected
    assert all(map(in_order, answers))
    alone = [ask(url, path)["text"] for path in paths[::10]]
    assert [a["text"] for a in answers[::10]] == alone


def test_20_visitors_with_30_seconds_each_and_300_requests_leave_memory_flat(url, tmp_path):
    sound = load_audio(CLIPS / "market_morning.mp3")
    soundfile.write(tmp_path / "half_minute.wav", np.resize(sound, 30 * SAMPLE_RATE), SAMPLE_RATE)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: ask(url, tmp_path / "half_minute.wav"), range(20)))
    assert len({a["text"] for a in answers}) == 1 and all(map(in_order, answers))
    soundfile.write(tmp_path / "short.wav", sound[: 3 * SAMPLE_RATE], SAMPLE_RATE)
    memory = psutil.Process()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: ask(url, tmp_path / "short.wav"), range(60)))
        before = memory.memory_info().rss
        list(pool.map(lambda _: ask(url, tmp_path / "short.wav"), range(300)))
    grown_mib = (memory.memory_info().rss - before) / 2**20
    assert grown_mib < 30, f"{grown_mib:.0f} MiB more after 300 requests"


SMALL = ("voice_memo.m4a", "voice_message.ogg", "weather_16k.wav", "clinic_visit.flac", "video_news.mp4")


def mutated(raw: bytes, changes: list[tuple[float, int]], cut: float) -> bytes:
    body = bytearray(raw)
    for place, value in changes:
        # Half of the changes go into the head, where lengths and types stand.
        body[int(place * (len(body) - 1) if value % 2 else place * min(len(body) - 1, 400))] = value
    return bytes(body[: max(1, int(len(body) * cut))])


def test_200_damaged_files_neither_crash_nor_hang_nor_leak():
    memory, slowest = psutil.Process(), [0.0]
    raws = {name: (CLIPS / name).read_bytes() for name in SMALL}
    for raw in raws.values():
        load_audio(raw)
    before = memory.memory_info().rss

    @settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(
        st.sampled_from(SMALL),
        st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=60),
        st.floats(0.05, 1),
    )
    def decode(name, changes, cut):
        started = time.monotonic()
        try:
            waveform = load_audio(mutated(raws[name], changes, cut), max_seconds=60)
            assert waveform.dtype == np.float32 and np.isfinite(waveform).all()
        except AudioError as error:
            assert "\n" not in str(error)
        slowest[0] = max(slowest[0], time.monotonic() - started)

    decode()
    assert slowest[0] < 20
    assert (memory.memory_info().rss - before) / 2**20 < 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def started(command: list[str], port: int, **where) -> tuple[subprocess.Popen, float]:
    """The page in a process of its own, and the seconds until it answered."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **where)
    while time.monotonic() - began < 120:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/v1/models", timeout=5).status_code == 200:
                return process, time.monotonic() - began
        except httpx.HTTPError:
            assert process.poll() is None, process.stderr.read().decode()
            time.sleep(0.05)
    process.kill()
    raise AssertionError("the page did not start in two minutes")


def test_a_killed_page_is_back_in_ten_seconds_and_its_model_is_whole():
    port, model = free_port(), random_model()
    command = [sys.executable, str(ROOT / "app_offline/app.py"), "--model", str(model), "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    files = lambda: {f: f.stat().st_mtime_ns for f in model.rglob("*") if f.is_file()}
    before = files()
    process, _ = started(command, port, env=environment)
    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(ask, f"http://127.0.0.1:{port}", CLIPS / "market_morning.mp3")
        time.sleep(1.0)  # in the middle of it
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert lost.exception() is not None or lost.result()
    process, seconds = started(command, port, env=environment)
    try:
        assert ask(f"http://127.0.0.1:{port}", CLIPS / "weather_16k.wav")["segments"] and files() == before
        assert seconds < 10
    finally:
        process.kill()
        process.wait()


def test_the_bundle_alone_starts_and_transcribes_in_an_empty_environment(tmp_path):
    bundle = deploy.write_bundle("offline", tmp_path / "space", models=["me/model"])
    venv.create(tmp_path / "empty", with_pip=True)
    python = tmp_path / "empty" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "-r", bundle / "requirements.txt"]
    done = subprocess.run(install, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    packages = subprocess.run([python, "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout
    assert "torch" not in packages.lower()
    port = free_port()
    command = [str(python), "app.py", "--model", str(random_model()), "--port", str(port)]
    process, _ = started(command, port, cwd=bundle, env={"PATH": os.environ["PATH"]})
    try:
        assert ask(f"http://127.0.0.1:{port}", CLIPS / "weather_16k.wav")["segments"]
    finally:
        process.kill()
        process.wait()
