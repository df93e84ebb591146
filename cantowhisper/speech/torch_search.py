"""Beam search in transformers' generate(): a language model that has a say, and hypotheses that share a clip."""

import contextlib
from collections.abc import Iterator

import torch
from transformers import LogitsProcessor
from transformers.models.whisper.modeling_whisper import WhisperDecoderLayer

from cantowhisper.speech.ngram import NGram


class ShallowFusion(LogitsProcessor):
    """Adds what a language model says of each token (`NGram.gains`) to the scores of a step.

    n_prompt : tokens before the text
    """

    def __init__(self, model: NGram, *, n_prompt: int):
        self._model, self._n_prompt = model, n_prompt

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """input_ids : (rows, n), what is written; scores : (rows, vocabulary) of the next token"""
        fused = scores.clone()
        for row, ids in enumerate(input_ids[:, self._n_prompt :].tolist()):
            gains = torch.from_numpy(self._model.gains(self._model.after(ids)))
            fused[row, : gains.numel()] += gains.to(scores)
        return fused


@contextlib.contextmanager
def shared_encoder_states(model: torch.nn.Module, n_beams: int) -> Iterator[None]:
    """Within this, a search attends to a clip's encoder output once for all of its hypotheses.

    The hypotheses of a clip hear the same, and change places only among themselves. transformers keeps keys and values
    of the encoder output for each of them and copies all of that after each token: 180 MB a clip, for five hypotheses
    of whisper-base in a 30 s window. Here they are one clip that asks several times, as if for several tokens.

    n_beams : hypotheses of the search within this; nothing changes for 1
    """
    if n_beams == 1:
        yield
        return

    def as_clips(_module, args, kwargs):
        """Hidden states (clips × beams, tokens, width) → (clips, beams × tokens, width)."""
        given = dict(zip(("hidden_states", "key_value_states"), args, strict=False)) | kwargs
        hidden, encoded = given["hidden_states"], given["key_value_states"]
        joined = hidden.reshape(hidden.shape[0] // n_beams, -1, hidden.shape[2])
        return (), given | {"hidden_states": joined, "key_value_states": encoded[::n_beams]}

    def as_hypotheses(_module, _args, _kwargs, output: tuple) -> tuple:
        clips, _, width = output[0].shape
        return (output[0].reshape(clips * n_beams, -1, width), *output[1:])

    def reorder(cache, order: torch.Tensor):
        getattr(cache, "self_attention_cache", cache).reorder_cache(order)
        return cache

    hooks = []
    for attention in [module.encoder_attn for module in model.modules() if isinstance(module, WhisperDecoderLayer)]:
        # before those of ContextSeam, which have a mask for each clip
        hooks += [attention.register_forward_pre_hook(as_clips, prepend=True, with_kwargs=True)]
        hooks += [attention.register_forward_hook(as_hypotheses, with_kwargs=True)]
    vars(model)["_reorder_cache"] = reorder  # what generate() asks, where a model has it
    try:
        yield
    finally:
        del vars(model)["_reorder_cache"]
        for hook in hooks:
            hook.remove()
