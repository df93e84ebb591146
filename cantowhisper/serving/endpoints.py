"""The page's named endpoints, `/transcribe` and `/transcribe_url`, for gradio_client and curl.

app_offline/README.md documents what they take and give.
"""

import gradio as gr

from cantowhisper.serving.limits import visitor_address
from cantowhisper.serving.service import Choices, Service, as_json
from cantowhisper.serving.work import friendly


def add_endpoints(service: Service) -> None:
    """Add both endpoints to the page that is being built."""
    with gr.Row(visible=False):
        file, link, result = gr.File(label="file"), gr.Textbox(label="url"), gr.JSON(label="result")
        language, script = gr.Textbox(label="language"), gr.Textbox(label="script")
        beam, characters = gr.Number(1, label="beam_size", precision=0), gr.Checkbox(label="characters")
        by_file, by_link = gr.Button(), gr.Button()
    options = [language, script, beam, characters]

    def answer(paths, link, language, script, beam, characters, request: gr.Request) -> dict:
        choices = Choices(language or "", script or "", beam or 1, characters=bool(characters))
        told = {"visitor": visitor_address(request), "session": request.session_hash or ""}
        (*_, last) = service.run(paths, link=link, choices=choices, **told)
        return as_json(last.results[0], model=service.name, language=language or _trained_for(service))

    def transcribe(file, language="", script="", beam_size=1, characters=False, request: gr.Request = None):
        return _answered(answer, [file] if file else [], "", language, script, beam_size, characters, request)

    def transcribe_url(url, language="", script="", beam_size=1, characters=False, request: gr.Request = None):
        return _answered(answer, [], url, language, script, beam_size, characters, request)

    shared = {"outputs": result, "concurrency_limit": None}
    by_file.click(transcribe, [file, *options], api_name="transcribe", **shared)
    by_link.click(transcribe_url, [link, *options], api_name="transcribe_url", **shared)


def _answered(answer, paths: list, link: str, *rest):
    """What a program gets: the result, or the friendly words of the refusal as the error."""
    if not paths and not (link or "").strip():
        raise gr.Error("冇檔案亦冇連結。 Neither a file nor a link was given.", print_exception=False)
    try:
        return answer(paths, (link or "").strip(), *rest)
    except Exception as error:
        raise gr.Error(friendly(error), print_exception=False) from None


def _trained_for(service: Service) -> str:
    return service.recognizer.facts.language_token.strip("<|>")
