"""The model card of a model folder, which says no more than its metrics.json."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

from cantowhisper.contracts import (
    CT2_FOLDER,
    LANGUAGE_MODEL_FILE,
    LANGUAGE_MODEL_REPORT_FILE,
    CantowhisperError,
    ModelFacts,
)
from cantowhisper.speech.language import language_code, language_name
from cantowhisper.training.results.analysis import drawn_over
from cantowhisper.training.results.facts import model_origin
from cantowhisper.training.results.scoring import METRICS_FILE
from cantowhisper.training.results.tables import difference_lines, elsewhere_line, points, speed_line
from cantowhisper.training.run.plan import little_data, spoken_length

CURVE_FILE = "learning_curve.png"
VIEWS = {"cer_raw": "raw", "cer_no_punctuation": "no punctuation", "cer_simplified": "simplified"}


def read_metrics(model: str | os.PathLike) -> dict:
    """The `metrics.json` of a model folder that `train` has finished."""
    try:
        return json.loads((Path(model) / METRICS_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CantowhisperError(
            f"{model} is no finished model folder (it has no {METRICS_FILE}); make it with: cantowhisper train"
        ) from error
    except ValueError as error:
        raise CantowhisperError(f"{model}/{METRICS_FILE} is not readable ({error}); train or copy it again") from error


def model_card(model: str | os.PathLike, *, repo: str) -> str:
    """The model card, with the metadata that the Hub shows (model-index), of a model folder for `repo`."""
    import yaml

    metrics, facts = read_metrics(model), ModelFacts.load(model)
    head = {
        "language": language_code(_language(metrics, facts)),
        "library_name": "transformers",
        "pipeline_tag": "automatic-speech-recognition",
        "tags": ["whisper", "cantowhisper"],
        "metrics": ["cer"],
        "model-index": [{"name": repo.split("/")[-1], "results": _results(metrics, facts)}],
    }
    if _origin(metrics) == "hub":
        head["base_model"] = metrics["config"]["model"]
    exported = (Path(model) / CT2_FOLDER / "model.bin").exists()
    faster = _how_faster(repo, facts, timed=_timed(metrics)) if exported else ""
    parts = [
        _what(metrics, facts),
        *_warning(metrics),
        _how(repo, faster),
        _scores(metrics),
        *_sentences(Path(model)),
        _run(metrics),
        _limits(metrics, facts),
    ]
    return f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---\n\n" + "\n\n".join(
        [f"# {repo.split('/')[-1]}", *parts, ""]
    )


def _name(source: str) -> str:
    """A source as others may see it: a Hub id as it is, and of a folder its last part."""
    return Path(source).resolve().name if Path(source).is_absolute() or source.startswith(".") else source


def _origin(metrics: dict) -> str:
    return metrics.get("model_origin") or model_origin(metrics["config"]["model"])


def _begun(metrics: dict) -> str:
    """The name of the model that the run began from, without the folders above it."""
    name = metrics["config"]["model"]
    return Path(name).resolve().name if _origin(metrics) == "folder" else name


def _results(metrics: dict, facts: ModelFacts) -> list[dict]:
    """The model-index rows: test scores where the test split was read, else validation."""
    test = metrics.get("test", {})
    rows = [("test", context, groups["all"]) for context, groups in test.get("scores", {}).items()]
    rows = rows or [("validation", "variable", metrics["validation"])]
    read = test.get("dataset") or {"source": facts.feature_source, "revision": facts.feature_revision}
    dataset = {"name": _name(read["source"]) or "features", "type": "cantowhisper-features"}
    return [
        {
            "task": {"type": "automatic-speech-recognition"},
            "dataset": {**dataset, "split": split, "revision": read["revision"]},
            "metrics": [
                {"type": "cer", "name": f"CER, {name}, {context} context", "value": round(100 * row[key], 2)}
                for key, name in VIEWS.items()
            ],
        }
        for split, context, row in rows
    ]


def _what(metrics: dict, facts: ModelFacts) -> str:
    name = f"`{_begun(metrics)}`"
    source = {
        "scratch": "trained from scratch",
        "hub": f"fine-tuned from {name}",
        "folder": f"fine-tuned from a local copy of {name}",
    }[_origin(metrics)]
    contexts = {
        "full": "It takes 30 s windows, as every Whisper does.",
        "variable": "It also takes encoder inputs as short as the clip, with some silence after the speech.",
        "merged": "It was trained on inputs as short as the clip, with the silence of the 30 s window merged into a "
        "few weighted positions, and takes 30 s windows as every Whisper does.",
    }[facts.trained_contexts]
    amounts = metrics.get("data", {}).get("train")
    pseudo = amounts.get("pseudo_labelled") if amounts else 0
    clips = (
        f"{amounts['clips']:,} clips" + (f", {pseudo:,} of them pseudo-labelled" if pseudo else "") if amounts else ""
    )
    data = f"{spoken_length(amounts['hours'])} ({clips}) of " if amounts else ""
    return (
        f"A stock Whisper of {metrics['parameters'] / 1e6:.1f} M parameters, {source} for {metrics['steps']} steps on "
        f"{data}`{_name(facts.feature_source or metrics['features'])}` (revision "
        f"`{facts.feature_revision or 'unknown'}`); it writes {_written(metrics, facts)}. {contexts}"
    )


def _warning(metrics: dict) -> list[str]:
    said = little_data(metrics["data"], metrics["validation"]["n"]) if "data" in metrics else ""
    return [f"> {said}"] if said else []


def _language(metrics: dict, facts: ModelFacts) -> str:
    return facts.language or metrics["config"].get("language") or facts.language_token


def _written(metrics: dict, facts: ModelFacts) -> str:
    """What it writes, and under which token where that is another language's."""
    name = language_name(_language(metrics, facts))
    text = name if facts.script == "other" else f"{name} in {facts.script} characters"
    own = not facts.language_token or language_code(facts.language_token) == language_code(_language(metrics, facts))
    return text if own else f"{text}, decoded with `{facts.language_token}`"


def _timed(metrics: dict) -> bool:
    """True if some examples had timestamps: a model that has seen none writes wild ones."""
    return bool(metrics["config"].get("timestamps_share") or metrics["config"].get("packed_share"))


def _how(repo: str, faster: str) -> str:
    return f"""## How to use it

With transformers:

```python
from transformers import pipeline
print(pipeline("automatic-speech-recognition", model="{repo}")("talk.mp3")["text"])
```
{faster}
With [cantowhisper](https://github.com/cantowhisper/cantowhisper), which also gives it short inputs:

```sh
cantowhisper transcribe talk.mp3 --model {repo} --format srt
```"""


def _how_faster(repo: str, facts: ModelFacts, *, timed: bool) -> str:
    options = "vad_filter=True" if timed else "vad_filter=True, without_timestamps=True"
    return f"""
With faster-whisper, by the CTranslate2 export in `{CT2_FOLDER}/`:

```python
from faster_whisper import WhisperModel
from huggingface_hub import snapshot_download
folder = snapshot_download("{repo}", allow_patterns="{CT2_FOLDER}/*")
model = WhisperModel(folder + "/{CT2_FOLDER}")
segments, _ = model.transcribe("talk.mp3", language="{facts.language_token[2:-2]}", {options})
print("".join(segment.text for segment in segments))
```
"""


def _scores(metrics: dict) -> str:
    test = metrics.get("test", {})
    rows = {f"before, test, {context} context": groups["all"] for context, groups in test.get("before", {}).items()}
    rows |= {f"after, test, {context} context": groups["all"] for context, groups in test.get("scores", {}).items()}
    rows["after, validation (used for selection)"] = metrics["validation"]
    lines = [
        "## Character error rates",
        "",
        f"| | n | {' | '.join(VIEWS.values())} | loops | empty |",
        "|---" * 7 + "|",
    ]
    for name, row in rows.items():
        cells = [_percent(row, key) for key in VIEWS]
        lines.append(f"| {name} | {row['n']} | {' | '.join(cells)} | {row['loops']} | {row['empty_outputs']} |")
    spaced = {name: row for name, row in rows.items() if "wer_no_punctuation" in row}
    if spaced:
        lines += ["", "Word error rates, without punctuation (NFKC, lower case), and after Whisper's own normaliser,"]
        lines += ["which figures of other models are mostly given in (of Indic scripts it drops vowel signs):", ""]
        lines += [
            f"- {name}: {_percent(row, 'wer_no_punctuation')}"
            + (f"; Whisper's normaliser {_percent(row, 'wer_whisper')}" if "wer_whisper" in row else "")
            for name, row in spaced.items()
        ]
    over = {drawn_over(row): name for name, row in rows.items()}
    if len(over) > 1:
        over = {f"{drawn} ({name.split(',')[1].split()[0]})": name for drawn, name in over.items()}
    lines += ["", f"In brackets: 95 % bootstrap interval over {', over '.join(over)}."]
    if not spaced:
        lines[-1] += " WER means nothing for a language without spaces."
    reads = f"The test split was read {test['reads']} time(s) for this model." if test else "Test was not read."
    lines.append(reads)
    if same := metrics.get("export_parity"):
        lines.append(
            f"The 8-bit export writes the same text as the model for {same['identical']} of "
            f"{same['n']} validation clips ({same['cer']:.1%} of the characters differ)."
        )
    lines += _compared(test, metrics.get("elsewhere", []))
    return "\n".join(lines)


def _compared(test: dict, others: list[dict]) -> Iterator[str]:
    """What else was scored: the paired difference, groups of speakers, other data, speed."""
    if difference := test.get("difference"):
        yield f"The model before is `{test['before_model']}`; {' '.join(difference_lines(difference))}"
    if groups := test.get("groups"):
        context = next(iter(test["scores"]))
        yield from ("", f"By what the speakers say of themselves (CER, no punctuation, {context} context):", "")
        yield from ("| | n | CER | interval over |", "|---|---|---|---|")
        for trait, rows in groups.items():
            for name, row in rows.items():
                rate = _percent(row, "cer_no_punctuation")
                yield f"| {trait}, {name} | {row['n']} | {rate} | {drawn_over(row)} |"
    if others:
        known, context = others[0]["before_model"], others[0]["context"]
        yield from ("", f"Elsewhere, before (`{known}`) → after (CER, no punctuation, {context} context):", "")
        yield from (f"- {elsewhere_line(other)}" for other in others)
    if speed := test.get("speed"):
        yield from ("", speed_line(speed) + ".")


def _sentences(model: Path) -> Iterator[str]:
    """The language model, where there is one."""
    path = model / LANGUAGE_MODEL_REPORT_FILE
    if not path.exists():
        return
    told = json.loads(path.read_text(encoding="utf-8"))
    test = told.get("test")
    changes = ""
    if test:
        low, high = test["difference"]["interval"]
        before, after = (test[name]["cer_no_punctuation"] for name in ("before", "after"))
        changes = (
            f" With it the CER of {test['difference']['n']} test clips is {after:.2%} instead of {before:.2%} "
            f"({points(low)} to {points(high)} points)."
        )
    yield (
        f"## Language model\n\n`{LANGUAGE_MODEL_FILE}` counts {told['n_sentences']:,} sentences in runs of "
        f"{told['order']} tokens. `cantowhisper` lets it have a say in what is written, with a weight of "
        f"{told['weight']:g}, chosen on {told['validation']['n']} validation clips.{changes} The rates above, "
        "`transformers` and faster-whisper go without it."
    )


def _percent(row: dict, key: str) -> str:
    low, high = row[f"{key}_interval"]
    return f"{row[key]:.2%} ({low:.2%}–{high:.2%})"


def _run(metrics: dict) -> str:
    shown = {**metrics["config"], "model": _begun(metrics)}
    shown.pop("hub_checkpoints", None)  # where copies lay, of which nobody need know
    config = json.dumps(shown, indent=2)
    best = f"Weights of step {metrics['best_step']} of {metrics['steps']}"
    if metrics["best_step"] == 0:
        best = f"None of {metrics['steps']} steps was better than the model as it was, and these are its weights"
    if metrics.get("halfway"):  # runs of 0.1.0 do not say
        best += ", and half of the way to them from the pretrained ones"
    return (
        f"## Training\n\n{best}, chosen by {metrics.get('selected_by', 'cer')[:3].upper()} on validation; "
        f"{metrics['train_seconds'] / 60:.1f} minutes in the process that finished it.\n\n"
        f"![loss and validation error rate]({CURVE_FILE})\n\n```json\n{config}\n```"
    )


def _limits(metrics: dict, facts: ModelFacts) -> str:
    lines = [
        "- The error rates are those of one data set: other speakers, microphones and subjects are heard worse.",
        "- CERs of different releases of a data set cannot be compared where their splits differ.",
        "- On music or silence a Whisper may invent text; look for speech before it.",
    ]
    if not _timed(metrics):
        lines.append("- It was trained without timestamps: ask for none, or cut recordings at pauses first.")
    if _origin(metrics) == "scratch":
        lines.append("- It is a miniature to show that every stage works, not a recogniser for people.")
    return "\n".join(["## Limits", "", *lines])
