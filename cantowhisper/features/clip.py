"""One clip, from its bytes to what is stored. The same function runs here, in worker processes and on a cluster."""

import os
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import xxhash

from cantowhisper.features.config import FeatureConfig
from cantowhisper.features.plan import TOO_LONG, PlannedClip, Reject
from cantowhisper.speech.audio import AudioError, header_seconds, read_sound
from cantowhisper.speech.mel import SAMPLE_RATE, log_mel
from cantowhisper.speech.rates import SpeechRate, implausible_speed

STEPS = 128  # of storage "uint8" in one unit of log-Mel
DIGEST_BYTES = 10  # two of 10 million different recordings agree by chance once in 10^10 datasets
REASONS = {"unreadable": "unreadable", "empty": "empty"}  # of AudioError


@dataclass(frozen=True, slots=True)
class Features:
    mel: np.ndarray  # float16 (n_frames, n_mels)
    seconds: float


@dataclass(frozen=True)
class Chunk:
    """What a worker sends back: columns that are ready to be written, so that the parent only passes them on."""

    columns: pa.RecordBatch  # of contracts.FEATURE_COLUMNS
    digests: list[bytes]  # of the features of each row: equal ones are the same recording
    rejects: list[Reject]


def clip_features(
    clip: PlannedClip, config: FeatureConfig, rates: Mapping[str, SpeechRate] | None = None
) -> Features | str:
    """Decode a recording and compute its log-Mel spectrogram, or say why it is rejected."""
    raw = b""
    try:
        raw = clip.recording.read()
        sound = read_sound(raw, max_seconds=config.max_seconds)
    except (FileNotFoundError, IsADirectoryError):
        return "missing file"
    except OSError:
        return "unreadable"
    except AudioError as error:
        return TOO_LONG + _length(raw) if error.reason == "too_long" else REASONS[error.reason]
    waveform, seconds = sound.waveform, sound.waveform.size / SAMPLE_RATE
    if sound.lost_seconds > config.max_lost_share * (seconds + sound.lost_seconds):
        return "damaged or cut off"
    if seconds < config.min_seconds:
        return "too short"
    if max(waveform.max(), -waveform.min()) < config.min_peak:
        return "silent"
    if implausible_speed(clip.text, seconds, clip.language, rates):
        return "implausible characters per second"
    return Features(stored(log_mel(waveform, n_mels=config.n_mels), config.storage), seconds)


def _length(raw: bytes) -> str:
    """What the header says of a recording that is too long: decoding stopped there, and does not begin again."""
    try:
        seconds = header_seconds(raw)
    except AudioError:
        seconds = 0.0
    return f": {seconds:.1f} s" if seconds else ""


def stored(mel: np.ndarray, storage: str = "float16") -> np.ndarray:
    """float32 (n_mels, n_frames) as it is stored: float16 (n_frames, n_mels), which PyTorch rounds quicker than NumPy.

    "uint8" rounds to multiples of 1/128 before: in the 80 dB that a clip keeps, 2 in this unit, that is 256 steps, and
    at most 1/256 away. Eight bits of each value then say nothing, and compression takes them out; every reader of
    float16 reads it, `pad_to` restores it within that bound, and no scale has to travel along.
    """
    import torch

    frames = torch.from_numpy(mel.T)
    if storage == "uint8":
        frames = frames.mul(STEPS).round_().div_(STEPS)
    return frames.half().contiguous().numpy()


def process_chunk(
    clips: list[PlannedClip], split: str, config: FeatureConfig, rates: Mapping[str, SpeechRate] | None = None
) -> Chunk:
    """`clip_features` of some clips as columns, in their order."""
    kept, found, rejects = [], [], []
    for clip in clips:
        features = clip_features(clip, config, rates)
        if isinstance(features, str):
            rejects.append(Reject(clip.id, split, features))
        else:
            kept.append(clip)
            found.append(features)
    columns = {
        "id": pa.array([clip.id for clip in kept], pa.string()),
        "features": _nested([features.mel for features in found], config.n_mels),
        "text": pa.array([clip.text for clip in kept], pa.string()),
        "duration_s": pa.array([features.seconds for features in found], pa.float32()),
        "speaker": pa.array([clip.speaker for clip in kept], pa.string()),
        "source": pa.array([clip.source for clip in kept], pa.string()),
        "language": pa.array([clip.language for clip in kept], pa.string()),
        "labelled_by": pa.array([clip.labelled_by for clip in kept], pa.string()),
        "gender": pa.array([clip.traits[0] for clip in kept], pa.string()),
        "age": pa.array([clip.traits[1] for clip in kept], pa.string()),
    }
    digests = [xxhash.xxh3_128_digest(features.mel)[:DIGEST_BYTES] for features in found]
    return Chunk(pa.RecordBatch.from_pydict(columns), digests, rejects)


def _nested(mels: list[np.ndarray], n_mels: int) -> pa.ListArray:
    """Arrays (n_frames, n_mels) as one Arrow array of lists of lists, over a single buffer: no Python numbers."""
    values = np.concatenate([mel.ravel() for mel in mels]) if mels else np.zeros(0, np.float16)
    frames = pa.ListArray.from_arrays(np.arange(0, values.size + 1, n_mels, dtype=np.int32), pa.array(values))
    ends = np.cumsum([0] + [len(mel) for mel in mels], dtype=np.int32)
    return pa.ListArray.from_arrays(ends, frames)


def start_worker() -> None:
    """Runs first in every worker process."""
    import torch

    torch.set_num_threads(1)  # the processes are the parallelism; and the bytes do not depend on the core count
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A killed parent cannot tell its workers to stop; they would wait for work for ever."""
    import multiprocessing

    multiprocessing.parent_process().join()
    os._exit(1)
