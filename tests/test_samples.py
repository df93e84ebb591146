"""The sample corpus is what its README says: a Common Voice release whose splits share no sentence and no speaker."""

import csv
import re
import shutil
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

SAMPLES = Path(__file__).resolve().parents[1] / "samples"
CORPUS, CLIPS = SAMPLES / "corpus", SAMPLES / "clips"
COLUMNS = [
    "client_id",
    "path",
    "sentence_id",
    "sentence",
    "sentence_domain",
    "up_votes",
    "down_votes",
    "age",
    "gender",
    "accents",
    "variant",
    "locale",
    "segment",
]
OFFICIAL = ("train", "dev", "test")

sys.path.insert(0, str(SAMPLES))

import make_samples  # noqa: E402
import voices  # noqa: E402
from sentences import MIN_TRAIN_COUNT, characters, compose, normalise  # noqa: E402


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.fixture(scope="module")
def tables() -> dict[str, list[dict[str, str]]]:
    return {name: read(CORPUS / f"{name}.tsv") for name in (*OFFICIAL, "validated", "other", "invalidated")}


@pytest.fixture(scope="module")
def durations_ms() -> dict[str, int]:
    return {row["clip"]: int(row["duration[ms]"]) for row in read(CORPUS / "clip_durations.tsv")}


@pytest.fixture(scope="module")
def planned():
    return make_samples.plan()


def test_tables_have_the_columns_of_common_voice_17(tables):
    for name, rows in tables.items():
        header = (CORPUS / f"{name}.tsv").read_text("utf-8").split("\n")[0].split("\t")
        assert header == COLUMNS
        assert all(None not in row and None not in row.values() for row in rows)
    assert (CORPUS / "clip_durations.tsv").read_text("utf-8").startswith("clip\tduration[ms]\n")
    assert (CORPUS / "reported.tsv").read_text("utf-8").startswith("sentence\tsentence_id\tlocale\treason\n")
    assert len(read(CORPUS / "reported.tsv")) == 2


def test_values_look_like_common_voice(tables):
    for row in tables["validated"] + tables["other"] + tables["invalidated"]:
        assert re.fullmatch(r"[0-9a-f]{128}", row["client_id"])
        assert re.fullmatch(r"[0-9a-f]{64}", row["sentence_id"])
        assert re.fullmatch(r"common_voice_yue_\d{7}\.mp3", row["path"])
        assert row["locale"] == "yue"
        assert re.fullmatch(r"espeak-ng yue\+[mf]\d", row["accents"])


def test_counts(tables):
    assert {name: len(rows) for name, rows in tables.items()} == {
        "train": 850, "dev": 100, "test": 100, "validated": 1110, "other": 8, "invalidated": 8
    }  # fmt: skip


def test_splits_share_neither_sentence_nor_speaker(tables):
    sentences = [{normalise(row["sentence"]) for row in tables[split]} for split in OFFICIAL]
    speakers = [{row["client_id"] for row in tables[split]} for split in OFFICIAL]
    assert [len(found) for found in sentences] == [850, 100, 100]
    for group in (sentences, speakers):
        assert sum(map(len, group)) == len(set.union(*group))


def test_validated_adds_only_train_sentences_by_train_speakers(tables):
    official = {row["path"] for split in OFFICIAL for row in tables[split]}
    extra = [row for row in tables["validated"] if row["path"] not in official]
    assert len(extra) == 60 and official < {row["path"] for row in tables["validated"]}
    for key in ("sentence", "client_id"):
        assert {row[key] for row in extra} <= {row[key] for row in tables["train"]}


def test_votes(tables):
    assert all(int(row["up_votes"]) > int(row["down_votes"]) for row in tables["validated"])
    assert all(int(row["up_votes"]) < int(row["down_votes"]) for row in tables["invalidated"])


def test_unseen_voice_is_in_test_only(tables):
    unseen = f"espeak-ng {voices.UNSEEN_VOICE}"
    found = {split: Counter(row["accents"] for row in tables[split]) for split in OFFICIAL}
    assert found["test"].pop(unseen) == 20
    assert unseen not in found["train"] and unseen not in found["dev"]
    assert set(found["train"]) == set(found["dev"]) == set(found["test"]) and len(found["train"]) >= 7


def test_every_character_of_dev_and_test_is_common_in_train(tables):
    counts = Counter(c for row in tables["train"] for c in characters(row["sentence"]))
    assert 100 <= len(counts) <= 400
    for split in ("dev", "test"):
        assert all(counts[c] >= MIN_TRAIN_COUNT for row in tables[split] for c in characters(row["sentence"]))


def test_numbers_are_written_as_they_are_read(tables):
    assert not any(re.search(r"[0-9A-Za-z]", row["sentence"]) for row in tables["validated"])


def test_bare_quotes_survive(tables):
    assert sum('"' in row["sentence"] for row in tables["train"]) == 1


def test_clips_on_disk_are_those_of_the_tables(tables, durations_ms):
    named = [row["path"] for name in ("validated", "other", "invalidated") for row in tables[name]]
    assert len(named) == len(set(named))
    assert set(named) == set(durations_ms) == {path.name for path in (CORPUS / "clips").iterdir()}


def test_durations_by_decoding(tables, durations_ms):
    official = {row["path"] for split in OFFICIAL for row in tables[split]}
    for name, duration_ms in durations_ms.items():
        samples, rate_hz = soundfile.read(CORPUS / "clips" / name, dtype="float32")
        assert samples.ndim == 1
        assert abs(1000 * len(samples) / rate_hz - duration_ms) < 60, name
        assert 2000 <= duration_ms <= 6000, name
        assert name not in official or np.abs(samples).max() > 0.1, name


def test_everything_together_is_small():
    total = sum(
        path.stat().st_size for path in SAMPLES.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )
    assert total < 15_000_000


def test_sentences_are_those_of_the_generator(tables, planned):
    clips, _ = planned
    for split in OFFICIAL:
        expected = [make_samples.row(clip) for clip in clips if clip.split == split]
        assert [list(row.values()) for row in tables[split]] == expected
    assert make_samples.plan() == planned


def test_too_rare_characters_are_refused():
    with pytest.raises(ValueError, match=r"too rarely|needed to cover"):
        compose(seed=1, n_train=100, n_dev=100, n_test=100, n_more=10)


def test_references_are_the_generators_and_in_no_split(tables, planned):
    texts = [row["text"] for row in read(CLIPS / "references.tsv")]
    assert sorted(texts) == sorted(text for group in planned[1].values() for text in group)
    assert len(set(texts)) == len(texts)
    assert not set(texts) & {row["sentence"] for row in tables["validated"]}


def decoded(path: Path) -> tuple[np.ndarray, int]:
    """Mono samples and their rate, by soundfile or, where it cannot read the container, by PyAV."""
    if path.suffix in (".m4a", ".mp4"):
        av = pytest.importorskip("av")
        with av.open(str(path)) as container:
            stream = container.streams.audio[0]
            return np.concatenate([f.to_ndarray().mean(axis=0) for f in container.decode(stream)]), stream.rate
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    return samples.mean(axis=1), rate_hz


def test_long_pieces_decode_and_references_lie_in_them():
    references: dict[str, list[dict[str, str]]] = {}
    for row in read(CLIPS / "references.tsv"):
        references.setdefault(row["file"], []).append(row)
    files = {path.name for path in CLIPS.iterdir()} - {"references.tsv"}
    assert set(references) == files - {"silence.wav"}
    for name, rows in references.items():
        samples, rate_hz = decoded(CLIPS / name)
        seconds = len(samples) / rate_hz
        assert 10 <= seconds <= 60
        times = [float(row[key]) for row in rows for key in ("start_s", "end_s")]
        assert times == sorted(times) and times[0] >= 0 and times[-1] <= seconds
        first = samples[int(times[0] * rate_hz) : int(times[1] * rate_hz)]
        assert np.sqrt(np.mean(first**2)) > 3 * np.sqrt(np.mean(samples[: int((times[0] - 0.1) * rate_hz)] ** 2))


def test_special_pieces():
    silent, _ = soundfile.read(CLIPS / "silence.wav")
    assert len(silent) and not silent.any()
    stereo, rate_hz = soundfile.read(CLIPS / "stereo_44k.mp3")
    assert rate_hz == 44_100 and stereo.shape[1] == 2
    assert np.abs(stereo[:, 0]).max() > 1.5 * np.abs(stereo[:, 1]).max()
    av = pytest.importorskip("av")
    with av.open(str(CLIPS / "video_news.mp4")) as video:
        assert video.streams.video[0].codec_context.name == "h264" and len(video.streams.audio) == 1


@pytest.mark.skipif(not (shutil.which("espeak-ng") and shutil.which("ffmpeg")), reason="needs espeak-ng and ffmpeg")
def test_three_clips_can_be_made_again(planned, durations_ms, tmp_path):
    clips = planned[0]
    for clip in (clips[0], clips[850], clips[950]):
        duration_ms = make_samples.render(clip, tmp_path)
        assert abs(duration_ms - durations_ms[clip.path]) <= 60
        assert soundfile.info(tmp_path / clip.path).samplerate == 22_050


def test_readings_that_are_not_cantonese_are_refused():
    if not shutil.which("espeak-ng"):
        pytest.skip("needs espeak-ng")
    from rendering import ReadingError, check_reading

    check_reading("今日好熱，飲杯凍奶茶先！")
    with pytest.raises(ReadingError):
        check_reading("我想搭bus")
