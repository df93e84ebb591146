"""The feature benchmark's own parts: clips that differ, and what README works out from its result."""

import csv
import re

import pytest
from test_features_release import small_release

from benchmarks.feature_programs import rows_of
from benchmarks.feature_steps import steps
from benchmarks.features import CUT_BYTES, SAMPLES, many_clips
from benchmarks.tables_features import feature_steps, features, ten_thousand_hours

ROW = {
    "clips": 1000,
    "hours": 1.25,  # 4.5 s a clip
    "rounds": 3,
    "clips_per_second": {"ours": 250.0, "decode": 400.0, "reference": 25.0},
    "clips_per_second_ratio": 10.0,
    "bytes_ratio": 20.0,
    "share_of_decode_limit": 0.62,
    "peak_mb": {"ours": 450.0, "reference": 900.0},
    "bytes_per_clip": {"ours": 50_000, "reference": 1_000_000},
    "max_restore_error": {"before_storage": 1e-7, "after_storage": 4.9e-4},
    "writer_clips_per_second": 2000,
}

MACHINE = {"cores": 2, "processor": "a processor", "date": "2026-01-01"}
TWO = {"workers_ratio": 1.9, "rounds": 5, "spread": {"workers_ratio": [1.8, 2.0]}}


def test_more_clips_than_recordings_all_differ(tmp_path):
    source = small_release(tmp_path)
    source.write()
    made = many_clips(source.folder, tmp_path / "many" / "yue", 13)
    rows = rows_of(made)
    contents = [(made / "clips" / row["path"]).read_bytes() for row in rows]
    assert len(rows) == len(set(contents)) == 13
    whole = (source.folder / "clips" / rows_of(source.folder)[0]["path"]).read_bytes()
    assert contents[0] == whole and len(contents[10]) == len(whole) - 2 * CUT_BYTES
    assert b"Xing" not in contents[10] and b"Info" not in contents[10], "what is cut off would count as lost"
    with (made / "train.tsv").open(encoding="utf-8", newline="") as file:
        assert [row["sentence"] for row in csv.DictReader(file, delimiter="\t")][5] == rows[0]["sentence"]


def test_a_large_corpus_is_worked_out_from_speed_size_and_the_one_writer():
    said = ten_thousand_hours(ROW, hours=10_000, workers=(4, 32))
    # 8 million clips: 32,000 s of one core, 400 GB; the writer alone takes 4,000 s
    assert "8.0 million clips" in said and "9 core-hours" in said and "400 GB" in said
    assert "2.2 h with 4 workers, 1.1 h with 32 workers" in said


def test_the_rendered_block_holds_the_results_figures():
    said = features({"machine": MACHINE, "samples": ROW, "workers": TWO})
    (row,) = re.findall(r"\| samples .*", said)
    assert "**10.0×**" in row and "**20×**" in row and "62%" in row and "450 MB (usual: 900)" in row
    assert "4.9e-04 as stored" in said and "1.90 times one (1.80–2.00, 5 rounds)" in said and "zh-HK" not in said
    assert "the ratios would be 16.0×" in said


@pytest.mark.slow
def test_the_steps_of_a_clip_add_up_and_a_coarser_resampler_changes_log_mel(tmp_path):
    found = steps(SAMPLES, tmp_path / "out.parquet", n_clips=6)
    ms, resamplers = found["ms"], found["resamplers"]
    assert 0 < ms["decode"] < ms["load"] < ms["compute"] and ms["log-Mel"] < ms["compute"] and ms["write"] > 0
    assert resamplers["soxr HQ"]["max_difference"] == 0 < resamplers["soxr QQ"]["max_difference"]
    said = feature_steps({"machine": MACHINE, "passes": 5, "samples": found})
    shares = [int(share) for share in re.findall(r"(\d+)%", said)]
    assert len(shares) == 5 and 95 <= sum(shares) <= 110 and "| soxr QQ |" in said
