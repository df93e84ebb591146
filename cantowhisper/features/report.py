"""What a finished dataset says of itself: stats.json, rejected.tsv and the dataset card README.md."""

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from cantowhisper import __version__
from cantowhisper.contracts import CARD_FILE, SPLITS, STATS_FILE
from cantowhisper.features.dataset import hf_features
from cantowhisper.features.plan import Reject, sentence_key
from cantowhisper.features.sources.clip import Source
from cantowhisper.files import write_json, write_text
from cantowhisper.speech.language import language_code
from cantowhisper.speech.rates import SILENCE_SECONDS

REJECTED_FILE = "rejected.tsv"
# What a restored value may be away from WhisperFeatureExtractor's, and what the card says of the column.
WITHIN = {"float16": "5e-4", "uint8": "0.004"}
ROUNDED = {"float16": "", "uint8": " (rounded to multiples of 1/128)"}
HERE = 'load_dataset("."'  # in the card's recipe; a push puts the dataset's name in place of the dot
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))  # the Hub's


def collect_stats(data: Path, source: Source, identity: dict, rejects: list[Reject]) -> dict:
    """The content of stats.json, counted from the written files; a split without a clip goes.

    Raises AssertionError if two splits share a speaker or a sentence, or an id occurs twice: then the plan is wrong.
    """
    splits, owners = {}, {"sentence": {}, "speaker": {}}
    for split in SPLITS:
        files = sorted(data.glob(f"{split}-*.parquet"))
        found = _split_stats(split, files, owners)
        if found["clips"]:
            splits[split] = found
        else:  # all rejected: readers stumble over a split without rows
            for file in files:
                file.unlink()
    by_split = {split: Counter(r.kind for r in rejects if r.split == split) for split in SPLITS}
    return {
        "source": source.name,
        "license": source.license,
        "about": source.about,
        "terms": source.terms,
        "language": identity["language"],
        "languages": _counted(data, "language"),
        **({"pseudo_labelled": by} if (by := _without_people(_counted(data, "labelled_by"))) else {}),
        "splits": splits,
        "n_kept": sum(found["clips"] for found in splits.values()),
        "n_rejected": len(rejects),
        "rejected": {split: dict(sorted(counts.items())) for split, counts in by_split.items() if counts},
        "hours_too_long": round(sum(r.too_long_s for r in rejects) / 3600, 4),
        "identity": identity,
    }


def _split_stats(split: str, files: list[Path], owners: dict[str, dict[str, str]]) -> dict:
    """Clips, hours, speakers and bytes of a split; notes in `owners` which split each speaker and sentence is in."""
    speakers, ids, seconds, clips = set(), set(), 0.0, 0
    for file in files:
        # Not pq.read_table: its threads outlive it, and one that drops the last reference to the type of the features
        # while Python ends takes the whole process down ("terminate called without an active exception").
        with pq.ParquetFile(file) as parquet:
            table = parquet.read(columns=["id", "text", "speaker", "duration_s"], use_threads=False)
        clips += table.num_rows
        seconds += sum(table["duration_s"].to_pylist())
        speakers.update(table["speaker"].to_pylist())
        found = {"sentence": map(sentence_key, table["text"].to_pylist()), "speaker": filter(None, speakers)}
        for what, keys in found.items():
            for key in keys:
                owner = owners[what].setdefault(key, split)
                assert owner == split, f"{split} and {owner} share a {what}"
        ids.update(table["id"].to_pylist())
    assert len(ids) == clips, f"an id occurs twice in {split}"
    return {
        "clips": clips,
        "hours": round(seconds / 3600, 4),
        "speakers": len(speakers - {""}),
        "bytes": sum(file.stat().st_size for file in files),
    }


def _counted(data: Path, column: str) -> dict[str, int]:
    """Clips of each value in a column, the most frequent first."""
    counts = Counter()
    for file in sorted(data.glob("*.parquet")):
        with pq.ParquetFile(file) as parquet:
            counts.update(parquet.read(columns=[column], use_threads=False)[column].to_pylist())
    return dict(counts.most_common())


def _without_people(counts: dict[str, int]) -> dict[str, int]:
    return {model: n for model, n in counts.items() if model}


def write_documents(folder: Path, source: Source, stats: dict, rejects: list[Reject]) -> None:
    """Write rejected.tsv, README.md and, last of all, stats.json."""
    lines = ["id\tsplit\treason", *(f"{r.id}\t{r.split}\t{r.reason}" for r in rejects)]
    write_text("\n".join(lines) + "\n", folder / REJECTED_FILE)
    write_text(card(source, stats), folder / CARD_FILE)
    write_json(stats, folder / STATS_FILE)


def read_rejects(folder: Path) -> list[Reject]:
    """What rejected.tsv of a finished dataset lists."""
    lines = (folder / REJECTED_FILE).read_text(encoding="utf-8").splitlines()[1:]
    return [Reject(*line.split("\t")) for line in lines]


def card(source: Source, stats: dict) -> str:
    """The dataset card: YAML front matter for the Hub, and what a reader must know."""
    config = stats["identity"]
    return CARD.format(
        front_matter=_front_matter(source, stats),
        title=f"Log-Mel features of {source.name}",
        about=source.about,
        terms=source.terms and f"**Private.** {source.terms}\n",
        source=source.name,
        checksum=config["source_checksum"],
        splits="\n".join(_split_rows(stats)),
        notes="".join(f"\n{note[0].upper()}{note[1:]}.\n" for note in [*stats.get("notes", ()), *_pseudo(stats)]),
        n_rejected=stats["n_rejected"],
        n_source=stats["n_kept"] + stats["n_rejected"],
        rejects="\n".join(_reject_rows(stats)),
        rates=_rates(stats),
        settings="\n".join(f"| `{name}` | `{value}` |" for name, value in config.items()),
        n_mels=config["n_mels"],
        within=WITHIN[config["storage"]],
        rounded=ROUNDED[config["storage"]],
        version=__version__,
    )


def _front_matter(source: Source, stats: dict) -> str:
    import yaml

    size = next((name for limit, name in SIZES if stats["n_kept"] < limit), "n>1M")
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in stats["splits"]]
    columns = hf_features(stats["identity"]["n_mels"])._to_yaml_list()
    front = {
        "license": source.license,
        "language": list(dict.fromkeys(map(language_code, [stats["language"], *stats["languages"]]))),
        "task_categories": ["automatic-speech-recognition"],
        "size_categories": [size],
        "tags": ["whisper", "log-mel", "cantowhisper"],
        "configs": [{"config_name": "default", "data_files": files}],
        "dataset_info": {"features": columns},
    }
    return yaml.safe_dump(front, sort_keys=False, allow_unicode=True).strip()


def _pseudo(stats: dict) -> list[str]:
    """Who wrote pseudo-labels, and how many."""
    by = stats.get("pseudo_labelled", {})
    models = ", ".join(f"{model} ({n:,})" for model, n in by.items())
    return [f"**{sum(by.values()):,} clips are pseudo-labelled**: their text was written by {models}"] if by else []


def _split_rows(stats: dict) -> list[str]:
    return [
        f"| {split} | {s['clips']:,} | {s['hours']:.2f} | {s['speakers'] or 'unknown'} | {s['bytes'] / 1e6:.1f} MB |"
        for split, s in stats["splits"].items()
    ]


def _reject_rows(stats: dict) -> list[str]:
    rows = [(split, reason, n) for split, counts in stats["rejected"].items() for reason, n in counts.items()]
    return [f"| {split} | {reason} | {n} |" for split, reason, n in rows] or ["| – | none | 0 |"]


def _rates(stats: dict) -> str:
    """How quickly people speak, as it was believed; datasets that were made before do not say."""
    found = [
        f"{code} {rate['slowest']:.2g} to {rate['quickest']:.2g} "
        + (f"(from {rate['n_clips']:,} of its clips)" if rate["n_clips"] else "(fixed)")
        for code, rate in stats.get("speech_rates", {}).items()
    ]
    if not found:
        return ""
    return (
        f"\nCharacters a second that were believed: {', '.join(found)}. Up to {SILENCE_SECONDS:g} s of silence do not "
        "count towards the slowest.\n"
    )


CARD = """\
---
{front_matter}
---

# {title}

{about}

{terms}
Whisper's log-Mel spectrograms of every usable clip, 10 ms a frame, **without the padding to 30 s** that other recipes
store. They hold no sound, and the speakers' identifiers are salted hashes: do not try to identify speakers.

| split | clips | hours | speakers | size |
|---|---|---|---|---|
{splits}

No split shares a speaker or a sentence (compared without punctuation and spaces) with another.
{notes}
## Reading it

```python
import numpy as np
from datasets import load_dataset

clips = load_dataset(".", split="train").with_format("numpy")
mel = clips[0]["features"]  # (n_frames, {n_mels})
fill = max(mel.max() - 2, -1.5)  # what the transform of silence gives
# WhisperFeatureExtractor's input_features, within {within}:
padded = np.pad(mel, ((0, 3000 - len(mel)), (0, 0)), constant_values=fill).T
```

| column | what it is |
|---|---|
| `id` | the clip's name in the source |
| `features` | log-Mel spectrogram, float16{rounded}, (n_frames, {n_mels}), n_frames = ceil(samples / 160) + 2 |
| `text` | the sentence as written, NFC, single spaces |
| `duration_s` | seconds |
| `speaker` | salted hash |
| `source` | which release it is from |
| `language` | what is spoken: a language tag, such as `yue`, `zh-HK` or `de` |
| `labelled_by` | the model that wrote `text` (a pseudo-label); empty where people did |
| `gender`, `age` | of the speaker, as the source says (`female`, `twenties`); empty where it does not |

## What was left out

{n_rejected} of {n_source} clips; each with its reason in `rejected.tsv`.

| split | reason | clips |
|---|---|---|
{rejects}
{rates}
## Made with

cantowhisper {version} of {source} (sha256 of its tables: `{checksum}`), with these settings:

| setting | value |
|---|---|
{settings}
"""
