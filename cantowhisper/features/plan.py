"""What will be computed, decided before the first recording is opened.

Everything that the tables alone can tell is settled here: identifiers, empty sentences, what two splits share, and
which clips go into which file. So a dataset's layout depends on its source and config only, never on the number of
workers or on which of them was faster, and an interrupted build knows what is left to do.
"""

import hashlib
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import chain

from cantowhisper.contracts import SPLITS, UsageError
from cantowhisper.features.config import FeatureConfig
from cantowhisper.features.limits import TOO_MANY_TOKENS, too_many_tokens
from cantowhisper.features.sources.clip import Clip, FileRecording, Recording, Source, seconds_of, seconds_told
from cantowhisper.features.sources.combined import BEYOND, within_hours
from cantowhisper.features.sources.rows import traits_told
from cantowhisper.speech.language import language_code, language_tag
from cantowhisper.speech.mel import FRAMES_PER_SECOND
from cantowhisper.speech.rates import ENOUGH_CLIPS, SpeechRate, drawn, n_characters, speech_rate
from cantowhisper.speech.text import cer_view, normalize

USUAL_SECONDS = 5.0  # of a clip whose duration the source does not tell
CLIPS_PER_CHUNK = 32  # what a worker gets at a time and one Parquet row group: 2 MB of features, a fifth of a second


@dataclass(frozen=True, slots=True)
class PlannedClip:
    id: str
    text: str  # normalised
    speaker: str  # salted hash, "" if unknown
    source: str
    language: str
    recording: Recording
    labelled_by: str = ""
    traits: tuple[str, str] = ("", "")  # gender and age


TOO_LONG, NOT_ALIGNED = "too long", "not aligned"  # kinds of rejects; their seconds follow


@dataclass(frozen=True, slots=True)
class Reject:
    id: str
    split: str
    reason: str

    @property
    def kind(self) -> str:
        """The reason without what is this clip's alone: "missing file: clips/a.wav" is a missing file."""
        return self.reason.partition(": ")[0]

    @property
    def too_long_s(self) -> float:
        """How long a recording is that was left out for its length, 0 for all others."""
        kind, _, seconds = self.reason.partition(": ")
        return float(seconds.removesuffix(" s")) if kind in (TOO_LONG, NOT_ALIGNED) and seconds else 0.0


@dataclass(frozen=True)
class Shard:
    """One Parquet file to be."""

    split: str
    index: int
    of: int
    clips: list[PlannedClip]

    @property
    def name(self) -> str:
        return f"{self.split}-{self.index:05d}-of-{self.of:05d}.parquet"

    def chunks(self) -> Iterator[list[PlannedClip]]:
        for start in range(0, len(self.clips), CLIPS_PER_CHUNK):
            yield self.clips[start : start + CLIPS_PER_CHUNK]


@dataclass
class Plan:
    shards: list[Shard] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)
    n_source_clips: int = 0
    notes: list[str] = field(default_factory=list)  # what was decided that the source does not say
    checksum: str = ""  # over everything that the source said about its clips
    languages: Counter = field(default_factory=Counter)  # planned clips of each language tag
    rates: dict[str, SpeechRate] = field(default_factory=dict)  # what is believed, by language code

    @property
    def n_planned(self) -> int:
        return sum(len(shard.clips) for shard in self.shards)


def make_plan(source: Source, config: FeatureConfig) -> Plan:
    """List a source and decide each clip's place. Raises what the source raises."""
    by_split: dict[str, list[_Candidate]] = {split: [] for split in SPLITS}
    digest = hashlib.sha256()
    for clip in source.clips(split_policy=config.split_policy):
        digest.update(clip.said())
        by_split[clip.split].append(_candidate(clip, config))  # the row itself, five times as large, is let go
    plan = Plan(n_source_clips=sum(map(len, by_split.values())), checksum=digest.hexdigest())
    _hold_out(by_split, config, plan)
    seen, rated = _Seen(), {}
    for split in HARDEST_TO_REPLACE_FIRST:
        kept = _settled(by_split.pop(split), split, seen, plan.rejects)
        if split == "train" and config.max_hours is not None:
            kept = _capped(kept, config.max_hours, plan.rejects)
        plan.shards += _shards(split, kept, config)
        plan.languages.update(clip.language for clip, _ in kept)
        _draw(kept, rated)
    plan.rates = {code: speech_rate(code, _lengths(clips)) for code, clips in sorted(rated.items())}
    assert plan.n_planned + len(plan.rejects) == plan.n_source_clips
    return plan


def _draw(kept: list["_Settled"], rated: dict[str, list["_Settled"]]) -> None:
    """Add clips to those of each language that say how quickly it is spoken."""
    by_code: dict[str, list[_Settled]] = {}
    for pair in kept:
        by_code.setdefault(language_code(pair[0].language), []).append(pair)
    for code, clips in by_code.items():
        rated[code] = drawn(chain(rated.get(code, ()), clips), lambda pair: pair[0].id)


def _lengths(clips: list["_Settled"]) -> list[tuple[int, float]]:
    """Characters and seconds, where the table tells them or a file at hand does; archives and the Hub are not asked."""
    lengths = []
    for clip, seconds in clips if len(clips) >= ENOUGH_CLIPS else ():
        if not seconds and isinstance(clip.recording, FileRecording):
            seconds = seconds_told(clip.recording)
        if seconds:
            lengths.append((n_characters(clip.text), seconds))
    return lengths


def _hold_out(by_split: dict[str, list["_Candidate"]], config: FeatureConfig, plan: Plan) -> None:
    """Give a source without validation or test clips some of its own: whole speakers, in an order by hash.

    A sentence of an unknown speaker counts as a speaker. Pseudo-labels are not held out where people's are there: a
    model that is chosen by them is chosen for its likeness to the one that wrote them.
    """
    missing = [split for split in ("validation", "test") if not by_split[split]]
    usable = [clip for clip, _, fault in by_split["train"] if not fault]
    written = [clip for clip in usable if not clip.labelled_by]
    voices = Counter(_voice(clip) for clip in written or usable)
    place = _drawn_voices(voices, missing, round(config.hold_out * len(voices)))
    if not place:
        return
    candidates, by_split["train"] = by_split["train"], []
    for candidate in candidates:
        clip, _, fault = candidate
        by_split["train" if fault or (written and clip.labelled_by) else place.get(_voice(clip), "train")].append(
            candidate
        )
    kind = "speakers" if any(clip.speaker for clip, _, _ in candidates) else "sentences"
    taken = " and ".join(f"{list(place.values()).count(split)} are held out for {split}" for split in missing)
    lacks = f"no {' and no '.join(missing)} clips"
    plan.notes.append(f"the source has {lacks}: of its {len(voices)} {kind}, {taken} (hold_out {config.hold_out:g})")
    if usable and not written:
        plan.notes.append(
            "what is held out is pseudo-labelled like the rest: its scores say how near a model is to the one that "
            "wrote the text; choose models on clips that people have transcribed"
        )


def _drawn_voices(voices: Counter, splits: list[str], n_least: int) -> dict[str, str]:
    """{voice: split}, in an order by hash: at least so many voices a split, and more where those have few clips."""
    ordered = sorted(voices, key=lambda voice: hashlib.sha256(f"hold-out/{voice}".encode()).digest(), reverse=True)
    place, most = {}, MOST_HELD_OUT * voices.total()
    for split in splits if n_least else ():
        n_voices = n_clips = 0
        while ordered and (n_voices < n_least or n_clips + voices[ordered[-1]] <= min(ENOUGH_HELD_OUT, most)):
            n_voices, n_clips = n_voices + 1, n_clips + voices[ordered[-1]]
            place[ordered.pop()] = split
    return place


def _voice(clip: PlannedClip) -> str:
    return clip.speaker or f"sentence {sentence_key(clip.text)}"


ENOUGH_HELD_OUT, MOST_HELD_OUT = 30, 0.15  # clips: fewer choose badly between checkpoints; the share of all clips

# What two splits share stays in the one that is harder to replace, and the training clip goes: otherwise a score would
# partly measure memory. Files are written in the same order, so that this holds for equal recordings, too.
HARDEST_TO_REPLACE_FIRST = tuple(reversed(SPLITS))

# A clip, its seconds, and what is wrong with it by itself (None if nothing is).
_Candidate = tuple[PlannedClip, float | None, str | None]
_Settled = tuple[PlannedClip, float | None]  # seconds: None where they are not known


def _candidate(clip: Clip, config: FeatureConfig) -> _Candidate:
    text = normalize(clip.sentence)
    speaker = sys.intern(hash_speaker(clip.speaker, config.salt))
    seconds = clip.seconds or (seconds_of(clip) if config.max_hours else None)
    language = _tag(clip.language or config.language)
    traits = traits_told(clip.gender, clip.age)
    planned = PlannedClip(clip.id, text, speaker, clip.source, language, clip.recording, clip.labelled_by, traits)
    return planned, seconds, clip.objection or _fault(text, clip.votes, language, config)


@cache
def _tag(language: str) -> str:
    """The language's tag, "" where a table's cell names none."""
    try:
        return language_tag(language)
    except UsageError:
        return ""


def _fault(text: str, votes: int, language: str, config: FeatureConfig) -> str | None:
    if not sentence_key(text):
        return "no text"
    if not language:
        return "unknown language"
    if votes < 0:
        return "more down- than up-votes"
    return TOO_MANY_TOKENS if too_many_tokens(text, config.tokenizer) else None


def _settled(candidates: list[_Candidate], split: str, seen: "_Seen", rejects: list[Reject]) -> list[_Settled]:
    """Sort out what the tables show to be wrong; the others with their seconds."""
    kept = []
    for clip, seconds, fault in candidates:
        reason = seen.objection(clip, split, fault)
        if reason:
            rejects.append(Reject(clip.id, split, reason))
        else:
            kept.append((clip, seconds))
    return kept


def _capped(clips: list[_Settled], hours: float, rejects: list[Reject]) -> list[_Settled]:
    keep = within_hours([(clip.speaker or clip.id, seconds or 0.0) for clip, seconds in clips], hours)
    rejects += [Reject(clip.id, "train", BEYOND) for (clip, _), kept in zip(clips, keep, strict=True) if not kept]
    return [pair for pair, kept in zip(clips, keep, strict=True) if kept]


class _Seen:
    """What earlier splits and clips have taken."""

    def __init__(self):
        self.ids: set[str] = set()
        self.speakers: dict[str, str] = {}
        self.sentences: dict[str, str] = {}

    def objection(self, clip: PlannedClip, split: str, fault: str | None) -> str | None:
        """Why this clip cannot be in `split`; None notes it as taken."""
        if clip.id in self.ids:
            return "duplicate id"
        self.ids.add(clip.id)
        if fault:
            return fault
        key = sentence_key(clip.text)
        if clip.speaker and self.speakers.get(clip.speaker, split) != split:
            return f"speaker also in {self.speakers[clip.speaker]}"
        if self.sentences.get(key, split) != split:
            return f"sentence also in {self.sentences[key]}"
        self.sentences[key] = split
        if clip.speaker:
            self.speakers[clip.speaker] = split
        return None


def sentence_key(text: str) -> str:
    """Two sentences with the same key are the same to a model: they differ in punctuation, width or spaces only."""
    return cer_view(text, "no_punctuation")


def hash_speaker(speaker: str, salt: str) -> str:
    """sha256(salt + source's id), 16 hexadecimal digits: enough to tell speakers apart, not who they are."""
    return hashlib.sha256((salt + speaker).encode()).hexdigest()[:16] if speaker else ""


def _shards(split: str, clips: Iterable[_Settled], config: FeatureConfig) -> list[Shard]:
    """Cut a split into files of about `shard_megabytes` by the clips' expected size."""
    bytes_per_second = FRAMES_PER_SECOND * config.n_mels * 2
    limit = config.shard_megabytes * 1e6
    groups: list[list[PlannedClip]] = []
    size = limit
    for clip, seconds in clips:
        if size >= limit:
            groups.append([])
            size = 0.0
        groups[-1].append(clip)
        size += (USUAL_SECONDS if seconds is None else seconds) * bytes_per_second
    return [Shard(split, index, len(groups), group) for index, group in enumerate(groups)]
