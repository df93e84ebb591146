"""Every stage as a command. Exit codes: 0 done, 1 the work failed, 2 wrong usage; errors are one line."""

import argparse
import os
import sys
from collections.abc import Sequence

from cantowhisper import __version__
from cantowhisper.cli.curation import add_clean, add_language_model, add_pseudo_label
from cantowhisper.cli.demo import add_demo
from cantowhisper.cli.deploy import add_deploy
from cantowhisper.cli.features import add_features
from cantowhisper.cli.live import add_live
from cantowhisper.cli.options import CommandParser
from cantowhisper.cli.serving import add_serve
from cantowhisper.cli.study import add_study
from cantowhisper.cli.training import add_adapt, add_export, add_push, add_score, add_train
from cantowhisper.cli.transcribe import add_transcribe
from cantowhisper.contracts import CantowhisperError, UsageError

# All commands by one convention: add_NAME adds the parser, whose `run` is run_NAME, which takes the parsed arguments.
COMMANDS = (
    add_features,
    add_clean,
    add_pseudo_label,
    add_train,
    add_adapt,
    add_language_model,
    add_score,
    add_study,
    add_export,
    add_push,
    add_transcribe,
    add_live,
    add_serve,
    add_deploy,
    add_demo,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    arguments = parser().parse_args(argv)
    try:
        return arguments.run(arguments) or 0
    except KeyboardInterrupt:
        print("stopped; the same command resumes from here", file=sys.stderr)
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
    """The whole command line."""
    top = CommandParser(
        prog="cantowhisper", description="Teach Whisper a language it does not know well, starting with Cantonese."
    )
    top.add_argument("--version", action="version", version=f"cantowhisper {__version__}")
    subparsers = top.add_subparsers(metavar="COMMAND", required=True)
    for add in COMMANDS:
        command = add(subparsers)
        command.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return top
