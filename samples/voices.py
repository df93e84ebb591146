"""The speakers of the corpus: espeak-ng voice variants, each with its own speed and pitch.

A *voice* is an espeak-ng variant of Cantonese (``yue+m3``); a *speaker* is a voice with a speed and a pitch, and has
one client_id. No speaker occurs in two splits. Most test speakers have a voice that train has too (a known voice at
another speed and pitch); the speakers of UNSEEN_VOICE occur in test only.
"""

import hashlib
from dataclasses import dataclass

KNOWN_VOICES = ("yue+m1", "yue+m2", "yue+m3", "yue+m4", "yue+f1", "yue+f2", "yue+f4")
UNSEEN_VOICE = "yue+f3"

# (words a minute, pitch 0..99) of the speakers of a known voice. The settings of dev and test lie between those of
# train: an unknown speaker, not an unknown way of speaking.
SETTINGS = {
    "train": ((132, 38), (136, 62), (140, 46), (144, 30), (148, 54)),
    "dev": ((138, 42),),
    "test": ((134, 50), (146, 44)),
}
UNSEEN_SETTINGS = ((133, 36), (137, 56), (142, 44), (147, 60))


@dataclass(frozen=True)
class Speaker:
    """One synthetic person: ``voice`` as espeak-ng names it, ``speed`` in words a minute, ``pitch`` 0..99."""

    voice: str
    speed: int
    pitch: int

    @property
    def client_id(self) -> str:
        """128 hexadecimal digits, as Common Voice has them."""
        return hashlib.sha512(f"cantowhisper samples {self.voice} {self.speed} {self.pitch}".encode()).hexdigest()

    @property
    def gender(self) -> str:
        """Common Voice's word for it."""
        return "male_masculine" if "+m" in self.voice else "female_feminine"

    @property
    def accent(self) -> str:
        """What the column ``accents`` says; scoring groups by it."""
        return f"espeak-ng {self.voice}"


def speakers(split: str) -> list[Speaker]:
    """The speakers of ``split``. A small shift of pitch per voice keeps voices from all using the same few pitches."""
    found = []
    for i, voice in enumerate(KNOWN_VOICES):
        found += [Speaker(voice, speed, pitch + (5 * i) % 13 - 4) for speed, pitch in SETTINGS[split]]
    return found


def unseen_speakers() -> list[Speaker]:
    """The speakers whose voice occurs in test only."""
    return [Speaker(UNSEEN_VOICE, speed, pitch) for speed, pitch in UNSEEN_SETTINGS]
