"""What a run may choose: adapters, optimizer, schedules, its end, and going on when memory runs out."""

import dataclasses
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from training_data import small_features, small_split, with_texts
from training_runs import PLAIN, TINY, assert_same_curve, assert_same_weights, checkpoints_copied
from transformers import WhisperForConditionalGeneration

from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.speech.torch_context import ContextSeam
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.collator import IGNORED, Collator, FeatureRows, windows_and_inputs
from cantowhisper.training.data.sampling import BucketBatchSampler, run_batches
from cantowhisper.training.lora import add_lora, merge_lora
from cantowhisper.training.miniature import build_miniature
from cantowhisper.training.model import save_model
from cantowhisper.training.run.callbacks import best_evaluation, evaluations_since_best
from cantowhisper.training.run.checkpoints import checkpoint_steps
from cantowhisper.training.run.optimizer import RATES, pick_learning_rate, pick_optimizer
from cantowhisper.training.run.partwise_trainer import parts_of
from cantowhisper.training.schedules import Accumulated, read_accumulation, step_sizes
from cantowhisper.training.trainer import WhisperTrainer, prepare_model, train

ROOT = Path(__file__).resolve().parents[1]
TEXTS = ["你好呀我哋今日去邊度食飯", "唔該畀碗雲吞麵我呀多謝", "電話係二三四五六七八九"]
# One step, on eight clips of one context: what a step computes can be compared.
ONE_STEP = dataclasses.replace(
    TINY,
    max_steps=1,
    batch_size=8,
    full_context_share=0.0,
    context_kind="plain",
    context_bucket_frames=1000,
    max_batch_frames=8000,
    learning_rate=1e-7,  # Adam's first steps are signs: the rounding of a gradient near 0 would become a step
    dropout=0.0,
    **PLAIN,
)
SHORT = {"evaluate_every_steps": 2, "save_every_steps": 2, "max_steps": 4, "validation_clips": 1}


def small_trainer(folder, config=ONE_STEP, **overrides) -> WhisperTrainer:
    """A trainer of the miniature on eight clips with as many tokens as each other."""
    config = config.with_overrides(validation_clips=1, **overrides)
    model, processor = prepare_model(config, TEXTS * 2)
    split = with_texts(small_split("train").select(range(8)), [text[:9] for text in TEXTS * 3][:8])
    validation = small_split("validation").select(range(1))
    return WhisperTrainer(model, processor, split, validation, out=folder, config=config, progress=False)


def weights(trainer) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters()}


def losses(trainer) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def gradients(trainer) -> dict[str, torch.Tensor]:
    """Gradients of each step of a run, just before they are used."""
    seen = []
    clip = trainer.accelerator.clip_grad_norm_

    def keep(parameters, *args, **kwargs):
        parameters = list(parameters)
        seen.append([p.grad.clone() for p in parameters if p.grad is not None])
        return clip(parameters, *args, **kwargs)

    trainer.accelerator.clip_grad_norm_ = keep
    trainer.train()
    return seen


def assert_like(some: list, others: list) -> None:
    """The same gradients up to rounding."""
    assert len(some) == len(others)
    for step, other in zip(some, others, strict=True):
        flat, flat_other = (torch.cat([g.flatten() for g in grads]) for grads in (step, other))
        assert torch.linalg.norm(flat - flat_other) < 1e-4 * torch.linalg.norm(flat_other)


# ----------------------------------------------------------------------------------------------------- adapters


def with_adapters(seed: int = 3):
    """A miniature with adapters that do something."""
    model, processor = build_miniature(TEXTS * 2)
    add_lora(model, rank=4, seed=seed)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:  # they begin as zeros
                p.normal_(std=0.05)
    return model.eval(), processor


@pytest.mark.slow  # make canary does it with the real package
def test_an_old_torchao_does_not_stop_lora(tmp_path):
    """Colab brings torchao 0.10, at which peft raises an ImportError when it looks for a layer's class."""
    found = tmp_path / "torchao-0.10.0.dist-info" / "METADATA"
    found.parent.mkdir()
    found.write_text("Metadata-Version: 2.1\nName: torchao\nVersion: 0.10.0\n", encoding="utf-8")
    (tmp_path / "torchao").mkdir()
    (tmp_path / "torchao" / "__init__.py").touch()
    code = """
from importlib.metadata import version
import torch
from peft.import_utils import is_torchao_available
from cantowhisper.training.lora import add_lora, merge_lora
from cantowhisper.training.miniature import build_miniature
assert version("torchao") == "0.10.0"
try:
    is_torchao_available()
except ImportError:
    print("peft refuses it")
model, _ = build_miniature(["食飯"] * 2)
add_lora(model, rank=2, seed=1)
print(sum("lora_A" in name for name, _ in model.named_parameters()), "adapters")
merge_lora(model)
"""
    paths = os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert not done.returncode, done.stderr
    assert re.fullmatch(r"peft refuses it\n[1-9]\d* adapters\n", done.stdout)


def some_batch(model, processor, n: int = 2):
    collate = Collator(processor, ONE_STEP, start_token_id=model.config.decoder_start_token_id)
    rows = FeatureRows(small_split("train"))
    return collate([rows[(i, False)] for i in range(n)])


def test_merged_adapters_compute_what_they_computed_before(tmp_path):
    model, processor = with_adapters()
    batch = some_batch(model, processor)
    plain = build_miniature(TEXTS * 2)[0].eval()
    windows, inputs = windows_and_inputs(batch)
    with torch.no_grad(), ContextSeam.on(model).of(windows), ContextSeam.on(plain).of(windows):
        adapted, untouched = model(**inputs).logits, plain(**inputs).logits
        merge_lora(model)
        merged = model(**inputs).logits
    assert (adapted - untouched).abs().max() > 0.01
    assert torch.allclose(merged, adapted, atol=1e-4)
    assert [name for name, _ in model.named_parameters()] == [name for name, _ in plain.named_parameters()]
    folder = save_model(model, processor, tmp_path / "model")
    assert not list(folder.glob("*adapter*"))
    stock = WhisperForConditionalGeneration.from_pretrained(folder)
    stored = load_file(folder / "model.safetensors")
    assert not any("lora" in name or "base_layer" in name for name in stored)
    for name, p in model.named_parameters():
        assert torch.equal(p, stock.get_parameter(name))


def test_adapters_alone_are_trained_and_a_run_with_them_resumes(tmp_path, capsys):
    config = TINY.with_overrides(lora_rank=2, learning_rate=0.0, **SHORT)
    features = small_features()
    with checkpoints_copied(tmp_path / "left" / "checkpoints"):
        metrics = train(features, tmp_path / "model", config=config, progress=False)
    assert "learning rate 0.001: for LoRA" in capsys.readouterr().out
    steps = checkpoint_steps(tmp_path / "left")
    stored = load_file(steps[4] / "model.safetensors")
    begun = prepare_model(config, small_split("train")["text"])[0].state_dict()
    moved = {name for name in stored if not torch.equal(stored[name], begun[name])}
    assert moved and all("lora" in name for name in moved)
    optimizer = torch.load(steps[4] / "optimizer.pt", weights_only=True)
    assert len(optimizer["state"]) == sum("lora" in name for name in stored)

    again = tmp_path / "again"
    again.mkdir()
    shutil.copytree(steps[2], again / "checkpoints" / "checkpoint-2")
    claim = {"features": str(features), **dataclasses.asdict(config)}
    (again / "train_config.json").write_text(json.dumps(claim))
    assert train(features, again, config=config, progress=False)["best_step"] == metrics["best_step"]
    for out in (tmp_path / "model", again):
        assert WhisperForConditionalGeneration.from_pretrained(out).num_parameters() == metrics["parameters"]
    assert_same_weights(again, tmp_path / "model")


def test_gradient_checkpointing_reaches_the_adapters(tmp_path):
    plain, checkpointed = (
        gradients(small_trainer(tmp_path / str(option), lora_rank=2, gradient_checkpointing=option))
        for option in (False, True)
    )
    assert_like(plain, checkpointed)


# ---------------------------------------------------------------------------------------------------- optimizers


def test_each_size_has_its_learning_rate():
    config = TrainConfig()
    rates = [pick_learning_rate(config, width)[0] for width in RATES]
    assert rates == sorted(rates, reverse=True) and pick_learning_rate(config, 768)[0] == 1.25e-5
    assert pick_learning_rate(config.with_overrides(learning_rate=3e-4), 768) == (3e-4, "as asked for")
    assert pick_learning_rate(config.with_overrides(lora_rank=8), 768)[0] > 1e-4


def test_the_encoder_may_have_a_rate_of_its_own(tmp_path):
    trainer = small_trainer(tmp_path, max_steps=2, encoder_learning_rate=1e-5, learning_rate=1e-3, warmup_steps=0)
    before = weights(trainer)
    trainer.train()
    moved = {name: (p - before[name]).abs().max().item() for name, p in trainer.model.named_parameters()}
    encoder = {name for name in moved if ".encoder." in name}
    assert encoder and max(moved[name] for name in encoder) < 1e-4
    assert max(moved[name] for name in moved.keys() - encoder) > 5e-4
    groups = trainer.optimizer.param_groups
    assert sum(len(group["params"]) for group in groups) == sum(p.requires_grad for p in trainer.model.parameters())
    assert sorted({group["initial_lr"] for group in groups}) == [1e-5, 1e-3]


def test_8_bit_adam_is_ordinary_where_it_cannot_be(tmp_path, capsys):
    assert pick_optimizer(TrainConfig()) == ({}, "")
    if pick_optimizer(TrainConfig(adam_8bit=True))[0]:
        pytest.skip("bitsandbytes and a GPU are here")
    trainer = small_trainer(tmp_path, adam_8bit=True)
    trainer.train()
    assert "ordinary AdamW instead" in capsys.readouterr().out
    assert isinstance(trainer.optimizer.optimizer, torch.optim.AdamW)


# ----------------------------------------------------------------------------------------------------- schedules


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("schedule", "polynomial"),
        ("accumulation_schedule", "4"),
        ("accumulation_schedule", "4@1"),
        ("accumulation_schedule", "4@0,2@0"),
        ("accumulation_schedule", "0@0"),
        ("accumulation_schedule", "four@0"),
        ("early_stopping_evaluations", -1),
        ("lora_rank", -1),
        ("learning_rate", -1.0),
        ("packed_share", 1.05),
        ("max_batch_tokens", 100),
    ],
)
def test_options_that_mean_nothing_are_refused(option, value):
    with pytest.raises(UsageError) as caught:
        TrainConfig().with_overrides(**{option: value})
    assert option in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_the_learning_rate_warms_up_and_then_follows_its_schedule(tmp_path, schedule):
    trainer = small_trainer(tmp_path, schedule=schedule, warmup_steps=4, max_steps=12, learning_rate=1e-3)
    trainer.create_optimizer_and_scheduler(12)
    rates = []
    for _ in range(12):
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    assert rates[:5] == pytest.approx([0, 2.5e-4, 5e-4, 7.5e-4, 1e-3])
    if schedule == "constant":
        assert rates[4:] == pytest.approx([1e-3] * 8)
    else:
        assert all(a > b for a, b in itertools.pairwise(rates[4:]))
        middle = 0.5 * 1e-3
        assert rates[8] == pytest.approx(middle)


def test_batches_of_a_schedule_are_those_of_the_run_in_their_order():
    config = TrainConfig(batch_size=4, accumulation_schedule="3@0,1@4,2@6", max_steps=9)
    n = np.random.default_rng(0).integers(100, 900, 60)
    sizes = [3, 3, 3, 3, 1, 1, 2, 2, 2]
    assert list(step_sizes(read_accumulation("3@0,1@4,2@6"), 9)) == sizes
    steps = list(run_batches(n, n // 30, config))
    numbers = [sorted({key.batch for key in step}) for step in steps]
    assert [len(batches) for batches in numbers] == sizes
    plain = BucketBatchSampler(n, config, n_batches=sum(sizes), n_tokens=n // 30)
    assert [key for step in steps for key in step] == [key for batch in plain for key in batch]
    of_two = run_batches(n, n // 30, config, n_processes=2)
    assert len(of_two) == len(list(of_two)) == 18


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 9)), min_size=1, max_size=4), st.integers(1, 30))
def test_a_schedule_has_a_size_for_every_step(stages, n_steps):
    starts = [0, *itertools.accumulate(length for _, length in stages)]
    text = ",".join(f"{size}@{start}" for (size, _), start in zip(stages, starts, strict=False))
    sizes = list(step_sizes(read_accumulation(text), n_steps))
    assert len(sizes) == n_steps
    assert sizes == [[s for (s, _), b in zip(stages, starts, strict=False) if b <= i][-1] for i in range(n_steps)]
    assert len(Accumulated([], read_accumulation(text), n_steps=n_steps)) == n_steps


def test_a_schedule_adds_up_batches_as_the_trainer_itself_does(tmp_path):
    options = {"batch_size": 4, "max_steps": 2}
    scheduled = small_trainer(tmp_path / "a", accumulation_schedule="2@0", **options)
    plain = small_trainer(tmp_path / "b", gradient_accumulation_steps=2, **options)
    assert_like(gradients(scheduled), gradients(plain))
    assert losses(scheduled) == pytest.approx(losses(plain), rel=1e-5)


@pytest.mark.slow
def test_a_run_with_a_schedule_resumes_in_the_middle_of_it(tmp_path):
    config = TINY.with_overrides(accumulation_schedule="2@0,1@3", **SHORT)
    features = small_features()
    with checkpoints_copied(tmp_path / "left" / "checkpoints"):
        metrics = train(features, tmp_path / "whole", config=config, progress=False)
    again = tmp_path / "again"
    again.mkdir()
    shutil.copytree(checkpoint_steps(tmp_path / "left")[2], again / "checkpoints" / "checkpoint-2")
    resumed = train(features, again, config=config, progress=False)
    assert_same_curve(resumed, metrics)
    assert_same_weights(again, tmp_path / "whole")


# ------------------------------------------------------------------------------------------------ the end of a run


def test_a_run_that_gets_no_better_ends(tmp_path, capsys):
    config = TINY.with_overrides(
        max_steps=20,
        evaluate_every_steps=1,
        save_every_steps=2,
        early_stopping_evaluations=2,
        learning_rate=1e-12,  # learns nothing
        validation_clips=1,
        keep_checkpoints=3,
    )
    out, again = tmp_path / "model", tmp_path / "again"
    metrics = train(small_features(), out, config=config, progress=False)
    assert "stopping at step 3: no better validation CER in 2 evaluations" in capsys.readouterr().out
    assert metrics["steps"] == metrics["best_step"] == 3  # the last of equal ones
    again.mkdir()
    shutil.copytree(out / "checkpoints", again / "checkpoints")  # killed before it wrote its model
    assert train(small_features(), again, config=config, progress=False)["best_step"] == 3
    assert "step 4/20" not in capsys.readouterr().out
    assert (again / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()


def history(*scores):
    return [entry for i, score in enumerate(scores) for entry in ({"loss": 1.0}, {"eval_cer_no_punctuation": score})]


@pytest.mark.parametrize(
    ("scores", "since"), [((), 0), ((0.5,), 0), ((0.5, 0.4), 0), ((0.4, 0.5), 1), ((0.4, 0.3, 0.3, 0.5), 2)]
)
def test_evaluations_are_counted_from_the_best(scores, since):
    assert evaluations_since_best(history(*scores)) == since


def log(*rates, n=16, start=True):
    """A log with an evaluation every 10 steps; the lower the CER, the higher the WER."""
    first = 0 if start else 10
    return [
        {"step": first + 10 * i, "eval_cer_no_punctuation": rate, "eval_n": n, "eval_wer_no_punctuation": 1 - rate}
        for i, rate in enumerate(rates)
    ]


@pytest.mark.parametrize(
    ("entries", "step"),
    [
        (log(0.575, 0.315, 0.356, 0.342, 0.370, 0.342, 0.349), 50),  # Cantonese: step 10 went round in loops
        (log(0.575, 0.315, 0.356, 0.342, 0.370, 0.342, 0.349, n=400), 10),  # no luck any more
        (log(0.30, 0.31, 0.30, 0.32), 0),  # the model as it was, unless a step has a lower rate
        (log(0.30, 0.299, 0.301, 0.305), 10),
        (log(1.53, 1.73, 1.95, 1.09, 0.87, 0.89, 0.83, 0.80, 0.81), 80),  # a new language, all words wrong throughout
        (log(0.5, 0.5, start=False), 20),  # fresh weights
    ],
)
def test_the_last_checkpoint_that_may_be_the_best_is_taken(entries, step):
    assert best_evaluation(entries, range(1000))["step"] == step


def test_a_checkpoint_that_is_not_there_is_not_taken():
    entries = log(0.5, 0.4, 0.2, 0.35)
    assert best_evaluation(entries, {0, 10, 30})["step"] == 30, "the lowest of those that are kept"
    assert best_evaluation(entries, set()) is None and best_evaluation([{"step": 1, "loss": 1.0}], {1}) is None


@given(st.lists(st.floats(0.01, 2), min_size=1, max_size=12), st.integers(1, 500), st.booleans())
def test_what_is_taken_in_the_end_was_always_kept(rates, n, start):
    """All others but the newest are deleted after each evaluation: the same is taken as from all of them."""
    entries, kept = log(*rates, n=n, start=start), set()
    for count, entry in enumerate(entries, 1):
        kept = {best_evaluation(entries[:count], kept | {entry["step"]})["step"]} | {entry["step"]}
    assert best_evaluation(entries, kept) == best_evaluation(entries, {entry["step"] for entry in entries})


# ----------------------------------------------------------------------------------------------- out of memory


class Memory:
    """A memory that holds so many frames: the encoder's input is refused in the forward pass or behind half the
    backward pass, as an accelerator would."""

    def __init__(self, model, frames: int, *, backward: bool):
        self.frames = frames
        self.largest = 0
        self.refusals = 0
        self.backward = backward
        model.get_encoder().register_forward_hook(self.check, with_kwargs=True)

    def check(self, _module, args, kwargs, output):
        features = kwargs["input_features"] if "input_features" in kwargs else args[0]
        wanted = features.shape[0] * features.shape[-1]
        if not torch.is_grad_enabled():
            return
        if wanted <= self.frames:
            self.largest = max(self.largest, wanted)
            return
        if self.backward:  # the decoder has its gradients by then, and the encoder has none
            output.last_hidden_state.register_hook(self.refuse)
        else:
            self.refuse(None)

    def refuse(self, _gradient):
        self.refusals += 1
        raise torch.OutOfMemoryError("out of memory")


@pytest.mark.parametrize(
    ("accumulated", "backward"),
    [({"max_steps": 2}, False), ({"gradient_accumulation_steps": 2}, True), ({"accumulation_schedule": "2@0"}, True)],
)
def test_a_step_that_does_not_fit_is_computed_in_parts(tmp_path, backward, accumulated, capsys):
    options = {"batch_size": 4, "label_smoothing": 0.1, **accumulated}
    expected = small_trainer(tmp_path / "large", **options)
    wanted = gradients(expected)
    trainer = small_trainer(tmp_path / "small", **options)
    memory = Memory(trainer.model, 1000, backward=backward)
    assert_like(gradients(trainer), wanted)
    assert losses(trainer) == pytest.approx(losses(expected), rel=1e-4)
    assert memory.refusals == 2 and memory.largest <= 1000  # 4 clips of 1,000 frames, then 2, then 1
    assert "going on with half (1000 frames)" in capsys.readouterr().out


def test_a_single_clip_that_does_not_fit_ends_the_run_with_advice(tmp_path):
    trainer = small_trainer(tmp_path, batch_size=2)
    Memory(trainer.model, 999, backward=False)
    with pytest.raises(CantowhisperError, match=r"out of memory with 1 clips of 10 s .* gradient_checkpointing"):
        trainer.train()


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(100, 3000), st.none() | st.integers(1, 20_000), st.data())
def test_parts_hold_each_clip_once_and_weigh_what_they_say(clips, frames, budget, data):
    tokens = data.draw(st.lists(st.integers(1, 9), min_size=clips, max_size=clips))
    labels = torch.full((clips, 9), IGNORED)
    for row, n in zip(labels, tokens, strict=True):
        row[:n] = 5
    batch = {
        "input_features": torch.arange(clips)[:, None, None].expand(clips, 1, frames),
        "positions": torch.arange(frames // 2).expand(clips, -1),
        "labels": labels,
    }
    parts = list(parts_of(batch, budget))
    assert [int(i) for part, _ in parts for i in part["input_features"][:, 0, 0]] == list(range(clips))
    assert sum(share for _, share in parts) == pytest.approx(1)
    for part, share in parts:
        n = len(part["labels"])
        assert budget is None or n == 1 or n * (frames // 2 * 2) <= budget
        assert share == pytest.approx((part["labels"] != IGNORED).sum().item() / sum(tokens))
