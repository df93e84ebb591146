"""What notebooks call for folders and sound."""

from pathlib import Path

import datasets
import numpy as np
import pytest

from cantowhisper.contracts import UsageError
from cantowhisper.notebook import find_recording, output_folder, play, three_recordings


def test_recordings_are_found_by_id_in_a_folder_or_below_it(tmp_path):
    below = tmp_path / "corpus" / "wavs"
    below.mkdir(parents=True)
    (below / "a[1].flac").touch()
    (below / "a[1].csv").touch()  # what is said in it
    assert find_recording("a[1]", tmp_path) == below / "a[1].flac"
    assert find_recording("a", tmp_path) is None and find_recording("a1", tmp_path) is None


def test_recordings_of_the_samples_are_found_without_a_folder(samples):
    clip = next(iter(sorted((samples / "clips").glob("*.mp3"))))
    assert find_recording(clip.stem) == clip


def test_three_recordings_are_of_the_source_that_was_tested(samples, tmp_path, capsys):
    def split(*ids: str) -> datasets.Dataset:
        return datasets.Dataset.from_dict({"id": list(ids), "text": [f"text of {i}" for i in ids]})

    tested = (samples / "test.tsv").read_text(encoding="utf-8").splitlines()[1].split("\t")[1]
    pieces = three_recordings(split(Path(tested).stem), tmp_path)
    assert [path.name for path, _ in pieces] == ["market_morning.mp3", "voice_memo.m4a", "street_noise.mp3"]
    assert capsys.readouterr().out == "" and three_recordings(split("a", "b"), tmp_path) == []
    assert "set CLIPS" in capsys.readouterr().out
    for name in ("d", "b", "a"):
        (tmp_path / f"{name}.wav").touch()
    found = three_recordings(split("a", "b", "c", "d"), tmp_path)
    assert found == [(tmp_path / "a.wav", "text of a"), (tmp_path / "b.wav", "text of b")]


def test_a_terminal_plays_nothing_and_says_what_to_do(capsys, tmp_path):
    import ipykernel  # noqa: F401 - imported by others too (nbclient's parts): it does not make a script a notebook

    play(tmp_path / "a.mp3")
    play(np.zeros(10, np.float32), rate=16_000)
    assert capsys.readouterr().out == ""
    play("a is not here: set CLIPS")
    assert capsys.readouterr().out == "a is not here: set CLIPS\n"


def test_the_output_folder_is_made_and_drive_needs_colab(tmp_path):
    assert output_folder(tmp_path / "a" / "b").is_dir()
    with pytest.raises(UsageError, match="elsewhere give a folder as OUT"):
        output_folder("out", drive=True)
