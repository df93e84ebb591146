"""Log-Mel spectrograms that store no padding.

Whisper's own extractor pads every clip to 30 s before the Fourier transform; a Common Voice clip lasts 4 s, so
86 % of what every other recipe stores, reads and trains on is one repeated constant. Here the spectrogram ends
where the clip ends, and `pad_to` puts the constant back when a model wants it.
"""

from functools import cache

import numpy as np

# Three numbers fix everything else (Radford et al. 2022, section 2.2).
SAMPLE_RATE = 16_000  # Hz
N_FFT = 400  # samples: a 25 ms window
HOP_LENGTH = 160  # samples: a frame every 10 ms

CHUNK_SECONDS = 30  # the window that stock Whisper takes
N_SAMPLES = CHUNK_SECONDS * SAMPLE_RATE  # 480,000
N_FRAMES = N_SAMPLES // HOP_LENGTH  # 3,000
FRAMES_PER_SECOND = SAMPLE_RATE // HOP_LENGTH  # 100
FRAMES_PER_POSITION = 2  # the encoder's second convolution halves the time axis

# A window centred up to 200 samples (N_FFT / 2) after the last sample still sees it: that is two frames more than
# ceil(n / 160). All frames after those see digital silence only.
EXTRA_FRAMES = 2

# Dynamic range: frames are clipped 8 decades (80 dB of power) under the clip's loudest bin, and scaled by (x + 4) / 4;
# so 8 decades are 2.0 in the stored unit. Digital silence is log10(1e-10) = -10, which scales to -1.5.
FLOOR_BELOW_MAX = 2.0
SILENT_LOG_MEL = -1.5

# OpenBLAS, NumPy's BLAS, starts threads for products of more multiplications than 2^18, and they hold a core by waiting
# for work that does not come for a tenth of a second: recognition after it took a quarter longer.
SINGLE_THREADED_PRODUCT = 2**17


def n_frames(n_samples: int) -> int:
    """Frames that `log_mel` keeps for a waveform of `n_samples` at 16 kHz: ceil(n/160) + 2.

    Clips of up to 30 s never have more than the 3,000 frames that WhisperFeatureExtractor gives.

    >>> n_frames(16_000), n_frames(480_000)
    (102, 3000)
    """
    frames = -(-n_samples // HOP_LENGTH) + EXTRA_FRAMES
    return min(frames, N_FRAMES) if n_samples <= N_SAMPLES else frames


def log_mel(waveform: np.ndarray, *, n_mels: int = 80, engine: str = "transformers") -> np.ndarray:
    """Unpadded log-Mel spectrogram of a waveform.

    Parameters
    ----------
    waveform : float32, shape (n_samples,), in [-1, 1], 16 kHz mono
    n_mels : 80 for whisper-tiny … large-v2, 128 for large-v3 and turbo
    engine : "transformers" is WhisperFeatureExtractor's arithmetic in PyTorch's float32, which other recipes store:
        `pad_to` restores their arrays within 1e-6; "numpy" needs neither torch nor transformers, for serving, and
        differs from it by less than 1e-3 in single quiet bins (float64 against float32 rounding).

    Returns
    -------
    float32, shape (n_mels, n_frames(n_samples))
    """
    waveform = np.ascontiguousarray(waveform, dtype=np.float32)
    if waveform.ndim != 1 or waveform.size == 0:
        raise ValueError(f"a waveform has shape (n_samples,) with n_samples > 0, not {waveform.shape}")
    keep = n_frames(waveform.size)
    # The last two frames are right only if the transform sees the silence after the clip, as it does when padded.
    tail = N_FFT + HOP_LENGTH
    if waveform.size <= N_SAMPLES:
        tail = min(tail, N_SAMPLES - waveform.size)
    padded = np.concatenate([waveform, np.zeros(tail, dtype=np.float32)])
    if engine == "transformers":
        return _log_mel_torch(padded, n_mels, keep)
    if engine == "numpy":
        return np.ascontiguousarray(_log_mel_numpy(padded, n_mels)[:, :keep], dtype=np.float32)
    raise ValueError(f"engine is 'transformers' or 'numpy', not {engine!r}")


def pad_to(mel: np.ndarray, frames: int = N_FRAMES) -> np.ndarray:
    """Refill an unpadded log-Mel to `frames`, with what the transform of digital silence would have given.

    Silence is clipped to 8 decades under the clip's maximum, hence the constant max(mel.max() - 2, -1.5); for
    frames = 3000 the result equals WhisperFeatureExtractor on the padded waveform. A longer mel is cut.

    Parameters
    ----------
    mel : float32 or float16, shape (n_mels, n_frames)

    Returns
    -------
    float32, shape (n_mels, frames)
    """
    mel = np.asarray(mel, dtype=np.float32)
    if mel.shape[1] >= frames:
        return np.ascontiguousarray(mel[:, :frames])
    fill = max(float(mel.max()) - FLOOR_BELOW_MAX, SILENT_LOG_MEL) if mel.size else SILENT_LOG_MEL
    out = np.full((mel.shape[0], frames), fill, dtype=np.float32)
    out[:, : mel.shape[1]] = mel
    return out


def _log_mel_torch(waveform: np.ndarray, n_mels: int, keep: int) -> np.ndarray:
    """The extractor's arithmetic without what it repeats for each clip, frame by frame in memory.

    The transform leaves its frames one after the other; with channels first everything after it would walk across
    them, and absolute values would take a root only to square it again: together two thirds more time. What is stored
    has frames first, too, so the result is a view that is turned back at no cost.
    """
    import torch  # lazily: serving must not import it

    window, filters = _torch_constants(n_mels)
    half = N_FFT // 2  # reflected at both ends, as torch.stft does by itself, five times slower
    edges = np.concatenate([waveform[half:0:-1], waveform, waveform[-2 : -half - 2 : -1]])
    with torch.inference_mode():
        spectrum = torch.stft(
            torch.from_numpy(edges), N_FFT, HOP_LENGTH, window=window, center=False, return_complex=True
        )
        bins = spectrum.T[:keep].numpy()  # also without its last frame, which the extractor drops
        power = np.square(np.real(bins))
        power += np.square(np.imag(bins))
        log = (torch.from_numpy(power) @ filters).clamp_(min=1e-10).log10_()
        log = log.clamp_(min=log.max() - 8.0)
        return log.add_(4.0).div_(4.0).numpy().T


@cache
def _torch_constants(n_mels: int):
    """Hann window (N_FFT,) and Mel filters (N_FFT // 2 + 1, n_mels), those of WhisperFeatureExtractor itself."""
    import torch
    from transformers import WhisperFeatureExtractor

    filters = WhisperFeatureExtractor(feature_size=n_mels).mel_filters
    return torch.hann_window(N_FFT), torch.from_numpy(np.ascontiguousarray(filters, dtype=np.float32))


def _log_mel_numpy(waveform: np.ndarray, n_mels: int) -> np.ndarray:
    """The extractor's arithmetic in NumPy: reflected edges, periodic Hann window, power, Mel filters, log, clip."""
    edges = np.pad(waveform.astype(np.float64), N_FFT // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(edges, N_FFT)[::HOP_LENGTH][:-1]  # its last frame is dropped
    window = np.hanning(N_FFT + 1)[:-1]
    power = np.abs(np.fft.rfft(frames * window, axis=1)) ** 2
    filters = mel_filters(n_mels)
    rows = max(1, SINGLE_THREADED_PRODUCT // filters.size)
    mel = np.concatenate([power[i : i + rows] @ filters for i in range(0, len(power), rows)])
    log = np.log10(np.maximum(mel, 1e-10))
    log = np.maximum(log, log.max() - 8.0)
    return ((log + 4.0) / 4.0).T.astype(np.float32)


@cache
def mel_filters(n_mels: int) -> np.ndarray:
    """Mel filter bank on the Slaney scale with Slaney area normalisation, 0 to 8,000 Hz, as Whisper uses.

    The scale is linear (200/3 Hz a Mel) below 1 kHz and logarithmic (27 steps to a factor of 6.4) above
    (M. Slaney, Auditory Toolbox, 1998). Written out because serving carries neither librosa nor transformers.

    Returns float64, shape (N_FFT // 2 + 1, n_mels).
    """
    linear, knee_hz, log_step = 200.0 / 3, 1000.0, np.log(6.4) / 27
    top_mel = knee_hz / linear + np.log(SAMPLE_RATE / 2 / knee_hz) / log_step
    mels = np.linspace(0.0, top_mel, n_mels + 2)
    knee_mel = knee_hz / linear
    corners = np.where(mels < knee_mel, mels * linear, knee_hz * np.exp(log_step * (mels - knee_mel)))
    bins = np.linspace(0.0, SAMPLE_RATE / 2, N_FFT // 2 + 1)[:, None]
    rising = (bins - corners[:-2]) / np.diff(corners)[:-1]
    falling = (corners[2:] - bins) / np.diff(corners)[1:]
    triangles = np.maximum(0.0, np.minimum(rising, falling))
    return triangles * (2.0 / (corners[2:] - corners[:-2]))
