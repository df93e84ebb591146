"""How weights are moved: one learning rate for all, or a lower one for the encoder."""

import re

import torch

ENCODER = re.compile(r"(^|\.)encoder\.")  # "decoder.layers.0.encoder_attn" belongs to the decoder


def set_encoder_rate(optimizer: torch.optim.Optimizer, model: torch.nn.Module, learning_rate: float) -> None:
    """Give the encoder's weights a learning rate of their own; the schedule scales both alike."""
    encoder = {id(p) for name, p in model.named_parameters() if ENCODER.search(name)}
    for group in list(optimizer.param_groups):
        own = [p for p in group["params"] if id(p) in encoder]
        if own:
            group["params"] = [p for p in group["params"] if id(p) not in encoder]
            rest = {key: value for key, value in group.items() if key not in ("params", "lr")}
            optimizer.add_param_group({**rest, "params": own, "lr": learning_rate})
