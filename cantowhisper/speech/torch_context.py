"""The seam by which a transformers Whisper takes the windows of speech/context.py; imports torch and transformers.

Nothing of the model is changed or written again: hooks gather the convolutions' outputs before the first layer, hand
out the position embeddings, and fill in the attention masks that Whisper's layers have and leave empty. So attention
stays whatever the model was loaded with (SDPA or eager), and half precision, gradient checkpointing, adapters and
`generate()` work as before. Saved files and everything outside of `of(...)` stay stock.
"""

import contextlib
from collections.abc import Iterator

import torch
from transformers.models.whisper.modeling_whisper import WhisperDecoderLayer, WhisperEncoder, WhisperEncoderLayer

from cantowhisper.speech.context import Windows


class ContextSeam:
    """Hooks on a Whisper (also one inside of a wrapper, such as peft's). One a model."""

    def __init__(self, model: torch.nn.Module):
        self._encoder = next(module for module in model.modules() if isinstance(module, WhisperEncoder))
        self._columns: torch.Tensor | None = None
        self._positions: torch.Tensor | None = None
        self._log_weights: torch.Tensor | None = None
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
        config, device = self._encoder.config, self._encoder.conv2.weight.device
        whole = config.max_source_positions
        self._columns = torch.from_numpy(windows.columns).to(device)
        self._positions = torch.from_numpy(windows.positions).to(device)
        if windows.log_weights.any():  # stock attention has no mask, and quicker kernels without one
            self._log_weights = torch.from_numpy(windows.log_weights).to(device)[:, None, None, :]
        config.max_source_positions = windows.n_frames // 2  # what the encoder compares its input with
        try:
            yield
        finally:
            config.max_source_positions = whole
            self._columns = self._positions = self._log_weights = None

    def _gather(self, _module, _args, output: torch.Tensor) -> torch.Tensor | None:
        """(batch, width, convolved) → (batch, width, n): the output of the second convolution at the columns."""
        if self._columns is None:
            return None
        return output.gather(2, self._columns[:, None, :].expand(-1, output.shape[1], -1))

    def _place(self, _module, _args, output: torch.Tensor) -> torch.Tensor | None:
        """All embeddings, (1500, width) → those of the windows, (batch, n, width)."""
        return None if self._positions is None else output[self._positions]

    def _weigh(self, _module, args, kwargs):
        if self._log_weights is None:
            return None
        hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        bias = self._log_weights
        if hidden.shape[0] != bias.shape[0]:  # a search has several hypotheses a clip
            bias = bias.repeat_interleave(hidden.shape[0] // bias.shape[0], dim=0)
        return args, {**kwargs, "attention_mask": bias.to(hidden)}
