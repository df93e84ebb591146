"""Feature datasets to the Hub and from it: the real clients against a Hub on loopback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from loopback_hub import READER, WRITER, running_hub
from model_hub import connected_model_hub
from test_features_release import ONE, rejected, small_release, sound, stored

from cantowhisper.features.pipeline import build_features
from cantowhisper.features.push import push

# One process does many steps, each as a line of JSON: HF_ENDPOINT is read when the clients are imported.
CLIENT = """
import json, sys
from pathlib import Path
import datasets
from cantowhisper.contracts import CantowhisperError
from cantowhisper.features.pipeline import FeatureConfig, build_features
from cantowhisper.features.push import push

def step(function):
    try:
        print("STEP", json.dumps(function()), flush=True)
    except CantowhisperError as error:
        print("STEP", json.dumps("refused: " + str(error)), flush=True)
    sys.stdin.readline()  # until the test has looked at the server

one = FeatureConfig(workers=1, language="yue")
"""


class Client:
    """A Python process that runs steps against the Hub."""

    def __init__(self, url: str, folder: Path, steps: str, token: str = WRITER):
        environment = {
            **os.environ,
            "HF_ENDPOINT": url,
            "HF_HOME": str(folder / "home"),
            "HF_TOKEN": token,
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLIENT + steps],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def next(self):
        for line in self.process.stdout:
            if line.startswith("STEP "):
                return json.loads(line.removeprefix("STEP "))
        raise AssertionError(f"the client ended with code {self.process.wait()}")

    def go_on(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def hub():
    with running_hub() as server:
        yield server


def test_a_push_is_private_resumed_loaded_and_streamed(hub, tmp_path):
    release = small_release(tmp_path)
    for i in range(12):
        release.add(f"more_{i}", f"再加第{i}句", audio=sound(12, pitch_hz=100 + 9 * i))
    out = tmp_path / "out"
    build_features(release.write(), out, config=ONE.with_overrides(shard_megabytes=1), progress=False)
    shards = sorted(path.name for path in (out / "data").iterdir())
    assert len(shards) >= 4
    steps = f"""
out = Path({str(out)!r})
step(lambda: push(out, "me/yue", progress=False))
step(lambda: push(out, "me/yue", progress=False))
found = datasets.load_dataset("me/yue")
step(lambda: {{split: rows.num_rows for split, rows in found.items()}})
step(lambda: [str(found["train"].features["features"]), found["train"][0]["id"], len(found["train"][0]["features"])])
step(lambda: [row["id"] for row in datasets.load_dataset("me/yue", split="train", streaming=True)])
step(lambda: push(out, "me/open", progress=False))
step(lambda: push(out, "me/open", public=True, progress=False))
"""
    hub.refuse_after = 2
    hub.add("me/open", {})
    with Client(hub.url, tmp_path, steps) as client:
        refused = client.next()
        assert refused.startswith("refused: cannot push to me/yue: the Hub answered 400 (") and "repeat" in refused
        assert len(hub.uploads) == 2 and not hub.repos["me/yue"].files, "nothing is visible before all of it is"
        assert hub.repos["me/yue"].private
        hub.refuse_after = None
        client.go_on()
        assert client.next() == f"{hub.url}/datasets/me/yue"
        assert len(hub.uploads) == len(set(hub.uploads)) == len(shards), "what had arrived is not sent again"
        client.go_on()
        expected = {split: len(stored(out, split, columns=["id"])) for split in ("train", "validation", "test")}
        assert client.next() == expected
        client.go_on()
        first = stored(out, "train")[0]
        type_, id_, n_frames = client.next()
        assert type_.startswith("Array2D(shape=(None, 80), dtype='float16'")
        assert (id_, n_frames) == (first["id"], len(first["features"]))
        client.go_on()
        assert client.next() == [row["id"] for row in stored(out, "train", columns=["id"])]
        client.go_on()
        assert client.next().startswith("refused: me/open is public")
        assert not hub.repos["me/open"].files
        client.go_on()
        assert client.next().endswith("/datasets/me/open")
    files = hub.repos["me/yue"].files
    assert files.keys() == {f"data/{name}" for name in shards} | {"README.md", "rejected.tsv", "stats.json"}
    card = files["README.md"].decode()
    assert 'load_dataset("me/yue", split="train")' in card and "**Private.**" in card and "re-hosting" in card
    front = yaml.safe_load(card.split("---")[1])
    assert front["language"] == ["yue"] and front["license"] == "cc0-1.0"


def test_after_every_push_the_repository_holds_what_the_folder_holds(tmp_path, monkeypatch):
    """More files, fewer, others under the same names, and back: no stale file stays and none is sent for nothing."""
    folder = tmp_path / "out"
    (folder / "data").mkdir(parents=True)
    states = [
        {"train-0-of-2": b"a", "train-1-of-2": b"b", "test-0-of-1": b"t"},
        {"train-0-of-2": b"a", "train-1-of-2": b"changed", "test-0-of-1": b"t"},
        {"train-0-of-1": b"all", "test-0-of-1": b"t"},
        {"train-0-of-1": b"t", "test-0-of-1": b"all"},  # exchanged: what is sent is known by its content
        {"train-0-of-3": b"1", "train-1-of-3": b"2", "train-2-of-3": b"3"},
        {"train-0-of-2": b"a", "train-1-of-2": b"b", "test-0-of-1": b"t"},
    ]
    with connected_model_hub(monkeypatch) as server:
        for number, state in enumerate(states):
            for path in (folder / "data").iterdir():
                path.unlink()
            for name, content in state.items():
                (folder / "data" / f"{name}.parquet").write_bytes(content)
            for name in ("README.md", "rejected.tsv", "stats.json"):
                (folder / name).write_text(f"{name} as of {number}")
            push(folder, "me/yue", progress=False)
            local = {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
            assert server.repos["me/yue"].files == local
        assert len(server.uploads) == len(set(server.uploads)) == len({c for s in states for c in s.values()})
        server.repos["me/yue"].files["notes/mine.txt"] = b"not made by a push"
        push(folder, "me/yue", progress=False)
        assert server.repos["me/yue"].files.pop("notes/mine.txt") and server.repos["me/yue"].files == local


def test_a_token_that_may_not_write_is_told_so(hub, tmp_path):
    out = tmp_path / "out"
    build_features(small_release(tmp_path).write(), out, config=ONE, progress=False)
    hub.add("me/yue", {}, private=True)
    command = [
        sys.executable,
        "-m",
        "cantowhisper.cli",
        "features",
        str(tmp_path / "cv-corpus-99.0-2030-01-01" / "yue"),
    ]
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "HF_TOKEN": READER}
    done = subprocess.run(
        [*command, str(out), "--push", "me/yue"], capture_output=True, text=True, env=environment, timeout=300
    )
    assert done.returncode == 1 and "cannot push to me/yue: the Hub answered 403" in done.stderr
    assert "this token may not do that" in done.stderr
    assert "Traceback" not in done.stderr


def parquet_of_audio(path: Path, texts: list[str]) -> bytes:
    import io

    import soundfile

    rows = []
    for i, text in enumerate(texts):
        file = io.BytesIO()
        soundfile.write(file, sound(1, pitch_hz=200 + 30 * i + 7 * len(text)), 16_000, format="FLAC")
        rows.append(
            {"audio": {"bytes": file.getvalue(), "path": f"{i}.flac"}, "words": text, "speaker_id": f"{text[:2]} {i}"}
        )
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)
    return path.read_bytes()


def test_a_dataset_of_the_hub_is_a_source(hub, tmp_path):
    card = b"---\nlanguage:\n- yue\nlicense: mit\n---\n"
    files = {"README.md": card}
    for split, n in (("train", 5), ("test", 2)):
        texts = [f"{split} 第{i}句" for i in range(n)]
        files[f"data/{split}-00000-of-00001.parquet"] = parquet_of_audio(tmp_path / "p.parquet", texts)
    hub.add("some/speech", files)
    hub.add("some/folder", {"README.md": card, "train/metadata.jsonl": b"{}"})
    steps = f"""
out = Path({str(tmp_path)!r})
step(lambda: build_features("hub:some/speech,text=words", out / "a", config=one, progress=False)["n_kept"])
step(lambda: build_features("hub:some/speech", out / "no", config=one, progress=False)["n_kept"])
step(lambda: build_features("hub:some/absent", out / "no", config=one, progress=False)["n_kept"])
step(lambda: build_features("hub:some/folder", out / "b", config=one, progress=False)["n_kept"])
"""
    with Client(hub.url, tmp_path, steps) as client:
        assert client.next() == 7
        client.go_on()
        assert "has no column sentence or text" in client.next()
        client.go_on()
        refused = client.next()
        assert "cannot read the dataset some/absent: there is no such repository on the Hub" in refused
        client.go_on()
        assert "some/folder is not stored as Parquet" in client.next()
    found = stored(tmp_path / "a", "train", columns=["id", "text", "source", "speaker"])
    assert [row["text"] for row in found] == [f"train 第{i}句" for i in range(5)]
    assert found[0]["source"] == f"some/speech@{hub.repos['some/speech'].sha[:8]}"
    assert len({row["speaker"] for row in found}) == 5 and not rejected(tmp_path / "a")
