"""The proof that the chain drops and shifts nothing: real weights learn real recordings by heart, to the character."""

import json
import shutil
import time

import ctranslate2
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from training_data import copy_release, tiny_whisper
from transformers import WhisperFeatureExtractor, WhisperProcessor, WhisperTokenizer

from cantowhisper.features.pipeline import FeatureConfig, build_features
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.serving.segments import find_segments
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import pad_to
from cantowhisper.speech.text import cer
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.load import load_split
from cantowhisper.training.data.sampling import clip_context
from cantowhisper.training.model import save_model, set_language
from cantowhisper.training.results.export import export_ctranslate2, export_model
from cantowhisper.training.results.report import score_folder
from cantowhisper.training.trainer import train

N_CLIPS = 8
RELEASE = "common_voice_17_layout/cv-corpus-17.0-2024-03-15/zh-HK"
# First the fresh decoder alone: trained together at its learning rate, it knows the sentences by heart before it hears
# which of them it is, and the encoder is spoilt. Then all weights, at a learning rate of fine-tuning.
DECODER = TrainConfig(
    freeze_encoder=True,
    full_context_share=0.0,
    packed_share=0.0,
    timestamps_share=0.0,
    batch_size=N_CLIPS,
    max_steps=60,
    precision="fp32",  # the transcripts are compared to the character
    learning_rate=5e-4,
    warmup_steps=10,
    evaluate_every_steps=60,
    save_every_steps=60,
    log_every_steps=10,
    data_workers=0,
)
ALL = DECODER.with_overrides(
    freeze_encoder=False, max_steps=10, learning_rate=1e-5, warmup_steps=1, evaluate_every_steps=10, save_every_steps=10
)


@pytest.fixture(scope="module")
def recordings(real_speech, tmp_path_factory):
    """Eight zh-HK clips as a release of their own."""
    folder = tmp_path_factory.mktemp("release") / "zh-HK"
    return copy_release(real_speech / RELEASE, folder, train=N_CLIPS, max_seconds=4)  # short: minutes on two cores


@pytest.fixture(scope="module")
def features(recordings, tmp_path_factory):
    """Their features; what is to be learned by heart is its own validation."""
    folder = tmp_path_factory.mktemp("features") / "eight"
    stats = build_features(str(recordings), folder, config=FeatureConfig(workers=1), progress=False)
    assert stats["splits"]["train"]["clips"] == N_CLIPS
    (shard,) = (folder / "data").glob("train-*.parquet")
    shutil.copy(shard, folder / "data" / shard.name.replace("train", "validation"))
    return folder


@pytest.fixture(scope="module")
def begun(real_weights, tmp_path_factory):
    """A whisper-base with its real encoder and tokenizer, and a fresh decoder of two layers."""
    tokenizer = WhisperTokenizer.from_pretrained(real_weights / "whisper_tokenizer")
    shape = {"d_model": 512, "encoder_layers": 6, "decoder_layers": 2}
    heads = {"encoder_attention_heads": 8, "decoder_attention_heads": 8}
    model = tiny_whisper(tokenizer, **shape, **heads, encoder_ffn_dim=2048, decoder_ffn_dim=2048)
    weights = load_file(real_weights / "whisper_base_encoder.fp16.safetensors")
    weights = {name.removeprefix("model.encoder."): value.float() for name, value in weights.items()}
    model.get_encoder().load_state_dict(weights, strict=True)
    set_language(model, tokenizer, "yue")
    folder = tmp_path_factory.mktemp("begun") / "model"
    return save_model(model, WhisperProcessor(WhisperFeatureExtractor(), tokenizer), folder)


@pytest.fixture(scope="module")
def learned(begun, features, tmp_path_factory):
    """The model folder after training, with its int8 and float32 exports."""
    folder = tmp_path_factory.mktemp("learned")
    started = time.perf_counter()
    train(features, folder / "decoder", config=DECODER.with_overrides(model=str(begun)), progress=False)
    out = folder / "model"
    metrics = train(features, out, config=ALL.with_overrides(model=str(folder / "decoder")), progress=False)
    losses = [round(entry["loss"], 4) for entry in metrics["curve"] if "loss" in entry]
    print(f"{DECODER.max_steps} + {ALL.max_steps} steps, {time.perf_counter() - started:.0f} s, last losses {losses}")
    export_model(out)
    export_ctranslate2(out, out / "float32", quantization="float32")
    return out


@pytest.mark.slow
def test_the_encoder_was_trained_too(begun, learned):
    before, after = (load_file(folder / "model.safetensors") for folder in (begun, learned))
    moved = [name for name in before if "model.encoder.layers" in name and not torch.equal(before[name], after[name])]
    assert len(moved) > 80


@pytest.mark.slow
def test_greedy_transcripts_are_the_sentences(learned, features, tmp_path):
    report = score_folder(learned, features, split="validation", transcripts=tmp_path / "clips.tsv")
    scores = report["scores"]["variable"]["all"]
    assert scores["n"] == N_CLIPS
    assert scores["cer_raw"] == 0, (tmp_path / "clips.tsv").read_text(encoding="utf-8")
    facts = json.loads((learned / "cantowhisper.json").read_text())
    assert (facts["language_token"], facts["trained_contexts"]) == ("<|zh|>", "merged")


@pytest.mark.slow
@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_the_export_writes_the_sentences(learned, features, quantization):
    folder = learned / ("ct2" if quantization == "int8" else "float32")
    whisper = ctranslate2.models.Whisper(str(folder), device="cpu", compute_type=quantization)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    prompt = ["<|startoftranscript|>", "<|zh|>", "<|transcribe|>", "<|notimestamps|>"]
    split = load_split(features, "validation")
    texts = []
    for row in split:
        mel = np.array(row["features"], np.float16).T
        mel = pad_to(mel, clip_context(mel.shape[1], ALL))[None]
        encoded = whisper.encode(ctranslate2.StorageView.from_array(mel))
        texts.append(tokenizer.decode(whisper.generate(encoded, [prompt], beam_size=1)[0].sequences_ids[0]))
    assert texts == split["text"]


@pytest.mark.slow
def test_recordings_of_one_piece_are_recognised(learned, recordings, features):
    sentences = {row["id"]: row["text"] for row in load_split(features, "validation").remove_columns("features")}
    recognizer = Recognizer.open(learned, threads=torch.get_num_threads())
    found = {}
    for clip in sorted(sentences):
        waveform = load_audio(recordings / "clips" / f"{clip}.mp3")
        if len(find_segments(waveform)) == 1:
            found[clip] = "".join(segment.text for segment in recognizer.transcribe(waveform))
    assert len(found) >= N_CLIPS // 2
    result = cer(list(found.values()), [sentences[clip] for clip in found], view="raw")
    print(f"recognizer: CER {result.cer:.3f} of {result.n} clips in one piece")
    assert result.cer == 0, found
