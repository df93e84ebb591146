"""Languages by whatever name people give them, and the token that a tokenizer has for each."""

import pytest

from cantowhisper.contracts import UsageError
from cantowhisper.speech.language import (
    both_names,
    is_tag,
    known_languages,
    language_code,
    language_tag,
    language_token,
    stand_in,
    usual_script,
    written_with_spaces,
)
from cantowhisper.speech.relatives import BRANCHES, WHISPER, relatives

OLDER = {"<|en|>": 1, "<|zh|>": 2, "<|translate|>": 3, "<|notimestamps|>": 4}
NEWER = {**OLDER, "<|yue|>": 5}


@pytest.fixture(scope="module")
def whisper():
    """All language tokens of large-v3."""
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    return {f"<|{code}|>": number for number, code in enumerate(LANGUAGES)}


@pytest.mark.parametrize(
    "language", ["yue", "Cantonese", "粵語", "zh-HK", "zh_HK", "zh-Hant-HK", "zh-yue", "<|yue|>", "zh-MO"]
)
def test_cantonese_is_yue_where_the_vocabulary_has_it_and_zh_elsewhere(language):
    assert language_token(NEWER, language) == "<|yue|>"
    assert language_token(OLDER, language) == "<|zh|>"


@pytest.mark.parametrize(
    "language", ["zh", "Mandarin", "Chinese", "zh-CN", "zh-TW", "cmn", "cmn-Hans-CN", "cmn-Hant-HK"]
)
def test_mandarin(language):
    assert language_token(NEWER, language) == "<|zh|>"


@pytest.mark.parametrize(
    ("language", "token"),
    [
        ("jv", "<|jw|>"),
        ("Javanese", "<|jw|>"),
        ("nb", "<|no|>"),
        ("nb-NO", "<|no|>"),
        ("nn-NO", "<|nn|>"),
        ("fil", "<|tl|>"),
        ("eng", "<|en|>"),
        ("deu", "<|de|>"),
        ("ger", "<|de|>"),
        ("German", "<|de|>"),
        ("sv-SE", "<|sv|>"),
        ("pa-IN", "<|pa|>"),
        ("hy-AM", "<|hy|>"),
        ("iw", "<|he|>"),
        ("be-tarask", "<|be|>"),
        ("arb", "<|ar|>"),
        ("swh", "<|sw|>"),
        ("Burmese", "<|my|>"),
        ("Haitian Creole", "<|ht|>"),
    ],
)
def test_other_codes_of_a_language_find_its_token(whisper, language, token):
    assert language_token(whisper, language) == token


def test_the_list_of_stock_tokens_is_whispers(whisper):
    assert [f"<|{code}|>" for code in [*WHISPER, "yue"]] == list(whisper)


def test_tags_keep_region_and_script():
    assert [language_tag(x) for x in ("zh_hk", "SR-latn", "German", "<|jw|>")] == ["zh-HK", "sr-Latn", "de", "jv"]


def test_every_token_is_that_of_its_own_language(whisper):
    assert all(language_token(whisper, token) == token for token in whisper)
    assert all(language_token(whisper, language_code(token)) == token for token in whisper)


def test_a_language_without_a_token_is_refused_and_the_known_ones_are_named():
    with pytest.raises(UsageError, match=r"no token for 'de'.*en, zh"):
        language_token(OLDER, "de")
    with pytest.raises(UsageError, match=r"no token for 'ko' \(Korean\); it knows: en, zh"):
        language_token(OLDER, "ko")
    with pytest.raises(UsageError, match="no token"):
        language_token({"<|translate|>": 0}, "cantonese")


@pytest.mark.parametrize(
    ("language", "relative"),
    [
        ("ky", "kk"),
        ("ug", "uz"),
        ("ga-IE", "cy"),
        ("fy-NL", "nl"),
        ("zu", "sn"),
        ("or", "bn"),
        ("ckb", "fa"),
        ("gn", "es"),
    ],
)
def test_relatives_that_have_a_token_are_named(whisper, language, relative):
    with pytest.raises(UsageError, match=rf"--set language_token={relative}\b"):
        language_token(whisper, language)


def test_the_families_know_languages_only():
    for line in BRANCHES:
        codes = line.split()
        assert len(codes) == len(set(codes)) and all(is_tag(code) for code in codes), line
    assert all(stand_in(code) == "" for code in WHISPER) and stand_in("tok") == "en" and stand_in("hac") == "fa"
    assert relatives("kk", ["kk"]) == [], "a language is no relative of itself"


@pytest.mark.parametrize("language", ["", "12", "no such tongue", "<|translate|>", "und", "zxx"])
def test_what_is_no_language_is_refused(language):
    with pytest.raises(UsageError, match="is no language"):
        language_code(language)


def test_names_for_menus():
    assert both_names("yue") == both_names("zh-HK") == "粵語 Cantonese"
    assert both_names("en") == "English" and both_names("jw") == "Jawa Javanese"


def test_which_languages_have_spaces():
    without = ["yue", "zh-TW", "cmn", "ja", "th", "lo", "km", "my", "bo", "nan-tw"]
    assert not any(written_with_spaces(code) for code in without)
    assert all(written_with_spaces(code) for code in ["en", "ko", "vi", "ta", "ka", "am", "ar", "ru"])
    assert (usual_script("zh-TW"), usual_script("yue"), usual_script("zh")) == ("Hant", "Hant", "Hans")


def test_the_real_tokenizer_has_no_cantonese(real_weights):
    """Its `language="cantonese"` silently becomes <|translate|>; ours becomes Chinese."""
    from transformers import WhisperTokenizer

    tokenizer = WhisperTokenizer.from_pretrained(real_weights / "whisper_tokenizer")
    tokenizer.set_prefix_tokens(language="cantonese", task="transcribe")
    trap = tokenizer.convert_ids_to_tokens(tokenizer.prefix_tokens)
    assert "<|yue|>" not in trap, "the trap is gone: the note in language.py can go too"
    token = language_token(tokenizer, "cantonese")
    assert token == "<|zh|>"
    assert tokenizer.convert_tokens_to_ids(token) == 50260
    assert len(known_languages(tokenizer.get_vocab())) == 99
