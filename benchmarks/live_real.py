"""Live text of real recordings with the real whisper-base, beside other policies on the same weights.

python -m benchmarks.live_real --json FILE [--alignatt PYTHON]

The others are whisper_streaming's policy and, with --alignatt, SimulStreaming's as whisperlivekit has it: PYTHON is the
interpreter of a virtual environment with whisperlivekit in it, whose packages would not go with ours.

All hear the recordings of REAL_SPEECH/long_form as a microphone would bring them, with two threads and greedy search,
and say what they wrote, when each character became final, and what it cost. Weights are int8, but those of AlignAtt's
decoder are float32. Time passes while a program computes. What a file gives is measured too: live text can at best be
as good as that.

Options of the live engine were chosen on other recordings (`--mandarin`): zh-CN clips, joined in the same way.
"""

import argparse
import contextlib
import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.live import references
from benchmarks.live_alignatt import AlignAtt, Words, simulate
from benchmarks.machine import describe
from benchmarks.real_clips import SETS, folder_of, paired_interval, read_clips
from benchmarks.real_programs import LANGUAGE, exported, exported_ct2
from cantowhisper.serving.live.agreement import common_prefix_length
from cantowhisper.serving.live.engine import LiveEngine
from cantowhisper.serving.live.options import LiveOptions
from cantowhisper.serving.live.pace import PaceOptions
from cantowhisper.serving.live.replay import SimulatedClock, delays, replay
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE
from cantowhisper.speech.text import cer_edits, join_texts

THREADS = 2
CLIPS_A_RECORDING, PAUSE_S = 5, 0.6
PROGRAMS = ("live", "file", "streaming", "alignatt")
Rows = list[tuple[float, float, str]]  # start s, end s, sentence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/live_real.json"))
    parser.add_argument("--model", type=Path, help="default: REAL_WEIGHTS/whisper-base")
    parser.add_argument("--mandarin", action="store_true", help="the recordings on which options are chosen")
    parser.add_argument("--ours-only", action="store_true", help="without whisper_streaming's policy")
    parser.add_argument("--alignatt", type=Path, metavar="PYTHON", help="one that has whisperlivekit: AlignAtt as well")
    parser.add_argument("--set", action="append", default=[], metavar="OPTION=VALUE", help="an option of live text")
    parser.add_argument("--only", nargs="+", default=[], help="recordings whose names hold one of these")
    parser.add_argument("--note", default="", help="what else the machine was doing; goes into the result")
    arguments = parser.parse_args()
    speech = folder_of("REAL_SPEECH")
    model = arguments.model or folder_of("REAL_WEIGHTS") / "whisper-base"
    recordings = joined_clips(speech, "zh-CN") if arguments.mandarin else cantonese()
    recordings = {n: r for n, r in recordings.items() if not arguments.only or any(o in n for o in arguments.only)}
    options = LiveOptions(**LiveOptions.read(arguments.set))
    with tempfile.TemporaryDirectory(prefix="cantowhisper-bench-") as folder:
        peers = {} if arguments.ours_only else {"streaming": Streaming(model, Path(folder))}
        with contextlib.ExitStack() as stack:
            if arguments.alignatt:
                peers["alignatt"] = stack.enter_context(alignatt(arguments.alignatt, model, Path(folder)))
            result = measure(model, Path(folder), recordings, options, peers)
            versions = {"alignatt_version": peers["alignatt"].version} if arguments.alignatt else {}
    result |= versions | {"machine": describe(), "threads": THREADS, "note": arguments.note, "options": arguments.set}
    print(json.dumps({k: v for k, v in result.items() if k != "recordings"}, indent=2, ensure_ascii=False))
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    arguments.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def cantonese() -> dict[str, tuple[np.ndarray, Rows]]:
    """All recordings of long_form, with the times of their sentences."""
    found = {n: (p, rows) for n, (p, rows) in references().items() if p.parent.name == "long_form"}
    return {name: (load_audio(path), rows) for name, (path, rows) in sorted(found.items())}


def joined_clips(speech: Path, name: str) -> dict[str, tuple[np.ndarray, Rows]]:
    """Clips of a set, five to a recording, with a pause after each."""
    clips, found = read_clips(speech / SETS[name][0], 100), {}
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32)
    for first in range(0, len(clips), CLIPS_A_RECORDING):
        sound, rows = [], []
        for waveform, said in clips[first : first + CLIPS_A_RECORDING]:
            start = sum(map(len, sound)) / SAMPLE_RATE
            rows.append((start, start + waveform.size / SAMPLE_RATE, said))
            sound += [waveform, pause]
        found[f"{name}_{first // CLIPS_A_RECORDING:02}"] = (np.concatenate(sound), rows)
    return found


def alignatt(python: Path, model: Path, folder: Path) -> AlignAtt:
    """The other process, or the end of this one with a line that says why it does not start."""
    try:
        return AlignAtt(python, model, exported_ct2(model, folder), folder, language=LANGUAGE, threads=THREADS)
    except ValueError as error:
        raise SystemExit(str(error)) from None


def measure(model: Path, folder: Path, recordings, options: LiveOptions, peers: dict) -> dict:
    """Every recording by each program in turn."""
    recognizer = Recognizer.open(exported(model, folder), threads=THREADS)
    found = {}
    for name, (waveform, rows) in recordings.items():
        row = found[name] = {"seconds": waveform.size / SAMPLE_RATE, "said": "".join(said for *_, said in rows)}
        row["live"] = _live(recognizer, waveform, rows, options)
        row["file"] = {"text": join_texts((s.text for s in recognizer.transcribe(waveform, language=LANGUAGE)), "zh")}
        row |= {program: peer.run(waveform) for program, peer in peers.items()}
        for program in PROGRAMS:
            if program in row:
                row[program]["edits"] = list(cer_edits(row[program]["text"], row["said"]))
        print(name, {k: row[k]["edits"] for k in PROGRAMS if k in row}, flush=True)
    return summary(found)


def _live(recognizer: Recognizer, waveform: np.ndarray, rows: Rows, options: LiveOptions) -> dict:
    """Once as it is, and once with every pass on time and at the other program's step, for what it costs."""
    engine = LiveEngine(recognizer, clock=SimulatedClock(), options=options)
    (track,) = replay(engine, [("", waveform)], language=LANGUAGE)
    late = delays(track, spoken=[(start, end) for start, end, _ in rows])
    on_time = PaceOptions(step_s=Streaming.step_s, share=1.0)
    steady = LiveEngine(recognizer, clock=SimulatedClock(), options=options, pace_options=on_time)
    replay(steady, [("", waveform)], language=LANGUAGE, on_time=True)
    return {
        "text": track.text.replace("\n", ""),
        "commit_s": [round(s, 2) for s in late["commit"]],
        "compute_s": round(steady.busy_s, 2),
        "passes": engine.n_passes,
        "revised": track.revised_tentative,
        "shown": track.shown_tentative,
    }


def summary(found: dict) -> dict:
    """The figures of all recordings together."""
    rows = list(found.values())
    programs = [name for name in PROGRAMS if name in rows[0]]
    edits = {name: np.array([row[name]["edits"] for row in rows]) for name in programs}
    rates = {name: 100 * each[:, 0].sum() / each[:, 1].sum() for name, each in edits.items()}
    seconds = sum(row["seconds"] for row in rows)
    result = {"n_recordings": len(rows), "minutes": round(seconds / 60, 1)}
    result |= {f"{name}_cer": round(rate, 2) for name, rate in rates.items()}
    result["real_live_minus_file_points"] = round(rates["live"] - rates["file"], 2)
    result["real_live_minus_file_interval"] = paired_interval(edits["live"], edits["file"])
    for name in programs:
        if name == "file":
            continue
        commits = [s for row in rows for s in row[name]["commit_s"]]
        p50, p95 = (round(float(np.percentile(commits, q)), 2) for q in (50, 95))
        prefix = "real" if name == "live" else name
        result |= {f"{prefix}_commit_delay_p50_s": p50, f"{prefix}_commit_delay_p95_s": p95}
        result[f"{name}_compute_s_per_audio_s"] = round(sum(row[name]["compute_s"] for row in rows) / seconds, 3)
    result["revision_rate"] = round(
        sum(row["live"]["revised"] for row in rows) / max(1, sum(row["live"]["shown"] for row in rows)), 3
    )
    for peer, key in (("streaming", "real_compute_ratio"), ("alignatt", "alignatt_compute_ratio")):
        if peer in programs:
            ratios = [row[peer]["compute_s"] / row["live"]["compute_s"] for row in rows]
            result[key] = round(float(np.median(ratios)), 2)
            result[f"{key}_quartiles"] = [round(float(x), 2) for x in np.percentile(ratios, [25, 75])]
            result[f"real_live_minus_{peer}_interval"] = paired_interval(edits["live"], edits[peer])
    return result | {"recordings": found}


@dataclass(frozen=True)
class Word:
    """A word as faster-whisper times it, in seconds of the recording."""

    start: float
    end: float
    text: str


class Streaming:
    """whisper_streaming's policy (Macháček et al. 2023) on faster-whisper, with its usual settings but greedy search.

    At each step of 1 s the whole buffer is transcribed, with words and their times. Words on which two passes agree are
    committed. When the buffer is over 15 s, it is cut at the end of the last committed segment; the last 200 characters
    before it are the prompt.
    """

    step_s, trim_s, prompt_characters, overlap_words = 1.0, 15.0, 200, 5

    def __init__(self, model: Path, folder: Path):
        from faster_whisper import WhisperModel

        export = str(exported_ct2(model, folder))
        self._model = WhisperModel(export, device="cpu", compute_type="int8", cpu_threads=THREADS, num_workers=1)

    def run(self, waveform: np.ndarray) -> dict:
        """What `simulate` says of a recording."""
        self._committed: list[Word] = []
        self._tentative: list[Word] = []
        self._from_s, arrived = 0.0, 0

        def hear(sound: np.ndarray) -> Words:
            nonlocal arrived
            arrived, before = arrived + sound.size, len(self._committed)
            self._pass(waveform[round(self._from_s * SAMPLE_RATE) : arrived])
            return self._ended(self._committed[before:])

        return simulate(waveform, hear, lambda: self._ended(self._tentative), step_s=self.step_s)  # the end commits all

    @staticmethod
    def _ended(words: Iterable[Word]) -> Words:
        return [(word.end, word.text) for word in words]

    def _pass(self, sound: np.ndarray) -> None:
        before = [word.text for word in self._committed if word.end <= self._from_s]
        segments, _ = self._model.transcribe(
            sound,
            language=LANGUAGE,
            beam_size=1,
            word_timestamps=True,
            condition_on_previous_text=True,
            initial_prompt="".join(before)[-self.prompt_characters :],
        )
        segments = list(segments)
        words = [Word(self._from_s + w.start, self._from_s + w.end, w.word) for s in segments for w in s.words]
        self._agree(words)
        if sound.size / SAMPLE_RATE > self.trim_s:
            until = self._committed[-1].end if self._committed else 0.0
            ends = [self._from_s + s.end for s in segments[:-1] if self._from_s + s.end <= until]
            self._from_s = max([self._from_s, *ends])

    def _agree(self, words: list[Word]) -> None:
        last_s = self._committed[-1].end if self._committed else 0.0
        new = [word for word in words if word.start > last_s - 0.1]
        if new and self._committed and abs(new[0].start - last_s) < 1:
            new = new[self._said_already(new) :]
        n = common_prefix_length([w.text for w in new], [w.text for w in self._tentative])
        self._committed += new[:n]
        self._tentative = new[n:]

    def _said_already(self, new: list[Word]) -> int:
        """How many words at the beginning are the last committed ones once more."""
        most = min(self.overlap_words, len(new), len(self._committed))
        same = lambda n: [w.text for w in self._committed[-n:]] == [w.text for w in new[:n]]
        return next((n for n in range(1, most + 1) if same(n)), 0)


if __name__ == "__main__":
    main()
