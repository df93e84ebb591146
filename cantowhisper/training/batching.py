"""From a feature dataset to batches: clips of like length together, and no more padding than the margin.

A batch's encoder input is as long as its longest clip plus the margin, so a batch of 4 s clips costs a sixth of the
30 s that every clip costs elsewhere. A share of the steps uses plain 30 s windows, so that the model stays good there,
and another share windows that are packed with several clips and the times of each.
"""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from transformers import WhisperProcessor

from cantowhisper.contracts import CantowhisperError
from cantowhisper.speech.mel import EXTRA_FRAMES, N_FRAMES, SAMPLE_RATE, n_frames, pad_to
from cantowhisper.training.augment import augment
from cantowhisper.training.model import context_frames
from cantowhisper.training.packing import MAX_LABELS, Clip, Span, fill_windows, join_clips, timed_labels
from cantowhisper.training.presets import TrainConfig

IGNORED = -100  # label positions that the loss leaves out


class Key(NamedTuple):
    """What the sampler asks of a row: its index, and how the batch that it goes into is made."""

    row: int
    full: bool = False  # a 30 s window instead of the natural length
    batch: int = 0  # which batch of the run: chance is drawn from it, so that a resumed run draws the same
    vary: bool = True  # augmentation has begun
    window: int = -1  # which packed window of its batch the clip goes into; -1: none, it has the input to itself


class FeatureRows(torch.utils.data.Dataset):
    """Rows of one split of a feature dataset, read by the keys of the batch sampler.

    Yields dicts with `features` float16 (n_frames, n_mels), `text` and the fields of the Key.
    """

    def __init__(self, split):
        self.split = split.select_columns(["features", "text"]).with_format("numpy")

    def __len__(self) -> int:
        return len(self.split)

    def __getitems__(self, keys: list[Key]) -> list[dict]:
        keys = [Key(*key) for key in keys]
        rows = self.split[[key.row for key in keys]]
        triples = zip(rows["features"], rows["text"], keys, strict=True)
        return [{"features": f, "text": str(t), **key._asdict()} for f, t, key in triples]

    def __getitem__(self, key: Key) -> dict:
        return self.__getitems__([key])[0]


class BucketBatchSampler:
    """The batches of a whole run: clips of like length together, within a budget of clips, frames and label tokens.

    Every clip comes once an epoch at its natural length, and between those batches come as many of 30 s windows as
    make `full_context_share` of the steps, and of packed ones as make `packed_share`, once `augment_from` is reached.
    The order is random and fixed by (seed, epoch). The run is one stream of `n_batches`: the Trainer skips to its step
    when it resumes, and sees what the interrupted run would have seen.

    n_frames and n_tokens are those of each clip; without n_tokens, labels count for nothing.
    """

    # Sorting whole epochs by length would make the same batches every time; within pools of this many batches,
    # lengths are close enough and neighbours change.
    POOL_BATCHES = 50

    def __init__(
        self,
        n_frames: Sequence[int],
        config: TrainConfig,
        *,
        n_batches: int,
        n_tokens: Sequence[int] | None = None,
    ):
        self.n_frames = np.asarray(n_frames)
        self.n_tokens = np.zeros_like(self.n_frames) if n_tokens is None else np.asarray(n_tokens)
        self.config = config
        self.n_batches = n_batches
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
        natural = list(self._natural(rng.permutation(len(self.n_frames))))
        full, packed = self.config.full_context_share, self.config.packed_share
        if self._natural_share > 0:
            total = len(natural) / self._natural_share
        else:
            natural, total = [], math.ceil(len(self.n_frames) / self._full_size)
        batches = natural + self._full(rng, round(total * full)) + self._packed(rng, round(total * packed))
        return [batches[i] for i in rng.permutation(len(batches))]

    @property
    def _full_size(self) -> int:
        return min(self.config.full_context_batch_size, self.config.max_batch_frames // N_FRAMES)

    def _again_and_again(self, rng: np.random.Generator) -> Iterator[Clip]:
        while True:
            yield from self._clips(rng.permutation(len(self.n_frames)))

    def _clips(self, rows: Iterable[int]) -> Iterator[Clip]:
        return (Clip(int(row), int(self.n_frames[row]), int(self.n_tokens[row])) for row in rows)

    def _full(self, rng: np.random.Generator, n_batches: int) -> list[list[Key]]:
        windows = ([clip] for clip in self._again_and_again(rng))
        batches = itertools.islice(self._cut(windows, size=self._full_size, full=True), n_batches)
        return [[Key(clip.row, full=True) for (clip,) in batch] for batch in batches]

    def _packed(self, rng: np.random.Generator, n_batches: int) -> list[list[Key]]:
        windows = fill_windows(self._again_and_again(rng), stretch=self.config.stretch)
        batches = itertools.islice(self._cut(windows, size=self._full_size, full=True), n_batches)
        return [
            [Key(clip.row, full=True, window=number) for number, window in enumerate(batch) for clip in window]
            for batch in batches
        ]

    def _natural(self, order: np.ndarray) -> Iterator[list[Key]]:
        pool_size = self.POOL_BATCHES * self.config.batch_size
        for start in range(0, len(order), pool_size):
            pool = list(self._clips(order[start : start + pool_size]))
            # By context, not by length: clips of one context keep their random order, and so change neighbours even
            # where a single pool is the whole epoch.
            pool.sort(key=lambda clip: clip_context(clip.n_frames, self.config))
            for batch in self._cut(([clip] for clip in pool), size=self.config.batch_size, full=False):
                yield [Key(clip.row) for (clip,) in batch]

    def _cut(self, windows: Iterable[list[Clip]], *, size: int, full: bool) -> Iterator[list[list[Clip]]]:
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


def clip_context(n_frames: int, config: TrainConfig) -> int:
    """The encoder input, in frames, for a clip of n_frames under a training configuration."""
    return context_frames(
        n_frames,
        margin_frames=config.context_margin_frames,
        bucket_frames=config.context_bucket_frames,
        min_frames=config.min_context_frames,
    )


class Collator:
    """Rows to a batch of tensors.

    input_features float32 (clips, n_mels, context), labels int64 (clips, tokens) padded with -100, and
    decoder_input_ids: the labels moved right behind the start token. The model would make those itself, but the
    Trainer's label smoothing takes the labels away and would leave it without.
    """

    def __init__(self, processor: WhisperProcessor, config: TrainConfig, *, start_token_id: int):
        self.tokenizer = processor.tokenizer
        self.config = config
        self.start_token_id = start_token_id
        self.no_timestamps = self.tokenizer.convert_tokens_to_ids("<|notimestamps|>")
        self.n_mels = processor.feature_extractor.feature_size

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        first = rows[0]
        rng = np.random.default_rng((self.config.seed, first["batch"]))
        mels = [augment(row["features"].T, rng, self.config) if row["vary"] else row["features"].T for row in rows]
        if mels[0].shape[0] != self.n_mels:
            raise CantowhisperError(wrong_mels(mels[0].shape[0], self.n_mels))
        ids = [self.label_ids(row["text"]) for row in rows]
        if first["window"] >= 0:
            mels, ids = self._packed(rows, mels, ids)
        elif first["vary"]:
            ids = self._sometimes_timed(rows, mels, ids)
        longest = max(mel.shape[1] for mel in mels)
        frames = N_FRAMES if first["full"] else clip_context(longest, self.config)
        labels = pad_labels(ids)
        return {
            "input_features": torch.from_numpy(np.stack([pad_to(mel, frames) for mel in mels])),
            "labels": labels,
            "decoder_input_ids": self._with_wrong_characters(self._moved_right(labels), first["vary"], rng),
        }

    def _packed(self, rows: list[dict], mels: list, ids: list) -> tuple[list[np.ndarray], list[list[int]]]:
        """A mel and timed labels for each of the batch's windows."""
        rng = np.random.default_rng((self.config.seed, rows[0]["batch"], 2))
        joined, labels = [], []
        for _, window in itertools.groupby(range(len(rows)), key=lambda i: rows[i]["window"]):
            clips = list(window)
            mel, spans = join_clips([mels[i] for i in clips], rng)
            joined.append(mel)
            labels.append(timed_labels([ids[i] for i in clips], spans, no_timestamps=self.no_timestamps))
        return joined, labels

    def _sometimes_timed(self, rows: list[dict], mels: list, ids: list) -> list[list[int]]:
        """The labels of a share of the clips with the times of begin and end, where there is room for two more."""
        rng = np.random.default_rng((self.config.seed, rows[0]["batch"], 1))
        timed = rng.random(len(rows)) < self.config.timestamps_share
        spans = [Span(0, max(mel.shape[1] - EXTRA_FRAMES, 1)) for mel in mels]
        return [
            timed_labels([label], [span], no_timestamps=self.no_timestamps)
            if chosen and len(label) < MAX_LABELS
            else label
            for chosen, label, span in zip(timed, ids, spans, strict=True)
        ]

    def label_lengths(self, texts: Iterable[str]) -> np.ndarray:
        """Label tokens of each sentence without times, int64 (n,)."""
        return np.array([len(self.label_ids(text)) for text in texts], dtype=np.int64)

    def label_ids(self, text: str) -> list[int]:
        """Token ids of a sentence without the start token, which the model puts in front by itself.

        The usual recipe looks for bos_token_id here, which in Whisper is the end token: it never finds it, and
        labels begin with two start tokens.
        """
        # a sentence that says <|nospeech|> is spelt like any other; it gives no orders
        ids = self.tokenizer(text, split_special_tokens=True).input_ids
        if ids[0] == self.start_token_id:
            ids = ids[1:]
        if len(ids) > MAX_LABELS:
            raise CantowhisperError(f"a sentence has {len(ids)} tokens, and Whisper takes {MAX_LABELS}: {text[:40]}…")
        return ids

    def _moved_right(self, labels: torch.Tensor) -> torch.Tensor:
        inputs = labels.new_full(labels.shape, self.start_token_id)
        inputs[:, 1:] = labels[:, :-1]
        return inputs.masked_fill_(inputs == IGNORED, self.tokenizer.eos_token_id)  # Whisper pads with its end token

    def _with_wrong_characters(self, inputs: torch.Tensor, vary: bool, rng: np.random.Generator) -> torch.Tensor:
        """Replace a share of the characters that the decoder is told it has written by random ones.

        A decoder that was always told right continues sentences that it knows by heart, and one wrong character at
        the start makes all others wrong; one that is sometimes told wrong listens (the idea of scheduled sampling,
        Bengio et al. 2015, without a second pass).
        """
        if not (vary and self.config.token_dropout):
            return inputs
        end = self.tokenizer.eos_token_id  # text tokens come before it, all others behind
        wrong = torch.from_numpy(rng.random(inputs.shape) < self.config.token_dropout) & (inputs < end)
        return torch.where(wrong, torch.from_numpy(rng.integers(0, end, inputs.shape)), inputs)


def wrong_mels(found: int, wanted: int) -> str:
    """What to do about features that were made for another model."""
    return f"the dataset has {found} Mel channels and the model takes {wanted}; make the features with n_mels={wanted}"


def pad_labels(ids: list[list[int]]) -> torch.Tensor:
    """int64 (clips, tokens), filled with -100 behind each clip's end token."""
    out = torch.full((len(ids), max(map(len, ids))), IGNORED, dtype=torch.int64)
    for row, clip in zip(out, ids, strict=True):
        row[: len(clip)] = torch.tensor(clip)
    return out


def frame_counts(split) -> np.ndarray:
    """Frames of each clip of a split, int64 (n_clips,), from its durations: no feature is read for it."""
    seconds = np.asarray(split.with_format("numpy")["duration_s"], dtype=np.float64)
    samples = np.rint(seconds * SAMPLE_RATE).astype(np.int64)  # exact: float32 keeps 30 s to a 30th of a sample
    return np.array([n_frames(int(n)) for n in samples], dtype=np.int64)
