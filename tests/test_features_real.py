"""Feature datasets of real recordings and of the sample corpus."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from cantowhisper.features.pipeline import FeatureConfig, build_features
from cantowhisper.speech.audio import SAMPLE_RATE, load_audio
from cantowhisper.speech.mel import log_mel, pad_to

TWO = FeatureConfig(workers=2)
RELEASE_17 = "common_voice_17_layout/cv-corpus-17.0-2024-03-15"


def stored_mels(table) -> list[np.ndarray]:
    """The features column as float16 arrays (n_frames, 80), by Arrow alone."""
    clips = [clip for chunk in table["features"].chunks for clip in getattr(chunk, "storage", chunk)]
    return [clip.values.flatten().to_numpy(zero_copy_only=False).reshape(-1, 80) for clip in clips]


@pytest.mark.parametrize("language", ["zh-HK", "zh-CN"])
def test_a_real_release_is_stored_as_whisper_sees_it(real_speech, tmp_path, language):
    from transformers import WhisperFeatureExtractor

    extractor = WhisperFeatureExtractor()
    folder, out = real_speech / RELEASE_17 / language, tmp_path / "out"
    stats = build_features(str(folder), out, config=TWO, progress=False)
    assert stats["n_kept"] + stats["n_rejected"] == 100
    for split, n_source in (("train", 70), ("validation", 15), ("test", 15)):
        n_rejected = sum(stats["rejected"].get(split, {}).values())
        assert stats["splits"][split]["clips"] == n_source - n_rejected
    n_listed = len((out / "rejected.tsv").read_text(encoding="utf-8").splitlines()) - 1
    assert n_listed == stats["n_rejected"]
    n_compared = 0
    for file in (out / "data").glob("*.parquet"):
        table = pq.read_table(file)
        for id_, mel in zip(table["id"].to_pylist(), stored_mels(table), strict=True):
            waveform = load_audio(folder / "clips" / f"{id_}.mp3")
            expected = extractor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="np")["input_features"][0]
            assert np.abs(pad_to(log_mel(waveform)) - expected).max() <= 1e-6
            assert np.abs(pad_to(mel.T) - expected).max() <= 5e-4
            n_compared += 1
    assert n_compared == stats["n_kept"]


def test_storage_uint8_restores_within_its_bound_and_is_smaller(samples, tmp_path):
    from transformers import WhisperFeatureExtractor

    if not samples.is_dir():
        pytest.skip("the sample corpus is not in this checkout")
    extractor, sizes = WhisperFeatureExtractor(), {}
    source = tmp_path / "few"
    source.mkdir()
    (source / "clips").symlink_to(samples / "clips")
    for table in ("train", "dev", "test"):
        lines = (samples / f"{table}.tsv").read_text(encoding="utf-8").splitlines()[:21]
        (source / f"{table}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for storage in ("float16", "uint8"):
        out = tmp_path / storage
        build_features(str(source), out, config=TWO.with_overrides(storage=storage), progress=False)
        sizes[storage] = sum(path.stat().st_size for path in (out / "data").iterdir())
    assert sizes["uint8"] < 0.75 * sizes["float16"]
    assert "rounded to multiples of 1/128" in (out / "README.md").read_text(encoding="utf-8")
    worst = 0.0
    for file in (out / "data").glob("*.parquet"):
        table = pq.read_table(file)
        for id_, mel in zip(table["id"].to_pylist(), stored_mels(table), strict=True):
            assert mel.dtype == np.float16 and len(set(mel.ravel().tolist())) <= 257
            waveform = load_audio(samples / "clips" / f"{id_}.mp3")
            expected = extractor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="np")["input_features"][0]
            worst = max(worst, float(np.abs(pad_to(mel.T) - expected).max()))
    assert 0.003 < worst <= 0.004


def test_no_client_id_of_the_real_release_is_in_any_output(real_speech, tmp_path):
    folder, out = real_speech / RELEASE_17 / "zh-HK", tmp_path / "out"
    build_features(str(folder), out, config=TWO, progress=False)
    content = b"".join(path.read_bytes() for path in out.rglob("*") if path.is_file())
    clients = {line.split(b"\t")[0] for line in (folder / "validated.tsv").read_bytes().splitlines()[1:]}
    assert len(clients) > 50
    assert not any(client in content for client in clients)


def test_a_release_without_splits_is_used_whole(real_speech, tmp_path):
    folder = real_speech / "common_voice_6_layout" / "zh-TW"
    stats = build_features(str(folder), tmp_path / "out", config=TWO, progress=False)
    assert set(stats["splits"]) == {"train", "validation", "test"}  # speakers that are held out
    assert stats["language"] == "zh-TW"
    assert stats["n_kept"] + stats["n_rejected"] == 100


def test_the_sample_corpus_is_used_whole(samples, tmp_path):
    if not samples.is_dir():
        pytest.skip("the sample corpus is not in this checkout")
    stats = build_features("samples", tmp_path / "out", config=FeatureConfig(), progress=False)
    assert {split: s["clips"] for split, s in stats["splits"].items()} == {"train": 850, "validation": 100, "test": 100}
    assert stats["n_rejected"] == 0 and stats["language"] == "yue" and stats["source"] == "samples"
