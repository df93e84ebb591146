"""The scores of a model folder: beside the model that it was tuned from, on other data, and kept for its card."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from cantowhisper.contracts import CantowhisperError, ModelFacts, UsageError
from cantowhisper.files import write_json
from cantowhisper.speech.context import context_of
from cantowhisper.speech.language import usual_script
from cantowhisper.speech.ngram import NGram
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.collator import check_mels
from cantowhisper.training.data.languages import check_tokens, main_language
from cantowhisper.training.data.load import load_split
from cantowhisper.training.model import load_model
from cantowhisper.training.results.analysis import Transcript, confusions, measure, measure_groups, paired_difference
from cantowhisper.training.results.facts import feature_origin, model_origin
from cantowhisper.training.results.scoring import (
    METRICS_FILE,
    scoring_config,
    spelling_of,
    summarize,
    transcribe_split,
    write_transcripts,
)
from cantowhisper.training.run.device import device_name


def score_folder(
    model: str | os.PathLike,
    features: str | os.PathLike,
    *,
    split: str = "test",
    contexts: Sequence[str] | None = None,
    groups: Mapping[str, str] | None = None,
    transcripts: str | os.PathLike | None = None,
    before: str | os.PathLike | None = None,
    canaries: Sequence[str | os.PathLike] = (),
    progress: bool = False,
) -> dict:
    """Score a model folder (or Hub id) on a split of a feature dataset, and the model that it was tuned from.

    `contexts` is by default the clip's own length, as the model was trained for it, or for a stock Whisper and one
    trained on 30 s windows with the silence merged; `transcripts` names a table to write, with several contexts one
    for each: `clips.variable.tsv` and `clips.full.tsv`. `before` is a folder or Hub id, scored at the first of the
    contexts; so are both models on `canaries`, the test (else validation) clips of other feature datasets.

    Returns
    -------
    {"model", "features", "split", "dataset": {"source", "revision"},
    "scores": {context: {group: scores}}, "groups": {trait: {value: scores}} at the first context,
    "before" (as "scores"), "before_model", "difference" (see analysis.paired_difference, and "context"),
    "elsewhere": [{"source", "language", "split", "context", "before_model", "view" (see canary_view), "before",
    "after", "difference"}, …],
    "speed": {"device", "threads", "sound_seconds_a_second": {context: …}},
    "confusions": [[said, written, times], …] at the first context}. Scores on the test split are also kept in the
    folder's `metrics.json`, and "test_reads" says how often that has happened for this model.
    """
    if canaries and before is None:
        raise UsageError("a canary shows what was forgotten: name the model that this one was tuned from (--before)")
    facts, contexts = ModelFacts.load(model), tuple(contexts or ("variable",))
    rows = load_split(features, split)
    others = [_canary(name) for name in canaries]
    config = scoring_config(facts, rows)
    ear = Ear(model, facts, config, [rows, *(clips for _, clips in others)], progress)
    report = {"model": str(model), "features": str(features), "split": split, "dataset": _dataset(features)}
    if before is not None:
        stock = Ear(before, ModelFacts.load(before), config, (), progress)
        known = stock.hear(rows, contexts[0])
        report["before"] = {contexts[0]: summarize(known, groups=groups, spelling=stock.spelling)}
        report["before_model"] = _shown(before)
    heard = {context: ear.hear(rows, context) for context in contexts}
    report["scores"] = {c: summarize(clips, groups=groups, spelling=ear.spelling) for c, clips in heard.items()}
    report["groups"] = measure_groups(heard[contexts[0]], spelling=ear.spelling)
    report["speed"] = ear.speed()
    if before is not None:
        report["difference"] = {"context": contexts[0], **paired_difference(known, heard[contexts[0]])}
    for known, clips in others:
        known |= {"context": contexts[0], "before_model": _shown(before), "view": canary_view(known["language"])}
        report.setdefault("elsewhere", []).append(known | _compared(stock, ear, clips, known))
    report["confusions"] = [list(row) for row in confusions(heard[contexts[0]])]
    if transcripts is not None:
        _write(heard, Path(transcripts))
    return report | _recorded(model, report)


class Ear:
    """A model that hears splits, and how quickly it did.

    splits : that it will hear; what it cannot hear of them is refused now
    """

    def __init__(self, model: str | os.PathLike, facts: ModelFacts, config: TrainConfig, splits, progress: bool):
        self.model, self.processor = load_model(model, language=config.language_token or config.language)
        for split in splits:  # before anything is computed
            if len(split):
                check_mels(split, self.processor)
            check_tokens(self.processor.tokenizer, split, config)
        self.model.to("cuda" if torch.cuda.is_available() else "cpu")
        self.config, self.progress = config.with_context(context_of(facts)), progress
        self.spelling = spelling_of(self.processor)
        self.rates: dict[str, float] = {}  # of the first split that is heard at a context

    def hear(self, split, context: str, *, language_model: NGram | None = None) -> list[Transcript]:
        started = time.perf_counter()
        clips = transcribe_split(
            self.model,
            self.processor,
            split,
            config=self.config,
            context=context,
            language_model=language_model,
            progress=self.progress,
        )
        seconds = time.perf_counter() - started
        self.rates.setdefault(context, round(float(sum(t.duration_s for t in clips)) / seconds, 2))
        return clips

    def speed(self) -> dict:
        threads = None if torch.cuda.is_available() else torch.get_num_threads()
        return {"device": device_name(), "threads": threads, "sound_seconds_a_second": dict(self.rates)}


def _dataset(features: str | os.PathLike) -> dict:
    source, revision = feature_origin(features)
    return {"source": Path(source).name if source == str(features) and Path(source).is_dir() else source} | {
        "revision": revision
    }


def _shown(model: str | os.PathLike) -> str:
    """A model as its card may name it: without the folders above."""
    return str(model) if model_origin(str(model)) == "hub" else Path(model).resolve().name


def _canary(features: str | os.PathLike) -> tuple[dict, object]:
    """What to tell of a canary, and its clips: of its test split, or of validation where there is none."""
    try:
        split, clips = "test", load_split(features, "test")
    except CantowhisperError:
        split, clips = "validation", load_split(features, "validation")
    return {**_dataset(features), "language": main_language(clips), "split": split}, clips


def _compared(before: "Ear", after: "Ear", clips, known: Mapping) -> dict:
    """What two models make of a canary, in the context and the view that are `known`."""
    old, new = (ear.hear(clips, known["context"]) for ear in (before, after))
    return {
        "before": measure(old, spelling=before.spelling),
        "after": measure(new, spelling=after.spelling),
        "difference": paired_difference(old, new, view=known["view"]),
    }


def canary_view(language: str) -> str:
    """The view of the CER that shows what was forgotten of a language: who writes Chinese in other characters has not.

    >>> canary_view("zh"), canary_view("yue"), canary_view("en"), canary_view("")
    ('simplified', 'simplified', 'no_punctuation', 'no_punctuation')
    """
    return "simplified" if language and usual_script(language) in ("Hans", "Hant") else "no_punctuation"


def _write(heard: Mapping[str, Sequence[Transcript]], path: Path) -> None:
    for context, clips in heard.items():
        write_transcripts(clips, path if len(heard) == 1 else path.with_suffix(f".{context}{path.suffix}"))


def _recorded(model: str | os.PathLike, report: dict) -> dict:
    """Keep in metrics.json what the card tells; {"test_reads"} where the test split was read."""
    if "elsewhere" in report:
        record(model, elsewhere=report["elsewhere"])
    if report["split"] != "test":
        return {}
    names = ("before", "before_model", "difference", "groups", "speed", "dataset")
    more = {name: report[name] for name in names if name in report}
    return {"test_reads": record_test_scores(model, report["scores"], report["confusions"], **more)}


def record_test_scores(model: str | os.PathLike, contexts: Mapping, mistakes: Sequence, **more) -> int:
    """Keep test scores in a model folder's `metrics.json`, and how often the split was read for this model.

    `more` is what else `score_folder` reports: "before" (scores of the model that it was tuned from, {context: {group:
    scores}}), "difference", "speed", …; of an earlier reading of the same dataset, the comparison with the model before
    stays where none is given. Who scores on test, changes something and scores again selects on test. The reads are
    counted so that a reader of the model card can see it. Returns the count; 1 where the model is no folder that
    `train` wrote.
    """
    path = Path(model) / METRICS_FILE
    if not path.is_file():
        return 1
    kept = json.loads(path.read_text(encoding="utf-8")).get("test", {})
    test = {"reads": kept.get("reads", 0) + 1, "scores": contexts, "confusions": [list(row) for row in mistakes]}
    if "before" not in more and kept.get("dataset") == more.get("dataset"):
        more |= {name: kept[name] for name in ("before", "before_model", "difference") if name in kept}
    record(model, test=test | {name: value for name, value in more.items() if value})
    return test["reads"]


def record(model: str | os.PathLike, **facts) -> None:
    """Keep more in the `metrics.json` of a model folder, if it is one that `train` wrote."""
    path = Path(model) / METRICS_FILE
    if path.is_file():
        write_json(json.loads(path.read_text(encoding="utf-8")) | facts, path)
