"""Shallow fusion with a language model in transformers' generate()."""

import torch
from transformers import LogitsProcessor

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
