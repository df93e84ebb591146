"""From a feature dataset to batches: clips of like length together, and no more padding than the margin.

Each clip gets its speech, a margin, and the rest of the 30 s window merged into a few positions (speech/context.py), so
a batch of 4 s clips costs a fifth of what 30 s cost. A share of the steps uses windows that are packed with several
clips and the times of each.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from transformers import WhisperProcessor

from cantowhisper.contracts import CantowhisperError
from cantowhisper.speech.context import MAX_DECODER_TOKENS, Context, Windows, stack
from cantowhisper.speech.mel import EXTRA_FRAMES, pad_to
from cantowhisper.speech.text import join_texts
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.augment import augment
from cantowhisper.training.data.languages import token_of
from cantowhisper.training.data.packing import FrameRange, join_clips, timed_labels
from cantowhisper.training.data.sampling import Key

IGNORED = -100  # label positions that the loss leaves out
WINDOW_FIELDS = ("columns", "positions", "log_weights")  # of a batch: the windows of speech/context.py
FULL = Context(kind="full")
UNTIMED_WINDOWS = 0.5  # share of the packed windows whose labels have no times


class FeatureRows(torch.utils.data.Dataset):
    """Rows of one split of a feature dataset, read by the keys of the batch sampler.

    Yields dicts with `features` float16 (n_frames, n_mels), `text`, `language` and the fields of the Key.
    """

    def __init__(self, split):
        self.split = split.select_columns(["features", "text", "language"]).with_format("numpy")

    def __len__(self) -> int:
        return len(self.split)

    def parts(self, epoch: int) -> list[np.ndarray]:
        """The rows of each part of an epoch: all are at hand, so it is one."""
        return [np.arange(len(self))]

    def __getitems__(self, keys: list[Key]) -> list[dict]:
        keys = [Key(*key) for key in keys]
        rows = self.split[[key.row for key in keys]]
        found = zip(rows["features"], rows["text"], rows["language"], keys, strict=True)
        return [{"features": f, "text": str(t), "language": str(its), **key._asdict()} for f, t, its, key in found]

    def __getitem__(self, key: Key) -> dict:
        return self.__getitems__([key])[0]


class Collator:
    """Rows to a batch of tensors.

    What `encoder_inputs` gives, labels int64 (clips, tokens) padded with -100, and decoder_input_ids: the labels moved
    right after the start token. The model would make those itself, but the Trainer's label smoothing takes the labels
    away and would leave it without.

    Rows of several batches, which a schedule adds up to one step, become {"batches": [a batch, …]}.
    """

    def __init__(self, processor: WhisperProcessor, config: TrainConfig, *, start_token_id: int):
        self.tokenizer = processor.tokenizer
        self.config = config
        self.start_token_id = start_token_id
        self._language_ids: dict[str, int] = {}
        self.no_timestamps = self.tokenizer.convert_tokens_to_ids("<|notimestamps|>")

    def __call__(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        batches = [list(batch) for _, batch in itertools.groupby(rows, key=lambda row: row["batch"])]
        return self._batch(rows) if len(batches) == 1 else {"batches": [self._batch(batch) for batch in batches]}

    def _batch(self, rows: list[dict]) -> dict[str, torch.Tensor]:
        first = rows[0]
        rng = np.random.default_rng((self.config.seed, first["batch"]))
        mels = [augment(row["features"].T, rng, self.config) if row["vary"] else row["features"].T for row in rows]
        ids = [self.label_ids(row["text"], row["language"]) for row in rows]
        if first["window"] >= 0:
            mels, ids = self._packed(rows, mels, ids)
        elif first["vary"]:
            ids = self._sometimes_timed(rows, mels, ids)
        labels = pad_labels(ids)
        return {
            **encoder_inputs(mels, self._context(first)),
            "labels": labels,
            "decoder_input_ids": self._with_wrong_characters(self._moved_right(labels), first["vary"], rng),
        }

    def _context(self, row: dict) -> Context:
        """That of the run, but in plain 30 s windows; and before the variations, no more than a clip and its margin:
        fresh weights that hear 1,300 positions of silence from the start take very long to find the speech."""
        if row["full"] and row["window"] < 0:
            return FULL
        context = self.config.context
        return context if row["vary"] or context.kind == "full" else dataclasses.replace(context, kind="plain")

    def _packed(self, rows: list[dict], mels: list, ids: list) -> tuple[list[np.ndarray], list[list[int]]]:
        """A mel and labels for each of the batch's windows: half of them timed, half the text of all clips alone.

        Without the second half every label without times would be one clip, and a model that is asked for text without
        times would stop after the first sentence of a recording.
        """
        rng = np.random.default_rng((self.config.seed, rows[0]["batch"], 2))
        joined, labels = [], []
        for _, window in itertools.groupby(range(len(rows)), key=lambda i: rows[i]["window"]):
            clips = list(window)
            mel, spans = join_clips([mels[i] for i in clips], rng)
            joined.append(mel)
            if rng.random() < UNTIMED_WINDOWS:
                labels.append(self.label_ids(join_texts(rows[i]["text"] for i in clips)))
            else:
                labels.append(timed_labels([ids[i] for i in clips], spans, no_timestamps=self.no_timestamps))
        return joined, labels

    def _sometimes_timed(self, rows: list[dict], mels: list, ids: list) -> list[list[int]]:
        """The labels of a share of the clips with the times of begin and end, where there is room for two more."""
        rng = np.random.default_rng((self.config.seed, rows[0]["batch"], 1))
        timed = rng.random(len(rows)) < self.config.timestamps_share
        spans = [FrameRange(0, max(mel.shape[1] - EXTRA_FRAMES, 1)) for mel in mels]
        return [
            timed_labels([label], [span], no_timestamps=self.no_timestamps)
            if chosen and len(label) < MAX_DECODER_TOKENS
            else label
            for chosen, label, span in zip(timed, ids, spans, strict=True)
        ]

    def label_lengths(self, texts: Iterable[str]) -> np.ndarray:
        """Label tokens of each sentence without times, int64 (n,)."""
        return np.array([len(self.label_ids(text)) for text in texts], dtype=np.int64)

    def label_ids(self, text: str, language: str = "") -> list[int]:
        """Token ids of a sentence without the start token, which the model puts in front by itself.

        `language` is that of the clip, whose token comes first; "" stands for the run's own.

        The usual recipe looks for bos_token_id here, which in Whisper is the end token: it never finds it, and
        labels begin with two start tokens.
        """
        # a sentence that says <|nospeech|> is spelt like any other; it gives no orders
        ids = self.tokenizer(text, split_special_tokens=True).input_ids
        if ids[0] == self.start_token_id:
            ids = ids[1:]
        if language:
            ids[0] = self._language_id(language)
        if len(ids) > MAX_DECODER_TOKENS:
            raise CantowhisperError(
                f"a sentence has {len(ids)} tokens, and Whisper takes {MAX_DECODER_TOKENS}: {text[:40]}…"
            )
        return ids

    def _language_id(self, language: str) -> int:
        if language not in self._language_ids:
            token = token_of(self.tokenizer, language, self.config)
            self._language_ids[language] = self.tokenizer.convert_tokens_to_ids(token)
        return self._language_ids[language]

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


def encoder_inputs(mels: Sequence[np.ndarray], context: Context) -> dict[str, torch.Tensor]:
    """What the encoder takes for clips of log-Mel (n_mels, n_frames): input_features float32 (clips, n_mels, frames),
    and the `columns`, `positions` and `log_weights` of their windows, (clips, n) each."""
    windows = stack([context.window(mel.shape[1]) for mel in mels])
    features = np.stack([pad_to(mel, windows.n_frames) for mel in mels])
    arrays = {"input_features": features, **{name: getattr(windows, name) for name in WINDOW_FIELDS}}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def windows_and_inputs(batch: dict[str, torch.Tensor]) -> tuple[Windows, dict[str, torch.Tensor]]:
    """A batch as its windows, for ContextSeam.of, and what the model itself takes."""
    arrays = (batch[name].numpy(force=True) for name in WINDOW_FIELDS)
    inputs = {name: tensor for name, tensor in batch.items() if name not in WINDOW_FIELDS}
    return Windows(batch["input_features"].shape[2], *arrays), inputs


def check_mels(split, processor: WhisperProcessor) -> None:
    """Refuse, before anything is computed, a dataset that was made for another model."""
    found, wanted = len(split[0]["features"][0]), processor.feature_extractor.feature_size
    if found != wanted:
        raise CantowhisperError(
            f"the dataset has {found} Mel channels and the model takes {wanted}; make the features with n_mels={wanted}"
        )


def pad_labels(ids: list[list[int]]) -> torch.Tensor:
    """int64 (clips, tokens), filled with -100 after each clip's end token."""
    out = torch.full((len(ids), max(map(len, ids))), IGNORED, dtype=torch.int64)
    for row, clip in zip(out, ids, strict=True):
        row[: len(clip)] = torch.tensor(clip)
    return out
