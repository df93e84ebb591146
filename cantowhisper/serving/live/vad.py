"""Silero VAD over sound that has no end yet: it goes on where it stopped."""

import numpy as np

from cantowhisper.serving.segments import WINDOW

_CONTEXT = 64  # samples of the window before that silero wants in front of each (snakers4/silero-vad, 16 kHz)
_STATE = (1, 1, 128)  # of its recurrent layer


class VoiceDetector:
    """Probabilities of speech, window by window; one detector for one speaker."""

    def __init__(self):
        from faster_whisper.vad import get_vad_model  # 0.3 s to import, and only recognition needs it

        self._session = get_vad_model().session  # one for all detectors; what is one speaker's is the state below
        self._h, self._c = np.zeros(_STATE, np.float32), np.zeros(_STATE, np.float32)
        self._context = np.zeros(_CONTEXT, np.float32)

    def __call__(self, waveform: np.ndarray) -> np.ndarray:
        """For whole windows (float32, shape (n * 512,), 16 kHz): float32, shape (n,), as the offline detector says."""
        windows = waveform.reshape(-1, WINDOW)
        if not len(windows):
            return np.zeros(0, np.float32)
        before = np.vstack([self._context[None], windows[:-1, -_CONTEXT:]])
        self._context = windows[-1, -_CONTEXT:].copy()
        inputs = {"input": np.hstack([before, windows]).astype(np.float32), "h": self._h, "c": self._c}
        probabilities, self._h, self._c = self._session.run(None, inputs)
        return probabilities.reshape(-1)
