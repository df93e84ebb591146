"""Times of tokens: dynamic time warping against all paths, and attention that follows time."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cantowhisper.serving.engines.alignment import first_columns, token_times


def every_path(n: int, m: int, at=(0, 0)):
    """All ways from a place to the last corner of n × m: down, right, or both at once."""
    if at == (n - 1, m - 1):
        yield [at]
        return
    for down, right in ((1, 1), (1, 0), (0, 1)):
        place = (at[0] + down, at[1] + right)
        if place[0] < n and place[1] < m:
            yield from ([at, *rest] for rest in every_path(n, m, place))


@given(n=st.integers(1, 4), m=st.integers(1, 5), seed=st.integers(0, 1000))
def test_the_path_is_the_cheapest_of_all(n, m, seed):
    costs = np.random.default_rng(seed).normal(size=(n, m))
    cheapest = min(every_path(n, m), key=lambda path: sum(costs[place] for place in path))
    assert list(first_columns(costs)) == [min(j for i, j in cheapest if i == row) for row in range(n)]


def attention(times: list[int], n_positions: int, *, heads: int = 3, noise: float = 0.3):
    """Queries and keys of tokens that are said at these positions, and look at them."""
    rng = np.random.default_rng(0)
    places = rng.normal(size=(n_positions, 64)).astype(np.float32)
    said = np.searchsorted(times, np.arange(n_positions), side="right") - 1  # which token, at each position
    directions = rng.normal(size=(len(times), 64)).astype(np.float32)
    keys = directions[said] + noise * places
    return np.stack([3 * directions] * heads), np.stack([keys] * heads)


@pytest.mark.parametrize("spare", [0, 300])
def test_tokens_are_where_the_heads_look(spare):
    """Positions after the clip are not looked at, whatever they hold."""
    begins = [0, 12, 30, 41, 77, 100]
    queries, keys = attention(begins, 120)
    rng = np.random.default_rng(1)
    keys = np.concatenate([keys, 50 * rng.normal(size=(3, spare, 64)).astype(np.float32)], axis=1)
    found = token_times(queries, keys, n_frames=240)
    assert found == pytest.approx([begin * 0.02 for begin in begins], abs=0.04)


@given(tokens=st.integers(1, 12), n_frames=st.integers(1, 300), seed=st.integers(0, 100))
def test_times_never_fall_and_stay_in_the_clip(tokens, n_frames, seed):
    rng = np.random.default_rng(seed)
    queries, keys = rng.normal(size=(2, tokens, 8)), rng.normal(size=(2, 200, 8))
    found = token_times(queries, keys, n_frames=n_frames)
    assert len(found) == tokens and found[0] == 0
    assert all(a <= b for a, b in pairwise(found)) and found[-1] <= n_frames / 100
