"""The commands `transcribe` and `serve`."""

import argparse
import sys
from pathlib import Path

from cantowhisper.cli.options import whole_number
from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.files import write_text

FORMATS = ("txt", "srt", "vtt", "tsv", "json")
CONTEXTS = ("merged", "plain", "full")  # speech.context has them too, but takes NumPy to read


def add_transcribe(subparsers) -> argparse.ArgumentParser:
    command = subparsers.add_parser("transcribe", help="recordings → text")
    command.add_argument("input", nargs="+", type=Path, help="audio or video files")
    command.add_argument("--model", required=True, help="model folder or Hub id")
    command.add_argument("--format", default="txt", choices=FORMATS)
    command.add_argument("--out", type=Path, help="folder for one file an input (default: print)")
    command.add_argument("--language", help="code or name, or auto; default: what the model was trained for, or hears")
    command.add_argument("--script", choices=("traditional", "simplified"), help="default: as the model writes")
    command.add_argument(
        "--beam-size", type=whole_number, default=1, help="1 (default) is greedy; 5 costs twice the time"
    )
    command.add_argument("--threads", type=whole_number, help="CPU threads (default: all cores)")
    command.add_argument("--context", choices=CONTEXTS, help="full computes all of the 30 s window (default: merged)")
    command.set_defaults(run=run_transcribe)
    return command


def run_transcribe(arguments) -> int:
    from cantowhisper.serving.recognizer import Recognizer
    from cantowhisper.serving.subtitles import write
    from cantowhisper.speech.audio import read_sound

    recognizer = Recognizer.open(arguments.model, threads=arguments.threads, context=arguments.context)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for path in arguments.input:
        try:
            sound = read_sound(path)
            for note in sound.notes:
                print(f"cantowhisper: {path}: {note}", file=sys.stderr)
            segments = recognizer.transcribe(
                sound.waveform,
                language=arguments.language,
                script=arguments.script,
                beam_size=arguments.beam_size,
            )
        except UsageError:
            raise
        except CantowhisperError as error:  # one bad file of many: say so, and do the others
            print(f"cantowhisper: {path}: {error}", file=sys.stderr)
            failed += 1
            continue
        _deliver(path, write(segments, arguments.format), arguments)
    return 1 if failed else 0


def _deliver(path: Path, text: str, arguments) -> None:
    if arguments.out:
        target = arguments.out / f"{path.stem}.{arguments.format}"
        write_text(text, target)
        print(target)
    else:
        if len(arguments.input) > 1:
            print(f"== {path.name}")
        print(text.rstrip("\n"))


def add_serve(subparsers) -> argparse.ArgumentParser:
    command = subparsers.add_parser("serve", help="open a web page")
    pages = command.add_subparsers(metavar="PAGE", required=True, dest="page", parser_class=_PageParser)
    pages.add_parser("offline", help="files and the microphone")
    pages.add_parser("online", help="live")
    command.set_defaults(run=run_serve)
    return command


class _PageParser(argparse.ArgumentParser):
    """Options of a page, one for each of its limits; read from `serving` only when a page is asked for."""

    def parse_known_args(self, args=None, namespace=None):
        from cantowhisper.serving.web.settings import add_serve_options

        if "--model" not in self._option_string_actions:
            page = self.prog.split()[-1]
            self.add_argument("--model", required=True, help="model folder or Hub id")
            if page == "offline":
                self.add_argument("--base", help="model before fine-tuning, to compare with")
            add_serve_options(self, _limits(page))
            self.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
        return super().parse_known_args(args, namespace)


def _limits(page: str) -> type:
    if page == "offline":
        from cantowhisper.serving.offline.limits import Limits

        return Limits
    from cantowhisper.serving.live.engine import LiveLimits

    return LiveLimits


def run_serve(arguments) -> None:
    from cantowhisper.repository import load_page
    from cantowhisper.serving.web.settings import page_options

    load_page(arguments.page).main(**page_options(arguments, _limits(arguments.page)))
