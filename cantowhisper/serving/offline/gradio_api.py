"""The page's named endpoints, `/transcribe` and `/transcribe_url`, for gradio_client and curl.

app_offline/README.md documents what they take and give.
"""

from collections.abc import AsyncIterator
from contextlib import aclosing

import gradio as gr

from cantowhisper.serving.offline.service import Choices, Service, as_json, language_of
from cantowhisper.serving.offline.transcription import friendly
from cantowhisper.serving.texts.say import Say
from cantowhisper.serving.web.visitors import visitor_address


def add_endpoints(service: Service) -> None:
    """Add both endpoints to the page that is being built."""
    with gr.Row(visible=False):
        file, link, result = gr.File(label="file"), gr.Textbox(label="url"), gr.JSON(label="result")
        language, script = gr.Textbox(label="language"), gr.Textbox(label="script")
        beam, characters = gr.Number(1, label="beam_size", precision=0), gr.Checkbox(label="characters")
        by_file, by_link = gr.Button(), gr.Button()
    options = [language, script, beam, characters]

    async def answer(paths, link, language, script, beam, characters, request: gr.Request) -> AsyncIterator:
        choices = Choices(language or "", script or "", beam or 1, characters=bool(characters))
        told = {"visitor": visitor_address(request), "session": request.session_hash or ""}
        async with aclosing(service.run(paths, link=link, choices=choices, **told)) as steps:
            async for status in steps:
                results = status.results
                yield gr.skip()  # nothing yet; but only between steps Gradio can tell us that the client has gone
        yield as_json(results[0], model=service.name, language=language_of(results[0], language or "", service))

    async def transcribe(file, language="", script="", beam_size=1, characters=False, request: gr.Request = None):
        paths = [file] if file else []
        async for step in _answered(answer, paths, "", language, script, beam_size, characters, request):
            yield step

    async def transcribe_url(url, language="", script="", beam_size=1, characters=False, request: gr.Request = None):
        async for step in _answered(answer, [], url, language, script, beam_size, characters, request):
            yield step

    shared = {"outputs": result, "concurrency_limit": None}
    by_file.click(transcribe, [file, *options], api_name="transcribe", **shared)
    by_link.click(transcribe_url, [link, *options], api_name="transcribe_url", **shared)


async def _answered(answer, paths: list, link: str, *rest) -> AsyncIterator:
    """What a program gets: at the end the result, or the friendly words of the refusal as the error, in English."""
    if not paths and not (link or "").strip():
        raise gr.Error(Say()("ask.nothing"), print_exception=False)
    try:
        async with aclosing(answer(paths, (link or "").strip(), *rest)) as steps:
            async for step in steps:
                yield step
    except Exception as error:
        raise gr.Error(friendly(error), print_exception=False) from None
