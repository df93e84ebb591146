"""Terms that a search for text favours, as an automaton over tokens (Aho and Corasick 1975).

A whole term adds its weight to the score of a text, in nats, besides the model's log-probabilities (shallow fusion,
Zhao et al. 2019, "Shallow-fusion end-to-end contextual biasing"). On the way there a share of the weight is held in
advance, and is taken back where the text leaves the term: a beginning alone gains nothing.
"""

from collections.abc import Iterable, Sequence

import numpy as np

START = 0  # the state outside of any term


class Words:
    """What a text gains by its terms, token by token. States are whole numbers, and the automaton never changes.

    terms : of each term its tokenisations; whichever the text has, the term counts once where it ends
    weight : of a whole term, in nats

    >>> words = Words([[(1, 2, 3)], [(3, 4)]], weight=2.0)
    >>> words.gain_of([1, 2, 3]), words.gain_of([1, 2, 9]), words.gain_of([1, 2, 3, 4])
    (2.0, 0.0, 4.0)
    """

    def __init__(self, terms: Iterable[Iterable[Sequence[int]]], *, weight: float):
        self.weight = weight
        self._next: list[dict[int, int]] = [{}]
        self._share = [0.0]  # of the weight, by how much of a term is there
        self._ending: list[set[int]] = [set()]  # the terms that end in a state
        for number, tokenisations in enumerate(terms):
            for ids in tokenisations:
                self._add(number, ids)
        self._shorter = self._suffixes()
        self._openings: dict[int, tuple[np.ndarray, list[int]]] = {}
        self._continuations: dict[int, tuple[np.ndarray, list[int]]] = {}
        self._gains: dict[int, np.ndarray] = {}

    def __bool__(self) -> bool:
        return len(self._next) > 1

    def step(self, state: int, token: int) -> int:
        """The state after one more token: the longest end of the text that begins a term."""
        while state and token not in self._next[state]:
            state = self._shorter[state]
        return self._next[state].get(token, START)

    def after(self, ids: Iterable[int], state: int = START) -> int:
        """The state after some tokens."""
        for token in ids:
            state = self.step(state, token)
        return state

    def worth(self, state: int) -> float:
        """What the terms that end in a state add to the score."""
        return self.weight * len(self._ending[state])

    def held(self, state: int) -> float:
        """The share of the weight that is held in advance for the terms under way."""
        return self.weight * self._share[state]

    def gain(self, state: int, token: int) -> float:
        """What a token adds: the terms that end with it, and what is held after it, less what was held before it."""
        after = self.step(state, token)
        return self.worth(after) + self.held(after) - self.held(state)

    def gain_of(self, ids: Iterable[int]) -> float:
        """What a text adds that ends after these tokens."""
        state, total = START, 0.0
        for token in ids:
            total += self.gain(state, token)
            state = self.step(state, token)
        return total - self.held(state)

    def openings(self, state: int) -> tuple[np.ndarray, list[int]]:
        """Tokens that begin a term or go on with one after `state`, int64 (n,), and the state after each."""
        if state not in self._openings:
            found: dict[int, int] = {}
            place = state
            while place:
                found = {**self._next[place], **found}
                place = self._shorter[place]
            self._openings[state] = _as_arrays({**self._next[START], **found})
        return self._openings[state]

    def continuations(self, state: int) -> tuple[np.ndarray, list[int]]:
        """Only those that go on with the longest term under way."""
        if state not in self._continuations:
            self._continuations[state] = _as_arrays(self._next[state])
        return self._continuations[state]

    def encourage(self, scores: np.ndarray, states: Sequence[int]) -> np.ndarray:
        """Scores (rows, vocabulary) with what each token would add after each row's state."""
        scores = scores.copy()
        for row, state in zip(scores, states, strict=True):
            if state not in self._gains:
                self._gains[state] = np.array([self.worth(one) + self.held(one) for one in self.openings(state)[1]])
            row -= self.held(state)
            row[self.openings(state)[0]] += self._gains[state]
        return scores

    def _add(self, number: int, ids: Sequence[int]) -> None:
        state = START
        for depth, token in enumerate(ids):
            # Several terms may share the way here: the one that is nearest to its end decides what is held.
            self._share[state] = max(self._share[state], depth / len(ids))
            if token not in self._next[state]:
                self._next[state][token] = len(self._next)
                self._next.append({})
                self._share.append(0.0)
                self._ending.append(set())
            state = self._next[state][token]
        if ids:
            self._ending[state].add(number)

    def _suffixes(self) -> list[int]:
        """Of each state the longest shorter one that its text ends with; shorter ones pass on what ends in them."""
        shorter = [START] * len(self._next)
        states = list(self._next[START].values())  # grows while it is read: short ones before long ones
        for state in states:
            for token, after in self._next[state].items():
                place = shorter[state]
                while place and token not in self._next[place]:
                    place = shorter[place]
                shorter[after] = self._next[place].get(token, START)
                self._ending[after] |= self._ending[shorter[after]]
                self._share[after] = max(self._share[after], self._share[shorter[after]])
                states.append(after)
        return shorter


def _as_arrays(following: dict[int, int]) -> tuple[np.ndarray, list[int]]:
    return np.array(list(following), np.int64), list(following.values())
