"""`cantowhisper language-model`: sentences into a model folder, and who hears them say what."""

import csv
import json
import shutil

import numpy as np
import pytest

pytest.importorskip("torch")
from serving_model import Scripted, random_model, with_engine
from training_data import corpus_texts, small_features

from cantowhisper.cli.main import main
from cantowhisper.contracts import LANGUAGE_MODEL_FILE, CantowhisperError, UsageError
from cantowhisper.curation.language_model import (
    add_language_model,
    choose_weight,
    learned,
    read_sentences,
    unheard,
    write_language_model,
)
from cantowhisper.features.pipeline import FeatureConfig, build_features
from cantowhisper.serving.engines.engine import Decoded
from cantowhisper.serving.recognizer import Recognizer
from cantowhisper.speech.audio import load_audio
from cantowhisper.speech.mel import SAMPLE_RATE
from cantowhisper.speech.ngram import FUSION_BEAM, NGram, NGramFacts
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.model import load_model
from cantowhisper.training.results.analysis import Transcript


@pytest.fixture(scope="module")
def miniature(tmp_path_factory):
    """A copy of the random model to write into."""
    folder = tmp_path_factory.mktemp("language-model") / "model"
    shutil.copytree(random_model(), folder)
    return folder


def in_tokens(opened: Recognizer, *sentences: str) -> NGram:
    facts = NGramFacts(
        language="yue",
        vocabulary_size=len(opened.vocabulary.ids),
        end=opened.vocabulary.end,
        first_timestamp=opened.vocabulary.ids["<|0.00|>"],
    )
    return NGram.learn(map(opened.vocabulary.encode, sentences), facts)


def speech(seconds: float = 2.0) -> np.ndarray:
    return (np.random.default_rng(5).normal(size=int(seconds * SAMPLE_RATE)) * 0.1).astype(np.float32)


def test_it_has_a_say_in_its_own_language_alone():
    opened = Recognizer.open(random_model(), threads=1)
    opened.language_model = in_tokens(opened, "你好呀")
    said = Decoded(opened.vocabulary.encode("你好"), -0.1, (-0.1, -0.1))
    engine = with_engine(opened, lambda mel, again: said).engine
    for language, listens in ((None, True), ("yue", True), ("Cantonese", True), ("zh", False), ("en", False)):
        opened.decode(speech(), language=language)
        asked = engine.asked[-1]
        assert (asked["language_model"] is not None, asked["beam_size"]) == (listens, FUSION_BEAM if listens else 1)


@pytest.mark.parametrize("backend", ["onnx", "transformers"])
def test_either_engine_writes_the_only_sentence_that_a_weighty_model_knows(backend):
    opened = Recognizer.open(random_model(), threads=1, backend=backend)
    assert opened.decode(speech()).text != "唔該畀碗雲吞麵我呀"
    opened.language_model = in_tokens(opened, "唔該畀碗雲吞麵我呀").weighing(100.0)
    assert opened.decode(speech()).text == "唔該畀碗雲吞麵我呀"
    assert opened.decode(speech(), "唔該畀碗").text == "雲吞麵我呀"  # after what was written before
    assert opened.decode(speech(), language="en").text != "唔該畀碗雲吞麵我呀"


def test_a_text_that_goes_round_with_it_is_written_again_without(real_clip):
    opened = Recognizer.open(random_model(), threads=1)
    opened.language_model = in_tokens(opened, "你好呀")

    class Looping(Scripted):
        def decode(self, mels, windows, prompt, options):
            super().decode(mels, windows, prompt, options)
            text = "你好" * 12 if options.language_model else "食飯"
            return [Decoded(opened.vocabulary.encode(text), -0.1, (-0.1,) * 2) for _ in mels]

    opened.engine = Looping(lambda mel, again: None)
    segments = opened.transcribe(real_clip)
    assert segments and {segment.text for segment in segments} == {"食飯"}
    assert not any(segment.flags for segment in segments)
    tried = [asked["language_model"] is not None for asked in opened.engine.asked]
    assert tried == [True, *[False] * len(segments)] and opened.engine.asked[-1]["beam_size"] == 1


@pytest.fixture
def real_clip(samples):
    return load_audio(samples.parent / "clips" / "market_morning.mp3")[: 6 * SAMPLE_RATE]


def test_sentences_come_from_files_and_what_clips_say_is_left_out(tmp_path):
    (tmp_path / "a.txt").write_text("食咗飯未？\n\n  去邊度 \n", encoding="utf-8-sig")
    (tmp_path / "b.txt").write_text("去邊度\n多謝\n", encoding="utf-8")
    sentences = read_sentences([tmp_path / "a.txt", tmp_path / "b.txt"])
    assert sentences == ["食咗飯未？", "去邊度", "多謝"]
    assert unheard(sentences, ["食咗飯未", "早晨"]) == ["去邊度", "多謝"]
    (tmp_path / "c.txt").write_bytes("多謝".encode("big5"))
    (tmp_path / "d.txt").write_text("\n \n")
    for file, said in (("c.txt", "not UTF-8"), ("d.txt", "no sentence"), ("e.txt", "No such file")):
        with pytest.raises(UsageError, match=said):
            read_sentences([tmp_path / file])


@pytest.mark.parametrize(
    ("sentence", "said", "left_out"),
    [
        ("今日天氣好好，我哋去行街", "聽日天氣好好我哋去飲茶", True),  # nine in a row
        ("今日天氣好好", "聽日天氣好凍", False),  # four
        ("我住喺炮仗街附近", "炮仗街", True),  # all of a short one
        ("我住喺附近", "附近", False),  # which is a mere word
        ("附近", "附近。", True),
        ("We would like to go home now", "they would like to go home", False),  # five words, and many letters
        ("We would like to go home now", "I would like to go home now", True),
        ("พรุ่งนี้ฉันจะไปตลาดกับแม่ของฉัน", "วันนี้เขาจะไปตลาดกับแม่ของฉัน", True),  # Thai: … go to market with my mother
        ("ฉันจะไปโรงเรียนตอนเช้า", "เขาจะไปตลาด", False),  # will go
        ("ຂ້ອຍຢາກໄປຕະຫຼາດກັບແມ່ຂອງຂ້ອຍ", "ລາວຢາກໄປຕະຫຼາດກັບແມ່ຂອງລາວ", True),  # Lao: the same
        ("ខ្ញុំទៅផ្សារជាមួយម្តាយរបស់ខ្ញុំ", "គាត់ទៅផ្សារជាមួយម្តាយរបស់ខ្ញុំ", True),  # Khmer
        ("ကျွန်တော် ဈေးသွားမယ်", "သူ ဈေးသွားမယ်", False),  # Burmese: will go to market
    ],
)
def test_a_sentence_much_like_what_is_said_is_left_out(sentence, said, left_out):
    assert unheard([sentence, "好耐冇見"], [said]) == (["好耐冇見"] if left_out else [sentence, "好耐冇見"])


def test_the_weight_is_chosen_on_what_is_heard_and_the_model_is_served(miniature):
    model, processor = load_model(miniature, language="yue")
    ngram = learned(corpus_texts(), model, processor, TrainConfig(language="yue"))
    said, near, far = "食咗飯未", "食咗飯味", "十座反胃"
    written = {None: far, 0.1: said, 0.2: near, 0.3: said}

    def hear(one):
        return [Transcript("a", said, written[one and one.facts.weight], 1.0)]

    chosen, rates = choose_weight(ngram, (0.1, 0.2, 0.3), hear)
    assert rates == {0: 1.0, 0.1: 0.0, 0.2: 0.25, 0.3: 0.0} and chosen.facts.weight == 0.1  # the least that does it
    written[None] = said
    assert choose_weight(ngram, (0.1, 0.2), hear)[0] is None  # and none, where that is as good
    write_language_model(miniature, chosen, {"weight": 0.1})
    assert json.loads((miniature / "language_model.json").read_text(encoding="utf-8")) == {"weight": 0.1}
    assert (chosen.facts.language, chosen.facts.n_sentences) == ("yue", len(corpus_texts()))
    for folder in (miniature, miniature / "onnx"):  # which is served alone, too
        assert Recognizer.open(folder, threads=1).language_model.facts == chosen.facts
    assert Recognizer.open(random_model(), threads=1).language_model is None


@pytest.mark.slow
def test_sentences_lower_the_error_rate_of_the_stock_model(real_speech, real_weights, tmp_path, capsys):
    """On 15 clips of real Cantonese, with what other clips say for sentences."""
    release = real_speech / "common_voice_17_layout" / "cv-corpus-17.0-2024-03-15" / "zh-HK"
    build_features(str(release), tmp_path / "features", config=FeatureConfig(workers=1), progress=False)
    model = tmp_path / "model"
    shutil.copytree(real_weights / "whisper-base", model)
    rows = (release / "train.tsv").read_text(encoding="utf-8").splitlines()
    said = [row["sentence"] for row in csv.DictReader(rows, delimiter="\t", quoting=csv.QUOTE_NONE)]
    (tmp_path / "texts.txt").write_text("\n".join(said), encoding="utf-8")
    words = ["language-model", model, tmp_path / "texts.txt", "--features", tmp_path / "features"]
    assert main([*map(str, words)]) == 0
    told = capsys.readouterr().out
    report = json.loads((model / "language_model.json").read_text(encoding="utf-8"))
    assert report["weight"] > 0 and f"weight {report['weight']:g} is best" in told
    assert report["test"]["after"]["cer_no_punctuation"] < report["test"]["before"]["cer_no_punctuation"]


def test_what_does_not_help_is_not_written(tmp_path, capsys):
    model = tmp_path / "model"
    shutil.copytree(random_model(), model)
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(corpus_texts()[:3]), encoding="utf-8")
    with pytest.raises(CantowhisperError, match=r"no weight lowers the error rate on .* validation clips"):
        add_language_model(model, [texts], features=small_features(), weights=(1e-6,), progress=True)
    assert "transcribe (variable, language model 1e-06)" in capsys.readouterr().err
    assert not (model / LANGUAGE_MODEL_FILE).exists() and not (model / "language_model.json").exists()
    assert main(["language-model", str(tmp_path / "none"), str(texts), "--features", str(small_features())]) == 2
    assert "is no model folder here" in capsys.readouterr().err
