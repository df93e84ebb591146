"""Options of a page that is served, and their environment variables: --max-files and CANTOWHISPER_MAX_FILES.

Each field of a page's limits is both; so is where the page lies and what it may reach. An option wins.
"""

import argparse
import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.options import Options
from cantowhisper.serving.web.logs import quiet
from cantowhisper.serving.web.refusal import Refusal
from cantowhisper.serving.web.running import allow_many_connections
from cantowhisper.serving.web.storage import Storage
from cantowhisper.serving.web.visitors import trust_proxies
from cantowhisper.speech.context import CONTEXTS

PREFIX = "CANTOWHISPER_"
Settings = TypeVar("Settings")


def _where(help_text: str):
    return dataclasses.field(default="", metadata={"help": help_text})


@dataclass(frozen=True)
class Whereabouts:
    """Where a page lies, and what it may reach. Each field's help is what `--help` says of it."""

    files: str = _where("folder for visitors' files (default: one of this user's among the temporary files)")
    root_path: str = _where("sub-path behind a proxy, such as /speech")
    trusted_proxies: str = _where('networks whose X-Forwarded-For is believed, or "private" (default: 127.0.0.1)')
    allow_links: str = _where("ADDRESS:PORT,… that links may lead to although not public, such as 127.0.0.1:8000")

    def __post_init__(self):
        if self.root_path and (not self.root_path.startswith("/") or self.root_path.endswith("/")):
            raise UsageError(f"root_path is {self.root_path!r}; write it as /speech")
        _ = self.allowed_links

    @property
    def allowed_links(self) -> frozenset[tuple[str, int]]:
        """(address, port) pairs."""
        pairs = [one.strip().rpartition(":") for one in self.allow_links.split(",") if one.strip()]
        if any(not host or not port.isdigit() for host, _, port in pairs):
            raise UsageError(f"allow_links is {self.allow_links!r}; write ADDRESS:PORT, with commas between")
        return frozenset((host.strip("[]"), int(port)) for host, _, port in pairs)


def from_environment(kind: type[Settings], given: dict | None = None) -> Settings:
    """Settings from what was given (None is not given), else from the environment, else as they are by default.

    Raises
    ------
    UsageError : a value that an option does not take; it says where the value stands
    """
    given, values = given or {}, {}
    for field in dataclasses.fields(kind):
        value, source = given.get(field.name), _option(field.name)
        if value is None:
            value, source = os.environ.get(_variable(field.name)), _variable(field.name)
        if value is not None:
            try:
                values[field.name] = getattr(kind(**_read(kind, field.name, value)), field.name)
            except UsageError as error:
                raise UsageError(f"{source}: {error}") from error
    return kind(**values)


def _read(kind: type, name: str, value: str) -> dict:
    return kind.read([f"{name}={value}"]) if issubclass(kind, Options) else {name: value}


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _variable(name: str) -> str:
    return PREFIX + name.upper()


def add_serve_options(parser: argparse.ArgumentParser, limits: type) -> None:
    """Options of a page that is served: its address, threads, whereabouts, and each of its limits."""
    parser.add_argument("--host", help="address to listen at (default: 127.0.0.1, this machine alone)")
    parser.add_argument("--port", help="default: 7860")
    parser.add_argument("--threads", type=int, help="CPU threads for the model (default: 2)")
    parser.add_argument("--context", choices=CONTEXTS, help="full computes all of the 30 s window (default: merged)")
    for title, kind in (("where the page lies", Whereabouts), ("limits", limits)):
        first = dataclasses.fields(kind)[0].name
        group = parser.add_argument_group(title, f"each also as a variable, such as {_variable(first)}")
        for field in dataclasses.fields(kind):
            rule = field.metadata.get("rule")
            says = f"{rule.reason} (default: {field.default:g} {rule.unit})" if rule else field.metadata["help"]
            group.add_argument(_option(field.name), metavar="N" if rule else "TEXT", help=says.replace("%", "%%"))


def page_options(arguments: argparse.Namespace, limits: type) -> dict:
    """What the `main` of a page takes, of parsed arguments."""
    given = vars(arguments)
    if given.get("threads") is not None and given["threads"] < 1:
        raise UsageError("--threads is a number above zero")
    names = ("model", "base", "host", "port", "threads", "context")
    options = {name: given[name] for name in names if given.get(name) is not None}
    return {
        **options,
        "limits": from_environment(limits, given),
        "where": from_environment(Whereabouts, given),
    }


def run_page(main: Callable, parser: argparse.ArgumentParser, limits: type) -> int:
    """`python app.py …`: an exit code, and an error in one line."""
    try:
        main(**page_options(parser.parse_args(), limits))
    except CantowhisperError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


@contextlib.contextmanager
def opened(where: Whereabouts, *, keep_s: float, sweep_every_s: float) -> Iterator[Storage]:
    """The folder of a page that begins, with the proxies that it believes and a quiet log; removed at its end."""
    try:
        trust_proxies(where.trusted_proxies or None)
    except Refusal as error:
        raise UsageError(str(error)) from error
    allow_many_connections()
    storage = Storage(where.files or None, keep_s=keep_s, sweep_every_s=sweep_every_s)
    storage.take_in_temporary_files()
    try:
        with quiet():
            yield storage
    finally:
        storage.close()
