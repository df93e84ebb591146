"""Many speakers at once, and two hours of one speaker, on the live engine: python -m benchmarks.live_load --json FILE

Recordings of REAL_SPEECH/long_form are brought to the engine as microphones would bring them, with two threads; time
passes while it computes. First as many speakers as the page takes, each with a recording of their own, then fewer,
until 95 % of the characters are final within 3 s. Then one speaker, for as long as a session may last, with the
recordings one after the other: what a session costs must not grow with its length.
"""

import argparse
import itertools
import json
import tempfile
from pathlib import Path

import numpy as np
import psutil

from benchmarks.live_real import THREADS, Rows, cantonese
from benchmarks.machine import describe
from benchmarks.real_clips import folder_of
from benchmarks.real_programs import LANGUAGE, exported
from cantowhisper.files import write_json
from cantowhisper.serving.live.engine import LiveEngine
from cantowhisper.serving.live.limits import LiveLimits
from cantowhisper.serving.live.replay import SimulatedClock, Track, delays, replay
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.speech.mel import SAMPLE_RATE

SPEAKERS = (8, 6, 4, 3, 2, 1)
IN_TIME_S = 3.0
PART_S = 600.0  # of a long session, each looked at by itself
PAUSE_S = 1.5  # between recordings
Recordings = dict[str, tuple[np.ndarray, Rows]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/live_load.json"))
    parser.add_argument("--model", type=Path, help="default: REAL_WEIGHTS/whisper-base")
    parser.add_argument("--long-model", type=Path, help="for the long session alone: hours of a large one take hours")
    parser.add_argument("--hours", type=float, default=LiveLimits().max_session_s / 3600, help="of the long session")
    parser.add_argument("--note", default="", help="what else the machine was doing; goes into the result")
    arguments = parser.parse_args()
    model = arguments.model or folder_of("REAL_WEIGHTS") / "whisper-base"
    recordings = cantonese()
    result = {"machine": describe(), "threads": THREADS, "note": arguments.note}
    with tempfile.TemporaryDirectory(prefix="cantowhisper-bench-") as folder:
        recognizer = Recognizer.open(exported(model, Path(folder)), threads=THREADS)
        result |= at_once(recognizer, recordings)
        if arguments.long_model:
            recognizer = Recognizer.open(exported(arguments.long_model, Path(folder)), threads=THREADS)
        result["long_session_model"] = (arguments.long_model or model).name
        result["long_session"] = long_session(recognizer, recordings, seconds=3600 * arguments.hours)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    write_json(result, arguments.json)
    print(json.dumps(result, indent=1, ensure_ascii=False))


def at_once(recognizer: Recognizer, recordings: Recordings) -> dict:
    """Delays with so many speakers at once, and the largest number for which 95 % is final in time."""
    found, most = {}, 0
    longest = sorted(recordings.values(), key=lambda one: -one[0].size)
    for number in SPEAKERS:
        speaking = longest[:number]
        engine = LiveEngine(recognizer, clock=SimulatedClock())
        tracks = replay(engine, [(f"{n}", waveform) for n, (waveform, _) in enumerate(speaking)], language=LANGUAGE)
        late = [delays(t, spoken=[row[:2] for row in rows]) for t, (_, rows) in zip(tracks, speaking, strict=True)]
        found[number] = {"busy_s": round(engine.busy_s, 1), **late_by(np.concatenate([one["commit"] for one in late]))}
        print(number, found[number], flush=True)
        if found[number]["p95_s"] <= IN_TIME_S:
            most = number
            break
    return {"speakers": found, "most_speakers_in_time": most, "in_time_s": IN_TIME_S}


def late_by(seconds) -> dict:
    p50, p95 = np.percentile(seconds, [50, 95]).round(2).tolist()
    return {"characters": len(seconds), "p50_s": p50, "p95_s": p95}


class Watched(LiveEngine):
    """An engine that notes, whenever another part of the sound has arrived, what it has cost so far."""

    part_s = PART_S

    def __post_init__(self):
        super().__post_init__()
        self.parts: list[dict] = []

    def push(self, name, offset, sound, **named) -> dict:
        if offset >= self.part_s * SAMPLE_RATE * len(self.parts):
            self.note(self.sessions[name].held / SAMPLE_RATE)
        return super().push(name, offset, sound, **named)

    def note(self, held_s: float) -> None:
        memory = psutil.Process().memory_info().rss / 1e6
        self.parts.append({"memory_mb": memory, "busy_s": self.busy_s, "passes": self.n_passes, "held_s": held_s})


def long_session(recognizer: Recognizer, recordings: Recordings, *, seconds: float, part_s: float = PART_S) -> dict:
    """One session of so many seconds: what each part of it has cost, how late its text was, and what was lost."""
    waveform, rows = joined(recordings, seconds)
    engine = Watched(recognizer, clock=SimulatedClock())
    engine.part_s = part_s
    (track,) = replay(engine, [("", waveform)], language=LANGUAGE)
    engine.note(0.0)
    gaps = sum(end - start for start, end in track.view["gaps"])
    pairs = itertools.pairwise(engine.parts)
    parts = [part(track, rows, number * part_s, part_s, *pair) for number, pair in enumerate(pairs)]
    full = [one for one in parts if one["characters"]]
    return {
        "hours": round(waveform.size / SAMPLE_RATE / 3600, 2),
        "samples_lost": waveform.size - track.view["have"] + gaps,
        # The last note is of after the session, when its memory has been given back.
        "memory_growth_mb_second_half": round(parts[-2]["memory_mb"] - parts[len(parts) // 2 - 1]["memory_mb"], 1),
        "compute_last_over_first": round(full[-1]["compute_s_per_audio_s"] / full[0]["compute_s_per_audio_s"], 2),
        "p95_last_minus_first_s": round(full[-1]["p95_s"] - full[0]["p95_s"], 2),
        "parts": parts,
    }


def joined(recordings: Recordings, seconds: float) -> tuple[np.ndarray, Rows]:
    """The recordings one after the other, again and again, with pauses, until `seconds` are full."""
    pause, sound, rows, n_samples = np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32), [], [], 0
    while n_samples < seconds * SAMPLE_RATE:
        for waveform, own in recordings.values():
            at_s = n_samples / SAMPLE_RATE
            rows += [(start + at_s, end + at_s, said) for start, end, said in own]
            sound += [waveform, pause]
            n_samples += waveform.size + pause.size
    return np.concatenate(sound)[: round(seconds * SAMPLE_RATE)], [row for row in rows if row[1] <= seconds]


def part(track: Track, rows: Rows, from_s: float, part_s: float, before: dict, after: dict) -> dict:
    """What happened between two notes of the engine."""
    to_s = from_s + part_s
    lines = [line for line in track.lines if from_s <= line["start_s"] < to_s]
    own = Track(track.name, lines=lines, final_s=track.final_s)
    commits = delays(own, spoken=[row[:2] for row in rows if from_s - 60 <= row[0] < to_s + 60])["commit"]
    return {
        "from_s": from_s,
        **(late_by(commits) if commits else {"characters": 0}),
        "memory_mb": round(after["memory_mb"], 1),
        "held_s": round(after["held_s"], 2),
        "passes": after["passes"] - before["passes"],
        "compute_s_per_audio_s": round((after["busy_s"] - before["busy_s"]) / part_s, 4),
    }


if __name__ == "__main__":
    main()
