"""Every kind of source behind the one protocol, and combinations of them."""

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from test_features_release import ONE, Release, rejected, small_release, sound, stored

from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.features.pipeline import build_features
from cantowhisper.features.sources.combined import BEYOND, within_hours
from cantowhisper.features.sources.open import open_source, parse
from cantowhisper.features.sources.rows import traits_told

V6 = "client_id path sentence up_votes down_votes age gender accent locale segment".split()  # noqa: SIM905
V11 = [*V6[:7], "accents", *V6[8:]]
V17 = """client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents
 variant locale segment""".split()  # noqa: SIM905


def packed(release: Release, archive: Path) -> Path:
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(release.folder, arcname="cv-corpus-99.0-2030-01-01/yue")
    return archive


def listed(source: str, policy: str = "official") -> list[tuple]:
    clips = open_source(source).clips(split_policy=policy)
    return sorted((c.id, c.split, c.sentence, c.speaker, c.votes, c.recording.read()) for c in clips)


@pytest.mark.parametrize("columns", [V6, V11, V17], ids=["v6", "v11", "v17"])
def test_an_archive_is_read_as_its_folder_is(tmp_path, columns):
    release = Release(tmp_path / "cv-corpus-99.0-2030-01-01" / "yue", columns)
    for i, table in enumerate(("train", "train", "dev", "test")):
        release.add(f"clip_{i}", f"第{i}句", table=table, audio=sound(1, pitch_hz=200 + 50 * i))
    release.rows["train"][0] |= {"up_votes": "2", "down_votes": "5"}
    folder = release.write()
    archive = packed(release, tmp_path / "release.tar.gz")
    assert listed(str(archive)) == listed(folder) and len(listed(folder)) == 4
    stats = build_features(str(archive), tmp_path / "out", config=ONE, progress=False)
    assert rejected(tmp_path / "out") == [("clip_0", "train", "more down- than up-votes")]
    assert stats["source"] == "cv-corpus-99.0-2030-01-01/yue" and stats["n_kept"] == 3
    assert {path.name for path in tmp_path.iterdir()} == {"cv-corpus-99.0-2030-01-01", "release.tar.gz", "out"}


def test_gender_and_age_are_stored_as_the_source_tells_them(tmp_path):
    release = Release(tmp_path / "cv-corpus-99.0-2030-01-01" / "yue", V17)
    for i, (gender, age) in enumerate([("male_masculine", "fourties"), ("", ""), ("do_not_wish_to_say", "teens")]):
        release.add(f"clip_{i}", f"第{i}句", audio=sound(1, pitch_hz=500 + 50 * i))  # no sound of the table's
        release.rows["train"][i] |= {"gender": gender, "age": age}
    made = [release.write(), str(table_folder(tmp_path / "mine", "jsonl")) + ",text=words"]
    table = Path(tmp_path / "mine" / "metadata.jsonl")
    rows = [json.loads(line) | {"sex": "F", "age": 34, "split": "train"} for line in table.read_text().splitlines()]
    table.write_text("\n".join(map(json.dumps, rows)))
    build_features("+".join(made), tmp_path / "out", config=ONE, progress=False)
    found = [
        (row["gender"], row["age"])
        for split in ("train", "validation", "test")
        for row in stored(tmp_path / "out", split, columns=["gender", "age"])
    ]
    assert sorted(found) == sorted([("male", "forties"), ("", ""), ("", "teens"), *[("female", "thirties")] * 4])
    assert traits_told("man", "7") == ("male", "under ten") and traits_told("2", "nan") == ("", "")


def test_an_archive_that_is_cut_is_refused(tmp_path):
    release = small_release(tmp_path)
    release.write()
    whole = packed(release, tmp_path / "release.tar.gz").read_bytes()
    for part in (0.3, 0.7, 0.99):
        cut = tmp_path / "cut.tar.gz"
        cut.write_bytes(whole[: int(len(whole) * part)])
        with pytest.raises(CantowhisperError, match=r"cut\.tar\.gz is (cut off|damaged)"):
            open_source(str(cut))
    (tmp_path / "page.tar.gz").write_text("<html>404</html>" * 100)
    with pytest.raises(UsageError, match=r"page\.tar\.gz is no \.tar\.gz archive"):
        open_source(str(tmp_path / "page.tar.gz"))


def table_folder(folder: Path, ending: str, n: int = 4) -> Path:
    """Recordings of two speakers with a table of unusual column names."""
    release = Release(folder)
    for i in range(n):
        release.add(f"r{i}", "", audio=sound(1, pitch_hz=220 + 40 * i))
    splits = ("train", "train", "dev", "test")
    rows = [
        {"file": f"clips/r{i}.mp3", "words": f'佢話"{i}",好', "speaker": f"S{i}", "split": splits[i % 4], "lang": "yue"}
        for i in range(n)
    ]
    if ending == "jsonl":
        lines = [json.dumps(row) for row in rows]
    elif ending == "tsv":
        lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
    else:
        quoted = ([f'"{value.replace(chr(34), chr(34) * 2)}"' for value in row.values()] for row in rows)
        lines = [",".join(rows[0]), *(",".join(row) for row in quoted)]
    (folder / f"metadata.{ending}").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize("ending", ["tsv", "csv", "jsonl"])
def test_a_folder_with_a_table(tmp_path, ending):
    folder = table_folder(tmp_path / "mine", ending)
    with pytest.raises(CantowhisperError, match=r"no column .* for the text .*SOURCE,text=COLUMN"):
        build_features(str(folder), tmp_path / "out", config=ONE, progress=False)
    stats = build_features(f"{folder},text=words", tmp_path / "out", config=ONE, progress=False)
    assert {split: row["clips"] for split, row in stats["splits"].items()} == {"train": 2, "validation": 1, "test": 1}
    rows = stored(tmp_path / "out", "train", columns=["id", "text", "source"])
    assert rows[1] == {"id": "clips/r1", "text": '佢話"1",好', "source": "mine"}
    assert stats["language"] == "yue"


def test_a_table_cannot_point_out_of_its_folder(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (tmp_path / "secret.wav").write_bytes(b"secret")
    rows = [("../secret.wav", "甲"), (str(tmp_path / "secret.wav"), "乙")]
    (folder / "metadata.tsv").write_text("file\ttext\n" + "".join(f"{f}\t{t}\n" for f, t in rows), encoding="utf-8")
    assert {clip.objection for clip in open_source(str(folder)).clips(split_policy="official")} == {
        "file outside the folder"
    }
    with pytest.raises(UsageError, match="language"):
        build_features(str(folder), tmp_path / "out", config=ONE, progress=False)


def test_sources_are_combined_with_caps_and_everything_is_counted(tmp_path):
    release = small_release(tmp_path)
    for i in range(12):
        release.add(f"more_{i}", f"再加第{i}句", speaker=f"speaker {i % 4}", audio=sound(3, pitch_hz=100 + 9 * i))
    folder = table_folder(tmp_path / "mine", "jsonl", n=2)
    both = f"{release.write()},hours=0.005+{folder},text=words"  # 18 s: three of the four speakers of 9 s do not fit
    stats = build_features(both, tmp_path / "out", config=ONE, progress=False)
    assert stats["n_kept"] + stats["n_rejected"] == 3 + 12 + 2 + 2
    left_out = [id_ for id_, _, reason in rejected(tmp_path / "out") if reason == BEYOND]
    rows = stored(tmp_path / "out", "train", columns=["id", "duration_s", "speaker", "source"])
    theirs = [row for row in rows if row["source"] != "mine"]
    assert left_out and sum(row["duration_s"] for row in theirs) <= 18.5
    assert len(rows) - len(theirs) == 2 and stats["source"] == "cv-corpus-99.0-2030-01-01/yue + mine"
    by_speaker = {f"more_{i}": i % 4 for i in range(12)}
    assert not {by_speaker.get(row["id"]) for row in theirs} & {by_speaker.get(i) for i in left_out} - {None}


def test_weights_mix_in_a_ratio(tmp_path):
    for name, n in (("a", 12), ("b", 30)):
        release = Release(tmp_path / name)
        for i in range(n):
            release.add(f"{name}{i}", f"{name}第{i}句", audio=sound(1))
        release.rows = {"train": release.rows["train"], "validated": []}
        release.write()
    source = open_source(f"{tmp_path / 'a'},weight=2+{tmp_path / 'b'},weight=1")
    kept = [clip.source for clip in source.clips(split_policy="official") if clip.objection is None]
    assert kept.count("a") == 12 and kept.count("b") == 6


def test_whole_speakers_fill_the_hours():
    clips = [(f"s{i % 7}", 600.0) for i in range(70)]  # 7 speakers of 100 minutes
    kept = within_hours(clips, 5.1)
    chosen = {speaker for (speaker, _), keep in zip(clips, kept, strict=True) if keep}
    assert len(chosen) == 3 and kept == [speaker in chosen for speaker, _ in clips]
    assert kept == within_hours(clips, 5.1), "the same choice every time"
    assert kept != within_hours(clips, 5.1, seed="another") or kept != within_hours(clips, 5.1, seed="third")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("samples,hour=3", "no option 'hour'; there are: hours"),
        ("samples,hours=many", "hours=many of samples is not a positive number"),
        ("samples+", "names no source"),
        ("hub:cantonese", "is no dataset name"),
        ("nowhere+samples", "there is no folder nowhere"),
    ],
)
def test_a_wrong_name_is_refused_with_what_is_right(text, message):
    with pytest.raises(UsageError, match=message):
        open_source(text)


def test_a_name_on_disk_is_never_taken_apart(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(small_release(tmp_path).folder, "a+b,hours=1")
    assert [spec.name for spec in parse("a+b,hours=1")] == ["a+b,hours=1"]


def test_bad_input_and_no_permission_are_one_line(tmp_path):
    """A folder that nobody may write in; a file system that is full (Linux has a device that always is)."""
    release = small_release(tmp_path).write()
    data = tmp_path / "full.part" / "data"
    data.mkdir(parents=True)
    (data / "test-00000-of-00001.parquet.part").symlink_to("/dev/full")
    with pytest.raises(CantowhisperError, match=r"cannot write .*full: No space left on device"):
        build_features(release, tmp_path / "full", config=ONE, progress=False)
    stats = build_features(release, tmp_path / "full", config=ONE, progress=False)
    assert stats["n_kept"] == 5, "the same command goes on when there is room"
    with pytest.raises(CantowhisperError, match="cannot write"):
        build_features(release, "/proc/nobody/may", config=ONE, progress=False)


def test_an_hour_of_silence_a_playlist_and_a_page_are_rejects(tmp_path):
    import numpy as np
    import soundfile

    folder = tmp_path / "mine"
    folder.mkdir()
    soundfile.write(folder / "hour.flac", np.zeros(3600 * 8000, np.int16), 8000)
    (folder / "list.wav").write_text("ffconcat version 1.0\nfile 'good.wav'\n")
    (folder / "page.mp3").write_text("<!DOCTYPE html><title>403</title>")
    (folder / "zero.mp3").write_bytes(b"")
    soundfile.write(folder / "good.wav", sound(1), 16_000)
    shutil.copy(folder / "good.wav", folder / "again.wav")
    names = ("hour.flac", "list.wav", "page.mp3", "zero.mp3", "good.wav", "again.wav", "gone.wav", "quick.wav")
    soundfile.write(folder / "quick.wav", sound(0.5, pitch_hz=300), 16_000)
    texts = {"quick.wav": "呢句說話長到半秒鐘之內冇人講得完"}
    lines = [f"{name}\t{texts.get(name, '第幾句')}" for name in names]
    (folder / "metadata.tsv").write_text("\n".join(["file\ttext", *lines]) + "\n", encoding="utf-8")
    config = ONE.with_overrides(language="yue")
    stats = build_features(str(folder), tmp_path / "out", config=config, progress=False)
    assert {(id_, reason) for id_, _, reason in rejected(tmp_path / "out")} == {
        ("hour", "too long: 3600.0 s"),
        ("list", "unreadable"),
        ("page", "unreadable"),
        ("zero", "empty"),
        ("gone", "missing file: gone.wav"),
        ("again", "duplicate audio"),
        ("quick", "implausible characters per second"),
    }
    assert stats["n_kept"] == 1 and stats["n_rejected"] == 7 and stats["hours_too_long"] == 1
    for again in (tmp_path / "out", tmp_path / "new"):
        with pytest.raises(CantowhisperError, match="--strict: gone "):
            build_features(str(folder), again, config=config.with_overrides(strict=True), progress=False)


def test_a_sentence_of_too_many_tokens_is_a_reject(tmp_path, real_weights):
    release = small_release(tmp_path)
    release.add("long", "𪚥" * 160)  # several tokens each
    release.add("fine", "你" * 300)  # as many bytes and more, but few tokens
    config = ONE.with_overrides(tokenizer=str(real_weights / "whisper_tokenizer"))
    build_features(release.write(), tmp_path / "out", config=config, progress=False)
    reasons = {id_: reason for id_, _, reason in rejected(tmp_path / "out")}
    assert reasons == {"long": "more than 448 tokens", "fine": "implausible characters per second"}
    with pytest.raises(CantowhisperError, match="give a folder with --set tokenizer"):
        nowhere = ONE.with_overrides(tokenizer=str(tmp_path / "nowhere"))
        build_features(release.write(), tmp_path / "o", config=nowhere, progress=False)


def test_max_hours_and_strict_go_together(tmp_path):
    release = small_release(tmp_path)
    config = ONE.with_overrides(max_hours=0.0006, strict=True)  # 2.2 s of the 4.5 s
    stats = build_features(release.write(), tmp_path / "out", config=config, progress=False)
    assert stats["n_kept"] + stats["n_rejected"] == 5
    assert stats["rejected"]["train"] == {BEYOND: stats["n_rejected"]} and stats["n_rejected"] >= 1


def test_the_command_takes_the_options(tmp_path):

    release = small_release(tmp_path).write()
    command = [sys.executable, "-m", "cantowhisper.cli", "features", release, str(tmp_path / "out"), "--workers", "1"]
    done = subprocess.run([*command, "--max-hours", "0.0006", "--strict"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "rejected " in done.stdout, done.stderr
