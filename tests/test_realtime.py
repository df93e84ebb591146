"""OpenAI's realtime transcription over a WebSocket: its events, its sound, its limits, and OpenAI's own client."""

import base64
import json
import threading
import time
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from cantowhisper.contracts import ModelFacts
from cantowhisper.serving.live.agreement import Hypothesis
from cantowhisper.serving.live.engine import LiveEngine
from cantowhisper.serving.live.limits import LiveLimits
from cantowhisper.serving.realtime.config import RATES, RealtimeConfig, Wrong
from cantowhisper.serving.realtime.session import RealtimeSession
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE

DELTA, COMPLETED = (f"conversation.item.input_audio_transcription.{kind}" for kind in ("delta", "completed"))


class Scripted:
    """Four characters a second of whatever it hears, at once."""

    languages, slow, takes_words = ["en", "yue", "zh"], False, False
    facts = ModelFacts(language="yue", language_token="<|yue|>")

    def decode(self, waveform, prefix="", *, language=None, attention=False):
        text = "".join(chr(0x4E00 + i * 37 % 500) for i in range(int(waveform.size / SAMPLE_RATE * 4)))
        return Hypothesis(text[len(prefix) :])


@pytest.fixture(scope="module")
def speech(samples) -> np.ndarray:
    """Two clips, each with a second of silence after it; int16, 16 kHz."""
    pytest.importorskip("faster_whisper")
    clips = [load_audio(path) for path in sorted((samples / "clips").glob("*.mp3"))[:2]]
    silence = np.zeros(SAMPLE_RATE, np.float32)
    return (32767 * np.concatenate([one for clip in clips for one in (clip, silence)])).astype("<i2")


def spoken(session: RealtimeSession, engine: LiveEngine, events, *, passes: int = 200) -> list[dict]:
    """What a client is told that sends these events, and waits until nothing comes any more."""
    told = session.begin()
    for event in events:
        while not session.takes_more:
            engine.work_once()
            told += session.news()
        told += session.take(event)
        engine.work_once()
    for _ in range(passes):
        engine.work_once()
        told += session.news()
    return told


def appended(
    sound: np.ndarray, *, rate: int = SAMPLE_RATE, step_s: float = 0.25, subtype: str = "PCM_16"
) -> list[dict]:
    """The events by which a client sends int16 sound, at `rate`."""
    width = 2 if subtype == "PCM_16" else 1
    raw = sound.tobytes() if width == 2 else _as(subtype, sound, rate)
    step = int(step_s * rate) * width
    pieces = [raw[at : at + step] for at in range(0, len(raw), step)]
    return [{"type": "input_audio_buffer.append", "audio": base64.b64encode(one).decode()} for one in pieces]


def _as(subtype: str, sound: np.ndarray, rate: int) -> bytes:
    import io

    out = io.BytesIO()
    soundfile.write(out, sound, rate, format="RAW", subtype=subtype)
    return out.getvalue()


def update(**sound) -> dict:
    return {"type": "session.update", "session": {"type": "transcription", "audio": {"input": sound}}}


def kinds(told: list[dict]) -> list[str]:
    return [event["type"] for event in told]


def of(told: list[dict], kind: str) -> list[dict]:
    return [event for event in told if event["type"] == kind]


PCM = update(format={"type": "audio/pcm", "rate": SAMPLE_RATE})
COMMIT = {"type": "input_audio_buffer.commit"}


def test_each_line_is_an_item_whose_deltas_make_its_transcript(speech):
    engine = LiveEngine(Scripted())
    told = spoken(RealtimeSession(engine), engine, [PCM, *appended(speech)])
    assert kinds(told)[:2] == ["session.created", "session.updated"] and not of(told, "error")
    items = of(told, COMPLETED)
    assert len(items) == 2 == len({item["item_id"] for item in items})
    for item in items:
        mine = [event for event in told if event.get("item_id") == item["item_id"]]
        assert kinds(mine)[0] == "input_audio_buffer.speech_started" and kinds(mine)[-1] == COMPLETED
        assert "".join(event["delta"] for event in of(mine, DELTA)) == item["transcript"] != ""
        started, stopped = mine[0]["audio_start_ms"], of(mine, "input_audio_buffer.speech_stopped")[0]["audio_end_ms"]
        assert 0 <= started < stopped <= 1000 * speech.size / SAMPLE_RATE
        assert item["usage"] == {"type": "duration", "seconds": pytest.approx((stopped - started) / 1000, abs=0.01)}
    committed = of(told, "input_audio_buffer.committed")
    assert [one["previous_item_id"] for one in committed] == [None, items[0]["item_id"]]
    assert len({event["event_id"] for event in told}) == len(told)


def test_without_turn_detection_an_item_lasts_until_it_is_committed(speech):
    engine = LiveEngine(Scripted())
    asked = [PCM, update(turn_detection=None), *appended(speech), COMMIT, *appended(speech), COMMIT]
    told = spoken(RealtimeSession(engine), engine, asked)
    assert len(of(told, COMPLETED)) == 2 and not of(told, "error")
    assert "input_audio_buffer.speech_started" not in kinds(told)
    first, second = (item["transcript"] for item in of(told, COMPLETED))
    assert first == second and [len(line) > 1 for line in first.split(" ")] == [True, True], "lines do not run together"
    assert not engine.sessions, "places are given back"


@pytest.mark.parametrize(
    "format", [("audio/pcm", 24_000, "PCM_16"), ("audio/pcmu", 8_000, "ULAW"), ("audio/pcma", 8_000, "ALAW")]
)
def test_sound_of_other_rates_keeps_its_times(speech, format):
    import soxr

    kind, rate, subtype = format
    engine = LiveEngine(Scripted())
    sound = soxr.resample(speech, SAMPLE_RATE, rate)
    chosen = update(format={"type": kind, **({"rate": rate} if kind == "audio/pcm" else {})}, turn_detection=None)
    told = spoken(RealtimeSession(engine), engine, [chosen, *appended(sound, rate=rate, subtype=subtype), COMMIT])
    (item,), straight = of(told, COMPLETED), LiveEngine(Scripted())
    expected = spoken(
        RealtimeSession(straight), straight, [PCM, update(turn_detection=None), *appended(speech), COMMIT]
    )
    assert abs(len(item["transcript"]) - len(of(expected, COMPLETED)[0]["transcript"])) <= 2


def test_silence_that_is_committed_is_an_empty_item():
    engine = LiveEngine(Scripted())
    told = spoken(RealtimeSession(engine), engine, [PCM, *appended(np.zeros(SAMPLE_RATE, "<i2")), COMMIT])
    assert [item["transcript"] for item in of(told, COMPLETED)] == [""]


def test_what_is_cleared_is_not_written(speech):
    engine = LiveEngine(Scripted())
    told = spoken(
        RealtimeSession(engine), engine, [PCM, *appended(speech[:SAMPLE_RATE]), {"type": "input_audio_buffer.clear"}]
    )
    assert kinds(told)[-1] == "input_audio_buffer.cleared" and not engine.sessions


def test_a_session_of_full_length_goes_on_in_another(speech):
    engine = LiveEngine(Scripted(), limits=replace(LiveLimits(), max_session_s=2.0))
    told = spoken(RealtimeSession(engine), engine, [PCM, update(turn_detection=None), *appended(speech), COMMIT])
    assert not of(told, "error")
    heard_s = sum(item["usage"]["seconds"] for item in of(told, COMPLETED))
    assert heard_s > 0.6 * (speech.size / SAMPLE_RATE - 2), "both clips"


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("kind", "width"), [("audio/pcm", 2), ("audio/pcmu", 1), ("audio/pcma", 1)])
def test_as_much_sound_is_taken_at_once_as_the_limits_say(kind, width, rate):
    limits, config = LiveLimits(max_push_s=2.0), RealtimeConfig(kind, rate)
    (event,) = appended(np.zeros(2 * rate * width // 2, "<i2"), rate=rate, step_s=4)
    assert config.decoded(event["audio"], most_s=limits.max_push_s).size == 2 * rate
    assert len(json.dumps({**event, "event_id": "x" * 100})) <= limits.bytes_at(rate), "and the server reads it"
    more = base64.b64encode(bytes((2 * rate + 1) * width)).decode()
    with pytest.raises(Wrong, match="at most 2 s"):
        config.decoded(more, most_s=limits.max_push_s)


WRONG = {
    "type": ({"type": "response.create"}, "type"),
    "kind of session": ({"type": "session.update", "session": {"type": "realtime"}}, "session.type"),
    "no object": ({"type": "session.update", "session": ["a"]}, "session"),
    "language": (update(transcription={"language": "xx"}), None),
    "prompt": (update(transcription={"prompt": "names"}), "session.audio.input.transcription.prompt"),
    "rate": (update(format={"type": "audio/pcm", "rate": 44_100}), "session.audio.input.format"),
    "semantic": (update(turn_detection={"type": "semantic_vad"}), "session.audio.input.turn_detection.type"),
    "noise": (update(noise_reduction={"type": "near_field"}), "session.audio.input.noise_reduction"),
    "log-probabilities": (
        {"type": "session.update", "session": {"include": ["item.input_audio_transcription.logprobs"]}},
        "session.include",
    ),
    "audio": ({"type": "input_audio_buffer.append", "audio": "no base64!"}, "audio"),
    "half a sample": ({"type": "input_audio_buffer.append", "audio": "AAAA"}, "audio"),
    "nothing to commit": (COMMIT, None),
    "no event": (["a"], "type"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_an_error_that_names_it_and_ends_nothing(name):
    event, param = WRONG[name]
    session = RealtimeSession(LiveEngine(Scripted()))
    if isinstance(event, dict):
        event = {**event, "event_id": "mine"}
    (answer,) = session.take(event)
    assert answer["type"] == "error" and answer["error"]["type"] == "invalid_request_error"
    assert answer["error"]["param"] == param and answer["error"]["message"]
    if isinstance(event, dict):
        assert answer["error"]["event_id"] == "mine"
    assert session.take(PCM)[0]["type"] == "session.updated"


def test_a_full_engine_says_when_to_come_back(speech):
    engine = LiveEngine(Scripted(), limits=replace(LiveLimits(), max_sessions=1))
    assert engine.start()
    told = spoken(RealtimeSession(engine), engine, [PCM, *appended(speech[:SAMPLE_RATE])])
    assert {one["error"]["code"] for one in of(told, "error")} == {"rate_limit_exceeded"}


def test_who_sends_nothing_gives_the_place_back(speech):
    now = [0.0]
    engine = LiveEngine(Scripted(), clock=lambda: now[0])
    session = RealtimeSession(engine)
    spoken(session, engine, [PCM, *appended(speech[: 2 * SAMPLE_RATE])])
    for _ in range(200):
        now[0] += 1.0
        engine.work_once()
        session.news()
    assert not engine.sessions


# ---------------------------------------------------------------------------------------------------- over the network


@pytest.fixture(scope="module")
def page():
    pytest.importorskip("gradio")
    pytest.importorskip("websockets")
    from browser import serving

    from cantowhisper.repository import load_page

    app = load_page("online")
    built = app.build_page(Scripted())
    with serving(built, **app.launch_options(site=built.site, programs=built.realtime)) as url:
        built.realtime.bound_messages(built.server)
        yield url, built
    built.engine.close()


def connected(url: str, **options):
    from websockets.sync.client import connect

    return connect(url.replace("http", "ws") + "v1/realtime?intent=transcription", close_timeout=1, **options)


def test_openais_client_hears_what_was_said(page, speech):
    openai = pytest.importorskip("openai")
    url, built = page
    client = openai.OpenAI(base_url=f"{url}v1", api_key="none", max_retries=0)
    with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        assert connection.recv().type == "session.created"
        connection.session.update(session=PCM["session"])
        updated = connection.recv()
        assert updated.type == "session.updated" and updated.session.audio.input.format.rate == SAMPLE_RATE
        for event in appended(speech):
            connection.input_audio_buffer.append(audio=event["audio"])
        connection.input_audio_buffer.commit()
        told, ends = [], time.monotonic() + 60
        while sum(event.type == COMPLETED for event in told) < 2 and time.monotonic() < ends:
            told.append(connection.recv())
        items = [event for event in told if event.type == COMPLETED]
        assert [len(item.transcript) > 2 for item in items] == [True, True]
        deltas = "".join(event.delta for event in told if event.type == DELTA)
        assert deltas == "".join(item.transcript for item in items)
        assert items[0].usage.type == "duration"
    ends = time.monotonic() + 10
    while built.engine.sessions or len(built.realtime.connections):
        assert time.monotonic() < ends, "who leaves gives the place back"
        time.sleep(0.05)


def test_who_leaves_while_speaking_gives_the_place_back_at_once(page, speech):
    url, built = page
    ends = time.monotonic() + 20
    with connected(url) as socket:
        for event in (PCM, *appended(speech[:SAMPLE_RATE])):
            socket.send(json.dumps(event))
        while not built.engine.sessions and time.monotonic() < ends:
            time.sleep(0.02)
        assert built.engine.sessions
    while built.engine.sessions and time.monotonic() < ends:
        time.sleep(0.02)
    assert not built.engine.sessions and built.engine.limits.forget_after_s > 60


def test_a_page_of_another_site_may_not_connect(page):
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus), connected(page[0], origin="https://elsewhere.example"):
        pass
    host = page[0].split("/")[2]
    with connected(page[0], origin=f"http://{host}", subprotocols=["realtime"]) as socket:
        assert json.loads(socket.recv(timeout=10))["type"] == "session.created" and socket.subprotocol == "realtime"


def test_frames_that_are_no_events_are_answered(page):
    with connected(page[0]) as socket:
        socket.recv(timeout=10)
        for frame in ("no JSON", b"\0\1", "[" * 100_000):
            socket.send(frame)
            assert json.loads(socket.recv(timeout=10))["type"] == "error"


def test_a_message_longer_than_any_that_is_served_is_not_taken(page):
    from websockets.exceptions import ConnectionClosed

    with connected(page[0]) as socket:
        socket.recv(timeout=10)
        with pytest.raises(ConnectionClosed) as closed:
            socket.send("x" * 5_000_000)
            socket.recv(timeout=10)
    assert closed.value.rcvd.code == 1009


def test_no_other_websocket_is_open_and_connections_are_counted(page):
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    url, built = page
    with pytest.raises(InvalidStatus), connect(url.replace("http", "ws") + "gradio_api/queue/join"):
        pass
    with ExitStack() as held:
        for _ in range(built.engine.limits.max_sessions):
            held.enter_context(connected(url))
        with pytest.raises(InvalidStatus), connected(url):
            pass


def test_a_flood_of_events_keeps_nobody_waiting(page):
    import httpx

    with connected(page[0]) as socket:
        stop = threading.Event()

        def flood() -> None:
            while not stop.is_set():
                socket.send('{"type": "response.create"}')

        thread = threading.Thread(target=flood, daemon=True)
        thread.start()
        time.sleep(0.5)
        took_s = []
        for _ in range(5):
            began = time.monotonic()
            httpx.get(f"{page[0]}healthz").raise_for_status()
            took_s.append(time.monotonic() - began)
        stop.set()
    assert max(took_s) < 2.0
