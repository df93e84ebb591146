"""What runs a model: log-Mels and a prompt in, token ids with their log-probabilities out.

Nothing is drawn by chance, and no clip depends on those that share its batch: the same recording gives the same text,
whatever other visitors asked before.
"""

from typing import NamedTuple, Protocol

import numpy as np

from cantowhisper.contracts import DecodingOptions
from cantowhisper.speech.context import Windows


class Decoded(NamedTuple):
    """What was decoded for one piece, without prompt and end token."""

    token_ids: list[int]
    mean_log_prob: float  # the end token counts: knowing where to stop is part of it
    log_probs: tuple[float, ...] = ()  # of each token
    peaks_s: tuple[float, ...] = ()  # where each token's attention peaks in the clip, if that was asked for


class Engine(Protocol):
    """A loaded model. In all methods `mels` is float32 (batch, n_mels, windows.n_frames)."""

    name: str
    n_mels: int
    takes_words: bool  # DecodingOptions.words
    slow: bool  # runs weights on a CPU as they are: several times as slow as an export

    def decode(self, mels: np.ndarray, windows: Windows, prompt: list[int], options: DecodingOptions) -> list[Decoded]:
        """The text of each clip. prompt : tokens before the text, the same for all of the batch."""
        ...

    def first_probabilities(self, mels: np.ndarray, windows: Windows, start: int) -> np.ndarray:
        """Probabilities of the token after `start` alone, float32 (batch, vocabulary): languages, and no speech."""
        ...

    def align(
        self, mels: np.ndarray, windows: Windows, prompt: list[int], ids: list[int], *, n_frames: int
    ) -> list[float]:
        """Seconds in the clip (a batch of one) at which each token begins, and where the last one ends.

        n_frames : of the clip itself
        """
        ...
