"""A feature dataset without the texts that its recordings do not say.

Only the train split is cleaned: a test split without the clips that a model finds odd would flatter that model.
"""

import csv
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from cantowhisper.contracts import CantowhisperError, ModelFacts, UsageError
from cantowhisper.curation.agreement import Listener, batches_of
from cantowhisper.curation.checks import (
    ANOTHER,
    MOSTLY_WRONG,
    Finding,
    Measures,
    Threshold,
    finding,
    measured,
    thresholds,
)
from cantowhisper.curation.ledger import Ledger
from cantowhisper.curation.sounds import clips_of, copy_sound
from cantowhisper.curation.subset import FeatureFolder, write_subset
from cantowhisper.features.journal import existing_stats
from cantowhisper.features.plan import Reject
from cantowhisper.features.sources.clip import Clip
from cantowhisper.files import write_aside
from cantowhisper.training.data.collator import check_mels
from cantowhisper.training.data.sampling import frame_counts
from cantowhisper.training.model import load_model
from cantowhisper.training.results.scoring import clip_tokens, scoring_config, transcribe_split

SPLIT = "train"
FEWEST_CLIPS = 8  # fewer cannot say what wrong texts look like
SCORES, DROPPED = "agreement.jsonl", "dropped.tsv"
SEED = 20  # draws the other sounds


def clean(
    features: str | os.PathLike,
    out: str | os.PathLike,
    *,
    model: str | os.PathLike,
    recall: float | None = None,
    recordings: str | None = None,
    progress: bool = True,
) -> dict:
    """Write a feature dataset without the training clips whose text disagrees with their sound.

    Parameters
    ----------
    features : folder or Hub id of a feature dataset
    out : folder of the new one. `dropped.tsv` in it has of each clip that is left out its id, text, what the model
        writes, score (nats a token that the sound adds to the text), reason, and the file of its sound. Killed and
        called again, the same call goes on
    model : folder or Hub id; a stock Whisper that knows a relative of the language will do
    recall : share of the wrong texts that the thresholds are set to find; default is that of each check (checks.py)
    recordings : the source that the features were made from; the sound of what is dropped is copied to `out`.dropped

    Returns
    -------
    stats.json of the new dataset; "cleaned" in it says what was dropped and by which thresholds

    Raises
    ------
    CantowhisperError : no feature dataset or train split, a model of another Mel size or language, `out` is another
    """
    out, origin = Path(out), FeatureFolder(features)
    split = _train_split(origin)
    name = Path(model).resolve().name if Path(model).is_dir() else str(model)
    identity = {"cleaned_with": name, "recall": recall}
    if stats := existing_stats(out, {**origin.identity, **identity}):
        return stats
    policy = origin.identity.get("split_policy", "official")
    clips = clips_of(recordings, set(split["id"]), split_policy=policy) if recordings else {}
    judge = Judge(model, split)
    part = out.with_name(f"{out.name}.part")
    ledger = Ledger(part / SCORES, {**origin.identity, "cleaned_with": name})
    measures = judge.measures(split, ledger, progress=progress)
    limits = thresholds(measures, recall=recall)
    _check_the_model(limits[ANOTHER], name)
    found = {row: one for row, m in enumerate(measures) if (one := finding(m, limits, judge.tokenizer))}
    facts = _facts(name, recall, measures, limits, found)
    worst_first = sorted(found, key=lambda row: found[row].score)
    dropped, why = split.select(worst_first), [found[row] for row in worst_first]
    stats = write_subset(
        origin,
        part,
        {SPLIT: [row for row in range(len(split)) if row not in found]},
        rejects=[Reject(one, SPLIT, each.reason) for one, each in zip(dropped["id"], why, strict=True)],
        identity=identity,
        notes=[_note(facts)],
        facts={"cleaned": facts},
    )
    _write_dropped(part / DROPPED, dropped, why, judge.transcripts(dropped), _sounds(dropped, clips, out))
    _publish(part, out, ledger)
    return stats


def _publish(part: Path, out: Path, ledger: Ledger) -> None:
    ledger.path.unlink()
    if out.exists():
        out.rmdir()  # only an empty folder comes this far
    os.replace(part, out)


def _train_split(origin: FeatureFolder):
    if SPLIT not in origin.splits:
        raise CantowhisperError(
            f"{origin.name} has no train split (it has: {', '.join(origin.splits)}), and no other is cleaned: a test "
            "split without odd clips would flatter"
        )
    split = origin.split(SPLIT)
    if len(split) < FEWEST_CLIPS:
        raise UsageError(
            f"{origin.name} has {len(split)} training clips; each text is compared with the sound of others, and that "
            f"takes {FEWEST_CLIPS}"
        )
    return split


class Judge:
    """A model that is asked about the texts of a split.

    Raises CantowhisperError when there is no such model, or it takes other features.
    """

    def __init__(self, model: str | os.PathLike, split):
        facts = ModelFacts.load(model)
        self.config = scoring_config(facts, split)
        spoken = self.config.language_token or self.config.language
        self.model, self.processor = load_model(model, language=spoken)
        check_mels(split, self.processor)
        self.model.to("cuda" if torch.cuda.is_available() else "cpu")
        self.tokenizer = self.processor.tokenizer
        self._listener = Listener(self.model, self.tokenizer, context=self.config.context)

    def measures(self, split, ledger: Ledger | None = None, *, progress: bool = False) -> list[Measures | None]:
        """Of all clips of a split, in its order; None for those that no others were near to."""
        ids, found = list(split["id"]), dict(ledger.items) if ledger else {}
        tokens = clip_tokens(self.model, self.tokenizer, split, self.config)
        rows = split.with_format("numpy")
        batches = batches_of(frame_counts(split))
        with tqdm(total=len(split), unit="clip", desc="listen", disable=not progress) as bar:
            for number, batch in enumerate(batches):
                if any(ids[row] not in found for row in batch):
                    clips = rows[batch.tolist()]
                    agreements = self._listener.agreements(
                        [features.T for features in clips["features"]],
                        [str(text) for text in clips["text"]],
                        [tokens[row] for row in batch],
                        np.random.default_rng((SEED, number)),
                    )
                    new = [(ids[row], measured(one)) for row, one in zip(batch, agreements, strict=True)]
                    found |= dict(new)
                    if ledger:
                        ledger.add(new)
                bar.update(len(batch))
        return [found[one] and Measures(*found[one]) for one in ids]

    def transcripts(self, split) -> list[str]:
        """What the model writes itself."""
        if not len(split):
            return []
        return [one.prediction for one in transcribe_split(self.model, self.processor, split, config=self.config)]


def _check_the_model(whole: Threshold, model: str) -> None:
    if whole.wrong > MOSTLY_WRONG:
        raise CantowhisperError(
            f"{model} hears no more in {whole.wrong:.0%} of the texts than in those of other clips: either it does not "
            "know the language, or most texts are wrong; try a larger or a fine-tuned model, or look at the texts"
        )


def _facts(
    model: str, recall: float | None, measures: Sequence, limits: Mapping[str, Threshold], found: Mapping[int, Finding]
) -> dict:
    """What stats.json says of the cleaning."""
    return {
        "model": model,
        "recall": recall,
        "split": SPLIT,
        "clips": len(measures),
        "not_compared": sum(one is None for one in measures),
        "dropped": dict(Counter(one.check for one in found.values())),
        "thresholds": {
            name: {**limit._asdict(), "value": round(limit.value, 4) if np.isfinite(limit.value) else None}
            for name, limit in limits.items()
        },
    }


def _note(facts: Mapping) -> str:
    n = sum(facts["dropped"].values())
    return (
        f"cleaned: {n} of {facts['clips']} training clips were dropped because {facts['model']} finds that their text "
        "and their sound disagree; validation and test clips are all kept"
    )


def _sounds(split, clips: Mapping[str, Clip], out: Path) -> list[str]:
    folder = out.with_name(f"{out.name}.dropped")
    return [copy_sound(clips[one], folder) if one in clips else "" for one in split["id"]]


def _write_dropped(
    path: Path, split, findings: Sequence[Finding], written: Sequence[str], sounds: Sequence[str]
) -> None:
    with write_aside(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, delimiter="\t")
        table.writerow(("id", "text", "written", "score", "reason", "sound"))
        for i, text, says, one, sound in zip(split["id"], split["text"], written, findings, sounds, strict=True):
            table.writerow((i, text, says, f"{one.score:.3f}", one.reason, sound))
