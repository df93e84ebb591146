"""Features, two training steps and a score in languages of a long list: each under its own token, or a relative's."""

import json

import numpy as np
import pytest
import soundfile
from declaration import ARTICLE_1
from test_training_languages import LOCALES, RELATIVES
from training_runs import TINY

from cantowhisper.contracts import ModelFacts, UsageError
from cantowhisper.features.pipeline import FeatureConfig, build_features
from cantowhisper.speech.language import language_code, usual_script, written_with_spaces
from cantowhisper.speech.mel import SAMPLE_RATE
from cantowhisper.training.results.report import score_folder
from cantowhisper.training.trainer import train


def sentences(locale: str) -> list[str]:
    """Six different parts of article 1 in the language, or in one of the same script."""
    code = language_code(locale)
    of_script = [text for other, text in ARTICLE_1.items() if usual_script(other) == usual_script(code)]
    text = ARTICLE_1.get(code, of_script[0] if of_script else ARTICLE_1["en"])
    length = len(text) // 7
    return [text[i * length : (i + 1) * length].strip() for i in range(6)]


def release(folder, locale: str):
    """A Common Voice folder of two clips a split, whose sound is a tone that wavers."""
    clips = folder / locale / "clips"
    clips.mkdir(parents=True)
    t, texts = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE, sentences(locale)
    for n, table in enumerate(("train", "dev", "test")):
        rows = ["client_id\tpath\tsentence\tup_votes\tdown_votes\tlocale"]
        for i in range(2):
            name = f"common_voice_{locale}_{table}{i}.wav"
            soundfile.write(
                clips / name, 0.2 * np.sin(2 * np.pi * (200 + 50 * (2 * n + i)) * t + np.sin(20 * t)), SAMPLE_RATE
            )
            rows.append(f"{table}{i}\t{name}\t{texts[2 * n + i]}\t2\t0\t{locale}")
        (folder / locale / f"{table}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder / locale


@pytest.mark.slow
@pytest.mark.parametrize("locale", [*LOCALES, *RELATIVES])
def test_a_language_goes_all_the_way(tmp_path, locale):
    features, out = tmp_path / "features", tmp_path / "model"
    build_features(str(release(tmp_path, locale)), features, config=FeatureConfig(workers=1), progress=False)
    config = TINY.with_overrides(language="", max_steps=2, evaluate_every_steps=2, save_every_steps=2, batch_size=2)
    if locale in RELATIVES:
        with pytest.raises(UsageError, match=f"--set language_token={RELATIVES[locale]}"):
            train(features, out, config=config, progress=False)
        config = config.with_overrides(language_token=RELATIVES[locale])
    train(features, out, config=config, progress=False)
    token = f"<|{RELATIVES.get(locale) or LOCALES[locale]}|>"
    facts = ModelFacts.load(out)
    assert facts.language_token == token and language_code(facts.language) == language_code(locale)
    generation = json.loads((out / "generation_config.json").read_text(encoding="utf-8"))
    assert generation["language"] in (token, token.strip("<|>"))
    report = score_folder(out, features)
    scores = report["scores"]["variable"]["all"]
    assert scores["n"] == 2
    assert ("wer_no_punctuation" in scores) == written_with_spaces(language_code(locale))
