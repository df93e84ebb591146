"""Training splits with fewer clips, with wrong texts, or with clips of another language; drawn by seed."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cantowhisper.contracts import FEATURE_COLUMNS, UsageError
from cantowhisper.curation.subset import FeatureFolder, write_changed
from cantowhisper.features.plan import sentence_key
from cantowhisper.files import write_aside
from cantowhisper.studies.variants import DataChange


def write_features(features: str, out: Path, change: DataChange, *, seed: int, other: str | None = None) -> None:
    """Write a feature dataset whose training split is changed, all but cleaned; what is at `out` already stays.

    Raises
    ------
    CantowhisperError : no feature dataset
    UsageError : the clips do not allow the change
    """
    if out.exists():
        return
    origin = FeatureFolder(features)
    train = origin.split("train")
    if change.share < 1:
        train = train.select(part(len(train), change.share, seed))
    if change.swapped:
        texts = swapped(train["text"], change.swapped, seed)
        train = train.remove_columns("text").add_column("text", texts)
    if change.mixed:
        train = _mixed(origin, train, FeatureFolder(other or ""), change.mixed, seed)
    drawn = {"share": change.share, "swapped": change.swapped, "mixed": change.mixed, "drawn_with": seed}
    with write_aside(out) as aside:
        write_changed(origin, aside, {"train": train}, identity=drawn, notes=["its training split is of a study"])


def part(n_clips: int, share: float, seed: int) -> list[int]:
    """The rows of a share of the clips, at least one, in their order; with one seed a larger share has them all too.

    >>> set(part(100, 0.1, seed=1)) < set(part(100, 0.25, seed=1))
    True
    """
    order = np.random.default_rng(seed).permutation(n_clips)
    return sorted(order[: max(1, round(share * n_clips))].tolist())


def swapped(texts: Sequence[str], share: float, seed: int) -> list[str]:
    """The texts, of which exactly round(share × clips) have changed places: none of those is the same sentence.

    Raises
    ------
    UsageError : too few clips, or too many with one sentence
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(texts))[: round(share * len(texts))].tolist()
    keys = {row: sentence_key(texts[row]) for row in chosen}
    most = max(Counter(keys.values()).values(), default=0)
    if not chosen or 2 * most > len(chosen):
        raise UsageError(
            f"{share:.0%} of {len(texts)} training texts cannot be swapped: {len(chosen)} clips, of which {most} have "
            "the same text; take a dataset with more clips"
        )
    # Where equal sentences stand side by side, a step over the largest group leads out of every group.
    groups = list(dict.fromkeys(keys.values()))
    place = dict(zip(groups, rng.permutation(len(groups)).tolist(), strict=True))
    order = sorted(chosen, key=lambda row: place[keys[row]])
    result = list(texts)
    for position, row in enumerate(order):
        result[row] = texts[order[(position + most) % len(order)]]
    return result


def _mixed(origin: FeatureFolder, train, other: FeatureFolder, ratio: float, seed: int):
    """The clips with some of another dataset's after them: none that shares a speaker or sentence with own clips."""
    import datasets

    mels = [one.identity.get("n_mels") for one in (origin, other)]
    if mels[0] != mels[1]:
        raise UsageError(
            f"{other.name} has {mels[1]} Mel channels and {origin.name} has {mels[0]}; make it with as many"
        )
    known = {"speaker": set(), "id": set(), "text": set()}
    for name in origin.splits:
        rows = origin.split(name)
        known["speaker"] |= set(rows["speaker"]) - {""}
        known["id"] |= set(rows["id"])
        known["text"] |= set(map(sentence_key, rows["text"]))
    theirs = other.split("train")
    facts = zip(theirs["id"], theirs["speaker"], map(sentence_key, theirs["text"]), strict=True)
    fresh = [
        row
        for row, (one, speaker, text) in enumerate(facts)
        if one not in known["id"] and speaker not in known["speaker"] and text not in known["text"]
    ]
    if not fresh:
        raise UsageError(f"{other.name} has no training clip that {origin.name} does not have")
    n = min(len(fresh), round(ratio * len(train)))
    rows = sorted(np.random.default_rng(seed).permutation(fresh)[:n].tolist())
    columns = list(FEATURE_COLUMNS)
    return datasets.concatenate_datasets([train.select_columns(columns), theirs.select(rows).select_columns(columns)])
