"""The live page: text appears while people speak.

It only builds the page; who is listened to when is decided in cantowhisper.serving.live.engine, and what the browser
does stands in the .js files beside this one.
"""

import argparse
import html
import logging
import os
import re
import sys
from functools import partial
from pathlib import Path

import gradio as gr
from gradio.context import LocalContext

from cantowhisper.serving.engines import zero_gpu
from cantowhisper.serving.glossary import MAX_LIST_CHARACTERS
from cantowhisper.serving.live.engine import LiveEngine
from cantowhisper.serving.live.limits import LiveLimits
from cantowhisper.serving.live.service import LiveService
from cantowhisper.serving.menus import language_choices
from cantowhisper.serving.realtime import endpoint as realtime
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.serving.texts import live, shared
from cantowhisper.serving.texts.languages import name_of
from cantowhisper.serving.texts.say import Say, Told, how_long, script_of
from cantowhisper.serving.theme import SHARED_SCRIPT, SHARED_STYLE, calm_theme, page_head
from cantowhisper.serving.web.filter import Open
from cantowhisper.serving.web.language import Page
from cantowhisper.serving.web.running import leave_at_once_if_busy, require_port, run_until_asked
from cantowhisper.serving.web.settings import Whereabouts, add_serve_options, from_environment, opened, run_page
from cantowhisper.serving.web.site import Site, lighten_gradio
from cantowhisper.serving.web.visitors import visitor_address

log = logging.getLogger(__name__)
HERE = Path(__file__).resolve().parent
# One after the other, as one program.
SCRIPTS = ("words.js", "recorder.js", "transport.js", "transcript.js", "keep.js", "page.js")
KEEP_FILES_S = 3600  # nothing is uploaded; what Gradio itself writes goes soon
THREADS = 2  # a free Space has two virtual cores
PARTS = ("start", "stop", "leave", "hint", "privacy", "times", "copy", "clear")  # of page.html
SCRIPT_CHOICES = {"": "default", "traditional": "traditional", "simplified": "simplified"}


def build_page(recognizer: Recognizer, *, limits: LiveLimits | None = None, engine: LiveEngine | None = None):
    """The page, ready to be launched with `launch_options(limits)`. Its worker runs from now on.

    Parameters
    ----------
    recognizer : the one model that all speakers share
    limits : what the page serves
    engine : default: one for `recognizer` and `limits`
    """
    lighten_gradio()
    limits = limits or LiveLimits()
    engine = engine or LiveEngine(recognizer, limits=limits)
    service = LiveService(engine.run(), visitor=lambda: visitor_address(LocalContext.request.get(None)))
    # Gradio keeps some state for each tab that ever calls; tabs beyond this lose nothing, ours is in the engine.
    page = Page(title=Told(lambda say: f"cantowhisper · {say('live.title')}"), analytics_enabled=False)
    with page:
        gr.HTML(
            Told(lambda say: _body(recognizer, say)),
            html_template="${value}",
            js_on_load=Told(_program),
            server_functions=server_functions(service, engine),
            elem_id="live",
        )
        gr.HTML(Told(lambda say: _footer(limits, say)))
        _add_api(service)
    page.engine, page.site = engine, _site(limits, engine)
    page.realtime = realtime.Realtime(engine, closing=page.site.closing.is_set)
    page.site.metrics.watch("realtime_connections", "Programs on /v1/realtime.", lambda: len(page.realtime.connections))
    return page.queue(max_size=limits.max_sessions)


def _site(limits: LiveLimits, engine: LiveEngine | None = None) -> Site:
    """Open doors, and what operators see of the sessions."""
    doors = Open(
        files=False, server_functions=True, websockets=(realtime.PATH,), max_json_bytes=limits.max_request_bytes
    )
    site = Site(doors=doors)
    if engine:
        watch = site.metrics.watch
        watch("live_sessions", "Speakers who have a place.", lambda: len(engine.sessions))
        watch("live_usual_delay_seconds", "From speech to its final text.", lambda: engine.usual_s or 0.0)
        watch("live_behind_seconds", "Sound that waits, of the session with most.", lambda: engine.behind_s)
        watch("live_passes_total", "Times that speech was decoded.", lambda: engine.n_passes)
        watch("work_seconds_total", "Time spent on decoding.", lambda: engine.busy_s)
    return site


def server_functions(service: LiveService, engine: LiveEngine) -> list:
    """What the page's script calls; each takes one object, because Gradio gives several arguments as one list."""

    def live_start(request: dict) -> dict:
        choices = _only(request, "language", "script", "at", "known")
        return _for_reader(service.start_with(request.get("words", ""), **choices), request)

    def live_push(request: dict) -> dict:
        sound = _only(request, "session", "offset", "audio", "oldest", "seen", "end")
        return _for_reader(service.push(**sound), request)

    def live_poll(request: dict) -> dict:
        return _for_reader(service.poll(**_only(request, "session", "seen")), request)

    def live_forget(request: dict) -> dict:
        engine.forget(str(request.get("session")))
        return {}

    def live_subtitles(request: dict) -> dict:
        return _for_reader(service.subtitles(**_only(request, "name", "lines")), request)

    return [live_start, live_push, live_poll, live_forget, live_subtitles]


def _only(request: dict, *names: str) -> dict:
    return {name: request[name] for name in names if name in request}


def _for_reader(answer: dict, request: dict) -> dict:
    """An answer in the language that the page is shown in; programs get it as it is documented."""
    say = Say(str(request.get("read_in")))
    if answer.get("language"):
        answer = {**answer, "language_name": name_of(answer["language"], say)}
    return say.of(answer)


def _add_api(service: LiveService) -> None:
    """The same calls for programs, without the queue: /start, /push, /poll and /finish."""
    for name in ("start", "push", "poll", "finish"):
        gr.api(getattr(service, name), api_name=name, queue=False)


@zero_gpu.borrow
def unused() -> None:
    """ZeroGPU starts only programs that have a GPU function. The live model runs on the CPU, where it is fast enough:
    visitors have minutes of GPU a day, and taking it for each quarter of a second would use them up at once.
    """


def _program(say: Say) -> str:
    """The page's script, with what it tells people."""
    files = [SHARED_SCRIPT, *(HERE / name for name in SCRIPTS)]
    return script_of([shared, live], say) + "\n".join(file.read_text(encoding="utf-8") for file in files)


def _body(recognizer: Recognizer, say: Say) -> str:
    text = (HERE / "page.html").read_text(encoding="utf-8")
    scripts = {value: say(f"script.{name}") for value, name in SCRIPT_CHOICES.items()}
    parts = {
        "@header": page_head(say("live.title"), say("live.head"), say),
        "@choose_language": _options(say.of(language_choices(recognizer.facts, recognizer.languages))),
        "@choose_script": _options(scripts),
        "@words": _words(say) if recognizer.takes_words else "",
        "@slow": f"<p class='slow'>{say('live.slow')}</p>" if recognizer.slow else "",
        **{f"@{key}": say(key) for key in ("language", "script", "text", "recording")},
        **{f"@{key}": say(f"live.{key}") for key in PARTS},
    }
    return re.sub("@[a-z_]+", lambda found: parts[found[0]], text)


def _words(say: Say) -> str:
    return (
        f"<label class='words'>{say('live.words', words=say('words'))}"
        f"<textarea id='live-words' rows='2' maxlength='{MAX_LIST_CHARACTERS}'></textarea></label>"
    )


def _options(choices: dict[str, str]) -> str:
    return "".join(f'<option value="{html.escape(v)}">{html.escape(name)}</option>' for v, name in choices.items())


def _footer(limits: LiveLimits, say: Say) -> str:
    items = [
        say("live.at_once", n=limits.max_sessions),
        say("live.session", time=how_long(limits.max_session_s, say)),
    ]
    rows = "".join(f"<li>{item}</li>" for item in items)
    return f"<footer class='limits'><h2>{say('limits')}</h2><ul>{rows}</ul><p>{say('live.privacy')}</p></footer>"


def launch_options(
    limits: LiveLimits | None = None, *, site: Site | None = None, programs: realtime.Realtime | None = None
) -> dict:
    """Arguments of `launch()` without which the page would not look, or not be safe, as intended.

    site : of the page that is launched; without it, operators see nothing of its sessions
    programs : of the same page; without it, there is no /v1/realtime
    """
    site = site or _site(limits or LiveLimits())
    return {
        "app_kwargs": site.app_kwargs(programs.routes() if programs else ()),
        "theme": calm_theme(),
        "css_paths": [SHARED_STYLE, HERE / "style.css"],
        "max_file_size": 1,  # nothing is ever uploaded as a file
        "state_session_capacity": 100,  # what Gradio keeps of tabs; sessions are the engine's
        "run_history": False,
        "footer_links": ["api"],
        "ssr_mode": False,  # would start Node beside Python
        "enable_monitoring": False,
        "show_error": False,
    }


def main(
    model: str | None = None,
    host: str | None = None,
    port: int | None = None,
    *,
    threads: int = THREADS,
    context: str | None = None,
    limits: LiveLimits | None = None,
    where: Whereabouts | None = None,
) -> None:
    """Serve the page until it is stopped.

    model : folder or Hub id; by default what the environment variable MODEL_ID says
    host, port : by default what Gradio takes: 127.0.0.1:7860, or what a Space sets in its environment
    threads : of the CPU, for the model
    context : as in Recognizer.open
    limits, where : by default what the environment says
    """
    model = model or os.environ.get("MODEL_ID")
    if not model:
        raise SystemExit("no model: give --model FOLDER_OR_HUB_ID, or set MODEL_ID (on a Space: Settings, Variables)")
    limits, where = limits or from_environment(LiveLimits), where or from_environment(Whereabouts)
    host, port = require_port(host, port)
    with opened(where, keep_s=KEEP_FILES_S, sweep_every_s=KEEP_FILES_S / 6):
        recognizer = Recognizer.open(model, threads=threads, context=context)
        if recognizer.slow:
            log.warning("this model has no export and could not be given one: live text will come late")
        page = build_page(recognizer, limits=limits)
        options = {"server_name": host, "server_port": port, "root_path": where.root_path or None}
        # _frontend=False: no request of the page to itself, which a busy machine answers too late.
        options |= launch_options(limits, site=page.site, programs=page.realtime)

        def start() -> None:
            page.launch(prevent_thread_lock=True, _frontend=False, **options)
            page.realtime.bound_messages(page.server)

        ending = [page.site.closing.set, page.engine.close, partial(page.close, verbose=False)]
        run_until_asked(start, ending=ending)
    leave_at_once_if_busy(page.engine.thread)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve the live page.")
    parser.add_argument("--model", help="model folder or Hub id (default: the variable MODEL_ID)")
    add_serve_options(parser, LiveLimits)
    sys.exit(run_page(main, parser, LiveLimits))
