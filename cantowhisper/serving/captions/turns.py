"""A transcript's text with who speaks, for formats that have no field for it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from cantowhisper.contracts import Segment
from cantowhisper.serving.texts.say import Say


def speaker_name(speaker: int | str, say: Say | None = None) -> str:
    """What a speaker is called in files; "" for 0. People who correct a transcript give names.

    say : in which language a number is said; by default in English

    >>> speaker_name(2), speaker_name(2, Say("zh-HK")), speaker_name(0), speaker_name("陳太")
    ('Speaker 2', '講者 2', '', '陳太')
    """
    if isinstance(speaker, str):
        return speaker
    return (say or Say())("speaker.number", number=speaker) if speaker else ""


def named_turns(segments: Sequence[Segment], say: Say | None = None) -> Iterator[Segment]:
    """The segments, with the speaker's name before the text where another one begins.

    say : as in `speaker_name`

    >>> said = [Segment(0, 1, "食咗飯未", 1.0, speaker=1), Segment(1, 2, "食咗", 1.0, speaker=2)]
    >>> [segment.text for segment in named_turns(said)]
    ['Speaker 1: 食咗飯未', 'Speaker 2: 食咗']
    """
    before, say = 0, say or Say()
    for segment in segments:
        if segment.speaker and segment.speaker != before and segment.text.strip():
            before = segment.speaker
            segment = replace(segment, text=say("speaker.turn", name=speaker_name(before, say), text=segment.text))
        yield segment
