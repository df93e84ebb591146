"""The command `features`."""

import argparse
import shlex
from pathlib import Path

from cantowhisper.cli.options import add_set_option, add_shortcut_option
from cantowhisper.features.config import FeatureConfig

SHORTCUTS = ("split_policy", "max_hours", "storage", "workers", "engine", "strict")  # options with a flag of their own
SOURCE_HELP = (
    "samples, a Common Voice release (folder or .tar.gz), mdc:DATASET_ID, hub:owner/name[:config][@revision], or a "
    "folder of recordings with a table, subtitles or text files; several as A+B, each with options: "
    "A,hours=100,weight=3+B,weight=1"
)


def add_features(subparsers) -> argparse.ArgumentParser:
    command = subparsers.add_parser("features", help="recordings → feature dataset")
    command.add_argument("source", help=SOURCE_HELP)
    command.add_argument("out", type=Path, help="folder to write")
    add_set_option(command)
    for name in SHORTCUTS:
        add_shortcut_option(command, FeatureConfig, name)
    command.add_argument(
        "--hold-out",
        default=[],
        dest="set",
        action="append",
        metavar="SHARE",
        type=lambda text: f"hold_out={float(text.rstrip('%')) / 100 if text.endswith('%') else text}",
        help="such as 5%% of the speakers: see hold_out below",
    )
    command.add_argument(
        "--align-with",
        metavar="MODEL",
        help="cut recordings longer than max_seconds at pauses where this model's transcript agrees with their text",
    )
    command.add_argument("--push", metavar="OWNER/NAME", help="then upload to the Hugging Face Hub, privately")
    command.add_argument("--public", action="store_true", help="with --push: let everybody read it")
    command.more_help = lambda: f"options, as --set takes them:\n\n{FeatureConfig.help()}"
    command.set_defaults(run=run_features)
    return command


def run_features(arguments) -> None:
    config = FeatureConfig.from_dict(FeatureConfig.read(arguments.set))
    from cantowhisper.features.pipeline import build_features

    source = arguments.source
    if arguments.align_with:
        from cantowhisper.curation.align import aligned

        source = aligned(source, arguments.out, model=arguments.align_with, config=config)
    stats = build_features(source, arguments.out, config=config)
    for split, row in stats["splits"].items():
        print(f"{split:<11} {row['clips']:>7} clips {row['hours']:>8.2f} h {row['speakers']:>5} speakers")
    print(f"rejected    {stats['n_rejected']:>7} clips (see {arguments.out / 'rejected.tsv'})")
    if by := stats.get("pseudo_labelled"):
        print(f"pseudo-labelled {sum(by.values()):>3} clips, by {', '.join(by)}")
    if hours := stats.get("hours_too_long"):
        print(f"too long    {hours:>18.2f} h of these: with subtitles beside them (talk.srt), they are cut at the cues")
    features = arguments.out
    if arguments.push:
        from cantowhisper.features.push import push

        print(f"pushed to {push(arguments.out, arguments.push, public=arguments.public)}")
        features = arguments.push
    print(f"next: {next_command(str(features), stats)}")


def next_command(features: str, stats: dict) -> str:
    """The command to go on with, which is right as it stands: with a token, a model and splits that there are."""
    from cantowhisper.speech.language import stand_in

    if "validation" not in stats["splits"]:
        return "training selects on a validation split, and there is none: hold some clips out (a column `split`)"
    large = stats["identity"]["n_mels"] == 128  # large-v3 and turbo, which know Cantonese by a token of its own
    settings = ["model=openai/whisper-large-v3-turbo"] if large else []
    if relative := stand_in(stats["language"]):
        settings.append(f"language_token={relative}")
    options = "".join(f" --set {setting}" for setting in settings)
    return f"cantowhisper train {shlex.quote(features)} MODEL{options}"
