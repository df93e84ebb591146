"""The commands that decide what a model learns from: clean, pseudo-label, language-model."""

import argparse
import shlex
from pathlib import Path

from cantowhisper.cli.features import SOURCE_HELP, next_command
from cantowhisper.cli.options import add_set_option, whole_number
from cantowhisper.features.config import FeatureConfig


def share(text: str, *, least: float = 0.0) -> float:
    """A number from `least` to 1, or a percentage, for argparse."""
    try:
        number = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        number = -1.0
    if not least <= number <= 1:
        raise argparse.ArgumentTypeError(f"takes a number from {least:g} to 1, not {text!r}")
    return number


def add_clean(subparsers) -> argparse.ArgumentParser:
    command = subparsers.add_parser("clean", help="feature dataset + model → the dataset without wrong texts")
    command.add_argument("features", help="feature dataset: folder or Hub id")
    command.add_argument(
        "out", type=Path, help="feature dataset to write; what is dropped is listed in OUT/dropped.tsv"
    )
    command.add_argument("--model", required=True, help="model folder or Hub id; a stock Whisper will do")
    command.add_argument(
        "--recall",
        type=lambda text: share(text, least=0.5),
        metavar="SHARE",
        help="of wrong texts to be found (default: 99%% of texts of other recordings, 90 to 95%% of others)",
    )
    command.add_argument("--recordings", metavar="SOURCE", help="copy the sound of dropped clips to OUT.dropped/")
    command.set_defaults(run=run_clean)
    return command


def run_clean(arguments) -> None:
    from cantowhisper.curation.clean import clean

    stats = clean(
        arguments.features,
        arguments.out,
        model=arguments.model,
        recall=arguments.recall,
        recordings=arguments.recordings,
    )
    cleaned = stats["cleaned"]
    for reason, n in cleaned["dropped"].items():
        print(f"{n:>7} clips dropped: {reason}")
    print(
        f"{sum(cleaned['dropped'].values())} of {cleaned['clips']} training clips (see {arguments.out / 'dropped.tsv'})"
    )
    if arguments.recordings:
        print(f"their sound: {arguments.out.with_name(arguments.out.name + '.dropped')}")
    print(f"next: {next_command(str(arguments.out), stats)}")


def add_pseudo_label(subparsers) -> argparse.ArgumentParser:
    command = subparsers.add_parser("pseudo-label", help="untranscribed recordings + model → feature dataset")
    command.add_argument("source", type=Path, help="folder of recordings")
    command.add_argument("out", type=Path, help="feature dataset to write; transcripts are kept in OUT.pseudo/")
    command.add_argument("--model", required=True, help="model folder or Hub id")
    command.add_argument("--language", help="code or name; default: what the model was trained for, or hears")
    command.add_argument("--confidence", type=share, metavar="SHARE", help="the least that is kept (default: 0.6)")
    command.add_argument("--with", dest="labelled", metavar="SOURCE", help=f"add transcribed clips: {SOURCE_HELP}")
    command.add_argument("--threads", type=whole_number, help="CPU threads (default: all cores)")
    add_set_option(command)
    command.more_help = lambda: f"options, as --set takes them:\n\n{FeatureConfig.help()}"
    command.set_defaults(run=run_pseudo_label)
    return command


def run_pseudo_label(arguments) -> None:
    settings = FeatureConfig.read(arguments.set)
    FeatureConfig.from_dict(settings)  # refused before the work
    from cantowhisper.curation.pseudo import CONFIDENCE, pseudo_label

    confidence = CONFIDENCE if arguments.confidence is None else arguments.confidence
    done = pseudo_label(
        arguments.source,
        arguments.out,
        model=arguments.model,
        language=arguments.language,
        confidence=confidence,
        labelled=arguments.labelled,
        settings=settings,
        threads=arguments.threads,
    )
    for split, row in done.stats["splits"].items():
        print(f"{split:<11} {row['clips']:>7} clips {row['hours']:>8.2f} h")
    n = sum(done.stats.get("pseudo_labelled", {}).values())
    print(f"pseudo-labelled {n:>3} of {done.n_clips} clips, those with a confidence of {confidence:g} or more")
    if done.n_unreadable:
        print(f"unreadable  {done.n_unreadable:>7} recordings")
    table = f"{done.table},recordings={arguments.source},confidence={confidence:g}"
    print(f"to mix it with other sources: cantowhisper features {shlex.quote(f'SOURCE+{table}')} OUT")
    print(f"next: {next_command(str(arguments.out), done.stats)}")


def add_language_model(subparsers) -> argparse.ArgumentParser:
    command = subparsers.add_parser(
        "language-model", help="model + sentences that nobody has read aloud → fewer wrong words"
    )
    command.add_argument("model", type=Path, help="model folder; the language model is written into it")
    command.add_argument("texts", nargs="+", type=Path, help="text files, UTF-8, a sentence a line")
    command.add_argument(
        "--features",
        required=True,
        help="feature dataset (folder or Hub id) whose validation clips choose how much it counts",
    )
    command.add_argument("--order", type=int, choices=(2, 3, 4), default=3, help="tokens in a run (default: 3)")
    command.set_defaults(run=run_language_model)
    return command


def run_language_model(arguments) -> None:
    from cantowhisper.contracts import LANGUAGE_MODEL_FILE
    from cantowhisper.curation.language_model import add_language_model
    from cantowhisper.training.results.tables import points

    done = add_language_model(arguments.model, arguments.texts, features=arguments.features, order=arguments.order)
    left_out = f"; {done['left_out']:,} left out, much like what clips say" if done["left_out"] else ""
    print(f"{done['n_sentences']:,} sentences, {done['n_characters']:,} characters{left_out}")
    for weight, rate in done["weights"].items():
        print(f"weight {weight:<5} validation CER {rate:.2%}")
    print(f"weight {done['weight']:g} is best: {arguments.model / LANGUAGE_MODEL_FILE}")
    if test := done.get("test"):
        low, high = test["difference"]["interval"]
        print(
            f"test CER {test['before']['cer_no_punctuation']:.2%} → {test['after']['cer_no_punctuation']:.2%} "
            f"(95 % interval of the difference: {points(low)} to {points(high)} points, n={test['difference']['n']})"
        )
    print(f"next: cantowhisper transcribe RECORDING --model {shlex.quote(str(arguments.model))}")
