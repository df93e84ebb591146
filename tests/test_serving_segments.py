"""Where speech is found: on synthetic clips with known times, on real recordings, and on what is no speech."""

import csv
from collections import defaultdict
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cantowhisper.contracts import CantowhisperError
from cantowhisper.serving import segments
from cantowhisper.serving.segments import WINDOW, SegmentOptions, Span, find_segments
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE

CLIPS = ["market_morning.mp3", "phone_numbers.mp3", "two_people.mp3", "street_noise.mp3", "unseen_voice.mp3"]


def times(path) -> dict[str, list[tuple[float, float]]]:
    """file → (start_s, end_s) of its sentences, from a TSV with a header."""
    found = defaultdict(list)
    with open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if row["start_s" if "start_s" in row else "start"]:
                name, start, end = (row[k] for k in list(row)[:3])
                found[name].append((float(start), float(end)))
    return found


def assert_sound(spans: list[Span], n_samples: int, options: SegmentOptions) -> None:
    assert all(0 <= s.start < s.end <= n_samples for s in spans)
    assert all(a.end <= b.start for a, b in pairwise(spans))
    assert all(s.seconds <= options.max_segment_s for s in spans)


@pytest.mark.parametrize("name", CLIPS)
def test_each_sentence_of_a_sample_lies_in_one_piece(samples, name):
    clips = samples.parent / "clips"
    waveform = load_audio(clips / name)
    spans = find_segments(waveform)
    assert_sound(spans, waveform.size, SegmentOptions())
    for start_s, end_s in times(clips / "references.tsv")[name]:
        holding = [s for s in spans if s.start / SAMPLE_RATE < end_s and s.end / SAMPLE_RATE > start_s]
        assert len(holding) == 1, f"{start_s}-{end_s} s lies in {len(holding)} pieces"
        assert holding[0].start / SAMPLE_RATE <= start_s and holding[0].end / SAMPLE_RATE >= end_s - 0.05


def test_synthetic_voices_are_heard_as_speech(samples):
    for path in sorted((samples / "clips").glob("*.mp3"))[::100]:  # all voices take turns
        spans = find_segments(load_audio(path))
        assert len(spans) == 1 and not spans[0].by_level, path.name


def noise(rms: float, *, brown: bool = False) -> np.ndarray:
    spectrum = np.fft.rfft(np.random.default_rng(3).normal(size=10 * SAMPLE_RATE))
    wave = np.fft.irfft(spectrum / np.maximum(np.arange(spectrum.size), 20) if brown else spectrum)
    return np.clip(wave / wave.std() * rms, -1, 1).astype(np.float32)


@pytest.mark.parametrize(
    "waveform",
    [
        np.zeros(0, np.float32),
        np.zeros(5 * SAMPLE_RATE, np.float32),
        np.full(5 * SAMPLE_RATE, 0.3, np.float32),
        noise(0.001),
        noise(0.1),
        noise(0.1, brown=True),
        (0.1 * np.sin(np.arange(5 * SAMPLE_RATE) * 2 * np.pi * 50 / SAMPLE_RATE)).astype(np.float32),
        np.eye(1, SAMPLE_RATE, 100, dtype=np.float32)[0],
        np.ones(7, np.float32),
    ],
    ids=["nothing", "silence", "offset", "hiss", "white", "rumble", "hum", "click", "seven_samples"],
)
def test_what_is_no_speech_gives_no_piece(waveform):
    assert find_segments(waveform) == []


def test_without_a_voice_detected_loudness_decides(samples, monkeypatch):
    monkeypatch.setattr(segments, "speech_probabilities", lambda w: np.zeros(-(-w.size // WINDOW), np.float32))
    spans = find_segments(load_audio(samples.parent / "clips" / "market_morning.mp3"))
    assert 6 <= len(spans) <= 10 and all(s.by_level for s in spans)


def test_speech_without_pauses_is_cut_where_it_is_softest(monkeypatch):
    monkeypatch.setattr(segments, "speech_probabilities", lambda w: np.ones(-(-w.size // WINDOW), np.float32))
    waveform = noise(0.1)
    soft = slice(6 * SAMPLE_RATE, int(6.3 * SAMPLE_RATE))
    waveform[soft] *= 0.05
    options = SegmentOptions(max_segment_s=8.0, joined_max_s=8.0)
    first, second = find_segments(waveform, options)
    assert first.end == second.start and soft.start <= first.end <= soft.stop


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=400), st.floats(0.5, 12), st.integers(1, WINDOW))
def test_any_voice_activity_gives_sound_pieces(probabilities, max_segment_s, rest):
    probabilities = np.repeat(np.array(probabilities, np.float32), 3)
    options = SegmentOptions(max_segment_s=max_segment_s, joined_max_s=max_segment_s / 2)
    n_samples = (probabilities.size - 1) * WINDOW + rest
    waveform = np.random.default_rng(0).normal(0, 0.1, n_samples).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "speech_probabilities", lambda _: probabilities)
        assert_sound(find_segments(waveform, options), n_samples, options)


def scripted(*runs: tuple[float, float], options: SegmentOptions | None = None) -> list[tuple[int, int]]:
    """(seconds of pause, seconds of speech) one after the other: first and last sample of the pieces that are found."""
    stretches = [(n, p) for pause, speech in runs for n, p in ((pause, 0.0), (speech, 0.9))]
    probabilities = np.repeat([p for _, p in stretches], [round(s * SAMPLE_RATE / WINDOW) for s, _ in stretches])
    probabilities = np.append(probabilities, np.zeros(100))
    waveform = np.random.default_rng(0).normal(0, 0.1, probabilities.size * WINDOW).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "speech_probabilities", lambda _: probabilities)
        return [(s.start, s.end) for s in find_segments(waveform, options)]


@pytest.mark.parametrize(
    ("runs", "n_pieces"),
    [
        ([(1, 3), (0.8, 0.5)], 1),
        ([(1, 0.5), (0.8, 3)], 1),
        ([(1, 3), (3, 0.5)], 2),
        ([(1, 0.5), (3, 3)], 2),
        ([(1, 3), (0.8, 3)], 2),
        ([(1, 9), (0.8, 0.5)], 2),
        ([(1, 0.5), (0.8, 0.5), (0.8, 0.5)], 1),
        ([(1, 3), (0.8, 0.5), (3, 0.5), (0.8, 3)], 2),
    ],
    ids=["short_last", "short_first", "far_last", "far_first", "both_long", "too_long", "all_short", "two_pairs"],
)
def test_a_short_piece_joins_a_near_neighbour_and_no_far_one(runs, n_pieces):
    """Pieces are padded by 0.25 s on both sides: a pause of 0.8 s leaves 0.3 s between them."""
    assert len(scripted(*runs)) == n_pieces


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.floats(0.45, 2), st.one_of(st.floats(0.15, 1.5), st.floats(0.15, 8))), min_size=1))
def test_pieces_are_joined_as_far_as_the_options_say_and_no_further(runs):
    options = SegmentOptions(pad_s=0)
    short, near, most = (s * SAMPLE_RATE for s in (options.short_s, options.join_gap_s, options.joined_max_s))
    bare = scripted(*runs, options=replace(options, short_s=0))
    found = scripted(*runs, options=options)
    assert len(bare) == len(runs)
    inside = [[run for run in bare if start <= run[0] and run[1] <= end] for start, end in found]
    assert [run for runs in inside for run in runs] == bare, "no speech is lost, and none is in two pieces"
    for (start, end), runs in zip(found, inside, strict=True):
        assert (start, end) == (runs[0][0], runs[-1][1])
        assert len(runs) == 1 or end - start <= most
        assert all(b[0] - a[1] <= near for a, b in pairwise(runs))
    for a, b in pairwise(found):
        one_is_short = min(a[1] - a[0], b[1] - b[0]) < short
        assert not (one_is_short and b[0] - a[1] <= near and b[1] - a[0] <= most), "these two belong together"


@pytest.mark.parametrize(
    "wrong", [{"max_segment_s": 31.0}, {"max_segment_s": 5.0}, {"silence_threshold": 0.9}], ids=lambda w: next(iter(w))
)
def test_contradicting_options_are_refused(wrong):
    with pytest.raises(CantowhisperError):
        SegmentOptions(**wrong)


def sounding(piece: np.ndarray) -> np.ndarray:
    """Whether there is sound, for each 10 ms: a clip's own times hold the silence before and behind its speech."""
    power = (piece[: piece.size // 160 * 160].reshape(-1, 160) ** 2).mean(axis=1) + 1e-12
    level = 10 * np.log10(np.convolve(power, np.full(3, 1 / 3), "same"))
    loud, background = np.percentile(level, (95, 10))
    return level > max(loud - 25, min(background + 8, loud - 6))


def test_real_speech_is_covered(real_speech):
    covered = total = n_pieces = n_sentences = 0
    for name, sentences in times(real_speech / "long_form" / "segments.tsv").items():
        waveform = load_audio(real_speech / "long_form" / name)
        spans = find_segments(waveform)
        assert_sound(spans, waveform.size, SegmentOptions())
        kept = np.zeros(waveform.size // 160 + 2, bool)
        for span in spans:
            kept[span.start // 160 : -(-span.end // 160)] = True
        for start_s, end_s in sentences:
            sound = sounding(waveform[int(start_s * SAMPLE_RATE) : int(end_s * SAMPLE_RATE)])
            covered += (kept[int(start_s * 100) :][: sound.size] & sound).sum()
            total += sound.sum()
        n_pieces, n_sentences = n_pieces + len(spans), n_sentences + len(sentences)
    assert covered / total >= 0.98
    assert abs(n_pieces - n_sentences) <= 5  # as a rule, a piece is a sentence
