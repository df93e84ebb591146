"""The two programs that benchmarks.training compares: WhisperTrainer, and the recipe that everybody copies."""

import dataclasses
import os
import time
from pathlib import Path

import datasets
import numpy as np
import torch
from safetensors.torch import load_file
from transformers import (
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TrainerCallback,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
)

from cantowhisper.features.dataset import hf_features
from cantowhisper.speech.mel import N_FRAMES, pad_to
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.collator import pad_labels
from cantowhisper.training.miniature import build_tokenizer
from cantowhisper.training.model import set_language
from cantowhisper.training.trainer import WhisperTrainer

SHAPES = {
    "tiny": {"d_model": 384, "layers": 4, "heads": 6},
    "base": {"d_model": 512, "layers": 6, "heads": 8},
    "small": {"d_model": 768, "layers": 12, "heads": 12},
}
VOCABULARY = 51865  # of every multilingual Whisper up to large-v2; the output layer is a part of the cost
TEXTS = ["今日去街市買餸煮飯", "唔該畀碗雲吞麵我呀", "聽日落雨記得帶遮出門口", "我哋喺巴士站等緊你"]


def window_shares() -> dict[str, float]:
    """The share of the steps that each kind of 30 s windows has in the presets for fine-tuning, by option."""
    config = dataclasses.asdict(TrainConfig())
    return {name: config[name] for name in ("full_context_share", "packed_share") if config.get(name)}


class Clock(TrainerCallback):
    """When each step ended; nothing is evaluated or saved, which costs both sides the same."""

    def __init__(self):
        self.ends: list[float] = []

    def on_step_end(self, args, state, control, **kwargs):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())
        control.should_evaluate = control.should_save = False


def build_model(shape: str):
    """A Whisper of the shape, its processor, and whose weights its encoder has; all others are random."""
    tokenizer = build_tokenizer(TEXTS * 2)
    ids, sizes = tokenizer.convert_tokens_to_ids, SHAPES[shape]
    end = ids("<|endoftext|>")
    sides = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in (
            ("layers", sizes["layers"]),
            ("attention_heads", sizes["heads"]),
            ("ffn_dim", 4 * sizes["d_model"]),
        )
    }
    torch.manual_seed(20)
    config = WhisperConfig(vocab_size=VOCABULARY, d_model=sizes["d_model"], **sides)
    config.decoder_start_token_id = ids("<|startoftranscript|>")
    config.pad_token_id = config.bos_token_id = config.eos_token_id = end
    model = WhisperForConditionalGeneration(config)
    encoder = "random"
    if shape == "base" and os.environ.get("REAL_WEIGHTS"):
        weights = load_file(Path(os.environ["REAL_WEIGHTS"]) / "whisper_base_encoder.fp16.safetensors")
        weights = {name.removeprefix("model.encoder."): value.float() for name, value in weights.items()}
        model.get_encoder().load_state_dict(weights, strict=True)
        encoder = "whisper-base"
    set_language(model, tokenizer, "zh")
    return model, WhisperProcessor(WhisperFeatureExtractor(), tokenizer), encoder


def _rows(n: int, lengths_seed: int = 20) -> dict[str, list]:
    """Made-up clips with the lengths of Common Voice: 2 to 7 s, 4 s on average."""
    rng = np.random.default_rng(lengths_seed)
    seconds = np.clip(rng.normal(4.0, 1.2, n), 2, 7).round(2).astype(np.float32)
    features = [rng.uniform(-1, 1, (round(float(s) * 100) + 2, 80)).astype(np.float16) for s in seconds]
    texts = [TEXTS[i % len(TEXTS)] for i in range(n)]
    names = [str(i) for i in range(n)]
    return {"id": names, "features": features, "text": texts, "duration_s": list(seconds), "language": ["yue"] * n}


def own_trainer(kind: str, model, processor, options, folder: Path, precision: str):
    """WhisperTrainer at natural length, or with 30 s windows of one kind in every step."""
    config = TrainConfig(
        batch_size=options.batch_size,
        max_batch_frames=max(options.batch_size, 3) * 1000,
        full_context_batch_size=max(1, options.batch_size // 4),
        max_steps=options.steps + 1,
        warmup_steps=0,
        data_workers=0,
        precision=precision,
        log_every_steps=1000,
        **{name: float(kind == name) for name in window_shares()},
    )
    # At natural length, the timed steps and the one before them see each clip once: short and long, as they come.
    rows = _rows(options.batch_size * (options.steps + 1))
    types = hf_features(80)  # as `cantowhisper features` writes them: untyped lists are read a hundred times slower
    split = datasets.Dataset.from_dict(rows, features=datasets.Features({name: types[name] for name in rows}))
    return WhisperTrainer(model, processor, split, split, out=folder, config=config, progress=False)


def reference_trainer(model, processor, options, folder: Path, precision: str):
    """Stock Seq2SeqTrainer on stored features of 30 s, and the usual collator."""
    made = _rows(options.batch_size * (options.steps + 2))
    rows = [
        {"input_features": pad_to(features.T, N_FRAMES), "labels": processor.tokenizer(text).input_ids[1:]}
        for features, text in zip(made["features"], made["text"], strict=True)
    ]

    def collate(batch):
        features = torch.from_numpy(np.stack([row["input_features"] for row in batch]))
        return {"input_features": features, "labels": pad_labels([row["labels"] for row in batch])}

    arguments = Seq2SeqTrainingArguments(
        output_dir=str(folder),
        max_steps=options.steps + 1,
        per_device_train_batch_size=options.batch_size,
        learning_rate=1.25e-5,
        save_strategy="no",
        report_to="none",
        fp16=precision == "fp16",
        bf16=precision == "bf16",
        use_cpu=not torch.cuda.is_available(),
        disable_tqdm=True,
        logging_steps=1000,
        remove_unused_columns=False,
    )
    return Seq2SeqTrainer(model=model, args=arguments, train_dataset=rows, data_collator=collate)
