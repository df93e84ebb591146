"""Scores and exports: what a model is said to write is what it writes, however it is asked."""

import csv
import dataclasses
import json
import shutil

import ctranslate2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from training_data import small_features, small_split, with_texts

from cantowhisper.cli.main import main
from cantowhisper.contracts import CantowhisperError, ModelFacts
from cantowhisper.files import write_json
from cantowhisper.speech.context import Context, plain_window, stack, token_budget
from cantowhisper.speech.mel import N_FRAMES, pad_to
from cantowhisper.speech.text import cer
from cantowhisper.speech.torch_context import ContextSeam
from cantowhisper.training.data.sampling import frame_counts
from cantowhisper.training.miniature import build_miniature
from cantowhisper.training.model import load_model, save_model
from cantowhisper.training.presets import PRESETS
from cantowhisper.training.results.analysis import Transcript, paired_difference
from cantowhisper.training.results.export import export_ctranslate2, export_model, export_onnx
from cantowhisper.training.results.report import score_folder
from cantowhisper.training.results.scoring import (
    score_model,
    summarize,
    transcribe_split,
    write_transcripts,
)
from cantowhisper.training.results.tables import elsewhere_line, score_table

CONFIG = PRESETS["demo"].with_overrides(
    max_batch_frames=4000,
    context_kind="merged",
    context_margin_frames=128,
    context_bucket_frames=40,
    min_context_frames=0,
    context_groups=16,
)
PROMPT = ["<|startoftranscript|>", "<|zh|>", "<|transcribe|>", "<|notimestamps|>"]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A miniature with weights so large that each clip makes it say something else, though nothing sensible."""
    folder = tmp_path_factory.mktemp("scoring") / "model"
    model, processor = build_miniature(small_split("train")["text"])
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if weights.dim() > 1 and "embed" not in name:
                torch.nn.init.normal_(weights, std=2.5 * weights[0].numel() ** -0.5)
        torch.nn.init.normal_(model.get_decoder().embed_tokens.weight, std=0.1)
        first_timestamp = processor.tokenizer.convert_tokens_to_ids("<|0.00|>")
        model.get_decoder().embed_tokens.weight[first_timestamp:] = 0  # generate() would decode on behind a timestamp
    save_model(model, processor, folder)
    ModelFacts(trained_contexts="merged", context=dataclasses.asdict(CONFIG.context)).save(folder)
    return folder


@pytest.fixture(scope="module")
def model_and_processor(model_folder):
    model, processor = load_model(model_folder, language="yue")
    return model.eval(), processor


# -------------------------------------------------------------------------------------------------------- scoring


@pytest.mark.parametrize("context", ["variable", "full"])
def test_batches_do_not_change_what_a_clip_says(model_and_processor, context):
    model, processor = model_and_processor
    split = small_split("train").select(range(6 if context == "variable" else 3))
    together = transcribe_split(model, processor, split, config=CONFIG, context=context)
    one_by_one = dataclasses.replace(CONFIG, max_batch_frames=N_FRAMES)
    for i, transcript in enumerate(together):
        alone = transcribe_split(model, processor, split.select([i]), config=one_by_one, context=context)
        assert alone == [transcript]
    assert [t.id for t in together] == split["id"] and [t.reference for t in together] == split["text"]


def test_a_transcript_is_what_generate_gives(model_and_processor):
    model, processor = model_and_processor
    split = small_split("validation")
    for row, transcript in enumerate(transcribe_split(model, processor, split, config=CONFIG)):
        mel = np.array(split[row]["features"], np.float16).T
        windows = stack([CONFIG.context.window(mel.shape[1])])
        budget = token_budget(split[row]["duration_s"])
        with ContextSeam.on(model).of(windows):
            features = torch.from_numpy(pad_to(mel, windows.n_frames))[None]
            ids = model.generate(input_features=features, max_new_tokens=budget, num_beams=1, do_sample=False)
        assert transcript.prediction == processor.tokenizer.decode(ids[0], skip_special_tokens=True).strip()


@pytest.mark.parametrize("context", ["variable", "full"])
def test_inputs_are_as_long_as_the_context_says(model_and_processor, context):
    model, processor = model_and_processor
    split = small_split("validation")
    seen = []
    hook = model.get_encoder().register_forward_pre_hook(lambda _m, args, kw: seen.append((args, kw)), with_kwargs=True)
    transcribe_split(model, processor, split, config=CONFIG, context=context)
    hook.remove()
    shapes = [(kw["input_features"] if "input_features" in kw else args[0]).shape for args, kw in seen]
    length = CONFIG.context if context == "variable" else Context(kind="full")
    own = sorted(length.window(int(n)).n_frames for n in frame_counts(split))
    assert sum(clips for clips, _, _ in shapes) == len(own)
    for clips, _, frames in shapes:  # the shortest first, each batch as long as its longest clip
        assert frames == own[clips - 1] and (clips == 1 or clips * frames <= CONFIG.max_batch_frames)
        own = own[clips:]


@pytest.mark.parametrize("kind", ["merged", "plain"])
def test_a_batch_mixes_lengths_where_that_changes_no_clip(model_and_processor, kind):
    model, processor = model_and_processor
    split = small_split("train").select(range(8))
    config = CONFIG.with_context(dataclasses.replace(CONFIG.context, kind=kind))
    lengths = {config.context.n_positions(int(n)) for n in frame_counts(split)}
    batches = []
    hook = model.get_encoder().register_forward_pre_hook(lambda *_: batches.append(1))
    transcribe_split(model, processor, split, config=dataclasses.replace(config, max_batch_frames=64_000))
    hook.remove()
    assert len(lengths) > 1 and len(batches) == (1 if kind == "merged" else len(lengths))


def test_scoring_leaves_the_model_as_it_was(model_and_processor):
    model, processor = model_and_processor
    model.train()
    transcribe_split(model, processor, small_split("validation").select([0]), config=CONFIG)
    assert model.training and model.config.max_source_positions == 1500
    model.eval()
    with pytest.raises(CantowhisperError, match="variable or full"):
        transcribe_split(model, processor, small_split("validation"), config=CONFIG, context="short")


CLIPS = [
    Transcript("a", "食咗飯未呀？", "食左飯未", 1.5),  # one of five wrong, one missing
    Transcript("b", "好", "唔好", 0.5),  # one too many: the clip's own CER is 1
    Transcript("c", "你好", "你好。", 1.0),
]


def test_the_cer_is_that_of_the_corpus():
    report = summarize(CLIPS)["all"]
    assert report["cer_no_punctuation"] == pytest.approx(3 / 8, abs=1e-6)  # not the mean of 2/5, 1 and 0
    assert (report["n"], report["characters"], report["empty_outputs"]) == (3, 8, 0)
    for view in ("raw", "no_punctuation", "simplified"):
        expected = cer([t.prediction for t in CLIPS], [t.reference for t in CLIPS], view=view).cer
        assert report[f"cer_{view}"] == pytest.approx(expected, abs=1e-6)


def test_groups_have_rows_of_their_own():
    report = summarize(CLIPS, groups={"a": "known", "c": "known", "b": "unseen", "z": "of another split"})
    assert list(report) == ["all", "known", "unseen"]
    assert report["known"]["n"] == 2 and report["known"]["cer_no_punctuation"] == pytest.approx(2 / 7, abs=1e-6)
    assert report["unseen"]["cer_no_punctuation"] == 1.0
    table = score_table({"before": report, "after": report}).splitlines()
    assert [line.split()[0] for line in table[1:]] == ["known", "unseen", "all", "loops", "empty", "in"]
    low, high = report["all"]["cer_no_punctuation_interval"]
    assert table[3].count(f"37.5% ({low:.1%}–{high:.1%})") == 2


def test_an_empty_reference_counts_for_nothing(tmp_path):
    clips = [*CLIPS, Transcript("d", "……", "啊啊啊", 1.0), Transcript("e", "冇", "", 1.0)]
    report = summarize(clips)["all"]
    assert report["n"] == 4 and report["characters"] == 9 and report["empty_outputs"] == 1
    assert report["cer_no_punctuation"] == pytest.approx(4 / 9, abs=1e-6)
    write_transcripts(clips, tmp_path / "clips.tsv")
    with pytest.raises(CantowhisperError, match="no reference"):
        summarize([Transcript("d", "", "啊", 1.0)])


def test_transcripts_are_written_worst_first(tmp_path):
    path = tmp_path / "clips.tsv"
    quoted = Transcript("q", '佢話"好"', '佢話\t"好', 2.0)
    write_transcripts([CLIPS[2], CLIPS[0], quoted, CLIPS[1]], path)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["id"] for row in rows] == ["b", "a", "c", "q"]
    assert [float(row["cer"]) for row in rows] == [1.0, 0.4, 0.0, 0.0]
    assert rows[3]["reference"] == quoted.reference and rows[3]["prediction"] == quoted.prediction
    assert [p.name for p in tmp_path.iterdir()] == ["clips.tsv"]


def test_a_folder_is_scored_at_the_context_that_it_was_trained_for(model_folder, tmp_path):
    report = score_folder(
        model_folder, small_features(), split="validation", transcripts=tmp_path / "clips.tsv", progress=False
    )
    assert list(report["scores"]) == ["variable"] and report["scores"]["variable"]["all"]["n"] == 5
    with (tmp_path / "clips.tsv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.reader(file, delimiter="\t"))) == 6
    write_json(report, tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8")) == report


def test_the_model_before_is_scored_beside_it(model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "tuned")
    write_json({}, folder / "metrics.json")
    stock = shutil.copytree(model_folder, tmp_path / "stock")
    (stock / "cantowhisper.json").unlink()  # any Whisper: the silence of its window is merged too
    report = score_folder(folder, small_features(), split="test", before=stock)
    assert list(report["before"]) == list(report["scores"]) == ["variable"]
    alone = score_folder(stock, small_features(), split="test")
    assert report["before"] == alone["scores"]
    score_folder(folder, small_features(), split="test")
    kept = json.loads((folder / "metrics.json").read_text())["test"]
    assert kept["reads"] == 2 and kept["before"] == report["before"], "a reading without it leaves it"


def said_to_be(language: str, folder):
    """The validation clips of the samples, said to be in another language, whose token the model knows, too."""
    (folder / "data").mkdir(parents=True)
    (shard,) = (small_features() / "data").glob("validation-*.parquet")
    table = pq.read_table(shard)
    table = table.drop_columns("language").append_column("language", pa.array([language] * table.num_rows))
    pq.write_table(table.replace_schema_metadata(None), folder / "data" / shard.name)
    return folder


@pytest.fixture(scope="module")
def english_features(tmp_path_factory):
    return said_to_be("en", tmp_path_factory.mktemp("canary") / "features")


def test_a_score_beside_the_model_before_says_how_sure_the_difference_is(
    model_folder, english_features, tmp_path, capsys
):
    folder = shutil.copytree(model_folder, tmp_path / "tuned")
    write_json({}, folder / "metrics.json")
    asked = ["score", str(folder), str(small_features()), "--canary", str(english_features)]
    assert main(asked) == 2 and "--before" in capsys.readouterr().err
    asked += ["--before", str(model_folder), "--split", "validation", "--json", str(tmp_path / "report.json")]
    assert main(asked) == 0
    told, report = capsys.readouterr().out, json.loads((tmp_path / "report.json").read_text())
    difference = report["difference"]
    assert (difference["points"], difference["interval"], difference["n"]) == (0, [0, 0], 5), "the model and itself"
    assert "+0.0 points of CER, +0.0 to +0.0" in told and "The interval includes 0" in told
    (other,) = report["elsewhere"]
    assert (other["language"], other["split"], other["source"]) == ("en", "validation", "features")
    assert other["before"] == other["after"] and other["difference"]["interval"] == [0, 0]
    assert other["after"]["cer_raw"] != report["scores"]["variable"]["all"]["cer_raw"], "another token"
    assert "features (English, validation, n=5)" in told
    assert sum(row["n"] for row in report["groups"]["gender"].values()) == 5 and "\ngender, " in told
    assert report["speed"]["sound_seconds_a_second"]["variable"] > 0
    kept = json.loads((folder / "metrics.json").read_text())
    assert kept == {"elsewhere": report["elsewhere"]}, "the test split was not read"


def test_who_writes_chinese_in_other_characters_has_not_forgotten_it(model_folder, tmp_path):
    mandarin = said_to_be("zh", tmp_path / "mandarin")
    report = score_folder(model_folder, small_features(), split="validation", before=model_folder, canaries=[mandarin])
    (other,) = report["elsewhere"]
    assert other["view"] == "simplified"
    assert f"n=5, in simplified characters): {other['after']['cer_simplified']:.1%} → " in elsewhere_line(other)
    said, written = ("讲话", "说什么"), ("講話", "說什麼")
    before = [Transcript(text, text, text, 1.0) for text in said]
    after = [dataclasses.replace(clip, prediction=text) for clip, text in zip(before, written, strict=True)]
    assert paired_difference(before, after)["points"] > 50
    assert paired_difference(before, after, view="simplified")["points"] == 0


def test_each_context_has_its_own_table_of_transcripts(model_folder, tmp_path):
    report = score_folder(
        model_folder,
        small_features(),
        split="validation",
        contexts=("variable", "full"),
        transcripts=tmp_path / "clips.tsv",
    )
    assert list(report["scores"]) == ["variable", "full"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["clips.full.tsv", "clips.variable.tsv"]


def test_the_model_in_training_scores_like_its_folder(model_and_processor, model_folder):
    split = small_split("validation")
    there = score_model(*model_and_processor, split, config=CONFIG)["variable"]
    assert there == score_folder(model_folder, small_features(), split="validation")["scores"]["variable"]


def test_reads_of_the_test_split_are_kept_and_counted(model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "model")
    assert score_folder(folder, small_features(), split="test")["test_reads"] == 1
    assert not (folder / "metrics.json").exists()  # a model that `train` did not write has no card to fill
    write_json({"steps": 7}, folder / "metrics.json")
    for reads in (1, 2):
        report = score_folder(folder, small_features(), split="test", contexts=("variable", "full"))
        kept = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        assert kept["steps"] == 7 and kept["test"]["reads"] == report["test_reads"] == reads
        assert kept["test"]["scores"] == report["scores"] and list(report["scores"]) == ["variable", "full"]
        assert kept["test"]["confusions"] == report["confusions"] != []
    score_folder(folder, small_features(), split="validation")
    assert json.loads((folder / "metrics.json").read_text(encoding="utf-8")) == kept


# --------------------------------------------------------------------------------------------------------- export


def decode(folder, mels: np.ndarray, *, max_length: int) -> list[list[int]]:
    """Greedy token ids behind the prompt, by CTranslate2 itself."""
    whisper = ctranslate2.models.Whisper(str(folder), device="cpu", compute_type="float32", intra_threads=1)
    encoded = whisper.encode(ctranslate2.StorageView.from_array(np.ascontiguousarray(mels)))
    results = whisper.generate(encoded, [PROMPT] * len(mels), beam_size=1, max_length=max_length)
    return [result.sequences_ids[0] for result in results]


@pytest.mark.parametrize("frames", [600, 1000, N_FRAMES])
def test_the_float32_export_writes_the_same_tokens(model_and_processor, model_folder, tmp_path, frames):
    model, _ = model_and_processor
    export = export_ctranslate2(model_folder, tmp_path / "ct2", quantization="float32")
    rows = small_split("validation").with_format("numpy")["features"]
    repeat = 1 if frames < N_FRAMES else 10  # a 30 s window that is mostly padding would sound the same for all clips
    mels = np.stack([pad_to(np.tile(features.T, repeat), frames) for features in rows])
    new_tokens = 60
    with ContextSeam.on(model).of(stack([plain_window(frames)] * len(mels))):
        ids = model.generate(
            input_features=torch.from_numpy(mels), max_new_tokens=new_tokens, num_beams=1, do_sample=False
        )
    end = model.generation_config.eos_token_id
    expected = [[i for i in clip if i != end] for clip in ids.tolist()]
    assert len({tuple(clip) for clip in expected}) > 1, "the model says the same for every clip"
    assert decode(export, mels, max_length=2 * new_tokens) == expected  # CTranslate2 takes half of it for the prompt


EXPORTS = [(export_onnx, "encoder.onnx"), (export_ctranslate2, "model.bin")]


def test_both_exports_are_complete_by_themselves(model_folder, tmp_path):
    exports = export_model(model_folder, tmp_path / "out")
    assert [(one.parent, one.name) for one in exports] == [(tmp_path / "out", "onnx"), (tmp_path / "out", "ct2")]
    for export, (_, weights) in zip(exports, EXPORTS, strict=True):
        assert {p.name for p in export.iterdir()} >= {weights, "tokenizer.json", "cantowhisper.json"}
        assert ModelFacts.load(export) == ModelFacts.load(model_folder)
        bytes_of_weights = sum(p.stat().st_size for p in export.iterdir() if p.suffix in (".onnx", ".bin"))
        assert bytes_of_weights < (model_folder / "model.safetensors").stat().st_size / 2  # 8 bits
    whisper = ctranslate2.models.Whisper(str(exports[1]), device="cpu", compute_type="int8", intra_threads=1)
    assert whisper.n_mels == 80


@pytest.mark.parametrize(("export", "weights"), EXPORTS)
def test_an_export_replaces_the_one_before_as_a_whole(model_folder, tmp_path, export, weights):
    out = tmp_path / "export"
    export(model_folder, out)
    (out / "left over").write_text("of another model")
    (tmp_path / "export.part").mkdir()
    (tmp_path / "export.part" / "half").write_text("an export")  # killed while it was written
    export(model_folder, out)
    assert [p.name for p in tmp_path.iterdir()] == ["export"]
    assert not (out / "left over").exists() and not (out / "half").exists()


@pytest.mark.parametrize(("export", "weights"), EXPORTS)
def test_a_failed_export_leaves_the_one_before(model_folder, tmp_path, export, weights):
    out = export(model_folder, tmp_path / "export")
    before = (out / weights).read_bytes()
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "config.json").write_text("{}")
    with pytest.raises(CantowhisperError, match=r"cannot export|holds no Whisper") as caught:
        export(broken, out)
    assert "\n" not in str(caught.value)
    assert (out / weights).read_bytes() == before
    with pytest.raises(CantowhisperError, match="no model folder"):
        export(tmp_path / "absent", out)


@pytest.mark.parametrize(("export", "weights"), EXPORTS)
def test_an_export_destroys_nothing_else(model_folder, tmp_path, export, weights):
    own = tmp_path / "photos"
    own.mkdir()
    (own / "grandmother.jpg").write_text("dear")
    for target in (own, own / "grandmother.jpg", model_folder):
        with pytest.raises(CantowhisperError, match="choose another folder"):
            export(model_folder, target)
    with pytest.raises(CantowhisperError, match="cannot export"):
        export_model(model_folder, own / "grandmother.jpg")
    assert (own / "grandmother.jpg").read_text() == "dear" and (model_folder / "config.json").exists()


def test_texts_with_other_sentences_score_badly(model_and_processor):
    model, processor = model_and_processor
    split = small_split("validation")
    other = with_texts(split, ["完全冇關係嘅嘢"] * len(split))
    assert score_model(model, processor, other, config=CONFIG)["variable"]["all"]["cer_no_punctuation"] > 0.7
