"""Punctuation of Chinese from pauses, and what the stock model writes: python -m benchmarks.punctuation --json FILE

Recordings of several sentences with known punctuation: those of REAL_SPEECH/long_form (Cantonese), and Mandarin and
Taiwanese Common Voice clips joined five by five with 0.6 s of silence, as in benchmarks.long_form. A sentence that ends
without a mark counts as ending with a full stop.

- Pauses: the true text without its marks, with the times at which the stock whisper-base hears its characters; a pause
  of Silero's becomes a comma or a full stop before the character that begins nearest to its end. Both lengths are those
  with the best F1 on Japanese clips, joined alike, none of which is in the table. Recognition errors play no part here,
  so this is the most that pauses can give.
- The stock model: its own texts in results/long_form.json (not of the Taiwanese ones), aligned with the true ones
  character by character.

A mark counts where it is within one character of a true one. Sentences' ends lie beside the silence that was put
there; only marks inside of sentences are as people spoke them.
"""

import argparse
import csv
import json
import re
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path

import numpy as np

from benchmarks.long_form import CLIPS_A_RECORDING, PAUSE_S
from benchmarks.machine import describe
from benchmarks.real_clips import SETS, folder_of, read_clips
from benchmarks.real_programs import exported
from cantowhisper.contracts import Segment
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.serving.segments import WINDOW, SegmentOptions, speech_probabilities
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE
from cantowhisper.speech.text import to_script

COMMA, STOP = "comma", "stop"
MARKS = dict.fromkeys("，,、；;：:", COMMA) | dict.fromkeys("。.．？?！!", STOP)
LENGTHS_S = [round(0.1 * n, 1) for n in range(1, 16)]  # of pauses, among which the two are chosen
TABLES = SETS | {"ja": ("common_voice_6_layout/ja", "ja")}
PROGRAMS = ("cantowhisper", "faster-whisper")  # of benchmarks.long_form
Marks = dict[int, str]  # the number of the character before which a mark stands: its kind


@dataclass(frozen=True)
class Told:
    """What was said in a recording: characters without marks, where the true marks are, and which end sentences."""

    text: str
    marks: Marks
    ends: frozenset[int]


@dataclass(frozen=True)
class Recording:
    """Sentences one after the other, each with the second at which its sound begins."""

    name: str
    waveform: np.ndarray
    sentences: Sequence[tuple[float, float, str]]  # start, end, as written

    @property
    def told(self) -> Told:
        return tell([sentence for *_, sentence in self.sentences])


def taken_apart(written: str) -> tuple[str, Marks]:
    """A text as its letters and digits alone, and its marks. Quotes and spaces are left out.

    >>> taken_apart("你好，「世界」！3.5")
    ('你好世界35', {2: 'comma', 4: 'stop'})
    """
    text, marks = "", {}
    for k, character in enumerate(written):
        if character.isalnum():
            text += character
        elif character in MARKS and text and not re.match(r"\d[.,:]\d", written[max(0, k - 1) : k + 2]):
            marks[len(text)] = MARKS[character]
    return text, marks


def tell(sentences: Iterable[str]) -> Told:
    """Sentences as one text, with a full stop where one ends without a mark; the last one's end is no question."""
    text, marks, ends = "", {}, []
    for sentence in sentences:
        own, found = taken_apart(sentence)
        marks |= {len(text) + k: kind for k, kind in found.items()}
        text += own
        marks[len(text)] = STOP
        ends.append(len(text))
    return Told(text, {k: kind for k, kind in marks.items() if k < len(text)}, frozenset(ends))


def hits(given: Marks, true: Marks) -> list[tuple[int, int]]:
    """(given, true) places of marks that are within one character of each other, none of them twice."""
    left, found = set(true), []
    for k in sorted(given):
        near = min((j for j in (k, k - 1, k + 1) if j in left), key=lambda j: abs(j - k), default=None)
        if near is not None:
            left.remove(near)
            found.append((k, near))
    return found


def counts(given: Marks, told: Told) -> dict[str, np.ndarray]:
    """(hits, given, true) of any mark, of each kind, and of any mark inside of sentences."""
    inside = lambda marks: {k: kind for k, kind in marks.items() if not {k - 1, k, k + 1} & told.ends}
    of = lambda kind, marks: {k: one for k, one in marks.items() if one == kind}
    pairs = {
        "any": (given, told.marks),
        **{kind: (of(kind, given), of(kind, told.marks)) for kind in (COMMA, STOP)},
        "inside": (inside(given), inside(told.marks)),
    }
    return {name: np.array([len(hits(*pair)), *map(len, pair)]) for name, pair in pairs.items()}


def rates(all_counts: Sequence[dict[str, np.ndarray]]) -> dict[str, dict]:
    """Precision and recall over recordings, with what they are of."""
    found = {}
    for name in all_counts[0]:
        hit, given, true = (int(n) for n in sum(one[name] for one in all_counts))
        shares = {
            "precision": round(hit / given, 3) if given else None,
            "recall": round(hit / true, 3) if true else None,
        }
        found[name] = {**shares, "hits": hit, "given": given, "true": true}
    return found


# ---------------------------------------------------------------------------------------------------------- from pauses


def pauses(waveform: np.ndarray) -> list[tuple[float, float]]:
    """(start, end) in seconds of each stretch without a voice between two with one."""
    threshold = SegmentOptions().silence_threshold
    voiced = np.flatnonzero(speech_probabilities(waveform) >= threshold)
    gaps = [(a + 1, b) for a, b in pairwise(voiced) if b > a + 1]
    return [(float(a) * WINDOW / SAMPLE_RATE, float(b) * WINDOW / SAMPLE_RATE) for a, b in gaps]


def heard(recording: Recording, recognizer: Recognizer, language: str) -> tuple[np.ndarray, list[tuple[float, float]]]:
    """When each character of the true text begins, in seconds, and the pauses."""
    begins = []
    for start, end, sentence in recording.sentences:
        text, _ = taken_apart(sentence)
        sound = recording.waveform[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
        pieces = recognizer._pieces(sound, language)
        times = pieces.characters(Segment(0.0, sound.size / SAMPLE_RATE, text, 1.0))
        begins += [start + begin for _, begin, _ in times]
        assert len(times) == len(text), "a time for each character"
    return np.array(begins), pauses(recording.waveform)


def marked(begins: np.ndarray, silences: Sequence[tuple[float, float]], comma_s: float, stop_s: float) -> Marks:
    """Marks for pauses of at least these lengths; the longest one tells where several are before one character."""
    lengths: dict[int, float] = {}
    for start, end in silences:
        k = int(np.abs(begins - end).argmin())
        if k and end - start >= min(comma_s, stop_s):
            lengths[k] = max(lengths.get(k, 0.0), end - start)
    return {k: STOP if length >= stop_s else COMMA for k, length in lengths.items()}


def chosen(recordings: Sequence[tuple]) -> tuple[float, float]:
    """The lengths of pauses with the best F1 of commas and full stops, on average."""

    def f1(comma_s: float, stop_s: float) -> float:
        found = rates([counts(marked(*sound, comma_s, stop_s), told) for sound, told in recordings])
        kinds = [found[kind] for kind in (COMMA, STOP)]
        return float(np.mean([2 * one["hits"] / max(1, one["given"] + one["true"]) for one in kinds]))

    return max(((a, b) for a, b in product(LENGTHS_S, LENGTHS_S) if a < b), key=lambda pair: f1(*pair))


# ------------------------------------------------------------------------------------------------------ the stock model


def written_by_itself(text: str, told: Told) -> Marks:
    """The marks of a recognised text at the places of the true one, by the alignment with the fewest edits."""
    import jiwer

    letters, marks = taken_apart(text)
    one, other = (to_script(each, "simplified", language="zh") for each in (told.text, letters))
    aligned, places = jiwer.process_characters(one, other).alignments[0], {}
    for chunk in aligned:
        for k in range(chunk.hyp_start_idx, chunk.hyp_end_idx + 1):
            places[k] = min(chunk.ref_start_idx + k - chunk.hyp_start_idx, chunk.ref_end_idx)
    return {places[k]: kind for k, kind in marks.items() if k in places and 0 < places[k] < len(told.text)}


# ---------------------------------------------------------------------------------------------------------- recordings


def cantonese(speech: Path) -> list[Recording]:
    """All of `long_form`."""
    rows: dict[str, list[tuple[float, float, str]]] = {}
    with (speech / "long_form/segments.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            rows.setdefault(row["path"], []).append((float(row["start"]), float(row["end"]), row["sentence"]))
    return [Recording(name, load_audio(speech / "long_form" / name), own) for name, own in sorted(rows.items())]


def joined(speech: Path, name: str) -> list[Recording]:
    """Common Voice clips five by five, as in benchmarks.long_form."""
    clips = read_clips(speech / TABLES[name][0], 100)
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32)
    found = []
    for first in range(0, len(clips), CLIPS_A_RECORDING):
        parts, rows, at = [], [], 0
        for sound, sentence in clips[first : first + CLIPS_A_RECORDING]:
            rows.append((at / SAMPLE_RATE, (at + sound.size) / SAMPLE_RATE, sentence))
            parts += [sound, pause]
            at += sound.size + pause.size
        found.append(Recording(f"{name}_{first // CLIPS_A_RECORDING:02}", np.concatenate(parts), rows))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    results = Path("benchmarks/results")
    parser.add_argument("--json", type=Path, default=results / "punctuation.json")
    parser.add_argument("--model", type=Path, help="an export of the stock whisper-base (default: one is made)")
    parser.add_argument("--texts", type=Path, default=results / "long_form.json", help="what the stock model wrote")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    speech, texts = folder_of("REAL_SPEECH"), json.loads(options.texts.read_text(encoding="utf-8"))["recordings"]
    with tempfile.TemporaryDirectory(prefix="cantowhisper-bench-") as folder:
        model = options.model or exported(folder_of("REAL_WEIGHTS") / "whisper-base", Path(folder))
        recognizer = Recognizer.open(model, threads=options.threads)
        hear = lambda recordings, language: [(heard(one, recognizer, language), one.told) for one in recordings]
        comma_s, stop_s = chosen(hear(joined(speech, "ja"), "ja"))
        result = {"machine": describe(), "threads": options.threads, "comma_s": comma_s, "stop_s": stop_s, "sets": {}}
        sets = {"zh-HK": cantonese(speech), **{name: joined(speech, name) for name in ("zh-CN", "zh-TW")}}
        for name, recordings in sets.items():
            sounds = hear(recordings, "zh")
            by_itself = lambda program, own=recordings: rates(
                [counts(written_by_itself(texts[one.name][program]["text"], one.told), one.told) for one in own]
            )
            result["sets"][name] = {
                "n_recordings": len(recordings),
                "n_sentences": sum(len(one.sentences) for one in recordings),
                "pauses": rates([counts(marked(*sound, comma_s, stop_s), told) for sound, told in sounds]),
                **{program: by_itself(program) for program in PROGRAMS if recordings[0].name in texts},
            }
    options.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps(result["sets"], indent=2))


if __name__ == "__main__":
    main()
