"""Planted wrong texts that `clean` finds, and right ones that it drops: python -m benchmarks.clean --json FILE

The 100 zh-HK clips of REAL_SPEECH and the stock whisper-base, which writes half of their characters wrong. The clips
are halved by speaker: what the checks look at was chosen on one half, and the other is what counts. Each half is a
train split by itself. Wrong texts are planted in a fifth of its clips at a time, and every clip has its turn, so that
thresholds come from a dataset with a fifth of wrong texts. An interrupted run goes on:

    swapped        the text of another clip, of like length
    appended       the sentence of another clip after the own
    end_cut        the second half is missing
    start_cut      the first half is missing

And the confidence of pseudo-labels: CER of what the recognizer writes of these clips, and of the part above the
confidence that `cantowhisper pseudo-label` keeps.
"""

import argparse
import csv
import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from benchmarks.real_clips import SETS, folder_of

LANGUAGE = "zh-HK"
TURNS = 5
CONFIDENCES = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/clean.json"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--halves", nargs="+", choices=("chosen", "reported"), default=["chosen", "reported"])
    options = parser.parse_args()
    import torch

    torch.set_num_threads(options.threads)
    weights = folder_of("REAL_WEIGHTS") / "whisper-base"
    halves = dict(zip(("chosen", "reported"), halved(real_rows(folder_of("REAL_SPEECH"))), strict=True))
    result = {"machine": describe(), "model": "whisper-base", "turns": TURNS, "halves": {}}
    aside = options.json.with_name(f"{options.json.name}.part")
    for name in options.halves:
        result["halves"][name] = measure(weights, halves[name], aside=aside / name)
        print(name, json.dumps(result["halves"][name], ensure_ascii=False), flush=True)
    everything = [row for name in options.halves for row in halves[name]]
    result["pseudo_labels"] = pseudo_labels(weights, everything, threads=options.threads)
    print(json.dumps(result["pseudo_labels"]))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    shutil.rmtree(aside)


# ------------------------------------------------------------------------------------------------------- the clips


def real_rows(speech: Path) -> list[dict]:
    """The zh-HK clips as rows of a feature dataset, with `speaker` and `path`, in an order by speaker."""
    from cantowhisper.speech.audio import load_audio
    from cantowhisper.speech.mel import SAMPLE_RATE, log_mel

    folder = speech / SETS[LANGUAGE][0]
    with (folder / "validated.tsv").open(encoding="utf-8") as file:
        table = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    rows = []
    for row in sorted(table, key=lambda row: hashlib.sha256(row["client_id"].encode()).hexdigest()):
        waveform = load_audio(folder / "clips" / row["path"])
        rows.append(
            {
                "id": row["path"].removesuffix(".mp3"),
                "features": log_mel(waveform).T.astype(np.float16),
                "text": row["sentence"],
                "duration_s": np.float32(waveform.size / SAMPLE_RATE),
                "speaker": row["client_id"],
                "language": LANGUAGE,
                "path": str(folder / "clips" / row["path"]),
            }
        )
    return rows


def halved(rows: Sequence[dict]) -> tuple[list[dict], list[dict]]:
    """Two halves that share no speaker, as equal as they come."""
    borders = [i for i in range(1, len(rows)) if rows[i]["speaker"] != rows[i - 1]["speaker"]]
    middle = min(borders, key=lambda i: abs(2 * i - len(rows)))
    return list(rows[:middle]), list(rows[middle:])


def planted(rows: Sequence[dict]) -> dict[str, list[str]]:
    """{kind of wrong text: one for each clip}. The other text is that of the next clip in an order by length."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]["text"]))
    other = {row: rows[order[(place + 1) % len(order)]]["text"] for place, row in enumerate(order)}
    pairs = [(row["text"], other[i]) for i, row in enumerate(rows)]
    half = lambda text: len(text) // 2
    return {
        "swapped": [their for _, their in pairs],
        "appended": [own + their for own, their in pairs],
        "end_cut": [own[: half(own)] for own, _ in pairs],
        "start_cut": [own[half(own) :] for own, _ in pairs],
    }


# ----------------------------------------------------------------------------------------------------- the checks


def measure(model: Path, rows: Sequence[dict], *, aside: Path, kinds: Sequence[str] | None = None) -> dict:
    """What is found of each kind, and what is dropped of right texts, with exact 95 % intervals.

    What the model has said is kept in the folder `aside`, so that an interrupted run goes on.
    """
    import datasets

    from cantowhisper.curation.checks import finding, thresholds
    from cantowhisper.curation.clean import Judge
    from cantowhisper.curation.ledger import Ledger

    split = datasets.Dataset.from_list(list(rows))
    judge = Judge(model, split)
    heard = lambda kind, split: judge.measures(split, Ledger(aside / f"{kind}.jsonl", {"kind": kind}), progress=True)
    right = heard("right", split)
    limits = thresholds(right)
    dropped = [finding(one, limits, judge.tokenizer) for one in right]
    result = {
        "clips": len(rows),
        "speakers": len({row["speaker"] for row in rows}),
        "minutes": round(sum(float(row["duration_s"]) for row in rows) / 60, 2),
        "thresholds": {name: [round(float(x), 3) for x in limit] for name, limit in limits.items()},
        "false_alarms": rate([one is not None for one in dropped]),
        "dropped_right": [
            {"text": row["text"], "reason": one.reason} for row, one in zip(rows, dropped, strict=True) if one
        ],
        "found": {},
    }
    for kind, texts in planted(rows).items():
        if kinds is None or kind in kinds:
            wrong = heard(kind, split.remove_columns("text").add_column("text", texts))
            result["found"][kind] = planted_rate(right, wrong, judge.tokenizer)
    return result


def planted_rate(right: Sequence, wrong: Sequence, tokenizer) -> dict:
    """How many planted texts are found when a fifth of the clips has one, and how many right ones beside them."""
    from cantowhisper.curation.checks import finding, thresholds

    found, beside = np.zeros(len(right), bool), []
    for turn in range(TURNS):
        mixed = [wrong[i] if i % TURNS == turn else right[i] for i in range(len(right))]
        limits = thresholds(mixed)
        for i, one in enumerate(mixed):
            dropped = finding(one, limits, tokenizer) is not None
            if i % TURNS == turn:
                found[i] = dropped
            else:
                beside.append(dropped)
    return {**rate(found), "false_alarms": round(float(np.mean(beside)), 4)}


def rate(hits: Sequence[bool]) -> dict:
    """{n, hits, share, interval: the exact binomial one of 95 % (Clopper and Pearson 1934)}."""
    from scipy.stats import binomtest

    n, k = len(hits), int(np.sum(hits))
    interval = binomtest(k, n).proportion_ci(method="exact")
    return {"n": n, "hits": k, "share": round(k / n, 4), "interval": [round(float(x), 4) for x in interval]}


# ------------------------------------------------------------------------------------------------- pseudo-labels


def pseudo_labels(model: Path, rows: Sequence[dict], *, threads: int) -> dict:
    """CER of the recognizer's text of all clips, and of those with at least some confidence."""
    from cantowhisper.curation.pseudo import CONFIDENCE, clip_rows
    from cantowhisper.serving.recognizer import Recognizer
    from cantowhisper.speech.audio import load_audio
    from cantowhisper.speech.text import cer

    recognizer = Recognizer.open(model, threads=threads)
    labels = []
    for row in rows:
        waveform = load_audio(row["path"])
        (label,) = clip_rows(row["path"], waveform, recognizer.transcribe(waveform, language=LANGUAGE), LANGUAGE)
        labels.append((label["confidence"], label["text"], row["text"]))
    result = {"clips": len(labels), "default": CONFIDENCE, "at_least": {}}
    for least in CONFIDENCES:
        kept = [(text, said) for sure, text, said in labels if sure >= least and text]
        share = round(len(kept) / len(labels), 4)
        rates = cer(*zip(*kept, strict=True)) if kept else None
        result["at_least"][f"{least:g}"] = {"kept": share, "cer": rates and round(rates.cer, 4)}
    return result


if __name__ == "__main__":
    main()
