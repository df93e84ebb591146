"""The recordings of some clips of a dataset, copied out of their source, so that people can listen."""

from collections.abc import Collection
from pathlib import Path

from cantowhisper.contracts import UsageError
from cantowhisper.features.sources.clip import Clip
from cantowhisper.features.sources.open import open_source
from cantowhisper.files import write_aside
from cantowhisper.speech.audio import AudioError

BEGINNINGS = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"\x1aE\xdf\xa3": ".webm"}


def clips_of(source: str, ids: Collection[str], *, split_policy: str) -> dict[str, Clip]:
    """{id: clip} of a dataset's clips in the source that it was made from. Raises UsageError where it has none."""
    opened = open_source(source)
    found = {clip.id: clip for clip in opened.clips(split_policy=split_policy) if clip.id in ids}
    if not found:
        raise UsageError(f"{source} has no clip of this dataset; give the source that the features were made from")
    return found


def copy_sound(clip: Clip, folder: Path) -> str:
    """The file of a clip's sound in `folder`; "" where it cannot be read."""
    try:
        raw = clip.recording.read()
    except (OSError, AudioError):
        return ""
    path = folder / f"{clip.id.replace('/', '_')}{_ending(raw)}"
    folder.mkdir(parents=True, exist_ok=True)
    with write_aside(path) as aside:
        aside.write_bytes(raw)
    return path.name


def _ending(raw: bytes) -> str:
    if raw[4:8] == b"ftyp":
        return ".m4a"
    return BEGINNINGS.get(raw[:4], ".mp3")
