"""The longer recordings of samples/clips: several sentences with pauses, in the formats that people upload."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rendering import MP3, RATE_HZ, encode, pink_noise, room, silence, speak
from sentences import Sentence
from voices import UNSEEN_VOICE, Speaker

# One still picture would do; the waveform shows at a glance that picture and sound belong together.
VIDEO_FILTERS = ("-filter_complex", "[0:a]showwaves=s=320x180:mode=cline:rate=5:colors=0x2a9d8f,format=yuv420p[v]")
VIDEO = ("-map", "[v]", "-map", "0:a", "-c:v", "libx264", "-crf", "34", "-c:a", "aac", "-b:a", "32k")
# The right channel is quieter than the left, as from a phone held to one side: mixing down must take both.
STEREO_FILTERS = ("-af", "pan=stereo|c0=c0|c1=0.5*c0")


@dataclass(frozen=True)
class Piece:
    """One long recording: file name, domain of its sentences, how many, who speaks in turn, how it is encoded."""

    file: str
    domain: str
    n_sentences: int
    speakers: tuple[Speaker, ...]
    options: tuple[str, ...] = MP3
    filters: tuple[str, ...] = ()
    snr_db: float | None = None


PIECES = (
    Piece("market_morning.mp3", "agriculture_food", 8, (Speaker("yue+m1", 146, 44),)),
    Piece("shopping_prices.mp3", "service_retail", 10, (Speaker("yue+f1", 146, 50),)),
    Piece("bus_and_train.mp3", "automotive_transport", 10, (Speaker("yue+m3", 134, 48),)),
    Piece("phone_numbers.mp3", "language_fundamentals", 8, (Speaker("yue+f2", 134, 46),)),
    Piece("two_people.mp3", "general", 14, (Speaker("yue+m2", 144, 40), Speaker("yue+f4", 146, 52))),
    Piece("street_noise.mp3", "automotive_transport", 6, (Speaker("yue+m4", 140, 48),), snr_db=15),
    Piece("unseen_voice.mp3", "general", 6, (Speaker(UNSEEN_VOICE, 144, 48),)),
    Piece("weather_16k.wav", "nature_environment", 4, (Speaker("yue+f4", 138, 46),), ("-ar", "16000")),
    Piece("clinic_visit.flac", "healthcare", 4, (Speaker("yue+m4", 142, 52),), ("-ar", "16000", "-sample_fmt", "s16")),
    Piece(
        "stereo_44k.mp3",
        "service_retail",
        4,
        (Speaker("yue+m1", 138, 50),),
        ("-ar", "44100", "-ac", "2", "-c:a", "libmp3lame", "-b:a", "64k"),
        STEREO_FILTERS,
    ),
    Piece("voice_memo.m4a", "general", 5, (Speaker("yue+f1", 140, 44),), ("-c:a", "aac", "-b:a", "32k")),
    Piece(
        "voice_message.ogg", "agriculture_food", 5, (Speaker("yue+m2", 148, 50),), ("-c:a", "libopus", "-b:a", "24k")
    ),
    Piece("video_news.mp4", "nature_environment", 5, (Speaker("yue+f2", 146, 50),), VIDEO, VIDEO_FILTERS),
    Piece("silence.wav", "general", 0, (), ("-ar", "16000")),
)
SILENT_SECONDS = 10


def share_out(sentences: list[Sentence]) -> dict[str, list[str]]:
    """The texts of every piece by file name: sentences of its domain, each used once, in the given order."""
    by_domain: dict[str, list[str]] = {}
    for sentence in sentences:
        by_domain.setdefault(sentence.domain, []).append(sentence.text)
    shared = {}
    for piece in PIECES:
        left = by_domain.get(piece.domain, [])
        if len(left) < piece.n_sentences:
            raise ValueError(f"too few sentences of {piece.domain} for {piece.file}")
        shared[piece.file], by_domain[piece.domain] = left[: piece.n_sentences], left[piece.n_sentences :]
    return shared


def assemble(piece: Piece, texts: list[str], seed: int) -> tuple[np.ndarray, list[tuple[float, float, str]]]:
    """The recording, float64 (n_samples,) at RATE_HZ, and (start_s, end_s, text) of every sentence in it."""
    rng = np.random.default_rng(seed)
    if not texts:
        return silence(SILENT_SECONDS), []
    parts, rows = [silence(rng.uniform(0.3, 0.8))], []
    for i, text in enumerate(texts):
        start = sum(map(len, parts))
        parts.append(speak(text, piece.speakers[i % len(piece.speakers)], rng))
        rows.append((start / RATE_HZ, (start + len(parts[-1])) / RATE_HZ, text))
        parts.append(silence(rng.uniform(0.5, 1.0)))
    samples = room(np.concatenate(parts), rng)
    if piece.snr_db is not None:
        speech_level = np.sqrt(np.mean(samples**2))
        samples = samples + pink_noise(len(samples), rng) * speech_level / 10 ** (piece.snr_db / 20)
        samples *= 0.9 / max(0.9, np.abs(samples).max())
    return samples, rows


def render_piece(file: str, texts: list[str], folder: Path) -> list[tuple[float, float, str]]:
    """Write one piece into ``folder`` and return its reference rows."""
    piece = next(piece for piece in PIECES if piece.file == file)
    samples, rows = assemble(piece, texts, seed=random.Random(file).getrandbits(32))
    encode(samples, folder / file, piece.options, filters=piece.filters)
    return rows
