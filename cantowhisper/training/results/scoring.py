"""How well a model transcribes a split: greedy decoding in batches of like lengths, every clip kept."""

import csv
import os
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import GenerationMixin

from cantowhisper.contracts import CantowhisperError, ModelFacts, UsageError
from cantowhisper.files import write_aside
from cantowhisper.speech.context import Context, Windows, context_of, stack, token_budget
from cantowhisper.speech.mel import FRAMES_PER_POSITION, pad_to
from cantowhisper.speech.ngram import FUSION_BEAM, NGram
from cantowhisper.speech.text import has_loop
from cantowhisper.speech.torch_context import ContextSeam
from cantowhisper.speech.torch_search import ShallowFusion, shared_encoder_states
from cantowhisper.training.config import TrainConfig
from cantowhisper.training.data.languages import main_language, token_of
from cantowhisper.training.data.sampling import frame_counts
from cantowhisper.training.results.analysis import TRAITS, Transcript, measure, worst_clips

SCORED_CONTEXTS = ("variable", "full")
METRICS_FILE = "metrics.json"


def transcribe_split(
    model,
    processor,
    split,
    *,
    config: TrainConfig,
    context: str = "variable",
    language_model: NGram | None = None,
    progress: bool = False,
) -> list[Transcript]:
    """Transcribe every clip of a split, at its natural context or at 30 s; results in the split's order.

    Each clip is decoded with the token of its own language (see data/languages.py), greedily, or with a language model
    by beam search; a text that goes round in a loop with it is that of greedy search.
    """
    if context not in SCORED_CONTEXTS:
        raise CantowhisperError(f"context is {' or '.join(SCORED_CONTEXTS)}, not {context!r}")
    length = config.context if context == "variable" else Context(kind="full")
    contexts = np.array([length.n_positions(int(n)) * FRAMES_PER_POSITION for n in frame_counts(split)])
    tokens = np.array(clip_tokens(model, processor.tokenizer, split, config))
    texts: dict[int, str] = {}
    was_training = model.training
    model.eval()
    label = context if language_model is None else f"{context}, language model {language_model.facts.weight:g}"
    bar = tqdm(total=len(split), desc=f"transcribe ({label})", disable=not progress, unit="clip")
    with torch.inference_mode():
        for token in sorted(set(tokens.tolist())):
            rows = np.flatnonzero(tokens == token)
            for batch in _batches(rows, contexts, config.max_batch_frames, mixed=length.kind == "merged"):
                written = _decode(model, processor, split, batch, length, token, language_model)
                texts.update(zip(batch.tolist(), written, strict=True))
                bar.update(len(batch))
    bar.close()
    model.train(was_training)
    languages = [tag or config.language for tag in split["language"]]
    traits = [split[name] if name in split.column_names else [""] * len(split) for name in TRAITS]
    columns = zip(split["id"], split["text"], split["duration_s"], languages, split["speaker"], *traits, strict=True)
    return [Transcript(i, text, texts[row], *more) for row, (i, text, *more) in enumerate(columns)]


def clip_tokens(model, tokenizer, split, config: TrainConfig) -> list[str]:
    """The language token of each clip; where nothing says its language, the model's own."""
    own = f"<|{model.generation_config.language}|>"
    known = {tag: token_of(tokenizer, tag, config) if tag or config.language else own for tag in set(split["language"])}
    return [known[tag] for tag in split["language"]]


def _batches(rows: np.ndarray, contexts: np.ndarray, at_most: int, *, mixed: bool) -> Iterator[np.ndarray]:
    """Rows in batches of like lengths, the shortest first; a batch is no larger than so many frames.

    mixed : a batch may hold several lengths. Merged windows stay each clip's own then, so that its text is what it is
        alone; the last position of a plain one may hear speech, which is filled up otherwise among longer ones.
    """
    batch: list[int] = []
    for row in rows[np.argsort(contexts[rows], kind="stable")].tolist():
        too_many = (len(batch) + 1) * contexts[row] > at_most
        if batch and (too_many or (not mixed and contexts[row] != contexts[batch[0]])):
            yield np.array(batch)
            batch = []
        batch.append(row)
    if batch:
        yield np.array(batch)


def _decode(
    model, processor, split, rows: np.ndarray, context: Context, token: str, language_model: NGram | None
) -> list[str]:
    batch = split.with_format("numpy")[[int(row) for row in rows]]
    clips = zip(batch["duration_s"], batch["language"], strict=True)
    budgets = [token_budget(seconds, language=str(tag) or token) for seconds, tag in clips]
    windows = stack([context.window(len(features)) for features in batch["features"]])
    mels = np.stack([pad_to(features.T, windows.n_frames) for features in batch["features"]])
    names = ("<|startoftranscript|>", token, "<|transcribe|>", "<|notimestamps|>")
    prompt = processor.tokenizer.convert_tokens_to_ids(list(names))
    ids = _generate(model, mels, windows, prompt, max_new_tokens=max(budgets), language_model=language_model)
    # Each clip's own budget, so that what a looping clip says does not depend on its neighbours.
    ids = [clip[:budget] for clip, budget in zip(ids, budgets, strict=True)]
    texts = [text.strip() for text in processor.tokenizer.batch_decode(ids, skip_special_tokens=True)]
    end = model.generation_config.eos_token_id
    went_round = [place for place, text in enumerate(texts) if end not in ids[place] or has_loop(text)]
    if language_model and went_round:  # what was said often is likely, to a language model
        again = _decode(model, processor, split, rows[went_round], context, token, None)
        for place, text in zip(went_round, again, strict=True):
            texts[place] = text
    return texts


def _generate(
    model, mels: np.ndarray, windows: Windows, prompt: list[int], *, max_new_tokens: int, language_model: NGram | None
) -> list[list[int]]:
    fusion = [ShallowFusion(language_model, n_prompt=len(prompt))] if language_model else []
    n_beams = FUSION_BEAM if language_model else 1
    with ContextSeam.on(model).of(windows), shared_encoder_states(model, n_beams):
        # Not Whisper's own generate(): where a time is written it goes back to the encoder, with fewer clips.
        return GenerationMixin.generate(
            model,
            input_features=torch.from_numpy(mels).to(model.device, model.dtype),
            attention_mask=torch.ones(mels.shape[0], windows.n_frames, dtype=torch.int64, device=model.device),
            decoder_input_ids=torch.tensor([prompt] * len(mels), device=model.device),
            max_length=None,
            max_new_tokens=max_new_tokens,
            num_beams=n_beams,
            logits_processor=fusion,
            do_sample=False,
        )[:, len(prompt) :].tolist()


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


def scoring_config(facts: ModelFacts, rows) -> TrainConfig:
    """How a model is to hear a split: with the contexts it was trained for, and in the split's languages.

    Its own language keeps the token that it was trained under, and so does one that has none.
    """
    language = facts.language or main_language(rows)
    if not language and not facts.language_token:
        raise UsageError("neither the model nor the features say what language they are; make the features again")
    config = TrainConfig(language=language or facts.language_token, language_token=facts.language_token)
    return config.with_context(context_of(facts))
