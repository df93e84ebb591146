"""The commands of the training room: train, score, export."""

import argparse
import os
import sys
from pathlib import Path

from cantowhisper.cli.options import add_set_option, whole_number
from cantowhisper.contracts import UsageError


def add_train(subparsers) -> argparse.ArgumentParser:
    command = subparsers.add_parser("train", help="feature dataset → model; resumes by itself")
    command.add_argument("features", help="feature dataset: folder or Hub id")
    command.add_argument("out", type=Path, help="model folder to write")
    command.add_argument("--preset", default="t4", help="demo, cpu, t4 (default) or gpu")
    add_set_option(command)
    command.more_help = train_options
    command.set_defaults(run=run_train)
    return command


def train_options() -> str:
    """Help on what `--set` takes."""
    from cantowhisper.training.config import TrainConfig
    from cantowhisper.training.presets import PRESETS

    return f"options, as --set takes them, with what presets change:\n\n{TrainConfig.help(PRESETS)}"


def run_train(arguments) -> None:
    preset = preset_named(arguments.preset)
    config = preset.with_overrides(**preset.read(arguments.set))
    from cantowhisper.training.run import processes
    from cantowhisper.training.run.callbacks import shown_rates
    from cantowhisper.training.run.plan import little_data
    from cantowhisper.training.trainer import train

    metrics = train(arguments.features, arguments.out, config=config)
    if not processes.is_main():
        return
    best = metrics["validation"]
    rates = shown_rates(best, digits=2)
    print(f"validation {rates} at step {metrics['best_step']} (no punctuation, n={best['n']})")
    if few := little_data(metrics["data"], best["n"]):
        print(few)
    print(f"next: cantowhisper score {arguments.out} {arguments.features}")


def add_adapt(subparsers) -> argparse.ArgumentParser:
    command = subparsers.add_parser("adapt", help="untranscribed speech + model → the model, at home in short inputs")
    command.add_argument("model", help="model folder or Hub id")
    command.add_argument("audio", type=Path, help="folder of recordings in any language; nobody's transcript is needed")
    command.add_argument("out", type=Path, help="model folder to write")
    command.add_argument("--language", help="of the recordings (default: detected)")
    command.add_argument("--steps", type=whole_number, help="of eight pieces (default: 60)")
    command.add_argument("--max-clips", type=whole_number, help="pieces of 10 s at the most (default: 240)")
    command.add_argument("--groups", type=whole_number, help="the window's silence is merged into (default: 48)")
    command.set_defaults(run=run_adapt)
    return command


def run_adapt(arguments) -> None:
    from cantowhisper.training.adapt import AdaptConfig, adapt

    if not arguments.audio.is_dir():
        raise UsageError(f"{arguments.audio} is no folder; give one with recordings")
    given = {name: getattr(arguments, name) for name in ("steps", "max_clips", "groups") if getattr(arguments, name)}
    adapt(arguments.model, arguments.audio, arguments.out, config=AdaptConfig(**given), language=arguments.language)
    print(f"next: cantowhisper transcribe RECORDING --model {arguments.out}")


def add_score(subparsers) -> argparse.ArgumentParser:
    command = subparsers.add_parser("score", help="character error rates of a model on a split")
    command.add_argument("model", help="model folder or Hub id")
    command.add_argument("features", help="feature dataset: folder or Hub id")
    command.add_argument("--split", default="test", choices=("train", "validation", "test"))
    command.add_argument(
        "--context", choices=("full", "variable", "both"), help="default: what the model was trained for"
    )
    command.add_argument("--before", metavar="MODEL", help="also score the model that it was tuned from")
    command.add_argument(
        "--canary",
        metavar="FEATURES",
        action="append",
        default=[],
        help="also score both models on this dataset, of another language or subject: what was forgotten (repeatable)",
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="also write the report here")
    command.add_argument("--transcripts", type=Path, metavar="FILE", help="also write every clip, worst first (TSV)")
    command.set_defaults(run=run_score)
    return command


def run_score(arguments) -> None:
    from cantowhisper.files import write_json
    from cantowhisper.training.results.report import score_folder
    from cantowhisper.training.results.tables import report_lines

    context = arguments.context
    contexts = None if context is None else ("variable", "full") if context == "both" else (context,)
    report = score_folder(
        arguments.model,
        arguments.features,
        split=arguments.split,
        contexts=contexts,
        transcripts=arguments.transcripts,
        before=arguments.before,
        canaries=arguments.canary,
        progress=True,
    )
    print(*report_lines(report), sep="\n")
    if report.get("test_reads", 1) > 1:
        print(
            f"the test split was read {report['test_reads']} times for this model: choose between models on validation",
            file=sys.stderr,
        )
    if arguments.json:
        write_json(report, arguments.json)


def add_export(subparsers) -> argparse.ArgumentParser:
    command = subparsers.add_parser("export", help="model → onnx/ for the pages, ct2/ for faster-whisper; 8 bits")
    command.add_argument("model", type=Path, help="model folder")
    command.add_argument("out", type=Path, nargs="?", help="folder for both (default: MODEL itself)")
    command.add_argument("--quantization", default="int8", help="of ct2/: int8 (default), float16 (for a GPU), …")
    command.add_argument("--check", metavar="FEATURES", help="compare its transcripts of validation clips with MODEL's")
    command.set_defaults(run=run_export)
    return command


def run_export(arguments) -> None:
    from cantowhisper.training.results.export import export_model

    onnx, ct2 = export_model(arguments.model, arguments.out, quantization=arguments.quantization)
    print(onnx, ct2, sep="\n")
    if arguments.check:
        from cantowhisper.serving.engines.onnx import OnnxEngine
        from cantowhisper.training.results.parity import export_parity

        same = export_parity(arguments.model, arguments.check, OnnxEngine(onnx, threads=os.cpu_count() or 1))
        print(
            f"{same['identical']} of {same['n']} validation clips give the same text by {onnx.name}/ as by the model "
            f"({same['cer']:.1%} of the characters differ; {same['context']} context)"
        )


def add_push(subparsers) -> argparse.ArgumentParser:
    command = subparsers.add_parser("push", help="model → a private repository on the Hugging Face Hub")
    command.add_argument("model", type=Path, help="model folder that `train` has finished")
    command.add_argument("repo", help="owner/name; made if it does not exist")
    command.add_argument("--public", action="store_true", help="let others see it, if the data's terms allow that")
    command.set_defaults(run=run_push)
    return command


def run_push(arguments) -> None:
    from cantowhisper.training.results.publish import push_model

    print(push_model(arguments.model, arguments.repo, public=arguments.public))


def preset_named(name: str):
    """A preset, or a UsageError that lists them."""
    from cantowhisper.training.presets import PRESETS

    if name not in PRESETS:
        raise UsageError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
