"""Long recordings cut with their text, on real speech: python -m benchmarks.align --json FILE

Clips of Common Voice, four of them or more with pauses between, become recordings of 32 s or more, whose texts are
known clip by clip. The stock whisper-base cuts them as `features --align-with` does. A character is misplaced when the
piece that got it holds no sound of its clip, and when a piece with all of a clip's sound lacks it. Error rates are
those of the given texts against the texts of the clips, for pieces that begin and end between clips.
"""

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from benchmarks.machine import describe
from benchmarks.real_clips import folder_of
from cantowhisper.curation.align import aligned
from cantowhisper.features.config import FeatureConfig
from cantowhisper.features.sources.common_voice import CommonVoice
from cantowhisper.features.sources.release_files import ReleaseFolder
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE
from cantowhisper.speech.text import cer_edits, cer_view, join_texts

LOCALES = ("zh-TW", "ja", "de")
LEAST_S = 32.0  # of a recording: what fits into Whisper's window is not cut
NEAR_S = 0.5  # a cut this near to a clip's end is between clips


def joined(folder: Path, out: Path, locale: str, n_recordings: int) -> dict[str, list[tuple[float, float, str]]]:
    """Write recordings and their table; gives (start, end, text) of each clip in each."""
    chance = np.random.default_rng(0)
    clips = list(CommonVoice(ReleaseFolder(folder)).clips(split_policy="validated"))
    waveforms = iter([(load_audio(clip.recording.read()), clip.sentence) for clip in clips])
    truth: dict[str, list[tuple[float, float, str]]] = {}
    rows = []
    while len(truth) < n_recordings:
        parts, at, inside, n_clips = [], 0.0, [], int(chance.integers(4, 7))
        while (len(inside) < n_clips or at < LEAST_S) and at < 52:
            waveform, sentence = next(waveforms, (None, ""))
            if waveform is None:
                break
            pause = np.zeros(int(chance.uniform(0.4, 1.2) * SAMPLE_RATE), np.float32)
            inside.append((at, at + waveform.size / SAMPLE_RATE, sentence))
            parts += [waveform, pause]
            at += (waveform.size + pause.size) / SAMPLE_RATE
        if at < LEAST_S:
            break
        name = f"{locale}-{len(truth):02d}"
        soundfile.write(out / f"{name}.wav", np.concatenate(parts), SAMPLE_RATE)
        truth[name] = inside
        text = join_texts((sentence for *_, sentence in inside), locale)
        rows.append({"file": f"{name}.wav", "text": text, "language": locale})
    table = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (out / "metadata.jsonl").write_text(table, encoding="utf-8")
    return truth


def measure(folder: Path, model: Path, scratch: Path, locale: str, n_recordings: int) -> dict:
    recordings = scratch / locale
    recordings.mkdir()
    truth = joined(folder, recordings, locale, n_recordings)
    config = FeatureConfig(language=locale)
    source = aligned(str(recordings), scratch / f"{locale}-out", model=str(model), config=config)
    pieces = list(source.clips(split_policy="official"))
    kept = [piece for piece in pieces if not piece.objection]
    whole_s = sum(load_audio(file).size for file in sorted(recordings.glob("*.wav"))) / SAMPLE_RATE
    moved = edits = characters = given = between = 0
    for piece in kept:
        start_s, end_s = piece.recording.start_s, piece.recording.end_s
        clips = truth[piece.id.rpartition("-")[0]]
        n_moved, n_given = misplaced(piece.sentence, start_s, end_s, clips)
        moved, given = moved + n_moved, given + n_given
        ends = [0.0, *(end for _, end, _ in clips)], [*(start for start, *_ in clips), 1e9]
        if any(end - NEAR_S <= start_s <= start + NEAR_S for end, start in zip(*ends, strict=True)) and any(
            end - NEAR_S <= end_s <= start + NEAR_S for end, start in zip(*ends, strict=True)
        ):
            within = [said for start, end, said in clips if start >= start_s - NEAR_S and end <= end_s + NEAR_S]
            found = cer_edits(piece.sentence, join_texts(within, locale))
            edits, characters, between = edits + found[0], characters + found[1], between + 1
    return {
        "recordings": len(truth),
        "hours": round(whole_s / 3600, 4),
        "kept_seconds_share": round(sum(piece.seconds for piece in kept) / whole_s, 4),
        "pieces": len(kept),
        "mean_piece_s": round(float(np.mean([piece.seconds for piece in kept])), 2) if kept else 0.0,
        "pieces_between_clips": between,
        "cer_between_clips": round(edits / max(characters, 1), 4),
        "characters": given,
        "misplaced_share": round(moved / max(given, 1), 4),
    }


def misplaced(text: str, start_s: float, end_s: float, clips: list[tuple[float, float, str]]) -> tuple[int, int]:
    """(misplaced characters, characters) of a piece. The texts that it can have, least and most, bound its edits."""
    touched = [
        (start, end, cer_view(said)) for start, end, said in clips if min(end, end_s) - max(start, start_s) > NEAR_S
    ]
    whole = [start >= start_s - NEAR_S and end <= end_s + NEAR_S for start, end, _ in touched]
    said, possible = cer_view(text), "".join(text for *_, text in touched)
    if possible.find(said) < 0:  # it holds something of a clip that it does not touch, or lacks something between
        import jiwer

        found = jiwer.process_characters(possible, said)
        n_wrong = found.insertions + found.substitutions
    else:
        n_wrong = 0
    # Of clips that are cut, nobody knows which characters belong to which side; those of whole ones must be there.
    missing = sum(
        len(text) - _longest_common(text, said) for (*_, text), is_whole in zip(touched, whole, strict=True) if is_whole
    )
    return n_wrong + missing, len(said)


def _longest_common(text: str, said: str) -> int:
    """Characters of `text` that stand in `said`, in their order."""
    import jiwer

    return jiwer.process_characters(text, said).hits if said else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/align.json"))
    parser.add_argument("--recordings", type=int, default=12, help="of each language")
    options = parser.parse_args()
    speech, model = folder_of("REAL_SPEECH"), folder_of("REAL_WEIGHTS") / "whisper-base"
    result: dict = {"machine": describe()}
    with tempfile.TemporaryDirectory(prefix="cantowhisper-bench-") as scratch:
        for locale in LOCALES:
            folder = speech / "common_voice_6_layout" / locale
            result[locale] = measure(folder, model, Path(scratch), locale, options.recordings)
            print(locale, json.dumps(result[locale]))
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
