"""Silence that weighs like that of a longer window, so that natural-length batches teach 30 s too.

A clip of 4 s has 60 silent positions behind it at its natural length and 1,300 in 30 s. Encoder and decoder attend to
all of them, and each takes its share of every softmax unless the model has learned to give it next to none; short
inputs hardly ask for that, and 30 s windows ask for it at eight times the cost. But a softmax does not see positions,
only sums: a silent position whose logit is raised by log(k) counts as k of its kind. So some batches of natural length
are given the silence of any length up to 30 s, for nothing. (The positions themselves are still those of the short
input: a few true windows stay in the mix.)
"""

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from transformers.models.whisper.modeling_whisper import WhisperDecoderLayer, WhisperEncoderLayer

from cantowhisper.speech.mel import FRAMES_PER_POSITION, N_FRAMES

SILENCE = "silence_log_weights"  # their name in a batch
N_POSITIONS = N_FRAMES // FRAMES_PER_POSITION  # 1,500


def silent_positions(n_frames: int, positions: int) -> slice:
    """The encoder positions that see silence only.

    Two convolutions reach two frames back, into the clip; and behind the last position they see zeros, not silence.

    >>> silent_positions(400, 250)
    slice(201, 249, None)
    """
    first = -(-n_frames // FRAMES_PER_POSITION) + 1
    return slice(first, max(first, positions - 1))


def silence_log_weights(n_frames: Sequence[int], frames: int, rng: np.random.Generator) -> torch.Tensor:
    """What makes the silence behind each clip count as that of a window of random length, up to 30 s.

    Parameters
    ----------
    n_frames : frames of each clip
    frames : of the encoder input

    Returns
    -------
    float32, shape (clips, 1, 1, frames / 2): log(wanted / present) for the silence behind speech, and 0 elsewhere
    """
    positions = frames // FRAMES_PER_POSITION
    weights = np.zeros((len(n_frames), 1, 1, positions), dtype=np.float32)
    for row, n in zip(weights, n_frames, strict=True):
        silent = silent_positions(n, positions)
        if present := len(range(positions)[silent]):
            row[..., silent] = np.log(rng.uniform(present, present + N_POSITIONS - positions) / present)
    return torch.from_numpy(weights)


class WeighedSilence:
    """Adds log-weights to what a Whisper's attention gives to positions of the encoder, within `of(...)` only.

    The seam is the attention mask that Whisper's layers have and leave empty; hooks fill it in. Weights, saved files
    and everything outside of `of` stay stock.
    """

    def __init__(self, model: torch.nn.Module):
        self._log_weights: torch.Tensor | None = None
        for module in model.modules():
            if isinstance(module, WhisperEncoderLayer):
                module.self_attn.register_forward_pre_hook(self._fill_in, with_kwargs=True)
            elif isinstance(module, WhisperDecoderLayer):
                module.encoder_attn.register_forward_pre_hook(self._fill_in, with_kwargs=True)

    @contextlib.contextmanager
    def of(self, log_weights: torch.Tensor | None) -> Iterator[None]:
        """log_weights : float (clips, 1, 1, positions), or None for silence as it is. Holds for the backward pass too,
        which computes layers again where gradients are checkpointed."""
        self._log_weights = log_weights
        try:
            yield
        finally:
            self._log_weights = None

    def _fill_in(self, _module, args, kwargs):
        if self._log_weights is None:
            return None
        heard = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        return args, {**kwargs, "attention_mask": self._log_weights.to(heard)}
