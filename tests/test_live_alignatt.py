"""A program that benchmarks.live_real compares live text with: its clock, and what it makes of a recording."""

import importlib.util
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.live_alignatt import RATE, STEP_S, AlignAtt, simulate
from benchmarks.readme import RESULTS
from benchmarks.tables_live import live_real
from cantowhisper.speech.audio import load_audio

COLUMN = ("98.76 % |", "12.34 s |", "23.45 s |", "0.67 s |")


def run(waveform: np.ndarray, pass_s: float) -> tuple[dict, np.ndarray]:
    """A program that takes `pass_s` for a pass and writes a character for each at once; and the sound it heard."""
    heard, ticks = [], iter(np.arange(0, 10_000) * pass_s)

    def hear(sound: np.ndarray) -> list[tuple[float, str]]:
        heard.append(sound)
        return [(sum(map(len, heard)) / RATE, "字")]

    found = simulate(waveform, hear, lambda: [(waveform.size / RATE, "完")], clock=lambda: next(ticks))
    return found, np.concatenate(heard)


@pytest.mark.parametrize("pass_s", [0.0, 0.5, 1.7, 40.0])
def test_all_sound_is_heard_once_however_slow_the_program(pass_s):
    waveform = np.random.default_rng(0).standard_normal(round(10.3 * RATE)).astype(np.float32)
    found, heard = run(waveform, pass_s)
    np.testing.assert_array_equal(heard, waveform)
    assert found["text"] == "字" * found["passes"] + "完"
    assert found["compute_s"] == pytest.approx(9 * pass_s), "steps of 10.3 s, whatever was left out"


def test_a_program_that_keeps_up_is_as_late_as_a_pass_and_a_slow_one_hears_longer_pieces():
    waveform = np.zeros(round(12 * RATE), np.float32)
    quick, _ = run(waveform, 0.5)
    assert quick["passes"] == round(12 / STEP_S) and set(quick["commit_s"]) == {0.5}
    slow, _ = run(waveform, 3.0)
    assert slow["passes"] == 5  # at 1.2, 4.2, 7.2, 10.2 and 13.2 s
    assert slow["commit_s"] == pytest.approx([3, 3, 3, 3, 4.2, 4.2])


def test_its_figures_are_in_the_table_where_it_was_measured():
    result = json.loads((RESULTS / "live_real.json").read_text(encoding="utf-8"))
    without = {key: value for key, value in result.items() if "alignatt" not in key}
    figures = {"cer": 98.76, "commit_delay_p50_s": 12.34, "commit_delay_p95_s": 23.45, "compute_s_per_audio_s": 0.67}
    measured = {f"alignatt_{key}": value for key, value in figures.items()}
    measured |= {
        "alignatt_version": "1.2.3",
        "alignatt_compute_ratio": 5.0,
        "real_live_minus_alignatt_interval": [-7, 8],
    }
    before, after = live_real(without).splitlines(), live_real(without | measured).splitlines()
    assert after[2:6] == [f"{a} {b}" for a, b in zip(before[2:6], COLUMN, strict=True)]
    assert "1.2.3" in after[-1] and "-7.0 to +8.0" in after[-1] and "1.2.3" not in before[-1]


@pytest.fixture(scope="module")
def alignatt(real_weights, tmp_path_factory):
    """AlignAtt with the real whisper-base, for English."""
    pytest.importorskip("ctranslate2")
    found = os.environ.get("ALIGNATT_PYTHON") or (importlib.util.find_spec("whisperlivekit") and sys.executable)
    if not found:
        pytest.skip("whisperlivekit is not installed: ALIGNATT_PYTHON can name a Python that has it")
    from benchmarks.real_programs import exported_ct2

    folder, model = tmp_path_factory.mktemp("alignatt"), real_weights / "whisper-base"
    with AlignAtt(Path(found), model, exported_ct2(model, folder), folder, language="en", threads=2) as program:
        yield program


def test_alignatt_writes_what_was_said_after_it_was_said(alignatt, real_speech):
    speech = load_audio(real_speech / "fixtures" / "jfk.flac")
    found = alignatt.run(speech)
    for words in ("fellow Americans", "what your country can do for you", "for your country"):
        assert words in found["text"]
    assert len(found["commit_s"]) >= len(found["text"].replace(" ", ""))
    assert min(found["commit_s"]) > -0.2, "0.1 s are added to the last time"
    assert max(found["commit_s"]) < speech.size / RATE + found["compute_s"] + 0.1


def test_alignatt_writes_nothing_of_silence_and_begins_anew(alignatt, real_speech):
    assert alignatt.run(np.zeros(2 * RATE, np.float32))["text"] == ""
    beginning = alignatt.run(load_audio(real_speech / "fixtures" / "jfk.flac")[: 4 * RATE])["text"]
    assert "Americans" in beginning and "country" not in beginning


def test_a_python_without_it_is_refused_in_a_line(tmp_path):
    with pytest.raises(ValueError, match=r"cannot be started"):
        AlignAtt(tmp_path / "python", tmp_path, tmp_path, tmp_path, language="zh", threads=1)
    if not importlib.util.find_spec("whisperlivekit"):
        with pytest.raises(ValueError, match=r"whisperlivekit does not run with .*"):
            AlignAtt(Path(sys.executable), tmp_path, tmp_path, tmp_path, language="zh", threads=1)
