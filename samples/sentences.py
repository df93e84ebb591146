"""The sentences of the corpus: fillings of the grammar, shared out to splits that have none in common.

Nothing here touches audio: this file needs only the standard library and gives the same sentences everywhere.
"""

import heapq
import random
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from grammar import FIXED_TRAIN, SLOTS, TEMPLATES

DIGITS = "零一二三四五六七八九"

MIN_CHARACTERS = 7
MAX_CHARACTERS = 13
MIN_TRAIN_COUNT = 10  # sentences; what dev and test may rely on
WANTED_TRAIN_COUNT = 18  # sentences; what the choice of train aims at


@dataclass(frozen=True)
class Sentence:
    """One sentence and its Common Voice ``sentence_domain``."""

    text: str
    domain: str


def normalise(text: str) -> str:
    """NFKC without punctuation, symbols and spaces: what makes two sentences the same."""
    return "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c)[0] in "LN")


def characters(text: str) -> set[str]:
    """The distinct characters of a sentence, punctuation left out."""
    return set(normalise(text))


def phone_number(rng: random.Random) -> str:
    """Eight digits as Hong Kong numbers have them, in characters."""
    return "".join([DIGITS[rng.choice((2, 3, 5, 6, 9))]] + [rng.choice(DIGITS) for _ in range(7)])


def expand(template: str, rng: random.Random) -> str:
    """Fill every slot of a template at random; two slots of one kind get different fillers, and so do two persons."""
    used: dict[str, set[str]] = {}

    def fill(match: re.Match) -> str:
        kind = match[1]
        taken = used.setdefault("who" if kind in ("name", "kin") else kind, set())
        while True:
            value = phone_number(rng) if kind == "phone" else expand(rng.choice(SLOTS[kind].split()), rng)
            if value not in taken:
                taken.add(value)
                return value

    return re.sub(r"\{([a-z_]+)\d?\}", fill, template)


def templates() -> list[tuple[str, str]]:
    """All (template, domain) pairs in the order of the file."""
    return [(line.strip(), domain) for domain, block in TEMPLATES.items() for line in block.split("\n") if line.strip()]


def pool(rng: random.Random, *, rounds: int) -> list[Sentence]:
    """Distinct sentences of allowed length: up to ``rounds`` from each template, templates taking turns."""
    seen = {normalise(text) for text, _ in FIXED_TRAIN}
    found = []
    for _ in range(rounds):
        for template, domain in templates():
            text = expand(template, rng)
            if MIN_CHARACTERS <= len(text) <= MAX_CHARACTERS and text not in seen:
                seen.add(text)
                found.append(Sentence(text, domain))
    return found


def pick_train(candidates: list[Sentence], n_sentences: int) -> list[Sentence]:
    """Choose sentences so that every character of the grammar is common enough to be learnt.

    Greedy cover: the sentence whose characters lack most is taken next, until each occurs in WANTED_TRAIN_COUNT
    sentences; the rest of the quota is filled in the given (already shuffled) order. What a sentence adds only ever
    shrinks, so an entry whose score is still true when it reaches the top of the heap is the best one.
    """
    counts = Counter(c for text, _ in FIXED_TRAIN for c in characters(text))
    chosen = {Sentence(*pair): None for pair in FIXED_TRAIN}

    def lack(sentence: Sentence) -> int:
        return sum(max(0, WANTED_TRAIN_COUNT - counts[c]) for c in characters(sentence.text))

    heap = [(-lack(sentence), i) for i, sentence in enumerate(candidates)]
    heapq.heapify(heap)
    while heap and heap[0][0] < 0:
        _, i = heapq.heappop(heap)
        now = -lack(candidates[i])
        if heap and now > heap[0][0]:
            heapq.heappush(heap, (now, i))
        else:
            chosen[candidates[i]] = None
            counts.update(characters(candidates[i].text))
    if len(chosen) > n_sentences:
        raise ValueError(f"{len(chosen)} sentences are needed to cover the grammar, more than {n_sentences}")
    rest = [sentence for sentence in candidates if sentence not in chosen]
    return list(chosen) + rest[: n_sentences - len(chosen)]


def compose(*, seed: int, n_train: int, n_dev: int, n_test: int, n_more: int) -> dict[str, list[Sentence]]:
    """The sentences of each split and ``more`` that occur in none of them, for the long pieces and odd tables.

    Raises ValueError where a character outside train would be rarer in train than MIN_TRAIN_COUNT sentences.
    """
    rng = random.Random(seed)
    candidates = pool(rng, rounds=30)
    rng.shuffle(candidates)
    train = pick_train(candidates, n_train)
    counts = Counter(c for sentence in train for c in characters(sentence.text))
    taken = {normalise(sentence.text) for sentence in train}
    rest = [s for s in candidates if normalise(s.text) not in taken]
    sizes = {"dev": n_dev, "test": n_test, "more": n_more}
    splits, start = {"train": train}, 0
    for split, size in sizes.items():
        splits[split] = rest[start : start + size]
        start += size
        if len(splits[split]) < size:
            raise ValueError(f"the grammar gives too few sentences for {split}")
        rare = {c for s in splits[split] for c in characters(s.text) if counts[c] < MIN_TRAIN_COUNT}
        if rare:
            raise ValueError(f"{split} holds characters that train has too rarely: {''.join(sorted(rare))}")
    return splits
