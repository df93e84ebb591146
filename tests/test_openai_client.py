"""OpenAI's own client against the page, over HTTP: what it parses is what it documents."""

import os
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
import soundfile
from browser import serving

from cantowhisper.contracts import ModelFacts, Segment
from cantowhisper.repository import load_page
from cantowhisper.serving.offline.limits import Limits
from cantowhisper.serving.offline.service import Service

openai = pytest.importorskip("openai")
pytest.importorskip("gradio")


class Stock:
    """Hears two sentences, in English where a translation is asked for."""

    facts, languages, translates = ModelFacts(), ["en", "yue", "zh"], True
    takes_words = True

    def stream(self, waveform, *, language=None, task="transcribe", characters=False, **options):
        said, code = (["Good", "morning"], "en") if task == "translate" else (["早", "晨"], language or "yue")
        for second, text in enumerate(said):
            times = ((text, second, second + 0.5),) if characters else ()
            yield Segment(second, second + 1, text, 0.5, (), times, code)


class Tuned(Stock):
    translates = False


@pytest.fixture(scope="module", params=[Stock, Tuned], ids=["stock", "tuned"])
def page(request):
    app = load_page("offline")
    service = Service(request.param(), limits=replace(Limits(), max_requests_per_hour=1000), name="me/whisper")
    with serving(app.build_page(service, examples=[]), **app.launch_options(service)) as url:
        yield openai.OpenAI(base_url=f"{url}v1", api_key="none", max_retries=0), service


@pytest.fixture
def talk(tmp_path):
    soundfile.write(tmp_path / "talk.wav", np.zeros(32_000, np.float32), 16_000)
    with (tmp_path / "talk.wav").open("rb") as file:
        yield file


def test_transcripts_in_every_shape(page, talk):
    client, _ = page
    create = client.audio.transcriptions.create
    assert create(model="x", file=talk).text == "早晨"
    talk.seek(0)
    assert create(model="x", file=talk, response_format="srt").startswith("1\n00:00:00,000 --> ")
    talk.seek(0)
    told = create(model="x", file=talk, response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert (told.duration, told.language, [s.text for s in told.segments]) == (2.0, "yue", ["早", "晨"])
    assert [(w.word, w.start, w.end) for w in told.words] == [("早", 0, 0.5), ("晨", 1, 1.5)]


def test_a_stream_as_the_client_reads_it(page, talk):
    client, _ = page
    events = list(client.audio.transcriptions.create(model="x", file=talk, stream=True))
    assert [event.type for event in events] == ["transcript.text.delta"] * 2 + ["transcript.text.done"]
    assert "".join(event.delta for event in events[:-1]) == events[-1].text == "早晨"


# The client calls its own method deprecated; servers of this API still have it.
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_translations_where_the_model_does_them(page, talk):
    client, service = page
    create = client.audio.translations.create
    if service.recognizer.translates:
        assert create(model="x", file=talk).text == "Good morning"
        talk.seek(0)
        assert create(model="x", file=talk, response_format="verbose_json").segments[1].text == "morning"
    else:
        with pytest.raises(openai.BadRequestError, match="does not translate") as caught:
            create(model="x", file=talk)
        assert caught.value.param == "model" and caught.value.type == "invalid_request_error"


def test_models(page):
    client, _ = page
    assert [model.id for model in client.models.list()] == ["me/whisper"]
    assert client.models.retrieve("me/whisper").owned_by == "cantowhisper"
    with pytest.raises(openai.NotFoundError, match="no such model"):
        client.models.retrieve("whisper-1")


@pytest.mark.parametrize(
    ("field", "value"),
    [("include", ["logprobs"]), ("prompt", "names"), ("temperature", 0.5), ("timestamp_granularities", ["word"])],
)
def test_what_cannot_be_done_is_the_clients_bad_request(page, talk, field, value):
    client, _ = page
    with pytest.raises(openai.BadRequestError) as caught:
        client.audio.transcriptions.create(model="x", file=talk, **{field: value})
    assert caught.value.param == field and caught.value.type == "invalid_request_error"


def test_too_many_requests_are_the_clients_rate_limit(page, talk):
    client, service = page
    with ExitStack() as places:
        for _ in range(service.limits.max_under_way_per_visitor):
            places.enter_context(service.under_way.one("127.0.0.1"))
        with pytest.raises(openai.RateLimitError) as caught:
            client.audio.transcriptions.create(model="x", file=talk)
    assert caught.value.code == "rate_limit_exceeded" and caught.value.response.headers["retry-after"] == "30"


# litellm's own requirements pin other versions than ours, so it lies in a folder of its own with the few that it needs.
LITELLM = (
    "litellm==1.110.2",
    "python-dotenv",
    "fastuuid",
    "importlib-metadata<9",
    "zipp",
    "tiktoken",
    "regex",
    "h2",
    "hpack",
    "hyperframe",
    "pydantic-settings",
)
ASK_LITELLM = """
import sys, litellm, openai
url, path = sys.argv[1:]
how = {"model": "openai/whisper", "api_base": url, "api_key": "none"}
print(litellm.transcription(file=open(path, "rb"), **how).text)
try:
    litellm.transcription(file=open(path, "rb"), prompt="names", **how)
except openai.BadRequestError as error:
    print("refused:", "prompt is not supported" in str(error))
"""


@pytest.mark.slow
def test_litellm_reads_transcripts_and_refusals(page, talk, tmp_path_factory):
    client, _ = page
    folder = tmp_path_factory.getbasetemp() / "litellm"
    if not folder.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), *LITELLM]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        if done.returncode:
            pytest.skip(f"litellm cannot be installed here: {done.stderr.strip().splitlines()[-1:]}")
    told = {**os.environ, "PYTHONPATH": str(folder), "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "*"}
    command = [sys.executable, "-c", ASK_LITELLM, str(client.base_url), talk.name]
    done = subprocess.run(command, env=told, capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines() == ["早晨", "refused: True"], done.stderr
