"""Text into cues and lines: the cheapest way by where it breaks, how full lines are, and how long cues last."""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

from cantowhisper.serving.captions.breaks import (
    CLAUSE,
    FORCED,
    INSIDE,
    SENTENCE,
    SENTENCE_ENDS,
    break_costs,
    columns,
    is_in_a_word,
)
from cantowhisper.serving.captions.rules import CaptionRules

_CUE, _LINE = 3.0, 1.0  # what one more of each costs: about as much as a break at a word, or at a comma
_UNEVEN = 2.0  # lines of one cue, or cues of one sentence, that differ by a whole line
_SENTENCE_IN_A_CUE = 3.0  # a sentence that ends inside of a cue: as dear as a cue of its own
_TOO_LONG, _TOO_SHORT = 60.0, 8.0  # a cue of twice the longest, or of nothing instead of the shortest time


@dataclass
class Layout:
    """A transcript on one line and the places where it may be broken. Slices are (first character, the one after the
    last); a space at their end is not shown.

    pieces : slices of what was recognised together; a cue may always end where one of them does
    speakers : who speaks in each piece
    """

    text: str
    pieces: Sequence[tuple[int, int]]
    rules: CaptionRules
    japanese: bool = False
    speakers: Sequence[int | str] = ()
    costs: list[float | None] = field(init=False)

    def __post_init__(self):
        taken = columns(self.text, full_width=self.rules.full_width)
        self._before = [0, *accumulate(taken)]
        self._drawn = [bool(n) for n in taken]
        self._room = self.rules.line_columns
        self.costs = [None] * len(self.text)
        for first, _ in self.pieces:
            self.costs[first] = CLAUSE

    def _find_places(self, first: int, after: int) -> None:
        """The places of a piece: good ones, and worse ones where a line would be too long without."""
        found = break_costs(self.text[first:after], japanese=self.japanese)
        self.costs[first + 1 : after] = [cost if cost is not None and cost < INSIDE else None for cost in found[1:]]
        beside_words = lambda k: self._drawn[k] and self.text[k] != " " and not is_in_a_word(self.text, k)
        for cost, may_end in (
            (INSIDE, lambda k: found[k - first] is not None),
            (FORCED, beside_words),
            (FORCED, lambda k: self._drawn[k] and self.text[k] != " "),
        ):
            for left, right in pairwise(self.places(first, after)):
                if self.width(left, right) > self._room:
                    self.costs[left + 1 : right] = [cost if may_end(k) else None for k in range(left + 1, right)]

    def places(self, first: int, after: int) -> list[int]:
        """Where lines of a slice may begin and end, its own ends included."""
        return [first, *(k for k in range(first + 1, after) if self.costs[k] is not None), after]

    def speaker(self, k: int) -> int | str:
        """Who says a character; 0 where that is not known."""
        return self.speakers[bisect_right(self.pieces, k, key=lambda piece: piece[0]) - 1] if self.speakers else 0

    def width(self, first: int, after: int) -> int:
        """Columns of a line."""
        return self._before[after] - self._before[first] - (self.text[after - 1] == " ")

    def lines(self, first: int, after: int) -> tuple[float, list[int]] | None:
        """The best way to show a slice in one cue: (cost, where its lines after the first begin). None: too long."""
        return self._lines(self.places(first, after), self.rules.max_lines)

    def shown(self, first: int, after: int) -> tuple[str, ...]:
        """The lines of a cue."""
        _, inner = self.lines(first, after)  # which was asked before it became a cue
        ends = [first, *inner, after]
        return tuple(self.text[a:b].strip() for a, b in pairwise(ends))

    def _lines(self, places: list[int], at_most: int) -> tuple[float, list[int]] | None:
        first, after = places[0], places[-1]
        if self.width(first, after) <= self._room:
            return 0.0, []
        best = None
        for i, k in enumerate(places[1:-1], start=1):
            upper, lower = self.width(first, k), self.width(k, after)
            if upper > self._room:
                break
            if lower > (at_most - 1) * (self._room + 1):  # and a space where it ends
                continue
            rest = self._lines(places[i:], at_most - 1)
            if rest is not None:
                cost = self.costs[k] / 2 + (_SENTENCE_IN_A_CUE if self.costs[k] == SENTENCE else 0.0)
                cost += _LINE + rest[0] + _UNEVEN * abs(upper - lower) / self._room
                if best is None or cost < best[0]:
                    best = cost, [k, *rest[1]]
        return best

    def cut(self, first: int, after: int, seconds: Callable[[int, int], float]) -> list[tuple[int, int]]:
        """A piece as the slices of its cues.

        seconds : how long a slice is spoken
        """
        if self._is_one_cue(first, after, seconds):
            return [(first, after)]
        self._find_places(first, after)
        places = self.places(first, after)
        # For each place: the cost of all before it, and the number of the place where its cue begins.
        best: list[tuple[float, int]] = [(0.0, 0)]
        most = self.rules.max_lines * (self._room + 1)
        for end in range(1, len(places)):
            least, chosen = float("inf"), end - 1
            for begin in range(end - 1, -1, -1):
                if self.width(places[begin], places[end]) > most:
                    break  # and from further back it is longer still
                if best[begin][0] + _CUE < least:
                    cost = best[begin][0] + self._cue_cost(places[begin : end + 1], seconds)
                    if cost < least:
                        least, chosen = cost, begin
            best.append((least + (self.costs[places[end]] if end < len(places) - 1 else 0.0), chosen))
        slices, end = [], len(places) - 1
        while end:
            begin = best[end][1]
            slices.append((places[begin], places[end]))
            end = begin
        return slices[::-1]

    def _is_one_cue(self, first: int, after: int, seconds) -> bool:
        """The usual case, told without looking for places: a short line without a sentence's end in it."""
        inner = self.text[first:after].rstrip(" " + SENTENCE_ENDS)
        short = self.width(first, after) <= self._room and seconds(first, after) <= self.rules.max_s
        return short and not any(end in inner for end in SENTENCE_ENDS)

    def _cue_cost(self, places: list[int], seconds) -> float:
        """What it costs to show a slice as one cue: infinity where it does not fit."""
        lines = self._lines(places, self.rules.max_lines)
        if lines is None:
            return float("inf")
        first, after = places[0], places[-1]
        empty = 1 - self.width(first, after) / (self.rules.max_lines * self._room)
        lasts, rules = seconds(first, after), self.rules
        late = max(0.0, lasts - rules.max_s) / rules.max_s
        early = max(0.0, rules.min_s - lasts) / rules.min_s if rules.min_s else 0.0
        inside = sum(_SENTENCE_IN_A_CUE for k in places[1:-1] if self.costs[k] == SENTENCE and k not in lines[1])
        return _CUE + lines[0] + inside + _UNEVEN * empty**2 + _TOO_LONG * late + _TOO_SHORT * early
