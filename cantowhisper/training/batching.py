"""From a feature dataset to batches: clips of like length together, and no more padding than the margin.

A batch's encoder input is as long as its longest clip plus the margin, so a batch of 4 s clips costs a sixth of the
30 s that every clip costs elsewhere. A share of the steps uses plain 30 s windows, so that the model stays good there.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from transformers import WhisperProcessor

from cantowhisper.contracts import CantowhisperError
from cantowhisper.speech.mel import N_FRAMES, SAMPLE_RATE, n_frames, pad_to
from cantowhisper.training.augment import augment
from cantowhisper.training.model import context_frames
from cantowhisper.training.presets import TrainConfig

IGNORED = -100  # label positions that the loss leaves out
MAX_LABELS = 448  # max_target_positions of every Whisper


class Key(NamedTuple):
    """What the sampler asks of a row: its index, and how the batch that it goes into is made."""

    row: int
    full: bool = False  # a plain 30 s window instead of the natural length
    batch: int = 0  # which batch of the run: chance is drawn from it, so that a resumed run draws the same
    vary: bool = True  # augmentation has begun


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
    """The batches of a whole run: clips of like length together, within a budget of clips and of frames.

    Every clip comes once an epoch at its natural length, and between those batches come as many of 30 s windows as
    make `full_context_share` of the steps, once `augment_from` is reached. The order is random and fixed by
    (seed, epoch). The run is one stream of `n_batches`: the Trainer skips to its step when it resumes, and sees what
    the interrupted run would have seen.
    """

    # Sorting whole epochs by length would make the same batches every time; within pools of this many batches,
    # lengths are close enough and neighbours change.
    POOL_BATCHES = 50

    def __init__(self, n_frames: Sequence[int], config: TrainConfig, *, n_batches: int):
        self.n_frames = np.asarray(n_frames)
        self.config = config
        self.n_batches = n_batches
        self.batch_size = None  # batches differ in size; accelerate asks

    def __len__(self) -> int:
        return self.n_batches

    def __iter__(self) -> Iterator[list[Key]]:
        first_varied = math.ceil(self.config.augment_from * self.n_batches)
        epochs = (self._batches(epoch) for epoch in itertools.count())
        batches = itertools.chain.from_iterable(epochs)
        only_full = self.config.full_context_share >= 1
        early = (batch for batch in batches if only_full or not batch[0][1])
        yield from self._numbered(early, range(first_varied), vary=False)
        yield from self._numbered(batches, range(first_varied, self.n_batches), vary=True)

    @staticmethod
    def _numbered(batches, numbers: range, *, vary: bool) -> Iterator[list[Key]]:
        for number, batch in zip(numbers, batches, strict=False):
            yield [Key(row, full, number, vary) for row, full in batch]

    def _batches(self, epoch: int) -> list[list[tuple[int, bool]]]:
        rng = np.random.default_rng((self.config.seed, epoch))
        natural = self._natural(rng.permutation(len(self.n_frames)))
        share = self.config.full_context_share
        if share >= 1:
            natural, n_full = [], -(-len(self.n_frames) // self._full_size)
        else:
            n_full = round(len(natural) * share / (1 - share))
        batches = natural + self._full(rng, n_full)
        return [batches[i] for i in rng.permutation(len(batches))]

    @property
    def _full_size(self) -> int:
        return min(self.config.full_context_batch_size, self.config.max_batch_frames // N_FRAMES)

    def _full(self, rng: np.random.Generator, n_batches: int) -> list[list[tuple[int, bool]]]:
        size, rows = self._full_size, []
        while len(rows) < n_batches * size:
            rows.extend(rng.permutation(len(self.n_frames)))
        return [[(int(i), True) for i in rows[b * size : (b + 1) * size]] for b in range(n_batches)]

    def _natural(self, order: np.ndarray) -> list[list[tuple[int, bool]]]:
        batches = []
        pool_size = self.POOL_BATCHES * self.config.batch_size
        for start in range(0, len(order), pool_size):
            pool = order[start : start + pool_size]
            # By context, not by length: clips of one context keep their random order, and so change neighbours even
            # where a single pool is the whole epoch.
            contexts = [clip_context(int(n), self.config) for n in self.n_frames[pool]]
            batches.extend(self._cut(pool[np.argsort(contexts, kind="stable")]))
        return batches

    def _cut(self, pool: np.ndarray) -> list[list[tuple[int, bool]]]:
        """Cut a pool sorted by context into batches, the longest context last."""
        batches, batch = [], []
        for index in pool:
            context = clip_context(int(self.n_frames[index]), self.config)
            full = len(batch) >= self.config.batch_size
            if batch and (full or (len(batch) + 1) * context > self.config.max_batch_frames):
                batches.append(batch)
                batch = []
            batch.append((int(index), False))
        return [*batches, batch] if batch else batches


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
        self.n_mels = processor.feature_extractor.feature_size

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        labels = pad_labels([self.label_ids(row["text"]) for row in rows])
        rng = np.random.default_rng((self.config.seed, rows[0]["batch"]))
        mels = [augment(row["features"].T, rng, self.config) if row["vary"] else row["features"].T for row in rows]
        if mels[0].shape[0] != self.n_mels:
            raise CantowhisperError(
                f"the dataset has {mels[0].shape[0]} Mel channels and the model takes {self.n_mels}; "
                f"make the features with n_mels={self.n_mels}"
            )
        longest = max(mel.shape[1] for mel in mels)
        frames = N_FRAMES if rows[0]["full"] else clip_context(longest, self.config)
        return {
            "input_features": torch.from_numpy(np.stack([pad_to(mel, frames) for mel in mels])),
            "labels": labels,
            "decoder_input_ids": self._with_wrong_characters(self._moved_right(labels), rows[0]["vary"], rng),
        }

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
