"""Which clips go into which batch: those of like length together, within memory, in an order that a seed decides."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from cantowhisper.speech.mel import FRAMES_PER_POSITION, N_FRAMES, SAMPLE_RATE, n_frames
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.batch_sizes import with_batch_sizes
from cantowhisper.training.data.packing import ClipSize, fill_windows
from cantowhisper.training.schedules import Accumulated, read_accumulation, step_sizes


class Key(NamedTuple):
    """What the sampler asks of a row: its index, and how the batch that it goes into is made."""

    row: int
    full: bool = False  # a 30 s window instead of the natural length
    batch: int = 0  # which batch of the run: chance is drawn from it, so that a resumed run draws the same
    vary: bool = True  # augmentation has begun
    window: int = -1  # which packed window of its batch the clip goes into; -1: none, it has the input to itself
    part: tuple[int, int] = (0, 0)  # the epoch, and which part of it: a streamed split is read part by part


class BucketBatchSampler:
    """The batches of a whole run: clips of like length together, within a budget of clips, frames and label tokens.

    Every clip comes once an epoch at its natural length. From `augment_from` on, `packed_share` of the batches are
    packed windows and `full_context_share` 30 s windows of single clips. They are spread over the run, not over each
    epoch, so that the shares hold for any number of clips: after any batch, packed ones are less than one off theirs.
    The order is random and fixed by (seed, epoch). The run is one stream of `n_batches`: the Trainer skips to its step
    when it resumes, and sees what the interrupted run would have seen.

    n_frames and n_tokens are those of each clip; without n_tokens, labels count for nothing. `parts` gives the rows of
    each part of an epoch, where a batch takes its clips from one part only: without it, an epoch is one part.
    `languages` of the clips keep apart what is packed into one window, whose labels name one language.
    """

    # Sorting whole epochs by length would make the same batches every time; within pools of this many batches,
    # lengths are close enough and neighbours change.
    POOL_BATCHES = 50
    ALIKE_FRAMES = 24  # of 10 ms: clips whose contexts differ by less are of like length

    def __init__(
        self,
        n_frames: Sequence[int],
        config: TrainConfig,
        *,
        n_batches: int,
        n_tokens: Sequence[int] | None = None,
        parts: Callable[[int], list[np.ndarray]] | None = None,
        languages: Sequence[str] | None = None,
    ):
        self.n_frames = np.asarray(n_frames)
        self.languages = np.zeros(len(self.n_frames), np.int64)  # as numbers
        if languages is not None:
            _, self.languages = np.unique(np.asarray(languages, dtype=str), return_inverse=True)
        self.n_tokens = np.zeros_like(self.n_frames) if n_tokens is None else np.asarray(n_tokens)
        self.config = with_batch_sizes(config, len(self.n_frames))
        self.n_batches = n_batches
        self.parts = parts or (lambda epoch: [np.arange(len(self.n_frames))])
        self.batch_size = None  # batches differ in size; accelerate asks

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[list[Key]]:
        first_varied = math.ceil(self.config.augment_from * self.n_batches)
        kinds = window_kinds(self.config, first=first_varied if self._has_natural else 0)
        for number, batch in zip(range(self.n_batches), self._stream(kinds), strict=False):
            yield [key._replace(batch=number, vary=number >= first_varied) for key in batch]

    @property
    def _has_natural(self) -> bool:
        return round(1 - self.config.full_context_share - self.config.packed_share, 9) > 0

    def _stream(self, kinds: Iterator[str]) -> Iterator[list[Key]]:
        """Batches without end: those of each epoch in its order, and between them windows, as `kinds` says."""
        for epoch in itertools.count():
            rng = np.random.default_rng((self.config.seed, epoch))
            for number, rows in enumerate(self.parts(epoch)):
                windows = {
                    FULL: self._full(np.random.default_rng((self.config.seed, epoch, number, 1)), rows),
                    PACKED: self._packed(np.random.default_rng((self.config.seed, epoch, number, 2)), rows),
                }
                for batch in self._batches(rng, rows, windows, kinds):
                    yield [key._replace(part=(epoch, number)) for key in batch]

    def _batches(self, rng: np.random.Generator, rows: np.ndarray, windows: dict, kinds: Iterator[str]):
        """The batches of a part of an epoch."""
        if not self._has_natural:
            n_batches = math.ceil(len(rows) / self._full_size)
            yield from (next(windows[kind]) for kind in itertools.islice(kinds, n_batches))
            return
        natural = list(self._natural(rows[rng.permutation(len(rows))]))
        for i in rng.permutation(len(natural)):
            for kind in itertools.takewhile(lambda kind: kind != NATURAL, kinds):
                yield next(windows[kind])
            yield natural[i]

    @property
    def _full_size(self) -> int:
        return min(self.config.full_context_batch_size, self.config.max_batch_frames // N_FRAMES)

    def _again_and_again(self, rng: np.random.Generator, rows: np.ndarray) -> Iterator[ClipSize]:
        while True:
            yield from self._clips(rows[rng.permutation(len(rows))])

    def _clips(self, rows: Iterable[int]) -> Iterator[ClipSize]:
        return (ClipSize(int(row), int(self.n_frames[row]), int(self.n_tokens[row])) for row in rows)

    def _full(self, rng: np.random.Generator, rows: np.ndarray) -> Iterator[list[Key]]:
        windows = ([clip] for clip in self._again_and_again(rng, rows))
        for batch in self._cut(windows, size=self._full_size, full=True):
            yield [Key(clip.row, full=True) for (clip,) in batch]

    def _packed(self, rng: np.random.Generator, rows: np.ndarray) -> Iterator[list[Key]]:
        windows = self._windows(rng, rows)
        for batch in self._cut(windows, size=self._full_size, full=True):
            yield [Key(clip.row, full=True, window=number) for number, window in enumerate(batch) for clip in window]

    def _windows(self, rng: np.random.Generator, rows: np.ndarray) -> Iterator[list[ClipSize]]:
        """Packed windows of one language each, drawn as often as its share of the rows."""
        spoken, counts = np.unique(self.languages[rows], return_counts=True)
        by_language = [
            fill_windows(self._again_and_again(rng, rows[self.languages[rows] == one]), stretch=self.config.stretch)
            for one in spoken
        ]
        if len(by_language) == 1:
            yield from by_language[0]
        while True:
            yield next(by_language[rng.choice(len(by_language), p=counts / counts.sum())])

    def _natural(self, order: np.ndarray) -> Iterator[list[Key]]:
        pool_size = self.POOL_BATCHES * self.config.batch_size
        for start in range(0, len(order), pool_size):
            pool = list(self._clips(order[start : start + pool_size]))
            # Roughly by length: clips that are alike keep their random order, and so change neighbours even where a
            # single pool is the whole epoch.
            pool.sort(key=lambda clip: clip_context(clip.n_frames, self.config) // self.ALIKE_FRAMES)
            for batch in self._cut(([clip] for clip in pool), size=self.config.batch_size, full=False):
                yield [Key(clip.row) for (clip,) in batch]

    def _cut(self, windows: Iterable[list[ClipSize]], *, size: int, full: bool) -> Iterator[list[list[ClipSize]]]:
        """Windows in their order, cut into batches of up to `size` that keep within frames and tokens."""
        batch, context, tokens = [], 0, 0
        for window in windows:
            own = N_FRAMES if full else clip_context(window[0].n_frames, self.config)
            wider, longer = max(context, own), max(tokens, 1 + sum(clip.n_tokens for clip in window))
            n, config = len(batch) + 1, self.config
            if batch and (n * wider > config.max_batch_frames or n * longer > config.max_batch_tokens):
                yield batch
                batch, wider, longer = [], own, 1 + sum(clip.n_tokens for clip in window)
            batch, context, tokens = [*batch, window], wider, longer
            if len(batch) == size:
                yield batch
                batch, context, tokens = [], 0, 0
        if batch:
            yield batch


NATURAL, FULL, PACKED = "natural", "full", "packed"  # what the batches of a run hold


def window_kinds(config: TrainConfig, *, first: int) -> Iterator[str]:
    """What each batch of a run holds, without end; before batch `first`, clips at their natural length."""
    packed = Fraction(config.packed_share).limit_denominator(10**6)
    full = Fraction(config.full_context_share).limit_denominator(10**6)
    full_of_the_rest = min(full / (1 - packed), Fraction(1)) if packed < 1 else Fraction(0)
    is_full = evenly_at_random(full_of_the_rest, np.random.default_rng((config.seed, 0, 0, 3)))
    yield from itertools.repeat(NATURAL, first)
    for is_packed in evenly_at_random(packed, np.random.default_rng((config.seed, 0, 0, 4))):
        yield PACKED if is_packed else FULL if next(is_full) else NATURAL


def evenly_at_random(share: Fraction, rng: np.random.Generator) -> Iterator[bool]:
    """True in a share of all cases, without end: in each stretch of 1 / share cases, at a random one.

    After n of them, true ones are less than one away from share × n.
    """
    if not share:
        yield from itertools.repeat(False)
    place = -1
    for number in itertools.count():
        first, last = math.floor(number / share), math.ceil((number + 1) / share) - 1
        before, place = place, int(rng.integers(max(first, place + 1), last, endpoint=True))
        yield from itertools.repeat(False, place - before - 1)
        yield True


def run_batches(
    n_frames: Sequence[int],
    n_tokens: Sequence[int],
    config: TrainConfig,
    *,
    n_processes: int = 1,
    parts: Callable[[int], list[np.ndarray]] | None = None,
    languages: Sequence[str] | None = None,
):
    """The batch sampler of a whole run, for the Trainer: a batch an item, or where there is a schedule, a step."""
    known = {"n_tokens": n_tokens, "parts": parts, "languages": languages}
    if not config.accumulation_schedule:
        n_batches = config.max_steps * config.gradient_accumulation_steps * n_processes
        return BucketBatchSampler(n_frames, config, n_batches=n_batches, **known)
    stages = read_accumulation(config.accumulation_schedule)
    n_batches = sum(step_sizes(stages, config.max_steps)) * n_processes
    batches = BucketBatchSampler(n_frames, config, n_batches=n_batches, **known)
    return Accumulated(batches, stages, n_steps=config.max_steps, n_processes=n_processes)


def epochs_after_steps(batches, config: TrainConfig, *, n_clips: int, n_processes: int = 1) -> np.ndarray:
    """How often a clip has been heard after each step of a run, float64 (n_steps,): clips heard over clips.

    `batches` are the run's, from `run_batches`.
    """
    items = n_processes * (1 if config.accumulation_schedule else config.gradient_accumulation_steps)
    heard = np.fromiter((len(item) for item in batches), dtype=np.int64)
    return heard.cumsum()[items - 1 :: items] / n_clips


def clip_context(n_frames: int, config: TrainConfig) -> int:
    """What the encoder computes for a clip of n_frames, in frames: two to a position, merged ones counted once."""
    return config.context.n_positions(n_frames) * FRAMES_PER_POSITION


def frame_counts(split) -> np.ndarray:
    """Frames of each clip of a split, int64 (n_clips,), from its durations: no feature is read for it."""
    seconds = np.asarray(split.with_format("numpy")["duration_s"], dtype=np.float64)
    samples = np.rint(seconds * SAMPLE_RATE).astype(np.int64)  # exact: float32 keeps 30 s to a 30th of a sample
    return np.array([n_frames(int(n)) for n in samples], dtype=np.int64)
