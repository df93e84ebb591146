"""Sentences and the character error rate."""

import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cantowhisper.contracts import CantowhisperError, UsageError
from cantowhisper.speech.text import cer, cer_view, normalize, to_script


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("  食咗飯  未呀？\n", "食咗飯 未呀？"),
        ("食\u200b咗\ufeff飯", "食咗飯"),  # zero-width space, byte order mark
        ("cafe\u0301", "caf\u00e9"),
        ("食\u3000飯", "食 飯"),  # ideographic space
        ("\t\n", ""),
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
    ],
)
def test_no_punctuation_view(written, compared):
    assert cer_view(written, "no_punctuation") == compared


@given(
    st.characters(categories=["P", "S", "Z", "Cc", "Cf", "Co", "Cn"]), st.sampled_from(["no_punctuation", "simplified"])
)
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
