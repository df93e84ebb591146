"""What engines give."""

from typing import NamedTuple


class Decoded(NamedTuple):
    """What was decoded for one piece, without prompt and end token."""

    token_ids: list[int]
    mean_log_prob: float
    log_probs: tuple[float, ...] = ()  # of each token, where asked for
