"""Greedy search with a list of words: where a word might be meant, it is tried beside the text, and judged as a whole.

A bonus that greedy search gives to the first token of a word cannot be taken back when the word is abandoned: the
token is written. So the text itself goes on without any. Where a token that begins or continues a listed word is
nearly as likely as the likeliest one, a rival writes the word in a row of its own, while it could still win: while
its score (log-probabilities, and the weights of whole words in it) may come to more than that of the text, which is
as many tokens long. When its word is whole and `READ_ON` tokens have followed, the better of the two goes on. A word
that is abandoned has changed nothing, exactly.

A rival costs a row in a few steps, not a text: that is what beam search would cost.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cantowhisper.serving.engines.engine import Decoded
from cantowhisper.serving.engines.search import Decoding, Row, Rules, decoded
from cantowhisper.serving.engines.words import START, Words

# Nats by which the first token of a rival is less likely than the likeliest one, at the most; glossary.py has what was
# measured. On those clips 6 % of all steps had a rival, and 13 % with 2 nats.
NEAR = 1.0
MAX_RIVALS = 2  # of a text at a time
READ_ON = 1  # tokens after a word, before it is judged: a word that was not said leaves the model at a loss


@dataclass
class _Path(Row):
    """A text that is being written, in row `row` of the decoding."""

    row: int = 0
    state: int = START
    score: float = 0.0
    hopes: float = 0.0  # the weight of the word that a rival is writing; 0 when it is whole
    to_read: int = READ_ON

    def go(self, token: int, log_prob: float, rules: Rules, words: Words) -> None:
        """Write a token."""
        self.write(token, log_prob, rules)
        self.state = words.step(self.state, token)
        self.score += log_prob + words.worth(self.state)

    def rival(self, token: int, log_prob: float, rules: Rules, words: Words) -> "_Path":
        """Another text, which goes on from this one with a token of a word."""
        other = copy.copy(self)
        other.ids, other.log_probs, other.text = self.ids.copy(), self.log_probs.copy(), self.text.copy()
        other.hopes, other.to_read = words.weight, READ_ON
        other.begin_or_continue(token, log_prob, rules, words)
        return other

    def begin_or_continue(self, token: int, log_prob: float, rules: Rules, words: Words) -> None:
        self.go(token, log_prob, rules, words)
        if words.worth(self.state):
            self.hopes = 0.0

    @property
    def is_ready(self) -> bool:
        """Whether a rival can be judged."""
        return not self.hopes and (self.to_read <= 0 or self.ended)


@dataclass
class _Clip:
    """The text of a clip, and its rivals."""

    main: _Path
    rivals: list[_Path] = field(default_factory=list)

    @property
    def paths(self) -> list[_Path]:
        """Those that want another token."""
        return [path for path in (self.main, *self.rivals) if not path.ended]

    def step(self, likely: "_Likely", rules: Rules, words: Words) -> None:
        """Judge the rivals that are ready, and write a token in every text."""
        self._judge(likely)
        new = [] if self.main.ended else self._challenge(likely, rules, words)
        for rival in self.rivals:
            if rival.hopes:
                _follow(rival, likely, rules, words)
            else:
                rival.go(*likely.best(rival.row), rules, words)
                rival.to_read -= 1
        if not self.main.ended:
            self.main.go(*likely.best(self.main.row), rules, words)
        self.main.ended |= len(self.main.ids) >= rules.max_new_tokens
        hopeful = [r for r in (*new, *self.rivals) if r.score + r.hopes > self.main.score and _may_go_on(r, rules)]
        self.rivals = sorted(hopeful, key=lambda rival: -rival.score)[:MAX_RIVALS]
        if self.main.ended and all(rival.ended for rival in self.rivals):
            self._judge(likely)

    def _judge(self, likely: "_Likely") -> None:
        """Go on with the best of the text and its rivals that are ready, each with the token that would be next."""
        ready = [rival for rival in self.rivals if rival.is_ready]
        if not ready:
            return
        prospect = lambda path: path.score + (0.0 if path.ended else likely.best(path.row)[1])
        best = max([self.main, *ready], key=prospect)
        self.rivals = [] if best is not self.main else [rival for rival in self.rivals if not rival.is_ready]
        self.main = best

    def _challenge(self, likely: "_Likely", rules: Rules, words: Words) -> list[_Path]:
        """Rivals that go on from the text with a token of a word which is nearly as likely as the likeliest."""
        tokens, _ = words.openings(self.main.state)
        best, log_prob = likely.best(self.main.row)
        each = likely.of(self.main.row, tokens)
        near = np.flatnonzero(each > log_prob - NEAR)
        near = near[np.argsort(-each[near], kind="stable")][: MAX_RIVALS + 1]
        return [
            self.main.rival(int(tokens[i]), float(each[i]), rules, words) for i in near.tolist() if tokens[i] != best
        ]


def _follow(rival: _Path, likely: "_Likely", rules: Rules, words: Words) -> None:
    """Write the likeliest token of the word."""
    tokens, _ = words.continuations(rival.state)
    each = likely.of(rival.row, tokens)
    i = int(each.argmax())
    rival.begin_or_continue(int(tokens[i]), float(each[i]), rules, words)


def _may_go_on(rival: _Path, rules: Rules) -> bool:
    if rival.ended:
        return not rival.hopes
    return bool(np.isfinite(rival.score)) and len(rival.ids) < rules.max_new_tokens


class _Likely:
    """Log-probabilities of a step, computed where they are asked for. logits : float32 (rows, vocabulary)."""

    def __init__(self, logits: np.ndarray):
        self._logits = logits
        self._tokens = logits.argmax(axis=1)
        largest = logits.max(axis=1)
        self._best = -np.log(np.exp(logits - largest[:, np.newaxis]).sum(axis=1))
        self._total = largest - self._best

    def best(self, row: int) -> tuple[int, float]:
        """The likeliest token of a row and its log-probability."""
        return int(self._tokens[row]), float(self._best[row])

    def of(self, row: int, tokens: np.ndarray) -> np.ndarray:
        return self._logits[row, tokens] - self._total[row]


def greedy_with_words(decoding: Decoding, prompts: np.ndarray, rules: Rules, words: Words) -> list[Decoded]:
    """The likeliest token each time, but where a listed word makes the better text. prompts : int64 (clips, n)."""
    state = words.after(rules.written)
    clips = [_Clip(_Path(row=row, state=state)) for row in range(len(prompts))]
    ids = prompts
    while True:
        paths = sorted((path for clip in clips for path in clip.paths), key=lambda path: path.row)
        likely = _Likely(rules.allowed(decoding.advance(ids), [path.ids for path in paths]))
        for clip in clips:
            if clip.paths:
                clip.step(likely, rules, words)
        paths = _placed([path for clip in clips for path in clip.paths])
        if not paths:
            return [decoded(clip.main.ids, clip.main.log_probs) for clip in clips]
        _select(decoding, [path.row for path in paths], len(ids), one_clip=len(clips) == 1)
        for row, path in enumerate(paths):
            path.row = row
        ids = np.array([[path.ids[-1]] for path in paths])


def _placed(paths: Sequence[_Path]) -> list[_Path]:
    """Paths in the rows where they are, as far as that goes: what is moved is copied."""
    placed: list[_Path | None] = [None] * len(paths)
    others = []
    for path in paths:
        if path.row < len(paths) and placed[path.row] is None:
            placed[path.row] = path
        else:
            others.append(path)
    return [path or others.pop() for path in placed]


def _select(decoding: Decoding, rows: list[int], n_rows: int, *, one_clip: bool) -> None:
    """Go on with these rows. Those of one clip share what was heard of it; else each is a clip of its own."""
    if rows != list(range(n_rows)):
        decoding.select(np.array(rows), np.array([0] if one_clip else rows))
