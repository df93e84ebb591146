"""The check of an export against its model: it says yes to the same, and no to another."""

import json
import shutil

import pytest
import torch
from test_training_scoring import model_folder  # noqa: F401 (a fixture)
from training_data import small_features

from cantowhisper.cli.main import main
from cantowhisper.contracts import ModelFacts
from cantowhisper.serving.engines.onnx import OnnxEngine
from cantowhisper.serving.engines.transformers import TransformersEngine
from cantowhisper.speech.context import context_of
from cantowhisper.training.model import load_model, save_model
from cantowhisper.training.results.export import export_onnx
from cantowhisper.training.results.parity import export_parity


@pytest.fixture
def folder(model_folder, tmp_path):  # noqa: F811
    shutil.copytree(model_folder, tmp_path / "model")
    (tmp_path / "model" / "metrics.json").write_text("{}")
    return tmp_path / "model"


def by_export(folder, out) -> OnnxEngine:
    return OnnxEngine(export_onnx(folder, out), threads=1)


def test_an_engine_of_the_same_precision_writes_the_same(folder):
    report = export_parity(folder, small_features(), TransformersEngine(folder, threads=1), n_clips=4)
    if torch.cuda.is_available():  # the model is there, the engine on the CPU: sums are rounded otherwise
        assert report["n"] == 4 and report["identical"] >= 3
    else:
        assert (report["n"], report["identical"], report["cer"]) == (4, 4, 0.0)
    assert report["context"] == context_of(ModelFacts.load(folder)).kind
    assert json.loads((folder / "metrics.json").read_text())["export_parity"] == report


def test_the_export_of_another_model_does_not(folder, tmp_path):
    other, processor = load_model(folder, language="yue")
    with torch.no_grad():
        for layer in other.get_encoder().layers:
            layer.fc2.weight.mul_(-1)
    save_model(other, processor, tmp_path / "other")
    report = export_parity(folder, small_features(), by_export(tmp_path / "other", tmp_path / "export"))
    assert report["n"] == 5 and report["identical"] < 5 and report["cer"] > 0


def test_the_command_says_how_many_clips_agree(folder, capsys):
    words = ["export", str(folder), "--quantization", "float16", "--check", str(small_features())]
    assert main(words) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[:2] == [str(folder / "onnx"), str(folder / "ct2")]
    same = json.loads((folder / "metrics.json").read_text())["export_parity"]
    assert said[2].startswith(f"{same['identical']} of 5 validation clips give the same text")
