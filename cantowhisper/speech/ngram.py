"""An n-gram language model over a Whisper's tokens, for shallow fusion: text that nobody has read aloud.

A few minutes of recordings teach the sound of a language, and few of its words. Sentences are easier to come by:
counted in runs of three tokens, they say which of two texts that sound alike people write. A search adds `weight` times
the log-probability of each token to the model's own (shallow fusion, Gulcehre et al. 2015, arXiv 1503.03535). Counts
are smoothed by interpolated Kneser-Ney (Chen and Goodman 1999): a token that is new after some others is as likely as
the number of different tokens it has followed.
"""

import dataclasses
import json
import math
import os
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from cantowhisper.contracts import CantowhisperError

ORDERS = (2, 3, 4)
DISCOUNT = 0.75  # of each count, kept for what was not seen; 0.9 foretells held-out sentences no worse
FUSION_BEAM = 5  # beginnings of a text at a time, where a language model has a say
KEPT_STATES = 128  # log-probabilities of a whole vocabulary, 0.2 MB each

State = tuple[int, ...] | None  # the last order - 1 tokens of a sentence; None between two sentences with times


@dataclass(frozen=True, kw_only=True)
class NGramFacts:
    """What a model is, as its file says it.

    end, first_timestamp : token ids; first_timestamp is None where the vocabulary has no times
    """

    language: str  # code of what it was counted in, and is used for
    vocabulary_size: int
    end: int
    first_timestamp: int | None
    order: int = 3
    weight: float = 0.1  # of a log-probability, in a search
    n_sentences: int = 0
    n_tokens: int = 0  # the ends count


@dataclass(frozen=True)
class _Level:
    """Runs of k tokens, by their first k - 1.

    contexts : int64 (n,), sorted, a number for each; starts : int64 (n + 1,), where its rows begin
    tokens : int32 (rows,), what follows; shares : float32 (rows,), its discounted share of the context's counts
    left : float32 (n,), log of what the discounts leave to shorter contexts
    """

    contexts: np.ndarray
    starts: np.ndarray
    tokens: np.ndarray
    shares: np.ndarray
    left: np.ndarray

    def after(self, context: int) -> tuple[np.ndarray, np.ndarray, float] | None:
        """(tokens, shares, left) of a context that was seen."""
        i = int(np.searchsorted(self.contexts, context))
        if i == len(self.contexts) or self.contexts[i] != context:
            return None
        rows = slice(int(self.starts[i]), int(self.starts[i + 1]))
        return self.tokens[rows], self.shares[rows], float(self.left[i])


class NGram:
    """A counted language model. It never changes, and states are plain values.

    >>> facts = NGramFacts(language="yue", vocabulary_size=6, end=5, first_timestamp=None, weight=1.0)
    >>> model = NGram.learn([[1, 2, 3], [1, 2, 4]], facts)
    >>> after = model.log_probs(model.after([1, 2]))
    >>> round(float(np.exp(after).sum()), 6), bool(after[3] == after[4] > after[1])
    (1.0, True)
    """

    def __init__(self, facts: NGramFacts, unigrams: np.ndarray, levels: Sequence[_Level]):
        self.facts, self._unigrams, self._levels = facts, unigrams, tuple(levels)
        self._kept = lru_cache(KEPT_STATES)(self._log_probs)

    @classmethod
    def learn(cls, sentences: Iterable[Sequence[int]], facts: NGramFacts) -> "NGram":
        """Count sentences, each a sequence of token ids without specials.

        Raises
        ------
        CantowhisperError : there are none
        """
        order, start = facts.order, facts.vocabulary_size
        rows = [np.array([*[start] * (order - 1), *ids, facts.end], np.int64) for ids in sentences if len(ids)]
        if not rows:
            raise CantowhisperError("there are no sentences to learn from")
        runs = np.concatenate([np.lib.stride_tricks.sliding_window_view(row, order) for row in rows])
        runs, counts = np.unique(runs, axis=0, return_counts=True)
        levels = []
        for _ in range(order - 1):
            levels.append(_level(runs, counts, base=start + 1))
            runs, counts = np.unique(runs[:, 1:], axis=0, return_counts=True)  # before how many different tokens
        unigrams = np.full(facts.vocabulary_size, DISCOUNT * len(runs) / counts.sum() / facts.vocabulary_size)
        unigrams[runs[:, 0]] += (counts - DISCOUNT) / counts.sum()
        told = dataclasses.replace(facts, n_sentences=len(rows), n_tokens=sum(row.size - order + 1 for row in rows))
        return cls(told, np.log(unigrams).astype(np.float32), levels[::-1])

    def weighing(self, weight: float) -> "NGram":
        """The same model with another weight."""
        return NGram(dataclasses.replace(self.facts, weight=weight), self._unigrams, self._levels)

    def step(self, state: State, token: int) -> State:
        """The state after one more token: text, the end, or a time, which begins or ends a sentence."""
        if self._is_time(token):
            return self.begin if state is None or state == self.begin else None
        return (*(state or self.begin), token)[1:]

    def after(self, ids: Iterable[int]) -> State:
        """The state after some tokens."""
        state: State = self.begin
        for token in ids:
            state = self.step(state, token)
        return state

    @property
    def begin(self) -> tuple[int, ...]:
        """Before a sentence."""
        return (self.facts.vocabulary_size,) * (self.facts.order - 1)

    def log_probs(self, state: State) -> np.ndarray:
        """Natural logarithms of the probability of each token after a state, float32 (vocabulary_size,).

        A time that ends a sentence is as likely as its end; one that begins a sentence, and the end between two, are
        certain. The array is shared: copy it before it is changed.
        """
        return self._kept(state)

    def gains(self, state: State) -> np.ndarray:
        """What a search adds for each token, float32 (vocabulary_size,): `weight` times its log-probability."""
        return np.float32(self.facts.weight) * self.log_probs(state)

    def save(self, path: Path) -> None:
        """Write the model to a file as it is; `files.write_aside` makes that safe."""
        arrays: dict[str, Any] = {"unigrams": self._unigrams}
        for number, level in enumerate(self._levels, 2):
            arrays |= {f"{name}_{number}": value for name, value in vars(level).items()}
        facts = np.frombuffer(json.dumps(dataclasses.asdict(self.facts)).encode(), np.uint8)
        with path.open("wb") as file:
            np.savez_compressed(file, facts=facts, **arrays)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "NGram":
        """Read a model.

        Raises
        ------
        CantowhisperError : the file is no such model
        """
        try:
            with np.load(path, allow_pickle=False) as found:
                facts = NGramFacts(**json.loads(found["facts"].tobytes()))
                names = [field.name for field in dataclasses.fields(_Level)]
                levels = [_Level(*(found[f"{name}_{k}"] for name in names)) for k in range(2, facts.order + 1)]
                model = cls(facts, found["unigrams"], levels)
            if not model._is_sound():
                raise ValueError("its parts do not fit together")
        except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise CantowhisperError(
                f"{path} is not readable as a language model ({error}); make it again: cantowhisper language-model"
            ) from error
        return model

    def _is_sound(self) -> bool:
        """Whether the arrays fit together: a file from the Hub may hold anything."""
        size = self.facts.vocabulary_size
        sizes = [len(self._unigrams) == size, 0 <= self.facts.end < size, len(self._levels) == self.facts.order - 1]
        for level in self._levels:
            n, rows = len(level.contexts), len(level.tokens)
            sizes += [len(level.starts) == n + 1, len(level.left) == n, len(level.shares) == rows]
            sizes += [level.starts[0] == 0, level.starts[-1] == rows, bool((np.diff(level.starts) >= 0).all())]
            sizes += [not rows or (level.tokens.min() >= 0 and level.tokens.max() < size)]
        return self.facts.order in ORDERS and all(map(bool, sizes))

    def _is_time(self, token: int) -> bool:
        first = self.facts.first_timestamp
        return first is not None and token >= first

    def _log_probs(self, state: State) -> np.ndarray:
        found = self._unigrams.copy()
        if state is None:
            found[:] = -np.inf  # only a time or the end comes between two sentences
            found[self.facts.end] = 0.0
        else:
            self._sharpen(found, state)
        if (first := self.facts.first_timestamp) is not None:
            inside = state is not None and state != self.begin
            found[first:] = found[self.facts.end] if inside else 0.0
        found.flags.writeable = False
        return found

    def _sharpen(self, found: np.ndarray, state: tuple[int, ...]) -> None:
        """Turn unigrams, log-probabilities, into those after a state, in place."""
        levels, base = [], self.facts.vocabulary_size + 1
        for k, level in enumerate(self._levels, 2):
            seen = level.after(_number(state[len(state) - k + 1 :], base))
            levels += [seen] if seen else []
        if not levels:
            return
        known = np.unique(np.concatenate([tokens for tokens, _, _ in levels]))
        probabilities = np.exp(found[known].astype(np.float64))
        for tokens, shares, left in levels:
            probabilities *= math.exp(left)
            probabilities[np.searchsorted(known, tokens)] += shares
        found += np.float32(sum(left for _, _, left in levels))
        found[known] = np.log(probabilities)


def _level(runs: np.ndarray, counts: np.ndarray, *, base: int) -> _Level:
    """runs : int64 (n, k), sorted rows; counts : int64 (n,)"""
    numbers = np.zeros(len(runs), np.int64)
    for column in runs[:, :-1].T:
        numbers = numbers * base + column
    contexts, starts = np.unique(numbers, return_index=True)
    totals = np.add.reduceat(counts, starts)
    ends = np.append(starts, len(runs)).astype(np.int64)
    shares = (counts - DISCOUNT) / np.repeat(totals, np.diff(ends))
    left = np.log(DISCOUNT * np.diff(ends) / totals)
    return _Level(contexts, ends, runs[:, -1].astype(np.int32), shares.astype(np.float32), left.astype(np.float32))


def _number(context: Sequence[int], base: int) -> int:
    number = 0
    for token in context:
        number = number * base + token
    return number
