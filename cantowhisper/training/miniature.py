"""A miniature Whisper with fresh weights, for samples/ and for tests: all stages work on it in minutes."""

import itertools
import json
from collections.abc import Iterable

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
    WhisperProcessor,
    WhisperTokenizer,
)
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from cantowhisper.training.model import quiet, set_language

TASKS = ("translate", "transcribe")
# What whisper-tiny … large-v2 have between the text tokens and the timestamps, in their order.
CONTROL_TOKENS = [f"<|{name}|>" for name in ("startoflm", "startofprev", "nospeech", "notimestamps")]
TIMESTAMPS = [f"<|{i * 0.02:.2f}|>" for i in range(1501)]  # 0.00 to 30.00 s, one an encoder position


def build_miniature(
    texts: Iterable[str],
    *,
    seed: int = 20,
    n_mels: int = 80,
    language: str = "yue",
    width: int = 128,
    layers: int = 3,
) -> tuple[WhisperForConditionalGeneration, WhisperProcessor]:
    """A Whisper of 2 M parameters with fresh weights: same architecture, tokens and files as the real ones.

    Three layers of 128 on either side, with a vocabulary of about one token a character: enough for the synthetic
    voices of samples/, in minutes on two cores. The full vocabulary of 51,865 would make it five times slower.

    width : a multiple of 64, the dimensions of a head as in every Whisper
    layers : of the encoder, and as many of the decoder
    """
    quiet()
    tokenizer = build_tokenizer(texts)
    ids = tokenizer.convert_tokens_to_ids
    end = ids("<|endoftext|>")
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=n_mels,
        d_model=width,
        encoder_layers=layers,
        decoder_layers=layers,
        encoder_attention_heads=width // 64,
        decoder_attention_heads=width // 64,
        encoder_ffn_dim=4 * width,
        decoder_ffn_dim=4 * width,
        decoder_start_token_id=ids("<|startoftranscript|>"),
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(config)
    model.generation_config = _generation_config(config, tokenizer)
    processor = WhisperProcessor(WhisperFeatureExtractor(feature_size=n_mels), tokenizer)
    set_language(model, tokenizer, language)
    return model, processor


def build_tokenizer(texts: Iterable[str]) -> WhisperTokenizer:
    """A byte-level WhisperTokenizer whose merges stay inside single characters, with all of Whisper's tokens.

    Merges across characters would memorise the words of a small corpus, and spell unseen ones unlike anything that
    was trained. Bytes remain as tokens, so any text can be written.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("", "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=8000,  # an upper bound: characters run out long before
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator((c for text in texts for c in text), trainer)
    learned = json.loads(bpe.to_str())["model"]
    tokenizer = WhisperTokenizer(
        vocab=learned["vocab"], merges=[tuple(m) for m in learned["merges"]], pad_token="<|endoftext|>"
    )
    # LANGUAGES lists <|yue|> last; like all Whispers before large-v3 the miniature ends before it.
    languages = [f"<|{code}|>" for code in LANGUAGES if code != "yue"]
    tasks = [f"<|{task}|>" for task in TASKS]
    special = ["<|endoftext|>", "<|startoftranscript|>", *languages, *tasks, *CONTROL_TOKENS]
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.add_tokens(TIMESTAMPS)
    tokenizer.set_prefix_tokens()  # the constructor computed it while the special tokens were unknown
    return tokenizer


def _generation_config(config: WhisperConfig, tokenizer: WhisperTokenizer) -> GenerationConfig:
    """What Whisper's generate() and the CTranslate2 converter look up; stock checkpoints carry the same fields."""
    ids = tokenizer.convert_tokens_to_ids
    languages = [t for t in tokenizer.get_vocab() if t.startswith("<|") and t[2:-2] in LANGUAGES]
    half = config.decoder_layers // 2
    heads = itertools.product(range(half, config.decoder_layers), range(config.decoder_attention_heads))
    return GenerationConfig(
        decoder_start_token_id=config.decoder_start_token_id,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        pad_token_id=config.pad_token_id,
        max_length=config.max_target_positions,
        is_multilingual=True,
        lang_to_id={token: ids(token) for token in sorted(languages)},
        task_to_id={task: ids(f"<|{task}|>") for task in TASKS},
        no_timestamps_token_id=ids("<|notimestamps|>"),
        prev_sot_token_id=ids("<|startofprev|>"),
        max_initial_timestamp_index=50,
        alignment_heads=[list(pair) for pair in heads],
        # Nothing but these may come before the text: an empty transcript is written as the end token alone.
        begin_suppress_tokens=[ids("Ġ")],
        # Only those that exist: the id of an unknown token is that of the end, and nothing would ever end.
        suppress_tokens=[ids(t) for t in ("<|startoftranscript|>", *CONTROL_TOKENS) if t in tokenizer.get_vocab()],
    )
