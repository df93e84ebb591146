"""Options that several commands share."""

import argparse
import json
from collections.abc import Sequence

from cantowhisper.contracts import UsageError


def add_set(command: argparse.ArgumentParser) -> None:
    """--set KEY=VALUE, any number of times."""
    command.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="change one option; repeatable"
    )


def overrides(pairs: Sequence[str]) -> dict:
    """`key=value` pairs of --set; numbers, true, false and null are read as in JSON, everything else is text."""
    values = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise UsageError(f"--set takes key=value, not {pair!r}")
        try:
            values[key] = json.loads(text)
        except ValueError:
            values[key] = text
    return values
