"""Recordings as people have them: joined, cut off, damaged, with odd channels, tracks and times. Nothing is lost."""

import io
import os
import shutil
import struct
import subprocess
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile

from cantowhisper.speech.audio import SAMPLE_RATE, AudioError, read_sound
from cantowhisper.speech.decoding.decoders import Findings, open_soundfile, soundfile_blocks
from cantowhisper.speech.decoding.mixing import speaks, to_mono

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg makes these recordings")
LOW, HIGH = 440, 880  # Hz


def tone(hertz: int, *, seconds: float = 2.5, rate: int = 16_000, amplitude: float = 0.3) -> np.ndarray:
    """A tone that swells four times a second, as speech does with its syllables."""
    t = np.arange(int(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * hertz * t) * (0.55 - 0.45 * np.cos(8 * np.pi * t))).astype(np.float32)


def as_bytes(samples: np.ndarray, rate: int = 16_000, **how) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **(how or {"format": "WAV"}))
    return file.getvalue()


def ffmpeg(*arguments: str, given: bytes = b"") -> bytes:
    command = ["ffmpeg", "-v", "error", "-y", *arguments]
    return subprocess.run(command, input=given, capture_output=True, check=True).stdout


def encode(hertz: int, container: str, *how: str, seconds: float = 2.5, folder: Path) -> bytes:
    out = folder / f"{hertz}.{container}"
    ffmpeg("-i", "pipe:0", *how, str(out), given=as_bytes(tone(hertz, seconds=seconds)))
    return out.read_bytes()


def pitch(waveform: np.ndarray, at: float) -> int:
    """The strongest frequency in the half second around `at` (0 to 1), to 20 Hz."""
    middle = int(at * waveform.size)
    piece = waveform[max(0, middle - 4_000) :][:8_000]
    spectrum = np.abs(np.fft.rfft(piece * np.hanning(piece.size)))
    return int(round(spectrum.argmax() * SAMPLE_RATE / piece.size / 20) * 20)


def seconds_of(waveform: np.ndarray) -> float:
    return waveform.size / SAMPLE_RATE


def damaged(raw: bytes, *, at: float = 0.5) -> bytes:
    """With 200 bad bytes."""
    start = int(len(raw) * at)
    return raw[:start] + np.random.default_rng(0).integers(0, 256, 200, np.uint8).tobytes() + raw[start + 200 :]


# ------------------------------------------------------------------------------- the header does not decide


JOINED = {
    "mp3": (["-b:a", "64k"], ["-b:a", "64k"]),
    "mp3 that changes its rate": (["-ar", "44100"], ["-ar", "22050"]),
    "mp3 that changes its rate, without a count of frames": (
        ["-ar", "44100", "-write_xing", "0", "-id3v2_version", "0"],
        ["-ar", "48000", "-write_xing", "0", "-id3v2_version", "0"],
    ),
    "mp3 that becomes stereo": (["-ar", "24000"], ["-ar", "24000", "-ac", "2"]),
    "mp3 with tags at its end": (["-write_id3v1", "1", "-metadata", "title=a"], ["-write_id3v1", "1"]),
    "ogg of Vorbis": (["-c:a", "libvorbis"], ["-c:a", "libvorbis"]),
    "opus": ([], []),
    "flac": ([], []),
    "aac that changes its rate": (["-ar", "44100"], ["-ar", "22050"]),
    "wav": ([], []),
    "aiff": ([], []),
    "m4a": ([], []),
    "mka": ([], []),
}


@needs_ffmpeg
@pytest.mark.parametrize("kind", JOINED)
def test_files_joined_as_bytes_are_heard_to_the_end(tmp_path, kind):
    first, second = JOINED[kind]
    ending = kind.split()[0]
    raw = encode(LOW, ending, *first, folder=tmp_path) + encode(HIGH, ending, *second, folder=tmp_path)
    sound = read_sound(raw)
    assert seconds_of(sound.waveform) == pytest.approx(5, abs=0.15)
    assert pitch(sound.waveform, 0.25) == LOW and pitch(sound.waveform, 0.75) == HIGH
    assert sound.lost_seconds < 0.05


def with_sizes(raw: bytes, riff: int, data: int) -> bytes:
    return raw[:4] + struct.pack("<I", riff) + raw[8:40] + struct.pack("<I", data) + raw[44:]


@pytest.mark.parametrize(("riff", "data"), [(0, 0), (36, 0), (2**32 - 1, 2**32 - 1), (0x7FFFFFFF, 0x7FFFFFDB)])
def test_a_recorder_that_never_wrote_its_length(riff, data):
    sound = read_sound(with_sizes(as_bytes(tone(LOW)), riff, data))
    assert seconds_of(sound.waveform) == pytest.approx(2.5, abs=0.01) and not sound.notes


@needs_ffmpeg
def test_flac_from_a_pipe():
    raw = ffmpeg("-i", "pipe:0", "-f", "flac", "pipe:1", given=as_bytes(tone(LOW)))
    assert seconds_of(read_sound(raw).waveform) == pytest.approx(2.5, abs=0.01)


# --------------------------------------------------------------------------- damage costs what is damaged


@needs_ffmpeg
@pytest.mark.parametrize(
    ("container", "how"),
    [
        ("flac", []),
        ("m4a", []),
        ("aac", []),
        ("mkv", ["-c:a", "aac"]),
        ("webm", ["-c:a", "libopus"]),
        ("mka", ["-c:a", "flac"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else value,
)
def test_bad_bytes_cost_little_and_are_reported(tmp_path, container, how):
    raw = encode(LOW, container, *how, seconds=10, folder=tmp_path)
    sounds = [read_sound(damaged(raw, at=at)) for at in (0.4, 0.5, 0.61)]
    for sound in sounds:
        assert seconds_of(sound.waveform) > 9.7, "the rest is kept"
        assert pitch(sound.waveform, 0.2) == pitch(sound.waveform, 0.9) == LOW
        assert sound.lost_seconds < 0.4 and bool(sound.notes) == (sound.lost_seconds > 0)
    # A bad frame of AAC that decodes to something is not known to be bad.
    assert sum(sound.lost_seconds > 0 for sound in sounds) >= (1 if container == "aac" else 3)


@needs_ffmpeg
def test_what_follows_a_hole_stays_where_it_was(tmp_path):
    """An Ogg page of a second is lost; without silence in its place every later caption would be a second early."""
    raw = encode(LOW, "opus", seconds=6, folder=tmp_path)
    sound = read_sound(damaged(raw))
    assert seconds_of(sound.waveform) == pytest.approx(6, abs=0.1) and 0.5 < sound.lost_seconds < 2.1


@needs_ffmpeg
@pytest.mark.parametrize("container", ["flac", "mp3", "wav", "aiff", "mka", "m4a"])
def test_a_file_that_was_cut_off_says_how_much_is_missing(tmp_path, container):
    how = ["-movflags", "faststart"] if container == "m4a" else []
    raw = encode(LOW, container, *how, seconds=5, folder=tmp_path)
    sound = read_sound(raw[: int(len(raw) * 0.6)])
    assert seconds_of(sound.waveform) + sound.lost_seconds == pytest.approx(5, abs=0.15) and sound.lost_seconds > 1


@pytest.mark.parametrize("how", [{"format": "WAV"}, {"format": "FLAC"}, {"format": "MP3"}, {"format": "OGG"}])
def test_a_sound_recording_has_lost_nothing(how):
    sound = read_sound(as_bytes(tone(LOW), **how))
    assert sound.lost_seconds == 0 and sound.notes == ()


# ---------------------------------------------------------------------------------------------- channels


def test_channels_that_cancel_do_not_leave_silence():
    left = tone(LOW)
    for right in (-left, -0.8 * left):
        mixed = read_sound(as_bytes(np.stack([left, right], axis=1))).waveform
        assert np.abs(mixed).max() == pytest.approx(0.3, rel=0.02)
    hum = 0.1 * np.sin(2 * np.pi * 50 * np.arange(left.size) / 16_000).astype(np.float32)  # in both alike
    mixed = read_sound(as_bytes(np.stack([left + hum, hum - left], axis=1))).waveform
    assert pitch(mixed, 0.5) == LOW


@pytest.mark.parametrize("speaking", range(6))
def test_one_of_six_channels_keeps_its_level(speaking):
    channels = np.zeros((6, 40_000), np.float32)
    channels[speaking] = tone(LOW)
    assert np.abs(read_sound(as_bytes(channels.T)).waveform).max() == pytest.approx(0.3, rel=0.05)


def test_the_centre_channel_wins_over_music():
    channels = np.stack([tone(HIGH, amplitude=0.5)] * 6, axis=1)
    channels[:, 2] = tone(LOW)
    assert pitch(read_sound(as_bytes(channels)).waveform, 0.5) == LOW


def test_two_microphones_are_averaged():
    both = np.stack([tone(LOW), tone(HIGH)], axis=1)
    assert np.allclose(to_mono(both), both.mean(axis=1))
    assert not to_mono(np.zeros((10, 3), np.float32)).any()


def test_hum_noise_and_silence_do_not_speak():
    t = np.arange(32_000) / 16_000
    noise = np.random.default_rng(0).normal(0, 0.1, t.size)
    for nothing in (np.zeros(t.size), 0.3 * np.sin(2 * np.pi * 100 * t), noise, 1e-4 * tone(LOW)):
        assert not speaks(nothing.astype(np.float32))
    assert speaks(tone(LOW))


# ------------------------------------------------------------------------------------------ tracks and time


def video(folder: Path, container: str, *, delay: float) -> bytes:
    """Six seconds of black, with sound from `delay` on."""
    (folder / "a.wav").write_bytes(as_bytes(tone(LOW, seconds=2)))
    picture = ["-f", "lavfi", "-i", "color=black:s=32x32:r=5:d=6"]
    sound = ["-itsoffset", str(delay), "-i", str(folder / "a.wav")]
    out = folder / f"video.{container}"
    ffmpeg(*picture, *sound, "-map", "0:v", "-map", "1:a", "-c:v", "mpeg4", "-c:a", "aac", str(out))
    return out.read_bytes()


@needs_ffmpeg
@pytest.mark.parametrize("container", ["mp4", "mkv", "mov", "ts"])
@pytest.mark.parametrize("delay", [0, 3])
def test_sound_that_starts_later_keeps_the_time_of_the_video(tmp_path, container, delay):
    sound = read_sound(video(tmp_path, container, delay=delay))
    loud = np.flatnonzero(np.abs(sound.waveform) > 0.15)
    assert loud[0] / SAMPLE_RATE == pytest.approx(delay + 0.1, abs=0.15)
    assert seconds_of(sound.waveform) == pytest.approx(delay + 2, abs=0.2) and sound.lost_seconds == 0


def with_gap(container: str, codec: str, *, gap: float) -> bytes:
    """Two seconds, a hole in the timestamps, two seconds."""
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        stream = out.add_stream(codec, rate=16_000, layout="mono")
        for i, hertz in enumerate((LOW, HIGH)):
            for j, piece in enumerate(np.split(tone(hertz, seconds=2.048), 32)):
                frame = av.AudioFrame.from_ndarray(piece[None], format="fltp", layout="mono")
                frame.sample_rate, frame.pts = 16_000, j * 1024 + int(i * (2.048 + gap) * 16_000)
                out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_gap_keeps_its_length_and_is_no_damage(container):
    sound = read_sound(with_gap(container, "aac", gap=3))
    assert seconds_of(sound.waveform) == pytest.approx(7.1, abs=0.2)
    assert np.abs(sound.waveform[int(2.5 * SAMPLE_RATE) : int(4.6 * SAMPLE_RATE)]).max() < 0.01
    assert pitch(sound.waveform, 0.15) == LOW and pitch(sound.waveform, 0.85) == HIGH
    assert sound.lost_seconds == 0


@needs_ffmpeg
@pytest.mark.parametrize("silent", [0, 1])
@pytest.mark.parametrize("default", [0, 1])
def test_the_track_that_speaks_is_taken(tmp_path, silent, default):
    tracks = [tone(LOW), tone(LOW)]
    tracks[silent] = np.zeros_like(tracks[silent])
    for i, track in enumerate(tracks):
        (tmp_path / f"{i}.wav").write_bytes(as_bytes(track))
    out = tmp_path / "two.mkv"
    inputs = [part for i in (0, 1) for part in ("-i", str(tmp_path / f"{i}.wav"))]
    flags = [part for i in (0, 1) for part in (f"-disposition:a:{i}", "default" if i == default else "0")]
    ffmpeg(*inputs, "-map", "0:a", "-map", "1:a", "-c:a", "aac", *flags, str(out))
    sound = read_sound(out)
    assert pitch(sound.waveform, 0.5) == LOW
    assert any(f"number {2 - silent} is used" in note for note in sound.notes)


# ------------------------------------------------------------------------------------------------- bounds


@pytest.mark.parametrize(("rate", "n_channels"), [(1_000_000, 1), (16_000, 64), (100, 1)])
def test_what_no_recorder_makes_is_refused_in_one_line(rate, n_channels):
    header = struct.pack("<IHHIIHH", 16, 1, n_channels, rate, rate * n_channels * 2, n_channels * 2, 16)
    data = bytes(100_000)
    raw = b"RIFF" + struct.pack("<I", len(data) + 36) + b"WAVEfmt " + header + b"data" + struct.pack("<I", len(data))
    with pytest.raises(AudioError, match=r"sample rate|channels") as caught:
        read_sound(raw + data)
    assert "\n" not in str(caught.value)


def test_many_channels_at_a_high_rate_are_decoded_in_small_blocks():
    """192 kHz × 16 channels: half a minute of it would be 370 MB."""
    raw = as_bytes(np.zeros((192_000 * 4, 16), np.int16), 192_000)
    tracemalloc.start()
    try:
        read_sound(raw)
        assert tracemalloc.get_traced_memory()[1] < 150e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("format", ["FLAC", "MP3"])
def test_decoding_stops_when_it_is_told_to(format):
    raw = as_bytes(np.tile(tone(LOW), 80), format=format)  # 200 s
    began = time.monotonic()
    sound = read_sound(raw, should_stop=lambda: time.monotonic() > began)
    assert 0 < seconds_of(sound.waveform) < 70


# --------------------------------------------------------------------------------- the cases, and versions of PyAV


CASES = {  # seconds
    "joined_by_cat.mp3": 10.06,
    "joined_44k_22k.mp3": 10.1,
    "joined_44k_48k.mp3": 10.1,
    "rate_44k_then_22k_no_xing.mp3": 10.1,
    "chained_opus.opus": 10.0,
    "damaged_middle.flac": 10.0,
    "damaged_middle.m4a": 5.0,
    "wav_data_size_0.wav": 5.0,
    "piped.flac": 5.0,
    "antiphase.wav": 5.0,
    "audio_starts_at_4s.mkv": 10.0,
    "audio_starts_at_4s.mp4": 10.0,
    "silent_first_track.mkv": 5.1,
}


@pytest.mark.parametrize("name", CASES)
def test_inputs_that_went_wrong(real_cases, name):
    sound = read_sound(real_cases / name)
    assert seconds_of(sound.waveform) == pytest.approx(CASES[name], abs=0.15)
    assert bool(sound.lost_seconds >= 0.01) == name.startswith("damaged")
    assert speaks(sound.waveform)
    if name.startswith("audio_starts"):
        assert 4.2 < np.flatnonzero(np.abs(sound.waveform) > 0.01)[0] / SAMPLE_RATE < 4.8
    if name == "antiphase.wav":
        assert np.abs(sound.waveform).max() == pytest.approx(0.32, abs=0.01)


PROBE = """
import sys
from cantowhisper.speech.audio import read_sound
for path in sys.argv[1:]:
    sound = read_sound(path)
    print(round(sound.waveform.size / 16000, 2), round(sound.lost_seconds, 2))
"""


@needs_ffmpeg
@pytest.mark.slow
@pytest.mark.parametrize(("version", "python"), [("14.0.0", "3.11"), ("19.*", "3.13")])
def test_the_oldest_and_the_newest_pyav(tmp_path, version, python):
    installed = sorted(
        Path.home().glob(f".pyenv/versions/{python}.*/bin/python")
    )  # pyenv's own commands may be inactive
    interpreter = next(iter(installed), None) or shutil.which(f"python{python}")
    if interpreter is None:
        pytest.skip(f"needs Python {python}")
    venv = tmp_path / "venv"
    subprocess.run([interpreter, "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin/pip", "install", "-q", f"av=={version}", "numpy", "soundfile", "soxr"], check=True)
    kinds = {
        "m4a": [],
        "mkv": ["-c:a", "aac"],
        "webm": ["-c:a", "libopus"],
        "flac": [],
        "aac": [],
        "flv": ["-ar", "44100"],
    }
    paths = []
    for container, how in kinds.items():
        title = ["-metadata", "title=\u00e9"]
        encode(LOW, container, *how, *title, folder=tmp_path)
        paths.append(tmp_path / f"{LOW}.{container}")
    paths += [tmp_path / "video.mp4", tmp_path / "damaged.m4a", tmp_path / "latin1.m4a"]
    paths[-3].write_bytes(video(tmp_path, "mp4", delay=3))
    whole = paths[0].read_bytes()
    paths[-2].write_bytes(damaged(whole))
    paths[-1].write_bytes(whole.replace("\u00e9".encode(), b"\xe9\xe9"))  # no UTF-8
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    printed = subprocess.run(
        [venv / "bin/python", "-c", PROBE, *paths], env=environment, capture_output=True, text=True, check=True
    )
    found = [tuple(map(float, line.split())) for line in printed.stdout.splitlines()]
    seconds = [2.5] * len(kinds) + [5.0, 2.5, 2.5]
    assert [s for s, _ in found] == pytest.approx(seconds, abs=0.2)
    assert [lost > 0 for _, lost in found] == [path.name == "damaged.m4a" for path in paths]


def test_whole_clips_are_decoded_once(samples):
    """A second decoder costs four times as much as the first; it is for files that go on where the first one stops."""
    clips = sorted((samples / "clips").glob("*.mp3"))[::7]
    for path in clips:
        found, file = Findings(), io.BytesIO(path.read_bytes())
        n_samples = sum(block.samples.size for block in soundfile_blocks(open_soundfile(file), file, found))
        assert found.complete and found.lost_seconds == 0 and n_samples > 0, path.name
    assert len(clips) > 40


def test_a_clip_is_learned_from_only_if_nearly_all_of_it_is_there():
    features = pytest.importorskip("cantowhisper.features.clip")
    from cantowhisper.features.config import FeatureConfig
    from cantowhisper.features.plan import PlannedClip

    class Held:
        def __init__(self, raw: bytes):
            self.read = lambda: raw

    flac = as_bytes(tone(LOW, seconds=5) + 0.01 * np.random.default_rng(0).normal(size=80_000), format="FLAC")
    wav = as_bytes(tone(LOW, seconds=5))
    usable = {"whole": flac, "a little damaged": damaged(flac), "a little cut off": wav[:-4_000]}
    for name, raw in {**usable, "cut off": wav[: len(wav) // 2]}.items():
        found = features.clip_features(PlannedClip(name, "你好嗎", "", "", "yue", Held(raw)), FeatureConfig())
        assert (found == "damaged or cut off") if name == "cut off" else not isinstance(found, str), name
