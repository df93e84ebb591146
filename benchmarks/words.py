"""Listed words in real speech, and what a list costs the rest of the text: python -m benchmarks.words --json FILE

The stock whisper-base hears the 100 zh-HK and the 100 zh-CN clips of REAL_SPEECH twice, without a list and with one of
200 words: 100 that occur in their sentences, and 100 distractors that do not (from zh-TW sentences). The choice knows
nothing of what the model writes: BudouX divides the sentences into phrases; of those of 2 to 5 characters each
sentence gives its rarest one, and the rarest 50 of each language are listed. Rarest: in the fewest of the sentences,
then by the mean logarithm of how many sentences have its characters, then by hash.

    listed_term_error_change   relative change of the share of the places with a listed word whose text lacks it
    other_text_points          change of the CER of all other characters, in points
    time_ratio                 CPU seconds with the list to those without, in alternating turns
    terms_in_noise             listed words in 5 minutes of silence and noises

Texts are compared in simplified characters, without punctuation. The CER of the rest is that of the characters that no
listed word covers: an edit belongs to the character where it is made, and a listed word that was not said is an error
there. --choose prints instead what several settings do on zh-TW and ja clips, with a list of their own words;
serving/glossary.py says what was chosen there.
"""

import argparse
import csv
import hashlib
import json
import re
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import budoux
import numpy as np
from rapidfuzz.distance import Levenshtein

from benchmarks.machine import describe
from benchmarks.real_clips import SETS, folder_of, paired_interval, read_clips
from cantowhisper.serving.engines import rivals
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE
from cantowhisper.speech.text import cer_view

REPORTED, CHOSEN_ON = ("zh-HK", "zh-CN"), ("zh-TW", "ja")
OTHER_SETS = {"ja": ("common_voice_6_layout/ja", "ja")}
LISTED, DISTRACTORS = 100, 100
ROUNDS, TIMED_CLIPS, TIMED_RECORDINGS = 5, 20, 3
NOISE_S = 50.0
SETTINGS = ((0.0, 1.0), (1.0, 1.0), (2.0, 1.0), (3.0, 1.0), (2.0, 2.0))  # weight, rivals.NEAR
Clips = list[tuple[np.ndarray, str]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=Path("benchmarks/results/words.json"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--choose", action="store_true", help="print what weights do on zh-TW and ja clips, and end")
    options = parser.parse_args()
    speech = folder_of("REAL_SPEECH")
    recognizer = Recognizer.open(folder_of("REAL_WEIGHTS") / "whisper-base", threads=options.threads)
    if options.choose:
        return choose(recognizer, speech)
    sets = {name: clips_of(speech, name) for name in REPORTED}
    listed = [word for name, clips in sets.items() for word in rarest(_said(clips), name)[: LISTED // len(sets)]]
    said = "\n".join(_plain(sentence) for clips in sets.values() for _, sentence in clips)
    others = rarest(_said(clips_of(speech, "zh-TW")), "zh-TW", of_each=2)
    absent = [word for word in others if _plain(word) not in said]
    words = [*listed, *absent[:DISTRACTORS]]
    result = {
        "machine": describe(),
        "model": "whisper-base",
        "threads": options.threads,
        "listed": listed,
        "distractors": words[LISTED:],
        **compare(recognizer, sets, words),
        **times(recognizer, sets, words, speech),
        **in_noise(recognizer, words),
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(json.dumps({k: v for k, v in result.items() if k not in ("machine", "places")}, ensure_ascii=False, indent=2))


def choose(recognizer: Recognizer, speech: Path) -> None:
    """One list of the words of both sets, at several weights and distances of the first token."""
    sets = {name: clips_of(speech, name) for name in CHOSEN_ON}
    words = [word for name, clips in sets.items() for word in rarest(_said(clips), name)]
    for weight, rivals.NEAR in SETTINGS:
        recognizer.word_weight = weight
        for name, clips in sets.items():
            began = time.process_time()
            row = Counts(words, _said(clips), texts(recognizer, clips, name, words if weight else ()))
            spent = time.process_time() - began
            print(f"weight {weight:g}, near {rivals.NEAR:g}, {name}: {row} {spent:.1f} CPU s", flush=True)


# -------------------------------------------------------------------------------------------------- clips and words


def clips_of(speech: Path, name: str) -> Clips:
    return read_clips(speech / (SETS | OTHER_SETS)[name][0], 100)


def _said(clips: Clips) -> list[str]:
    return [sentence for _, sentence in clips]


@cache
def _plain(text: str) -> str:
    return cer_view(text, "simplified")


def phrases(sentence: str, name: str) -> list[str]:
    """The words of a sentence of 2 to 5 characters, as BudouX divides it."""
    parsers = {
        "zh-HK": budoux.load_default_traditional_chinese_parser,
        "zh-TW": budoux.load_default_traditional_chinese_parser,
        "zh-CN": budoux.load_default_simplified_chinese_parser,
        "ja": budoux.load_default_japanese_parser,
    }
    parser = cache(parsers[name])()
    found = [one for part in re.findall("[\u3005\u3040-\u30ff\u4e00-\u9fff]+", sentence) for one in parser.parse(part)]
    if name == "ja":  # its phrases end in particles
        found = [word for one in found for word in re.findall("[\u30a0-\u30ff]{2,}|[\u3005\u4e00-\u9fff]{2,}", one)]
    return [word for word in found if 2 <= len(word) <= 5]


def rarest(sentences: Sequence[str], name: str, *, of_each: int = 1) -> list[str]:
    """The rarest word of each sentence, or several of each; the rarest first."""
    plain = [_plain(sentence) for sentence in sentences]
    having = Counter(character for sentence in plain for character in set(sentence))

    @cache
    def rarity(word: str) -> tuple:
        own = _plain(word)
        characters = round(float(np.mean([np.log(having[character]) for character in own])), 6)
        return sum(own in sentence for sentence in plain), characters, hashlib.sha256(word.encode()).hexdigest()

    each = (sorted(phrases(sentence, name), key=rarity)[:of_each] for sentence in sentences)
    return sorted({word for words in each for word in words}, key=rarity)


# ------------------------------------------------------------------------------------------------------ error rates


def texts(recognizer: Recognizer, clips: Clips, name: str, words: Sequence[str]) -> list[str]:
    language = (SETS | OTHER_SETS)[name][1]
    heard = (recognizer.transcribe(waveform, language=language, words=words) for waveform, _ in clips)
    return ["".join(segment.text for segment in segments) for segments in heard]


class Counts:
    """Of each clip: places with a listed word and those missed, characters of the rest and edits there, and listed
    words that were not said."""

    def __init__(self, words: Iterable[str], sentences: Sequence[str], written: Sequence[str]):
        plain = list(dict.fromkeys(map(_plain, words)))
        rows = [_counted(plain, _plain(a), _plain(b)) for a, b in zip(sentences, written, strict=True)]
        self.missed, self.rest = (np.array([row[i] for row in rows]) for i in (0, 1))
        self.invented = sum(row[2] for row in rows)

    def __str__(self) -> str:
        missed, places = self.missed.sum(axis=0)
        return f"{missed} of {places} missed, rest {_percent(self.rest):.2f} %, {self.invented} listed but not said;"


def _counted(words: Sequence[str], said: str, written: str) -> tuple[tuple[int, int], tuple[int, int], int]:
    inside = np.zeros(len(said) + 1, bool)
    places = missed = invented = 0
    for word in words:
        there, found = said.count(word), written.count(word)
        places, missed, invented = places + there, missed + max(0, there - found), invented + max(0, found - there)
        for match in re.finditer(re.escape(word), said):
            inside[match.start() : match.end()] = True
    edits = 0
    for edit in Levenshtein.editops(said, written):
        at = edit.src_pos
        # What is inserted belongs to a word only within it.
        edits += not (inside[at] and (edit.tag != "insert" or (at > 0 and inside[at - 1])))
    return (missed, places), (edits, int((~inside[:-1]).sum())), invented


def _percent(counts: np.ndarray) -> float:
    return 100 * counts[:, 0].sum() / counts[:, 1].sum()


def compare(recognizer: Recognizer, sets: dict[str, Clips], words: Sequence[str]) -> dict:
    """Both error rates without and with the list, of each set and of all, with 95 % intervals over clips."""
    said = {name: _said(clips) for name, clips in sets.items()}
    without, having = (
        {name: Counts(words, said[name], texts(recognizer, clips, name, given)) for name, clips in sets.items()}
        for given in ((), words)
    )
    rows = {name: _row([without[name]], [having[name]]) for name in sets}
    print(json.dumps(rows), flush=True)
    return {"clips": sum(map(len, sets.values())), "sets": rows, **_row(without.values(), having.values())}


def _row(without: Iterable[Counts], having: Iterable[Counts]) -> dict:
    pairs = [list(without), list(having)]
    missed, rest = ([np.concatenate([getattr(c, kind) for c in side]) for side in pairs] for kind in ("missed", "rest"))
    rates = [_percent(one) for one in missed]
    return {
        "places": int(missed[0][:, 1].sum()),
        "listed_term_errors": [int(one[:, 0].sum()) for one in missed],
        "listed_term_error": [round(rate, 2) for rate in rates],
        "listed_term_error_points": round(rates[1] - rates[0], 2),
        "listed_term_error_change": round(rates[1] / rates[0] - 1, 4),
        "listed_term_error_change_interval": _change_interval(*missed),
        "other_text": [round(_percent(one), 2) for one in rest],
        "other_text_points": round(_percent(rest[1]) - _percent(rest[0]), 2),
        "other_text_interval": paired_interval(rest[1], rest[0]),
        "listed_but_not_said": [sum(counts.invented for counts in side) for side in pairs],
    }


def _change_interval(without: np.ndarray, having: np.ndarray, *, draws: int = 2000) -> list[float]:
    drawn = np.random.default_rng(0).integers(0, len(without), (draws, len(without)))
    errors = [np.maximum(one[drawn, 0].sum(axis=1), 1) for one in (without, having)]
    return [round(float(x), 4) for x in np.percentile(errors[1] / errors[0] - 1, [2.5, 97.5])]


# ----------------------------------------------------------------------------------------------------- time and noise


def times(recognizer: Recognizer, sets: dict[str, Clips], words: Sequence[str], speech: Path) -> dict:
    """CPU seconds with the list to those without: of single clips, and of recordings of several sentences."""
    clips = [waveform for each in sets.values() for waveform, _ in each[:: len(sets) * len(each) // TIMED_CLIPS]]
    with (speech / "long_form" / "segments.tsv").open(encoding="utf-8") as file:
        names = sorted({row["path"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)})
    recordings = [load_audio(speech / "long_form" / name) for name in names[:TIMED_RECORDINGS]]
    found = {}
    for name, waveforms in (("time_ratio", clips), ("time_ratio_recordings", recordings)):
        each = _ratios(recognizer, waveforms, words)
        found |= {name: round(statistics.median(each), 4), f"{name}_range": [round(min(each), 4), round(max(each), 4)]}
    return {**found, "rounds": ROUNDS}


def _ratios(recognizer: Recognizer, waveforms: Sequence[np.ndarray], words: Sequence[str]) -> list[float]:
    """One a round; both have their turn at each waveform, and take turns at being first."""
    recognizer.transcribe(waveforms[0], language="zh", words=words)
    ratios = []
    for number in range(ROUNDS):
        spent = {True: 0.0, False: 0.0}
        for i, waveform in enumerate(waveforms):
            for listed in (True, False) if (i + number) % 2 else (False, True):
                began = time.process_time()
                recognizer.transcribe(waveform, language="zh", words=words if listed else ())
                spent[listed] += time.process_time() - began
        ratios.append(spent[True] / spent[False])
    return ratios


def noises() -> dict[str, np.ndarray]:
    """Six kinds of sound in which nobody speaks, 50 s each."""
    rng, n = np.random.default_rng(0), int(NOISE_S * SAMPLE_RATE)
    white, at = rng.normal(size=n), np.arange(n) / SAMPLE_RATE
    frequencies = np.fft.rfftfreq(n, 1 / SAMPLE_RATE)
    coloured = lambda power: np.fft.irfft(np.fft.rfft(white) / np.maximum(frequencies, 20) ** power, n)
    hum = sum(np.sin(2 * np.pi * 50 * k * at) / k for k in range(1, 8))
    swelling = coloured(0.5) * (1 + np.sin(2 * np.pi * 4 * at)) ** 2  # as loudness in speech does
    kinds = {"silence": np.zeros(n), "white": white, "pink": coloured(0.5), "brown": coloured(1.0), "hum": hum}
    kinds["swelling"] = swelling
    return {name: (0.1 * sound / max(np.std(sound), 1e-9)).astype(np.float32) for name, sound in kinds.items()}


def in_noise(recognizer: Recognizer, words: Sequence[str]) -> dict:
    """Listed words in noise: as recordings, and in pieces of 5 s that are taken for speech, as no page does."""
    count = lambda text: sum(_plain(text).count(_plain(word)) for word in words)
    kinds, piece = noises(), 5 * SAMPLE_RATE
    whole = [recognizer.transcribe(sound, language="zh", words=words) for sound in kinds.values()]
    cut = [sound[i : i + piece] for sound in kinds.values() for i in range(0, sound.size, piece)]
    taken = {
        listed: sum(count(recognizer.decode(one, language="zh", words=words if listed else ()).text) for one in cut)
        for listed in (False, True)
    }
    return {
        "noise_minutes": round(sum(sound.size for sound in kinds.values()) / SAMPLE_RATE / 60, 2),
        "terms_in_noise": sum(count(segment.text) for segments in whole for segment in segments),
        "terms_in_noise_taken_for_speech": [taken[False], taken[True]],
    }


if __name__ == "__main__":
    main()
