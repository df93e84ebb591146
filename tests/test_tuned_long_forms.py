"""A real Whisper, tuned by our recipe on single clips: recordings of several sentences stay whole without times."""

import csv

import pytest

from cantowhisper.features.pipeline import FeatureConfig, build_features
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import N_SAMPLES
from cantowhisper.speech.text import cer
from cantowhisper.training.presets import PRESETS
from cantowhisper.training.trainer import train

RELEASE = "common_voice_17_layout/cv-corpus-17.0-2024-03-15/zh-HK"
CONFIG = PRESETS["t4"].with_overrides(
    batch_size=4,
    max_steps=100,
    learning_rate=1.5e-5,
    warmup_steps=10,
    packed_share=0.2,
    evaluate_every_steps=50,
    save_every_steps=50,
    validation_clips=8,
    data_workers=0,
)


@pytest.fixture(scope="module")
def tuned(real_speech, real_weights, tmp_path_factory):
    """whisper-base after 100 steps of four of the 70 training clips, or of windows packed with them."""
    folder = tmp_path_factory.mktemp("tuned")
    build_features(str(real_speech / RELEASE), folder / "features", config=FeatureConfig(), progress=False)
    config = CONFIG.with_overrides(model=str(real_weights / "whisper-base"))
    train(folder / "features", folder / "model", config=config, progress=False)
    return folder / "model"


@pytest.fixture(scope="module")
def recordings(real_speech):
    """name → (waveform, sentences): those of six speakers that fit a window, and that training heard least of."""
    heard = {row["sentence"] for row in table(real_speech / RELEASE / "train.tsv")}
    sentences: dict[str, list[str]] = {}
    for row in table(real_speech / "long_form" / "segments.tsv"):
        sentences.setdefault(row["path"], []).append(row["sentence"])
    found = {name: (load_audio(real_speech / "long_form" / name), said) for name, said in sentences.items()}
    fitting = [n for n, (waveform, _) in found.items() if "multi-speaker" in n and waveform.size < N_SAMPLES]
    chosen = sorted(fitting, key=lambda name: (len(heard.intersection(sentences[name])), name))[:3]
    assert sum(len(heard.intersection(sentences[name])) for name in chosen) <= 1
    return {name: found[name] for name in chosen}


def table(path) -> list[dict]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@pytest.mark.slow
def test_the_pipeline_of_the_card_writes_all_sentences(tuned, recordings):
    """It writes without times. A model that knows only single clips stops after the first."""
    from transformers import pipeline

    recognize = pipeline("automatic-speech-recognition", model=str(tuned))
    for name, (waveform, sentences) in recordings.items():
        text, said = recognize(waveform.copy())["text"], "".join(sentences)
        print(f"{name}: CER {100 * cer([text], [said]).cer:.0f} %, {len(text)} of {len(said)} characters: {text}")
        assert len(sentences) == 6 and 0.7 * len(said) <= len(text) <= 1.3 * len(said), f"{text} / {said}"
