"""Which clips go into which batch: those of like length together, within memory, in an order that a seed decides."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from cantowhisper.speech.mel import FRAMES_PER_POSITION, N_FRAMES, SAMPLE_RATE, n_frames
from cantowhisper.training.data.packing import ClipSize, fill_windows
from cantowhisper.training.presets import TrainConfig
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

    Every clip comes once an epoch at its natural length, and between those batches come as many of 30 s windows as
    make `full_context_share` of the steps, and of packed ones as make `packed_share`, once `augment_from` is reached.
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
        self.config = config
        self.n_batches = n_batches
        self.parts = parts or (lambda epoch: [np.arange(len(self.n_frames))])
        self.batch_size = None  # batches differ in size; accelerate asks

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[list[Key]]:
        first_varied = math.ceil(self.config.augment_from * self.n_batches)
        epochs = (self._batches(epoch) for epoch in itertools.count())
        batches = itertools.chain.from_iterable(epochs)
        early = (batch for batch in batches if self._natural_share <= 0 or not batch[0].full)
        yield from self._numbered(early, range(first_varied), vary=False)
        yield from self._numbered(batches, range(first_varied, self.n_batches), vary=True)

    @staticmethod
    def _numbered(batches, numbers: range, *, vary: bool) -> Iterator[list[Key]]:
        for number, batch in zip(numbers, batches, strict=False):
            yield [key._replace(batch=number, vary=vary) for key in batch]

    @property
    def _natural_share(self) -> float:
        return round(1 - self.config.full_context_share - self.config.packed_share, 9)

    def _batches(self, epoch: int) -> list[list[Key]]:
        rng = np.random.default_rng((self.config.seed, epoch))
        full, packed = self.config.full_context_share, self.config.packed_share
        epoch_batches, total, n_full, n_packed = [], 0, 0, 0  # those of the parts so far: shares are of the whole epoch
        for number, rows in enumerate(self.parts(epoch)):
            natural = list(self._natural(rows[rng.permutation(len(rows))]))
            if self._natural_share > 0:
                total += len(natural) / self._natural_share
            else:
                natural, total = [], total + math.ceil(len(rows) / self._full_size)
            more_full, more_packed = round(total * full) - n_full, round(total * packed) - n_packed
            n_full, n_packed = n_full + more_full, n_packed + more_packed
            batches = natural + self._full(rng, rows, more_full) + self._packed(rng, rows, more_packed)
            drawn = (batches[i] for i in rng.permutation(len(batches)))
            epoch_batches += ([key._replace(part=(epoch, number)) for key in batch] for batch in drawn)
        return epoch_batches

    @property
    def _full_size(self) -> int:
        return min(self.config.full_context_batch_size, self.config.max_batch_frames // N_FRAMES)

    def _again_and_again(self, rng: np.random.Generator, rows: np.ndarray) -> Iterator[ClipSize]:
        while True:
            yield from self._clips(rows[rng.permutation(len(rows))])

    def _clips(self, rows: Iterable[int]) -> Iterator[ClipSize]:
        return (ClipSize(int(row), int(self.n_frames[row]), int(self.n_tokens[row])) for row in rows)

    def _full(self, rng: np.random.Generator, rows: np.ndarray, n_batches: int) -> list[list[Key]]:
        windows = ([clip] for clip in self._again_and_again(rng, rows))
        batches = itertools.islice(self._cut(windows, size=self._full_size, full=True), n_batches)
        return [[Key(clip.row, full=True) for (clip,) in batch] for batch in batches]

    def _packed(self, rng: np.random.Generator, rows: np.ndarray, n_batches: int) -> list[list[Key]]:
        windows = self._windows(rng, rows)
        batches = itertools.islice(self._cut(windows, size=self._full_size, full=True), n_batches)
        return [
            [Key(clip.row, full=True, window=number) for number, window in enumerate(batch) for clip in window]
            for batch in batches
        ]

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


def clip_context(n_frames: int, config: TrainConfig) -> int:
    """What the encoder computes for a clip of n_frames, in frames: two to a position, merged ones counted once."""
    return config.context.n_positions(n_frames) * FRAMES_PER_POSITION


def frame_counts(split) -> np.ndarray:
    """Frames of each clip of a split, int64 (n_clips,), from its durations: no feature is read for it."""
    seconds = np.asarray(split.with_format("numpy")["duration_s"], dtype=np.float64)
    samples = np.rint(seconds * SAMPLE_RATE).astype(np.int64)  # exact: float32 keeps 30 s to a 30th of a sample
    return np.array([n_frames(int(n)) for n in samples], dtype=np.int64)
