"""Recordings of several speakers, made of real clips: who says what, and when."""

import csv
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.long_form import CLIPS_A_RECORDING, PAUSE_S
from benchmarks.real_clips import SETS
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE

CHOOSING = ("zh-TW", "ja", "de", "en")  # languages whose clips are in no table
AT_TABLE, MOST_TURNS = 3, 4  # speakers of a conversation, and turns of each at most
ONCE_EACH = 6  # speakers


class Turn(NamedTuple):
    """What one speaker says at a stretch. Times are in seconds of the recording."""

    start_s: float
    end_s: float
    speaker: str
    sentence: str


class Clip(NamedTuple):
    path: Path
    speaker: str
    sentence: str


@dataclass(frozen=True)
class Recording:
    """waveform : float32, shape (n_samples,), 16 kHz"""

    name: str
    waveform: np.ndarray
    turns: tuple[Turn, ...]


def long_forms(speech: Path) -> list[Recording]:
    """The Cantonese recordings of `long_form`: one speaker, or six that speak once each, nearly all of them."""
    speakers = {clip.sentence: clip.speaker for clip in clips_of(speech / SETS["zh-HK"][0])}
    turns = defaultdict(list)
    for row in _table(speech / "long_form/segments.tsv"):
        turn = Turn(float(row["start"]), float(row["end"]), speakers[row["sentence"]], row["sentence"])
        turns[row["path"]].append(turn)
    folder = speech / "long_form"
    return [Recording(name, load_audio(folder / name), tuple(said)) for name, said in sorted(turns.items())]


def in_table_order(clips: Sequence[Clip]) -> list[list[Clip]]:
    """Neighbours in a release's table, five a recording."""
    return [list(clips[k : k + CLIPS_A_RECORDING]) for k in range(0, len(clips), CLIPS_A_RECORDING)]


def conversations(clips: Sequence[Clip]) -> list[list[Clip]]:
    """Three speakers who take turns, of all who have two clips or more; each speaker is in one conversation."""
    talkative = sorted((said[:MOST_TURNS] for said in _by_speaker(clips) if len(said) > 1), key=len, reverse=True)
    tables = [talkative[k : k + AT_TABLE] for k in range(0, len(talkative), AT_TABLE)]
    return [list(filter(None, chain.from_iterable(zip_longest(*table)))) for table in tables if len(table) > 1]


def once_each(clips: Sequence[Clip]) -> list[list[Clip]]:
    """Six speakers who speak once."""
    first = [said[0] for said in _by_speaker(clips)]
    return [first[k : k + ONCE_EACH] for k in range(0, len(first) - ONCE_EACH + 1, ONCE_EACH)]


def alone(clips: Sequence[Clip]) -> list[list[Clip]]:
    """One speaker, of all who have three clips or more."""
    return [said[:MOST_TURNS] for said in _by_speaker(clips) if len(said) > 2]


def _by_speaker(clips: Sequence[Clip]) -> list[list[Clip]]:
    own = defaultdict(list)
    for clip in clips:
        own[clip.speaker].append(clip)
    return list(own.values())


def joined(name: str, clips: Sequence[Clip]) -> Recording:
    """Clips one after the other, with PAUSE_S of silence between."""
    pause, parts, turns, at = np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32), [], [], 0
    for clip in clips:
        sound = load_audio(clip.path)
        turns.append(Turn(at / SAMPLE_RATE, (at + sound.size) / SAMPLE_RATE, clip.speaker, clip.sentence))
        parts += [sound, pause]
        at += sound.size + pause.size
    return Recording(name, np.concatenate(parts), tuple(turns))


def clips_of(folder: Path) -> list[Clip]:
    """All clips of a folder in the layout of a Common Voice release, in the order of its table."""
    rows = _table(folder / "validated.tsv")
    return [Clip(folder / "clips" / row["path"], row["client_id"], row["sentence"]) for row in rows]


def for_choosing(speech: Path) -> dict[str, list[list[Clip]]]:
    """Recordings of each kind, of the languages that are in no table."""
    found = defaultdict(list)
    for language in CHOOSING:
        clips = clips_of(speech / (SETS[language][0] if language in SETS else f"common_voice_6_layout/{language}"))
        for kind in (in_table_order, conversations, once_each, alone):
            found[kind.__name__] += kind(clips)
    return found


def _table(path: Path) -> list[dict]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
