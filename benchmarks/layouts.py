"""Layouts of recordings that are read: python -m benchmarks.layouts --json FILE

Six recordings of samples/ are written down in each layout that people have, by the layout's own library where there is
one (datasets, lhotse, pandas), and built into features. Where a layout names its files, it also names one that is not
there. Kept and rejected clips are counted. It needs lhotse: pip install lhotse.
"""

import argparse
import csv
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.layout_writers import LAYOUTS, Said
from benchmarks.machine import describe
from cantowhisper.contracts import CantowhisperError
from cantowhisper.features.pipeline import FeatureConfig, build_features
from cantowhisper.speech.audio import load_audio

CORPUS = Path(__file__).resolve().parents[1] / "samples" / "corpus"
SPLITS = ("train", "train", "train", "train", "dev", "test")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/layouts.json"))
    parser.add_argument("--only", default="", help="layouts whose names hold this")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="layouts-") as folder:
        for name, (written_by, write) in LAYOUTS.items():
            if options.only in name:
                rows.append({"layout": name, "written_by": written_by, **count(write, Path(folder) / name)})
                print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    result = {"machine": describe(), "layouts_read": sum(row["kept"] > 0 for row in rows), "layouts": rows}
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def count(write: Callable[[Path, list[Said]], Path | None], folder: Path) -> dict:
    """Clips kept in each split, and rejected ones by reason, of recordings written to a folder in a layout."""
    folder.mkdir(parents=True)
    source = write(folder, recordings()) or folder
    out = folder.with_name(f"{folder.name} features")
    try:
        stats = build_features(
            str(source), out, config=FeatureConfig(workers=1, hold_out=0.0, language="yue"), progress=False
        )
    except CantowhisperError as error:
        return {"kept": 0, "rejected": 0, "refused": str(error)}
    splits = {split: found["clips"] for split, found in stats["splits"].items()}
    return {"kept": stats["n_kept"], "rejected": stats["n_rejected"], "splits": splits, "reasons": reasons(out)}


def reasons(out: Path) -> list[str]:
    with (out / "rejected.tsv").open(encoding="utf-8", newline="") as file:
        return sorted({row["reason"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)})


def layouts(result: dict) -> str:
    """The table of docs/sources.md."""
    lines = ["| layout | written by | kept | rejected | why |", "|---|---|---|---|---|"]
    for row in result["layouts"]:
        why = "; ".join(row.get("reasons", [])) or row.get("refused", "")
        lines.append(f"| {row['layout']} | {row['written_by']} | {row['kept']} | {row['rejected']} | {why} |")
    return "\n".join([*lines, "", f"({result['layouts_read']} of {len(result['layouts'])} are read.)"])


def recordings() -> list[Said]:
    with (CORPUS / "train.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))[: len(SPLITS)]
    sounds = [load_audio(CORPUS / "clips" / row["path"]) for row in rows]
    return [
        Said(f"r{i}", split, f"s{max(i // 2, i - 2)}", row["sentence"], sound)
        for i, (split, row, sound) in enumerate(zip(SPLITS, rows, sounds, strict=True))
    ]


if __name__ == "__main__":
    main()
