"""The page for recordings: upload files, record, or paste a link; read, hear and take away a transcript with times.

It only builds the page and wires its events; what happens to a recording is in cantowhisper.serving.offline.service.
"""

import argparse
import os
import sys
from contextlib import aclosing
from functools import partial
from pathlib import Path

import gradio as gr

from cantowhisper.serving.engines import zero_gpu
from cantowhisper.serving.glossary import MAX_LIST_CHARACTERS
from cantowhisper.serving.menus import language_choices
from cantowhisper.serving.offline import openai_api, view
from cantowhisper.serving.offline.addresses import Reach
from cantowhisper.serving.offline.download import MAX_URL_CHARACTERS
from cantowhisper.serving.offline.editing import routes as editing
from cantowhisper.serving.offline.gradio_api import add_endpoints
from cantowhisper.serving.offline.limits import Limits
from cantowhisper.serving.offline.service import Choices, Service
from cantowhisper.serving.offline.updates import DOWNLOADS, restored, rewritten, updates
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.serving.speakers.voices import available as speakers_available
from cantowhisper.serving.texts import editor, offline, shared
from cantowhisper.serving.texts.say import Say, Told, said, script_of
from cantowhisper.serving.theme import SHARED_SCRIPT, SHARED_STYLE, calm_theme
from cantowhisper.serving.web.language import Page
from cantowhisper.serving.web.running import leave_at_once_if_busy, require_port, run_until_asked
from cantowhisper.serving.web.settings import Whereabouts, add_serve_options, from_environment, opened, run_page
from cantowhisper.serving.web.site import lighten_gradio
from cantowhisper.serving.web.visitors import visitor_address

HERE = Path(__file__).resolve().parent
SCRIPT_FILES = ("player.js", "editor.js", "jyutping.js")
THREADS = 2  # a free Space has two virtual cores; more threads than cores wait for each other
_CLIPS = ("market_morning.mp3", "voice_memo.m4a", "video_news.mp4", "street_noise.mp3")
EXAMPLE_CLIPS = {name: said(f"example.{Path(name).stem}") for name in _CLIPS}
SCRIPTS = [(said(f"script.{name or 'as_is'}"), name) for name in ("", "traditional", "simplified")]
CARE = [(said("care.fast"), 1), (said("care.careful"), 5)]
AT_ONCE = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}  # for events that compute nothing
CORRECTED = "(script, shown, _, language) => [script, shown, window.corrections.of_page(), language]"
KEPT = "(_, language) => [window.corrections.kept(), language]"
MAX_THREADS = 40  # for what the page writes and reads; whoever waits takes none
# Gradio holds 0.1 MB of each tab and each call of a program, by default of up to 10,000. A tab that is forgotten loses
# one thing: the script of its finished transcript can be changed only by transcribing again.
KEPT_TABS = 100


def build_page(service: Service, *, examples: list[Path] | None = None) -> gr.Blocks:
    """The page, ready to be launched with `launch_options(service)`.

    Parameters
    ----------
    service : the one model that all visitors share, with its limits and queue
    examples : recordings to try; by default those of samples/clips, where they are
    """
    lighten_gradio()
    limits, facts = service.limits, service.recognizer.facts
    page = Page(title=Told(lambda say: view.title_of(facts, say)), analytics_enabled=False)
    with page:
        gr.HTML(Told(lambda say: view.header(facts, say)))
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                go = gr.Button(said("go"), variant="primary", scale=3, elem_id="go", render=False)
                sources = _inputs(go, examples if examples is not None else example_clips())
                choices = _choices(service)
                with gr.Row():
                    go.render()
                    stop = gr.Button(said("stop"), scale=1, min_width=110, elem_id="stop")
            with gr.Column(scale=6, min_width=320):
                outputs = _outputs(limits)
        gr.HTML(Told(lambda say: view.footer(limits, say)))
        _wire(page, service, (go, stop), sources, choices, outputs)
        add_endpoints(service)
    # The queue of the page lets all through to the worker's own, which is fair and also takes other entrances in.
    return page.queue(max_size=None, default_concurrency_limit=None)


def _wire(page: gr.Blocks, service: Service, buttons: tuple, sources: list, choices: list, outputs: dict) -> None:
    """What the buttons do. Stop is a request that the work looks at, so that what is done by then is kept.

    (Gradio's own `cancels=` now and then leaves the button that was cancelled without effect.)
    """

    async def work(
        source, files, recording, link, language, script, beam, compare, speakers, words, read_in, request: gr.Request
    ):
        paths = {"file": files or [], "microphone": [recording] if recording else [], "link": []}[source]
        link = link.strip() if source == "link" else ""
        told = (visitor_address(request), request.session_hash)
        choices = Choices(language, script, beam, compare, speakers=0 if speakers else None)
        async with aclosing(updates(service, paths, link, choices, *told, listed=words, say=Say(read_in))) as changing:
            async for changes in changing:
                yield {outputs[name]: value for name, value in changes.items()}

    async def rewrite(script, shown, kept, read_in):
        async with aclosing(rewritten(shown, script, kept, limits=service.limits, say=Say(read_in))) as changing:
            async for changes in changing:
                yield {outputs[name]: value for name, value in changes.items()}

    async def restore(kept, read_in):
        async with aclosing(restored(kept, limits=service.limits, say=Say(read_in))) as changing:
            async for changes in changing:
                yield {outputs[name]: value for name, value in changes.items()}

    def ask(request: gr.Request):
        service.stops.ask(request.session_hash)

    (go, stop), (_, script, *_, words), shown = buttons, choices, list(outputs.values())
    quietly = {"concurrency_limit": None, "show_progress": "hidden", "api_visibility": "private"}
    read_in = gr.Textbox(Told(lambda say: say.language), visible=False)  # what the page was written in comes back
    done = go.click(work, [*sources, *choices, read_in], shown, **quietly)
    kept = gr.Textbox(visible=False)  # corrections, which the browser has
    for may_differ in (script.change, done.then):  # the choice may have changed during the work too
        may_differ(rewrite, [script, outputs["shown"], kept, read_in], shown, js=CORRECTED, **quietly)
    page.load(restore, [kept, read_in], shown, js=KEPT, **quietly)
    page.load(None, None, words, js="() => window.listedWords.kept()")
    stop.click(ask, **AT_ONCE)
    page.unload(ask)  # a closed tab stops computing


def _inputs(go: gr.Button, examples: list[Path]) -> list:
    """File, microphone and link tabs; `source` says which of them is in front. `go` waits for a recording's end."""
    source = gr.Textbox("file", visible=False)  # in the browser: the server forgets tabs (see KEPT_TABS)
    with gr.Tabs():
        with gr.Tab(said("tab.file"), id="file") as file_tab:
            file = gr.File(
                label=said("files"),
                file_count="multiple",
                file_types=["audio", "video"],
                height=170,
                elem_id="file",
            )
            if examples:
                labels = [EXAMPLE_CLIPS.get(p.name, p.stem) for p in examples]
                gr.Examples([[[str(p)]] for p in examples], [file], example_labels=labels, label=said("examples"))
        with gr.Tab(said("tab.record"), id="microphone") as microphone_tab:
            recording = gr.Audio(
                sources=["microphone"], type="filepath", format="wav", label=said("recording"), elem_id="recording"
            )
        with gr.Tab(said("tab.link"), id="link") as link_tab:
            link = gr.Textbox(
                label=said("link"),
                max_lines=1,
                max_length=MAX_URL_CHARACTERS,
                elem_id="link",
            )
    for tab, name in ((file_tab, "file"), (microphone_tab, "microphone"), (link_tab, "link")):
        tab.select(None, None, source, js=f"() => '{name}'")  # at once: who presses Transcribe next is not too quick
    # A recording can be heard in the page before it is with the server: until then there is nothing to transcribe.
    recording.start_recording(lambda: gr.update(interactive=False), None, go, **AT_ONCE)
    for there_is_something in (recording.stop_recording, recording.clear, file_tab.select, link_tab.select):
        there_is_something(lambda: gr.update(interactive=True), None, go, **AT_ONCE)
    return [source, file, recording, link]


def _choices(service: Service) -> list:
    recognizer = service.recognizer
    languages = language_choices(recognizer.facts, recognizer.languages)
    choices = [(name, code) for code, name in languages.items()]
    with gr.Row():
        language = gr.Dropdown(choices, value="", label=said("language"), min_width=150, elem_id="language")
        script = gr.Dropdown(SCRIPTS, value="", label=said("script"), min_width=150, elem_id="script")
    with gr.Row():
        beam = gr.Dropdown(CARE, value=1, label=said("care"), min_width=150, elem_id="care")
        compare = gr.Checkbox(
            value=False,
            label=said("compare"),
            visible=service.base is not None,
            elem_id="compare",
        )
        speakers = gr.Checkbox(
            value=False, label=said("speakers"), visible=speakers_available(), min_width=150, elem_id="speakers"
        )
    words = gr.Textbox(
        label=said("words"),
        info=said("words.info"),
        lines=2,
        max_lines=8,
        max_length=MAX_LIST_CHARACTERS,
        visible=recognizer.takes_words,
        elem_id="words",
    )
    return [language, script, beam, compare, speakers, words]


def _outputs(limits: Limits) -> dict[str, gr.components.Component]:
    """What a request changes, by the name that it also has in the page's style and script."""
    state = Told(lambda say: view.status_line(say("state.idle"), say))
    outputs = {
        "state": gr.HTML(state, elem_id="state"),
        "player": gr.HTML(elem_id="player"),
        "transcript": gr.Textbox(
            label=said("transcript"), lines=8, max_lines=18, interactive=False, buttons=["copy"], elem_id="transcript"
        ),
    }
    with gr.Row(elem_id="downloads"):
        for name in DOWNLOADS:
            outputs[name] = gr.DownloadButton(
                name.upper(), interactive=False, size="md", min_width=70, elem_id=f"download-{name}"
            )
        outputs["clips"] = gr.Button(
            said("clips"), interactive=False, size="md", min_width=150, elem_id="download-clips"
        )  # editor.js fetches them
    outputs["segments"] = gr.HTML(elem_id="segments")
    outputs["shown"] = gr.State(time_to_live=limits.keep_files_s)  # for the choice of another script afterwards
    outputs["kept"] = gr.File(visible=False)  # what was fetched: Gradio then deletes it when it deletes uploads
    return outputs


def example_clips() -> list[Path]:
    """The sample clips beside this folder: in the repository, or inside a Space."""
    for folder in (HERE / "samples" / "clips", HERE.parent / "samples" / "clips"):
        if folder.is_dir():
            return [folder / name for name in EXAMPLE_CLIPS if (folder / name).exists()]
    return []


def launch_options(service: Service) -> dict:
    """Arguments of `launch()` without which the page would not look, or not be safe, as intended."""
    limits = service.limits
    files = [SHARED_SCRIPT, *(HERE / name for name in SCRIPT_FILES)]
    scripts = "\n".join(file.read_text(encoding="utf-8") for file in files)
    head = lambda say: f"<script>{script_of([shared, offline, editor], say)}{scripts}</script>"
    return {
        "app_kwargs": service.site.app_kwargs([*openai_api.routes(service), *editing.routes(service)]),
        "head": Told(head),
        "max_threads": MAX_THREADS,
        "state_session_capacity": KEPT_TABS,
        "theme": calm_theme(),
        "css_paths": [SHARED_STYLE, HERE / "style.css"],
        "max_file_size": limits.max_file_bytes,
        "run_history": False,  # speech is private: nobody sees what others asked
        "footer_links": [],
        "ssr_mode": False,  # would start Node beside Python
        "enable_monitoring": False,
        "show_error": False,
    }


def main(
    model: str | None = None,
    host: str | None = None,
    port: int | None = None,
    base: str | None = None,
    *,
    threads: int = THREADS,
    context: str | None = None,
    limits: Limits | None = None,
    where: Whereabouts | None = None,
) -> None:
    """Serve the page until it is stopped.

    model : folder or Hub id; by default what the environment variable MODEL_ID says
    base : the model before fine-tuning, to compare with; by default BASE_MODEL_ID, if that is set
    host, port : by default what Gradio takes: 127.0.0.1:7860, or what a Space sets in its environment
    threads : of the CPU, for the model
    context : as in Recognizer.open
    limits, where : by default what the environment says
    """
    model, base = model or os.environ.get("MODEL_ID"), base or os.environ.get("BASE_MODEL_ID")
    if not model:
        raise SystemExit("no model: give --model FOLDER_OR_HUB_ID, or set MODEL_ID (on a Space: Settings, Variables)")
    limits, where = limits or from_environment(Limits), where or from_environment(Whereabouts)
    host, port = require_port(host, port)
    load = partial(Recognizer.open, threads=threads, backend=zero_gpu.backend(), context=context)
    keep = {"keep_s": limits.keep_files_s, "sweep_every_s": limits.look_for_old_files_s}
    with opened(where, **keep) as storage:
        service = Service(
            load(model),
            base=load(base) if base else None,
            limits=limits,
            reach=Reach(also_allow=where.allowed_links),
            name=Path(model).name,
            storage=storage,
        )
        page = build_page(service)
        storage.keep_what_is_here()
        options = {"server_name": host, "server_port": port, "root_path": where.root_path or None}
        # _frontend=False: no request of the page to itself, which a busy machine answers too late.
        start = partial(page.launch, prevent_thread_lock=True, _frontend=False, **options, **launch_options(service))
        run_until_asked(start, ending=[service.close, partial(page.close, verbose=False)])
    leave_at_once_if_busy(service.worker.thread)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve the page for recordings.")
    parser.add_argument("--model", help="model folder or Hub id (default: the variable MODEL_ID)")
    parser.add_argument("--base", help="model before fine-tuning (default: the variable BASE_MODEL_ID)")
    add_serve_options(parser, Limits)
    sys.exit(run_page(main, parser, Limits))
