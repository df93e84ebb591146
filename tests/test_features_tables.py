"""Tables and folders as people have them: what is kept, what is a reject and why; nothing is cut or vanishes."""

import json
import tarfile
from pathlib import Path

import pytest
import soundfile
from test_features_release import rejected, sound, stored

from cantowhisper.contracts import CantowhisperError, Segment, UsageError
from cantowhisper.features.pipeline import FeatureConfig, build_features
from cantowhisper.features.plan import make_plan
from cantowhisper.features.sources.clip import Clip
from cantowhisper.features.sources.hub import _wanted_splits
from cantowhisper.features.sources.open import open_source
from cantowhisper.features.sources.rows import as_text
from cantowhisper.serving.subtitles import write


def clips_of(source: object) -> list[tuple]:
    """(id, split, sentence, objection), in order."""
    return [(c.id, c.split, c.sentence, c.objection) for c in open_source(str(source)).clips(split_policy="official")]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three recordings, r0.wav to r2.wav."""
    made = tmp_path / "mine"
    made.mkdir()
    for i in range(3):
        soundfile.write(made / f"r{i}.wav", sound(1, pitch_hz=200 + 50 * i), 16_000)
    return made


def put(folder: Path, **files: str | bytes) -> Path:
    """Files by name; a double underscore is a dot, a triple one a slash."""
    for name, content in files.items():
        path = folder / name.replace("___", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def kept(source: object) -> list[tuple]:
    found = clips_of(source)
    assert not [clip for clip in found if clip[3]], found
    return [clip[:3] for clip in found]


THREE = [("r0", "train", "甲"), ("r1", "train", "乙"), ("r2", "train", "丙")]


@pytest.mark.parametrize(
    "name",
    [
        "r{}",
        "r{}.WAV",
        ".\\r{}.wav",
        "./r{}.wav",
        "mine/r{}.wav",
        "ABS/r{}.wav",
        "/home/x/old/r{}.wav",
        "C:\\x\\r{}.wav",
    ],
)
def test_a_recording_is_found_by_the_paths_that_people_write(folder, name):
    lines = [f"{name.format(i).replace('ABS', str(folder))}\t{text}" for i, text in enumerate("甲乙丙")]
    assert kept(put(folder, metadata__tsv="file\ttext\n" + "\n".join(lines))) == THREE


def test_macos_notes_are_no_files_and_a_miss_shows_the_path(folder):
    put(folder, **{"._r0__wav": b"x", "._metadata__csv": b"\0", "clips___x.mp3": b"y"})
    put(folder, metadata__csv="file,text\nclips/gone.mp3,甲\nr0,乙\n../out.wav,丙\n")
    assert [clip[3] for clip in clips_of(folder)] == ["missing file: clips/gone.mp3", None, "file outside the folder"]


def test_ids_keep_what_makes_them_different(folder):
    soundfile.write(folder / "r0.flac", sound(1), 16_000)
    put(folder, metadata__csv="file,text\nr0.wav,甲\nr0.flac,乙\nr1.wav,丙\nr0,丁\n")
    assert [clip[0] for clip in clips_of(folder)] == ["r0.wav", "r0.flac", "r1", "r0"]
    assert "several files fit: r0.flac, r0.wav" in clips_of(folder)[3][3]


def test_a_row_with_too_many_cells_is_a_reject_and_never_cut(folder):
    put(folder, metadata__csv="file,text\nr0.wav,甲\nr1.wav,我今日去, 聽日返\nr2.wav,丙,\n")
    assert [bool(clip[3]) for clip in clips_of(folder)] == [False, True, False]
    assert "more cells than columns" in clips_of(folder)[1][3]


def test_columns_come_from_all_rows_of_a_jsonl(folder):
    rows = [{"audio": "r0.wav", "text": "甲"}, {"audio": {"path": "r1.wav"}, "text": "乙", "split": "test"}]
    put(folder, metadata__jsonl="\n".join(map(json.dumps, rows)))
    assert kept(folder) == [("r0", "train", "甲"), ("r1", "test", "乙")]


def test_zero_is_something_and_nan_is_nothing(folder):
    put(
        folder,
        metadata__jsonl='{"audio": "r0.wav", "text": 0, "speaker": 0, "duration": NaN}\n'
        '{"audio": "r1.wav", "text": NaN, "speaker": NaN}\n{"audio": "r2.wav", "text": "None", "speaker": "nan"}\n',
    )
    clips = list(open_source(str(folder)).clips(split_policy="official"))
    assert [(c.sentence, c.speaker, c.seconds) for c in clips] == [
        ("0", "mine/0", None),
        ("", "", None),
        ("", "", None),
    ]


def test_control_characters_are_rejects(folder):
    rows = [("r0.wav\0", "甲"), ("a\tb\nr1.wav", "乙"), ("r1.wav", "丙\0"), ("r2.wav", "\ud800"), ("\udc80.wav", "丁")]
    put(folder, metadata__jsonl="\n".join(json.dumps({"audio": a, "text": t}) for a, t in rows))
    found = clips_of(folder)
    assert all("control character" in clip[3] for clip in found)
    assert all(clip[0].isprintable() and clip[2].isprintable() for clip in found)


@pytest.mark.parametrize("quoted", [True, False])
def test_tables_with_tabs_are_unquoted_only_where_they_are_quoted(folder, quoted):
    texts = ['"甲 ""乙"""', '"a\nb"', "丙"] if quoted else ['"甲', '佢話"好"', "丙"]
    put(folder, metadata__tsv="file\ttext\n" + "".join(f"r{i}.wav\t{text}\n" for i, text in enumerate(texts)))
    assert [clip[2] for clip in kept(folder)] == (['甲 "乙"', "a\nb", "丙"] if quoted else texts)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-8-sig", "big5hkscs", "gb18030"])
def test_other_encodings_are_read_or_named_with_the_remedy(folder, encoding):
    text = "file\ttext\tspeaker_id\tduration\nr0.wav\t多謝晒你\tA\t1.0\nr1.wav\t食咗飯未呀\tB\t1.0\n"
    put(folder, metadata__tsv=text.encode(encoding))
    if encoding.startswith("utf"):
        assert [clip[2] for clip in kept(folder)] == ["多謝晒你", "食咗飯未呀"]
    else:
        with pytest.raises(CantowhisperError, match=r"not UTF-8 .* SOURCE,encoding=\w+"):
            open_source(str(folder))
        assert [clip[2] for clip in kept(f"{folder},encoding={encoding}")] == ["多謝晒你", "食咗飯未呀"]


SRT = "1\n00:00:00,100 --> 00:00:00,500\n<i>甲</i>\n\n2\n00:00:00,500 --> 00:00:00,900\n乙\n"
LAYOUTS = {
    "semicolons": {"metadata__csv": "file;text\nr0.wav;甲\nr1.wav;乙\n"},
    "LJSpeech": {"metadata__csv": "r0|A|甲\nr1|B|乙\n"},
    "NeMo": {
        "train_manifest__json": '{"audio_filepath": "/x/r0.wav", "text": "甲", "duration": 1}\n'
        '{"audio_filepath": "/x/r1.wav", "text": "乙", "duration": 1}\n'
    },
    "Whisper-Finetune": {
        "train__json": '{"audio": {"path": "mine/r0.wav"}, "sentence": "甲"}\n'
        '{"audio": {"path": "mine/r1.wav"}, "sentence": "乙"}'
    },
    "Kaldi": {"data___train___wav__scp": "u0 r0.wav\nu1 r1.wav\n", "data___train___text": "u0 甲\nu1 乙\n"},
    "text files": {"r0__txt": "甲\n", "r1__txt": "乙"},
    "LibriSpeech": {"train-clean___1-2__trans__txt": "r0 甲\nr1 乙\n"},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_that_are_read(folder, layout):
    assert [clip[1:] for clip in kept(put(folder, **LAYOUTS[layout]))] == [("train", "甲"), ("train", "乙")]


def test_audiofolder_takes_its_splits_from_its_folders(folder):
    for split in ("train", "test"):
        put(folder, **{f"{split}___metadata__csv": f"file_name,text\na.wav,{split}\n"})
        soundfile.write(folder / split / "a.wav", sound(1), 16_000)
    assert kept(folder) == [("train/a", "train", "train"), ("test/a", "test", "test")]


def test_a_long_recording_is_cut_at_its_subtitles(folder):
    clips = list(open_source(str(put(folder, r0__yue__srt=SRT))).clips(split_policy="official"))
    assert [(c.id, c.sentence, c.seconds) for c in clips] == [
        ("r0-00000100", "甲", pytest.approx(0.4)),
        ("r0-00000500", "乙", pytest.approx(0.4)),
    ]
    (folder / "part.wav").write_bytes(clips[1].recording.read())
    assert soundfile.info(folder / "part.wav").frames == 6_400


@pytest.mark.parametrize("name", ["srt", "vtt"])
def test_the_captions_that_serving_writes_come_back_as_text(folder, name):
    """Two lines of Chinese are joined without a space, of English with one; what WebVTT escapes is read."""
    said = ["中華人民共和國行政長官今日會見 R&D 團隊", "ask not what your country can do for you <now>"]
    if name == "srt":
        said[1] = said[1].replace("<now>", "now")  # a tag there, for the format has no escapes
    for number, text in enumerate(said):
        written = write([Segment(0.1, 0.9, text, 1.0)], name)
        assert len(written.partition("-->")[2].splitlines()) == 3, "the end, and two lines of text"
        put(folder, **{f"r{number}__{name}": written})
    assert [sentence for _, _, sentence in kept(folder)] == said


def test_kaldi_segments_and_commands(folder):
    put(folder, wav__scp="rec r0.wav\ncmd sox r1.wav -t wav - |\n", segments="u0 rec 0.2 0.7\n", text="u0 甲\ncmd 乙\n")
    (first, second) = open_source(str(folder)).clips(split_policy="official")
    assert first.objection is None and first.seconds == pytest.approx(0.5)
    assert second.objection == "wav.scp holds a command or an archive; write sound files"


def test_spontaneous_speech(folder):
    header = "client_id\taudio_file\tduration_ms\ttranscription\tvotes\tlanguage\tsplit\n"
    rows = [
        "c0\tr0.wav\t1000\t甲 [laugh]\t0\tyue\ttrain",
        "c1\tr1.wav\t1000\t\t0\tyue\t",
        "c2\tr2.wav\t1000\t丙\t0\tyue\tdev",
    ]
    put(folder, **{"ss-corpus-yue__tsv": header + "\n".join(rows) + "\n"})
    source = open_source(str(folder))
    assert source.language == "yue"
    assert kept(folder) == [("r0", "train", "甲"), ("r1", "train", ""), ("r2", "validation", "丙")]


def test_spontaneous_speech_in_its_archive(folder, tmp_path):
    rows = ["c0\tr0.wav\t1000\t甲 [laugh]\tyue\ttrain", "c1\tr9.wav\t1000\t乙\tyue\ttrain"]
    header = "client_id\taudio_file\tduration_ms\ttranscription\tlanguage\tsplit\n"
    (folder / "ss-corpus-yue.tsv").write_text(header + "\n".join(rows) + "\n", encoding="utf-8")
    with tarfile.open(tmp_path / "sps-corpus-1.0-yue.tar.gz", "w:gz") as archive:
        for path in sorted(folder.iterdir()):
            inside = "audios/" if path.suffix == ".wav" else ""
            archive.add(path, f"sps-corpus-1.0-yue/{inside}{path.name}")
    source = open_source(str(tmp_path / "sps-corpus-1.0-yue.tar.gz"))
    missing, clip = source.clips(split_policy="official")
    assert (source.name, source.language) == ("sps-corpus-1.0-yue", "yue")
    assert (clip.id, clip.sentence, clip.seconds) == ("r0", "甲", 1.0)
    assert clip.recording.read() == (folder / "r0.wav").read_bytes()
    with pytest.raises(FileNotFoundError):
        missing.recording.read()


def test_what_is_not_read_is_answered_with_what_is(folder, tmp_path):
    with pytest.raises(UsageError, match=r"holds 3 recordings and no text .* metadata\.tsv"):
        open_source(str(folder))
    with pytest.raises(UsageError, match=r"\.xlsx: save the sheet as CSV"):
        open_source(str(put(folder, book__xlsx=b"PK")))


def test_splits_of_other_names_are_mapped(folder):
    put(folder, metadata__csv="file,text,split\nr0.wav,甲,part1\nr1.wav,乙,part2\nr2.wav,丙,held\n")
    assert all("unknown split" in clip[3] for clip in clips_of(folder))
    mapped = kept(f"{folder},train=part1:part2,test=held")
    assert [clip[1] for clip in mapped] == ["train", "train", "test"]


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (2.0, "2"), (1.5, "1.5"), (False, "False"), (float("nan"), "")])
def test_cells_as_text(value, text):
    assert as_text(value) == text


CASES = {  # rows without an objection, rows in all
    "comma": (2, 4),
    "ragged": (3, 3),
    "nan": (4, 4),
    "newline": (1, 2),
    "nul": (1, 2),
    "noext": (4, 4),
    "cv_noext/yue": (4, 4),
    "wft": (4, 4),
    "sps-corpus": (5, 5),
    "german": (8, 8),
    "chars": (4, 4),
}


@pytest.mark.parametrize("name", CASES)
def test_tables_that_went_wrong(real_cases, name):
    clips = list(open_source(str(real_cases / name)).clips(split_policy="official"))
    usable = [clip for clip in clips if clip.objection is None]
    assert (len(usable), len(clips)) == CASES[name]
    assert all(clip.recording.read() for clip in usable)
    if name == "ragged":
        assert [clip.id for clip in clips if clip.split == "test"] == ["r1"]
    if name == "sps-corpus":
        assert [clip.split for clip in clips] == ["train", "train", "train", "validation", "test"]


def test_a_row_beyond_its_header_is_one_line(real_cases):
    named = f"{real_cases / 'extra_err'},audio=name,text=words"
    assert [clip[3] for clip in clips_of(named)] == ["more cells than columns: an unquoted comma or tab?"]
    with pytest.raises(CantowhisperError, match="no usable clip") as caught:
        build_features(f"{named},language=yue", real_cases.parent / "never", config=FeatureConfig(workers=1))
    assert "\n" not in str(caught.value)


def test_rare_characters_are_kept_and_a_picture_alone_is_no_sentence(real_cases, tmp_path):
    config = FeatureConfig(workers=1, scoring_only=True)
    build_features(f"{real_cases / 'chars'},language=yue", tmp_path / "out", config=config, progress=False)
    texts = {row["id"]: row["text"] for row in stored(tmp_path / "out", "train", columns=["id", "text"])}
    assert rejected(tmp_path / "out") == [("r0", "train", "no text")]
    assert texts["r3"] == "𠮩𡃁𱍐仔" and set(texts) == {"r1", "r2", "r3"}


def test_m4a_counts_as_wav_does(real_cases):
    both = f"{real_cases / 'm4a_src'},weight=1+{real_cases / 'wav_src'},weight=1"
    kept_seconds = {"m4a_src": 0.0, "wav_src": 0.0}
    for clip in open_source(both).clips(split_policy="official"):
        kept_seconds[clip.source] += (clip.objection is None) * {"m4a_src": 3, "wav_src": 2}[clip.source]
    assert kept_seconds["m4a_src"] == kept_seconds["wav_src"] > 0


class Listed:
    """A source of clips that are never read."""

    name, language, license, about, terms = "listed", "yue", "cc0-1.0", "", ""

    def __init__(self, n_speakers: int, **splits: int):
        self.rows = [(split, i) for split, n in splits.items() for i in range(n)]
        self.n_speakers = n_speakers

    def clips(self, *, split_policy: str):
        for split, i in self.rows:
            speaker = f"{split}{i % self.n_speakers}" if self.n_speakers else ""
            yield Clip(f"{split}{i}", split, f"{split}第{i}句", speaker, recording=None, source="listed")


@pytest.mark.parametrize("n_speakers", [20, 0], ids=["speakers", "unknown speakers"])
def test_a_source_without_held_out_splits_gets_some(n_speakers):
    config = FeatureConfig(language="yue")
    plan = make_plan(Listed(n_speakers, train=100), config)
    voices = {s.split: {c.speaker or c.id for c in s.clips} for s in plan.shards}
    share = n_speakers or 100  # 100 clips in all: 15 % of them are fewer than 30
    assert {split: len(found) for split, found in voices.items()} == {
        "train": share - 2 * round(0.15 * share),
        "validation": round(0.15 * share),
        "test": round(0.15 * share),
    }
    assert len(set().union(*voices.values())) == share and plan.n_planned == 100 and not plan.rejects
    assert len(plan.notes) == 1 and "no validation and no test clips" in plan.notes[0]
    again = make_plan(Listed(n_speakers, train=100), config)
    assert [[c.id for c in s.clips] for s in again.shards] == [[c.id for c in s.clips] for s in plan.shards]


@pytest.mark.parametrize("n_clips, held_out", [(400, 30), (2000, 100)])
def test_a_larger_source_gives_up_30_clips_or_a_twentieth(n_clips, held_out):
    plan = make_plan(Listed(0, train=n_clips), FeatureConfig(language="yue"))
    n = {shard.split: 0 for shard in plan.shards}
    for shard in plan.shards:
        n[shard.split] += len(shard.clips)
    assert n == {"train": n_clips - 2 * held_out, "validation": held_out, "test": held_out}


def test_nothing_is_held_out_where_there_is_enough_or_too_little():
    config = FeatureConfig(language="yue")
    assert not make_plan(Listed(20, train=100, validation=2, test=2), config).notes
    assert not make_plan(Listed(9, train=100), config).notes
    assert not make_plan(Listed(20, train=100), config.with_overrides(hold_out=0)).notes
    only_test = make_plan(Listed(20, train=100, validation=2), config)
    assert "no test clips" in only_test.notes[0] and "validation" not in only_test.notes[0]


def test_a_source_without_training_clips_stops_before_the_work(folder, tmp_path):
    put(folder, test__csv="file,text\nr0.wav,甲\nr1.wav,乙\nr2.wav,丙\n")
    config = FeatureConfig(workers=1, language="yue")
    with pytest.raises(UsageError, match=r"no training clip .*test 3.*SOURCE,train=NAME"):
        build_features(str(folder), tmp_path / "out", config=config, progress=False)
    assert not (tmp_path / "out").exists()
    stats = build_features(
        str(folder), tmp_path / "out", config=config.with_overrides(scoring_only=True), progress=False
    )
    assert list(stats["splits"]) == ["test"]


def test_splits_of_the_hub_are_mapped_by_name():
    names = ["train.100", "train.360", "validation", "test.clean", "other"]
    assert [split for split, _ in _wanted_splits(names, "official", {})] == ["validation"]
    mapping = {"train": "train.100:train.360", "test": "test.clean"}
    assert _wanted_splits(names, "official", mapping) == [
        ("train", "train.100"),
        ("train", "train.360"),
        ("validation", "validation"),
        ("test", "test.clean"),
    ]
    with pytest.raises(UsageError, match=r"no split train\.500; there are: train\.100"):
        _wanted_splits(names, "official", {"train": "train.500"})
