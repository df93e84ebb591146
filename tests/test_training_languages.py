"""The language goes with the data: what features say decides the token, and what disagrees is refused."""

import json
import shutil

import pytest
from training_data import small_features, small_split
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from cantowhisper.contracts import UsageError
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.languages import card_language, check_tokens, main_language, token_of, with_language

TOKENS = {f"<|{code}|>": number for number, code in enumerate(LANGUAGES) if code != "yue"}
# Locales of Common Voice with the token of whisper-tiny … large-v2 that is theirs, or the relative that lends one.
LOCALES = {
    "ar": "ar", "ba": "ba", "be": "be", "bn": "bn", "ca": "ca", "cy": "cy", "de": "de", "el": "el", "en": "en",
    "eu": "eu", "fa": "fa", "fr": "fr", "ha": "ha", "hy-AM": "hy", "ja": "ja", "jv": "jw", "ka": "ka", "lv": "lv",
    "nb-NO": "no", "nn-NO": "nn", "pa-IN": "pa", "sv-SE": "sv", "sw": "sw", "ta": "ta", "th": "th", "tl": "tl",
    "uz": "uz", "yue": "zh", "zh-CN": "zh", "zh-HK": "zh", "zh-TW": "zh",
}  # fmt: skip
RELATIVES = {
    "ky": "kk", "ug": "uz", "ga-IE": "cy", "fy-NL": "nl", "zu": "sn", "or": "bn", "ckb": "fa", "ast": "es", "hsb": "pl",
    "kmr": "fa", "rw": "sw", "sah": "kk",
}  # fmt: skip


@pytest.mark.parametrize("locale", LOCALES)
def test_a_locale_has_its_token(locale):
    assert token_of(TOKENS, locale, TrainConfig(language=locale)) == f"<|{LOCALES[locale]}|>"


@pytest.mark.parametrize("locale", RELATIVES)
def test_one_without_a_token_names_a_relative_under_which_it_trains(locale):
    with pytest.raises(UsageError, match=f"--set language_token={RELATIVES[locale]}"):
        token_of(TOKENS, locale, TrainConfig(language=locale))
    config = TrainConfig(language=locale, language_token=RELATIVES[locale])
    assert token_of(TOKENS, locale, config) == f"<|{RELATIVES[locale]}|>"
    assert token_of(TOKENS, "de", config) == "<|de|>", "other languages of a mixture keep their own"


def test_the_features_say_the_language_and_another_is_refused_with_both_names():
    split = small_split("validation")
    assert main_language(split) == card_language(small_features()) == "yue"
    assert with_language(TrainConfig(), split).language == "yue"
    assert with_language(TrainConfig(language="cantonese"), split).language == "cantonese"
    with pytest.raises(UsageError, match=r"features are yue \(Cantonese\), and language=de is German"):
        with_language(TrainConfig(language="de"), split)
    silent = split.remove_columns("language").add_column("language", [""] * len(split))
    with pytest.raises(UsageError, match="do not say"):
        with_language(TrainConfig(), silent)
    assert with_language(TrainConfig(language="ta"), silent).language == "ta"


def test_a_language_that_nothing_can_write_is_refused_before_training():
    split = small_split("validation")
    mixed = split.remove_columns("language").add_column("language", ["yue"] * (len(split) - 1) + ["ky"])
    with pytest.raises(UsageError, match="no token for 'ky'"):
        check_tokens(TOKENS, mixed, TrainConfig(language="yue"))
    check_tokens(TOKENS, mixed, TrainConfig(language="yue", language_token="zh"))


def test_older_features_have_the_language_of_their_card(tmp_path):
    import pyarrow.parquet as pq

    from cantowhisper.training.data.load import load_split

    folder = tmp_path / "old"
    shutil.copytree(small_features(), folder)
    (shard,) = (folder / "data").glob("validation-*.parquet")
    pq.write_table(
        pq.read_table(shard).drop_columns(["language", "gender", "age"]).replace_schema_metadata(None), shard
    )
    stats = json.loads((folder / "stats.json").read_text(encoding="utf-8"))
    (folder / "stats.json").write_text(json.dumps(stats | {"language": "zh-TW"}), encoding="utf-8")
    old = load_split(folder, "validation")
    assert set(old["language"]) == {"zh-TW"} and set(old["gender"]) == set(old["age"]) == {""}
