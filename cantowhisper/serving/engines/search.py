"""Greedy and beam search over any decoder that writes a token a step."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from cantowhisper.serving.engines.engine import Decoded
from cantowhisper.serving.engines.fusion import Favours
from cantowhisper.serving.engines.timestamps import Timestamps
from cantowhisper.serving.engines.words import START, Words


class Decoding(Protocol):
    """A batch of clips in the middle of being decoded. Each clip has equally many rows, which are neighbours."""

    def advance(self, ids: np.ndarray) -> np.ndarray:
        """Write ids, int64 (rows, n), and return the logits of what follows, float32 (rows, vocabulary)."""
        ...

    def select(self, rows: np.ndarray, clips: np.ndarray) -> None:
        """Go on with these rows of these clips. A row may be taken several times, and a clip too: as several clips."""
        ...


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What may be written."""

    end: int
    never: list[int]  # tokens, in any step
    never_first: list[int]  # besides, where a text begins
    max_new_tokens: int
    written: tuple[int, ...] = ()  # text at the end of the prompt
    repetition_penalty: float = 1.0  # multiplies the log-probability of tokens that were there
    no_repeat_ngram_size: int = 0  # so many are not said again in the same order; 0 for no limit
    timestamps: Timestamps | None = None  # write when each passage begins and ends, by its rules

    def allowed(self, logits: np.ndarray, ids: Sequence[Sequence[int]]) -> np.ndarray:
        """The logits themselves, with -inf for what may not come after the tokens `ids` of each row."""
        logits[:, self.never] = -np.inf
        if not self.written and not any(ids):
            logits[:, self.never_first] = -np.inf
        if self.timestamps:
            for row, own in zip(logits, ids, strict=True):
                self.timestamps.constrain(row, own)
        return logits

    def discourage(self, log_probs: np.ndarray, ids: list[tuple[int, ...]]) -> np.ndarray:
        """What each row would repeat made less likely, after `ids`; the arrays may be the same."""
        if self.repetition_penalty == 1.0 and not self.no_repeat_ngram_size:
            return log_probs
        ranked = log_probs.copy()
        for row, own in zip(ranked, ids, strict=True):
            text = (*self.written, *own)
            there = list(set(text))
            row[there] *= self.repetition_penalty
            row[_would_repeat(text, self.no_repeat_ngram_size)] = -np.inf
        return ranked


def _would_repeat(text: tuple[int, ...], n: int) -> list[int]:
    """Tokens after which the last `n` tokens would be ones that `text` has already.

    >>> _would_repeat((1, 2, 3, 1, 2), 3)
    [3]
    """
    if not n:
        return []
    last = text[len(text) - n + 1 :]
    return [text[i + n - 1] for i in range(len(text) - n + 1) if text[i : i + n - 1] == last]


LOOP_TOKENS, LOOP_TURNS, LONGEST_TURN = 24, 4, 16


def goes_round(text: Sequence[int]) -> bool:
    """Whether a text ends in a loop: at least 24 tokens that are the same one to 16 tokens at least four times.

    Greedy search that has come so far goes on until it may write no more.

    >>> goes_round([1, 2, 3] * 8), goes_round([1, 2, 3] * 7), goes_round([*range(30)])
    (True, False, False)
    """
    for turn in range(1, LONGEST_TURN + 1):
        n = max(LOOP_TOKENS, LOOP_TURNS * turn)
        if len(text) >= n and text[-n:-turn] == text[turn - n :]:
            return True
    return False


@dataclass
class Row:
    """What greedy search wrote for one clip, with the log-probability of each token and of the end."""

    ids: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)
    ended: bool = False
    text: list[int] = field(default_factory=list)  # ids without timestamps

    def write(self, token: int, log_prob: float, rules: Rules) -> None:
        if self.ended:
            return
        self.log_probs.append(log_prob)
        self.ended = token == rules.end
        if self.ended:
            return
        self.ids.append(token)
        if not rules.timestamps or token < rules.timestamps.first:
            self.text.append(token)
            self.ended = goes_round(self.text)


def greedy(decoding: Decoding, prompts: np.ndarray, rules: Rules) -> list[Decoded]:
    """The likeliest token each time, until the end token, a loop or `max_new_tokens`. prompts : int64 (clips, n)."""
    rows = [Row() for _ in prompts]
    going, ids = list(range(len(rows))), prompts
    for _ in range(rules.max_new_tokens):
        logits = rules.allowed(decoding.advance(ids), [rows[i].ids for i in going])
        best = logits.argmax(axis=1)
        likely = -np.log(np.exp(logits - logits.max(axis=1, keepdims=True)).sum(axis=1))
        for i, token, log_prob in zip(going, best.tolist(), likely.tolist(), strict=True):
            rows[i].write(token, log_prob, rules)
        still = [place for place, i in enumerate(going) if not rows[i].ended]
        if not still:
            break
        ids = best[:, np.newaxis]
        if len(still) <= len(going) / 2:  # a smaller batch is quicker, but to make one costs a copy
            decoding.select(np.array(still), np.array(still))
            going, ids = [going[place] for place in still], ids[still]
    return [decoded(row.ids, row.log_probs) for row in rows]


@dataclass(frozen=True)
class _Beam:
    """A beginning of a text. `score` ranks it: the sum of its log-probabilities, less what repeating costs, and with
    what is favoured."""

    score: float = 0.0
    ids: tuple[int, ...] = ()
    log_probs: tuple[float, ...] = ()
    state: Any = START  # of what is favoured

    @property
    def mean_score(self) -> float:
        return self.score / max(len(self.log_probs), 1)


@dataclass
class _ClipBeams:
    """The beams of one clip, best first, and the best whole texts so far."""

    size: int
    favours: Favours
    beams: list[_Beam]
    whole: list[_Beam] = field(default_factory=list)
    done: bool = False

    def step(self, log_probs: np.ndarray, ranked: np.ndarray, *, end: int, last: bool) -> list[tuple[int, int]]:
        """Lengthen the beams by a token; returns (beam it goes on from, token) of each new one."""
        scores = np.array([beam.score for beam in self.beams])[:, np.newaxis] + ranked
        taken, beams = [], []
        for rank, (beam, token) in enumerate(_largest(scores, 2 * self.size)):
            old, log_prob = self.beams[beam], float(log_probs[beam, token])
            ids = old.ids if token == end else (*old.ids, token)
            state = self.favours.step(old.state, token)
            longer = _Beam(float(scores[beam, token]), ids, (*old.log_probs, log_prob), state)
            if token == end or last:
                self.whole += [longer] if rank < self.size else []
            elif len(beams) < self.size:
                beams.append(longer)
                taken.append((beam, token))
        self.whole = sorted(self.whole, key=lambda one: -one.mean_score)[: self.size]
        # As transformers by default: go on while the best beginning is worth more a token than the worst whole text.
        beaten = bool(beams) and len(self.whole) == self.size and beams[0].mean_score <= self.whole[-1].mean_score
        self.beams, self.done = beams, last or beaten
        return taken


def _largest(scores: np.ndarray, n: int) -> list[tuple[int, int]]:
    """Places (row, column) of the n largest, the largest first."""
    flat = scores.ravel()
    n = min(n, flat.size)
    top = np.argpartition(flat, flat.size - n)[flat.size - n :]
    top = top[np.lexsort((top, -flat[top]))]
    return [divmod(int(place), scores.shape[1]) for place in top]


def beam_search(
    decoding: Decoding, prompts: np.ndarray, rules: Rules, *, beam_size: int, favours: Favours | None = None
) -> list[Decoded]:
    """The text with the best mean log-probability a token that `beam_size` beginnings at a time lead to.

    favours : what they add counts for the choice, and not as probability
    """
    favours = favours or Words([], weight=0.0)
    begin = _Beam(state=favours.after(rules.written))
    clips = [_ClipBeams(beam_size, favours, [begin]) for _ in prompts]
    going, ids = clips, prompts
    for step in range(rules.max_new_tokens):
        last = step == rules.max_new_tokens - 1
        written = [beam.ids for clip in going for beam in clip.beams]
        log_probs = _log_softmax(rules.allowed(decoding.advance(ids), written))
        ranked = rules.discourage(log_probs, written)
        if favours:
            ranked = favours.encourage(ranked, [beam.state for clip in going for beam in clip.beams])
        n = len(log_probs) // len(going)  # rows a clip: one at first
        taken = [
            clip.step(log_probs[i * n : (i + 1) * n], ranked[i * n : (i + 1) * n], end=rules.end, last=last)
            for i, clip in enumerate(going)
        ]
        still = [i for i, clip in enumerate(going) if not clip.done]
        if not still:
            break
        decoding.select(np.array([i * n + beam for i in still for beam, _ in taken[i]]), np.array(still))
        ids = np.array([[token] for i in still for _, token in taken[i]])
        going = [going[i] for i in still]
    return [decoded(clip.whole[0].ids, clip.whole[0].log_probs) for clip in clips]


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def decoded(ids: Sequence[int], log_probs: Sequence[float]) -> Decoded:
    """A text with the log-probabilities of its tokens, and of the end if there is one."""
    return Decoded(list(ids), float(np.mean(log_probs)), tuple(log_probs[: len(ids)]))
