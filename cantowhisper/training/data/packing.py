"""Packed windows: several clips in one window of 30 s with short pauses, and the places where each one is heard.

Clips of 4 s fill a window of 30 s to an eighth. Packed windows keep what Whisper knows of long recordings: that speech
continues after a pause, and when each sentence begins and ends.
"""

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from cantowhisper.speech.context import MAX_DECODER_TOKENS
from cantowhisper.speech.mel import EXTRA_FRAMES, FLOOR_BELOW_MAX, FRAMES_PER_POSITION, N_FRAMES, SILENT_LOG_MEL

PAUSE_FRAMES = (10, 100)  # 0.1 to 1 s of silence between two clips


class ClipSize(NamedTuple):
    """What a clip needs of a window: its row, its frames, and its label tokens with prompt and end."""

    row: int
    n_frames: int
    n_tokens: int


class FrameRange(NamedTuple):
    """From where to where a clip is heard in its window, in frames."""

    start: int
    end: int


def fill_windows(clips: Iterable[ClipSize], *, stretch: float = 0.0) -> Iterator[list[ClipSize]]:
    """Clips in their order, cut into windows that hold them, their longest pauses and their tokens.

    `stretch` is the share by which augmentation may lengthen a clip: what fits here fits behind it.
    """
    window, frames, tokens = [], 0, 0
    for clip in clips:
        room = min(math.ceil(clip.n_frames * (1 + stretch)), N_FRAMES)
        pause = PAUSE_FRAMES[1] + FRAMES_PER_POSITION  # and the rounding of the start
        # One more than the tokens of the labels: two times for each clip instead of its own prompt and end.
        if window and (frames + pause + room > N_FRAMES or 1 + tokens + clip.n_tokens > MAX_DECODER_TOKENS):
            yield window
            window, frames, tokens = [], 0, 0
        frames += room + (pause if window else 0)
        tokens += clip.n_tokens
        window.append(clip)
    if window:
        yield window


def join_clips(mels: list[np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, list[FrameRange]]:
    """One log-Mel of several, as if they had been recorded one after the other with digital silence between.

    Parameters
    ----------
    mels : float, shape (n_mels, n_frames) each, unpadded, which fit into 30 s together
    rng : where the pauses come from

    Returns
    -------
    float32 (n_mels, at most 3,000), unpadded, and the span of each clip, which begins at a whole encoder position
    """
    spans, start = [], 0
    for mel in mels:
        end = start + max(mel.shape[1] - EXTRA_FRAMES, 1)  # two frames behind its end still see the clip
        spans.append(FrameRange(start, end))
        pause = int(rng.integers(*PAUSE_FRAMES, endpoint=True))
        start = -(-(end + EXTRA_FRAMES + pause) // FRAMES_PER_POSITION) * FRAMES_PER_POSITION
    length = spans[-1].start + mels[-1].shape[1]
    joined = np.full((mels[0].shape[0], min(length, N_FRAMES)), SILENT_LOG_MEL, dtype=np.float32)
    for mel, span in zip(mels, spans, strict=True):
        joined[:, span.start : span.start + mel.shape[1]] = mel[:, : N_FRAMES - span.start]
    # The loudest bin of the whole window decides what is floor: quiet clips lose what a loud neighbour hides.
    return np.maximum(joined, joined.max() - np.float32(FLOOR_BELOW_MAX)), spans


def timed_labels(labels: list[list[int]], spans: list[FrameRange], *, no_timestamps: int) -> list[int]:
    """Labels of clips that share a window, as Whisper writes them: prompt <|0.00|> text <|3.40|> <|3.90|> text … end.

    `labels` are the ones that each clip has alone, with the token `no_timestamps` at the end of their prompt, which
    goes. Its id is the one before <|0.00|> in every Whisper; times are whole encoder positions of 20 ms.
    """
    prompt = labels[0].index(no_timestamps)
    ids = labels[0][:prompt]
    for label, span in zip(labels, spans, strict=True):
        start, end = (no_timestamps + 1 + round(frame / FRAMES_PER_POSITION) for frame in span)
        ids += [start, *label[prompt + 1 : -1], end]
    return [*ids, labels[0][-1]]
