"""The command `features`."""

import argparse
from pathlib import Path

from cantowhisper.cli.options import add_set, overrides

SETTINGS = ("split_policy", "max_hours", "storage", "workers", "engine", "strict")
SOURCE_HELP = (
    "samples, a Common Voice release (folder or .tar.gz), mdc:DATASET_ID, hub:owner/name[:config][@revision], or a "
    "folder with a .tsv, .csv or .jsonl table; several as A+B, each with options: A,hours=100,weight=3+B,weight=1"
)


def features_command(commands) -> argparse.ArgumentParser:
    command = commands.add_parser("features", help="recordings → feature dataset")
    command.add_argument("source", help=SOURCE_HELP)
    command.add_argument("out", type=Path, help="folder to write")
    command.add_argument("--split-policy", help="official (default) or validated: all validated minus dev and test")
    command.add_argument("--max-hours", type=float, metavar="H", help="training hours at most, by whole speakers")
    command.add_argument(
        "--storage", help="float16 (default) or uint8: 256 steps a clip, smaller; effect on CER unmeasured"
    )
    command.add_argument("--workers", type=int, help="processes (default: all cores)")
    command.add_argument("--engine", help="local (default) or ray: the cluster that RAY_ADDRESS names, or this machine")
    command.add_argument("--strict", action="store_true", default=None, help="any clip that is not usable is an error")
    command.add_argument("--push", metavar="OWNER/NAME", help="then upload to the Hugging Face Hub, privately")
    command.add_argument("--public", action="store_true", help="with --push: let everybody read it")
    add_set(command)
    command.set_defaults(run=_run)
    return command


def _run(arguments) -> None:
    from cantowhisper.features.pipeline import FeatureConfig, build_features

    settings = overrides(arguments.set)
    settings |= {name: getattr(arguments, name) for name in SETTINGS if getattr(arguments, name) is not None}
    stats = build_features(arguments.source, arguments.out, config=FeatureConfig.from_dict(settings))
    for split, row in stats["splits"].items():
        print(f"{split:<11} {row['clips']:>7} clips {row['hours']:>8.2f} h {row['speakers']:>5} speakers")
    print(f"rejected    {stats['n_rejected']:>7} clips (see {arguments.out / 'rejected.tsv'})")
    features = arguments.out
    if arguments.push:
        from cantowhisper.features.push import push

        print(f"pushed to {push(arguments.out, arguments.push, public=arguments.public)}")
        features = arguments.push
    print(f"next: cantowhisper train {features} MODEL")
