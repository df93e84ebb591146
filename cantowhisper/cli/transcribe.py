"""The command `transcribe`: text appears as it is ready, and stays when the work is stopped."""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import chain, count
from pathlib import Path

from cantowhisper.cli.options import add_words_option, listed_words, whole_number
from cantowhisper.contracts import CantowhisperError, Segment, UsageError
from cantowhisper.files import write_text

FORMATS = ("txt", "srt", "vtt", "tsv", "json")
CONTEXTS = ("merged", "plain", "full")  # speech.context has them too, but takes NumPy to read
SAVE_EVERY_S = 2.0  # the partial file is written again after this …
SAVING_SHARE = 0.05  # … but writing takes at most this share of the time: a long transcript is written less often
LOG_EVERY_S = 30.0  # where stderr is no terminal, a line of progress is written this often


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
    add_words_option(command)
    command.add_argument(
        "--speakers",
        type=number_of_speakers,
        nargs="?",
        const=0,
        help="tell who speaks: how many there are, or without a number (or auto) as many as are heard",
    )
    command.add_argument("--threads", type=whole_number, help="CPU threads (default: all cores)")
    command.add_argument("--context", choices=CONTEXTS, help="full computes all of the 30 s window (default: merged)")
    command.set_defaults(run=run_transcribe)
    return command


def number_of_speakers(text: str) -> int:
    """For argparse: a number, or 0 for "auto"."""
    from cantowhisper.serving.speakers.labels import read_speakers

    try:
        return read_speakers(text)
    except UsageError as error:  # such as a recording that follows the option
        raise argparse.ArgumentTypeError(f"{error}; name recordings before it") from error


def run_transcribe(arguments) -> int:
    from cantowhisper.serving.recognizer import Recognizer
    from cantowhisper.serving.speakers.labels import require_speakers

    words = listed_words(arguments.words)
    require_speakers(arguments.speakers)
    recognizer = Recognizer.open(arguments.model, threads=arguments.threads, context=arguments.context)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for path, name in zip(arguments.input, file_names(arguments.input), strict=True):
        transcript = _Transcript(path, arguments.format, arguments.out and arguments.out / name)
        try:
            if not arguments.out and len(arguments.input) > 1:
                print(f"== {path.name}")
            _transcribe(recognizer, path, transcript, arguments, words)
        except KeyboardInterrupt:
            print(f"cantowhisper: stopped {transcript.so_far()}", file=sys.stderr)
            return 1
        except UsageError:
            raise
        except CantowhisperError as error:  # one bad file of many: say so, and do the others
            print(f"cantowhisper: {path}: {error}", file=sys.stderr)
            failed += 1
    return 1 if failed else 0


def file_names(paths: Sequence[Path]) -> list[str]:
    """A name without ending for the text of each recording, no two alike.

    >>> file_names([Path("a.wav"), Path("b.wav"), Path("b.mp3"), Path("x/c.wav"), Path("y/c.wav")])
    ['a', 'b.wav', 'b.mp3', 'x_c.wav', 'y_c.wav']
    """
    # Some file systems take A and a for one name.
    stems, names = (
        Counter(name.casefold() for name in all_) for all_ in zip(*((p.stem, p.name) for p in paths), strict=True)
    )
    found: list[str] = []
    for path in paths:
        spelt = f"{path.absolute().parent.name}_{path.name}"
        choices = [path.stem] if stems[path.stem.casefold()] == 1 else []
        choices += [path.name] if names[path.name.casefold()] == 1 else []
        taken = {name.casefold() for name in found}
        numbered = (f"{spelt}_{n}" for n in count(2))
        found.append(next(name for name in chain(choices, [spelt], numbered) if name.casefold() not in taken))
    return found


class _Transcript:
    """The text of one recording on its way to the terminal or to a file."""

    def __init__(self, source: Path, file_format: str, target: Path | None):
        self.segments: list[Segment] = []
        self._source, self._format = source, file_format
        self._target = target and target.with_name(f"{target.name}.{file_format}")
        self._partial = target and target.with_name(f"{target.name}.partial.{file_format}")
        self._saved_at, self._save_after_s = time.monotonic(), SAVE_EVERY_S

    def add(self, segment: Segment) -> None:
        from cantowhisper.serving.captions.turns import named_turns

        self.segments.append(segment)
        if self._partial and time.monotonic() - self._saved_at >= self._save_after_s:
            self._save()
        elif not self._target and self._format == "txt":
            *_, last = named_turns(self.segments[-2:])
            print(last.text, flush=True)

    def finish(self) -> None:
        text = self._text()
        if self._target:
            write_text(text, self._target)
            self._partial.unlink(missing_ok=True)
            print(self._target)
        elif self._format != "txt":
            print(text.rstrip("\n"))

    def so_far(self) -> str:
        """Keep what there is of a transcript that will not be finished, and say where."""
        from cantowhisper.serving.subtitles import clock

        if not self.segments:
            return f"before any text of {self._source} was ready"
        if self._partial:
            self._save()
        elif self._format != "txt":
            print(self._text().rstrip("\n"))
        where = f"the text until then is in {self._partial}" if self._partial else "the text until then is above"
        return f"at {clock(self.segments[-1].end_s)} of {self._source}; {where}"

    def _save(self) -> None:
        began = time.monotonic()
        write_text(self._text(), self._partial)
        self._saved_at = time.monotonic()
        self._save_after_s = max(SAVE_EVERY_S, (self._saved_at - began) / SAVING_SHARE)

    def _text(self) -> str:
        from cantowhisper.serving.subtitles import write

        return write(self.segments, self._format)


def _transcribe(recognizer, path: Path, transcript: _Transcript, arguments, words: Sequence[str]) -> None:
    from tqdm import tqdm

    from cantowhisper.speech.audio import read_sound
    from cantowhisper.speech.mel import SAMPLE_RATE

    sound = read_sound(path)
    for note in sound.notes:
        print(f"cantowhisper: {path}: {note}", file=sys.stderr)
    terminal = sys.stderr.isatty()
    every_s = 0.2 if terminal else LOG_EVERY_S
    with tqdm(
        total=sound.waveform.size / SAMPLE_RATE,
        desc=path.name,
        bar_format="{desc}: {percentage:.0f} %, {remaining} left",
        mininterval=every_s,
        delay=every_s,
        leave=False,
    ) as progress:
        chosen = {"language": arguments.language, "script": arguments.script, "beam_size": arguments.beam_size}
        for segment in recognizer.stream(sound.waveform, **chosen, words=words, speakers=arguments.speakers):
            # On a terminal text goes above the bar; a log has both, each when it comes.
            with tqdm.external_write_mode() if terminal else nullcontext():
                transcript.add(segment)
            progress.update(segment.end_s - progress.n)
    transcript.finish()
