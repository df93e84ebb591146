"""Recordings inside of tables (Parquet, what `save_to_disk` writes, the Hub's), and manifests of lhotse."""

import io
import json
import re
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from loopback_hub import READER, running_hub
from test_features_hub import Client, parquet_of_audio
from test_features_release import ONE, sound, stored

from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.features.pipeline import build_features
from cantowhisper.features.sources.open import open_source


def wav_bytes(seconds: float, pitch_hz: float = 200) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, sound(seconds, pitch_hz=pitch_hz), 16_000, format="WAV")
    return file.getvalue()


def dataset_of(texts: str) -> datasets.Dataset:
    cells = [{"bytes": wav_bytes(1, 200 + 50 * i), "path": f"{i}.wav"} for i in range(len(texts))]
    made = datasets.Dataset.from_dict({"audio": cells, "sentence": list(texts), "speaker_id": list(range(len(texts)))})
    return made.cast_column("audio", datasets.Audio(decode=False))


def clips_of(source: object) -> list:
    return list(open_source(str(source)).clips(split_policy="official"))


def test_what_datasets_saves_is_read_with_its_splits(tmp_path):
    whole = datasets.DatasetDict(
        {"train": dataset_of("甲乙丙"), "validation": dataset_of("丁"), "held": dataset_of("戊")}
    )
    whole.save_to_disk(tmp_path / "saved")
    found = clips_of(f"{tmp_path / 'saved'},test=held")
    assert [(c.split, c.sentence) for c in found] == [
        *(("train", text) for text in "甲乙丙"),
        ("validation", "丁"),
        ("test", "戊"),
    ]
    assert len({c.id for c in found}) == 5 and found[0].speaker == "saved/0"
    assert found[1].recording.read() == wav_bytes(1, 250)
    whole["train"].filter(lambda row: row["sentence"] != "乙").save_to_disk(tmp_path / "part")
    assert [c.sentence for c in clips_of(tmp_path / "part")] == ["甲", "丙"]
    stats = build_features(f"{tmp_path / 'part'},language=yue", tmp_path / "out", config=ONE, progress=False)
    assert stats["n_kept"] == 2 and [row["text"] for row in stored(tmp_path / "out", "train")] == ["甲", "丙"]


def test_parquet_files_of_a_folder_and_one_alone(tmp_path):
    (tmp_path / "data").mkdir()
    for name, texts in (("train-00000-of-00002", "甲乙"), ("train-00001-of-00002", "丙"), ("test-0", "丁")):
        dataset_of(texts).to_parquet(tmp_path / "data" / f"{name}.parquet")
    found = clips_of(tmp_path)
    assert [(c.split, c.sentence) for c in found] == [("train", "甲"), ("train", "乙"), ("train", "丙"), ("test", "丁")]
    assert len({c.id for c in found}) == 4 and found[2].recording.read() == wav_bytes(1)
    assert [c.sentence for c in clips_of(tmp_path / "data" / "test-0.parquet")] == ["丁"]


def test_names_and_bare_bytes_are_recordings_too(tmp_path):
    (tmp_path / "wavs").mkdir()
    (tmp_path / "wavs" / "a.wav").write_bytes(wav_bytes(1))
    names = {"audio": ["a.wav", "b.wav", None], "text": ["甲", "乙", "丙"]}
    pq.write_table(pa.table(names), tmp_path / "names.parquet")
    there, missing, unnamed = clips_of(tmp_path)
    assert unnamed.objection == "missing file: the row names none"
    assert there.recording.read() == wav_bytes(1) and there.objection is None
    assert missing.objection == "missing file: b.wav"
    pq.write_table(pa.table({"audio": [wav_bytes(2)], "text": [7]}), tmp_path / "names.parquet")
    (bare,) = clips_of(tmp_path)
    assert bare.recording.read() == wav_bytes(2) and bare.sentence == "7"


NO_RECORDINGS = {
    "numbers": ({"audio": [1, 2], "text": ["甲", "乙"]}, "the column audio of .* holds int64 and no recordings"),
    "samples": ({"audio": [[0.1], [0.2]], "text": ["甲", "乙"]}, "lists of numbers, and nothing says their rate"),
    "decoded": (
        {"audio": [{"array": [0.1], "sampling_rate": 16_000}], "text": ["甲"]},
        "no bytes of recordings; cast it to datasets.Audio",
    ),
    "lists of text": (
        {"audio": [b"x"], "text": [["甲", "乙"]]},
        "text of .* holds list.* name another: SOURCE,text=COLUMN",
    ),
    "no column": ({"sound": [b"x"], "text": ["甲"]}, "has no column audio or path"),
}


@pytest.mark.parametrize("what", NO_RECORDINGS)
def test_columns_without_recordings_are_one_clear_line(tmp_path, what):
    columns, message = NO_RECORDINGS[what]
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    with pytest.raises((UsageError, CantowhisperError), match=message) as caught:
        clips_of(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_torn_file_is_named(tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(CantowhisperError, match=r"cannot read .*train\.parquet"):
        clips_of(tmp_path)


def lhotse_cut(name: str, start: float, duration: float, *said: tuple[float, float, str], of: str = "file") -> str:
    supervisions = [
        {"id": f"{name}-{i}", "start": at, "duration": length, "text": text, "speaker": "s", "language": "yue"}
        for i, (at, length, text) in enumerate(said)
    ]
    source = {"type": of, "channels": [0], "source": "/elsewhere/wav/talk.wav"}
    recording = {"id": "talk", "sources": [source], "sampling_rate": 16_000, "num_samples": 64_000, "duration": 4.0}
    cut = {"id": name, "start": start, "duration": duration, "supervisions": supervisions, "recording": recording}
    return json.dumps({**cut, "type": "MonoCut"}, ensure_ascii=False)


def put_talk(folder: Path) -> None:
    (folder / "wav").mkdir()
    tones = np.concatenate([sound(1, pitch_hz=200 + 100 * i) for i in range(4)])
    soundfile.write(folder / "wav" / "talk.wav", tones, 16_000)


def test_cuts_of_lhotse_are_parts_of_recordings(tmp_path):
    put_talk(tmp_path)
    train = [lhotse_cut("a", 1.0, 3.0, (0.0, 1.0, "甲"), (2.0, 1.0, "乙")), lhotse_cut("b", 0.0, 4.0, (0.0, 4.0, "丙"))]
    (tmp_path / "libri_cuts_train-clean-5.jsonl").write_text("\n".join(train), encoding="utf-8")
    dev = lhotse_cut("c", 0.0, 4.0, (0.0, 4.0, "丁"), of="command")
    (tmp_path / "libri_cuts_dev.jsonl").write_text(dev, encoding="utf-8")
    found = clips_of(tmp_path)
    assert [(c.split, c.id, c.sentence) for c in found] == [
        ("train", "a-0", "甲"),
        ("train", "a-1", "乙"),
        ("train", "b-0", "丙"),
        ("validation", "c-0", "丁"),
    ]
    assert "write sound files" in found[3].objection and not any(c.objection for c in found[:3])
    (tmp_path / "part.wav").write_bytes(found[1].recording.read())
    part, _ = soundfile.read(tmp_path / "part.wav")
    whole, _ = soundfile.read(tmp_path / "wav" / "talk.wav")
    assert part == pytest.approx(whole[48_000:64_000], abs=1e-3)  # a cut's own time, from its beginning
    assert soundfile.info(io.BytesIO(found[2].recording.read())).frames == 64_000


def test_supervisions_of_lhotse_find_their_recordings(tmp_path):
    put_talk(tmp_path)
    cut = json.loads(lhotse_cut("x", 0.0, 4.0, (1.5, 1.0, "甲")))
    supervision = {**cut["supervisions"][0], "recording_id": "talk"}
    (tmp_path / "recordings_train.jsonl").write_text(json.dumps(cut["recording"]), encoding="utf-8")
    (tmp_path / "supervisions_train.jsonl").write_text(json.dumps(supervision), encoding="utf-8")
    (clip,) = clips_of(tmp_path)
    assert (clip.sentence, clip.split, clip.seconds) == ("甲", "train", 1.0)
    assert soundfile.info(io.BytesIO(clip.recording.read())).frames == 16_000


def test_hours_of_a_dataset_of_the_hub_cost_no_more_files_than_they_need(tmp_path):
    files = {"README.md": b"---\nlanguage:\n- yue\nlicense: mit\n---\n"}
    for number in range(4):
        texts = [f"{number} 第{i}句" for i in range(5)]
        files[f"data/train-{number:05d}-of-00004.parquet"] = parquet_of_audio(tmp_path / "p.parquet", texts)
    steps = f"""
out = Path({str(tmp_path)!r})
step(lambda: build_features("hub:some/speech,text=words,hours=0.0017", out / "a", config=one, progress=False)["n_kept"])
"""
    with running_hub() as hub:
        hub.add("some/speech", files)
        with Client(hub.url, tmp_path, steps, token=READER) as client:
            n_kept = client.next()
        fetched = {name for name in re.findall(r"train-\d{5}-of-00004\.parquet", " ".join(hub.served))}
    seconds = sum(row["duration_s"] for row in stored(tmp_path / "a", "train"))
    assert n_kept >= 3 and seconds <= 0.0017 * 3600
    assert 0 < len(fetched) < 4, fetched
