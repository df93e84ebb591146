"""Whether an export writes what its model writes: the same clips through both, greedily."""

import os
from pathlib import Path

import numpy as np
import torch

from cantowhisper.contracts import DecodingOptions, ModelFacts
from cantowhisper.speech.context import Context, context_of, stack, token_budget
from cantowhisper.speech.mel import pad_to
from cantowhisper.speech.text import cer
from cantowhisper.training.data.load import evenly, load_split
from cantowhisper.training.model import load_model
from cantowhisper.training.results.report import record
from cantowhisper.training.results.scoring import clip_tokens, scoring_config, transcribe_split


def export_parity(model: str | os.PathLike, features: str | os.PathLike, engine, *, n_clips: int = 16) -> dict:
    """Transcribe validation clips by a model folder and by its export, in the windows that it was trained for.

    engine : what runs the export: serving.engines.open.open_engine(export), which this room does not import itself

    Returns {"n", "identical" (clips with the same text), "cer" (the export's text against the model's), "context"};
    kept in the folder's `metrics.json` too.
    """
    model = Path(model)
    facts = ModelFacts.load(model)
    context = context_of(facts)
    clips = evenly(load_split(features, "validation"), n_clips)
    config = scoring_config(facts, clips).with_context(context)
    loaded, processor = load_model(model, language=config.language_token or config.language)
    loaded.to("cuda" if torch.cuda.is_available() else "cpu")
    written = transcribe_split(loaded, processor, clips, config=config)
    expected = [transcript.prediction for transcript in written]
    tokens = clip_tokens(loaded, processor.tokenizer, clips, config)
    found = _by_engine(engine, processor.tokenizer, clips, context, tokens)
    compared = [(theirs, ours) for theirs, ours in zip(found, expected, strict=True) if ours]
    report = {
        "n": len(expected),
        "identical": sum(theirs == ours for theirs, ours in zip(found, expected, strict=True)),
        "cer": round(cer(*map(list, zip(*compared, strict=True))).cer, 4) if compared else 0.0,
        "context": context.kind,
    }
    record(model, export_parity=report)
    return report


def _by_engine(engine, tokenizer, clips, context: Context, tokens: list[str]) -> list[str]:
    """Greedy transcripts of an export, one clip at a time."""
    texts = []
    for clip, token in zip(clips.with_format("numpy"), tokens, strict=True):
        prompt = tokenizer.convert_tokens_to_ids(["<|startoftranscript|>", token, "<|transcribe|>", "<|notimestamps|>"])
        windows = stack([context.window(len(clip["features"]))])
        mels = pad_to(clip["features"].T, windows.n_frames)[None].astype(np.float32)
        budget = token_budget(float(clip["duration_s"]), language=str(clip["language"]) or token)
        (decoded,) = engine.decode(mels, windows, prompt, DecodingOptions(max_new_tokens=budget))
        texts.append(tokenizer.decode(decoded.token_ids, skip_special_tokens=True).strip())
    return texts
