"""What ends loops must leave right text alone, in any script: article 1 of the Declaration of Human Rights."""

import pytest
from declaration import ARTICLE_1
from tokenizers import Tokenizer

from cantowhisper.serving.hallucination import MAX_COMPRESSION_RATIO, compression_ratio, repeats
from cantowhisper.speech.context import MAX_TEXT_TOKENS, phrase_tokens, token_budget
from cantowhisper.speech.text import has_loop

CHARACTERS_PER_SECOND = {"yue": 8, "ja": 12, "ko": 10}  # fast speech; alphabets: 16


@pytest.fixture(scope="module")
def tokens(real_weights):
    encoder = Tokenizer.from_file(str(real_weights / "whisper-base" / "tokenizer.json"))
    return lambda text: encoder.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("language", ARTICLE_1)
def test_nothing_right_is_cut_or_flagged(tokens, language):
    text = ARTICLE_1[language]
    for end in range(10, len(text) + 1, 7):
        said = text[:end]
        needed = len(tokens(said))
        seconds = end / CHARACTERS_PER_SECOND.get(language, 16)
        assert needed < token_budget(seconds, language=language) or needed >= MAX_TEXT_TOKENS
        assert not repeats(said) and not has_loop(said)
    assert compression_ratio(text) < 0.75 * MAX_COMPRESSION_RATIO


@pytest.mark.parametrize("language", ARTICLE_1)
def test_a_second_try_may_write_what_is_right(tokens, language):
    ids, n = tokens(ARTICLE_1[language]), phrase_tokens(language)
    phrases = [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]
    assert len(phrases) == len(set(phrases))


@pytest.mark.parametrize("language", ARTICLE_1)
def test_loops_are_seen_in_every_script(language):
    start = ARTICLE_1[language][:12]
    assert repeats(start * 4)
    assert repeats(ARTICLE_1[language] * 6), "a loop of whole sentences is one by its ratio"
