"""Variations of clips: what they may change, and by how much."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cantowhisper.speech.mel import FLOOR_BELOW_MAX
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.augment import DECIBELS_PER_UNIT, augment


def clip(seed: int = 0, n_frames: int = 400) -> np.ndarray:
    """Something like a log-Mel: float16, smooth in time, 2 units between softest and loudest."""
    rng = np.random.default_rng(seed)
    rough = rng.uniform(-1, 1, (80, n_frames + 8))
    return np.apply_along_axis(lambda row: np.convolve(row, np.full(9, 1 / 9), "valid"), 1, rough).astype(np.float16)


def varied(mel: np.ndarray, seed: int = 1, **options) -> np.ndarray:
    return augment(mel, np.random.default_rng(seed), TrainConfig(**options))


def test_nothing_asked_for_changes_nothing():
    assert np.array_equal(varied(clip()), clip().astype(np.float32))


@given(seed=st.integers(0, 10_000), n_frames=st.integers(2, 2_000))
@settings(max_examples=50, deadline=None)
def test_all_at_once_keeps_the_clip_and_its_bounds(seed, n_frames):
    mel = clip(seed, n_frames)
    kept = mel.copy()
    out = varied(mel, seed, stretch=0.1, warp=0.1, equalizer_db=12.0, gain_db=6.0, time_masks=2, feature_masks=2)
    assert np.array_equal(mel, kept), "the stored clip may be cached"
    assert out.dtype == np.float32 and np.isfinite(out).all()
    assert 0.9 * n_frames - 1 <= out.shape[1] <= max(2, 1.1 * n_frames + 1) and out.shape[0] == 80
    louder = (12 + 6) / DECIBELS_PER_UNIT
    assert out.max() <= mel.max() + louder + 1e-3
    assert out.min() >= min(mel.min() - louder, mel.max() + louder - FLOOR_BELOW_MAX - 2 * louder) - 1e-3


def test_stretching_keeps_what_is_said_in_its_order():
    ramp = np.tile(np.linspace(0, 1, 300, dtype=np.float32), (80, 1))
    lengths = set()
    for seed in range(20):
        out = varied(ramp, seed, stretch=0.1)
        lengths.add(out.shape[1])
        assert out[0, 0] == 0 and out[0, -1] == pytest.approx(1) and (np.diff(out[0]) > 0).all()
    assert min(lengths) < 285 and max(lengths) > 315


def test_warping_moves_formants_by_the_share_that_is_asked_for():
    peak = np.exp(-(((np.arange(80) - 40) / 3) ** 2))[:, None] * np.ones((1, 50))
    places = [int(varied(peak, seed, warp=0.1)[:, 0].argmax()) for seed in range(40)]
    assert min(places) < 39 and max(places) > 41 and all(36 <= place <= 45 for place in places)


def test_gain_is_one_number_for_the_whole_clip():
    change = varied(clip(), gain_db=6.0) - clip()
    assert np.ptp(change) < 1e-3 and 0 < abs(change.mean()) * DECIBELS_PER_UNIT <= 6


def test_the_equalizer_colours_channels_alike_at_all_times():
    change = (varied(clip(), equalizer_db=12.0) - clip()) * DECIBELS_PER_UNIT
    assert np.ptp(change, axis=1).max() < 1e-2, "the same in every frame"
    assert np.ptp(change[:, 0]) > 3 and np.abs(change).max() <= 12.01
    assert np.abs(np.diff(change[:, 0])).max() < 24 / 19.75 + 0.01, "a line between five points, no steps"


def test_holes_are_as_deep_as_silence_and_no_longer_than_asked_for():
    mel = clip(n_frames=200).astype(np.float32)
    out = varied(mel, time_masks=1, time_mask_frames=20)
    hole = (out != mel).any(axis=0)
    assert 0 < hole.sum() <= 20 and np.ptp(np.flatnonzero(hole)) == hole.sum() - 1
    assert (out[:, hole] == mel.max() - FLOOR_BELOW_MAX).all()
    out = varied(mel, feature_masks=1, feature_mask_channels=12)
    assert 0 < (out != mel).any(axis=1).sum() <= 12
