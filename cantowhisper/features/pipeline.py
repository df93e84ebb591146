"""Recordings → feature dataset.

plan (tables only) → chunks of clips → worker processes (bytes → waveform → log-Mel → float16) → Parquet files, in
the plan's order → what is on disk is read once more for the statistics and for the promise that no split shares a
speaker or a sentence with another.
"""

import os
from collections import Counter
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from tqdm.auto import tqdm

from cantowhisper.contracts import CantowhisperError
from cantowhisper.features.clip import process_chunk, start_worker
from cantowhisper.features.config import FeatureConfig
from cantowhisper.features.dataset import ShardWriter
from cantowhisper.features.journal import Journal, existing_stats
from cantowhisper.features.parallel import cpu_cores, in_order
from cantowhisper.features.plan import Plan, Reject, Shard, make_plan
from cantowhisper.features.report import collect_stats, write_documents
from cantowhisper.features.sources import Source, open_source

__all__ = ["FeatureConfig", "build_features"]


def build_features(
    source: str, out: str | os.PathLike, *, config: FeatureConfig | None = None, progress: bool = True
) -> dict:
    """Make the feature dataset of a source.

    Parameters
    ----------
    source : "samples" or a Common Voice release folder (see sources.open_source)
    out : folder of the dataset. One that is whole and has the same identity is reused; after an interruption the
        same call goes on from the last whole file (kept in `out`.part until then)
    progress : show a progress bar on stderr

    Returns
    -------
    the content of stats.json: source, splits (clips, hours, speakers), rejects by split and reason, identity

    Raises
    ------
    UsageError : there is no such source, or it lacks the splits
    CantowhisperError : tables unreadable, no clip usable, `out` holds something else, disk full
    """
    out, config = Path(out), config or FeatureConfig()
    opened = open_source(source)
    config = replace(config, language=config.language or opened.language)
    plan = make_plan(opened, config)
    identity = {"source": opened.name, "source_checksum": plan.checksum, **config.identity()}
    if stats := existing_stats(out, identity):
        if progress:
            tqdm.write(f"{out} is already there with these settings: {stats['n_kept']} clips")
        return stats
    if not plan.n_planned:
        raise CantowhisperError(f"{opened.name} has no usable clip ({_reasons(plan.rejects)})")
    try:
        return _build(opened, plan, identity, out, config, progress)
    except OSError as error:
        raise CantowhisperError(
            f"cannot write {out}: {error.strerror or error}; the finished files are kept"
        ) from error


def _build(source: Source, plan: Plan, identity: dict, out: Path, config: FeatureConfig, progress: bool) -> dict:
    journal = Journal(out, identity)
    to_do = [shard for shard in plan.shards if shard.name not in journal.finished]
    n_to_do = sum(len(shard.clips) for shard in to_do)
    with tqdm(total=plan.n_planned, initial=plan.n_planned - n_to_do, unit="clip", disable=not progress) as bar:
        _write_shards(to_do, journal, source.name, config, bar)
    rejects = plan.rejects + [reject for shard in plan.shards for reject in journal.finished[shard.name]]
    stats = collect_stats(journal.data, source, identity, rejects)
    assert stats["n_kept"] + stats["n_rejected"] == plan.n_source_clips, "a clip is neither kept nor rejected"
    if not stats["n_kept"]:
        raise CantowhisperError(f"{source.name} has no usable clip ({_reasons(rejects)})")
    write_documents(journal.folder, source, stats, rejects)
    journal.publish()
    return stats


def _write_shards(shards: list[Shard], journal: Journal, source_name: str, config: FeatureConfig, bar: tqdm) -> None:
    """Compute the clips of `shards` and write their files, one after the other."""
    jobs = [(chunk, shard.split, config) for shard in shards for chunk in shard.chunks()]
    workers = max(1, min(config.workers or cpu_cores(), len(jobs)))
    with closing(in_order(process_chunk, jobs, workers=workers, start=start_worker)) as results:
        for shard in shards:
            rejects = []
            with ShardWriter(journal.data / shard.name, n_mels=config.n_mels, source=source_name) as writer:
                for clips in shard.chunks():
                    chunk = next(results)
                    writer.write(chunk.columns)
                    rejects += chunk.rejects
                    bar.update(len(clips))
            journal.add(shard.name, rejects)


def _reasons(rejects: list[Reject]) -> str:
    counts = Counter(reject.reason for reject in rejects)
    return ", ".join(f"{reason}: {n}" for reason, n in counts.most_common()) or "its tables are empty"
