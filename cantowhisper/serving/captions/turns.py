"""A transcript's text with who speaks, for formats that have no field for it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cantowhisper.contracts import Segment


def speaker_name(speaker: int | str) -> str:
    """What a speaker is called in files; "" for 0. People who correct a transcript give names.

    >>> speaker_name(2), speaker_name(0), speaker_name("陳太")
    ('Speaker 2', '', '陳太')
    """
    return speaker if isinstance(speaker, str) else f"Speaker {speaker}" if speaker else ""


def named_turns(segments: Sequence[Segment]) -> Iterator[Segment]:
    """The segments, with the speaker's name before the text where another one begins.

    >>> said = [Segment(0, 1, "食咗飯未", 1.0, speaker=1), Segment(1, 2, "食咗", 1.0, speaker=2)]
    >>> [segment.text for segment in named_turns(said)]
    ['Speaker 1: 食咗飯未', 'Speaker 2: 食咗']
    """
    before: int | str = 0
    for segment in segments:
        changes = segment.speaker and segment.speaker != before and segment.text.strip()
        if changes:
            before = segment.speaker
        yield replace(segment, text=f"{speaker_name(before)}: {segment.text}") if changes else segment
