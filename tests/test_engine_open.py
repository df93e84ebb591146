"""Which engine runs a folder: its export, one made for it and kept, or its weights."""

import os
import shutil
import threading

import pytest
from serving_model import random_model

torch = pytest.importorskip("torch")

from cantowhisper.contracts import CantowhisperError  # noqa: E402
from cantowhisper.serving.engines import open as opening  # noqa: E402
from cantowhisper.serving.engines.open import cached_export, find_export, open_engine  # noqa: E402


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cantowhisper" / "exports"


@pytest.fixture
def folder(tmp_path):
    """The throw-away model's weights without their export."""
    shutil.copytree(random_model(), tmp_path / "model", ignore=shutil.ignore_patterns("onnx"))
    return tmp_path / "model"


def test_weights_are_exported_once_and_again_when_they_change(folder, cache):
    first = cached_export(folder)
    written = (first / "encoder.onnx").stat().st_mtime_ns
    assert cached_export(folder) == first and (first / "encoder.onnx").stat().st_mtime_ns == written
    assert open_engine(folder, threads=1).name == "onnxruntime"
    os.utime(folder / "model.safetensors", ns=(1, 1))  # trained on
    assert cached_export(folder) != first
    assert len(list(cache.iterdir())) == 2, "nothing half-made is left"
    assert find_export(folder) is None, "the model folder is left as it is"


def test_programs_that_start_together_end_with_one_export(folder, cache):
    found, threads = [], [threading.Thread(target=lambda: found.append(cached_export(folder))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3 and len(set(found)) == 1
    assert [one.name for one in cache.iterdir()] == [found[0].name]


def test_a_failed_export_leaves_nothing(folder, cache):
    (folder / "model.safetensors").write_bytes(b"half a file")
    with pytest.raises(CantowhisperError, match="damaged"):
        open_engine(folder, threads=1, backend="onnx")
    assert list(cache.iterdir()) == []


def test_weights_that_cannot_be_exported_run_on_transformers(folder, cache):
    state = {name: value for name, value in _tensors(folder).items()}
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    assert open_engine(folder, threads=1).name == "transformers"
    with pytest.raises(CantowhisperError, match="safetensors"):
        open_engine(folder, threads=1, backend="onnx")


def _tensors(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("inside", [True, False])
def test_an_export_of_an_earlier_version_says_what_to_do(tmp_path, cache, inside):
    old = tmp_path / "old" / "ct2" if inside else tmp_path / "old"
    old.mkdir(parents=True)
    for name in ("model.bin", "config.json", "decoder.onnx", "decoder_cross.onnx"):
        (old / name).write_bytes(b"{}")
    with pytest.raises(CantowhisperError, match=r"CTranslate2 alone.*cantowhisper export MODEL"):
        open_engine(tmp_path / "old", threads=1)


def test_an_unknown_backend_is_refused(folder):
    with pytest.raises(CantowhisperError, match="choose auto, onnx, transformers"):
        opening.open_engine(folder, threads=1, backend="ctranslate2")
