"""Several sources as one, with a cap in hours and weights: Mandarin beside Cantonese, own recordings beside a release.

Only training clips are capped: what is held out stays what the sources say. What a cap leaves out is listed among
the rejects, like everything else.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from cantowhisper.features.sources.clip import Clip, Source, seconds_of

BEYOND = "beyond the hours asked for"
SEED = "cantowhisper"


class Combined:
    """Sources one after the other.

    Parameters
    ----------
    hours : cap on a source's training clips, or None
    weights : weighted sources are mixed in the ratio of their weights, as much of them as that allows; a source
        without a weight is taken whole
    """

    def __init__(self, sources: Sequence[Source], *, hours: Sequence[float | None], weights: Sequence[float | None]):
        self.sources, self.hours, self.weights = sources, hours, weights
        self.name = " + ".join(source.name for source in sources)
        self.language = sources[0].language
        licenses = {source.license for source in sources}
        self.license = licenses.pop() if len(licenses) == 1 else "other"
        self.about = " ".join(dict.fromkeys(source.about for source in sources))
        self.terms = " ".join(dict.fromkeys(source.terms for source in sources if source.terms))

    def clips(self, *, split_policy: str) -> Iterator[Clip]:
        found = [list(source.clips(split_policy=split_policy)) for source in self.sources]
        caps = list(self.hours)
        if any(self.weights):
            caps = self._weighed(found)
        for clips, cap in zip(found, caps, strict=True):
            train = [clip for clip in clips if clip.split == "train"]
            yield from cap_hours(train, cap) if cap is not None else train
        for clips in found:
            yield from (clip for clip in clips if clip.split != "train")

    def _weighed(self, found: list[list[Clip]]) -> list[float | None]:
        """Caps in hours that bring the weighted sources into the ratio of their weights."""
        available = []
        for clips, cap in zip(found, self.hours, strict=True):
            hours = sum(seconds_of(clip) for clip in clips if clip.split == "train") / 3600
            available.append(hours if cap is None else min(hours, cap))
        weighted = [h / w for h, w in zip(available, self.weights, strict=True) if w]
        share = min(weighted)
        return [w * share if w else cap for w, cap in zip(self.weights, self.hours, strict=True)]


def cap_hours(clips: list[Clip], hours: float) -> list[Clip]:
    """The same clips, those of speakers beyond `hours` marked with an objection."""
    kept = within_hours([(clip.speaker or clip.id, seconds_of(clip)) for clip in clips], hours)
    return [clip if keep else replace(clip, objection=BEYOND) for clip, keep in zip(clips, kept, strict=True)]


def within_hours(clips: Sequence[tuple[str, float]], hours: float, *, seed: str = SEED) -> list[bool]:
    """Which of the clips (speaker, seconds) to keep: whole speakers, in a seeded order, that fit into `hours`.

    Half of the clips of every speaker would be as many hours of fewer habits of speech to learn; and a speaker that
    was cut in two could be met again elsewhere.
    """
    seconds: dict[str, float] = {}
    for speaker, length in clips:
        seconds[speaker] = seconds.get(speaker, 0.0) + length
    budget, chosen = hours * 3600 + 1e-6, set()
    for speaker in sorted(seconds, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest()):
        if seconds[speaker] <= budget:
            chosen.add(speaker)
            budget -= seconds[speaker]
    return [speaker in chosen for speaker, _ in clips]
