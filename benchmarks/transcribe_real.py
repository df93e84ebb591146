"""The rows of benchmarks.transcribe with real weights: the stock whisper-base on real clips of about 4 s, one by one.

Both programs are used as their users do: waveform in, text out, greedy, every guard of theirs on, int8, the language
named. faster-whisper runs without its voice activity detection, which could only cost it time on a clip.
"""

import statistics
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import ratio
from benchmarks.real_clips import clips_near, paired_interval
from benchmarks.real_programs import faster_whisper, ours
from cantowhisper.speech.text import cer_edits

SECONDS, CLIPS = 4.0, 100


def real_rows(speech: Path, stock: Path, folder: Path, *, threads: int, rounds: int) -> dict:
    """Seconds a clip of both programs in each round, their ratio, and both error rates with the paired difference."""
    clips = clips_near(speech, seconds=SECONDS, n=CLIPS)
    programs = {
        "cantowhisper": ours(stock, folder / "stock", threads=threads),
        "faster-whisper": faster_whisper(stock, folder / "stock", threads=threads, vad=False),
    }
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    texts: dict[str, list[str]] = {}
    for transcribe in programs.values():
        transcribe(clips[0][0])
    for _ in range(rounds):
        for name, transcribe in programs.items():
            started = time.perf_counter()
            texts[name] = [transcribe(waveform) for waveform, _ in clips]
            seconds[name].append(round((time.perf_counter() - started) / len(clips), 4))
    edits = {
        name: np.array([cer_edits(text, said) for text, (_, said) in zip(written, clips, strict=True)])
        for name, written in texts.items()
    }
    cer = {name: 100 * float(each[:, 0].sum() / each[:, 1].sum()) for name, each in edits.items()}
    return {
        "real_short_clips_n": len(clips),
        "real_short_clips_mean_s": round(statistics.mean(w.size for w, _ in clips) / 16_000, 2),
        "real_short_clips_s": seconds,
        "real_short_clip_ratio": ratio(seconds["faster-whisper"], seconds["cantowhisper"]),
        "real_cer": cer,
        "real_cer_difference_points": round(cer["cantowhisper"] - cer["faster-whisper"], 2),
        "real_cer_difference_interval": paired_interval(edits["cantowhisper"], edits["faster-whisper"]),
    }
