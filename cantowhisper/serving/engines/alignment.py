"""When each token was said, from the cross-attention of the heads that follow time (as in openai-whisper)."""

from collections.abc import Sequence

import numpy as np

from cantowhisper.speech.mel import FRAMES_PER_POSITION

SECONDS_A_POSITION = 0.02
MEDIAN_POSITIONS = 7  # odd; of openai-whisper


def token_times(queries: np.ndarray, keys: np.ndarray, *, n_frames: int) -> list[float]:
    """Seconds at which each token begins, and where the last one ends.

    Parameters
    ----------
    queries : float32 (heads, tokens + 1, width of a head), of the token before the text and of its tokens
    keys : float32 (heads, positions, width of a head), of the encoder's positions from the first on
    n_frames : of the clip, 10 ms each; later positions hear silence and are left out

    Returns
    -------
    tokens + 1 numbers that do not fall
    """
    return [step * SECONDS_A_POSITION for step in first_columns(-_attention(queries, keys, n_frames))]


def token_peaks(queries: np.ndarray, keys: np.ndarray, *, n_frames: int) -> list[float]:
    """Seconds at which the attention of each token is highest (AlignAtt; Papi et al., arXiv 2305.11408).

    Parameters
    ----------
    queries : float32 (heads, tokens, width of a head), of all tokens from the prompt on: where one token looks is told
        from where the others look, so that a short text alone says little
    keys, n_frames : as in `token_times`
    """
    return (_attention(queries, keys, n_frames).argmax(axis=1) * SECONDS_A_POSITION).tolist()


def _attention(queries: np.ndarray, keys: np.ndarray, n_frames: int) -> np.ndarray:
    """How much more than others each token looks at each position that hears the clip, (tokens, positions)."""
    heard = keys[:, : max(1, n_frames // FRAMES_PER_POSITION)]
    logits = queries @ heard.transpose(0, 2, 1) / np.sqrt(queries.shape[-1])
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    spread = weights.std(axis=1, keepdims=True)
    weights = (weights - weights.mean(axis=1, keepdims=True)) / np.maximum(spread, 1e-9)
    return _median(weights, MEDIAN_POSITIONS).mean(axis=0)


def _median(values: np.ndarray, width: int) -> np.ndarray:
    """The median of each value and its neighbours on the last axis, which is reflected at its ends."""
    reach = min(width // 2, values.shape[-1] - 1)
    padded = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(reach, reach)], mode="reflect")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis=-1), axis=-1)


def first_columns(costs: np.ndarray) -> Sequence[int]:
    """Dynamic time warping: where the cheapest path from the first to the last corner enters each row.

    The path goes down, right, or both at once. Within a row the cheapest way to column j is
    min over l ≤ j of (cost of coming to l from above, and of walking on to j), a running minimum over sums.

    >>> first_columns(np.array([[0, 0, 9, 9], [9, 9, 0, 9], [9, 9, 9, 0]]))
    [0, 2, 3]
    """
    n, m = costs.shape
    total = np.full((n + 1, m + 1), np.inf)
    total[0, 0] = 0.0
    for i, row in enumerate(costs):
        walked = np.cumsum(row)
        arrive = np.minimum(total[i, :-1], total[i, 1:])
        total[i + 1, 1:] = walked + np.minimum.accumulate(arrive - (walked - row))
    i, j, first = n, m, [0] * n
    while i:
        first[i - 1] = j - 1
        steps = ((i - 1, j - 1), (i - 1, j), (i, j - 1))
        i, j = min(steps, key=lambda place: total[place])
    return first
