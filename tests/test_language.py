"""Language tokens: the older Whisper tokenizers have none for Cantonese."""

import pytest

from cantowhisper.contracts import UsageError
from cantowhisper.speech.language import known_languages, language_code, language_token

OLDER = {"<|en|>": 1, "<|zh|>": 2, "<|translate|>": 3, "<|notimestamps|>": 4}
NEWER = {**OLDER, "<|yue|>": 5}


@pytest.mark.parametrize("language", ["yue", "Cantonese", "zh-HK", "zh_HK", "<|yue|>"])
def test_cantonese_is_yue_where_the_vocabulary_has_it_and_zh_elsewhere(language):
    assert language_token(NEWER, language) == "<|yue|>"
    assert language_token(OLDER, language) == "<|zh|>"


@pytest.mark.parametrize("language", ["zh", "Mandarin", "zh-CN", "zh-TW", "cmn"])
def test_mandarin(language):
    assert language_token(NEWER, language) == "<|zh|>"


def test_a_language_without_a_token_is_refused_and_the_known_ones_are_named():
    with pytest.raises(UsageError, match=r"no token for 'de'.*en, zh"):
        language_token(OLDER, "de")
    with pytest.raises(UsageError, match="no token"):
        language_token({"<|translate|>": 0}, "cantonese")


@pytest.mark.parametrize("language", ["", "12", "Klingon language", "<|translate|>"])
def test_what_is_no_language_is_refused(language):
    with pytest.raises(UsageError, match="is no language"):
        language_code(language)


def test_the_real_tokenizer_has_no_cantonese(real_weights):
    """Its `language="cantonese"` silently becomes <|translate|>; ours becomes Chinese."""
    from transformers import WhisperTokenizer

    tokenizer = WhisperTokenizer.from_pretrained(real_weights / "whisper_tokenizer")
    tokenizer.set_prefix_tokens(language="cantonese", task="transcribe")
    trap = tokenizer.convert_ids_to_tokens(tokenizer.prefix_tokens)
    assert "<|yue|>" not in trap, "the trap is gone: the note in FACTS and in language.py can go too"
    token = language_token(tokenizer, "cantonese")
    assert token == "<|zh|>"
    assert tokenizer.convert_tokens_to_ids(token) == 50260
    assert len(known_languages(tokenizer.get_vocab())) == 99
