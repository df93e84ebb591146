"""Recordings written down in the layouts that people have, for benchmarks.layouts: each as (who writes it, function).

A function writes `Said`s into a folder, and one more row whose recording is not there where a layout names its files.
It returns the source if that is not the folder.
"""

import csv
import json
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from cantowhisper.speech.mel import SAMPLE_RATE

PAUSE_S = 0.6


@dataclass(frozen=True)
class Said:
    """A recording, and what is said in it."""

    name: str
    split: str
    speaker: str
    text: str
    waveform: np.ndarray

    @property
    def seconds(self) -> float:
        return self.waveform.size / SAMPLE_RATE


def wav(folder: Path, said: Said) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{said.name}.wav"
    soundfile.write(path, said.waveform, SAMPLE_RATE, subtype="PCM_16")
    return path


def text(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def common_voice(folder: Path, found: list[Said]) -> Path:
    release = folder / "cv-corpus-99.0-2030-01-01" / "yue"
    for split in ("train", "dev", "test"):
        rows = [(s.speaker, f"{s.name}.wav", s.text, 2, 0, "yue") for s in found if s.split == split]
        rows += [("s9", "missing.wav", "冇呢個檔", 2, 0, "yue")] * (split == "train")
        lines = ["client_id\tpath\tsentence\tup_votes\tdown_votes\tlocale", *("\t".join(map(str, row)) for row in rows)]
        text(release / f"{split}.tsv", "\n".join(lines) + "\n")
    for said in found:
        wav(release / "clips", said)
    return release


def common_voice_archive(folder: Path, found: list[Said]) -> Path:
    release = common_voice(folder / "made", found)
    path = folder / "release.tar.gz"
    with tarfile.open(path, "w:gz") as file:
        file.add(release.parent, release.parent.name)
    shutil.rmtree(folder / "made")
    return path


def spontaneous(folder: Path, found: list[Said]) -> None:
    lines = ["client_id\taudio_file\tduration_ms\ttranscription\tlanguage\tsplit"]
    for said in found:
        wav(folder / "audios", said)
        words = (
            said.speaker,
            f"{said.name}.wav",
            round(1000 * said.seconds),
            f"{said.text} [laugh]",
            "yue",
            said.split,
        )
        lines.append("\t".join(map(str, words)))
    lines.append("s9\tmissing.wav\t1000\t冇呢個檔\tyue\ttrain")
    text(folder / "ss-corpus-yue.tsv", "\n".join(lines) + "\n")


def _table(folder: Path, found: list[Said]):
    """A pandas table of all of them, and one that is not there."""
    import pandas as pd

    rows = [{"file": wav(folder, s).name, "text": s.text, "speaker": s.speaker, "split": s.split} for s in found]
    return pd.DataFrame([*rows, {"file": "missing.wav", "text": "冇呢個檔", "speaker": "s9", "split": "train"}])


def comma_table(folder: Path, found: list[Said]) -> None:
    _table(folder, found).to_csv(folder / "metadata.csv", index=False)


def semicolon_table(folder: Path, found: list[Said]) -> None:
    _table(folder, found).to_csv(folder / "metadata.csv", index=False, sep=";", encoding="utf-8-sig")


def quoted_table(folder: Path, found: list[Said]) -> None:
    how = {"sep": "\t", "quoting": csv.QUOTE_ALL, "encoding": "utf-16"}
    _table(folder, found).to_csv(folder / "metadata.tsv", index=False, **how)


def json_lines(folder: Path, found: list[Said]) -> None:
    _table(folder, found).to_json(folder / "metadata.jsonl", orient="records", lines=True)


def whisper_finetune(folder: Path, found: list[Said]) -> None:
    for split in ("train", "test"):
        own = [s for s in found if (s.split == "test") == (split == "test")]
        rows = [
            {"audio": {"path": f"dataset/{wav(folder / 'dataset', s).name}"}, "sentence": s.text, "duration": s.seconds}
            for s in own
        ]
        rows += [{"audio": {"path": "dataset/missing.wav"}, "sentence": "冇呢個檔"}] * (split == "train")
        text(folder / f"{split}.json", "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n")


def nemo(folder: Path, found: list[Said]) -> None:
    row = lambda name, said, seconds: {"audio_filepath": f"/data/wav/{name}.wav", "text": said, "duration": seconds}
    for split in ("train", "dev", "test"):
        rows = [row(wav(folder / "wav", s).stem, s.text, s.seconds) for s in found if s.split == split]
        rows += [row("missing", "冇呢個檔", 1.0)] * (split == "train")
        text(folder / f"{split}_manifest.json", "\n".join(json.dumps(each, ensure_ascii=False) for each in rows) + "\n")


def audiofolder(folder: Path, found: list[Said]) -> None:
    for split in ("train", "dev", "test"):
        lines = ["file_name,transcription", *(f"{s.name}.wav,{s.text}" for s in found if s.split == split)]
        lines += ["missing.wav,冇呢個檔"] * (split == "train")
        text(folder / split / "metadata.csv", "\n".join(lines) + "\n")
        for said in (s for s in found if s.split == split):
            wav(folder / split, said)


def ljspeech(folder: Path, found: list[Said]) -> None:
    lines = [f"{wav(folder / 'wavs', s).stem}|{s.text}|{s.text}" for s in found]
    text(folder / "metadata.csv", "\n".join([*lines, "missing|冇呢個檔|冇呢個檔"]) + "\n")


def kaldi(folder: Path, found: list[Said]) -> None:
    for split in ("train", "dev", "test"):
        own, data = [s for s in found if s.split == split], folder / "data" / split
        names = {s.name: wav(folder / "wav", s).relative_to(folder).as_posix() for s in own}
        words = {s.name: s.text for s in own}
        if split == "train":
            names["missing"], words["missing"] = "wav/missing.wav", "冇呢個檔"
        text(data / "wav.scp", "".join(f"{name} {path}\n" for name, path in names.items()))
        text(data / "text", "".join(f"{name} {said}\n" for name, said in words.items()))
        text(data / "utt2spk", "".join(f"{s.name} {s.speaker}\n" for s in own))


def _joined(found: list[Said]) -> tuple[np.ndarray, list[tuple[float, float, str]]]:
    """All recordings as one, and (start_s, end_s, text) of each."""
    pause, parts, at, times = np.zeros(round(PAUSE_S * SAMPLE_RATE), np.float32), [], 0.0, []
    for said in found:
        parts += [said.waveform, pause]
        times.append((at, at + said.seconds, said.text))
        at += said.seconds + PAUSE_S
    return np.concatenate(parts), times


def espnet(folder: Path, found: list[Said]) -> None:
    waveform, times = _joined(found)
    wav(folder / "wav", Said("talk", "train", "", "", waveform))
    data = folder / "dump" / "raw" / "train"
    text(data / "wav.scp", "talk wav/talk.wav\n")
    text(data / "segments", "".join(f"u{i} talk {start:.3f} {end:.3f}\n" for i, (start, end, _) in enumerate(times)))
    text(data / "text", "".join(f"u{i} {said}\n" for i, (_, _, said) in enumerate(times)))


def librispeech(folder: Path, found: list[Said]) -> None:
    for split, name, speaker in (("train", "train-clean-5", 19), ("dev", "dev-clean", 84), ("test", "test-clean", 61)):
        chapter, lines = folder / name / f"{speaker}" / "198", []
        for i, said in enumerate(s for s in found if s.split == split):
            path = wav(chapter, said).rename(chapter / f"{speaker}-198-{i:04d}.wav")
            lines.append(f"{path.stem} {said.text}")
        lines += [f"{speaker}-198-9999 冇呢個檔"] * (split == "train")
        text(chapter / f"{speaker}-198.trans.txt", "\n".join(lines) + "\n")


def _lhotse(folder: Path, found: list[Said]):
    import lhotse

    recordings, supervisions = [], []
    for said in found:
        recordings.append(lhotse.Recording.from_file(wav(folder / "wav", said)))
        supervisions.append(
            lhotse.SupervisionSegment(
                id=f"{said.name}-0",
                recording_id=said.name,
                start=0.0,
                duration=recordings[-1].duration,
                text=said.text,
                speaker=said.speaker,
                language="yue",
            )
        )
    return lhotse.RecordingSet.from_recordings(recordings), lhotse.SupervisionSet.from_segments(supervisions)


def lhotse_cuts(folder: Path, found: list[Said]) -> None:
    import lhotse

    for split in ("train", "dev", "test"):
        recordings, supervisions = _lhotse(folder, [s for s in found if s.split == split])
        cuts = lhotse.CutSet.from_manifests(recordings=recordings, supervisions=supervisions)
        cuts.to_file(folder / f"samples_cuts_{split}.jsonl.gz")


def lhotse_manifests(folder: Path, found: list[Said]) -> None:
    for split in ("train", "dev", "test"):
        recordings, supervisions = _lhotse(folder, [s for s in found if s.split == split])
        recordings.to_file(folder / f"samples_recordings_{split}.jsonl.gz")
        supervisions.to_file(folder / f"samples_supervisions_{split}.jsonl.gz")


def _datasets(folder: Path, found: list[Said]):
    """A DatasetDict with an Audio column that holds the files' bytes."""
    import datasets

    def split(name: str) -> datasets.Dataset:
        own = [s for s in found if s.split == name]
        cells = [{"bytes": wav(folder / "made", s).read_bytes(), "path": f"{s.name}.wav"} for s in own]
        columns = {"audio": cells, "text": [s.text for s in own], "speaker": [s.speaker for s in own]}
        return datasets.Dataset.from_dict(columns).cast_column("audio", datasets.Audio(decode=False))

    whole = datasets.DatasetDict({"train": split("train"), "validation": split("dev"), "test": split("test")})
    shutil.rmtree(folder / "made")
    return whole


def saved_to_disk(folder: Path, found: list[Said]) -> None:
    _datasets(folder, found).save_to_disk(folder / "saved")


def parquet(folder: Path, found: list[Said]) -> None:
    for split, rows in _datasets(folder, found).items():
        (folder / "data").mkdir(exist_ok=True)
        rows.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")


def _clock(seconds: float, mark: str) -> str:
    whole, thousandths = divmod(round(1000 * seconds), 1000)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}{mark}{thousandths:03d}"


def srt(folder: Path, found: list[Said]) -> None:
    waveform, times = _joined(found)
    wav(folder, Said("talk", "train", "", "", waveform))
    cues = (f"{i}\n{_clock(a, ',')} --> {_clock(b, ',')}\n{said}\n" for i, (a, b, said) in enumerate(times, start=1))
    text(folder / "talk.srt", "\n".join(cues))


def vtt(folder: Path, found: list[Said]) -> None:
    waveform, times = _joined(found)
    wav(folder, Said("talk", "train", "", "", waveform))
    cues = (f"{_clock(a, '.')} --> {_clock(b, '.')}\n{said}\n" for a, b, said in times)
    text(folder / "talk.yue.vtt", "WEBVTT\n\n" + "\n".join(cues))


def text_files(folder: Path, found: list[Said]) -> None:
    for said in found:
        text(wav(folder / said.split, said).with_suffix(".txt"), said.text + "\n")


HAND = "by hand"
LAYOUTS = {
    "Common Voice release, folder": (HAND, common_voice),
    "Common Voice release, .tar.gz": (HAND, common_voice_archive),
    "Common Voice Spontaneous Speech": (HAND, spontaneous),
    "table, .csv": ("pandas", comma_table),
    "table, semicolons (Excel)": ("pandas", semicolon_table),
    "table, quoted .tsv in UTF-16": ("pandas", quoted_table),
    "table, .jsonl": ("pandas", json_lines),
    "Whisper-Finetune": (HAND, whisper_finetune),
    "NeMo manifests": (HAND, nemo),
    "AudioFolder": (HAND, audiofolder),
    "LJSpeech": (HAND, ljspeech),
    "Kaldi": (HAND, kaldi),
    "ESPnet with segments": (HAND, espnet),
    "LibriSpeech": (HAND, librispeech),
    "lhotse cuts": ("lhotse", lhotse_cuts),
    "lhotse recordings and supervisions": ("lhotse", lhotse_manifests),
    "save_to_disk": ("datasets", saved_to_disk),
    "Parquet": ("datasets", parquet),
    "subtitles, .srt": (HAND, srt),
    "subtitles, .vtt": (HAND, vtt),
    "text files": (HAND, text_files),
}
