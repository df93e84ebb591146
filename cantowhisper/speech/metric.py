"""Error rates as metrics of the `evaluate` library, which all scores, model cards and the notebooks are made with.

`evaluate.load("cer")` downloads and runs code at run time, knows one view and gives no interval; so the metrics are
defined here, on the library's own base class. This file stands apart from text.py because importing `evaluate` takes a
second or two, which the web pages should not pay: import it where it is used.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import datasets
import evaluate
import numpy as np

from cantowhisper.contracts import CantowhisperError
from cantowhisper.speech.text import CER_VIEWS, WER_VIEWS, cer_edits, word_edits

# Numbers that stay in the processor's cache; many calls for few clips would take ten times as long.
DRAWN_AT_A_TIME = 2**15
N_RESAMPLES = 1000  # the ends of a 95 % interval then vary by a few hundredths of its width


class ErrorRate(evaluate.Metric, ABC):
    """A corpus-level error rate in several views, each with its 95 % bootstrap interval over speakers or sentences.

    `compute(predictions=…, references=…, speakers=…)`: where who speaks is known ("" of those of whom it is not), the
    interval draws speakers, and `speakers` is how many; else it draws sentences, and `speakers` is 0.

    A subclass says what it counts: `short` begins the names of its results, `unit` names what edits are divided by,
    `views` are the ways to compare, `main_view` is the one that n and the number of units are of.
    """

    short: str
    unit: str
    views: Mapping[str, str]
    main_view: str

    @abstractmethod
    def edits(self, prediction: str, reference: str, view: str) -> tuple[int, int] | None:
        """(edits, units) of a sentence; None where its reference is empty."""

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description=f"{self.__doc__}\n\n" + "\n".join(f"{name}: {what}" for name, what in self.views.items()),
            citation="",
            inputs_description="predictions, references: lists of sentences, of equal length",
            features=datasets.Features({"predictions": text, "references": text}),
        )

    def _compute(self, *, predictions=None, references=None, speakers=None, **_) -> dict:
        results, predictions = {}, predictions or []
        speakers = [""] * len(predictions) if speakers is None else speakers
        for view in self.views:
            rows = zip(predictions, references or [], speakers, strict=True)
            counted = [(*counts, who) for said, meant, who in rows if (counts := self.edits(said, meant, view))]
            if not counted:
                raise CantowhisperError(f"no reference has {self.unit} to compare; check the text column")
            edits, units = np.array([row[:2] for row in counted], dtype=np.int64).T
            drawn = [row[2] for row in counted]
            if view == self.main_view:
                results |= {"n": len(counted), self.unit: int(units.sum()), "speakers": speakers_drawn(drawn)}
            results[f"{self.short}_{view}"] = float(edits.sum() / units.sum())
            results[f"{self.short}_{view}_interval"] = bootstrap_interval(edits, units, drawn)
        return results


class CharacterErrorRate(ErrorRate):
    """Character error rate: all edits over all characters of the references.

    >>> metric = CharacterErrorRate(keep_in_memory=True)
    >>> result = metric.compute(predictions=["食左飯未"], references=["食咗飯未呀？"])
    >>> result["n"], result["characters"], round(result["cer_no_punctuation"], 2), round(result["cer_raw"], 2)
    (1, 5, 0.4, 0.5)
    """

    short, unit, views, main_view = "cer", "characters", CER_VIEWS, "no_punctuation"

    def edits(self, prediction: str, reference: str, view: str) -> tuple[int, int] | None:
        return cer_edits(prediction, reference, view=view)


class WordErrorRate(ErrorRate):
    """Word error rate: all edits of words over all words of the references, for languages that put spaces between.

    >>> metric = WordErrorRate(keep_in_memory=True)
    >>> result = metric.compute(predictions=["ask what"], references=["Ask not what!"])
    >>> result["n"], result["words"], round(result["wer_no_punctuation"], 2), round(result["wer_raw"], 2)
    (1, 3, 0.33, 1.0)
    """

    short, unit, views, main_view = "wer", "words", WER_VIEWS, "no_punctuation"

    def edits(self, prediction: str, reference: str, view: str) -> tuple[int, int] | None:
        return word_edits(prediction, reference, view=view)


def speakers_drawn(speakers: Sequence[str]) -> int:
    """Speakers that an interval draws from: a sentence of an unknown one ("") has its own. 0: it draws sentences,
    because no speaker is known, or there is only one, who says nothing about others."""
    n = len(set(speakers) - {""}) + list(speakers).count("")
    return n if any(speakers) and n > 1 else 0


def bootstrap_interval(
    edits: np.ndarray,
    units: np.ndarray,
    speakers: Sequence[str] = (),
    *,
    n_resamples: int = N_RESAMPLES,
    seed: int = 20,
) -> tuple[float, float]:
    """The 95 % percentile interval of a corpus error rate, drawing with replacement (Bisani and Ney 2004).

    Drawn are speakers with all their clips, where they are known: clips of one speaker are alike, so that an interval
    over clips would be too narrow for other speakers. Without them, clips are drawn.

    edits, units : int64, shape (n_clips,): of each clip its edits, and the characters (or words) of its reference.
        With differences of edits (after − before) this is the interval of the paired difference.
    speakers : of each clip, "" where it is not known
    """
    if speakers_drawn(speakers):
        names = [who or index for index, who in enumerate(speakers)]
        number = {name: i for i, name in enumerate(dict.fromkeys(names))}
        of_clip = [number[name] for name in names]
        edits, units = (np.bincount(of_clip, counts).astype(np.int64) for counts in (edits, units))
    rng = np.random.default_rng(seed)
    at_a_time = max(1, DRAWN_AT_A_TIME // len(edits))
    rates = []
    for start in range(0, n_resamples, at_a_time):
        drawn = rng.integers(0, len(edits), (min(at_a_time, n_resamples - start), len(edits)))
        rates.append(edits[drawn].sum(axis=1) / units[drawn].sum(axis=1))
    low, high = np.percentile(np.concatenate(rates), [2.5, 97.5])
    return float(low), float(high)
