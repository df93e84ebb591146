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
    """Within this, a Whisper projects its encoder's output once for each clip, and never moves that.

    The hypotheses of a clip attend to the same keys and values of its encoder output, and change places only among
    themselves. transformers computes them for each hypothesis, and copies all of them after each token: 180 MB a clip
    for five hypotheses of whisper-base in a 30 s window.

    n_beams : of the search within this; nothing changes for 1
    """
    if n_beams == 1:
        yield
        return

    def one_a_clip(_module, args):
        return (args[0][::n_beams], *args[1:])

    def one_a_hypothesis(_module, _args, output: torch.Tensor) -> torch.Tensor:
        return output.repeat_interleave(n_beams, dim=0)

    def reorder(cache, order: torch.Tensor):
        getattr(cache, "self_attention_cache", cache).reorder_cache(order)
        return cache

    layers = [module.encoder_attn for module in model.modules() if isinstance(module, WhisperDecoderLayer)]
    hooks = []
    for projection in [one for layer in layers for one in (layer.k_proj, layer.v_proj)]:
        hooks += [projection.register_forward_pre_hook(one_a_clip)]
        hooks += [projection.register_forward_hook(one_a_hypothesis)]
    vars(model)["_reorder_cache"] = reorder  # what generate() asks, where a model has it
    try:
        yield
    finally:
        del vars(model)["_reorder_cache"]
        for hook in hooks:
            hook.remove()
