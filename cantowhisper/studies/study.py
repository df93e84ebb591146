"""A study from its name to its table: variants × seeds, a process each; killed and called again, it goes on."""

import dataclasses
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cantowhisper.contracts import SPLITS, CantowhisperError
from cantowhisper.curation.subset import FeatureFolder
from cantowhisper.features.journal import refuse_other
from cantowhisper.files import write_json
from cantowhisper.studies.process import in_a_process
from cantowhisper.studies.run import MODEL, Job
from cantowhisper.studies.table import row_line, write_report
from cantowhisper.studies.variants import Variant, changes_of, settled, study_named
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.languages import main_language
from cantowhisper.training.results.scoring import METRICS_FILE

RESULTS, RUNS = "results.json", "runs"


def run_study(
    name: str,
    features: str | os.PathLike,
    out: str | os.PathLike,
    *,
    config: TrainConfig,
    n_seeds: int = 3,
    other: str | None = None,
    execute: Callable[[Job], dict] = in_a_process,
) -> dict:
    """Run what is missing of a study, and write its results, table and plot.

    Parameters
    ----------
    features : feature dataset with train, validation and test, folder or Hub id
    out : folder for `results.json`, which has a row for each finished run; `table.md` and `plot.png` follow from it.
        `out/runs` holds the run in progress and is deleted at the end
    config : what all runs share; the seeds are its seed and those after it
    other : features of another language, or another model, for the studies that take one; for noise, the model that
        cleans
    execute : does a job; `run.run` does it in this process

    Returns
    -------
    the content of `results.json`

    Raises
    ------
    UsageError : no such study, or options that it does not take
    CantowhisperError : `out` holds something else, or a run failed
    KeyboardInterrupt : after Ctrl-C, with a checkpoint of the run in progress
    """
    out, study, origin = Path(out), study_named(name), FeatureFolder(features)
    for split in SPLITS:
        if split not in origin.splits:
            raise CantowhisperError(f"{features} has no {split} split, and a study needs all three")
    train = origin.split("train")
    config = settled(config, len(train)).with_overrides(language=config.language or main_language(train))
    variants = study.planned(config, other)
    plan = Plan(out, str(features), config, other, tuple(variants), n_seeds, execute)
    settings = {"study": name, "dataset": _fingerprint(origin), "other": other, **dataclasses.asdict(config)}
    results = _begun(out, settings) | {"asks": study.asks, "variants": [one.name for one in variants]}
    plan.go_on(results)
    write_report(results, out, n_planned=len(plan.runs))
    shutil.rmtree(out / RUNS, ignore_errors=True)
    return results


@dataclass(frozen=True)
class Run:
    """A variant with a seed; `number` is the variant's place in the study."""

    variant: Variant
    number: int
    seed: int

    def is_of(self, row: dict) -> bool:
        return (row["variant"], row["seed"]) == (self.variant.name, self.seed)


@dataclass(frozen=True)
class Plan:
    """All runs of a study, and where they are made."""

    out: Path
    features: str
    config: TrainConfig
    other: str | None
    variants: tuple[Variant, ...]
    n_seeds: int
    execute: Callable[[Job], dict]

    def __post_init__(self):
        for variant in self.variants:  # refused before the first run
            self.config.with_overrides(**variant.options)

    @property
    def runs(self) -> list[Run]:
        """Variants take turns, so that what slows the machine for a while slows all, and one seed is soon complete."""
        seeds = range(self.config.seed, self.config.seed + self.n_seeds)
        return [Run(variant, number, seed) for seed in seeds for number, variant in enumerate(self.variants)]

    def go_on(self, results: dict) -> None:
        """Run what has no row yet; each adds its row to the results, in the file too."""
        left = [run for run in self.runs if not any(run.is_of(row) for row in results["rows"])]
        spent: list[float] = []
        while left:
            run, started = left[0], time.monotonic()
            place = len(self.runs) - len(left) + 1
            print(f"{place}/{len(self.runs)} {run.variant.name}, seed {run.seed}", flush=True)
            row = self._row(run)
            results["rows"].append(row)
            write_json(results, self.out / RESULTS, durable=True)
            left.pop(0)
            self._tidy(left)
            spent.append(time.monotonic() - started)
            print(f"  {row_line(row)}{_remaining(spent, len(left))}", flush=True)

    def _row(self, run: Run) -> dict:
        judge = self._judge(run)
        if isinstance(judge, Run):
            model = self._folder(judge) / MODEL
            if not (model / METRICS_FILE).exists():  # its row is written, and its model is gone
                self.execute(self._job(judge, None))
            judge = str(model)
        found = self.execute(self._job(run, judge))
        changed = {"options": dict(run.variant.options), "data": changes_of(run.variant)}
        return {"variant": run.variant.name, "seed": run.seed, **changed, **found}

    def _job(self, run: Run, judge: str | None) -> Job:
        config = self.config.with_overrides(**run.variant.options, seed=run.seed)
        return Job(
            folder=str(self._folder(run)),
            features=self.features,
            config=dataclasses.asdict(config),
            data=dataclasses.asdict(run.variant.data),
            miniature=dict(run.variant.miniature),
            other=self.other,
            judge=judge,
        )

    def _judge(self, run: Run) -> "Run | str | None":
        """The model that cleans: the one asked for, or the pretrained one.

        Fresh weights know nothing, so without one the run with the wrong texts cleans.
        """
        if not run.variant.data.cleaned:
            return None
        if self.other:
            return self.other
        if self.config.model != "miniature":
            return self.config.model
        wanted = dataclasses.replace(run.variant.data, cleaned=False)
        return next(one for one in self.runs if one.seed == run.seed and one.variant.data == wanted)

    def _folder(self, run: Run) -> Path:
        return self.out / RUNS / f"{run.number}-{run.seed}"

    def _tidy(self, left: list[Run]) -> None:
        """Delete the folders of runs that are neither left to do nor the judges of those."""
        needed = [*left, *(judge for run in left if isinstance(judge := self._judge(run), Run))]
        for folder in (self.out / RUNS).iterdir():
            if folder not in map(self._folder, needed):
                shutil.rmtree(folder, ignore_errors=True)


def _fingerprint(origin: FeatureFolder) -> str:
    """Of what a dataset's bytes depend on: the same wherever its folder is."""
    return hashlib.sha256(json.dumps(origin.identity, sort_keys=True).encode()).hexdigest()[:16]


def _begun(out: Path, settings: dict) -> dict:
    """The results so far: {"settings", "rows"}; a folder of something else is refused."""
    path = out / RESULTS
    if not path.exists():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise CantowhisperError(f"{out} exists and is no study; choose another folder")
        out.mkdir(parents=True, exist_ok=True)
        write_json({"settings": settings, "rows": []}, path)
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        results = {"settings": dict(found["settings"]), "rows": list(found["rows"])}
    except (ValueError, KeyError, TypeError) as error:
        raise CantowhisperError(f"{path} is not readable as a study's results; delete {out} to start over") from error
    refuse_other(results["settings"], settings, out)
    return results


def _remaining(spent: list[float], n_left: int) -> str:
    """What the other runs will take, by those of this call."""
    if not n_left:
        return ""
    minutes = sum(spent) / len(spent) * n_left / 60
    return f"; about {minutes:.0f} min left" if minutes >= 1 else "; less than a minute left"
