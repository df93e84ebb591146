"""Whether an export writes what its model writes: the same clips through both, greedily."""

import os
from pathlib import Path

import numpy as np
import torch

from cantowhisper.contracts import EXPORT_FOLDER, CantowhisperError, ModelFacts
from cantowhisper.speech.context import Context, context_of, token_budget
from cantowhisper.speech.mel import pad_to
from cantowhisper.speech.text import cer
from cantowhisper.training.data.load import evenly, load_split
from cantowhisper.training.model import load_model
from cantowhisper.training.results.scoring import clip_tokens, record, scoring_config, transcribe_split


def export_parity(
    model: str | os.PathLike, features: str | os.PathLike, *, export: str | os.PathLike | None = None, n_clips: int = 16
) -> dict:
    """Transcribe validation clips by a model folder and by its CTranslate2 export, at the context it was trained for.

    Returns {"n", "identical" (clips with the same text), "cer" (the export's text against the model's), "context",
    "compute_type" (what CTranslate2 computes with here)}; kept in the folder's `metrics.json` too.
    """
    model = Path(model)
    export = Path(export) if export is not None else model / EXPORT_FOLDER
    if not (export / "model.bin").exists():
        raise CantowhisperError(f"{export} is no export; make it with: cantowhisper export {model}")
    facts = ModelFacts.load(model)
    context = context_of(facts)
    if context.kind == "merged":  # which CTranslate2 cannot: it takes plain inputs only
        context = Context(kind="full")
    clips = evenly(load_split(features, "validation"), n_clips)
    config = scoring_config(facts, clips).with_context(context)
    loaded, processor = load_model(model, language=config.language_token or config.language)
    loaded.to("cuda" if torch.cuda.is_available() else "cpu")
    written = transcribe_split(loaded, processor, clips, config=config)
    expected = [transcript.prediction for transcript in written]
    tokens = clip_tokens(loaded, processor.tokenizer, clips, config)
    found, compute_type = _by_ctranslate2(export, processor.tokenizer, clips, context, tokens)
    compared = [(theirs, ours) for theirs, ours in zip(found, expected, strict=True) if ours]
    report = {
        "n": len(expected),
        "identical": sum(theirs == ours for theirs, ours in zip(found, expected, strict=True)),
        "cer": round(cer(*map(list, zip(*compared, strict=True))).cer, 4) if compared else 0.0,
        "context": context.kind,
        "compute_type": compute_type,
    }
    record(model, export_parity=report)
    return report


def _by_ctranslate2(export: Path, tokenizer, clips, context: Context, tokens: list[str]) -> tuple[list[str], str]:
    """Greedy transcripts of an export, one clip at a time, and the type that it computed with."""
    import ctranslate2

    device = "cuda" if ctranslate2.get_cuda_device_count() and torch.cuda.is_available() else "cpu"
    engine = ctranslate2.models.Whisper(str(export), device=device)
    texts = []
    for clip, token in zip(clips.with_format("numpy"), tokens, strict=True):
        prompt = ["<|startoftranscript|>", token, "<|transcribe|>", "<|notimestamps|>"]
        frames = context.kept_frames(len(clip["features"]))
        mel = np.ascontiguousarray(pad_to(clip["features"].T, frames)[None], dtype=np.float32)
        (result,) = engine.generate(ctranslate2.StorageView.from_array(mel), [prompt], beam_size=1)
        ids = result.sequences_ids[0][
            : token_budget(float(clip["duration_s"]), language=str(clip["language"]) or token)
        ]
        texts.append(tokenizer.decode(ids, skip_special_tokens=True).strip())
    return texts, engine.compute_type
