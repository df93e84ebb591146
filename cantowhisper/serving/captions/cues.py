"""Segments into timed cues.

A segment is as long as people speak without a pause, up to 15 s; a caption is as long as one reads with ease. Where a
segment becomes several cues, each begins when its first character is said: by the characters' own times where they
were asked for, else by its share of the segment's columns.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from cantowhisper.contracts import Segment
from cantowhisper.serving.captions.breaks import columns
from cantowhisper.serving.captions.layout import Layout
from cantowhisper.serving.captions.rules import RULES, CaptionRules, script_of
from cantowhisper.speech.text import join_texts

_AT_ONCE_S = 0.1  # segments that begin closer together than a syllable lasts share their time
_LEAST_MS = 2  # from one cue's begin to the next one's, where a transcript leaves no more: a cue and its gap


@dataclass(frozen=True)
class Cue:
    """What is shown from `start_s` to `end_s`, in whole milliseconds, line below line."""

    start_s: float
    end_s: float
    lines: tuple[str, ...]
    speaker: int | str = 0  # as in Segment


def captions(segments: Sequence[Segment], rules: CaptionRules | None = None) -> list[Cue]:
    """A transcript as captions, in time order and without overlap.

    - A line has at most `line_characters`, a cue at most `max_lines`. Only a word that is longer than a line is broken.
      The lines in order are the transcript's text on one line (`join_texts`), without the spaces where they break.
    - A cue begins when its first word is said, and ends `gap_s` before the next at the latest; where the next begins
      less than two gaps later, cue and gap have half of that time each.
    - What two speakers say is never in one cue.
    - It lasts at most `max_s`, and at least `min_s` where that leaves the next one and the transcript's end alone. One
      that could not becomes a part of the next, or of the one just before, if both fit in a cue.
    - All times are within the transcript's, if it lasts 2 ms a cue.

    Parameters
    ----------
    segments : in time order; those without text are left out. Where two overlap, the later one's begin ends the first
    rules : limits; by default those of the script that most of the text is written in
    """
    heard = [s for s in segments if s.text.strip()]
    if not heard:
        return []
    text, pieces = _joined(heard)
    script = script_of(text)
    who = [segment.speaker for segment in heard]
    layout = Layout(text, pieces, rules or RULES[script], japanese=script == "japanese", speakers=who)
    times = _Times(heard, layout)
    slices = [cue for piece in pieces for cue in layout.cut(*piece, times.seconds)]
    slices = _with_short_ones_joined(slices, layout, times)
    return _timed(slices, layout, times)


def _joined(segments: Sequence[Segment]) -> tuple[str, list[tuple[int, int]]]:
    """The text on one line, and the slice of each segment in it (the space after it included)."""
    language = next((s.language for s in segments if s.language), "")
    texts, starts, length, last = [], [], 0, ""
    for segment in segments:
        # "-->" is for times only.
        new = " ".join(segment.text.split()).replace("-->", "→")
        if len(join_texts([last, new[0]], language)) > 2:
            new = f" {new}"
        starts.append(length + new.startswith(" "))
        texts.append(new)
        length, last = length + len(new), new[-1]
    return "".join(texts), list(zip(starts, [*starts[1:], length], strict=True))


class _Times:
    """When each character of a transcript is said, in seconds."""

    def __init__(self, segments: Sequence[Segment], layout: Layout):
        self.begins, self.ends = [0.0] * len(layout.text), [0.0] * len(layout.text)
        self.finish = 0.0  # where the transcript ends
        weights = columns(layout.text, full_width=layout.rules.full_width)
        for group, start, end in _spans(segments):
            self.finish = end
            first, after = layout.pieces[group[0]][0], layout.pieces[group[-1]][1]
            spoken = [k for k in range(first, after) if layout.text[k] != " "]
            own = segments[group[0]].characters
            if len(group) == 1 and len(own) == len(spoken):
                self._set(first, after, spoken, [(a, b) for _, a, b in own], start, end)
            else:
                total, done, shares = max(1, sum(weights[k] for k in spoken)), 0, []
                for k in spoken:
                    shares.append(tuple(start + (end - start) * n / total for n in (done, done + weights[k])))
                    done += weights[k]
                self._set(first, after, spoken, shares, start, end)

    def _set(self, first: int, after: int, spoken, times, start: float, end: float) -> None:
        """Times that rise and stay within the segment's; a space has those of what is before it."""
        begun, ended, given = start, start, dict(zip(spoken, times, strict=True))
        for k in range(first, after):
            if k in given:
                begun = min(max(given[k][0], begun), end)
                ended = min(max(given[k][1], begun, ended), end)
            self.begins[k], self.ends[k] = begun, ended

    def seconds(self, first: int, after: int) -> float:
        """How long a slice is spoken."""
        return self.ends[after - 1] - self.begins[first]


def _spans(segments: Sequence[Segment]) -> list[tuple[range, float, float]]:
    """(numbers of segments, start, end), with starts that rise and no overlap. Most have one segment each."""
    starts: list[float] = []
    for segment in segments:
        starts.append(max(segment.start_s, starts[-1] if starts else 0.0))
    spans, first = [], 0
    while first < len(segments):
        after = bisect_left(starts, starts[first] + _AT_ONCE_S, first + 1)
        end = max(starts[first], *(s.end_s for s in segments[first:after]))
        spans.append((range(first, after), starts[first], min([end, *starts[after : after + 1]])))
        first = after
    return spans


def _with_short_ones_joined(slices: list[tuple[int, int]], layout: Layout, times: _Times) -> list[tuple[int, int]]:
    """Cues that would be gone before they are read, as a part of the next or the last one, where both fit in one."""
    rules = layout.rules
    kept: list[tuple[int, int]] = []
    waiting = slices[::-1]
    while waiting:
        first, after = waiting.pop()
        until = times.begins[waiting[-1][0]] - rules.gap_s if waiting else times.finish
        if until - times.begins[first] < rules.min_s:
            if waiting and _fits(first, waiting[-1][1], layout, times):
                waiting[-1] = (first, waiting[-1][1])
                continue
            near = kept and times.begins[first] - times.ends[kept[-1][1] - 1] <= rules.close_gap_s
            if near and _fits(kept[-1][0], after, layout, times):
                kept[-1] = (kept[-1][0], after)
                continue
        kept.append((first, after))
    return kept


def _fits(first: int, after: int, layout: Layout, times: _Times) -> bool:
    if layout.speaker(first) != layout.speaker(after - 1):
        return False
    return times.seconds(first, after) <= layout.rules.max_s and layout.lines(first, after) is not None


def _timed(slices: list[tuple[int, int]], layout: Layout, times: _Times) -> list[Cue]:
    starts: list[int] = []
    for first, _ in slices:
        begin = round(times.begins[first] * 1000)
        starts.append(max(begin, starts[-1] + _LEAST_MS) if starts else begin)
    finish = max(round(times.finish * 1000), starts[-1] + 1)
    gaps = [min(round(layout.rules.gap_s * 1000), (b - a) // 2) for a, b in pairwise(starts)]
    limits = [*(start - gap for start, gap in zip(starts[1:], gaps, strict=True)), finish]
    cues = []
    for (first, after), start, limit in zip(slices, starts, limits, strict=True):
        end = _end(start, times.ends[after - 1] * 1000, layout.width(first, after), layout.rules)
        if limit - end <= layout.rules.close_gap_s * 1000 and limit != finish:
            end = limit
        end = min(max(round(end), start + 1), limit, start + round(layout.rules.max_s * 1000))
        cues.append(Cue(start / 1000, end / 1000, layout.shown(first, after), layout.speaker(first)))
    return cues


def _end(start: int, said: float, width: int, rules: CaptionRules) -> float:
    """When a cue would end if nothing came after it, in milliseconds. said : when its last word is."""
    read_ms = width / rules.character_columns / rules.characters_per_s * 1000
    return max(said, start + rules.min_s * 1000, min(start + read_ms, said + rules.linger_s * 1000))
