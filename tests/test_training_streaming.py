"""Training from features that stay where they are: the order in which they come, how many at a time, and resuming."""

import dataclasses
import functools
import itertools
import json
import shutil
import signal
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from loopback_hub import WRITER, running_hub
from test_features_hub import Client
from test_training_batching import epoch as batches_of_epoch
from test_training_batching import windows_of
from test_training_processes import launch
from training_data import small_features, small_split, temporary_folder
from training_runs import RUN, TINY, assert_same_run, curve, started, wait_for

from cantowhisper.contracts import LATER_COLUMNS, CantowhisperError, UsageError
from cantowhisper.features.dataset import hf_features
from cantowhisper.speech.mel import N_FRAMES, n_frames
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.collator import FeatureRows
from cantowhisper.training.data.load import load_split
from cantowhisper.training.data.sampling import BucketBatchSampler, clip_context, frame_counts
from cantowhisper.training.data.streaming import StreamedRows, StreamedSplit
from cantowhisper.training.trainer import train

# Clips of 1 to 9 s for the plan of the batches, which reads no features: they have three frames.
MANY = 3000
TOKENS = np.random.default_rng(4).integers(5, 60, MANY)
# The other dataset is read: parts of at most 12 clips, in groups of 3, 5 or 8.
FEW = 61
CONFIG = TrainConfig(batch_size=4, full_context_batch_size=2, stream_clips=24, seed=3)
STREAMED = TINY.with_overrides(streaming=True, stream_clips=16)  # 24 clips in groups of 4 or 5


def write_split(folder: Path, rows: datasets.Dataset, *, groups: tuple[int, ...]) -> None:
    """A train split in as many files as there are sizes of row groups."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for number, size in enumerate(groups):
        share = rows.shard(len(groups), number, contiguous=True).with_format("arrow")[:]
        name = f"train-{number:05d}-of-{len(groups):05d}.parquet"
        pq.write_table(share, folder / "data" / name, row_group_size=size)


def made_up(lengths, seconds) -> datasets.Dataset:
    rng = np.random.default_rng(1)
    return datasets.Dataset.from_dict(
        {
            "id": [f"clip-{i:04d}" for i in range(len(lengths))],
            "features": [rng.normal(size=(n, 80)).astype(np.float16) for n in lengths],
            "text": [f"第{i}句" for i in range(len(lengths))],
            "duration_s": np.asarray(seconds, np.float32),
            "speaker": [""] * len(lengths),
            "source": [""] * len(lengths),
            **{name: [""] * len(lengths) for name in LATER_COLUMNS},
            "language": ["yue"] * len(lengths),
        },
        features=hf_features(80),
    )


@functools.cache
def many() -> StreamedSplit:
    seconds = np.random.default_rng(2).gamma(6, 0.8, MANY).clip(1, 9)
    folder = temporary_folder()
    write_split(folder, made_up([3] * MANY, seconds), groups=(32, 32, 32))
    return load_split(folder, "train", streaming=True)


@functools.cache
def few() -> Path:
    samples = np.random.default_rng(3).integers(16_000, 64_000, FEW)
    folder = temporary_folder()
    write_split(folder, made_up([n_frames(int(n)) for n in samples], samples / 16_000), groups=(3, 5, 8))
    return folder


@functools.cache
def regrouped() -> Path:
    """The small feature dataset with its train split in several groups, and a test split that nobody can read."""
    folder = temporary_folder() / "yue"
    shutil.copytree(small_features(), folder)
    for path in (folder / "data").glob("t*.parquet"):
        path.unlink()
    write_split(folder, small_split("train"), groups=(4, 5))
    (folder / "data" / "test-00000-of-00001.parquet").write_bytes(b"not for training")
    return folder


# -------------------------------------------------------------------------------------------------------- the plan


def plan(config: TrainConfig, epoch: int = 0) -> list:
    parts = StreamedRows(many(), config).parts
    return batches_of_epoch(frame_counts(many()), config, epoch, n_tokens=TOKENS, parts=parts)


PLANS = [
    TrainConfig(),
    TrainConfig(full_context_share=0.0, packed_share=0.0, batch_size=32, max_batch_tokens=700, stream_clips=300),
    TrainConfig(full_context_share=1.0, packed_share=0.0, stream_clips=65, seed=1),
]


@pytest.mark.parametrize("config", PLANS, ids=["mixed", "natural", "full"])
def test_every_clip_comes_once_an_epoch_in_batches_within_budget_of_one_part_each(config):
    frames = frame_counts(many())
    for epoch in (0, 1):
        batches = plan(config, epoch)
        natural = [key.row for batch in batches for key in batch if not key.full]
        if config.full_context_share < 1:
            assert sorted(natural) == list(range(MANY))
        else:
            assert {key.row for batch in batches for key in batch} == set(range(MANY))
        parts = StreamedRows(many(), config).parts(epoch)
        assert sorted(np.concatenate(parts).tolist()) == list(range(MANY))
        assert max(map(len, parts)) <= config.stream_clips // 2
        for batch in batches:
            ((of_epoch, number),) = {key.part for key in batch}
            assert of_epoch == epoch and {key.row for key in batch} <= set(parts[number].tolist())
            windows = windows_of(batch)
            context = N_FRAMES if batch[0].full else clip_context(max(frames[key.row] for key in batch), config)
            assert len(windows) * context <= config.max_batch_frames
            assert len(windows) * max(1 + sum(TOKENS[window]) for window in windows) <= config.max_batch_tokens
        numbers = [batch[0].part[1] for batch in batches]
        assert numbers == sorted(numbers) and set(numbers) == set(range(len(parts)))
        for share, count in (
            (config.full_context_share, sum(batch[0].full and batch[0].window < 0 for batch in batches)),
            (config.packed_share, sum(batch[0].window >= 0 for batch in batches)),
        ):
            assert abs(count - share * len(batches)) < 2, "less than one off at either end of the epoch"


def test_seeds_and_epochs_decide_the_order():
    config = PLANS[0]
    assert plan(config) == plan(config)
    assert plan(config) != plan(config.with_overrides(seed=21))
    first, second = (StreamedRows(many(), config).parts(epoch)[0].tolist() for epoch in (0, 1))
    assert len(set(first) & set(second)) < len(first) / 2
    assert len(np.unique(np.array(first) // (MANY // 3))) == 3, "a part has clips of all files"


def test_parts_of_the_default_size_are_padded_like_whole_epochs():
    config, frames = TrainConfig(), frame_counts(many())
    whole = batches_of_epoch(frames, config, n_tokens=TOKENS)

    def computed(batches):
        natural = [batch for batch in batches if not batch[0].full]
        return sum(len(b) * clip_context(max(frames[key.row] for key in b), config) for b in natural)

    assert computed(plan(config)) <= 1.02 * computed(whole)


# ------------------------------------------------------------------------------------------------------- the reading


def run_of(rows, split, n_batches: int) -> list:
    return list(BucketBatchSampler(frame_counts(split), CONFIG, n_batches=n_batches, parts=rows.parts))


@pytest.mark.parametrize("of", [slice(None), slice(1, None, 2), slice(40, None)], ids=["all", "every other", "the end"])
def test_clips_are_those_of_the_whole_split_and_few_are_held(of):
    split, whole = load_split(few(), "train", streaming=True), FeatureRows(load_split(few(), "train"))
    assert len(split) == FEW and list(split["text"]) == [f"第{i}句" for i in range(FEW)]
    rows = StreamedRows(split, CONFIG)
    batches = run_of(rows, split, 80)
    assert batches[-1][0].part[0] >= 2, "several epochs"
    longest = max(frame_counts(split)) * 80 * 2 * 1.1  # bytes, with the places of frames
    before, most = pa.total_allocated_bytes(), 0
    items = [a + b for a, b in itertools.pairwise(batches[of])]  # two batches in an item, as schedules make them
    for item in items:
        for found, expected in zip(rows.__getitems__(item), whole.__getitems__(item), strict=True):
            assert np.array_equal(found["features"], expected["features"]) and found["text"] == expected["text"]
            assert (found["batch"], found["window"]) == (expected["batch"], expected["window"])
        held = [len(part.result()[0]) for part in rows._held.values()]
        assert len(held) == 2 and sum(held) <= CONFIG.stream_clips
        most = max(most, pa.total_allocated_bytes() - before)
    # What is being read is there twice for a moment, as it was stored and as it is used.
    assert 0 < most <= 2 * CONFIG.stream_clips * longest < FEW * longest


def test_groups_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match=r"stores 8 clips in a row group.* set stream_clips=16 or more") as caught:
        StreamedRows(load_split(few(), "train", streaming=True), CONFIG.with_overrides(stream_clips=15))
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="stream_clips takes a whole number"):
        CONFIG.with_overrides(stream_clips=0)


def test_what_is_no_feature_dataset_is_refused(tmp_path):
    write_split(tmp_path, made_up([3], [1.0]).remove_columns(["text", "speaker"]), groups=(4,))
    with pytest.raises(CantowhisperError, match="it has no column speaker, text"):
        load_split(tmp_path, "train", streaming=True)
    with pytest.raises(CantowhisperError, match="has no train split"):
        load_split(tmp_path / "data", "train", streaming=True)


@pytest.fixture
def hub():
    with running_hub() as server:
        yield server


def put_there(hub, folder: Path) -> int:
    """A private repository with a dataset; the bytes of its train split."""
    files = {f"data/{path.name}": path.read_bytes() for path in (folder / "data").iterdir()}
    hub.add("me/yue", files, private=True)
    return sum(len(data) for path, data in files.items() if "train" in path)


def test_from_the_hub_comes_what_is_needed_and_no_more(hub, tmp_path):
    whole = put_there(hub, few())
    steps = f"""
from cantowhisper.training.data.load import load_split
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.sampling import BucketBatchSampler, frame_counts
from cantowhisper.training.data.streaming import StreamedRows

split, config = load_split("me/yue", "train", streaming=True), TrainConfig(**{dataclasses.asdict(CONFIG)})
step(lambda: list(split["text"]))
rows = StreamedRows(split, config)
batches = list(BucketBatchSampler(frame_counts(split), config, n_batches=80, parts=rows.parts))
step(lambda: [[row["text"], row["features"].tolist()] for row in rows.__getitems__(batches[40])])
step(lambda: [row["text"] for batch in batches[40:] for row in rows.__getitems__(batch)])
"""
    split, local = load_split(few(), "train", streaming=True), FeatureRows(load_split(few(), "train"))
    batches = run_of(StreamedRows(split, CONFIG), split, 80)
    with Client(hub.url, tmp_path, steps) as client:
        assert client.next() == list(split["text"])
        # one footer a file, and the pages of the small columns: as good as nothing for clips of 4 s in groups of 32
        small = hub.served_bytes
        assert 0 < small < 0.1 * whole
        client.go_on()
        for (text, features), expected in zip(client.next(), local.__getitems__(batches[40]), strict=True):
            assert text == expected["text"] and np.array_equal(np.float16(features), expected["features"])
        assert hub.served_bytes - small < whole / 2, "this part and the one behind it: the run went on from there"
        hub.repos["me/yue"].files.clear()
        client.go_on()
        assert client.next().startswith("refused: cannot read the features of me/yue: ")
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".parquet", ".arrow")], "nothing on the disk"


def test_whoever_trains_or_selects_never_opens_the_test_split_of_the_hub(hub, tmp_path):
    put_there(hub, small_features())
    steps = """
from cantowhisper.training.data.load import load_split

for streaming in (True, False):
    for split in ("train", "validation"):
        step(lambda: list(load_split("me/yue", split, streaming=streaming)["text"]))
step(lambda: list(load_split("me/yue", "test")["text"]))
"""
    with Client(hub.url, tmp_path, steps) as client:
        for split in ("train", "validation") * 2:
            assert client.next() == list(load_split(small_features(), split)["text"])
            assert not [path for path in hub.served if "test" in path]
            client.go_on()
        assert client.next() == list(load_split(small_features(), "test")["text"])
        assert [path for path in hub.served if "test" in path], "who asks for it gets it"


# ------------------------------------------------------------------------------------------------------------ a run


@pytest.mark.slow  # test_training_run kills a run that reads a folder
def test_a_run_that_streams_from_the_hub_is_killed_and_goes_on_to_the_same_bits(hub, tmp_path, monkeypatch):
    expected = tmp_path / "expected"
    finished = expected, train(regrouped(), expected, config=STREAMED, progress=False)  # from a folder, in peace
    assert finished[1]["data"]["train"]["clips"] == 24
    put_there(hub, regrouped())
    for name, value in (("HF_ENDPOINT", hub.url), ("HF_TOKEN", WRITER), ("HF_HOME", str(tmp_path / "home"))):
        monkeypatch.setenv(name, value)
    out = tmp_path / "model"
    run = started("me/yue", out, config=STREAMED)
    try:
        wait_for(run, out / "checkpoints" / "checkpoint-3" / "whole.json")
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    assert not (out / "metrics.json").exists()
    again = started("me/yue", out, config=STREAMED, stdout=-1)
    said, _ = again.communicate(timeout=500)
    assert again.returncode == 0 and "resuming from checkpoint-" in said
    assert_same_run(out, json.loads((out / "metrics.json").read_text()), finished)


@pytest.mark.slow
def test_two_processes_stream_what_one_streams(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(RUN)
    config = STREAMED.with_overrides(dropout=0.0)  # drawn in each process
    code, _, complaint = launch(script, str(regrouped()), str(tmp_path / "two"), json.dumps(dataclasses.asdict(config)))
    assert code == 0, complaint
    one_config = config.with_overrides(gradient_accumulation_steps=2)  # the same two batches make a step
    one = train(regrouped(), tmp_path / "one", config=one_config, progress=False)
    two = json.loads((tmp_path / "two" / "metrics.json").read_text())
    losses, theirs = ([entry["loss"] for entry in curve(run) if "loss" in entry] for run in (one, two))
    assert len(losses) == 7 and np.std(losses) > 0.01 and theirs == pytest.approx(losses, rel=2e-3)
