"""Training speed against the recipe that everybody copies: python -m benchmarks.training --json FILE

The reference is a stock Seq2SeqTrainer on features padded to 30 s. Ours has the same model, batch size, optimizer and
precision, and each clip's own length. Both see clips as long as those of Common Voice (4 s on average), made up: speed
does not depend on what is said. Every measurement is a process of its own, and they take turns: ours at natural
length, ours in 30 s windows, the reference, and again. What training sees, 15 % of the steps in 30 s windows, is
computed from the first two.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import describe

SHAPES = {
    "tiny": {"d_model": 384, "layers": 4, "heads": 6},
    "base": {"d_model": 512, "layers": 6, "heads": 8},
    "small": {"d_model": 768, "layers": 12, "heads": 12},
}
VOCABULARY = 51865  # of every multilingual Whisper up to large-v2; the output layer is a part of the cost
KINDS = ("natural", "full", "reference")
TEXTS = ["今日去街市買餸煮飯", "唔該畀碗雲吞麵我呀", "聽日落雨記得帶遮出門口", "我哋喺巴士站等緊你"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/training.json"))
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=["base", "small"])
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--steps", type=int, default=3, help="timed steps in a process, behind one that is not")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.shapes[0], options)))
        return
    result = {"machine": describe(), "precision": "fp32", "threads": options.threads, "shapes": {}}
    for shape in options.shapes:
        result["shapes"][shape] = compare(shape, options)
        print(shape, json.dumps({k: v for k, v in result["shapes"][shape].items() if k != "rounds"}), flush=True)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def compare(shape: str, options) -> dict:
    """All rounds of a shape: a ratio a round, their median, least and largest, and the peak memory of each kind."""
    rounds = [{kind: _in_a_process(kind, shape, options) for kind in KINDS} for _ in range(options.rounds)]
    mixed = [_mixed(kinds) / _rate(kinds["reference"]) for kinds in rounds]
    natural = [_rate(kinds["natural"]) / _rate(kinds["reference"]) for kinds in rounds]
    return {
        "batch_size": options.batch_size,
        "samples_per_second_ratio": round(statistics.median(mixed), 2),
        "samples_per_second_ratio_spread": [round(min(mixed), 2), round(max(mixed), 2)],
        "natural_length_only_ratio": round(statistics.median(natural), 2),
        "samples_per_second": {kind: round(statistics.median(_rate(r[kind]) for r in rounds), 3) for kind in KINDS},
        "peak_mib": {kind: max(r[kind]["peak_mib"] for r in rounds) for kind in KINDS},
        "rounds": rounds,
    }


def _in_a_process(kind: str, shape: str, options) -> dict:
    words = ["--one", kind, "--shapes", shape, "--batch-size", options.batch_size, "--steps", options.steps]
    command = [sys.executable, "-m", "benchmarks.training", *map(str, words), "--threads", str(options.threads)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{kind} of {shape} ended with code {done.returncode}: {done.stderr[-1000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _rate(run: dict) -> float:
    return sum(run["clips"]) / sum(run["seconds"])


def _mixed(kinds: dict) -> float:
    """Clips a second where a share of the steps has 30 s windows, as the presets have it."""
    from cantowhisper.training.presets import TrainConfig

    share = TrainConfig().full_context_share
    steps = [(1 - share, kinds["natural"]), (share, kinds["full"])]
    clips = sum(weight * statistics.mean(run["clips"]) for weight, run in steps)
    return clips / sum(weight * statistics.mean(run["seconds"]) for weight, run in steps)


# -------------------------------------------------------------------------------------------------- one process


def measure(kind: str, shape: str, options) -> dict:
    """Seconds and clips of each timed step, and the peak memory of this process in MiB."""
    import torch

    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        build = reference_trainer if kind == "reference" else own_trainer
        trainer = build(kind, *_model(shape), options, Path(folder))
        clock = _clock()
        trainer.add_callback(clock)
        collate, clips = trainer.data_collator, []
        trainer.data_collator = lambda rows: clips.append(len(rows)) or collate(rows)
        trainer.train()
    seconds = [end - start for start, end in zip(clock.ends, clock.ends[1:], strict=False)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    return {"seconds": seconds, "clips": clips[1 : 1 + len(seconds)], "peak_mib": round(peak)}


def _clock():
    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        """When each step ended; nothing is evaluated or saved, which costs both sides the same."""

        def __init__(self):
            self.ends: list[float] = []

        def on_step_end(self, args, state, control, **kwargs):
            self.ends.append(time.perf_counter())
            control.should_evaluate = control.should_save = False

    return Clock()


def _model(shape: str):
    """A Whisper of the shape with random weights, and a processor."""
    import torch
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperProcessor

    from cantowhisper.training.model import allow_variable_context, build_tokenizer, set_language

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
    set_language(model, tokenizer, "zh")
    allow_variable_context(model)
    return model, WhisperProcessor(WhisperFeatureExtractor(), tokenizer)


def _rows(n: int, lengths_seed: int = 20) -> dict[str, list]:
    """Made-up clips with the lengths of Common Voice: 2 to 7 s, 4 s on average."""
    import numpy as np

    rng = np.random.default_rng(lengths_seed)
    seconds = np.clip(rng.normal(4.0, 1.2, n), 2, 7).round(2).astype(np.float32)
    features = [rng.uniform(-1, 1, (round(float(s) * 100) + 2, 80)).astype(np.float16) for s in seconds]
    texts = [TEXTS[i % len(TEXTS)] for i in range(n)]
    return {"id": [str(i) for i in range(n)], "features": features, "text": texts, "duration_s": list(seconds)}


def own_trainer(kind: str, model, processor, options, folder: Path):
    """WhisperTrainer at natural length ("natural") or in 30 s windows ("full")."""
    import datasets

    from cantowhisper.training.presets import TrainConfig
    from cantowhisper.training.trainer import WhisperTrainer

    config = TrainConfig(
        batch_size=options.batch_size,
        max_batch_frames=options.batch_size * 1000,
        full_context_share=float(kind == "full"),
        full_context_batch_size=max(1, options.batch_size // 4),
        max_steps=options.steps + 1,
        warmup_steps=0,
        data_workers=0,
        precision="fp32",
        log_every_steps=1000,
    )
    split = datasets.Dataset.from_dict(_rows(options.batch_size * 16)).with_format("numpy")
    return WhisperTrainer(model, processor, split, split, out=folder, config=config, progress=False)


def reference_trainer(_kind: str, model, processor, options, folder: Path):
    """Stock Seq2SeqTrainer on stored features of 30 s, and the usual collator."""
    import numpy as np
    import torch
    from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments

    from cantowhisper.speech.mel import N_FRAMES, pad_to
    from cantowhisper.training.batching import pad_labels

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
        use_cpu=not torch.cuda.is_available(),
        disable_tqdm=True,
        logging_steps=1000,
        remove_unused_columns=False,
    )
    return Seq2SeqTrainer(model=model, args=arguments, train_dataset=rows, data_collator=collate)


if __name__ == "__main__":
    main()
