"""How weights are moved: the optimizer, its learning rate for a model's size, and another one for the encoder."""

import importlib.util
import re

import torch

from cantowhisper.training.config import TrainConfig
from cantowhisper.training.schedules import LEARNING_RATES

ENCODER = re.compile(r"(^|\.)encoder\.")  # "decoder.layers.0.encoder_attn" belongs to the decoder

# A 40th of what each size was pre-trained with (Radford et al. 2022, table 17), after the Whisper authors' advice.
# By width: tiny, base, small, medium, large and turbo.
RATES = {384: 3.75e-5, 512: 2.5e-5, 768: 1.25e-5, 1024: 6.25e-6, 1280: 4.4e-6}
LORA_RATE = 1e-3  # adapters begin as zeros and carry little each


def pick_learning_rate(config: TrainConfig, d_model: int) -> tuple[float, str]:
    """(learning rate, reason)."""
    if config.learning_rate:
        return config.learning_rate, "as asked for"
    if config.lora_rank:
        return LORA_RATE, "for LoRA"
    nearest = min(RATES, key=lambda width: abs(width - d_model))
    return RATES[nearest], f"for a model of width {d_model}"


def pick_optimizer(config: TrainConfig) -> tuple[dict, str]:
    """(what the Trainer is told, reason): nothing for its own AdamW."""
    if not config.adam_8bit:
        return {}, ""
    if importlib.util.find_spec("bitsandbytes") and torch.cuda.is_available():
        return {"optim": "adamw_bnb_8bit"}, "8-bit Adam"
    return {}, "8-bit Adam needs a GPU and the package bitsandbytes: ordinary AdamW instead"


def optimizer_arguments(config: TrainConfig, d_model: int) -> tuple[dict, str]:
    """What the Trainer is told of optimizer and schedule, and a line for the user."""
    rate, why = pick_learning_rate(config, d_model)
    optimizer, note = pick_optimizer(config)
    said = f"learning rate {rate:g}: {why}" + (f"; {note}" if note else "")
    return {
        "learning_rate": rate,
        "warmup_steps": config.warmup_steps,
        "lr_scheduler_type": LEARNING_RATES[config.schedule],
        "weight_decay": config.weight_decay,
        "adam_beta2": config.adam_beta2,
        **optimizer,
    }, said


def set_encoder_rate(optimizer: torch.optim.Optimizer, model: torch.nn.Module, learning_rate: float) -> None:
    """Give the encoder's weights a learning rate of their own; the schedule scales both alike."""
    encoder = {id(p) for name, p in model.named_parameters() if ENCODER.search(name)}
    for group in list(optimizer.param_groups):
        own = [p for p in group["params"] if id(p) in encoder]
        if own:
            group["params"] = [p for p in group["params"] if id(p) not in encoder]
            rest = {key: value for key, value in group.items() if key not in ("params", "lr")}
            optimizer.add_param_group({**rest, "params": own, "lr": learning_rate})
