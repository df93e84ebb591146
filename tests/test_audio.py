"""Decoding: what people have in, 16 kHz mono out, and nothing of what a hostile file wants."""

import io
import struct
import time
import tracemalloc

import numpy as np
import pytest
import soundfile

from cantowhisper.speech.audio import SAMPLE_RATE, AudioError, load_audio

TONE_HZ = 440


def tone(seconds: float, rate: int, *, amplitude: float = 0.5) -> np.ndarray:
    return (amplitude * np.sin(2 * np.pi * TONE_HZ * np.arange(int(seconds * rate)) / rate)).astype(np.float32)


def with_soundfile(samples: np.ndarray, rate: int, **how) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **how)
    return file.getvalue()


def with_av(samples: np.ndarray, rate: int, *, container: str, codec: str) -> bytes:
    """Samples (n_samples,), or (2, n_samples) for left and right, as FFmpeg encodes them."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format=container) as out:
        layout = "mono" if samples.ndim == 1 else "stereo"
        stream = out.add_stream(codec, rate=rate, layout=layout, options={"b": "192k"})
        frame = av.AudioFrame.from_ndarray(np.atleast_2d(samples), format="fltp", layout=layout)
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            out.mux(packet)
    return file.getvalue()


def frequency_and_amplitude(waveform: np.ndarray) -> tuple[float, float]:
    """Of the strongest tone in the middle second."""
    middle = waveform[waveform.size // 2 - 8_000 :][:16_000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(middle.size)))
    return float(spectrum.argmax()), float(spectrum.max() / (middle.size / 4))


@pytest.mark.parametrize(
    "how",
    [
        {"format": "WAV", "subtype": "PCM_16"},
        {"format": "WAV", "subtype": "FLOAT"},
        {"format": "WAV", "subtype": "PCM_U8"},
        {"format": "FLAC"},
        {"format": "OGG", "subtype": "VORBIS"},
        {"format": "OGG", "subtype": "OPUS"},
        {"format": "MP3"},
    ],
    ids=lambda how: "-".join(how.values()),
)
def test_a_tone_stays_a_tone(how):
    waveform = load_audio(with_soundfile(tone(3, 48_000), 48_000, **how))
    assert waveform.dtype == np.float32 and waveform.ndim == 1
    assert abs(waveform.size / SAMPLE_RATE - 3) < 0.08  # MP3 and Opus add a fraction of a frame
    frequency, amplitude = frequency_and_amplitude(waveform)
    assert frequency == TONE_HZ and amplitude == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [("ipod", "aac", 44_100), ("mp4", "aac", 48_000), ("webm", "libopus", 48_000), ("adts", "aac", 32_000)],
)
def test_what_only_ffmpeg_reads(container, codec, rate):
    waveform = load_audio(with_av(tone(3, rate), rate, container=container, codec=codec))
    assert abs(waveform.size / SAMPLE_RATE - 3) < 0.15
    frequency, amplitude = frequency_and_amplitude(waveform)
    assert frequency == TONE_HZ and amplitude == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 48_000])
def test_any_sample_rate_keeps_duration_and_pitch(rate):
    waveform = load_audio(with_soundfile(tone(2, rate), rate, format="WAV"))
    assert abs(waveform.size - 2 * SAMPLE_RATE) <= 2
    assert frequency_and_amplitude(waveform)[0] == TONE_HZ


def test_stereo_is_averaged():
    left = tone(2, 8_000)
    waveform = load_audio(with_soundfile(np.stack([left, np.zeros_like(left)], axis=1), 8_000, format="WAV"))
    assert frequency_and_amplitude(waveform)[1] == pytest.approx(0.25, rel=0.02)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize(("container", "codec"), [("ipod", "aac"), ("webm", "libopus"), ("mov", "pcm_s16le")])
def test_both_sides_count_half_in_what_only_ffmpeg_reads(container, codec, side):
    """Neither the sum of the channels nor one of them: a tone on one side has half its amplitude in mono."""
    sides = [tone(3, 48_000), np.zeros(3 * 48_000, np.float32)]
    stereo = np.stack(sides if side == "left" else sides[::-1])
    waveform = load_audio(with_av(stereo, 48_000, container=container, codec=codec))
    assert abs(waveform.size / SAMPLE_RATE - 3) < 0.15
    frequency, amplitude = frequency_and_amplitude(waveform)
    assert frequency == TONE_HZ and amplitude == pytest.approx(0.25, rel=0.05)


def test_long_recordings_have_no_seams():
    """65 s at 44.1 kHz pass the resampler in three blocks; a seam would click."""
    waveform = load_audio(with_soundfile(tone(65, 44_100), 44_100, format="FLAC"))
    assert abs(waveform.size - 65 * SAMPLE_RATE) <= 2
    expected = tone(65, SAMPLE_RATE)[: waveform.size]
    assert np.abs(waveform[100:-100] - expected[100:-100]).max() < 2e-3


def test_path_and_bytes_are_the_same(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(with_soundfile(tone(1, 16_000), 16_000, format="WAV"))
    assert np.array_equal(load_audio(path), load_audio(path.read_bytes()))
    assert np.array_equal(load_audio(str(path)), load_audio(path))


def test_an_hour_of_silence_is_stopped_before_it_fills_memory():
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", SAMPLE_RATE, 1, format="FLAC") as out:
        for _ in range(60):
            out.write(np.zeros(60 * SAMPLE_RATE, np.float32))
    small = file.getvalue()
    assert len(small) < 1_000_000
    tracemalloc.start()
    try:
        with pytest.raises(AudioError, match="longer than 30 s") as caught:
            load_audio(small, max_seconds=30)
        assert tracemalloc.get_traced_memory()[1] < 20e6  # decoded, it would be 230 MB
    finally:
        tracemalloc.stop()
    assert caught.value.reason == "too_long"


def test_exactly_as_long_as_allowed_is_fine():
    assert load_audio(with_soundfile(tone(2, 16_000), 16_000, format="WAV"), max_seconds=2).size == 32_000


PLAYLISTS = {
    "concat": "ffconcat version 1.0\nfile {secret}\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:3,\n{secret}\n#EXT-X-ENDLIST\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_playlist_named_wav_reads_no_other_file(tmp_path, kind):
    secret = tmp_path / "secret.wav"
    secret.write_bytes(with_soundfile(tone(3, 16_000), 16_000, format="WAV"))
    for name in (secret.name, f"file://{secret}"):
        playlist = tmp_path / "upload.wav"
        playlist.write_text(PLAYLISTS[kind].format(secret=name))
        for source in (playlist, playlist.read_bytes()):
            with pytest.raises(AudioError) as caught:
                load_audio(source)
            assert caught.value.reason == "unreadable"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "unreadable"),
        (bytes(range(256)) * 40, "unreadable"),
        (with_soundfile(np.zeros(0, np.float32), 16_000, format="WAV"), "empty"),
    ],
    ids=["zero bytes", "HTML", "noise", "header only"],
)
def test_what_is_no_recording_is_refused_in_one_line(tmp_path, content, reason):
    path = tmp_path / "clip.mp3"
    path.write_bytes(content)
    for source in (path, content):
        with pytest.raises(AudioError) as caught:
            load_audio(source)
        assert caught.value.reason == reason and "\n" not in str(caught.value)


def wav(rate: int, channels: int, data: bytes, *, claimed: int | None = None) -> bytes:
    """A 16-bit WAV whose header says what it is told to."""
    n = len(data) if claimed is None else claimed
    form = struct.pack("<IHHIIHH", 16, 1, channels, rate, rate * channels * 2 % 2**32, channels * 2 % 2**16, 16)
    return b"RIFF" + struct.pack("<I", (n + 36) % 2**32) + b"WAVEfmt " + form + b"data" + struct.pack("<I", n) + data


RAMP = (np.arange(100_000) % 2000).astype(np.int16).tobytes()


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        (wav(16_000, 1, RAMP, claimed=31 * 3600 * 32_000), 100_000 / 16_000),
        (wav(48_000, 1000, RAMP), None),
        (wav(1, 1, RAMP), None),
        (wav(4_000_000_000, 1, RAMP), None),
        (wav(0, 1, RAMP), None),
        (wav(16_000, 60_000, RAMP), None),
    ],
    ids=["31 hours", "1000 channels", "1 Hz", "4 GHz", "0 Hz", "60000 channels"],
)
def test_a_header_that_promises_anything_costs_little(raw, seconds):
    began = time.monotonic()
    tracemalloc.start()
    try:
        if seconds is None:
            with pytest.raises(AudioError) as caught:
                load_audio(raw, max_seconds=1800)
            assert "\n" not in str(caught.value)
        else:
            assert load_audio(raw, max_seconds=1800).size == pytest.approx(seconds * SAMPLE_RATE, abs=2)
        assert tracemalloc.get_traced_memory()[1] < 300e6 and time.monotonic() - began < 60
    finally:
        tracemalloc.stop()


def test_a_video_without_sound_is_refused():
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("mpeg4", rate=25)
        stream.width = stream.height = 64
        for _ in range(10):
            frame = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with pytest.raises(AudioError, match="no sound track") as caught:
        load_audio(file.getvalue())
    assert caught.value.reason == "unreadable"


def test_a_file_is_read_as_what_it_is_not_as_it_is_called(tmp_path):
    (tmp_path / "talk.mp4").write_bytes(with_soundfile(tone(1, 16_000), 16_000, format="FLAC"))
    assert load_audio(tmp_path / "talk.mp4").size == SAMPLE_RATE


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(AudioError, match="cannot open"):
        load_audio(tmp_path / "nothing.wav")


def test_a_truncated_mp3_gives_what_is_there():
    whole = with_soundfile(tone(4, 48_000), 48_000, format="MP3")
    waveform = load_audio(whole[: len(whole) // 2])
    assert 1 < waveform.size / SAMPLE_RATE < 3
    assert frequency_and_amplitude(waveform)[0] == TONE_HZ


def test_broken_floats_do_not_get_through():
    samples = tone(1, 16_000)
    samples[100:200] = np.nan
    samples[300] = 7.0
    waveform = load_audio(with_soundfile(samples, 16_000, format="WAV", subtype="FLOAT"))
    assert np.isfinite(waveform).all() and np.abs(waveform).max() <= 1


def test_real_recordings(real_speech):
    fixture = load_audio(real_speech / "fixtures" / "jfk.flac")
    assert fixture.size / SAMPLE_RATE == pytest.approx(11, abs=0.01)
    digit = next((real_speech / "spoken_digits").glob("**/*.wav"))
    assert load_audio(digit).size == pytest.approx(2 * soundfile.info(digit).frames, abs=2)  # 8 kHz
