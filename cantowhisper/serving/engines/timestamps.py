"""Whisper's timestamp tokens: where they may stand, and what a text that was decoded with them says.

A text with timestamps is a row of passages: the time at which one begins, its words, the time at which it ends. Times
count from the beginning of the window, in steps of 20 ms (Radford et al. 2022, section 2.3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

STEP_S = 0.02
LATEST_FIRST_S = 1.0  # Whisper's own limit on where the first passage begins


class Passage(NamedTuple):
    """A part of a decoded text between two timestamps; `end_s` is None where the text ended without one."""

    start_s: float
    end_s: float | None
    token_ids: list[int]
    log_probs: list[float]


@dataclass(frozen=True)
class Timestamps:
    """`first` is the token of 0.00 s, the lowest of the timestamps; the end of a text is a token below it."""

    first: int
    end: int

    def seconds(self, token: int) -> float:
        return (token - self.first) * STEP_S

    def constrain(self, logits: np.ndarray, ids: Sequence[int]) -> None:
        """Set to -inf, in one row of logits (vocabulary,), what may not follow the tokens `ids` of that row.

        The rules of Whisper's own decoding: a text begins with a timestamp; timestamps come in pairs, but for the
        first; they never go back, and an end is later than its beginning; and where all timestamps together are
        likelier than the likeliest word, a timestamp comes.
        """
        if not ids:
            logits[: self.first] = -np.inf
            logits[self.first + round(LATEST_FIRST_S / STEP_S) + 1 :] = -np.inf
            return
        after_time = ids[-1] >= self.first
        after_pair = after_time and (len(ids) < 2 or ids[-2] >= self.first)
        if after_pair:
            logits[self.first :] = -np.inf
        elif after_time:
            logits[: self.end] = -np.inf
        latest = next((token for token in reversed(ids) if token >= self.first), None)
        if latest is not None:
            # After an end the next beginning may be at the same time.
            logits[self.first : latest + (0 if after_time and not after_pair else 1)] = -np.inf
        if _log_sum_exp(logits[self.first :]) > logits[: self.first].max():
            logits[: self.first] = -np.inf

    def passages(self, ids: Sequence[int], log_probs: Sequence[float]) -> list[Passage]:
        """The parts of a text that was decoded under these rules.

        >>> Timestamps(first=100, end=50).passages([100, 7, 8, 150, 160, 9], [0.0] * 6)[0]
        Passage(start_s=0.0, end_s=1.0, token_ids=[7, 8], log_probs=[0.0, 0.0])
        """
        found: list[Passage] = []
        start, held = 0.0, ([], [])
        for token, log_prob in zip(ids, log_probs, strict=True):
            if token < self.first:
                held[0].append(token)
                held[1].append(log_prob)
                continue
            if held[0]:
                found.append(Passage(start, self.seconds(token), *held))
            start, held = self.seconds(token), ([], [])
        return [*found, Passage(start, None, *held)] if held[0] else found


def _log_sum_exp(values: np.ndarray) -> float:
    largest = values.max(initial=-np.inf)
    return largest if largest == -np.inf else float(largest + np.log(np.exp(values - largest).sum()))
