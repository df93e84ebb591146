"""Recordings → feature dataset.

plan (tables only) → chunks of clips → worker processes (bytes → waveform → log-Mel → float16) → Parquet files, in
the plan's order → what is on disk is read once more for the statistics and for the promise that no split shares a
speaker or a sentence with another.
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa
from tqdm.auto import tqdm

from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.features.clip import Chunk, process_chunk, start_worker
from cantowhisper.features.config import RANDOM_SALT, FeatureConfig
from cantowhisper.features.dataset import ShardWriter
from cantowhisper.features.journal import Journal, existing_stats, private_salt
from cantowhisper.features.parallel import cpu_cores, in_order
from cantowhisper.features.plan import CLIPS_PER_CHUNK, Plan, Reject, Shard, make_plan
from cantowhisper.features.ray_engine import in_order_on_ray
from cantowhisper.features.report import collect_stats, read_rejects, write_documents
from cantowhisper.features.sources.clip import Source
from cantowhisper.features.sources.combined import BEYOND
from cantowhisper.features.sources.open import open_source
from cantowhisper.speech.language import language_code, language_name, language_tag
from cantowhisper.speech.rates import SpeechRate

__all__ = ["FeatureConfig", "build_features"]


def build_features(
    source: str | Source, out: str | os.PathLike, *, config: FeatureConfig | None = None, progress: bool = True
) -> dict:
    """Make the feature dataset of a source.

    Parameters
    ----------
    source : "samples", a Common Voice release, "hub:owner/name", … (see sources/open.py), or an open one
    out : folder of the dataset. One that is whole and has the same identity is reused; after an interruption the
        same call resumes from the last whole file (kept in `out`.part until then)
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
    opened = open_source(source) if isinstance(source, str) else source
    language = config.language or opened.language
    if not language:
        raise UsageError(f"{opened.name} does not say what language it is; give it with --set language=CODE")
    config = dataclasses.replace(config, language=language_tag(language))  # refuses what is none
    if config.salt == RANDOM_SALT:
        config = dataclasses.replace(config, salt=private_salt(out))
    plan = make_plan(opened, config)
    _refuse_another_language(opened, plan, config)
    if config.strict:
        _refuse(plan.rejects, config)
    identity = {"source": opened.name, "source_checksum": plan.checksum, **config.identity()}
    if stats := existing_stats(out, identity):
        if config.strict:
            _refuse(read_rejects(out), config)
        if progress:
            tqdm.write(f"{out} is already there with these settings: {stats['n_kept']} clips")
        return stats
    if not plan.n_planned:
        raise CantowhisperError(f"{opened.name} has no usable clip ({_reasons(plan.rejects)})")
    if not config.scoring_only:
        _refuse_without_training_clips(opened, plan)
    if progress:
        for note in plan.notes:
            tqdm.write(note)
    try:
        return _build(opened, plan, identity, out, config, progress)
    except OSError as error:
        raise CantowhisperError(f"cannot write {out}: {_why(error)}; the finished files are kept") from error


def _refuse_without_training_clips(source: Source, plan: Plan) -> None:
    n_clips = Counter(shard.split for shard in plan.shards for _ in shard.clips)
    if not n_clips["train"]:
        has = ", ".join(f"{split} {n}" for split, n in n_clips.items() if n)
        rejects = f"; rejects: {_reasons(plan.rejects)}" if plan.rejects else ""
        raise UsageError(
            f"{source.name} has no training clip (it has: {has}{rejects}); say which split is for training: "
            "SOURCE,train=NAME, or that none is: --set scoring_only=true"
        )


def _refuse_another_language(source: Source, plan: Plan, config: FeatureConfig) -> None:
    """Raise UsageError when all clips say that they are in another language than the dataset is to be of."""
    said = {language_code(tag) for tag in plan.languages}
    if said and language_code(config.language) not in said:
        theirs = " and ".join(f"{code} ({language_name(code)})" for code in sorted(said))
        raise UsageError(
            f"{source.name} says that it is {theirs}, and language={config.language} is "
            f"{language_name(config.language)}; leave that out, or if the source is wrong give SOURCE,language=CODE"
        )


def _build(source: Source, plan: Plan, identity: dict, out: Path, config: FeatureConfig, progress: bool) -> dict:
    journal = Journal(out, identity)
    to_do = [shard for shard in plan.shards if shard.name not in journal.finished]
    n_to_do = sum(len(shard.clips) for shard in to_do)
    with tqdm(total=plan.n_planned, initial=plan.n_planned - n_to_do, unit="clip", disable=not progress) as bar:
        _write_shards(to_do, journal, config, plan.rates, bar)
    rejects = plan.rejects + [reject for shard in plan.shards for reject in journal.finished[shard.name]]
    stats = collect_stats(journal.data, source, identity, rejects)
    stats["speech_rates"] = {code: dataclasses.asdict(rate) for code, rate in plan.rates.items()}
    if plan.notes:
        stats["notes"] = plan.notes
    assert stats["n_kept"] + stats["n_rejected"] == plan.n_source_clips, "a clip is neither kept nor rejected"
    if not stats["n_kept"]:
        raise CantowhisperError(f"{source.name} has no usable clip ({_reasons(rejects)})")
    if not config.scoring_only and not stats["splits"].get("train", {}).get("clips"):
        raise CantowhisperError(f"every training clip of {source.name} was rejected ({_reasons(rejects)})")
    write_documents(journal.folder, source, stats, rejects)
    journal.publish()
    return stats


def _write_shards(
    shards: list[Shard], journal: Journal, config: FeatureConfig, rates: dict[str, SpeechRate], bar: tqdm
) -> None:
    """Compute the clips of `shards` and write their files, one after the other."""
    with closing(_computed(shards, config, rates)) as results:
        for shard in shards:
            rejects, digests = [], []
            with ShardWriter(journal.data / shard.name, n_mels=config.n_mels) as writer:
                for clips in shard.chunks():
                    columns, new, found = _without_duplicates(next(results), shard.split, journal.digests)
                    writer.write(columns)
                    digests += new
                    rejects += found
                    if config.strict:
                        _refuse(found, config)
                    bar.update(len(clips))
            journal.add(shard.name, rejects, digests)
            shard.clips.clear()  # a release's clips take memory, and nobody asks for these again


def _computed(shards: list[Shard], config: FeatureConfig, rates: dict[str, SpeechRate]) -> Iterator[Chunk]:
    """The chunks of `shards`, in order."""
    jobs = ((chunk, shard.split, config, rates) for shard in shards for chunk in shard.chunks())
    if config.engine == "ray":
        return in_order_on_ray(process_chunk, jobs, workers=config.workers)
    n_jobs = sum(-(-len(shard.clips) // CLIPS_PER_CHUNK) for shard in shards)
    workers = max(1, min(config.workers or cpu_cores(), n_jobs))
    return in_order(process_chunk, jobs, workers=workers, start=start_worker)


def _without_duplicates(
    chunk: Chunk, split: str, taken: set[bytes]
) -> tuple[pa.RecordBatch, list[bytes], list[Reject]]:
    """A chunk's columns, digests and rejects without the recordings that are `taken`; its own are added to those."""
    keep, new, rejects = [], [], list(chunk.rejects)
    for id_, digest in zip(chunk.columns["id"].to_pylist(), chunk.digests, strict=True):
        keep.append(digest not in taken)
        if keep[-1]:
            taken.add(digest)
            new.append(digest)
        else:
            rejects.append(Reject(id_, split, "duplicate audio"))
    columns = chunk.columns if all(keep) else chunk.columns.filter(pa.array(keep, pa.bool_()))
    return columns, new, rejects


def _refuse(rejects: list[Reject], config: FeatureConfig) -> None:
    """Raise for the first clip that is left out for a fault of its own; what was asked to be left out is none."""
    asked = (BEYOND, *(("speaker also", "sentence also") if config.split_policy == "validated" else ()))
    for reject in rejects:
        if not reject.reason.startswith(asked):
            raise CantowhisperError(
                f"--strict: {reject.id} ({reject.split}) is not usable: {reject.reason}; "
                "mend or remove it, or leave --strict out and it is listed in rejected.tsv"
            )


def _why(error: OSError) -> str:
    """The system's words for it: Arrow puts a sentence of its own around them."""
    return os.strerror(error.errno) if error.errno else str(error)


def _reasons(rejects: list[Reject]) -> str:
    counts = Counter(reject.kind for reject in rejects)
    return ", ".join(f"{reason}: {n}" for reason, n in counts.most_common()) or "its tables are empty"
