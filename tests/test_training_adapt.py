"""Adaptation without transcripts: the model comes nearer to its own 30 s, and stays a stock checkpoint."""

import json
import os

import numpy as np
import pytest
import soundfile
import torch
from training_data import corpus_texts

from cantowhisper.cli.main import main
from cantowhisper.contracts import CantowhisperError, ModelFacts
from cantowhisper.speech.context import context_of
from cantowhisper.training import teacher
from cantowhisper.training.adapt import AdaptConfig, adapt
from cantowhisper.training.miniature import build_miniature
from cantowhisper.training.model import load_untrained, save_model

QUICK = AdaptConfig(steps=12, batch_clips=3, learning_rate=0.02, groups=4, margin_frames=0, max_clips=8)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A miniature with fresh weights, whose silence matters: position embeddings as large as what is heard."""
    built, processor = build_miniature(corpus_texts())
    with torch.no_grad():
        built.get_encoder().embed_positions.weight.mul_(3)
        built.get_decoder().embed_tokens.weight.mul_(3)
    return save_model(built, processor, tmp_path_factory.mktemp("model") / "model")


@pytest.fixture(scope="module")
def audio(samples, tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    for path in sorted((samples / "clips").glob("*.mp3"))[:8]:
        os.link(path, folder / path.name) if path.stat().st_dev == folder.stat().st_dev else (
            folder / path.name
        ).write_bytes(path.read_bytes())
    (folder / "notes.mp3").write_text("no recording")
    return folder


def test_short_inputs_come_to_say_what_30_s_say(model, audio, tmp_path, monkeypatch):
    report = adapt(model, audio, tmp_path / "out", config=QUICK, language="yue", say=lambda line: None)
    assert report["divergence_after"] < 0.7 * report["divergence_before"]
    assert report["learned_divergence_after"] < 0.7 * report["learned_divergence_before"]
    assert report["clips"] == 8 and report["held_out_clips"] == 1
    facts = ModelFacts.load(tmp_path / "out")
    assert facts.trained_contexts == "merged" and context_of(facts) == QUICK.context
    adapted, _ = load_untrained(tmp_path / "out")
    stock, _ = load_untrained(model)
    assert adapted.generation_config.to_dict() == stock.generation_config.to_dict()
    assert adapted.state_dict().keys() == stock.state_dict().keys()
    assert not (tmp_path / "out" / "lessons").exists()
    assert json.loads((tmp_path / "out" / "adaptation.json").read_text()) == report
    assert f"{report['divergence_after']:.4f} nats" in (tmp_path / "out" / "README.md").read_text()
    with pytest.raises(CantowhisperError, match="holds an adapted model already"):
        adapt(model, audio, tmp_path / "out", config=QUICK)


def test_steps_that_lead_away_from_30_s_are_not_kept(model, audio, tmp_path):
    said: list[str] = []
    wild = AdaptConfig(steps=2, batch_clips=2, learning_rate=1.0, warmup_steps=1, max_clips=4)
    report = adapt(model, audio, tmp_path / "out", config=wild, language="yue", say=said.append)
    assert report["best_step"] == 0 and report["divergence_after"] == report["divergence_before"]
    assert "it is written unchanged" in said[-1]
    stock = load_untrained(model)[0].state_dict()
    for name, weights in load_untrained(tmp_path / "out")[0].state_dict().items():
        torch.testing.assert_close(weights, stock[name], rtol=0, atol=0)


@pytest.mark.slow
def test_what_was_heard_before_an_interruption_is_not_heard_again(model, audio, tmp_path, monkeypatch):
    given, heard = teacher.Teacher._given, []

    def interrupted(self, waveform):
        heard.append(waveform.size)
        if len(heard) == 4:
            raise KeyboardInterrupt
        return given(self, waveform)

    monkeypatch.setattr(teacher.Teacher, "_given", interrupted)
    config = AdaptConfig(steps=1, max_clips=6)
    with pytest.raises(KeyboardInterrupt):
        adapt(model, audio, tmp_path / "out", config=config, say=lambda line: None)
    assert len(list((tmp_path / "out" / "lessons").glob("*.npz"))) == 3
    adapt(model, audio, tmp_path / "out", config=config, say=lambda line: None)
    assert len(heard) == 4 + 3 and heard[3] == heard[4]


@pytest.mark.slow
def test_what_was_learned_from_does_not_drift_away_from_30_s(real_weights, real_speech, tmp_path):
    """With Adam at 1e-5 it did, forty times: a stock model is near 30 s, and Adam's steps are no shorter there."""
    folder = tmp_path / "speech"
    folder.mkdir()
    for path in sorted((real_speech / "common_voice_6_layout" / "ja" / "clips").glob("*.mp3"))[:24]:
        (folder / path.name).symlink_to(path)
    config = AdaptConfig(steps=3, batch_clips=4, held_out=0.5)
    report = adapt(real_weights / "whisper-base", folder, tmp_path / "out", config=config, say=lambda line: None)
    assert report["learned_divergence_after"] < report["learned_divergence_before"]


def test_long_recordings_are_cut_where_they_are_quiet(tmp_path):
    rng = np.random.default_rng(0)
    sound = rng.normal(0, 0.1, 16_000 * 25).astype(np.float32)
    pauses = [(7.5, 7.7), (16.0, 16.2)]
    for start, end in pauses:
        sound[int(start * 16_000) : int(end * 16_000)] *= 0.01
    soundfile.write(tmp_path / "long.wav", sound, 16_000)
    soundfile.write(tmp_path / "silent.wav", np.zeros(16_000, np.float32), 16_000)
    found = list(teacher.pieces(tmp_path))
    assert [piece.size / 16_000 for piece in found] == pytest.approx([7.6, 8.5, 8.9], abs=0.11)
    assert sum(piece.size for piece in found) == sound.size


def test_the_command_refuses_what_is_no_folder_of_speech(model, tmp_path, capsys):
    assert main(["adapt", str(model), str(tmp_path / "nothing"), str(tmp_path / "out")]) == 2
    (tmp_path / "empty").mkdir()
    assert main(["adapt", str(model), str(tmp_path / "empty"), str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err.splitlines()
    assert "is no folder" in said[0] and "holds no recording that can be heard" in said[1]


def test_the_help_names_the_defaults(capsys):
    with pytest.raises(SystemExit):
        main(["adapt", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    shown = [f"of eight pieces (default: {AdaptConfig().steps})", f"at the most (default: {AdaptConfig().max_clips})"]
    for text in [*shown, f"is merged into (default: {AdaptConfig().groups})"]:
        assert text in said
    assert AdaptConfig().batch_clips == 8
