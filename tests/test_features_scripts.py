"""Sentences of every script that Common Voice has go through a table and come out as they were written."""

import unicodedata

import pytest
import soundfile
from declaration import ARTICLE_1
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_features_release import rejected, sound, stored

from cantowhisper.features.pipeline import FeatureConfig, build_features
from cantowhisper.speech.rates import implausible_speed
from cantowhisper.speech.text import normalize

# Blocks of the scripts of Common Voice's locales: letters of each, as (first, last) code points.
SCRIPTS = {
    "Latin": (0x41, 0x17F),
    "Greek": (0x391, 0x3C9),
    "Cyrillic": (0x410, 0x44F),
    "Armenian": (0x561, 0x587),
    "Hebrew": (0x5D0, 0x5EA),
    "Arabic": (0x627, 0x64A),
    "Thaana": (0x780, 0x7B1),
    "Devanagari": (0x904, 0x939),
    "Bengali": (0x995, 0x9A8),
    "Gurmukhi": (0xA15, 0xA28),
    "Odia": (0xB15, 0xB28),
    "Tamil": (0xBA4, 0xBA4),
    "Telugu": (0xC15, 0xC28),
    "Malayalam": (0xD15, 0xD39),
    "Sinhala": (0xD9A, 0xDB1),
    "Thai": (0xE01, 0xE2E),
    "Lao": (0xE99, 0xE9F),
    "Georgian": (0x10D0, 0x10F0),
    "Ethiopic": (0x1200, 0x1248),
    "Ol Chiki": (0x1C5A, 0x1C77),
    "Kana": (0x3042, 0x3093),
    "Han": (0x4E00, 0x9FA5),
    "Han, Extension B": (0x20000, 0x2A6D6),
    "Hangul": (0xAC00, 0xD7A3),
}


def letters(script: str) -> st.SearchStrategy[str]:
    first, last = SCRIPTS[script]
    return st.characters(min_codepoint=first, max_codepoint=last, categories=("Lu", "Ll", "Lo"))


@pytest.mark.parametrize("script", SCRIPTS)
@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_letters_of_a_script_stay_what_they_are(script, data):
    text = data.draw(st.text(letters(script), min_size=4, max_size=40))
    said = normalize(text)
    assert said == unicodedata.normalize("NFC", said) == normalize(said), "once is enough"
    assert unicodedata.normalize("NFKC", said) == unicodedata.normalize("NFKC", text), "no letter is lost or added"
    seconds = max(1.0, len(said) / 8)
    assert not implausible_speed(said, seconds, "ka"), "eight letters a second are speech in an alphabet"


# Sentences of more bytes than a label has tokens ask for the tokenizer, which would have to come from the Hub.
SENTENCES = {language: text[:60].strip() for language, text in ARTICLE_1.items()}


@settings(deadline=None, max_examples=3, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.permutations(sorted(SENTENCES)))
def test_sentences_of_many_languages_pass_through_a_build(tmp_path_factory, languages):
    folder = tmp_path_factory.mktemp("scripts")
    lines = ["file\ttext\tlanguage"]
    for i, language in enumerate(languages):
        sentence = SENTENCES[language]
        soundfile.write(folder / f"{i}.wav", sound(max(1.0, len(sentence) / 10), pitch_hz=150 + 7 * i), 16_000)
        lines.append(f"{i}.wav\t{sentence}\t{language}")
    (folder / "metadata.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = FeatureConfig(workers=1, scoring_only=True, hold_out=0.0)
    build_features(str(folder), folder / "out", config=config, progress=False)
    found = {row["id"]: row for row in stored(folder / "out", "train", columns=["id", "text", "language"])}
    assert rejected(folder / "out") == []
    for i, language in enumerate(languages):
        assert found[f"{i}"]["text"] == normalize(SENTENCES[language])
