"""Sentences and the character error rate."""

import csv
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.speech.text import cer, cer_view, join_texts, normalize, to_script, wer, word_view


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("  食咗飯  未呀？\n", "食咗飯 未呀？"),
        ("食\u200b咗\ufeff飯", "食咗飯"),  # zero-width space, byte order mark
        ("cafe\u0301", "caf\u00e9"),
        ("食\u3000飯", "食 飯"),  # ideographic space
        ("\t\n", ""),
        ("می\u200cخواهم", "می\u200cخواهم"),  # Persian: without the joiner it is misspelt
        ("ක්\u200dර", "ක්\u200dර"),  # Sinhala
        ("\u200c食\u200d", "食"),  # … which joins nothing at an end
        (
            "我\uf3ab日\ue5ce去",
            "我\uf3ab日俌去",
        ),  # private use of old Hong Kong systems: where Unicode has it, and kept
        ("\ue000\ue33a食", "𠕇\ue33a食"),
        ("o\ue5ce", "o\ue5ce"),  # in no Chinese text: another system's private use
        ("𠮩𡃁仔", "𠮩𡃁仔"),
        ("\U000323b0水", "\U000323b0水"),  # an ideograph newer than this Python's tables, or just in them
        ("\u06dd٣", "\u06dd٣"),  # a visible sign, though Unicode calls it a format character
        ("食\ufffe飯\ud800", "食飯"),  # what is no character
    ],
)
def test_normalize(written, stored):
    assert normalize(written) == stored
    assert normalize(stored) == stored


def test_spaces_and_punctuation_do_not_count():
    predictions, references = ["我 今 日 去 ， 中環 。"], ["我今日去中環"]
    assert cer(predictions, references, view="no_punctuation").cer == 0
    assert cer(predictions, references, view="raw").cer > 1


@pytest.mark.parametrize(
    ("written", "compared"),
    [
        ("「Ｏｋ，去 邊度？」", "ok去邊度"),  # full-width letters and brackets
        ("㩒１２３號掣！", "㩒123號掣"),
        ("……——", ""),
        ("♪100%+～$", "100"),  # symbols of every kind: music, arithmetic, currency
        ("𠮶日", "𠮶日"),  # outside the basic plane
        ("二○二四年，一九八◯", "二〇二四年一九八〇"),
        ("○ 啱 ○ 錯", "啱錯"),  # a circle to tick is none
        ("\u2764\ufe0f", ""),  # an emoji is a symbol and a variation selector
        ("👩\u200d👩\u200d👧 🇭🇰 👍🏽 \U0001faef", ""),
        ("1\ufe0f\u20e3 號", "1號"),
        ("می\u200cخواهم", "میخواهم"),  # nobody hears a joiner
        ("葛\U000e0100飾", "葛飾"),
        ("\uf8ff\U000323b0", "\uf8ff\U000323b0"),  # unknown, but something that is said
    ],
)
def test_no_punctuation_view(written, compared):
    assert cer_view(written, "no_punctuation") == compared


@given(st.characters(categories=["P", "S", "Z", "Cc", "Cf"]), st.sampled_from(["no_punctuation", "simplified"]))
def test_what_is_not_heard_is_no_error_wherever_it_stands(sign, view):
    """Of all that Unicode has: punctuation, symbols, separators, control characters."""
    assume(all(unicodedata.category(c)[0] in "PSZC" for c in unicodedata.normalize("NFKC", sign)))  # ™ is written TM
    assert cer_view(f"{sign}食{sign}咗{sign}{sign}100{sign}", view) == cer_view("食咗100", view)
    assert cer([f"食{sign}飯"], ["食飯"], view=view).edits == cer(["食飯"], [f"食飯{sign}"], view=view).edits == 0


@given(st.characters(categories=["L", "N"]))
def test_what_is_said_stays(character):
    assert len(cer_view(f"食{character}飯")) >= 3


def test_scripts():
    assert cer(["边度有嘢食"], ["邊度有嘢食"], view="no_punctuation").edits == 1
    assert cer(["边度有嘢食"], ["邊度有嘢食"], view="simplified").edits == 0
    assert to_script("电话", "traditional") == "電話" and to_script("電話", "as written") == "電話"
    with pytest.raises(UsageError, match="script"):
        to_script("電話", "latin")


HONG_KONG = (
    "東涌 睇吓 張床 范生 里程 皇后 只有 出面 系統 隻貓 裡面 秘書 喫 為咗 公里 几案 斗室 台北 松樹 干涉 咸蛋 了解"
)


def test_traditional_text_stays_as_it_is():
    for forms in ("yue", "zh-HK", "zh-TW", ""):
        for word in HONG_KONG.split():
            assert to_script(word, "traditional", language=forms) == word
            assert to_script(f"佢話{word}囉嗎", "traditional", language=forms) == f"佢話{word}囉嗎"


@pytest.mark.parametrize(
    ("simplified", "hong_kong"),
    [
        ("我们在里面说话", "我們在裏面説話"),  # what both ways of writing have goes with the rest of the text
        ("我哋去东涌", "我哋去東涌"),
        ("佢系边个，系统系乜", "佢係邊個，系統係乜"),
        ("睇吓边个", "睇吓邊個"),
        ("我們去后面开会，講范生嘅張床", "我們去后面開會，講范生嘅張床"),  # mixed: only what is simplified alone
    ],
)
def test_simplified_text_becomes_that_of_hong_kong(simplified, hong_kong):
    assert to_script(simplified, "traditional", language="yue") == hong_kong
    assert to_script(hong_kong, "traditional", language="yue") == hong_kong


def test_forms_of_regions():
    assert [to_script("里面说", "traditional", language=x) for x in ("zh-HK", "zh-TW", "zh")] == [
        "裏面説",
        "裡面說",
        "裏面說",
    ]


def test_no_sentence_of_hong_kong_is_changed(real_speech):
    """195 sentences of Common Voice, and 100 of Taiwan's, of which one writes 内 for 內."""
    hong_kong, long_form = CV17 + "zh-HK/validated.tsv", "long_form/segments.tsv"
    sentences = _column(real_speech / hong_kong) + _column(real_speech / long_form)
    taiwan = _column(real_speech / "common_voice_6_layout/zh-TW/validated.tsv")
    assert len(sentences) == 195 and len(taiwan) == 100
    assert [s for s in sentences if to_script(s, "traditional", language="yue") != s] == []
    assert [s for s in taiwan if to_script(s, "traditional", language="zh-TW") != s.replace("内", "內")] == []


def test_simplified_real_sentences_become_traditional_and_stay_so(real_speech):
    mainland, hong_kong = (_column(real_speech / f"{CV17}{one}/validated.tsv") for one in ("zh-CN", "zh-HK"))
    written = [to_script(s, "traditional", language="zh-HK") for s in mainland]
    # Without 只 and its like, which both have, a text without any other sign stays: 1 of 100 says neither.
    assert sum(new != old for new, old in zip(written, mainland, strict=True)) >= 90
    assert [to_script(s, "traditional", language="zh-HK") for s in written] == written
    assert [s for s in mainland if to_script(s, "simplified") != s] == []
    back = [to_script(to_script(s, "simplified"), "traditional", language="zh-HK") for s in hong_kong]
    assert cer(back, hong_kong).cer < 0.025, "OpenCC chooses another of two traditional characters here and there"


CV17 = "common_voice_17_layout/cv-corpus-17.0-2024-03-15/"


def _column(table) -> list[str]:
    with table.open(encoding="utf-8") as file:
        return [row["sentence"] for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]


def test_words():
    assert wer(["don't ask what your country can"], ["Don’t ask what your country can do."]).edits == 1
    result = wer(["the cat", ""], ["The cat sat.", "…"])
    assert (result.edits, result.words, result.n, result.n_empty_references) == (1, 3, 1, 1)
    assert result.wer == pytest.approx(1 / 3)
    assert wer(["well known"], ["well-known"]).edits == 0
    assert word_view("தமிழ் மொழி!") == "தமிழ் மொழி", "vowel signs are marks, and no punctuation"
    assert wer(["Hello there"], ["hello, there"], view="raw").edits == 1
    with pytest.raises(UsageError, match="raw, no_punctuation"):
        word_view("a", "simplified")


@pytest.mark.parametrize(
    ("pieces", "language", "joined"),
    [
        (["And so,", "my fellow Americans"], "en", "And so, my fellow Americans"),
        (["你好", "今日"], "yue", "你好今日"),
        (["你好。", "OK", "bye"], "zh", "你好。OK bye"),
        (["안녕", "하세요"], "ko", "안녕 하세요"),
        (["こんにちは", "元気"], "ja", "こんにちは元気"),
        (["สวัสดี", "ครับ"], "th", "สวัสดี ครับ"),
        (["他说", "yes", "你好"], "", "他说yes你好"),
        (["one", "two"], "", "one two"),
        (["he said 你好", "then"], "en", "he said 你好 then"),
        (["", " a\nb ", "\t"], "en", "a b"),
        ([], "en", ""),
    ],
)
def test_pieces_are_joined_as_the_language_writes(pieces, language, joined):
    assert join_texts(pieces, language) == joined


def test_corpus_cer_is_not_the_mean_of_clip_cers():
    predictions, references = ["好", "我今日去中環食飯"], ["係", "我今日去中環食飯"]
    clip_cers = [cer([p], [r]).cer for p, r in zip(predictions, references, strict=True)]
    assert sum(clip_cers) / 2 == 0.5
    result = cer(predictions, references)
    assert (result.edits, result.characters, result.n) == (1, 9, 2)
    assert result.cer == pytest.approx(1 / 9)


def test_substitutions_deletions_and_insertions_count_one_each():
    assert cer(["我去中央"], ["我去中環"]).edits == 1
    assert cer(["我去環"], ["我去中環"]).edits == 1
    assert cer(["我去中環呀"], ["我去中環"]).edits == 1
    assert cer([""], ["我去中環"]).cer == 1
    assert cer(["呀呀呀呀呀"], ["係"]).cer == 5  # more wrong than there was to get right


def test_empty_references_are_left_out_and_counted():
    result = cer(["你好", "乜嘢"], ["你好", " 。"])
    assert (result.cer, result.n, result.n_empty_references) == (0, 1, 1)
    with pytest.raises(CantowhisperError, match="no reference"):
        cer(["你好"], [""])


def test_unequal_numbers_are_refused():
    with pytest.raises(CantowhisperError, match="2 predictions for 1"):
        cer(["a", "b"], ["a"])


def test_unknown_view_is_refused():
    with pytest.raises(UsageError, match="raw, no_punctuation, simplified"):
        cer(["a"], ["a"], view="wer")


def test_as_a_metric_of_evaluate():
    from cantowhisper.speech.metric import CharacterErrorRate

    metric = CharacterErrorRate()
    metric.add_batch(predictions=["食左飯未"], references=["食咗飯未呀？"])
    metric.add_batch(predictions=["边度"], references=["邊度"])
    result = metric.compute()
    assert (result["n"], result["characters"]) == (2, 7)
    assert result["cer_no_punctuation"] == pytest.approx(3 / 7)
    assert result["cer_simplified"] == pytest.approx(2 / 7)
    assert result["cer_raw"] == pytest.approx(4 / 8)
    low, high = result["cer_no_punctuation_interval"]
    assert low == pytest.approx(2 / 5) and high == pytest.approx(1 / 2)  # each of the two sentences twice
