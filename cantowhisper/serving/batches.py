"""Pieces of a recording, and which of them are recognised together."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cantowhisper.serving.segments import Span
from cantowhisper.speech.context import Window

MAX_BATCH = 16  # pieces: beyond that a step of the decoder takes as much longer as it does more
MAX_BATCH_POSITIONS = 6_000  # bounds memory: 12 × 10 s, or 4 × 30 s
LOOK_AHEAD = 32  # pieces among which batches are formed: more wait longer for the first line of text


@dataclass(frozen=True)
class Job:
    """A piece of the recording, or several as a chunk: its place in the list, and the window that the encoder gets."""

    index: int
    spans: tuple[Span, ...]
    window: Window
    budget: int  # tokens of text

    @property
    def is_chunk(self) -> bool:
        return len(self.spans) > 1

    @property
    def span(self) -> Span:
        return self.spans[0]._replace(end=self.spans[-1].end)


def chunks(spans: Sequence[Span], *, at_most_s: float) -> list[tuple[Span, ...]]:
    """Neighbouring pieces together, as many as end within `at_most_s` of where the first begins.

    Pieces in which VAD heard no voice stay alone: each of them needs evidence of its own.
    """
    found: list[tuple[Span, ...]] = []
    for span in spans:
        first = found[-1][0] if found else span
        if found and not span.by_level and first._replace(end=span.end).seconds <= at_most_s:
            found[-1] += (span,)
        else:
            found.append((span,))
    return found


def batches(jobs: list[Job]) -> Iterator[list[Job]]:
    """Pieces of one input length together, near ones only, so that the earliest pieces are not the last to come.

    What is in a batch never changes a result: the input length is each piece's own, and no padding depends on others.
    """
    for first in range(0, len(jobs), LOOK_AHEAD):
        by_length = defaultdict(list)
        for job in jobs[first : first + LOOK_AHEAD]:
            by_length[job.window.n_frames, job.is_chunk].append(job)
        for same in by_length.values():  # in the order in which each length occurred first
            size = max(1, min(MAX_BATCH, MAX_BATCH_POSITIONS // same[0].window.positions.size))
            yield from (same[start : start + size] for start in range(0, len(same), size))
