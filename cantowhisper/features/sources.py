"""Where recordings come from: one small class for each kind of source behind one protocol.

A source only lists its clips, cheaply and in a fixed order; the bytes of a recording are read later, by the process
that decodes them. A new kind of source is a class with these members and a line in `open_source`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cantowhisper.contracts import UsageError


class Recording(Protocol):
    """Where a clip's bytes are. Small and picklable: it travels to the worker, the bytes do not."""

    def read(self) -> bytes:
        """The file's bytes. Raises OSError, FileNotFoundError if there is no such file."""


@dataclass(frozen=True, slots=True)
class FileRecording:
    path: str

    def read(self) -> bytes:
        return Path(self.path).read_bytes()


@dataclass(frozen=True, slots=True)
class Clip:
    """One row of a source, as it stands there: nothing is left out and nothing cleaned."""

    id: str
    split: str  # one of contracts.SPLITS
    sentence: str
    speaker: str  # the source's own id, "" if unknown; it never leaves planning, which hashes it
    recording: Recording
    seconds: float | None = None  # if the source says so; only used to balance the shards


class Source(Protocol):
    name: str  # goes into the `source` column: names the release, holds no path of this machine
    language: str  # as the source calls it: "zh-HK", "yue", …
    license: str  # identifier of the Hugging Face Hub: "cc0-1.0", …
    about: str  # one or two sentences for the dataset card

    def clips(self, *, split_policy: str) -> Iterator[Clip]:
        """All clips, train first. Raises CantowhisperError when the source cannot be read or lacks the splits."""


def open_source(name: str) -> Source:
    """The source behind a name: "samples", or a Common Voice release folder (or its one language folder).

    Raises UsageError when there is no such source.
    """
    from cantowhisper.features.common_voice import CommonVoiceFolder

    if name == "samples":
        folder = Path(__file__).resolve().parents[2] / "samples" / "corpus"
        if not folder.is_dir():
            raise UsageError("the sample corpus comes with the repository: clone it and work in the clone")
        return CommonVoiceFolder(
            folder,
            name="samples",
            language="yue",
            about="The synthetic Cantonese corpus of cantowhisper: sentences composed for it, spoken by espeak-ng.",
        )
    if Path(name).is_file():
        raise UsageError(f"{name} is a file; unpack the release first (tar -xf …) and give its folder")
    if not Path(name).is_dir():
        raise UsageError(f"there is no folder {name}; give 'samples' or the folder of a Common Voice release")
    return CommonVoiceFolder(Path(name))
