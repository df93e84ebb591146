"""Where recordings come from: one small class for each kind of source behind one protocol.

A source only lists its clips, cheaply and in a fixed order; the bytes of a recording are read later, by the process
that decodes them. A new kind of source is a class with these members and a line in `_open_one`.

    samples                                the corpus of this repository
    FOLDER, RELEASE.tar.gz                 a Common Voice release, unpacked or as it was downloaded
    FOLDER                                 with a .tsv, .csv or .jsonl table of audio files and sentences
    mdc:DATASET_ID                         a release from Mozilla Data Collective
    hub:owner/name[:config][@revision]     a dataset of the Hugging Face Hub with an audio and a text column
    A,hours=100,weight=3+B,weight=1        several of them, each with its options
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from cantowhisper.contracts import UsageError
from cantowhisper.repository import repository_file

OPTIONS = {
    "hours": "take at most this many hours of its training clips, by whole speakers",
    "weight": "mix training clips of weighted sources in the ratio of their weights",
    "text": "name of the column with the sentence",
    "audio": "name of the column with the audio",
    "speaker": "name of the column with the speaker",
    "language": "language of its clips, such as yue",
}
RELEASE_FORMS = "a Common Voice release (folder or .tar.gz), a folder with a table, 'hub:owner/name' or 'mdc:ID'"


class Recording(Protocol):
    """Where a clip's bytes are. Small and picklable: it travels to the worker, the bytes do not."""

    def read(self) -> bytes:
        """The file's bytes. Raises OSError, FileNotFoundError if there is no such file."""


@dataclass(frozen=True, slots=True)
class FileRecording:
    folder: str  # shared by all clips of a source: a hundred thousand whole paths would be felt in memory
    name: str

    def read(self) -> bytes:
        with open(os.path.join(self.folder, self.name), "rb") as file:
            return file.read()


@dataclass(frozen=True, slots=True)
class Clip:
    """One row of a source, as it stands there: nothing is left out and nothing cleaned."""

    id: str
    split: str  # one of contracts.SPLITS
    sentence: str
    speaker: str  # the source's own id, "" if unknown; it never leaves planning, which hashes it
    recording: Recording
    seconds: float | None = None  # if the source says so; balances the shards and measures caps in hours
    votes: int = 0  # up minus down, of the people who checked the recording
    source: str = ""  # name of the source, for the `source` column
    language: str = ""
    objection: str | None = None  # why the source itself leaves this clip out; it is listed among the rejects


class Source(Protocol):
    name: str  # goes into the `source` column: names the release, holds no path of this machine
    language: str  # as the source calls it: "zh-HK", "yue", …; "" if it does not say
    license: str  # identifier of the Hugging Face Hub: "cc0-1.0", …
    about: str  # one or two sentences for the dataset card
    terms: str  # why its features are kept private; "" if anybody may have them

    def clips(self, *, split_policy: str) -> Iterator[Clip]:
        """All clips, train first. Raises CantowhisperError when the source cannot be read or lacks the splits."""


@dataclass(frozen=True)
class Spec:
    """A source as it was asked for."""

    name: str
    options: dict[str, str] = field(default_factory=dict)

    def number(self, option: str) -> float | None:
        """An option as a positive number. Raises UsageError when it is none."""
        if option not in self.options:
            return None
        try:
            value = float(self.options[option])
        except ValueError:
            value = 0.0
        if not value > 0:
            raise UsageError(f"{option}={self.options[option]} of {self.name} is not a positive number")
        return value


def parse(text: str) -> list[Spec]:
    """`a,hours=100+b` as specs; a name that exists on disk is never taken apart.

    >>> [(s.name, s.options) for s in parse("hub:a/b@main,hours=10+samples")]
    [('hub:a/b@main', {'hours': '10'}), ('samples', {})]
    """
    if Path(text).exists():
        return [Spec(text)]
    specs = []
    for part in text.split("+"):
        name, *pairs = part.strip().split(",")
        options = dict(pair.strip().partition("=")[::2] for pair in pairs)
        for option in options:
            if option not in OPTIONS:
                raise UsageError(f"a source has no option {option!r}; there are: {', '.join(OPTIONS)}")
        if not name:
            raise UsageError(f"{text!r} names no source before or after a '+'; give {RELEASE_FORMS}")
        specs.append(Spec(name, options))
    return specs


def open_source(text: str) -> Source:
    """The source, or the combination of sources, behind a name (see the top of this file).

    Raises UsageError when there is no such source, CantowhisperError when it cannot be fetched.
    """
    from cantowhisper.features.sources.combined import Combined

    specs = parse(text)
    opened = [_open_one(spec) for spec in specs]
    if len(opened) == 1 and not {"hours", "weight"} & specs[0].options.keys():
        return opened[0]
    return Combined(opened, hours=[s.number("hours") for s in specs], weights=[s.number("weight") for s in specs])


def _open_one(spec: Spec) -> Source:
    from cantowhisper.features.sources.common_voice import CommonVoice, find_language_folder
    from cantowhisper.features.sources.release_files import FolderFiles, TarFiles
    from cantowhisper.features.sources.table import TableFolder, find_tables

    name, language = spec.name, spec.options.get("language")
    if name == "samples":
        return _samples()
    if name.startswith("hub:"):
        from cantowhisper.features.sources.hub import HubDataset

        return HubDataset(name.removeprefix("hub:"), options=spec.options)
    if name.startswith("mdc:"):
        from cantowhisper.features.sources.mdc import download

        return CommonVoice(TarFiles(download(name.removeprefix("mdc:"))), language=language)
    path = Path(name)
    if path.is_file():
        return CommonVoice(TarFiles(path), language=language)
    if not path.is_dir():
        raise UsageError(f"there is no folder {name}; give 'samples', {RELEASE_FORMS}")
    release = find_language_folder(path)
    if release:
        return CommonVoice(FolderFiles(release), language=language)
    if find_tables(path):
        return TableFolder(path, options=spec.options)
    raise UsageError(f"{name} is no Common Voice release (no validated.tsv or train.tsv) and holds no table of clips")


def _samples() -> Source:
    from cantowhisper.features.sources.common_voice import CommonVoice
    from cantowhisper.features.sources.release_files import FolderFiles

    return CommonVoice(
        FolderFiles(repository_file("samples/corpus")),
        name="samples",
        language="yue",
        about="The synthetic Cantonese corpus of cantowhisper: sentences composed for it, spoken by espeak-ng.",
        terms="",
    )
