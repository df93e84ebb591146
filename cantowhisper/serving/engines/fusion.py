"""What a search adds to the model's own log-probabilities, where a language model and listed words both do."""

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import numpy as np

from cantowhisper.serving.engines.words import START, Words
from cantowhisper.speech.ngram import NGram


class Favours(Protocol):
    """What is added, token by token. A state is whatever the text before comes to."""

    def after(self, ids: Iterable[int]) -> Any:
        """The state after some tokens."""
        ...

    def step(self, state: Any, token: int) -> Any:
        """The state after one more."""
        ...

    def encourage(self, scores: np.ndarray, states: Sequence[Any]) -> np.ndarray:
        """A copy of scores, float32 (rows, vocabulary), with what each token adds after each row's state."""
        ...


class Fusion:
    """Favours of a language model, and of words as well."""

    def __init__(self, model: NGram, words: Words | None = None):
        self._model, self._words = model, words

    def after(self, ids: Iterable[int]) -> Any:
        ids = list(ids)
        return self._model.after(ids), self._words.after(ids) if self._words else START

    def step(self, state: Any, token: int) -> Any:
        written, listed = state
        return self._model.step(written, token), self._words.step(listed, token) if self._words else START

    def encourage(self, scores: np.ndarray, states: Sequence[Any]) -> np.ndarray:
        size = self._model.facts.vocabulary_size  # a checkpoint may pad its output
        fused = scores.copy()
        for row, (written, _) in zip(fused, states, strict=True):
            row[:size] += self._model.gains(written)
        return self._words.encourage(fused, [listed for _, listed in states]) if self._words else fused
