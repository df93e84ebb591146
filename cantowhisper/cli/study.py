"""The command `study`."""

import argparse
from pathlib import Path

from cantowhisper.cli.demo import default_preset
from cantowhisper.cli.options import add_set_option, whole_number
from cantowhisper.cli.training import preset_named, train_options


def add_study(subparsers) -> argparse.ArgumentParser:
    command = subparsers.add_parser("study", help="what lowers the error rate: variants of training, over seeds")
    command.add_argument("study", metavar="NAME", help="one of those below; --list shows them, too")
    command.add_argument("features", help="feature dataset: folder or Hub id")
    command.add_argument("out", type=Path, help="folder for results.json, table.md and plot.png")
    command.add_argument("--model", help="what is tuned (default: that of the preset; without one, a miniature)")
    command.add_argument("--seeds", type=whole_number, default=3, help="runs of each variant (default: 3)")
    command.add_argument("--steps", type=whole_number, help="of a run (default: those of the preset)")
    command.add_argument(
        "--other", help="languages: features of another language; size: another model; noise: the model that cleans"
    )
    command.add_argument("--preset", help="default: demo; with --model t4, or cpu where there is no GPU")
    add_set_option(command)
    command.add_argument("--list", action=_List, nargs=0, help="show what each study asks, and end")
    command.more_help = lambda: f"{_studies()}\n\n{train_options()}"
    command.set_defaults(run=run_study)
    return command


class _List(argparse.Action):
    def __call__(self, parser, *_):
        print(_studies())
        parser.exit()


def _studies() -> str:
    from cantowhisper.studies.variants import STUDIES

    width = max(map(len, STUDIES))
    return "studies:\n\n" + "\n".join(f"  {name.ljust(width)}  {study.asks}" for name, study in STUDIES.items())


def run_study(arguments) -> None:
    config = _config(arguments)
    from cantowhisper.studies import study
    from cantowhisper.studies.table import report_lines

    results = study.run_study(
        arguments.study,
        arguments.features,
        arguments.out,
        config=config,
        n_seeds=arguments.seeds,
        other=arguments.other,
    )
    print(*report_lines(results, n_planned=len(results["variants"]) * arguments.seeds), sep="\n")
    print(f"{arguments.out}: results.json, table.md, plot.png")


def _config(arguments):
    """The preset with what --set, --model and --steps change of it."""
    from cantowhisper.studies.variants import COUNTED
    from cantowhisper.training.config import TrainConfig

    changes = TrainConfig.read(arguments.set)
    if arguments.model:
        changes["model"] = arguments.model
    if arguments.steps:
        # What a preset counts in steps is for its own length: these follow from the new one, unless they are set.
        changes = {**dict.fromkeys(COUNTED), **changes, "max_steps": arguments.steps}
    preset = preset_named(arguments.preset or default_preset(changes.get("model")))
    return preset.with_overrides(**changes)
