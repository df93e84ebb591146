"""Who speaks in recordings of several people: python -m benchmarks.speakers --json FILE

Real clips whose speakers are known, one after the other: `long_form`, Mandarin ones in the order of their table, and
conversations of three. The stock whisper-base writes them down with and without speakers. A row is right where its
number stands for the speaker who is heard in it, by the best one-to-one mapping of a recording's numbers to speakers.
cpCER (concatenated minimum-permutation CER, chimechallenge.org) compares all that each speaker said with all that
stands under one number. `--choose` shows right pieces by threshold, on languages that are not in the table.
"""

import argparse
import json
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from rapidfuzz.distance import Levenshtein
from scipy.optimize import linear_sum_assignment

from benchmarks.machine import describe
from benchmarks.real_clips import SETS, folder_of, paired_interval
from benchmarks.real_programs import LANGUAGE, exported
from benchmarks.speaker_recordings import (
    Clip,
    Recording,
    Turn,
    clips_of,
    conversations,
    for_choosing,
    in_table_order,
    joined,
    long_forms,
)
from cantowhisper.contracts import Segment
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.serving.segments import Span, audible, find_segments
from cantowhisper.serving.speakers import labels
from cantowhisper.serving.speakers.voices import voice_vector
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE
from cantowhisper.speech.text import cer_view, join_texts

THRESHOLDS = [round(0.40 + 0.02 * k, 2) for k in range(9)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/speakers.json"))
    parser.add_argument("--choose", action="store_true")
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    options = parser.parse_args()
    speech = folder_of("REAL_SPEECH")
    if options.choose:
        choose(for_choosing(speech))
        return
    weights = folder_of("REAL_WEIGHTS")
    with tempfile.TemporaryDirectory(prefix="cantowhisper-bench-") as folder:
        model = exported(weights / "whisper-base", Path(folder))
        waiting = [(name, one) for name, each in recordings(speech).items() for one in each]
        rows: dict[str, list[dict]] = {name: [] for name, _ in waiting}
        with get_context("spawn").Pool(options.processes, _open, [model]) as pool:
            for (name, _), row in zip(waiting, pool.imap(measure, [one for _, one in waiting]), strict=True):
                rows[name].append(row)
    everything = [row for each in rows.values() for row in each]
    result = {
        "machine": describe(),
        "same_voice": labels.SAME_VOICE,
        "minutes": round(sum(row["seconds"] for row in everything) / 60, 1),
        "cpu_s_a_second": round(_total(everything, "speakers_cpu_s") / _total(everything, "seconds"), 3),
        "sets": {name: summary(each) for name, each in rows.items()},
        "all": summary(everything),
        "recordings": everything,
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps({key: value for key, value in result.items() if key not in ("machine", "recordings")}, indent=2))


def recordings(speech: Path) -> dict[str, list[Recording]]:
    cantonese, mandarin = (clips_of(speech / SETS[name][0]) for name in ("zh-HK", "zh-CN"))
    return {
        "zh-HK long forms": long_forms(speech),
        "zh-CN in table order": _joined("zh-CN", in_table_order(mandarin)),
        "zh-HK conversations": _joined("zh-HK_turns", conversations(cantonese)),
        "zh-CN conversations": _joined("zh-CN_turns", conversations(mandarin)),
    }


def _joined(name: str, made_of: Sequence[Sequence[Clip]]) -> list[Recording]:
    return [joined(f"{name}_{k:02}", clips) for k, clips in enumerate(made_of)]


def _open(model: Path) -> None:
    """What each process has."""
    global recognizer
    import torch

    torch.set_num_threads(1)
    recognizer = Recognizer.open(model, threads=1)
    voice_vector(np.zeros(SAMPLE_RATE, np.float32))  # the first call loads the model


def measure(recording: Recording) -> dict:
    """What is right in one recording, with the edits of CER and cpCER."""
    waveform, turns = recording.waveform, recording.turns
    sound = audible(waveform, recognizer.options)
    spans = find_segments(sound, recognizer.options)
    started = time.process_time()
    vectors = np.stack([_vector(sound, span) for span in spans])
    labels.speaker_numbers(vectors)
    cpu_s = time.process_time() - started
    speakers = len({turn.speaker for turn in turns})
    plain = recognizer.transcribe(waveform, language=LANGUAGE)
    told = recognizer.transcribe(waveform, language=LANGUAGE, speakers=0)
    rows = [(s.speaker, heard(s.start_s, s.end_s, turns)) for s in told]
    known = zip(labels.speaker_numbers(vectors, speakers), heard_in(spans, turns), strict=True)
    said = cer_view("".join(turn.sentence for turn in turns))
    edits = lambda segments: [Levenshtein.distance(cer_view(_text(segments)), said), len(said)]
    return {
        "name": recording.name,
        "seconds": round(waveform.size / SAMPLE_RATE, 1),
        "speakers_cpu_s": round(cpu_s, 3),
        "speakers": speakers,
        "found": len({s.speaker for s in told}),
        "rows": len(rows),
        "right": n_right(rows),
        "pieces": len(spans),
        "right_with_number": n_right(list(known)),
        "edits": edits(plain),
        "edits_with_speakers": edits(told),
        "cp_edits": [cp_edits(by_speaker(told), by_turn(turns)), len(said)],
        "one_speaker_cp_edits": [cp_edits(by_speaker(plain), by_turn(turns)), len(said)],
    }


def heard_in(spans: Sequence[Span], turns: Sequence[Turn]) -> list[str]:
    return [heard(span.start / SAMPLE_RATE, span.end / SAMPLE_RATE, turns) for span in spans]


def heard(start_s: float, end_s: float, turns: Sequence[Turn]) -> str:
    """Who is heard longest in a stretch of a recording; "" for nobody."""
    shares: Counter = Counter()
    for turn in turns:
        shares[turn.speaker] += max(0.0, min(end_s, turn.end_s) - max(start_s, turn.start_s))
    speaker, seconds = shares.most_common(1)[0]
    return speaker if seconds else ""


def n_right(rows: Sequence[tuple[int, str]]) -> int:
    """Rows whose number stands for their speaker, of (number, speaker), by the best mapping of one to one."""
    counts = Counter(row for row in rows if row[1])
    numbers, speakers = (sorted({row[k] for row in counts}) for k in (0, 1))
    table = np.array([[counts[number, speaker] for speaker in speakers] for number in numbers])
    return int(table[linear_sum_assignment(table, maximize=True)].sum()) if counts else 0


def by_speaker(segments: Sequence[Segment]) -> list[str]:
    own = defaultdict(list)
    for segment in segments:
        own[segment.speaker].append(segment)
    return [cer_view(_text(each)) for each in own.values()]


def by_turn(turns: Sequence[Turn]) -> list[str]:
    own = defaultdict(str)
    for turn in turns:
        own[turn.speaker] += turn.sentence
    return [cer_view(text) for text in own.values()]


def cp_edits(written: list[str], said: list[str]) -> int:
    """The fewest edits from numbers' texts to those of the speakers, one to one; what is left over counts."""
    n = max(len(written), len(said))
    written, said = (texts + [""] * (n - len(texts)) for texts in (written, said))
    table = np.array([[Levenshtein.distance(one, other) for other in said] for one in written])
    return int(table[linear_sum_assignment(table)].sum()) if n else 0


def summary(rows: Sequence[dict]) -> dict:
    """Shares and rates over recordings, with the 95 % interval of cpCER minus CER."""
    edits = {name: np.array([row[name] for row in rows]) for name in rows[0] if "edits" in name}
    rates = {name: round(float(100 * each[:, 0].sum() / each[:, 1].sum()), 2) for name, each in edits.items()}
    return {
        "n": len(rows),
        "rows": _total(rows, "rows"),
        "rows_right": round(_total(rows, "right") / _total(rows, "rows"), 4),
        "rows_right_with_number": round(_total(rows, "right_with_number") / _total(rows, "pieces"), 4),
        "speakers": _total(rows, "speakers"),
        "found": _total(rows, "found"),
        "number_right": sum(row["found"] == row["speakers"] for row in rows),
        "cer": rates["edits"],
        "cer_with_speakers": rates["edits_with_speakers"],
        "cpcer": rates["cp_edits"],
        "cpcer_of_one_speaker": rates["one_speaker_cp_edits"],
        "cpcer_minus_cer_interval": paired_interval(edits["cp_edits"], edits["edits"]),
    }


def choose(kinds: dict[str, list[list[Clip]]]) -> None:
    """Print the share of pieces with the right speaker, by threshold."""

    @cache
    def pieces(path: Path) -> list[np.ndarray]:
        waveform = load_audio(path)
        return [_vector(waveform, span) for span in find_segments(waveform)]

    def share(made_of: list[list[Clip]], threshold: float) -> float:
        right = n = 0
        for clips in made_of:
            who = [clip.speaker for clip in clips for _ in pieces(clip.path)]
            vectors = np.stack([vector for clip in clips for vector in pieces(clip.path)])
            right += n_right(list(zip(labels.speaker_numbers(vectors, same_voice=threshold), who, strict=True)))
            n += len(who)
        return right / n

    for threshold in THRESHOLDS:
        shares = "  ".join(f"{kind} {share(made_of, threshold):.1%}" for kind, made_of in kinds.items())
        print(f"{threshold:.2f}  {shares}")


def _vector(waveform: np.ndarray, span: Span) -> np.ndarray:
    return voice_vector(waveform[span.start : span.end])


def _text(segments: Sequence[Segment]) -> str:
    return join_texts((segment.text for segment in segments), LANGUAGE)


def _total(rows: Sequence[dict], name: str) -> float:
    return sum(row[name] for row in rows)


if __name__ == "__main__":
    main()
