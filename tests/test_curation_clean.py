"""`cantowhisper clean`: thresholds from the dataset itself, a subset that keeps its promises, real clips."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from training_data import copy_release, small_features, temporary_folder, tiny_whisper

from benchmarks.clean import halved, measure, planted, rate, real_rows
from benchmarks.tables_real import PLANTED
from cantowhisper.cli.main import main
from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.curation.agreement import Agreement, batches_of
from cantowhisper.curation.checks import CHECKS, CUT_OFF, PART, finding, measured, threshold, thresholds
from cantowhisper.curation.clean import clean
from cantowhisper.curation.ledger import Ledger
from cantowhisper.curation.subset import FeatureFolder, write_subset
from cantowhisper.features.plan import Reject
from cantowhisper.training.data.load import load_split

REAL = "common_voice_17_layout/cv-corpus-17.0-2024-03-15/zh-HK"


# ------------------------------------------------------------------------------------------------------ thresholds


def test_a_threshold_finds_its_share_where_right_and_wrong_lie_apart():
    rng = np.random.default_rng(1)
    right, wrong = rng.normal(3, 0.7, 900), rng.normal(0, 0.4, 100)
    found = threshold([*right, *wrong], rng.normal(0, 0.4, 5000), recall=0.95, false_alarms=0.02)
    assert found.recall == 0.95 and found.wrong == pytest.approx(0.1, abs=0.03) and found.false_alarms < 0.01
    assert np.mean(wrong < found.value) > 0.9 and np.mean(right < found.value) < 0.005


def test_a_threshold_gives_up_wrong_texts_before_it_takes_many_right_ones():
    rng = np.random.default_rng(2)
    found = threshold(rng.normal(1.5, 0.7, 3000), rng.normal(0, 0.7, 3000), recall=0.95, false_alarms=0.02)
    assert 0.5 <= found.recall < 0.95 and np.mean(rng.normal(1.5, 0.7, 3000) < found.value) < 0.05


def test_a_threshold_does_not_tell_where_right_and_wrong_are_alike():
    values = np.random.default_rng(3).normal(0, 1, 500)
    assert threshold(values, values, recall=0.95, false_alarms=0.02).value == -np.inf
    assert threshold([], [], recall=0.95, false_alarms=0.02).value == -np.inf


def made_up(gain: np.ndarray, *, end: float = -0.5, n_others: int = 4) -> Agreement:
    """A text whose sound adds `gain` to its tokens."""
    rng = np.random.default_rng(gain.size)
    others = rng.normal(-6, 0.3, (n_others, gain.size)).astype(np.float32)
    own = others.mean(axis=0) + gain
    own[-1] = end
    ends = np.append(rng.normal(-7, 1, gain.size - 1), end)
    return Agreement(np.arange(100, 100 + gain.size), own, others, ends)


class Spelling:
    def decode(self, ids):
        return " ".join(map(str, ids))


def test_reasons_say_what_is_wrong_with_a_text():
    right = [made_up(np.full(20, 3.0)) for _ in range(40)]
    half = made_up(np.where(np.arange(20) < 10, 3.0, -0.5))
    odd = [made_up(np.zeros(20), end=-6.0), half, made_up(np.full(20, 3.0), end=-8.5)]
    measures = [measured(one) for one in (*right, *odd)]
    limits = thresholds(measures)
    found = [finding(one, limits, Spelling()) for one in measures]
    assert found[:40] == [None] * 40
    assert [one.check for one in found[40:]] == [check.name for check in CHECKS]
    assert found[41].check == PART and found[41].reason.startswith(f"{PART}: 11")  # tokens 110 and later
    assert found[42].reason == f"{CUT_OFF}: the model gives it 0.02% to end there"


def test_a_clip_without_others_near_is_not_judged():
    assert measured(made_up(np.zeros(9), n_others=1)) is None
    assert measured(made_up(np.zeros(1))) is None, "there is no text before its end"
    assert measured(made_up(np.zeros(2))) is not None
    assert finding(None, {}, None) is None


def test_batches_hold_clips_of_like_length_and_none_is_left_alone():
    lengths = np.random.default_rng(0).integers(100, 1000, 33)
    batches = batches_of(lengths)
    assert sorted(np.concatenate(batches).tolist()) == list(range(33)) and {len(b) for b in batches} == {11}
    assert max(lengths[batches[0]]) <= min(lengths[batches[1]])


def test_a_ledger_goes_on_after_a_line_that_was_cut_off(tmp_path):
    path = tmp_path / "ledger.jsonl"
    Ledger(path, {"a": 1}).add([("x", [1, 2]), ("y", None)])
    path.write_bytes(path.read_bytes()[:-9])
    again = Ledger(path, {"a": 1})
    assert again.items == {"x": [1, 2]}
    again.add([("z", 3)])
    assert Ledger(path, {"a": 1}).items == {"x": [1, 2], "z": 3}
    with pytest.raises(CantowhisperError, match="was made with a 1 instead of 2"):
        Ledger(path, {"a": 2})


# -------------------------------------------------------------------------------------------------- a subset's promises


def test_a_subset_has_the_same_rows_and_says_what_is_gone(tmp_path):
    origin = FeatureFolder(small_features())
    train = origin.split("train")
    keep = [row for row in range(len(train)) if row not in (0, 7)]
    gone = [Reject(train["id"][row], "train", "text of another recording: x") for row in (0, 7)]
    stats = write_subset(
        origin, tmp_path / "out", {"train": keep}, rejects=gone, identity={"recall": 0.9}, notes=["cleaned"], facts={}
    )
    assert stats["splits"]["train"]["clips"] == len(keep) == origin.stats["splits"]["train"]["clips"] - 2
    assert stats["rejected"]["train"]["text of another recording"] == 2 and stats["identity"]["recall"] == 0.9
    for split in origin.splits:
        ours, theirs = load_split(tmp_path / "out", split), origin.split(split)
        rows = keep if split == "train" else range(len(theirs))
        assert ours.features == theirs.features and ours["text"] == [theirs["text"][row] for row in rows]
        one, other = (each.with_format("numpy") for each in (ours, theirs))
        assert all(np.array_equal(one[i]["features"], other[row]["features"]) for i, row in enumerate(rows))
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "Cleaned." in card and "| train | text of another recording | 2 |" in card and origin.origin.about in card


# --------------------------------------------------------------------------------------------------------- bad input


@pytest.fixture(scope="module")
def random_whisper() -> Path:
    """A checkpoint folder with random weights and the miniature's tokenizer."""
    from cantowhisper.training.miniature import build_miniature
    from cantowhisper.training.model import save_model

    _, processor = build_miniature(load_split(small_features(), "train")["text"], language="yue")
    return save_model(tiny_whisper(processor.tokenizer), processor, temporary_folder() / "random")


def test_a_model_that_hears_nothing_is_refused(random_whisper, tmp_path):
    with pytest.raises(CantowhisperError, match="does not know the language"):
        clean(small_features(), tmp_path / "out", model=random_whisper, progress=False)
    assert not (tmp_path / "out").exists()
    kept = (tmp_path / "out.part" / "agreement.jsonl").read_bytes()
    with pytest.raises(CantowhisperError, match="does not know the language"):  # from what was heard
        clean(small_features(), tmp_path / "out", model=random_whisper, progress=False)
    assert (tmp_path / "out.part" / "agreement.jsonl").read_bytes().rstrip() == kept.rstrip()


def test_what_cannot_be_cleaned_is_one_line(random_whisper, tmp_path, samples):
    scoring = tmp_path / "scoring"
    shutil.copytree(small_features(), scoring)
    (next((scoring / "data").glob("train-*"))).unlink()
    stats = json.loads((scoring / "stats.json").read_text(encoding="utf-8"))
    del stats["splits"]["train"]
    (scoring / "stats.json").write_text(json.dumps(stats), encoding="utf-8")
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").write_text("mine")
    release = copy_release(samples, tmp_path / "release" / "yue", test=3)
    refused = [
        (dict(features=scoring), CantowhisperError, "has no train split (it has: validation, test)"),
        (dict(features=other), CantowhisperError, "is no finished feature dataset: it has no stats.json"),
        (dict(out=other), CantowhisperError, "exists and is no feature dataset"),
        (dict(model=tmp_path / "none"), CantowhisperError, "cannot load the model"),
        (dict(recordings=str(release)), UsageError, "has no clip of this dataset"),
    ]
    for changes, kind, message in refused:
        given = {"features": small_features(), "out": tmp_path / "out", "model": random_whisper} | changes
        with pytest.raises(kind) as error:
            clean(given.pop("features"), given.pop("out"), progress=False, **given)
        assert message in str(error.value), changes


def test_a_model_of_another_mel_size_is_refused(random_whisper, tmp_path):
    wide = tmp_path / "wide"
    shutil.copytree(random_whisper, wide)
    path = wide / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"feature_size": 128}))
    (wide / "processor_config.json").unlink(missing_ok=True)
    with pytest.raises(CantowhisperError, match="has 80 Mel channels and the model takes 128"):
        clean(small_features(), tmp_path / "out", model=wide, progress=False)


# -------------------------------------------------------------------------------------------------------- real clips


@pytest.fixture(scope="module")
def real_features(real_speech) -> tuple[Path, Path, list[str]]:
    """A release of ten real clips, two of which have each other's sentences; its features; and those two."""
    from cantowhisper.features.pipeline import FeatureConfig, build_features

    folder = temporary_folder()
    release = copy_release(
        real_speech / REAL, folder / "cv-corpus-17.0" / "zh-HK", max_seconds=4, train=10, dev=2, test=2
    )
    table = release / "train.tsv"
    head, *rows = (line.split("\t") for line in table.read_text(encoding="utf-8").splitlines())
    text, path = head.index("sentence"), head.index("path")
    rows[2][text], rows[6][text] = rows[6][text], rows[2][text]
    table.write_text("\n".join("\t".join(row) for row in [head, *rows]) + "\n", encoding="utf-8")
    build_features(str(release), folder / "features", config=FeatureConfig(workers=1), progress=False)
    return release, folder / "features", [rows[i][path].removesuffix(".mp3") for i in (2, 6)]


def test_swapped_sentences_of_real_clips_are_dropped(real_features, real_weights, tmp_path, capsys):
    release, features, swapped = real_features
    out = tmp_path / "out"
    words = ["clean", features, out, "--model", real_weights / "whisper-base", "--recordings", release]
    assert main([*map(str, words)]) == 0
    said = capsys.readouterr().out
    assert "2 of 10 training clips" in said and "2 clips dropped: text of another recording" in said
    rows = list(csv.DictReader((out / "dropped.tsv").open(encoding="utf-8"), delimiter="\t"))
    assert sorted(row["id"] for row in rows) == sorted(swapped)
    for row in rows:
        assert row["written"] and float(row["score"]) < 1 and row["reason"].startswith("text of another recording: ")
        sound = tmp_path / "out.dropped" / row["sound"]
        assert sound.read_bytes() == (release / "clips" / f"{row['id']}.mp3").read_bytes()
    stats = json.loads((out / "stats.json").read_text(encoding="utf-8"))
    assert [stats["splits"][name]["clips"] for name in ("train", "validation", "test")] == [8, 2, 2]
    assert stats["cleaned"]["dropped"] == {"text of another recording": 2} and not (tmp_path / "out.part").exists()
    assert main([*map(str, words)]) == 0  # it is there already


# --------------------------------------------------------------------------------------------------------- benchmark


def test_halves_share_no_speaker_and_planted_texts_are_wrong():
    rows = [{"speaker": "aabbbcd"[i], "text": f"第{'零一二三四五六'[i]}句說話"} for i in range(7)]
    one, other = halved(rows)
    assert [*one, *other] == rows and {row["speaker"] for row in one}.isdisjoint(row["speaker"] for row in other)
    texts = planted(rows)
    assert set(texts) == set(PLANTED)
    for kind, wrong in texts.items():
        assert all(said and said != row["text"] for said, row in zip(wrong, rows, strict=True)), kind
    assert rate([True] * 9 + [False]) == {"n": 10, "hits": 9, "share": 0.9, "interval": [0.555, 0.9975]}


@pytest.mark.slow
def test_a_part_of_the_benchmark(real_speech, real_weights, tmp_path):
    rows = [row for row in real_rows(real_speech) if row["duration_s"] < 5][:20]
    found = measure(real_weights / "whisper-base", rows, aside=tmp_path, kinds=("swapped", "end_cut"))
    assert found["false_alarms"]["hits"] <= 2
    assert all(found["found"][kind]["hits"] >= 17 for kind in ("swapped", "end_cut"))
