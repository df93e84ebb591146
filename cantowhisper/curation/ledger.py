"""What is worked out one clip at a time, kept on disk: a command that was stopped goes on from there."""

import json
from collections.abc import Sequence
from pathlib import Path

from cantowhisper.features.journal import refuse_other


class Ledger:
    """A file of JSON lines: what the work depends on, then a line for each finished item.

    Raises CantowhisperError when the file is of other work; then `path` is named, with what differs.
    """

    def __init__(self, path: Path, identity: dict):
        self.path = path
        self.items: dict[str, object] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [_parsed(line) for line in path.read_bytes().splitlines()] if path.exists() else []
        if not any(lines):
            path.write_bytes(json.dumps({"identity": identity}, ensure_ascii=False).encode() + b"\n")
            return
        refuse_other((lines[0] or {}).get("identity"), json.loads(json.dumps(identity)), path)
        for line in filter(None, lines[1:]):
            self.items[line["key"]] = line["item"]
        with path.open("rb+") as file:  # a line that a kill cut off must not swallow the next one
            file.seek(0, 2)
            file.write(b"\n")

    def add(self, items: Sequence[tuple[str, object]]) -> None:
        """Note that items are finished: (key, anything that JSON holds)."""
        lines = (json.dumps({"key": key, "item": item}, ensure_ascii=False) for key, item in items)
        with self.path.open("ab") as file:
            file.write("".join(f"{line}\n" for line in lines).encode())
        self.items |= dict(items)


def _parsed(line: bytes) -> dict | None:
    try:
        return json.loads(line)
    except ValueError:
        return None
