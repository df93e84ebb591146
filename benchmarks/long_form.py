"""Recordings of several sentences, on real speech: python -m benchmarks.long_form --json FILE

The stock whisper-base writes down the Cantonese recordings of REAL_SPEECH/long_form and Mandarin ones, five Common
Voice clips each, joined with 0.6 s of silence: by this project, and by faster-whisper with its voice activity
detection. Both run int8, greedily, with their own guards, in turns in one process. CPU seconds are those of all
threads. How pieces are joined was chosen on German, Japanese and Taiwanese clips, none of which is in the table.
`--tuned` adds a model that was tuned by this project's recipe, on the recordings that `--only` names: those whose
sentences it did not hear.
"""

import argparse
import csv
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from benchmarks.real_clips import SETS, folder_of, paired_interval, read_clips
from benchmarks.real_programs import faster_whisper, ours
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE
from cantowhisper.speech.text import cer_edits

PAUSE_S, CLIPS_A_RECORDING = 0.6, 5
Recordings = dict[str, tuple[np.ndarray, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/long_form.json"))
    parser.add_argument("--tuned", type=Path, help="a model folder that `cantowhisper train` wrote")
    parser.add_argument("--only", nargs="+", default=[""], help="with --tuned: recordings whose name has one of these")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    speech, weights = folder_of("REAL_SPEECH"), folder_of("REAL_WEIGHTS")
    recordings = cantonese(speech) | mandarin(speech)
    with tempfile.TemporaryDirectory(prefix="cantowhisper-bench-") as folder:
        result = {
            "machine": describe(),
            "threads": options.threads,
            **compare(weights / "whisper-base", Path(folder), recordings, options.threads),
        }
        if options.tuned:
            chosen = {name: each for name, each in recordings.items() if any(part in name for part in options.only)}
            result["tuned"] = compare(options.tuned, Path(folder) / "tuned", chosen, options.threads)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in result.items() if key not in ("machine", "recordings")}, indent=2))


def compare(model: Path, folder: Path, recordings: Recordings, threads: int) -> dict:
    """Error rates and CPU seconds of both programs over recordings, with the paired difference."""
    programs = {
        "cantowhisper": ours(model, folder, threads=threads),
        "faster-whisper": faster_whisper(model, folder, threads=threads, vad=True),
    }
    rows: dict[str, dict] = {}
    for transcribe in programs.values():  # the first call loads what is loaded late
        transcribe(next(iter(recordings.values()))[0][: 4 * SAMPLE_RATE])
    for name, (waveform, said) in recordings.items():
        rows[name] = {"seconds": round(waveform.size / SAMPLE_RATE, 1)}
        for program, transcribe in programs.items():
            started = time.process_time()
            text = transcribe(waveform)
            cpu_s = round(time.process_time() - started, 2)
            rows[name][program] = {"text": text, "edits": list(cer_edits(text, said)), "cpu_s": cpu_s}
    edits = {program: np.array([row[program]["edits"] for row in rows.values()]) for program in programs}
    cpu_s = {program: round(sum(row[program]["cpu_s"] for row in rows.values()), 1) for program in programs}
    rates = {program: float(100 * each[:, 0].sum() / each[:, 1].sum()) for program, each in edits.items()}
    ratios = [row["faster-whisper"]["cpu_s"] / row["cantowhisper"]["cpu_s"] for row in rows.values()]
    return {
        "n_recordings": len(rows),
        "cer": {program: round(rate, 2) for program, rate in rates.items()},
        "cer_of_sets": _of_sets(rows),
        "cer_minus_faster_whisper_points": round(rates["cantowhisper"] - rates["faster-whisper"], 2),
        "cer_minus_faster_whisper_interval": paired_interval(edits["cantowhisper"], edits["faster-whisper"]),
        "cpu_s": cpu_s,
        "cpu_ratio": round(cpu_s["faster-whisper"] / cpu_s["cantowhisper"], 2),
        "cpu_ratio_quartiles": [round(float(x), 2) for x in np.percentile(ratios, [25, 75])],
        "recordings": rows,
    }


def _of_sets(rows: dict[str, dict]) -> dict:
    found = {}
    for language in ("zh-HK", "zh-CN"):
        own = [row for name, row in rows.items() if name.startswith(language)]
        for program in ("cantowhisper", "faster-whisper") if own else ():
            edits = np.array([row[program]["edits"] for row in own]).sum(axis=0)
            found.setdefault(language, {"n": len(own)})[program] = round(float(100 * edits[0] / edits[1]), 2)
    return found


def cantonese(speech: Path) -> Recordings:
    """All of `long_form`, with the sentences of each recording joined."""
    sentences: dict[str, list[str]] = {}
    with (speech / "long_form/segments.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            sentences.setdefault(row["path"], []).append(row["sentence"])
    folder = speech / "long_form"
    return {name: (load_audio(folder / name), "".join(said)) for name, said in sorted(sentences.items())}


def mandarin(speech: Path) -> Recordings:
    clips = read_clips(speech / SETS["zh-CN"][0], 100)
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32)
    found = {}
    for first in range(0, len(clips), CLIPS_A_RECORDING):
        own = clips[first : first + CLIPS_A_RECORDING]
        sound = np.concatenate([part for waveform, _ in own for part in (waveform, pause)])
        found[f"zh-CN_{first // CLIPS_A_RECORDING:02}"] = (sound, "".join(said for _, said in own))
    return found


if __name__ == "__main__":
    main()
