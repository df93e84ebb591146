"""Pieces of a recording, and which of them are recognised together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cantowhisper.serving.segments import Span
from cantowhisper.speech.context import Window

MAX_BATCH = 16  # pieces: beyond that a step of the decoder takes as much longer as it does more
MAX_BATCH_POSITIONS = 6_000  # bounds memory: 12 × 10 s, or 4 × 30 s


@dataclass(frozen=True)
class Job:
    """A piece of the recording, or several as a chunk, and the window that the encoder gets."""

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
    """Neighbouring pieces together, as many of one speaker as end within `at_most_s` of where the first begins.

    Pieces in which VAD heard no voice stay alone: each of them needs evidence of its own.
    """
    found: list[tuple[Span, ...]] = []
    for span in spans:
        first = found[-1][0] if found else span
        together = not span.by_level and span.speaker == first.speaker
        if found and together and first._replace(end=span.end).seconds <= at_most_s:
            found[-1] += (span,)
        else:
            found.append((span,))
    return found


def batches(jobs: Sequence[Job]) -> Iterator[list[Job]]:
    """Jobs that are decoded together, in time order: as many neighbours as there is room for, chunks apart from pieces.

    What is in a batch never changes a result: each job keeps its own window, whatever its neighbours' lengths.
    """
    batch: list[Job] = []
    for job in jobs:
        longest = max(one.window.positions.size for one in (*batch, job))
        full = len(batch) == MAX_BATCH or (len(batch) + 1) * longest > MAX_BATCH_POSITIONS
        if batch and (full or job.is_chunk != batch[0].is_chunk):
            yield batch
            batch = []
        batch.append(job)
    if batch:
        yield batch
