"""Sentences that nobody has read aloud → a language model beside a model's weights, which has a say in what is written.

How much say is chosen on validation clips, and none is a choice. Sentences that are much like what a validation or test
clip says are left out: they would be known by heart.
"""

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from cantowhisper.contracts import (
    LANGUAGE_MODEL_FILE,
    LANGUAGE_MODEL_REPORT_FILE,
    ONNX_FOLDER,
    CantowhisperError,
    ModelFacts,
    UsageError,
)
from cantowhisper.files import write_aside, write_json
from cantowhisper.speech.language import language_code
from cantowhisper.speech.ngram import NGram, NGramFacts
from cantowhisper.speech.text import n_spelled_unspaced, normalize, units
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.load import load_split
from cantowhisper.training.results.analysis import Transcript, measure, paired_difference
from cantowhisper.training.results.report import Ear
from cantowhisper.training.results.scoring import scoring_config

# More sentences may count more: beside whisper-base tuned on 60 clips, 9,444 took up to 0.2, and 129,312 up to 0.3.
WEIGHTS = (0.05, 0.1, 0.2, 0.3)
SHARED, LEAST_SHARED = 6, 3  # words in a row that make a sentence too much like a clip's; of a clip with fewer, all
LETTERS = 3  # of a short word, where words are written without spaces in letters: Thai, Lao, Khmer and Burmese


def add_language_model(
    model: str | os.PathLike,
    texts: Sequence[str | os.PathLike],
    *,
    features: str | os.PathLike,
    order: int = 3,
    weights: Sequence[float] = WEIGHTS,
    progress: bool = True,
) -> dict:
    """Count the sentences of text files, choose the weight on validation, and write `language_model.npz`.

    Parameters
    ----------
    model : a model folder; it may be a stock Whisper's
    texts : files, UTF-8, a sentence a line
    features : dataset whose validation clips choose the weight, and whose test clips are scored
    order : tokens in a run, 2 to 4
    weights : of the language model's log-probabilities, to choose from; without it (0) is always tried, too

    Returns
    -------
    {"language", "n_sentences", "n_characters", "left_out", "order", "weights": {weight: validation CER}, "weight",
    "validation": {"n"}, "test": {"before", "after": scores, "difference": analysis.paired_difference}}, as kept in
    `language_model.json`; "test" is missing where the dataset has no test clips

    Raises
    ------
    UsageError : `model` is no folder here, or a file of `texts` cannot be read
    CantowhisperError : no weight lowers the error rate on validation; nothing is written then
    """
    folder = Path(model)
    if not folder.is_dir():
        raise UsageError(f"{model} is no model folder here, and a language model is written into one; fetch it first")
    sentences = read_sentences(texts)
    rows, test = load_split(features, "validation"), _test_clips(features)
    model_facts = ModelFacts.load(folder)
    ear = Ear(folder, model_facts, scoring_config(model_facts, rows), [rows, test] if test else [rows], progress)
    kept = unheard(sentences, [*rows["text"], *(test["text"] if test else ())])
    ngram, spelling = learned(kept, ear.model, ear.processor, ear.config, order=order), ear.spelling

    def hear(clips, ngram: NGram | None) -> list[Transcript]:
        return ear.hear(clips, "variable", language_model=ngram)

    chosen, rates = choose_weight(ngram, weights, lambda ngram: hear(rows, ngram), spelling=spelling)
    if chosen is None:
        raise CantowhisperError(_no_use(rates, len(rows)))
    facts, characters = chosen.facts, sum(map(len, kept))
    report = {"language": facts.language, "n_sentences": len(kept), "n_characters": characters, "order": order}
    report |= {"left_out": len(sentences) - len(kept), "weight": facts.weight, "validation": {"n": len(rows)}}
    report |= {"weights": {f"{weight:g}": round(rate, 6) for weight, rate in rates.items()}}
    if test:
        report["test"] = _compared(hear(test, None), hear(test, chosen), spelling)
    write_language_model(folder, chosen, report)
    return report


def _no_use(rates: dict[float, float], n: int) -> str:
    tried = ", ".join(f"{weight:g}: {rate:.1%}" for weight, rate in rates.items())
    return (
        f"no weight lowers the error rate on {n} validation clips ({tried}), so nothing was written; more sentences "
        "may, or some that are more like what is said"
    )


def read_sentences(files: Iterable[str | os.PathLike]) -> list[str]:
    """The lines of text files, normalised, without empty ones and in their order, each once.

    Raises
    ------
    UsageError : a file cannot be read as UTF-8, or there is nothing in any
    """
    found: dict[str, None] = {}
    for file in files:
        try:
            lines = Path(file).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise UsageError(f"cannot read the sentences in {file}: {reason}") from error
        found |= dict.fromkeys(text for line in lines if (text := normalize(line)))
    if not found:
        raise UsageError("there is no sentence in these files; a line of text each")
    return list(found)


def unheard(sentences: Sequence[str], said: Iterable[str]) -> list[str]:
    """Sentences that are unlike all that is said, punctuation aside.

    Those are left out that are the same, that hold all of it, or that have six words in a row in common with it; a
    Chinese or Japanese character is a word, and so are three letters of Thai, Lao, Khmer or Burmese. Only what is
    shorter than three words may be a part of a sentence.

    >>> unheard(["我食咗飯未？", "去邊度"], ["食咗飯未"])
    ['去邊度']
    """
    known = [tuple(units(text)) for text in said]
    same = set(known)
    shared: dict[int, set] = {}  # runs that count, by their length
    for words in known:
        size = LETTERS if 2 * n_spelled_unspaced("".join(words)) > len(words) else 1
        if (n := min(len(words), SHARED * size)) >= LEAST_SHARED * size:
            shared.setdefault(n, set()).update(_runs(words, n))

    def is_known(words: tuple[str, ...]) -> bool:
        return words in same or any(not runs.isdisjoint(_runs(words, n)) for n, runs in shared.items())

    return [sentence for sentence in sentences if not is_known(tuple(units(sentence)))]


def _runs(words: tuple[str, ...], n: int) -> set[tuple[str, ...]]:
    return {words[start : start + n] for start in range(len(words) - n + 1)}


def learned(sentences: Iterable[str], model, processor, config: TrainConfig, *, order: int = 3) -> NGram:
    """A language model of sentences, in the tokens of a Whisper that writes the language of `config`."""
    tokenizer = processor.tokenizer
    first = tokenizer.convert_tokens_to_ids("<|0.00|>")
    facts = NGramFacts(
        language=language_code(config.language or config.language_token),
        vocabulary_size=model.config.vocab_size,
        end=model.generation_config.eos_token_id,
        first_timestamp=None if first in (None, tokenizer.unk_token_id) else first,
        order=order,
    )
    return NGram.learn((tokenizer(text, add_special_tokens=False).input_ids for text in sentences), facts)


def choose_weight(
    ngram: NGram,
    weights: Sequence[float],
    hear: Callable[[NGram | None], list[Transcript]],
    *,
    spelling: dict[str, str] | None = None,
) -> tuple[NGram | None, dict[float, float]]:
    """The model with the weight of the lowest error rate, None where that is 0; and {weight: CER} of all.

    hear : transcribes the validation clips with a language model, or None without
    """
    tried = {0.0: None, **{weight: ngram.weighing(weight) for weight in weights}}
    rates = {weight: measure(hear(one), spelling=spelling)["cer_no_punctuation"] for weight, one in tried.items()}
    return tried[min(rates, key=lambda weight: (rates[weight], weight))], rates


def _test_clips(features: str | os.PathLike):
    """The test split, or None where the dataset has none."""
    try:
        clips = load_split(features, "test")
    except CantowhisperError:
        return None
    return clips if len(clips) else None


def _compared(before: list[Transcript], after: list[Transcript], spelling: dict[str, str]) -> dict:
    return {
        "before": measure(before, spelling=spelling),
        "after": measure(after, spelling=spelling),
        "difference": paired_difference(before, after),
    }


def write_language_model(folder: Path, ngram: NGram, report: dict) -> None:
    """Put a language model, and what it is, into a model folder and its export."""
    with write_aside(folder / LANGUAGE_MODEL_FILE) as aside:
        ngram.save(aside)
    write_json(report, folder / LANGUAGE_MODEL_REPORT_FILE)
    if (folder / ONNX_FOLDER).is_dir():  # which is served alone, too
        with write_aside(folder / ONNX_FOLDER / LANGUAGE_MODEL_FILE) as aside:
            shutil.copyfile(folder / LANGUAGE_MODEL_FILE, aside)
