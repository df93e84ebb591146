"""What training makes of a real encoder and real speech: python -m benchmarks.real_speech --json FILE

The encoder of whisper-base gets a fresh decoder of two layers and learns sequences of spoken digits (Free Spoken Digit
Dataset) from four speakers. Two speakers that it has never heard are scored once, at the clips' own context and in
30 s windows:

    natural   every step at natural length
    mixed     with packed and plain 30 s windows in a share of the steps, and times in a share of the labels
    frozen    mixed, with the encoder as OpenAI left it
    random    mixed, with an encoder of fresh weights

It needs the environment variables REAL_SPEECH (with spoken_digits/) and REAL_WEIGHTS. Variants that stand in FILE
already are kept: an interrupted run goes on with the next one.
"""

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import describe

TRAINED = ("george", "jackson", "lucas", "nicolas")
UNSEEN = ("theo", "yweweler")  # the last two of the alphabet; chosen before anything was trained
PER_DIGIT = 50  # recordings of each digit by each speaker, 0 … 49
HELD_OUT = 5  # the last ones of the trained speakers: recipes are compared on these
DIGITS_IN_A_SEQUENCE = (3, 5)
PAUSE_SECONDS = (0.05, 0.3)
SAMPLE_RATE = 16_000

NATURAL = {"full_context_share": 0.0, "packed_share": 0.0, "timestamps_share": 0.0}
VARIANTS: dict[str, dict] = {
    "natural": NATURAL,
    "mixed": {},
    "frozen": {"freeze_encoder": True},
    "random": {"encoder_learning_rate": 0.0},  # that of the decoder, which begins as fresh
}


def recipe(options):
    """The mixed training; the variants change it."""
    from cantowhisper.training.config import TrainConfig

    return TrainConfig(
        model="whisper-base encoder, fresh decoder of 2 layers",
        language="en",
        batch_size=options.batch_size,
        full_context_batch_size=4,
        full_context_share=0.25,  # so few steps hold only some hundred such clips
        packed_share=0.1,
        timestamps_share=0.1,
        augment_from=0.25,  # the fresh decoder listens first
        max_steps=options.steps,
        learning_rate=5e-4,
        encoder_learning_rate=3e-5,
        warmup_steps=options.steps // 10,
        schedule="linear",
        evaluate_every_steps=options.steps,
        save_every_steps=options.steps,
        keep_checkpoints=1,
        log_every_steps=10,
        validation_clips=options.clips // 2,
        data_workers=0,
        seed=options.seed,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/real_speech.json"))
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--batch-size", type=int, default=12)
    parser.add_argument("--clips", type=int, default=240, help="sequences of the unseen speakers")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=20)
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="other options of training, to tune")
    parser.add_argument("--no-test", action="store_true", help="score the trained speakers' held-out recordings only")
    options = parser.parse_args()
    result = _begin(options)
    splits = make_splits(_folder("REAL_SPEECH") / "spoken_digits", options)
    for name in options.variants:
        if name not in result["variants"]:
            print(f"== {name}", flush=True)
            result["variants"][name] = run_variant(name, splits, options)
            _write(result, options.json)
    print(table(result["variants"]))


def _folder(variable: str) -> Path:
    found = os.environ.get(variable)
    if not found or not Path(found).is_dir():
        sys.exit(f"set {variable} to the folder of real recordings or weights: this measurement needs both")
    return Path(found)


def _begin(options) -> dict:
    """What the file holds of the same measurement, or an empty result."""
    settings = {
        "config": dataclasses.asdict(_config(options)),
        "clips": options.clips,
        "scored": "held-out recordings of the trained speakers"
        if options.no_test
        else f"unseen speakers {' and '.join(UNSEEN)}",
        "trained_speakers": list(TRAINED),
        "unit": "digits wrong, missing or too many, as a share of the digits said; intervals are bootstrapped, 95 %",
    }
    if options.json.is_file():
        found = json.loads(options.json.read_text(encoding="utf-8"))
        if found.get("settings") == json.loads(json.dumps(settings)):
            return found
    return {"machine": describe(), "settings": settings, "variants": {}}


def _config(options):
    values = dict(pair.split("=", 1) for pair in options.set)
    return recipe(options).with_overrides(**{key: json.loads(value) for key, value in values.items()})


def _write(result: dict, path: Path) -> None:
    from cantowhisper.files import write_json

    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(result, path)


# ------------------------------------------------------------------------------------------------------ the data


def make_splits(folder: Path, options) -> dict:
    """Sequences as feature datasets: "train", "validation" (trained speakers, other recordings), "test" (unseen)."""
    last = PER_DIGIT - HELD_OUT
    pools = {
        "train": (TRAINED, range(last), options.steps * options.batch_size),
        "validation": (TRAINED, range(last, PER_DIGIT), options.clips),
        "test": (UNSEEN, range(PER_DIGIT), options.clips),
    }
    if options.no_test:
        del pools["test"]  # not even opened
    return {
        split: _sequences(folder, split, speakers, numbers, min(n, 3000), seed=options.seed)
        for split, (speakers, numbers, n) in pools.items()
    }


def _sequences(folder: Path, split: str, speakers, numbers: range, n: int, *, seed: int):
    """Each speaker in turn says three to five digits, with short pauses between; text is the digits."""
    import datasets

    from cantowhisper.speech.audio import load_audio
    from cantowhisper.speech.mel import log_mel

    rng = np.random.default_rng((seed, sum(map(ord, split))))
    said = {
        (speaker, digit): [load_audio(folder / f"{digit}_{speaker}_{number}.wav") for number in numbers]
        for speaker in speakers
        for digit in range(10)
    }
    rows = []
    for i in range(n):
        speaker = speakers[i % len(speakers)]
        digits = [int(d) for d in rng.integers(0, 10, rng.integers(*DIGITS_IN_A_SEQUENCE, endpoint=True))]
        pieces = [_pause(rng)]
        for digit in digits:
            recordings = said[speaker, digit]
            pieces += [recordings[rng.integers(len(recordings))], _pause(rng)]
        waveform = np.concatenate(pieces)
        rows.append(
            {
                "id": f"{split}-{i}",
                "features": log_mel(waveform).T.astype(np.float16),
                "text": "".join(map(str, digits)),
                "duration_s": np.float32(len(waveform) / SAMPLE_RATE),
                "speaker": speaker,
                "source": "Free Spoken Digit Dataset",
            }
        )
    return datasets.Dataset.from_list(rows)


def _pause(rng: np.random.Generator) -> np.ndarray:
    return np.zeros(int(rng.uniform(*PAUSE_SECONDS) * SAMPLE_RATE), np.float32)


# ----------------------------------------------------------------------------------------------------- a variant


def make_model(name: str, seed: int):
    """Whisper-base with its real encoder (but for "random") and a fresh decoder over a vocabulary of digits."""
    import torch
    from safetensors.torch import load_file
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    from cantowhisper.training.miniature import build_miniature
    from cantowhisper.training.model import set_language

    small, processor = build_miniature(["0123456789"], seed=seed, language="en")
    shape = {"d_model": 512, "encoder_layers": 6, "encoder_ffn_dim": 2048, "encoder_attention_heads": 8}
    decoder = {"decoder_layers": 2, "decoder_ffn_dim": 2048, "decoder_attention_heads": 8}
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(WhisperConfig(**{**small.config.to_dict(), **shape, **decoder}))
    model.generation_config = small.generation_config
    if name != "random":
        weights = load_file(_folder("REAL_WEIGHTS") / "whisper_base_encoder.fp16.safetensors")
        weights = {key.removeprefix("model.encoder."): value.float() for key, value in weights.items()}
        model.get_encoder().load_state_dict(weights, strict=True)
    set_language(model, processor.tokenizer, "en")
    return model, processor


def run_variant(name: str, splits: dict, options) -> dict:
    """Train and score one variant."""
    import torch

    from cantowhisper.training.run.device import pick_precision
    from cantowhisper.training.trainer import WhisperTrainer

    torch.set_num_threads(options.threads)
    config = _config(options).with_overrides(**VARIANTS[name])
    model, processor = make_model(name, options.seed)
    if config.freeze_encoder:
        model.freeze_encoder()
    with tempfile.TemporaryDirectory() as folder:
        data = (splits["train"], splits["validation"])
        trainer = WhisperTrainer(model, processor, *data, out=Path(folder), config=config, progress=True)
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    validation = next(e for e in reversed(trainer.state.log_history) if "eval_cer_raw" in e)
    row = {
        "changes": VARIANTS[name],
        "train_seconds": round(seconds),
        "losses": [round(loss, 3) for loss in losses],
        "validation_variable": validation["eval_cer_raw"],
    }
    device = next(model.parameters()).device.type
    bf16 = pick_precision(config.precision)[0] == "bf16"
    with torch.autocast(device, dtype=torch.bfloat16, enabled=bf16):
        for context in ("variable", "full"):
            row[context] = _score(
                model, processor, splits["validation" if options.no_test else "test"], config, context
            )
            print(f"{name}, {context} context: {row[context]}", flush=True)
    return row


def _score(model, processor, split, config, context: str) -> dict:
    """The share of digits that are wrong, with its interval and counts."""
    from cantowhisper.training.results.scoring import summarize, transcribe_split

    started = time.perf_counter()
    scores = summarize(transcribe_split(model, processor, split, config=config, context=context))["all"]
    return {
        "error": scores["cer_raw"],
        "interval": scores["cer_raw_interval"],
        "sequences": scores["n"],
        "digits": sum(map(len, split["text"])),
        "loops": scores["loops"],
        "seconds": round(time.perf_counter() - started, 1),
    }


def table(variants: dict) -> str:
    """Error of each variant at both contexts, with intervals."""
    lines = [f"{'':10}{'variable context':>26}{'30 s windows':>26}{'training':>12}"]
    for name, row in variants.items():
        cells = [
            f"{row[c]['error']:.1%} ({row[c]['interval'][0]:.1%}–{row[c]['interval'][1]:.1%})"
            for c in ("variable", "full")
        ]
        lines.append(f"{name:10}{cells[0]:>26}{cells[1]:>26}{row['train_seconds']:>10} s")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
