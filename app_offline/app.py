"""The page for recordings: upload a file or record, get a transcript with times, take it away as a file.

It only builds the page and wires its events; what happens to a recording is in cantowhisper.serving.work.
"""

import argparse
import html
import logging
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import gradio as gr

from cantowhisper.serving.limits import Limits
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.serving.work import Progress, StopRequests, friendly, segments_table, transcribe_file, write_files

HERE = Path(__file__).resolve().parent
DOWNLOADS = ("txt", "srt", "vtt")
THREADS = 2  # a free Space has two virtual cores; more threads than cores wait for each other
EXAMPLE_CLIPS = {
    "market_morning.mp3": "街市 Market (MP3)",
    "voice_memo.m4a": "錄音 Voice memo (M4A)",
    "video_news.mp4": "短片 Video (MP4)",
    "street_noise.mp3": "嘈雜 With noise (MP3)",
}
LANGUAGES = {"yue": "粵語 Cantonese", "zh": "普通話 Mandarin", "en": "英文 English"}
SCRIPTS = [("原樣 As is", ""), ("繁體 Traditional", "traditional"), ("简体 Simplified", "simplified")]

CUT_SHORT = {
    "time": "時間到，只轉咗前面部分。 The time allowed was used up: this is the first part only.",
    "stopped": "已停止，呢度係停之前嘅文字。 Stopped: this is the text until then.",
}

log = logging.getLogger("cantowhisper.app_offline")


def build_page(
    recognizer: Recognizer, *, limits: Limits | None = None, examples: list[Path] | None = None
) -> gr.Blocks:
    """The page, ready to be launched with `launch_options(limits)`.

    Parameters
    ----------
    recognizer : the one model that all visitors share
    limits : what a visitor may ask for
    examples : recordings to try; by default those of samples/clips, where they are
    """
    limits = limits or Limits()
    page = gr.Blocks(
        title="cantowhisper · 粵語轉文字",
        analytics_enabled=False,
        delete_cache=(limits.look_for_old_files_s, limits.keep_files_s),
    )
    with page:
        gr.HTML(_header(recognizer))
        with gr.Row(equal_height=False):
            with gr.Column(scale=5, min_width=320):
                source, file, recording = _inputs(examples if examples is not None else example_clips())
                language, script = _choices(recognizer)
                with gr.Row():
                    go = gr.Button("轉文字 Transcribe", variant="primary", scale=3, elem_id="go")
                    stop = gr.Button("停止 Stop", scale=1, min_width=110, elem_id="stop")
            with gr.Column(scale=6, min_width=320):
                outputs = _outputs()
        gr.HTML(_footer(limits))

        _wire(recognizer, limits, go, stop, [source, file, recording, language, script], outputs)
    return page.queue(max_size=limits.max_queue)


def _wire(recognizer: Recognizer, limits: Limits, go, stop, inputs: list, outputs: list) -> None:
    """What the buttons do. Stop is a request that the work looks at, so that what is done by then is kept.

    (Gradio's own `cancels=` now and then leaves the button that was cancelled without effect.)
    """
    stops = StopRequests()
    at_once = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}

    def work(source, file, recording, language, script, request: gr.Request):
        path = file if source == "file" else recording
        asked = lambda: stops.asked(request.session_hash)
        yield from steps(recognizer, path, limits, language=language, script=script, should_stop=asked)

    def forget(request: gr.Request):
        stops.clear(request.session_hash)

    def ask(request: gr.Request):
        stops.ask(request.session_hash)

    go.click(forget, **at_once).then(
        work,
        inputs,
        outputs,
        concurrency_id="model",  # one recording at a time: two would only share the same cores
        concurrency_limit=1,
        show_progress="minimal",
        show_progress_on=outputs[:1],
        api_visibility="private",
    )
    stop.click(ask, **at_once)


def steps(
    recognizer: Recognizer,
    path: str | None,
    limits: Limits,
    *,
    language: str = "",
    script: str = "",
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[list]:
    """Values of the outputs (status, text, table, downloads) as the work on one recording goes on."""
    if not path:
        yield _refused("請先揀檔案或者錄音。 Choose a file or record something first.")
        return
    yield [_status("讀緊檔案… Reading the recording …"), "", "", *(gr.skip() for _ in DOWNLOADS)]
    try:
        # Downloads are copied into Gradio's own store when they are yielded, so this folder need not live longer.
        with tempfile.TemporaryDirectory(prefix="cantowhisper-") as folder:
            chosen = {"language": language or None, "script": script or None, "should_stop": should_stop}
            for progress in transcribe_file(recognizer, path, limits=limits, **chosen):
                yield _shown(progress, folder, Path(path).stem)
    except Exception as error:
        message = friendly(error)
        if "出咗錯" in message:
            log.error("a request failed: %s", type(error).__name__)  # never the visitor's words, names or paths
        yield _refused(message)


def _shown(progress: Progress, folder: str, stem: str) -> list:
    text = "\n".join(s.text for s in progress.segments)
    if not progress.finished:
        state = f"{progress.share:.0%} · {len(progress.segments)} 句 segments"
        return [
            _status(state, share=progress.share),
            text,
            segments_table(progress.segments),
            *(gr.skip() for _ in DOWNLOADS),
        ]
    if not progress.segments:
        return _refused(CUT_SHORT.get(progress.cut_short, "聽唔到有人講嘢。 No speech was heard in this recording."))
    files = write_files(progress.segments, folder, stem, DOWNLOADS)
    done = f"完成 Done · {progress.duration_s:.0f} s · {progress.work_s:.1f} s 處理 to transcribe"
    done = CUT_SHORT.get(progress.cut_short, done)
    buttons = [gr.update(value=path, interactive=True) for path in files]
    return [_status(done, share=1.0), text, segments_table(progress.segments), *buttons]


def _refused(message: str) -> list:
    closed = [gr.update(value=None, interactive=False) for _ in DOWNLOADS]
    return [f"<p class='status problem' role='alert'>{html.escape(message)}</p>", "", "", *closed]


def _status(message: str, *, share: float | None = None) -> str:
    bar = "" if share is None else f"<div class='bar' aria-hidden='true'><i style='width:{share:.1%}'></i></div>"
    return f"<p class='status' role='status'>{html.escape(message)}</p>{bar}"


def _inputs(examples: list[Path]) -> tuple:
    """File and microphone tabs; `source` says which of them is in front."""
    source = gr.State("file")
    with gr.Tabs():
        with gr.Tab("檔案 File", id="file") as file_tab:
            file = gr.File(
                label="聲音或者短片 Audio or video", file_types=["audio", "video"], height=170, elem_id="file"
            )
            if examples:
                labels = [EXAMPLE_CLIPS.get(p.name, p.stem) for p in examples]
                gr.Examples([[str(p)] for p in examples], [file], example_labels=labels, label="例子 Examples")
        with gr.Tab("咪高風 Microphone", id="microphone") as microphone_tab:
            recording = gr.Audio(
                sources=["microphone"], type="filepath", format="wav", label="錄音 Recording", elem_id="recording"
            )
    for tab, name in ((file_tab, "file"), (microphone_tab, "microphone")):
        tab.select(lambda name=name: name, None, source, queue=False, show_progress="hidden", api_visibility="private")
    return source, file, recording


def _choices(recognizer: Recognizer) -> tuple:
    trained = recognizer.facts.language_token
    choices = [("預設 Default", "")]
    choices += [(n, c) for c, n in LANGUAGES.items() if c in recognizer.languages and f"<|{c}|>" != trained]
    with gr.Row():
        language = gr.Dropdown(choices, value="", label="語言 Language", min_width=150, elem_id="language")
        script = gr.Dropdown(SCRIPTS, value="", label="字體 Script", min_width=150, elem_id="script")
    return language, script


def _outputs() -> list:
    status = gr.HTML(_status("揀檔案或者錄音，然後撳「轉文字」。 Choose a file or record, then press Transcribe."))
    text = gr.Textbox(
        label="文字 Transcript", lines=8, max_lines=18, interactive=False, buttons=["copy"], elem_id="transcript"
    )
    with gr.Row(elem_id="downloads"):
        buttons = [
            gr.DownloadButton(name.upper(), interactive=False, size="md", min_width=80, elem_id=f"download-{name}")
            for name in DOWNLOADS
        ]
    table = gr.HTML(elem_id="segments")
    return [status, text, table, *buttons]


def _header(recognizer: Recognizer) -> str:
    return (
        "<header class='head'><h1>粵語轉文字 <span lang='en'>Cantonese to text</span></h1>"
        "<p>上載或者錄一段說話，變成有時間嘅文字。 "
        "<span lang='en'>Upload or record speech and get its words, with times.</span></p></header>"
    )


def _footer(limits: Limits) -> str:
    items = "".join(
        f"<div><dt>{zh} {html.escape(en)}</dt><dd>{html.escape(value)}</dd></div>"
        for zh, en, value in limits.described()
    )
    return f"<footer class='limits'><h2>上限 Limits</h2><dl>{items}</dl></footer>"


def example_clips() -> list[Path]:
    """The sample clips beside this folder: in the repository, or inside a Space."""
    for folder in (HERE / "samples" / "clips", HERE.parent / "samples" / "clips"):
        if folder.is_dir():
            return [folder / name for name in EXAMPLE_CLIPS if (folder / name).exists()]
    return []


def launch_options(limits: Limits) -> dict:
    """Arguments of `launch()` without which the page would not look, or not be safe, as intended."""
    return {
        "theme": _theme(),
        "css_paths": [HERE / "style.css"],
        "max_file_size": limits.max_file_bytes,
        "run_history": False,  # speech is private: nobody sees what others asked
        "footer_links": [],
        "ssr_mode": False,  # would start Node beside Python
        "enable_monitoring": False,
        "show_error": False,
    }


def _theme() -> gr.themes.Base:
    """Calm: one accent, for what to press. Fonts are the visitor's own, so that nothing is fetched from elsewhere."""
    fonts = ["system-ui", "-apple-system", "PingFang HK", "Noto Sans HK", "Noto Sans CJK HK", "Microsoft JhengHei"]
    plain = {
        f"block_{part}_{what}": value
        for part in ("label", "title")
        for what, value in {
            "background_fill": "transparent",
            "background_fill_dark": "transparent",
            "text_color": "*body_text_color_subdued",
            "text_color_dark": "*body_text_color_subdued",
            "text_weight": "500",
        }.items()
    }
    theme = gr.themes.Soft(
        primary_hue="teal", secondary_hue="teal", neutral_hue="slate", radius_size="lg", font=[*fonts, "sans-serif"]
    )
    return theme.set(
        **plain,
        body_background_fill="*neutral_50",
        block_label_border_width="0px",
        block_label_shadow="none",
        input_border_width="1px",
        input_border_width_dark="1px",
        body_text_color_subdued="*neutral_500",  # 4.7:1 on the page's background
        button_primary_background_fill="*primary_700",  # white on it is readable (5.5:1); on Soft's 500 it is not
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
    )


def main(model: str | None = None, host: str | None = None, port: int | None = None) -> None:
    """Serve the page until it is stopped.

    model : folder or Hub id; by default what the environment variable MODEL_ID says
    host, port : by default what Gradio takes: 127.0.0.1:7860, or what a Space sets in its environment
    """
    model = model or os.environ.get("MODEL_ID")
    if not model:
        raise SystemExit("no model: give --model FOLDER_OR_HUB_ID, or set MODEL_ID (on a Space: Settings, Variables)")
    limits = Limits()
    page = build_page(Recognizer.open(model, threads=THREADS), limits=limits)
    page.launch(server_name=host, server_port=port, **launch_options(limits))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve the page for recordings.")
    parser.add_argument("--model", help="model folder or Hub id (default: the variable MODEL_ID)")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    main(**vars(parser.parse_args()))
