"""The CER as a metric of the `evaluate` library.

`evaluate.load("cer")` downloads and runs code at run time; this one is defined here. It stands apart from text.py
because importing `evaluate` takes seconds, which the web pages should not pay.
"""

import datasets
import evaluate

from cantowhisper.speech.text import CER_VIEWS, cer


class CharacterErrorRate(evaluate.Metric):
    """Corpus-level character error rate in three views.

    >>> metric = CharacterErrorRate()
    >>> result = metric.compute(predictions=["食左飯未"], references=["食咗飯未呀？"])
    >>> result["n"], round(result["no_punctuation"], 2), round(result["raw"], 2)
    (1, 0.4, 0.5)
    """

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="Character error rate: " + "; ".join(f"{k} = {v}" for k, v in CER_VIEWS.items()),
            citation="",
            inputs_description="predictions and references: one sentence each",
            features=datasets.Features({"predictions": text, "references": text}),
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict:
        results = {view: cer(predictions, references, view=view) for view in CER_VIEWS}
        return {"n": results["no_punctuation"].n, **{view: result.cer for view, result in results.items()}}
