"""What sources give and what is left out of them, with releases of our own making."""

import csv
import io
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from cantowhisper.contracts import CantowhisperError
from cantowhisper.features.pipeline import FeatureConfig, build_features
from cantowhisper.speech.audio import SAMPLE_RATE

COLUMNS = """client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents
 variant locale segment""".split()  # noqa: SIM905 - as in the header of the tables
ONE = FeatureConfig(workers=1)


def sound(seconds: float = 1.0, *, pitch_hz: float = 200.0, loudness: float = 0.3, rate: int = 16_000) -> np.ndarray:
    return (loudness * np.sin(2 * np.pi * pitch_hz * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


class Release:
    """A Common Voice release in a folder, clip by clip."""

    def __init__(self, folder: Path, columns: list[str] = COLUMNS):
        self.folder = folder
        self.columns = columns
        self.rows: dict[str, list[dict]] = {"train": [], "dev": [], "test": []}
        (folder / "clips").mkdir(parents=True)

    def add(self, name: str, sentence: str, *, table="train", speaker: str | None = None, audio=None) -> None:
        """A clip; its speaker is its own unless given, its audio a tone of its own, or bytes, or False for no file."""
        row = dict.fromkeys(self.columns, "")
        row |= {"client_id": speaker or f"client-of-{name}", "path": f"{name}.mp3", "sentence": sentence}
        self.rows.setdefault(table, []).append(row)
        path = self.folder / "clips" / f"{name}.mp3"
        if isinstance(audio, bytes):
            path.write_bytes(audio)
        elif audio is not False and not path.exists():
            own = sound(pitch_hz=150 + zlib.crc32(name.encode()) % 5_000) if audio is None else audio
            soundfile.write(path, own, SAMPLE_RATE, format="MP3")

    def write(self) -> str:
        for table, rows in self.rows.items():
            lines = ["\t".join(self.columns), *("\t".join(row[c] for c in self.columns) for row in rows)]
            (self.folder / f"{table}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(self.folder)


def small_release(tmp_path: Path) -> Release:
    """Three training clips, one for validation, one to test with."""
    made = Release(tmp_path / "cv-corpus-99.0-2030-01-01" / "yue")
    for i in range(3):
        made.add(f"train_{i}", f"第{i}句訓練", audio=sound(1 + i / 2, pitch_hz=150 + 40 * i))
    made.add("dev_0", "驗證句", table="dev")
    made.add("test_0", "測試句", table="test")
    return made


def rejected(out: Path) -> list[tuple[str, str, str]]:
    with (out / "rejected.tsv").open(encoding="utf-8") as file:
        return [tuple(row.values()) for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]


def stored(out: Path, split: str, *, columns=None) -> list[dict]:
    files = sorted((out / "data").glob(f"{split}-*.parquet"))
    return [row for file in files for row in pq.read_table(file, columns=columns).to_pylist()]


@pytest.fixture
def release(tmp_path) -> Release:
    return small_release(tmp_path)


def test_bare_quotes_do_not_swallow_lines(release, tmp_path):
    release.add("quote_0", '"開頭有引號')
    release.add("quote_1", '佢話"好"')
    release.add("after", "後一句")
    out = tmp_path / "out"
    stats = build_features(release.write(), out, config=ONE, progress=False)
    texts = [row["text"] for row in stored(out, "train", columns=["text"])]
    assert texts[3:] == ['"開頭有引號', '佢話"好"', "後一句"] and stats["n_rejected"] == 0


def test_every_reject_is_listed_with_its_reason(release, tmp_path):
    mp3 = release.folder / "clips" / "train_2.mp3"
    release.add("html", "網頁", audio=b"<!DOCTYPE html><title>403</title>")
    release.add("zero", "空檔案", audio=b"")
    release.add("mute", "無聲", audio=sound(loudness=1e-4))
    release.add("short", "短", audio=sound(0.1))
    release.add("long", "長", audio=sound(31))
    release.add("wordless", " 。！ ")
    release.add("gone", "唔見咗", audio=False)
    release.add("train_0", "又係嗰個檔案")
    release.add("whose", "同一個人", speaker="client-of-test_0")
    release.add("what", "測試句。")  # punctuation does not make it another sentence
    release.add("dev_what", "測試句", table="dev")
    release.add("cut", "截斷", audio=mp3.read_bytes()[: mp3.stat().st_size // 2])  # its header counts more frames
    out = tmp_path / "out"
    stats = build_features(release.write(), out, config=ONE, progress=False)
    assert set(rejected(out)) == {
        ("html", "train", "unreadable"),
        ("zero", "train", "empty"),
        ("mute", "train", "silent"),
        ("short", "train", "too short"),
        ("long", "train", "too long: 31.0 s"),
        ("cut", "train", "damaged or cut off"),
        ("wordless", "train", "no text"),
        ("gone", "train", "missing file"),
        ("train_0", "train", "duplicate id"),
        ("whose", "train", "speaker also in test"),
        ("what", "train", "sentence also in test"),
        ("dev_what", "validation", "sentence also in test"),
    }
    assert stats["n_kept"] + stats["n_rejected"] == 17 and stats["n_kept"] == 5
    assert stats["rejected"]["validation"] == {"sentence also in test": 1}


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_a_table_cannot_point_out_of_the_clips(release, tmp_path, packed):
    for i, place in enumerate(("..", "../../..", str(tmp_path), "clips/..")):
        name = f"secret_{i}"
        for folder in (tmp_path, release.folder):
            soundfile.write(folder / f"{name}.mp3", sound(), SAMPLE_RATE, format="MP3")
        release.add(name, f"出面第{i}句", audio=False)
        release.rows["train"][-1]["path"] = f"{place}/{name}.mp3"
    source, out = release.write(), tmp_path / "out"
    if packed:
        source = str(tmp_path / "release.tar.gz")
        with tarfile.open(source, "w:gz") as tar:
            tar.add(release.folder, arcname="cv-corpus-99.0-2030-01-01/yue")
    build_features(source, out, config=ONE, progress=False)
    assert [(split, reason) for _, split, reason in rejected(out)] == [("train", "missing file")] * 4
    assert [row["id"] for row in stored(out, "train", columns=["id"])] == ["train_0", "train_1", "train_2"]


def test_silence_is_judged_by_both_signs(release, tmp_path):
    """A click of one sign is sound, whichever sign it has; what is under -60 dBFS both ways is none."""
    for name, height in (("up", 0.5), ("down", -0.5), ("faint_up", 9e-4), ("faint_down", -9e-4)):
        pulses = np.zeros(SAMPLE_RATE, np.float32)
        pulses[:: 400 + len(name)] = height  # each in a rhythm of its own: the spectrum does not tell signs apart
        file = io.BytesIO()
        soundfile.write(file, pulses, SAMPLE_RATE, format="WAV", subtype="FLOAT")
        release.add(name, f"{name} 句", audio=file.getvalue())
    out = tmp_path / "out"
    build_features(release.write(), out, config=ONE, progress=False)
    assert rejected(out) == [("faint_up", "train", "silent"), ("faint_down", "train", "silent")]
    assert [row["id"] for row in stored(out, "train", columns=["id"])][3:] == ["up", "down"]


def test_validated_policy_trains_on_all_that_dev_and_test_leave_free(release, tmp_path):
    for table in ("train", "dev", "test"):
        release.rows.setdefault("validated", []).extend(release.rows[table])
    release.add("extra", "多一句", table="validated")
    release.add("leak", "測試句", table="validated")
    out = tmp_path / "out"
    config = FeatureConfig(workers=1, split_policy="validated")
    stats = build_features(release.write(), out, config=config, progress=False)
    assert [row["id"] for row in stored(out, "train", columns=["id"])] == ["train_0", "train_1", "train_2", "extra"]
    assert rejected(out) == [("leak", "train", "sentence also in test")] and stats["n_kept"] == 6


def test_wrong_sources_are_refused_in_one_line(release, tmp_path):
    release.write()
    (release.folder.parent / "zh-CN" / "clips").mkdir(parents=True)
    (release.folder.parent / "zh-CN" / "train.tsv").write_text("client_id\tpath\tsentence\n")
    cases = {
        str(tmp_path / "nowhere"): "there is no folder",
        str(release.folder / "train.tsv"): "does not say what language it is",
        str(release.folder / "clips"): "is in no layout that is read",
        str(release.folder.parent): r"several languages \(yue, zh-CN\)",
        str(release.folder.parent / "zh-CN"): "no usable clip",
    }
    for source, message in cases.items():
        with pytest.raises(CantowhisperError, match=message):
            build_features(source, tmp_path / "out", config=ONE, progress=False)
    (release.folder / "train.tsv").write_text("speaker\tfile\ttext\n")
    with pytest.raises(CantowhisperError, match="no column client_id, path, sentence"):
        build_features(str(release.folder), tmp_path / "out", config=ONE, progress=False)
    assert not list(tmp_path.glob("out*"))
