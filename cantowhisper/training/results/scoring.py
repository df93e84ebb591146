"""How well a model transcribes a split: greedy decoding by length buckets, every clip kept, the test split counted."""

import csv
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import GenerationMixin

from cantowhisper.contracts import CantowhisperError, ModelFacts, UsageError
from cantowhisper.files import write_aside, write_json
from cantowhisper.speech.context import Context, context_of, stack, token_budget
from cantowhisper.speech.mel import FRAMES_PER_POSITION, pad_to
from cantowhisper.speech.torch_context import ContextSeam
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.languages import main_language, token_of
from cantowhisper.training.data.load import load_split
from cantowhisper.training.data.sampling import frame_counts
from cantowhisper.training.model import load_model
from cantowhisper.training.results.analysis import Transcript, confusions, drawn_over, measure, worst_clips

SCORED_CONTEXTS = ("variable", "full")
METRICS_FILE = "metrics.json"


def transcribe_split(
    model,
    processor,
    split,
    *,
    config: TrainConfig,
    context: str = "variable",
    progress: bool = False,
) -> list[Transcript]:
    """Transcribe every clip of a split greedily, at its natural context or at 30 s; results in the split's order.

    Each clip is decoded with the token of its own language (see data/languages.py).
    """
    if context not in SCORED_CONTEXTS:
        raise CantowhisperError(f"context is {' or '.join(SCORED_CONTEXTS)}, not {context!r}")
    length = config.context if context == "variable" else Context(kind="full")
    contexts = np.array([length.n_positions(int(n)) * FRAMES_PER_POSITION for n in frame_counts(split)])
    tokens = np.array(clip_tokens(model, processor.tokenizer, split, config))
    texts: dict[int, str] = {}
    was_training = model.training
    model.eval()
    bar = tqdm(total=len(split), desc=f"transcribe ({context})", disable=not progress, unit="clip")
    with torch.inference_mode():
        for frames, token in sorted(set(zip(contexts.tolist(), tokens.tolist(), strict=True))):
            rows = np.flatnonzero((contexts == frames) & (tokens == token))
            size = max(1, config.max_batch_frames // frames)
            for start in range(0, len(rows), size):
                batch = rows[start : start + size]
                texts.update(zip(batch, _decode(model, processor, split, batch, length, token), strict=True))
                bar.update(len(batch))
    bar.close()
    model.train(was_training)
    languages = [tag or config.language for tag in split["language"]]
    columns = zip(split["id"], split["text"], split["duration_s"], languages, split["speaker"], strict=True)
    return [Transcript(i, text, texts[row], *more) for row, (i, text, *more) in enumerate(columns)]


def clip_tokens(model, tokenizer, split, config: TrainConfig) -> list[str]:
    """The language token of each clip; where nothing says its language, the model's own."""
    own = f"<|{model.generation_config.language}|>"
    known = {tag: token_of(tokenizer, tag, config) if tag or config.language else own for tag in set(split["language"])}
    return [known[tag] for tag in split["language"]]


def _decode(model, processor, split, rows: np.ndarray, context: Context, token: str) -> list[str]:
    batch = split.with_format("numpy")[[int(row) for row in rows]]
    windows = stack([context.window(len(features)) for features in batch["features"]])
    mels = np.stack([pad_to(features.T, windows.n_frames) for features in batch["features"]])
    clips = zip(batch["duration_s"], batch["language"], strict=True)
    budgets = [token_budget(seconds, language=str(tag) or token) for seconds, tag in clips]
    names = ("<|startoftranscript|>", token, "<|transcribe|>", "<|notimestamps|>")
    prompt = processor.tokenizer.convert_tokens_to_ids(list(names))
    with ContextSeam.on(model).of(windows):
        # Not Whisper's own generate(): where a time is written it goes back to the encoder, with fewer clips.
        ids = GenerationMixin.generate(
            model,
            input_features=torch.from_numpy(mels).to(model.device, model.dtype),
            attention_mask=torch.ones(mels.shape[0], windows.n_frames, dtype=torch.int64, device=model.device),
            decoder_input_ids=torch.tensor([prompt] * len(mels), device=model.device),
            max_length=None,
            max_new_tokens=max(budgets),
            num_beams=1,
            do_sample=False,
        )[:, len(prompt) :]
    # Each clip's own budget, so that what a looping clip says does not depend on its neighbours.
    ids = [clip[:budget] for clip, budget in zip(ids.tolist(), budgets, strict=True)]
    return [text.strip() for text in processor.tokenizer.batch_decode(ids, skip_special_tokens=True)]


def summarize(
    transcripts: Sequence[Transcript],
    *,
    groups: Mapping[str, str] | None = None,
    spelling: Mapping[str, str] | None = None,
) -> dict:
    """Scores of all clips, and of each group of clip ids if any are given. spelling : see analysis.measure"""
    report = {"all": measure(transcripts, spelling=spelling)}
    if groups:
        for name in sorted(set(groups.values())):
            chosen = [t for t in transcripts if groups.get(t.id) == name]
            if chosen:
                report[name] = measure(chosen, spelling=spelling)
    return report


def write_transcripts(transcripts: Sequence[Transcript], path: str | os.PathLike) -> None:
    """A table of all clips, worst first: id, duration_s, cer (no punctuation), reference, prediction."""
    with write_aside(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerow(("id", "duration_s", "cer", "reference", "prediction"))
        for t, error in worst_clips(transcripts):
            writer.writerow((t.id, f"{t.duration_s:.2f}", f"{error:.4f}", t.reference, t.prediction))


def spelling_of(processor) -> dict[str, str]:
    """{British: American} of Whisper's normaliser for English, as it comes with the tokenizer; {} where it does not."""
    return getattr(processor.tokenizer, "english_spelling_normalizer", None) or {}


def score_model(
    model,
    processor,
    split,
    *,
    config: TrainConfig,
    contexts: Sequence[str] = ("variable",),
    groups: Mapping[str, str] | None = None,
    progress: bool = False,
    keep: Callable[[str, list[Transcript]], None] | None = None,
) -> dict:
    """Scores of a model on a split, a summary a context; `keep(context, transcripts)` may store the clips."""
    report, spelling = {}, spelling_of(processor)
    for context in contexts:
        transcripts = transcribe_split(model, processor, split, config=config, context=context, progress=progress)
        report[context] = summarize(transcripts, groups=groups, spelling=spelling)
        if keep:
            keep(context, transcripts)
    return report


def score_folder(
    model: str | os.PathLike,
    features: str | os.PathLike,
    *,
    split: str = "test",
    contexts: Sequence[str] | None = None,
    groups: Mapping[str, str] | None = None,
    transcripts: str | os.PathLike | None = None,
    before: str | os.PathLike | None = None,
    progress: bool = False,
) -> dict:
    """Score a model folder (or Hub id) on a split of a feature dataset, and the model that it was tuned from.

    `contexts` is by default the clip's own length, as the model was trained for it, or for a stock Whisper and one
    trained on 30 s windows with the silence merged; `transcripts` names a table to write, and where
    there are several contexts, each has its own: `clips.tsv` becomes `clips.variable.tsv` and `clips.full.tsv`.
    `before` is a folder or Hub id, scored at the first of the contexts.
    Returns {"model", "features", "split", "scores": {context: {group: scores}}, "before" (the same, where asked for),
    "confusions": [[said, written, times], …] at the first context}. Scores on the test split are also kept in the
    folder's `metrics.json`, and "test_reads" says how often that has happened for this model.
    """
    facts = ModelFacts.load(model)
    contexts = contexts or ("variable",)
    found: list[tuple[str, str, int]] = []

    def keep(context: str, clips: list[Transcript]) -> None:
        if context == contexts[0]:
            found.extend(confusions(clips))
        if transcripts is not None:
            path = Path(transcripts)
            write_transcripts(clips, path if len(contexts) == 1 else path.with_suffix(f".{context}{path.suffix}"))

    rows = load_split(features, split)
    spoken = scoring_config(facts, rows)
    tuned = load_model(model, language=spoken.language_token or spoken.language)

    def scores_of(model_and_processor, facts: ModelFacts, contexts, keep=None) -> dict:
        loaded, processor = model_and_processor
        config = spoken.with_context(context_of(facts))
        loaded.to("cuda" if torch.cuda.is_available() else "cpu")
        return score_model(
            loaded, processor, rows, config=config, contexts=contexts, groups=groups, progress=progress, keep=keep
        )

    report = {"model": str(model), "features": str(features), "split": split}
    if before is not None:
        untuned = load_model(before, language=spoken.language_token or spoken.language)
        report["before"] = scores_of(untuned, ModelFacts.load(before), contexts[:1])
    report["scores"] = scores_of(tuned, facts, contexts, keep)
    report["confusions"] = [list(row) for row in found]
    if split == "test":
        report["test_reads"] = record_test_scores(
            model, report["scores"], report["confusions"], before=report.get("before")
        )
    return report


def scoring_config(facts: ModelFacts, rows) -> TrainConfig:
    """How a model is to hear a split: with the contexts it was trained for, and in the split's languages.

    Its own language keeps the token that it was trained under, and so does one that has none.
    """
    language = facts.language or main_language(rows)
    if not language and not facts.language_token:
        raise UsageError("neither the model nor the features say what language they are; make the features again")
    config = TrainConfig(language=language or facts.language_token, language_token=facts.language_token)
    return config.with_context(context_of(facts))


def record_test_scores(
    model: str | os.PathLike, contexts: Mapping, mistakes: Sequence, *, before: Mapping | None = None
) -> int:
    """Keep test scores in a model folder's `metrics.json`, and how often the split was read for this model.

    `before` are the scores of the model that it was tuned from, {context: {group: scores}}; those of an earlier
    reading stay where none are given. Who scores on test, changes something and scores again selects on test. The
    reads are counted so that a reader of the model card can see it. Returns the count; 1 where the model is no folder
    that `train` wrote.
    """
    path = Path(model) / METRICS_FILE
    if not path.is_file():
        return 1
    kept = json.loads(path.read_text(encoding="utf-8")).get("test", {})
    reads = kept.get("reads", 0) + 1
    test = {"reads": reads, "scores": contexts, "confusions": [list(row) for row in mistakes]}
    before = before or kept.get("before")
    record(model, test=test | ({"before": before} if before else {}))
    return reads


def record(model: str | os.PathLike, **facts) -> None:
    """Keep more in the `metrics.json` of a model folder, if it is one that `train` wrote."""
    path = Path(model) / METRICS_FILE
    if path.is_file():
        write_json(json.loads(path.read_text(encoding="utf-8")) | facts, path)


def score_table(columns: Mapping[str, Mapping[str, Mapping]]) -> str:
    """A plain table of summaries {column: {group: scores}}: CER without punctuation and its 95 % interval."""
    groups = list(next(iter(columns.values())))
    lines = ["CER, no punctuation".ljust(22) + "n".rjust(6) + "".join(name.rjust(24) for name in columns)]
    for group in [*groups[1:], groups[0]]:
        n = next(iter(columns.values()))[group]["n"]
        lines.append(group.ljust(22) + str(n).rjust(6) + "".join(_cell(c[group]).rjust(24) for c in columns.values()))
    if all("wer_no_punctuation" in column["all"] for column in columns.values()):
        cells = "".join(_cell(column["all"], "wer").rjust(24) for column in columns.values())
        lines.append("WER, no punctuation".ljust(28) + cells)
    if all("wer_whisper" in column["all"] for column in columns.values()):
        cells = "".join(_cell(column["all"], "wer", "whisper").rjust(24) for column in columns.values())
        lines.append("WER, Whisper's normaliser".ljust(28) + cells)
    for name, label in (("loops", "loops"), ("empty_outputs", "empty outputs")):
        counts = "".join(str(column["all"][name]).rjust(24) for column in columns.values())
        lines.append(label.ljust(28) + counts)
    first = next(iter(columns.values()))
    lines.append(f"in brackets: 95 % bootstrap interval over {drawn_over(first['all'])}")
    if first["all"].get("speakers") and (single := [name for name in groups if not first[name].get("speakers")]):
        lines[-1] += f", over clips for {', '.join(single)}"
    return "\n".join(lines)


def _cell(row: Mapping, short: str = "cer", view: str = "no_punctuation") -> str:
    low, high = row[f"{short}_{view}_interval"]
    return f"{row[f'{short}_{view}']:.1%} ({low:.1%}–{high:.1%})"
