"""What runs a model: log-Mels and a prompt in, token ids with their log-probabilities out.

Nothing is drawn by chance, and no clip depends on those that share its batch: the same recording gives the same text,
whatever other visitors asked before.
"""

from typing import NamedTuple, Protocol

import numpy as np

from cantowhisper.speech.context import LEAST_PHRASE_TOKENS, Windows

# A second try for a piece that looped. Whisper draws at a higher temperature there; a wider search to which repeating
# costs something breaks loops too, and gives the same text every time.
SECOND_TRY_BEAM = 5
REPETITION_PENALTY = 1.3  # multiplies the log-probability of tokens that were there


class Decoded(NamedTuple):
    """What was decoded for one piece, without prompt and end token."""

    token_ids: list[int]
    mean_log_prob: float  # the end token counts: knowing where to stop is part of it
    log_probs: tuple[float, ...] = ()  # of each token


class Engine(Protocol):
    """A loaded model. In all methods `mels` is float32 (batch, n_mels, windows.n_frames)."""

    name: str
    n_mels: int

    def decode(
        self,
        mels: np.ndarray,
        windows: Windows,
        prompt: list[int],
        *,
        max_new_tokens: int,
        suppress: list[int],
        beam_size: int = 1,
        second_try: bool = False,
        phrase_tokens: int = LEAST_PHRASE_TOKENS,
        n_written: int = 0,
    ) -> list[Decoded]:
        """The text of each clip.

        prompt : tokens before the text, the same for all of the batch
        suppress : tokens that are never written, besides those that the model itself suppresses
        beam_size : 1 is greedy
        second_try : search in a way that avoids repetition, whatever `beam_size` is; `phrase_tokens` tokens are not
            said again in the same order
        n_written : so many tokens at the end of the prompt are text already. What is decoded goes on from them (and may
            be nothing); they are not repeated in the result
        """
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
