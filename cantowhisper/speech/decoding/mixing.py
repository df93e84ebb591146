"""Several channels to one, and whether a recording holds anything to hear.

The mean is what everybody else takes, and it is right for two microphones in one room. It is wrong in three cases that
people really have: a cable with one pole swapped (right = -left: the mean is silence), sound for cinemas (speech in the
centre of six channels: the mean is a sixth of it), and a device with many inputs of which one is connected.
"""

import numpy as np

CANCELLED = 0.12  # of the loudest channel's power: one of two channels alone still has a mean of 0.25
AUDIBLE = 1e-4  # -40 dB under the loudest channel is no sound of its own, but crosstalk
CENTRE_HEARD = 0.0025  # -26 dB: music on the other channels is often louder than the speech in the centre
# The standard order of channels (front left, front right, centre, …) where a file says nothing else.
STANDARD_CENTRE = {3: 2, 5: 2, 6: 2, 7: 2, 8: 2}

WINDOW = 512  # samples at 16 kHz: 32 ms
SILENT_BELOW_DBFS = -55.0  # as `serving.segments` has it
SPEECH_RANGE_DB = 12.0  # speech rises and falls by more, hum and noise by 2-3 dB


def to_mono(samples: np.ndarray, *, centre: int | None = None) -> np.ndarray:
    """Mix a block.

    Parameters
    ----------
    samples : float32, shape (n_samples, n_channels)
    centre : which channel is the centre one of a surround layout, None if there is none

    Returns
    -------
    float32, shape (n_samples,): the mean of the channels; the centre channel if there is sound in it; the loudest
    channel where the mean cancels it
    """
    if samples.shape[1] == 1:
        return samples[:, 0]
    power = _power(samples)
    loudest = int(power.argmax())
    if centre is not None and power[centre] > 0 and power[centre] >= CENTRE_HEARD * power[loudest]:
        return samples[:, centre]
    if samples.shape[1] > 2:  # of two, a silent one counts: that is what others do with stereo
        samples = samples[:, power >= AUDIBLE * power[loudest]]
        loudest = int(_power(samples).argmax())
    mean = samples.mean(axis=1, dtype=np.float32)
    if _power(mean[:, None])[0] < CANCELLED * power.max():
        return samples[:, loudest]
    return mean


def _power(samples: np.ndarray) -> np.ndarray:
    """Of each channel, without what is constant or slow: a common hum must not hide that speech cancels."""
    change = np.diff(samples, axis=0, prepend=samples[:1])
    return np.nan_to_num(np.einsum("ij,ij->j", change, change))


def speaks(waveform: np.ndarray) -> bool:
    """Whether there is something that may be speech: sound that rises and falls. waveform : 16 kHz mono."""
    windows = waveform[: waveform.size // WINDOW * WINDOW].reshape(-1, WINDOW)
    if not len(windows):
        return False
    levels = 10 * np.log10(np.maximum(np.einsum("ij,ij->i", windows, windows) / WINDOW, 1e-12))
    soft, loud = np.percentile(levels, (10, 95))
    return bool(loud >= SILENT_BELOW_DBFS and loud - soft >= SPEECH_RANGE_DB)
