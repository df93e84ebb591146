"""`cantowhisper live FILE`: a recording as if it came from a microphone, and how late its text is."""

import argparse
import sys
import time
from pathlib import Path

from cantowhisper.cli.options import add_words_option, listed_words, whole_number
from cantowhisper.contracts import CantowhisperError
from cantowhisper.files import write_json


def add_live(subparsers) -> argparse.ArgumentParser:
    command = subparsers.add_parser("live", help="replay a recording as a microphone: text and how late it comes")
    command.add_argument("file", type=Path, help="audio or video file")
    command.add_argument("--model", required=True, help="model folder or Hub id")
    command.add_argument(
        "--clock",
        default="simulated",
        choices=("real", "simulated"),
        help="simulated (default) leaves out the waiting; computation counts in both",
    )
    command.add_argument("--language", help="code or name, or auto; default: what the model was trained for, or hears")
    command.add_argument("--script", choices=("traditional", "simplified"), help="default: as the model writes")
    add_words_option(command)
    command.add_argument(
        "--threads", type=whole_number, default=2, help="CPU threads (default: 2, as a free Space has)"
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="also write the report here")
    command.set_defaults(run=run_live)
    return command


def run_live(arguments) -> None:
    """Replay, print the lines with their times, then the report."""
    from cantowhisper.serving.live.engine import LiveEngine
    from cantowhisper.serving.live.replay import SimulatedClock, replay, report
    from cantowhisper.serving.recognizer import Recognizer
    from cantowhisper.serving.subtitles import clock
    from cantowhisper.speech.audio import read_sound
    from cantowhisper.speech.mel import SAMPLE_RATE

    words = listed_words(arguments.words)
    simulated = arguments.clock == "simulated"
    sound = read_sound(arguments.file)
    for note in sound.notes:
        print(f"cantowhisper: {arguments.file}: {note}", file=sys.stderr)
    recognizer = Recognizer.open(arguments.model, threads=arguments.threads)
    engine = LiveEngine(recognizer, clock=SimulatedClock() if simulated else time.monotonic)
    (track,) = replay(
        engine,
        [(arguments.file.name, sound.waveform)],
        simulated=simulated,
        language=arguments.language,
        script=arguments.script,
        words=words,
    )
    for line in track.lines:
        print(f"{clock(line['start_s'])} {line['text'].strip()}")
    found = report([track], engine, audio_s=sound.waveform.size / SAMPLE_RATE)
    print(*(f"{name:<30} {value}" for name, value in found.items()), sep="\n")
    if arguments.json:
        _write(arguments.json, {"file": arguments.file.name, "clock": arguments.clock, **found, "text": track.text})


def _write(path: Path, found: dict) -> None:
    try:
        write_json(found, path)
    except OSError as error:
        raise CantowhisperError(f"cannot write {path}: {error.strerror}") from error
