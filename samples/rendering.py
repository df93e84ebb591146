"""Text to sound to file: espeak-ng speaks, numpy places the speech in its recording, ffmpeg encodes it.

The same text, speaker and seed give the same samples, and the same ffmpeg gives the same bytes of them: no clock, no
encoder name and no random state is left in a file.
"""

import re
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile
from sentences import normalise
from voices import Speaker

RATE_HZ = 22_050  # espeak-ng's own rate: nothing is resampled before the encoder
MP3 = ("-c:a", "libmp3lame", "-abr", "1", "-b:a", "20k")


class ReadingError(ValueError):
    """espeak-ng does not read a sentence character by character as Cantonese."""


def check_reading(text: str) -> None:
    """Refuse a text of which espeak-ng drops a character, spells one in English or reads one as two syllables.

    Every Cantonese syllable in espeak-ng's phoneme output ends in exactly one tone digit, so their number must be that
    of the characters; a switch of language is shown as ``(en)``.
    """
    command = ["espeak-ng", "-v", "yue", "-q", "-x", text]
    phonemes = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "(" in phonemes or len(re.findall(r"\d", phonemes)) != len(normalise(text)):
        raise ReadingError(f"espeak-ng does not read {text!r} as Cantonese: {phonemes.strip()!r}")


def speak(text: str, speaker: Speaker, rng: np.random.Generator) -> np.ndarray:
    """Speech without silence at its ends, float64 (n_samples,) at RATE_HZ; speed and pitch vary a little per clip."""
    check_reading(text)
    speed, pitch = speaker.speed + rng.integers(-3, 4), speaker.pitch + rng.integers(-2, 3)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        options = ["-v", speaker.voice, "-s", str(speed), "-p", str(pitch), "-w", str(path)]
        subprocess.run(["espeak-ng", *options, text], check=True, capture_output=True)
        samples, rate_hz = soundfile.read(path)
    if rate_hz != RATE_HZ:
        raise ReadingError(f"espeak-ng gave {rate_hz} Hz, not {RATE_HZ}")
    loud = np.flatnonzero(np.abs(samples) > 0.003)
    return samples[loud[0] : loud[-1] + 1]


def silence(seconds: float) -> np.ndarray:
    """Digital silence, float64 (n_samples,)."""
    return np.zeros(round(seconds * RATE_HZ))


def room(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Set the level (peak −10 to −3 dB of full scale) and add the faint noise of a quiet room (−66 to −56 dB)."""
    peak = 10 ** (rng.uniform(-10, -3) / 20)
    floor = 10 ** (rng.uniform(-66, -56) / 20)
    loudest = max(np.abs(samples).max(), 1e-9)
    return samples * (peak / loudest) + rng.normal(0, floor, len(samples))


def recording(text: str, speaker: Speaker, seed: int) -> np.ndarray:
    """One clip: the sentence with 0.15 to 0.25 s of room before and 0.1 to 0.4 s after it, float64 (n_samples,)."""
    rng = np.random.default_rng(seed)
    speech = speak(text, speaker, rng)
    lead, tail = rng.uniform(0.15, 0.25), rng.uniform(0.1, 0.4)
    return room(np.concatenate([silence(lead), speech, silence(tail)]), rng)


def pink_noise(n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """Noise whose power falls by 3 dB an octave, root mean square 1, float64 (n_samples,)."""
    spectrum = np.fft.rfft(rng.normal(size=n_samples))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 20))
    noise = np.fft.irfft(spectrum, n_samples)
    return noise / np.sqrt(np.mean(noise**2))


def encode(samples: np.ndarray, path: Path, options: tuple[str, ...] = MP3, *, filters: tuple[str, ...] = ()) -> None:
    """Write mono samples at RATE_HZ to ``path`` as ``options`` say; a file has its name only when it is whole."""
    pcm = (np.clip(samples, -1, 1) * 32767).round().astype("<i2").tobytes()
    partial = path.with_name("partial-" + path.name)
    source = ["-f", "s16le", "-ar", str(RATE_HZ), "-ac", "1", "-i", "pipe:0"]
    clean = ["-map_metadata", "-1", "-fflags", "+bitexact", "-flags:a", "+bitexact", "-flags:v", "+bitexact"]
    command = ["ffmpeg", "-v", "error", "-nostdin", "-y", "-threads", "1", *source, *filters, *options, *clean]
    subprocess.run([*command, str(partial)], input=pcm, check=True)
    partial.replace(path)
