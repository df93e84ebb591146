"""Unpadded log-Mel features against Whisper's own extractor."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cantowhisper.speech.mel import N_FRAMES, N_SAMPLES, SAMPLE_RATE, log_mel, mel_filters, n_frames, pad_to


def reference(waveform: np.ndarray, n_mels: int) -> np.ndarray:
    """What every other recipe stores: WhisperFeatureExtractor on the clip padded to 30 s, (n_mels, 3000)."""
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor(feature_size=n_mels)
    return extractor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="np")["input_features"][0]


def voiced(n_samples: int, *, seed: int, loudness: float = 0.3) -> np.ndarray:
    """Something like speech: harmonics of a gliding pitch that come and go, over noise 50 dB below."""
    rng = np.random.default_rng(seed)
    t = np.arange(n_samples) / SAMPLE_RATE
    pitch = 2 * np.pi * (120 * t + 15 * np.sin(2 * np.pi * 0.7 * t))
    tone = sum(np.sin(k * pitch) / k for k in range(1, 12)) * (0.5 + 0.5 * np.sin(2 * np.pi * 3 * t))
    return (loudness * (tone / 3 + 0.003 * rng.standard_normal(n_samples))).clip(-1, 1).astype(np.float32)


@pytest.mark.parametrize("n_mels", [80, 128])
@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    n_samples=st.one_of(
        st.integers(1, 2_000),
        st.integers(2_000, N_SAMPLES),
        st.integers(N_SAMPLES - 600, N_SAMPLES),
        st.integers(1, 2_999).map(lambda frames: 160 * frames),
    ),
    seed=st.integers(0, 9),
    loudness=st.sampled_from([1.0, 0.3, 1e-3]),
)
def test_refilled_features_are_the_extractors(n_mels, n_samples, seed, loudness):
    waveform = voiced(n_samples, seed=seed, loudness=loudness)
    expected = reference(waveform, n_mels)
    mel = log_mel(waveform, n_mels=n_mels)
    assert mel.shape == (n_mels, n_frames(n_samples)) and mel.dtype == np.float32
    assert np.abs(pad_to(mel) - expected).max() <= 1e-6
    assert np.abs(pad_to(mel.astype(np.float16)) - expected).max() <= 5e-4


@pytest.mark.parametrize("n_samples", [1, 159, 160, 161, 16_000, 47_999, N_SAMPLES])
def test_frames_follow_the_duration(n_samples):
    expected = min(-(-n_samples // 160) + 2, N_FRAMES)
    assert n_frames(n_samples) == expected
    assert log_mel(voiced(n_samples, seed=1)).shape == (80, expected)


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("n_samples", [400, 20_800, 72_000, N_SAMPLES])
def test_numpy_engine_gives_nearly_the_same(n_samples, n_mels):
    waveform = voiced(n_samples, seed=2)
    with_torch = log_mel(waveform, n_mels=n_mels)
    without = log_mel(waveform, n_mels=n_mels, engine="numpy")
    assert without.shape == with_torch.shape
    assert np.abs(without - with_torch).max() < 1e-3


OTHER_THREADS = """
import os, time
import numpy as np, psutil
from cantowhisper.speech.mel import log_mel

def others_s(work):  # processor time that work costs in threads other than this one, also after it has returned
    spent = lambda: sum(t.user_time + t.system_time for t in psutil.Process().threads() if t.id != os.getpid())
    before = spent()
    work()
    time.sleep(0.3)
    return round(spent() - before, 6)

waveform = np.random.default_rng(0).normal(size=16_000 * 20).astype(np.float32)
square = np.ones((1500, 1500), np.float32)
log_mel(waveform, engine="numpy")
time.sleep(0.3)
for n_mels in (80, 128):
    print(others_s(lambda: log_mel(waveform, n_mels=n_mels, engine="numpy")))
print(others_s(lambda: square @ square))
"""


def test_the_numpy_engine_leaves_the_other_threads_asleep():
    """What runs next has both cores. OpenBLAS's threads would wait for more work by spinning, for a tenth of a second.

    A thread that sleeps has no processor time, however busy the machine; and a product that is large enough shows that
    theirs is seen.
    """
    variables = {**os.environ, "OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [sys.executable, "-c", OTHER_THREADS], capture_output=True, text=True, check=True, env=variables
    )
    *engine_s, product_s = (float(line) for line in done.stdout.split())
    if product_s == 0:
        pytest.skip("this NumPy has no second thread to wake: one core, or another BLAS")
    assert engine_s == [0, 0]


@pytest.mark.parametrize("n_mels", [80, 128])
def test_filters_are_librosas(n_mels):
    import librosa

    expected = librosa.filters.mel(sr=SAMPLE_RATE, n_fft=400, n_mels=n_mels)
    assert np.allclose(mel_filters(n_mels), expected.T, atol=1e-8)


def test_a_tone_lights_the_filter_at_its_frequency():
    tone = 0.5 * np.sin(2 * np.pi * 1_000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    loudest = log_mel(tone)[:, 10:90].mean(axis=1).argmax()
    centres_hz = mel_filters(80).argmax(axis=0) * SAMPLE_RATE / 400
    assert abs(centres_hz[loudest] - 1_000) <= 40


def test_digital_silence_is_the_constant():
    assert (pad_to(log_mel(np.zeros(8_000, np.float32))) == -1.5).all()


@pytest.mark.parametrize("engine", ["numpy", "transformers"])
def test_longer_than_the_window_is_kept_and_cut_on_request(engine):
    mel = log_mel(voiced(N_SAMPLES + SAMPLE_RATE, seed=3), engine=engine)
    assert mel.shape[1] == 3_102 and pad_to(mel).shape == (80, N_FRAMES)


@pytest.mark.parametrize("waveform", [np.zeros(0, np.float32), np.zeros((2, 400), np.float32)])
def test_only_a_mono_waveform_is_taken(waveform):
    with pytest.raises(ValueError, match="shape"):
        log_mel(waveform)


def test_real_clips(real_speech):
    from cantowhisper.speech.audio import load_audio

    clips = sorted((real_speech / "common_voice_17_layout").glob("*/zh-*/clips/*.mp3"))[::20]
    assert len(clips) == 10
    for clip in clips:
        waveform = load_audio(clip)
        assert np.abs(pad_to(log_mel(waveform)) - reference(waveform, 80)).max() <= 1e-6
        assert np.abs(log_mel(waveform, engine="numpy") - log_mel(waveform)).max() < 1e-3
