"""Every stage as a command. Exit codes: 0 done, 1 the work failed, 2 wrong usage; errors are one line."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from cantowhisper import __version__
from cantowhisper.cli import deploy
from cantowhisper.cli.features import features_command
from cantowhisper.cli.live import add_live
from cantowhisper.cli.options import CommandParser, port, whole_number
from cantowhisper.cli.training import adapt_command, export_command, push_command, score_command, train_command
from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.files import write_text

FORMATS = ("txt", "srt", "vtt", "tsv", "json")
CONTEXTS = ("merged", "plain", "full")  # speech.context has them too, but takes NumPy to read


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = parser().parse_args(argv)
    try:
        return arguments.run(arguments) or 0
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`); Python would complain once more when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except CantowhisperError as error:
        if arguments.debug:
            raise
        print(f"cantowhisper: {' '.join(str(error).split())}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except (ImportError, OSError, MemoryError) as error:
        if arguments.debug:
            raise
        print(f"cantowhisper: {_explain(error)}", file=sys.stderr)
        return 1


def _explain(error: Exception) -> str:
    if isinstance(error, ImportError):
        return f"{error}; install what this command needs: pip install 'cantowhisper[features,training,serving]'"
    if isinstance(error, MemoryError):
        return "out of memory; use a smaller batch or a machine with more"
    return " ".join(f"{error.strerror or error} {error.filename or ''}".split())


def parser() -> argparse.ArgumentParser:
    """The command line, one function a command."""
    top = CommandParser(
        prog="cantowhisper", description="Teach Whisper a language it does not know well, starting with Cantonese."
    )
    top.add_argument("--version", action="version", version=f"cantowhisper {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)
    training = (train_command, adapt_command, score_command, export_command, push_command)
    for add in (features_command, *training, _transcribe, add_live, _serve, deploy.add_command, _demo):
        command = add(commands)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return top


# ---------------------------------------------------------------------------------------------------- serving


def _transcribe(commands) -> argparse.ArgumentParser:
    command = commands.add_parser("transcribe", help="recordings → text")
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
    command.set_defaults(run=_run_transcribe)
    return command


def _run_transcribe(arguments) -> int:
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


def _serve(commands) -> argparse.ArgumentParser:
    command = commands.add_parser("serve", help="open a web page")
    pages = command.add_subparsers(metavar="PAGE", required=True, dest="page", parser_class=_PageParser)
    pages.add_parser("offline", help="files and the microphone")
    pages.add_parser("online", help="live")
    command.set_defaults(run=_run_serve)
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


def _run_serve(arguments) -> None:
    from cantowhisper.repository import load_page
    from cantowhisper.serving.web.settings import page_options

    load_page(arguments.page).main(**page_options(arguments, _limits(arguments.page)))


def _demo(commands) -> argparse.ArgumentParser:
    command = commands.add_parser("demo", help="the whole path: both notebooks, then the page")
    command.add_argument("--source", default="samples", help="as in `features` (default: samples)")
    command.add_argument("--model", help="what to train (default: a miniature from scratch; or openai/whisper-small …)")
    command.add_argument("--out", type=Path, default=Path("demo"), help="folder for everything that is made")
    command.add_argument("--preset", help="demo, t4 or gpu (default: demo; with --model t4)")
    command.add_argument("--open", default="1", choices=("0", "1"), help="1 leaves the page running, 0 ends")
    command.add_argument("--port", type=port, default=7860)
    command.set_defaults(run=_run_demo)
    return command


def _run_demo(arguments) -> int:
    from cantowhisper.cli.demo import run_demo

    return run_demo(
        source=arguments.source,
        model=arguments.model,
        out=arguments.out,
        preset=arguments.preset,
        open_page=arguments.open == "1",
        port=arguments.port,
    )
