"""Make the sample corpus: ``python samples/make_samples.py [OUT]`` (OUT is this folder unless named).

Writes OUT/corpus, a release in the layout of Common Voice v17, and OUT/clips, longer recordings with their reference
texts. Needs espeak-ng and ffmpeg; gives the same bytes with the same versions of both.
"""

import csv
import hashlib
import random
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pieces import PIECES, render_piece, share_out
from rendering import RATE_HZ, encode, recording, room, silence
from sentences import Sentence, compose
from voices import Speaker, speakers, unseen_speakers

SEED = 2026
N_TRAIN, N_DEV, N_TEST, N_UNSEEN, N_MORE, N_AGAIN, N_OTHER, N_INVALIDATED = 850, 100, 100, 20, 300, 60, 8, 8
FIRST_CLIP = 9_000_001
N_PROCESSES = 2
# espeak-ng at 140 words a minute says about 3.25 characters a second; used to give long sentences to brisk speakers.
SECONDS_PER_CHARACTER_AT_140 = 0.305
COLUMNS = [
    "client_id",
    "path",
    "sentence_id",
    "sentence",
    "sentence_domain",
    "up_votes",
    "down_votes",
    "age",
    "gender",
    "accents",
    "variant",
    "locale",
    "segment",
]
REPORT_REASONS = ("grammar-or-spelling", "difficult-pronounce")


@dataclass(frozen=True)
class Clip:
    """One recording of the corpus. ``sentence`` is what the tables say, ``spoken`` what is heard ("" is silence)."""

    path: str
    split: str
    sentence: Sentence
    spoken: str
    speaker: Speaker
    seed: int
    up_votes: int = 2
    down_votes: int = 0


def sentence_id(text: str) -> str:
    """64 hexadecimal digits, the same for the same sentence."""
    return hashlib.sha256(text.encode()).hexdigest()


def assign(sentences: list[Sentence], voices: list[Speaker], rng: random.Random) -> list[tuple[Sentence, Speaker]]:
    """Give every sentence a speaker so that clips last about 2.3 to 5.6 s and speakers have equally many.

    Very long and very short sentences choose first, since they suit fewer speakers.
    """
    places = [voices[i % len(voices)] for i in range(len(sentences))]
    rng.shuffle(places)
    pairs = []
    for sentence in sorted(sentences, key=lambda s: -abs(len(s.text) - 10)):
        seconds_at_140 = len(sentence.text) * SECONDS_PER_CHARACTER_AT_140
        suits = (i for i, v in enumerate(places) if 1.8 <= seconds_at_140 * 140 / v.speed <= 5.1)
        pairs.append((sentence, places.pop(next(suits))))
    rng.shuffle(pairs)
    return pairs


def plan() -> tuple[list[Clip], dict[str, list[str]]]:
    """Every clip of the corpus and the texts of every long piece; needs neither espeak-ng nor ffmpeg."""
    rng = random.Random(SEED)
    found = compose(seed=SEED, n_train=N_TRAIN, n_dev=N_DEV, n_test=N_TEST, n_more=N_MORE)
    train, test, more = found["train"], found["test"], found["more"]
    rows = {split: assign(found[split], speakers(split), rng) for split in ("train", "dev")}
    rows["test"] = assign(test[N_UNSEEN:], speakers("test"), rng) + assign(test[:N_UNSEEN], unseen_speakers(), rng)
    rng.shuffle(rows["test"])
    again = [s for s in train if 9 <= len(s.text) <= 12][:N_AGAIN]
    odd = [s for s in more if 9 <= len(s.text) <= 12][: N_OTHER + N_INVALIDATED]
    # "validated" here means the clips that are validated but in no official split, as most of a real release is
    rows["validated"] = assign(again, speakers("train"), rng)
    rows["other"] = assign(odd[:N_OTHER], speakers("train"), rng)
    rows["invalidated"] = assign(odd[N_OTHER:], speakers("train"), rng)
    clips = []
    for split, pairs in rows.items():
        for sentence, speaker in pairs:
            number = FIRST_CLIP + len(clips)
            path = f"common_voice_yue_{number}.mp3"
            clips.append(Clip(path, split, sentence, sentence.text, speaker, seed=number))
    return [spoil(clip, i) for i, clip in enumerate(clips)], share_out([s for s in more if s not in odd])


def spoil(clip: Clip, i: int) -> Clip:
    """Make an invalidated clip silent, cut or wrong in turn, and give the clips of ``other`` too few votes."""
    if clip.split == "other":
        return replace(clip, up_votes=i % 2, down_votes=0)
    if clip.split != "invalidated":
        return clip
    half = clip.sentence.text[: len(clip.sentence.text) // 2]
    return replace(clip, spoken=("", half, "我唔知呀我唔知呀")[i % 3], up_votes=i % 2, down_votes=2)


def render(clip: Clip, folder: Path) -> int:
    """Write one clip into ``folder`` and return its duration in ms."""
    if clip.spoken:
        samples = recording(clip.spoken, clip.speaker, clip.seed)
    else:
        samples = room(silence(2.5), np.random.default_rng(clip.seed))
    # a cut or wrong recording may be very short; two seconds is the least that any clip lasts
    samples = np.concatenate([samples, silence(max(0.0, 2.0 - len(samples) / RATE_HZ))])
    encode(samples, folder / clip.path)
    return round(1000 * len(samples) / RATE_HZ)


def row(clip: Clip) -> list[str]:
    """The values of COLUMNS for one clip."""
    speaker, text = clip.speaker, clip.sentence.text
    head = [speaker.client_id, clip.path, sentence_id(text), text, clip.sentence.domain]
    return [*head, str(clip.up_votes), str(clip.down_votes), "", speaker.gender, speaker.accent, "", "yue", ""]


def write_table(path: Path, columns: list[str], rows: list[list[str]]) -> None:
    """A tab-separated table without any quoting, as Common Voice writes it."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None, lineterminator="\n")
        writer.writerows([columns, *rows])


def write_tables(clips: list[Clip], durations_ms: list[int], folder: Path) -> None:
    """All .tsv files of the release."""
    official = ("train", "dev", "test")
    for split in (*official, "validated", "other", "invalidated"):
        wanted = (*official, "validated") if split == "validated" else (split,)
        write_table(folder / f"{split}.tsv", COLUMNS, [row(clip) for clip in clips if clip.split in wanted])
    durations = [[clip.path, str(ms)] for clip, ms in zip(clips, durations_ms, strict=True)]
    write_table(folder / "clip_durations.tsv", ["clip", "duration[ms]"], durations)
    texts = [clip.sentence.text for clip in clips if clip.split == "other"]
    reported = zip(texts[: len(REPORT_REASONS)], REPORT_REASONS, strict=True)
    reports = [[text, sentence_id(text), "yue", why] for text, why in reported]
    write_table(folder / "reported.tsv", ["sentence", "sentence_id", "locale", "reason"], reports)


def watched(results, n_results: int, name: str) -> list:
    """Collect results, with a progress bar on stderr."""
    collected = []
    for i, result in enumerate(results, 1):
        collected.append(result)
        bar = "#" * (30 * i // n_results)
        print(f"\r{name:8} [{bar:30}] {i}/{n_results}", end="" if i < n_results else "\n", file=sys.stderr, flush=True)
    return collected


def build(out: Path) -> None:
    """Make everything in OUT/partial, then move it to its place."""
    clips, texts = plan()
    partial = out / "partial"
    shutil.rmtree(partial, ignore_errors=True)
    recordings, long = partial / "corpus" / "clips", partial / "clips"
    recordings.mkdir(parents=True)
    long.mkdir()
    with ProcessPoolExecutor(N_PROCESSES) as workers:
        durations_ms = watched(workers.map(render, clips, [recordings] * len(clips), chunksize=8), len(clips), "corpus")
        names = [piece.file for piece in PIECES]
        results = workers.map(render_piece, names, [texts[name] for name in names], [long] * len(names))
        references = watched(results, len(names), "clips")
    write_tables(clips, durations_ms, partial / "corpus")
    named = zip(names, references, strict=True)
    rows = [[name, f"{start:.2f}", f"{end:.2f}", text] for name, ref in named for start, end, text in ref]
    write_table(long / "references.tsv", ["file", "start_s", "end_s", "text"], rows)
    for name in ("corpus", "clips"):
        shutil.rmtree(out / name, ignore_errors=True)
        (partial / name).replace(out / name)
    partial.rmdir()


def main() -> int:
    """Exit code 0 when done, 1 when the work failed, 2 on wrong usage."""
    if len(sys.argv) > 2 or sys.argv[1:] in (["-h"], ["--help"]):
        print("usage: python samples/make_samples.py [OUT]", file=sys.stderr)
        return 2
    for program in ("espeak-ng", "ffmpeg"):
        if not shutil.which(program):
            print(
                f"{program} is not installed: install the system package {program}, then run this again",
                file=sys.stderr,
            )
            return 1
    build(Path(sys.argv[1]) if len(sys.argv) == 2 else Path(__file__).parent)
    return 0


if __name__ == "__main__":
    sys.exit(main())
