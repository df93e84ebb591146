"""What changes in the course of a run: the learning rate, and how many batches make a step."""

import itertools
from collections.abc import Iterator

from cantowhisper.contracts import UsageError

# Names that people know, and what the Trainer calls them: its "constant" would leave the warm-up out.
LEARNING_RATES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def read_accumulation(text: str) -> list[tuple[int, int]]:
    """(first step, batches a step) of each stage of an accumulation schedule.

    >>> read_accumulation("4@0,1@2000")
    [(0, 4), (2000, 1)]
    """
    try:
        pairs = [tuple(map(int, part.split("@"))) for part in text.split(",")]
        stages = [(step, batches) for batches, step in pairs]
    except ValueError:
        stages = []
    rising = all(before[0] < after[0] for before, after in itertools.pairwise(stages))
    if not stages or stages[0][0] != 0 or not rising or any(batches < 1 for _, batches in stages):
        raise UsageError(
            f"accumulation_schedule is batches@step, from step 0 on and rising, such as 4@0,1@2000, not {text!r}"
        )
    return stages


class Accumulated:
    """The batches of a sampler, as many in one item as the schedule wants for that step.

    The Trainer sees one item a step, so that it counts, skips and resumes as ever; the collator and the training step
    take the item apart again. With several processes, each takes its own item of a step in turn.
    """

    def __init__(self, sampler, stages: list[tuple[int, int]], *, n_steps: int, n_processes: int = 1):
        self.sampler = sampler
        self.sizes = [size for size in step_sizes(stages, n_steps) for _ in range(n_processes)]
        self.batch_size = None

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[list]:
        batches = iter(self.sampler)
        for size in self.sizes:
            yield [key for batch in itertools.islice(batches, size) for key in batch]


def step_sizes(stages: list[tuple[int, int]], n_steps: int) -> Iterator[int]:
    """Batches of each step of a run."""
    ends = [step for step, _ in stages[1:]]
    for (start, size), end in zip(stages, [*ends, n_steps], strict=True):
        yield from itertools.repeat(size, max(0, min(end, n_steps) - start))
