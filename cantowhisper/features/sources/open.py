"""Where recordings come from: one small class for each kind of source behind one protocol.

A source only lists its clips, cheaply and in a fixed order; the bytes of a recording are read later, by the process
that decodes them. A new kind of source is a class with these members and a line in `_open_one`.

    samples                                the corpus of this repository
    FOLDER, RELEASE.tar.gz                 a Common Voice release, unpacked or as it was downloaded
    FOLDER, FOLDER/TABLE                   recordings with what is said in them (see layouts.py)
    mdc:DATASET_ID                         a release from Mozilla Data Collective
    hub:owner/name[:config][@revision]     a dataset of the Hugging Face Hub with an audio and a text column
    A,hours=100,weight=3+B,weight=1        several of them, each with its options
"""

from dataclasses import dataclass, field
from pathlib import Path

from cantowhisper.contracts import UsageError
from cantowhisper.features.sources.clip import Source
from cantowhisper.features.sources.columns import COLUMNAR
from cantowhisper.repository import repository_file

OPTIONS = {
    "hours": "take at most this many hours of its training clips, by whole speakers",
    "weight": "mix training clips of weighted sources in the ratio of their weights",
    "text": "name of the column with the sentence",
    "audio": "name of the column with the audio",
    "speaker": "name of the column with the speaker",
    "language": "language of its clips, such as yue",
    "recordings": "folder of a table's recordings, where they are not beside it",
    "confidence": "leave out rows of a table whose column `confidence` is below this, 0 to 1",
    "encoding": "of its tables, where that is not UTF-8, such as big5hkscs",
    "train": "what it calls the training split; several joined by ':'",
    "validation": "what it calls the validation split",
    "test": "what it calls the test split",
}
RELEASE_FORMS = "a Common Voice release (folder or .tar.gz), a folder with a table, 'hub:owner/name' or 'mdc:ID'"


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
    """The source, or the combination of sources, that a name stands for (see the top of this file).

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
    from cantowhisper.features.sources.layouts import open_folder
    from cantowhisper.features.sources.release_files import ReleaseFolder
    from cantowhisper.features.sources.rows import ENDINGS

    name, language = spec.name, spec.options.get("language")
    if name == "samples":
        return _samples()
    if name.startswith("hub:"):
        from cantowhisper.features.sources.hub import HubDataset

        return HubDataset(name.removeprefix("hub:"), options=spec.options)
    if name.startswith("mdc:"):
        from cantowhisper.features.sources.mdc import download

        return _archive(download(name.removeprefix("mdc:")), spec)
    path = Path(name)
    if path.is_file() and path.suffix.lower() in (*ENDINGS, *COLUMNAR):
        return open_folder(_recordings(path, spec), options=spec.options, table=path)
    if path.is_file():
        return _archive(path, spec)
    if not path.is_dir():
        raise UsageError(f"there is no folder {name}; give 'samples', {RELEASE_FORMS}")
    release = find_language_folder(path)
    if release:
        return CommonVoice(ReleaseFolder(release), language=language)
    return open_folder(path, options=spec.options)


def _recordings(table: Path, spec: Spec) -> Path:
    if table.suffix.lower() in COLUMNAR:  # which have them inside, or beside
        return table.parent
    folder = Path(spec.options.get("recordings") or table.parent)
    if not folder.is_dir():
        raise UsageError(f"recordings={folder} of {spec.name} is no folder; give the one that the table's files are in")
    return folder


def _archive(path: Path, spec: Spec) -> Source:
    from cantowhisper.features.sources.common_voice import CommonVoice
    from cantowhisper.features.sources.layouts import open_spontaneous
    from cantowhisper.features.sources.release_files import ReleaseArchive

    archive = ReleaseArchive(path)
    if archive.spontaneous:
        return open_spontaneous(archive, options=spec.options)
    return CommonVoice(archive, language=spec.options.get("language"))


def _samples() -> Source:
    from cantowhisper.features.sources.common_voice import CommonVoice
    from cantowhisper.features.sources.release_files import ReleaseFolder

    return CommonVoice(
        ReleaseFolder(repository_file("samples/corpus")),
        name="samples",
        language="yue",
        about="The synthetic Cantonese corpus of cantowhisper: sentences composed for it, spoken by espeak-ng.",
        terms="",
    )
