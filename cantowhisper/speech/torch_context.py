"""The seam by which a transformers Whisper takes the windows of speech/context.py; imports torch and transformers.

Nothing of the model is changed or written again: hooks gather the convolutions' outputs before the first layer, hand
out the position embeddings, and fill in the attention masks that Whisper's layers have and leave empty. So attention
stays whatever the model was loaded with (SDPA or eager), and half precision, gradient checkpointing, adapters and
`generate()` work as before. Saved files and everything outside of `of(...)` stay stock.
"""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from transformers.models.whisper.modeling_whisper import WhisperDecoderLayer, WhisperEncoder, WhisperEncoderLayer

from cantowhisper.speech.context import Windows
from cantowhisper.speech.mel import FRAMES_PER_POSITION


class _Now(NamedTuple):
    """Windows on the model's device; `bias` (batch, 1, 1, n) is None where nothing is merged."""

    columns: torch.Tensor
    positions: torch.Tensor
    bias: torch.Tensor | None


class ContextSeam:
    """Hooks on a Whisper, also one inside of a wrapper. `ContextSeam.on(model)` gives each model one of them."""

    @classmethod
    def on(cls, model: torch.nn.Module) -> "ContextSeam":
        """The seam of a model; made when it is asked for the first time."""
        encoder = next(module for module in model.modules() if isinstance(module, WhisperEncoder))
        if "_context_seam" not in vars(encoder):
            vars(encoder)["_context_seam"] = cls(model, encoder)
        return vars(encoder)["_context_seam"]

    def __init__(self, model: torch.nn.Module, encoder: WhisperEncoder):
        self._encoder = encoder
        self._now: _Now | None = None
        self._encoder.conv2.register_forward_hook(self._gather)
        self._encoder.embed_positions.register_forward_hook(self._place)
        for module in model.modules():
            if isinstance(module, WhisperEncoderLayer):
                module.self_attn.register_forward_pre_hook(self._weigh, with_kwargs=True)
            elif isinstance(module, WhisperDecoderLayer):
                module.encoder_attn.register_forward_pre_hook(self._weigh, with_kwargs=True)

    @contextlib.contextmanager
    def of(self, windows: Windows) -> Iterator[None]:
        """Within this, the model takes input_features of shape (batch, n_mels, windows.n_frames) by these windows.

        Stay inside for the backward pass too, which computes layers again where gradients are checkpointed.
        """
        config, before = self._encoder.config, (self._encoder.config.max_source_positions, self._now)
        device = self._encoder.conv2.weight.device
        columns, positions, log_weights = (torch.from_numpy(array).to(device) for array in windows[1:])
        # Stock attention has no mask, and quicker kernels without one.
        bias = log_weights[:, None, None, :] if windows.log_weights.any() else None
        self._now = _Now(columns, positions, bias)
        config.max_source_positions = windows.n_frames // FRAMES_PER_POSITION  # compared with the input
        try:
            with _attention_without_plans():
                yield
        finally:
            config.max_source_positions, self._now = before

    def _gather(self, _module, _args, output: torch.Tensor) -> torch.Tensor | None:
        """(batch, width, convolved) → (batch, width, n): the output of the second convolution at the columns."""
        if self._now is None:
            return None
        return output.gather(2, self._now.columns[:, None, :].expand(-1, output.shape[1], -1))

    def _place(self, _module, _args, output: torch.Tensor) -> torch.Tensor | None:
        """All embeddings, (1500, width) → those of the windows, (batch, n, width)."""
        return None if self._now is None else output[self._now.positions]

    def _weigh(self, _module, args, kwargs):
        if self._now is None or self._now.bias is None:
            return None
        hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        bias = self._now.bias
        if hidden.shape[0] != bias.shape[0]:  # a search has several hypotheses a clip
            bias = bias.repeat_interleave(hidden.shape[0] // bias.shape[0], dim=0)
        return args, {**kwargs, "attention_mask": bias.to(hidden)}


@contextlib.contextmanager
def _attention_without_plans() -> Iterator[None]:
    """Within this, PyTorch takes other kernels than cuDNN's for attention, which it prefers on an H100.

    cuDNN makes a plan for each shape that it has not seen: 0.4 s a training step, where a step takes 0.12 s. Windows
    of clips as long as they are have new shapes all the time. Flash attention and the memory-efficient kernels need no
    plans. GPUs before the A100 never take cuDNN's.
    """
    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)
