"""Which language a recording is in, for a model that knows many and a caller who named none.

Whisper was trained to tell it from 30 s. A short piece alone misleads it, and the longest or the first one is still one
piece: so the first pieces of speech are put one after the other, up to 30 s, and heard once. On joined clips of Common
Voice (whisper-base, six recordings of three clips a language) that was right for 4 of 6 Georgian and 4 of 6 Tamil ones;
the mean of the pieces' log-probabilities for 3 and 3, the longest piece for 2 and 2, the first for 0 and 2; English,
German and Japanese were right by all of them, but for one first piece. It also costs one pass instead of several.
"""

from collections.abc import Sequence

import numpy as np

from cantowhisper.serving.segments import Span
from cantowhisper.speech.mel import CHUNK_SECONDS, SAMPLE_RATE

PAUSE_S = 0.3  # between two pieces


def first_speech(waveform: np.ndarray, spans: Sequence[Span]) -> np.ndarray:
    """The beginning of what is said, without the pauses: float32, at most 30 s at 16 kHz.

    Pieces in which VAD heard a voice, where there are such.
    """
    limit, pause = CHUNK_SECONDS * SAMPLE_RATE, np.zeros(int(PAUSE_S * SAMPLE_RATE), np.float32)
    joined, n = [], 0
    for span in [s for s in spans if not s.by_level] or spans:
        joined += [waveform[span.start : span.end], pause]
        n += span.end - span.start + pause.size
        if n >= limit:
            break
    return np.concatenate(joined)[:limit] if joined else np.zeros(0, np.float32)
