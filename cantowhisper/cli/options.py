"""Options that several commands share."""

import argparse
from collections.abc import Callable
from pathlib import Path

from cantowhisper.contracts import UsageError
from cantowhisper.options import Options, describe


class CommandParser(argparse.ArgumentParser):
    """A parser whose `--help` ends with what `more_help` returns; asked for only then, so that starting stays quick."""

    more_help: Callable[[], str] | None = None

    def format_help(self) -> str:
        text = super().format_help()
        return text if self.more_help is None else f"{text}\n{self.more_help()}\n"


def add_set_option(command: argparse.ArgumentParser) -> None:
    """--set KEY=VALUE, any number of times."""
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one of the options below; repeatable"
    )


def add_shortcut_option(command: argparse.ArgumentParser, options: type[Options], name: str) -> None:
    """--NAME VALUE as another way to write --set NAME=VALUE."""
    field = options.field(name)
    flag = f"--{name.replace('_', '-')}"
    note = {"dest": "set", "action": "append_const", "const": f"{name}=true"}
    if field.type is not bool:
        note = {"dest": "set", "action": "append", "metavar": "VALUE", "type": lambda text: f"{name}={text}"}
    command.add_argument(flag, default=[], help=f"{describe(field)}: see {name} below".replace("%", "%%"), **note)


def add_words_option(command: argparse.ArgumentParser) -> None:
    """--words FILE."""
    command.add_argument(
        "--words", type=Path, metavar="FILE", help="names and terms that are likely to be said, one a line; at most 200"
    )


def listed_words(path: Path | None) -> tuple[str, ...]:
    """The words of the file, in UTF-8; none where no file was named.

    Raises
    ------
    UsageError : it cannot be read, or is no such list
    """
    if path is None:
        return ()
    from cantowhisper.serving.glossary import read_words

    try:
        return read_words(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise UsageError(f"cannot read --words {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"--words {path} is no text in UTF-8; save it as that") from error


def whole_number(text: str, *, least: int = 1, most: int | None = None) -> int:
    """A whole number in a range, for argparse."""
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least or (most is not None and number > most):
        ends = f"at least {least}" if most is None else f"from {least} to {most}"
        raise argparse.ArgumentTypeError(f"takes a whole number {ends}, not {text!r}")
    return number


def port(text: str) -> int:
    """A TCP port, for argparse; 0 takes any that is free."""
    return whole_number(text, least=0, most=65535)
