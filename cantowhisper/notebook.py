"""What notebooks need of the place that they run in: Colab, Kaggle, Jupyter, or no notebook at all (a script)."""

import glob
import os
import sys
from pathlib import Path

import numpy as np

from cantowhisper.contracts import UsageError
from cantowhisper.features.sources.folder_files import SOUND_ENDINGS
from cantowhisper.repository import repository_file, sample_clips, sample_voices

DRIVE = Path("/content/drive")  # where Colab mounts Google Drive


def output_folder(out: str | os.PathLike, *, drive: bool = False) -> Path:
    """The folder `out`, made if it is not there; with `drive`, in a mounted Google Drive, which outlives the machine.

    Raises UsageError for `drive` outside of Colab.
    """
    folder = Path(out)
    if drive:
        try:
            from google.colab import drive as colab
        except ImportError as error:
            raise UsageError("DRIVE = True needs Colab; elsewhere give a folder as OUT") from error
        colab.mount(str(DRIVE))
        folder = DRIVE / "MyDrive" / folder
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def in_notebook() -> bool:
    """Whether outputs are shown by a notebook. In a script they go to a terminal, which plays no sound.

    Asked of the running shell: that ipykernel has been imported says nothing, other packages import it too.
    """
    ipython = sys.modules.get("IPython")
    return getattr(ipython and ipython.get_ipython(), "kernel", None) is not None


def find_recording(clip: str, folder: str | os.PathLike = "") -> Path | None:
    """The recording of a clip, by its id, in or below `folder`, or among the samples; None where there is none."""
    where = Path(folder) if folder else repository_file("samples/corpus/clips")
    found = sorted(where.rglob(f"{glob.escape(clip)}.*"))
    return next((path for path in found if path.is_file() and path.suffix.lower() in SOUND_ENDINGS), None)


def three_recordings(test, folder: str | os.PathLike = "") -> list[tuple[Path, str]]:
    """(path, reference text) of recordings to transcribe, after a test split of features.

    Of the samples longer pieces; of another source its own first test clips, if they are in or below `folder`. Says so
    where none are.
    """
    if sample_voices(test["id"]):
        return sample_clips("market_morning.mp3", "voice_memo.m4a", "street_noise.mp3")
    first = test.select_columns(["id", "text"]).select(range(min(3, len(test))))
    found = [(path, row["text"]) for row in first if (path := find_recording(row["id"], folder))]
    print("clips of the test split" if found else "the recordings are not here: set CLIPS in the parameters")
    return found


def play(sound: str | Path | np.ndarray, *, rate: int | None = None) -> None:
    """A player for a recording: a file, or float32 (n_samples,) with its rate in Hz. In a terminal nothing.

    A text is printed: what to do to hear a recording.
    """
    if isinstance(sound, str):
        print(sound)
    elif in_notebook():
        from IPython.display import Audio, display

        display(Audio(filename=str(sound)) if isinstance(sound, Path) else Audio(sound, rate=rate))
