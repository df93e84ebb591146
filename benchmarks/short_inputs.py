"""Short inputs for a stock Whisper, on real clips: python -m benchmarks.short_inputs --json FILE

The stock whisper-base transcribes Common Voice clips (zh-HK, zh-CN, zh-TW) and two English recordings, greedily and
with every guard on: at 30 s, plainly at their own length with 64, 128 and 256 positions of silence, and with the
window's silence merged; and a model that was adapted to merged windows does. All by the int8 export, in one process.
Intervals are paired bootstraps over clips. Margin and groups were chosen on English and Japanese clips; the adaptation
hears English, Japanese and German clips and none of a language of the table.

It needs the environment variables REAL_SPEECH and REAL_WEIGHTS. Columns that stand in FILE already are not run again.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from benchmarks.real_clips import SETS, folder_of, paired_interval, read_clips, read_fixtures
from benchmarks.real_programs import exported
from cantowhisper.contracts import ModelFacts
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.speech.context import Context, context_of, stack
from cantowhisper.speech.mel import SAMPLE_RATE, log_mel, pad_to
from cantowhisper.speech.text import cer_edits, join_texts

MERGED = Context()
COLUMNS = {
    "full": Context(kind="full"),
    "plain_64": Context(kind="plain", margin_frames=128, bucket_frames=2),
    "plain_128": Context(kind="plain", margin_frames=256, bucket_frames=2),
    "plain_256": Context(kind="plain", margin_frames=512, bucket_frames=2),
    "merged": MERGED,
}
ADAPTED = ("adapted", "adapted_wide", "adapted_full")
HEARD_BY_ADAPTATION = ("en", "ja", "de")  # folders of common_voice_6_layout
CLIP_SECONDS, TIMED_ROUNDS = 4, 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/short_inputs.json"))
    parser.add_argument("--clips", type=int, default=100, help="of each language")
    parser.add_argument("--adapted", type=Path, help="an adapted model folder (default: adapted here, some minutes)")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    speech, weights = folder_of("REAL_SPEECH"), folder_of("REAL_WEIGHTS")
    with tempfile.TemporaryDirectory(prefix="cantowhisper-bench-") as folder:
        result = measure(speech, weights / "whisper-base", Path(folder), options)
    _write(options.json, result)
    print(json.dumps({k: v for k, v in result.items() if isinstance(v, (int, float, str))}, indent=2))


def measure(speech: Path, stock: Path, folder: Path, options) -> dict:
    """All figures, as written to the JSON file."""
    clips = {name: read_clips(speech / path, options.clips) for name, (path, _) in SETS.items()}
    clips["en"] = read_fixtures(speech)
    result = json.loads(options.json.read_text(encoding="utf-8")) if options.json.exists() else {}
    rows = result.setdefault("columns", {})
    recognizer = Recognizer.open(exported(stock, folder / "stock"), threads=options.threads)
    for name, context in COLUMNS.items():
        if name not in rows:
            rows[name] = _column(recognizer, context, clips)
            _write(options.json, result)
            print(name, {k: round(v["cer"], 4) for k, v in rows[name]["sets"].items()}, flush=True)
    result |= {f"{key}": value for key, value in _encoder_times(recognizer).items()}
    if not set(ADAPTED) <= set(rows):
        model = options.adapted or _adapted(stock, speech, folder)
        adapted = Recognizer.open(exported(model, folder / "adapted"), threads=options.threads)
        for name, context in zip(
            ADAPTED, (context_of(ModelFacts.load(model)), MERGED, Context(kind="full")), strict=True
        ):
            if name in rows:
                continue
            rows[name] = _column(adapted, context, clips)
            _write(options.json, result)
            print(name, {k: round(v["cer"], 4) for k, v in rows[name]["sets"].items()}, flush=True)
    return result | _compared(rows, set(SETS)) | {"machine": describe(), "threads": options.threads}


def _column(recognizer: Recognizer, context: Context, clips: dict) -> dict:
    """CER, loops, second tries and positions of one way to hear the clips; what was written for each."""
    recognizer.context = context
    sets = {}
    for name, rows in clips.items():
        language = SETS[name][1] if name in SETS else "en"
        started, written, flags = time.perf_counter(), [], []
        for waveform, _ in rows:
            segments = recognizer.transcribe(waveform, language=language)
            written.append(join_texts((segment.text for segment in segments), language))
            flags += [flag for segment in segments for flag in segment.flags]
        edits = [list(cer_edits(text, said)) for text, (_, said) in zip(written, rows, strict=True)]
        sets[name] = {
            "n": len(rows),
            "cer": sum(e for e, _ in edits) / sum(n for _, n in edits),
            "edits": edits,
            "texts": written,
            "loops": flags.count("repetition"),
            "second_tries": flags.count("second_try"),
            "seconds": round(time.perf_counter() - started, 2),
            "positions": statistics.mean(context.n_positions(-(-w.size // 160) + 2) for w, _ in rows),
        }
    return {"sets": sets}


def _compared(rows: dict, languages: set[str]) -> dict:
    """Differences from 30 s in points, with paired bootstrap intervals, and agreement with its text."""
    found = {}
    for name in rows:
        if name == "full":
            continue
        points = {}
        for language in sorted(languages):
            one, full = rows[name]["sets"][language], rows["full"]["sets"][language]
            points[language] = {
                "points": 100 * (one["cer"] - full["cer"]),
                "interval": paired_interval(np.array(one["edits"]), np.array(full["edits"])),
                "same_text": float(np.mean([a == b for a, b in zip(one["texts"], full["texts"], strict=True)])),
            }
        of_all = [each["points"] for each in points.values()]
        found[f"{name}_minus_full"] = points
        found[f"{name}_minus_full_points_mean"] = round(statistics.mean(of_all), 2)
        found[f"{name}_minus_full_points_worst"] = round(max(of_all), 2)
    return found


def _encoder_times(recognizer: Recognizer) -> dict:
    """Median seconds of the encoder for a clip of 4 s, in turns, and the ratio with its range over rounds."""
    sound = np.random.default_rng(0).normal(0, 0.1, CLIP_SECONDS * SAMPLE_RATE).astype(np.float32)
    mel = log_mel(sound, n_mels=recognizer.engine.n_mels, engine="numpy")
    inputs = {}
    for name in ("full", "merged"):
        windows = stack([COLUMNS[name].window(mel.shape[1])])
        inputs[name] = (pad_to(mel, windows.n_frames)[None], windows)
    times = {name: [] for name in inputs}
    for _ in range(TIMED_ROUNDS + 1):  # the first round warms up
        for name, each in inputs.items():
            started = time.perf_counter()
            recognizer.engine.encode(*each)
            times[name].append(time.perf_counter() - started)
    ratios = sorted(full / merged for full, merged in zip(times["full"][1:], times["merged"][1:], strict=True))
    return {
        "encoder_s": {name: statistics.median(each[1:]) for name, each in times.items()},
        "encoder_time_ratio": round(statistics.median(ratios), 2),
        "encoder_time_ratio_range": [round(ratios[0], 2), round(ratios[-1], 2)],
    }


def _adapted(stock: Path, speech: Path, folder: Path) -> Path:
    from cantowhisper.training.adapt import adapt

    heard = folder / "heard"
    for language in HEARD_BY_ADAPTATION:
        for path in sorted((speech / "common_voice_6_layout" / language / "clips").glob("*.mp3")):
            (heard / language).mkdir(parents=True, exist_ok=True)
            (heard / language / path.name).symlink_to(path)
    adapt(stock, heard, folder / "adapted_model")
    return folder / "adapted_model"


def _write(path: Path, result: dict) -> None:
    from cantowhisper.files import write_json

    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(result, path)


if __name__ == "__main__":
    main()
