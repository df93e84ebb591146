"""Variations of stored features: other speeds, voices, microphones and loudness, and holes (SpecAugment).

Features are stored without padding, so all of it happens inside the clip and never to padding. Evaluation never comes
here.
"""

import numpy as np

from cantowhisper.speech.mel import FLOOR_BELOW_MAX
from cantowhisper.training.config import TrainConfig

DECIBELS_PER_UNIT = 40.0  # log-Mel is (log10 power + 4) / 4, and a decade of power is 10 dB
EQUALIZER_KNOTS = 5  # low-pass filters of codecs touch the upper quarter of the channels alone


def augment(mel: np.ndarray, rng: np.random.Generator, config: TrainConfig) -> np.ndarray:
    """A variation of a clip's log-Mel.

    Parameters
    ----------
    mel : float, shape (n_mels, n_frames), unpadded
    rng : where chance comes from
    config : stretch, warp, equalizer_db, gain_db, time_masks, feature_masks; all 0 gives the clip back

    Returns
    -------
    float32, shape (n_mels, about n_frames × (1 ± stretch))
    """
    mel = np.asarray(mel, dtype=np.float32)
    if config.stretch:  # speed of speech (speed perturbation, Ko et al. 2015, without its change of pitch)
        factor = 1 + rng.uniform(-config.stretch, config.stretch)
        wanted = max(2, min(round(mel.shape[1] * factor), 3000))
        mel = _interpolate(mel, np.linspace(0, mel.shape[1] - 1, wanted))
    if config.warp:  # size of the speaker (vocal tract length perturbation, Jaitly and Hinton 2013)
        factor = 1 + rng.uniform(-config.warp, config.warp)
        channels = np.clip(np.arange(mel.shape[0]) * factor, 0, mel.shape[0] - 1)
        mel = _interpolate(mel.T, channels).T
    if config.equalizer_db:
        mel = mel + _equalizer(mel.shape[0], rng, config.equalizer_db)[:, None]
    if config.gain_db:
        mel = mel + np.float32(rng.uniform(-config.gain_db, config.gain_db) / DECIBELS_PER_UNIT)
    return _masked(mel, rng, config)


def _equalizer(n_mels: int, rng: np.random.Generator, most_db: float) -> np.ndarray:
    """What a microphone and a codec do to the channels: a line through EQUALIZER_KNOTS random points."""
    knots = rng.uniform(-most_db, most_db, EQUALIZER_KNOTS) / DECIBELS_PER_UNIT
    line = np.interp(np.arange(n_mels), np.linspace(0, n_mels - 1, EQUALIZER_KNOTS), knots)
    return line.astype(np.float32)


def _interpolate(mel: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Columns of mel at fractional places, linearly."""
    left = np.minimum(places.astype(np.int64), mel.shape[1] - 2)
    share = (places - left).astype(np.float32)
    return mel[:, left] * (1 - share) + mel[:, left + 1] * share


def _masked(mel: np.ndarray, rng: np.random.Generator, config: TrainConfig) -> np.ndarray:
    """Holes as deep as silence, in time and in frequency (SpecAugment, Park et al. 2019)."""
    if not (config.time_masks or config.feature_masks):
        return mel
    mel, silence = mel.copy(), mel.max() - FLOOR_BELOW_MAX  # a copy: the clip may be cached
    n_mels, n_frames = mel.shape
    for _ in range(config.time_masks):
        width = int(rng.integers(0, min(config.time_mask_frames, n_frames // 4) + 1))
        start = int(rng.integers(0, n_frames - width + 1))
        mel[:, start : start + width] = silence
    for _ in range(config.feature_masks):
        width = int(rng.integers(0, config.feature_mask_channels + 1))
        start = int(rng.integers(0, n_mels - width + 1))
        mel[start : start + width] = silence
    return mel
