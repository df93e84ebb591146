"""Live transcription against LocalAgreement-2 on faster-whisper: python -m benchmarks.live --json FILE

Two programs, alternating over the same recordings, with the same int8 weights and two threads. Delays count
computation (a pass that takes 2 s shows its text 2 s later, and sound goes on arriving meanwhile). Compute is compared
with every step on time: a program that falls behind does fewer passes, which would make it look cheap.
"""

import argparse
import csv
import json
import os
import tempfile
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.live_systems import FixedLength, LocalAgreement, Ours, Sureness, spoken_characters
from benchmarks.machine import describe
from benchmarks.random_model import PLAIN, build_random
from cantowhisper.serving.live.pace import PaceOptions
from cantowhisper.serving.live.replay import SimulatedClock, delays, replay
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE
from cantowhisper.speech.text import cer

ROOT = Path(__file__).resolve().parents[1]
THREADS = 2
CLIPS = ("market_morning.mp3", "bus_and_train.mp3")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/live.json"))
    parser.add_argument("--model", help="a trained model, for the CER of live against offline and how often it is sure")
    parser.add_argument("--small", type=Path, help="folder for the random weights, to use them again")
    parser.add_argument("--clips", nargs="+", default=list(CLIPS), help="recordings of samples/clips, or of long_form")
    parser.add_argument("--note", default="", help="what else the machine was doing; goes into the result")
    arguments = parser.parse_args()
    recordings = {name: rows for name, rows in references().items() if name in arguments.clips}
    result = {"machine": describe(), "note": arguments.note, "threads": THREADS, "clips": sorted(recordings)}
    with tempfile.TemporaryDirectory() as temporary:
        folder = build_random(arguments.small or Path(temporary) / "small", context=PLAIN)
        # Without a trained model nothing is known of sureness: then all text has to wait until passes agree.
        found = accuracy(arguments.model) if arguments.model else {"sure_passes_share": 0.0}
        result |= compare(folder, recordings, sure_share=found["sure_passes_share"]) | found
    print(json.dumps(result, indent=2, ensure_ascii=False))
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def references() -> dict[str, list[tuple[float, float, str]]]:
    """(start s, end s, text) of each recording: the samples' longer pieces, and REAL_SPEECH/long_form if it is set."""
    found = defaultdict(list)
    tables = [(ROOT / "samples/clips", "references.tsv", ("file", "start_s", "end_s", "text"))]
    if os.environ.get("REAL_SPEECH"):
        long_form = Path(os.environ["REAL_SPEECH"]) / "long_form"
        tables.append((long_form, "segments.tsv", ("path", "start", "end", "sentence")))
    for folder, table, (file, start, end, text) in tables:
        with (folder / table).open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE):
                found[str(folder / row[file])].append((float(row[start]), float(row[end]), row[text]))
    return {Path(path).name: (Path(path), rows) for path, rows in found.items()}


def compare(folder: Path, recordings: dict, *, sure_share: float) -> dict:
    """Delays and compute of both programs, and three speakers at once."""
    theirs = LocalAgreement(folder, threads=THREADS)
    recognizer = Recognizer.open(folder, threads=THREADS)
    end = recognizer.vocabulary.ids["<|endoftext|>"]
    recognizer.engine = FixedLength(recognizer.engine, end)
    found = {"ours": defaultdict(list), "theirs": defaultdict(list)}
    compute, shares = {"ours": [], "theirs": []}, []
    play = partial(ours, recognizer, sure_share=sure_share)
    for path, rows in recordings.values():
        waveform = load_audio(path)
        audio_s = waveform.size / SAMPLE_RATE
        delayed, busy_s = play([(path.name, waveform, rows)])
        shares.append(busy_s / audio_s)
        for name, value in delayed.items():
            found["ours"][name] += value
        for name, value in theirs.run(waveform, rows, late=True).items():
            found["theirs"][name] += value if isinstance(value, list) else [value]
        compute["ours"].append(play([(path.name, waveform, rows)], on_time=True)[1] / audio_s)
        theirs.busy_s = 0.0
        theirs.run(waveform, rows, late=False)
        compute["theirs"].append(theirs.busy_s / audio_s)
    (path, rows), *_ = recordings.values()
    three = play([(f"{i}", np.roll(load_audio(path), i * SAMPLE_RATE), shifted(rows, i)) for i in range(3)])
    ratios = [b / a for a, b in zip(compute["ours"], compute["theirs"], strict=True)]
    return {
        **{key: value for key, value in summary(found["ours"]).items()},
        "theirs": summary(found["theirs"]),
        "compute_s_per_audio_s": round(float(np.mean(compute["ours"])), 3),
        "theirs_compute_s_per_audio_s": round(float(np.mean(compute["theirs"])), 3),
        "compute_ratio": round(float(np.mean(ratios)), 2),
        "compute_ratio_range": [round(min(ratios), 2), round(max(ratios), 2)],
        "one_speaker_share_of_the_machine": round(float(np.mean(shares)), 3),
        "three_speakers_commit_delay_p95_s": summary(three[0])["commit_delay_p95_s"],
    }


def shifted(rows: list, seconds: int) -> list:
    """The rows of a recording that begins so much later (what is rolled in from its end is silence)."""
    return [(start + seconds, end + seconds, text) for start, end, text in rows]


def ours(recognizer: Recognizer, recordings: list, *, sure_share: float, on_time: bool = False) -> tuple[dict, float]:
    """(delays and revisions, compute seconds) of our engine. on_time: passes cost no time, at a step of 1 s."""
    options = PaceOptions(step_s=1.0, share=1.0) if on_time else PaceOptions()
    engine = Ours(recognizer, clock=SimulatedClock(), pace_options=options)
    engine.hear(
        {name: spoken_characters(rows) for name, _, rows in recordings}, recognizer.engine, sure_share=sure_share
    )
    tracks = replay(engine, [(name, waveform) for name, waveform, _ in recordings], on_time=on_time)
    found = defaultdict(list)
    for track, (_, _, rows) in zip(tracks, recordings, strict=True):
        for name, value in delays(track, spoken=[(start, end) for start, end, _ in rows]).items():
            found[name] += value
        found["revised"].append(track.revised_tentative)
        found["shown"].append(track.shown_tentative)
    return found, engine.busy_s


def summary(found: dict) -> dict:
    at = lambda name, q: round(float(np.percentile(found[name], q)), 2) if found[name] else None
    return {
        "characters": len(found["commit"]),
        "commit_delay_p50_s": at("commit", 50),
        "commit_delay_p95_s": at("commit", 95),
        "first_tentative_delay_p50_s": at("first_tentative", 50),
        "end_of_speech_to_final_p50_s": at("final", 50),
        "end_of_speech_to_final_p95_s": at("final", 95),
        "revision_rate": round(sum(found["revised"]) / max(sum(found["shown"]), 1), 3),
    }


def accuracy(model: str) -> dict:
    """CER (no punctuation) of live and of offline text of the same recordings, and in how many passes it is sure."""
    recognizer = Recognizer.open(model, threads=THREADS)
    live, offline, texts, sure = [], [], [], []
    for path, rows in references().values():
        if path.parent.name != "clips":
            continue
        waveform = load_audio(path)
        engine = Sureness(recognizer, clock=SimulatedClock())
        (track,) = replay(engine, [(path.name, waveform)])
        sure.append(engine.sure_passes())
        live.append(track.text)
        offline.append("".join(segment.text for segment in recognizer.transcribe(waveform)))
        texts.append("".join(text for _, _, text in rows))
    scores = [cer(written, texts).cer for written in (live, offline)]
    return {
        "cer_recordings": len(texts),
        "cer_live": round(scores[0], 4),
        "cer_offline": round(scores[1], 4),
        "sure_passes_share": round(float(np.divide(*np.sum(sure, axis=0))), 3),
        "cer_live_minus_offline_points": round(100 * (scores[0] - scores[1]), 2),
    }


if __name__ == "__main__":
    main()
