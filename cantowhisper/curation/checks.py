"""What may be wrong with a text, and from where on it counts as wrong: thresholds that the dataset itself gives.

Nobody has to say which texts are wrong. A text with the sound of another clip is a wrong one; half of such a text is a
wrong half; a text that is taken to end in its middle is one that was cut off. Their values come with those of the texts
as they are, from the same passes of the model, and a threshold is the value that a given share of them stays below.

What a text lacks at its beginning is not looked for. How much the sound adds to a text's first token, against other
tokens in its place, would find half of such texts at 2 % false alarms, and more only at many.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cantowhisper.curation.agreement import FEWEST_OTHERS, Agreement

STRETCH = 6  # tokens in a row, some four Chinese characters; right texts have fewer that the model does not know at all
FALSE_ALARMS = 0.05  # of the right texts, by all checks together
MOSTLY_WRONG = 0.5


@dataclass(frozen=True)
class Check:
    """One way in which a text may be wrong. Low values speak against it.

    recall : share of texts that are wrong in this way that is to be found, unless another is asked for
    value : of the text as it is
    wrong : values that it would have if it were wrong in this way
    """

    name: str
    recall: float
    value: Callable[[Agreement], float]
    wrong: Callable[[Agreement], Sequence[float]]


def gains(agreement: Agreement) -> np.ndarray:
    """Nats that the own sound adds to each token, (n_tokens,)."""
    return agreement.own - agreement.others.mean(axis=0)


def gains_of_others(agreement: Agreement) -> np.ndarray:
    """The same of each of the other sounds, compared with the rest of them, (n_others, n_tokens)."""
    n = len(agreement.others)
    total = agreement.others.sum(axis=0)
    return agreement.others - (total - agreement.others) / (n - 1)


def least_stretch(values: np.ndarray) -> tuple[float, int]:
    """The least mean of STRETCH tokens in a row (of all, where there are fewer), and where they begin."""
    n = min(STRETCH, values.size)
    means = np.convolve(values, np.ones(n) / n, mode="valid")
    at = int(means.argmin())
    return float(means[at]), at


def _whole(agreement: Agreement) -> float:
    return float(gains(agreement).mean())


def _wrong_whole(agreement: Agreement) -> Sequence[float]:
    return gains_of_others(agreement).mean(axis=1).tolist()


def _part(agreement: Agreement) -> float:
    return least_stretch(gains(agreement)[:-1])[0]


def _wrong_part(agreement: Agreement) -> Sequence[float]:
    """Of texts whose second half is another's."""
    half = (agreement.own.size - 1) // 2
    return [least_stretch(own[half:-1])[0] for own in gains_of_others(agreement)] if half >= STRETCH else []


def _end(agreement: Agreement) -> float:
    return float(agreement.own[-1])


def _wrong_end(agreement: Agreement) -> Sequence[float]:
    """Of texts that end after a half, or later."""
    return agreement.ends[agreement.own.size // 2 : -1].tolist()


ANOTHER, PART = "text of another recording", "part of the text is not in the sound"
CUT_OFF = "text ends too early"
CHECKS = (
    Check(ANOTHER, 0.99, _whole, _wrong_whole),
    Check(PART, 0.9, _part, _wrong_part),
    Check(CUT_OFF, 0.95, _end, _wrong_end),
)


class Threshold(NamedTuple):
    """Below `value` a text counts as wrong; -inf where the check cannot tell."""

    value: float
    recall: float  # share of wrong texts that are below it
    wrong: float  # share of the dataset's texts that are wrong in this way, as estimated
    false_alarms: float  # share of the right texts that are below it, as estimated


def threshold(own: Sequence[float], wrong: Sequence[float], *, recall: float, false_alarms: float) -> Threshold:
    """The value that a share `recall` of the wrong texts stays below, or fewer where that costs too many right ones.

    Right texts hardly lie in the lower half of the wrong ones' values. So what lies there of a dataset is half of its
    wrong texts, and what lies below a threshold beyond the expected share of those is right. Two standard errors of
    that estimate are let pass: in a small dataset it is a guess.

    >>> found = threshold([2.0] * 90 + [0.0] * 10, [0.1, -0.1] * 50, recall=0.95, false_alarms=0.05)
    >>> found.value, found.wrong, found.false_alarms
    (0.1, 0.2, 0.0)
    """
    own, wrong = np.asarray(own), np.asarray(wrong)
    if not own.size or not wrong.size:
        return Threshold(-np.inf, 0.0, 0.0, 0.0)
    n_low = int(np.sum(own < np.median(wrong)))
    share = min(1.0, 2 * n_low / own.size)
    if share > MOSTLY_WRONG:
        return Threshold(-np.inf, 0.0, share, 0.0)
    allowed = false_alarms + 2 * 2 * np.sqrt(n_low) / own.size
    for found in np.arange(recall, 0.5, -0.01):
        value = float(np.quantile(wrong, found))
        rate = max(0.0, (float(np.mean(own < value)) - float(found) * share) / (1 - share))
        if rate <= allowed:
            return Threshold(value, round(float(found), 2), round(share, 4), round(rate, 4))
    return Threshold(float(np.median(wrong)), 0.5, round(share, 4), 0.0)


class Measures(NamedTuple):
    """What is kept of a clip: for each check the value of its text, and those that it would have if it were wrong."""

    values: list[float]
    wrong: list[list[float]]
    least_ids: list[int]  # tokens of the stretch that the sound says least of


class Finding(NamedTuple):
    """What speaks against a text."""

    score: float  # nats a token that the sound adds to it
    check: str
    reason: str


def measured(agreement: Agreement) -> Measures | None:
    """None where too few other clips were near, or where there is no text."""
    if len(agreement.others) < FEWEST_OTHERS or agreement.own.size < 2:  # the last token is that of the end
        return None
    _, at = least_stretch(gains(agreement)[:-1])
    values = [check.value(agreement) for check in CHECKS]
    # Where two clips have each other's texts, the right sound is among the others: no example of a wrong one.
    own_fits_best = agreement.own.mean() >= agreement.others.mean(axis=1).max()
    wrong = [list(check.wrong(agreement)) if own_fits_best else [] for check in CHECKS]
    return Measures(values, wrong, agreement.ids[at:][:STRETCH].tolist())


def thresholds(measures: Sequence[Measures | None], *, recall: float | None = None) -> dict[str, Threshold]:
    """{name of a check: its threshold} for a dataset."""
    known = [one for one in measures if one]
    return {
        check.name: threshold(
            [one.values[i] for one in known],
            [value for one in known for value in one.wrong[i]],
            recall=check.recall if recall is None else recall,
            false_alarms=FALSE_ALARMS / len(CHECKS),
        )
        for i, check in enumerate(CHECKS)
    }


def finding(measures: Measures | None, limits: dict[str, Threshold], tokenizer) -> Finding | None:
    """What speaks most against a text; None if nothing does."""
    if measures is None:
        return None
    for check, value in zip(CHECKS, measures.values, strict=True):
        if value < limits[check.name].value:
            return Finding(measures.values[0], check.name, f"{check.name}: {_shown(check, value, measures, tokenizer)}")
    return None


def _shown(check: Check, value: float, measures: Measures, tokenizer) -> str:
    if check.name == PART:
        return " ".join(tokenizer.decode(measures.least_ids).replace("\ufffd", "").split())
    if check.name == CUT_OFF:
        return f"the model gives it {np.exp(value):.2%} to end there"
    return f"its sound adds {value:.2f} nats a token"
