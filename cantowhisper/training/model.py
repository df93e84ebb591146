"""A Whisper from a folder or the Hub, ready to be trained, and back into a folder."""

import os
from pathlib import Path

import torch
import transformers
from transformers import (
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)

from cantowhisper.contracts import CantowhisperError
from cantowhisper.speech.language import language_token


def quiet() -> None:
    """No bars for the seconds that loading and saving take, and no advice that users can do nothing about."""
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()


def load_model(name: str | os.PathLike, *, language: str) -> tuple[WhisperForConditionalGeneration, WhisperProcessor]:
    """A Whisper from a folder or the Hub, ready to be trained: float32, language and task set.

    Language and task are written into generation_config now, so that evaluation, the stock pipeline and the
    CTranslate2 export all decode with the same prefix.
    """
    model, processor = load_untrained(name)
    set_language(model, processor.tokenizer, language)
    return model, processor


def load_untrained(name: str | os.PathLike) -> tuple[WhisperForConditionalGeneration, WhisperProcessor]:
    """A Whisper from a folder or the Hub in float32, with nothing set."""
    quiet()
    try:
        # A checkpoint saved in float16 would load in float16, whose updates vanish: always train float32 weights.
        model = WhisperForConditionalGeneration.from_pretrained(name, dtype=torch.float32)
        processor = WhisperProcessor.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CantowhisperError(f"cannot load the model {str(name)!r}: {reason}") from error
    return model, processor


def set_language(model: WhisperForConditionalGeneration, tokenizer: WhisperTokenizer, language: str) -> str:
    """Make model and tokenizer transcribe `language`, without timestamps; returns the language token."""
    token = language_token(tokenizer, language)
    code = token[2:-2]
    tokenizer.set_prefix_tokens(language=code, task="transcribe", predict_timestamps=False)
    config = model.generation_config
    config.language, config.task, config.return_timestamps = code, "transcribe", False
    config.forced_decoder_ids = model.config.forced_decoder_ids = None  # of old checkpoints; it overrules language
    # The Trainer believes that Whisper normalises its loss by the items of all accumulated batches. It does not, and
    # loss and gradients came out accumulation-steps times too large.
    model.accepts_loss_kwargs = False
    return token


def set_dropout(model: WhisperForConditionalGeneration, share: float) -> None:
    """Let layers drop a share of their outputs in training. Layers read config.dropout only when they are made."""
    encoder, decoder = model.get_encoder(), model.get_decoder()
    for module in (encoder, decoder, *encoder.layers, *decoder.layers):
        module.dropout = share


def save_model(model: WhisperForConditionalGeneration, processor: WhisperProcessor, folder: str | os.PathLike) -> Path:
    """Write a stock checkpoint folder: weights, configs, tokenizer, feature extractor."""
    folder = Path(folder)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    processor.feature_extractor.save_pretrained(folder)  # preprocessor_config.json, which other programs look for
    return folder
