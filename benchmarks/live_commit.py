"""Which characters of live text are final, by two rules: python -m benchmarks.live_commit --json FILE

Agreement: two passes say it, and are sure of it or all of 1.2 s say so. Attention: one pass looked for it well before
the end of the sound (AlignAtt; Papi et al., arXiv 2305.11408). Both write down the recordings of REAL_SPEECH/long_form
with the same stock model, a pass after every half second of new speech. Passes take no time, so that delays are seconds
of sound whatever the machine does besides; their cost is counted apart, in CPU seconds of one thread. The distance was
chosen on other recordings (`--taiwanese`): zh-TW clips, joined in the same way.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.live_real import Rows, cantonese, joined_clips
from benchmarks.machine import describe
from benchmarks.real_clips import folder_of, paired_interval
from benchmarks.real_programs import LANGUAGE, exported
from cantowhisper.serving.live.engine import LiveEngine
from cantowhisper.serving.live.options import LiveOptions
from cantowhisper.serving.live.pace import Pace, PaceOptions
from cantowhisper.serving.live.replay import SimulatedClock, delays, replay
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.speech.mel import SAMPLE_RATE
from cantowhisper.speech.text import cer_edits

STEP_S = 0.5
AGREEMENT, ATTENTION = "agreement", "attention"


class SteadyPace(Pace):
    """The same step, whatever passes take."""

    def measured(self, seconds: float) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/live_commit.json"))
    parser.add_argument("--model", type=Path, help="default: REAL_WEIGHTS/whisper-base")
    parser.add_argument("--taiwanese", action="store_true", help="the recordings on which the distance was chosen")
    parser.add_argument("--near-end-s", nargs="+", type=float, default=[LiveOptions().near_end_s])
    parser.add_argument("--only", nargs="+", default=[""], help="recordings whose names hold one of these")
    arguments = parser.parse_args()
    speech = folder_of("REAL_SPEECH")
    model = arguments.model or folder_of("REAL_WEIGHTS") / "whisper-base"
    recordings = joined_clips(speech, "zh-TW") if arguments.taiwanese else cantonese()
    recordings = {n: r for n, r in recordings.items() if any(part in n for part in arguments.only)}
    rules = {AGREEMENT: LiveOptions(commit=AGREEMENT)}
    for near in arguments.near_end_s:
        rules[f"{ATTENTION} {near:g} s"] = LiveOptions(commit=ATTENTION, near_end_s=near)
    arguments.json.parent.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict] = {}
    with tempfile.TemporaryDirectory(prefix="cantowhisper-bench-") as folder:
        recognizer = Recognizer.open(exported(model, Path(folder)), threads=1)
        for name, (waveform, rows) in recordings.items():
            found[name] = {rule: heard(recognizer, waveform, rows, options) for rule, options in rules.items()}
            result = {"machine": describe(), "step_s": STEP_S, "rules": summary(found), "recordings": found}
            arguments.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            print(name, {rule: one["edits"] for rule, one in found[name].items()}, flush=True)
    print(json.dumps(summary(found), indent=2))


def heard(recognizer: Recognizer, waveform: np.ndarray, rows: Rows, options: LiveOptions) -> dict:
    """One recording as a microphone would bring it."""
    engine = LiveEngine(recognizer, clock=SimulatedClock(), options=options)
    engine.pace = SteadyPace(PaceOptions(step_s=STEP_S))
    began_s = time.process_time()
    (track,) = replay(engine, [("", waveform)], language=LANGUAGE, on_time=True)
    cpu_s = time.process_time() - began_s
    text = track.text.replace("\n", "")
    return {
        "text": text,
        "edits": list(cer_edits(text, "".join(said for *_, said in rows))),
        "commit_s": [round(s, 2) for s in delays(track, spoken=[(start, end) for start, end, _ in rows])["commit"]],
        "seconds": round(waveform.size / SAMPLE_RATE, 2),
        "cpu_s": round(cpu_s, 2),
        "passes": engine.n_passes,
        "revised": track.revised_tentative,
        "shown": track.shown_tentative,
    }


def summary(found: dict[str, dict]) -> dict:
    """The figures of each rule over all recordings, with the paired difference of its CER to agreement's."""
    by_rule = {rule: [row[rule] for row in found.values()] for rule in next(iter(found.values()))}
    edits = {rule: np.array([one["edits"] for one in rows]) for rule, rows in by_rule.items()}
    result = {}
    for rule, rows in by_rule.items():
        commits = [s for one in rows for s in one["commit_s"]]
        total = lambda name, rows=rows: sum(one[name] for one in rows)
        result[rule] = {
            "n_recordings": len(rows),
            "seconds": round(total("seconds")),
            "characters": int(edits[rule][:, 1].sum()),
            "cer": round(float(100 * edits[rule][:, 0].sum() / edits[rule][:, 1].sum()), 2),
            "cer_minus_agreement_interval": paired_interval(edits[rule], edits[AGREEMENT]),
            "commit_delay_p50_s": round(float(np.percentile(commits, 50)), 2),
            "commit_delay_p95_s": round(float(np.percentile(commits, 95)), 2),
            "compute_s_per_audio_s": round(total("cpu_s") / total("seconds"), 3),
            "revision_rate": round(total("revised") / max(1, total("shown")), 3),
        }
    return result


if __name__ == "__main__":
    main()
