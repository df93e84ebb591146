"""A file or folder is there whole, or as it was before."""

import json

import pytest

from cantowhisper.files import write_aside, write_json, write_text


def test_what_is_being_written_has_another_name_until_it_is_whole(tmp_path):
    target = tmp_path / "report.txt"
    target.write_text("old")
    with write_aside(target, durable=True) as aside:
        aside.write_text("new")
        assert target.read_text() == "old" and aside.parent == tmp_path
    assert target.read_text() == "new" and list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "report.txt"
    target.write_text("old")
    with pytest.raises(type(error)), write_aside(target) as aside:
        aside.write_text("half of the ne")
        raise error
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_a_folder_replaces_a_folder_and_what_a_killed_process_left(tmp_path):
    target, left = tmp_path / "export", tmp_path / "export.part"
    for folder, name in ((target, "old"), (left, "half")):
        folder.mkdir()
        (folder / name).write_text(name)
    with write_aside(target) as aside:
        aside.mkdir()
        (aside / "new").write_text("new")
        assert (target / "old").exists()
    assert [path.name for path in target.iterdir()] == ["new"] and not left.exists()


def test_a_folder_that_fails_leaves_the_old_one(tmp_path):
    target = tmp_path / "export"
    target.mkdir()
    (target / "old").write_text("old")
    with pytest.raises(ValueError), write_aside(target) as aside:
        aside.mkdir()
        raise ValueError
    assert [path.name for path in tmp_path.iterdir()] == ["export"] and (target / "old").exists()


def test_text_and_json_are_written_as_people_read_them(tmp_path):
    write_text("粵語\n", tmp_path / "a.txt")
    write_json({"text": "粵語", "n": 1}, tmp_path / "a.json")
    assert (tmp_path / "a.txt").read_bytes() == "粵語\n".encode()
    written = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert written.endswith("}\n") and "粵語" in written and json.loads(written) == {"text": "粵語", "n": 1}
    with pytest.raises(TypeError):
        write_json({"n": {1}}, tmp_path / "a.json")
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == written
