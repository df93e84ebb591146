"""One run of a study, in a process of its own: python -m cantowhisper.studies.run JOB ROW

JOB is a JSON file with what `Job` has; ROW is written when the run is done, whole or not at all. Standard input is
whoever started the process: where it ends, so does the run.
"""

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cantowhisper.contracts import CantowhisperError
from cantowhisper.files import write_aside, write_json
from cantowhisper.studies.splits import write_features
from cantowhisper.studies.variants import DataChange
from cantowhisper.training.config import TrainConfig

MODEL, DATA, CLEANED, START = "model", "data", "cleaned", "start"  # folders of a run


@dataclass(frozen=True)
class Job:
    """What one run is told."""

    folder: str  # for everything that it makes
    features: str
    config: dict  # of TrainConfig
    data: dict  # of DataChange
    miniature: dict  # sizes of fresh weights; {} takes config["model"]
    other: str | None = None  # features of the other language
    judge: str | None = None  # the model that cleans


def run(job: Job) -> dict:
    """Train and score; a run that was interrupted goes on from its last checkpoint.

    Returns
    -------
    {"clips", "hours" of the training split, "steps", "epochs", "best_step", "learning_rate", "parameters", "metric",
    "validation" and "test": {"rate", "n"}, and "interval" of the test, "train_seconds": without evaluations, None
    where the run was interrupted, "peak_mib" of memory}
    """
    from cantowhisper.training.results.report import score_folder
    from cantowhisper.training.trainer import train

    folder, change, config = Path(job.folder), DataChange(**job.data), TrainConfig(**job.config)
    interrupted = (folder / MODEL).exists()
    with _cache_in(folder) if change != DataChange() else contextlib.nullcontext():
        features = _features(job, change, seed=config.seed)
        if job.miniature:
            config = config.with_overrides(model=str(_fresh_weights(job, features, config)))
        metrics = train(features, folder / MODEL, config=config, progress=False)
    report = score_folder(folder / MODEL, job.features, split="test")
    metric = metrics["selected_by"]
    test = report["scores"]["variable"]["all"]
    evaluating = sum(entry.get("eval_seconds", 0.0) for entry in metrics["curve"])
    return {
        **{name: metrics["data"]["train"][name] for name in ("clips", "hours")},
        **{name: metrics[name] for name in ("steps", "epochs", "best_step", "learning_rate", "parameters")},
        "metric": metric,
        "validation": {"rate": metrics["validation"][metric], "n": metrics["validation"]["n"]},
        "test": {"rate": test[metric], "n": test["n"], "interval": test[f"{metric}_interval"]},
        "train_seconds": None if interrupted else round(metrics["train_seconds"] - evaluating, 1),
        "peak_mib": _peak_mib(),
    }


def _features(job: Job, change: DataChange, *, seed: int) -> str:
    """The dataset to train on."""
    if change == DataChange():
        return job.features
    folder = Path(job.folder)
    write_features(job.features, folder / DATA, change, seed=seed, other=job.other)
    if not change.cleaned:
        return str(folder / DATA)
    from cantowhisper.curation.clean import clean

    clean(folder / DATA, folder / CLEANED, model=job.judge, progress=False)
    return str(folder / CLEANED)


def _fresh_weights(job: Job, features: str, config: TrainConfig) -> Path:
    from cantowhisper.training.data.load import load_split
    from cantowhisper.training.miniature import build_miniature
    from cantowhisper.training.model import save_model

    folder = Path(job.folder) / START
    if not folder.exists():
        texts = load_split(features, "train")["text"]
        spoken = config.language_token or config.language
        model, processor = build_miniature(texts, seed=config.seed, language=spoken, **job.miniature)
        with write_aside(folder) as aside:
            save_model(model, processor, aside)
    return folder


@contextlib.contextmanager
def _cache_in(folder: Path) -> Iterator[None]:
    """Within this, copies that `datasets` makes of what it opens are in the run's folder, and go with it."""
    import datasets

    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = folder / "cache"
    try:
        yield
    finally:
        datasets.config.HF_DATASETS_CACHE = before


def _peak_mib() -> int | None:
    """The most memory that this process has had, in MiB; None where the system does not say."""
    try:
        import resource
    except ImportError:  # on Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20)


def _end_with_parent() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock this thread would hold when Python ends
        pass
    os._exit(1)


def main() -> int:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job, row = sys.argv[1:3]
    try:
        write_json(run(Job(**json.loads(Path(job).read_text(encoding="utf-8")))), row)
    except CantowhisperError as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
