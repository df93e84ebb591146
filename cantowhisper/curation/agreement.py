"""How much a clip's sound has to do with its text, by a Whisper that need not transcribe it well.

A stock whisper-base writes every second Cantonese character wrong, so its transcript says little about a text. But it
can be asked how likely each token of the given text is, with the clip's own sound and with the sounds of other clips of
like length. What the own sound adds is the pointwise mutual information of text and sound: rare characters and odd
sentences are as unlikely under the other sounds, and cancel out. For a text that belongs to another recording it is
nothing, and so the same numbers say what wrong texts look like: each of the other sounds, taken as the clip's own.
"""

import inspect
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.models.whisper.modeling_whisper import WhisperDecoder

from cantowhisper.speech.context import PROMPT_TOKENS, Context, Windows
from cantowhisper.speech.text import cer_view
from cantowhisper.speech.torch_context import ContextSeam
from cantowhisper.training.data.collator import encoder_inputs, windows_and_inputs

BATCH_CLIPS = 16  # clips of like length, which are each other's other sounds
OTHERS = 4  # sounds that a text is compared with; 8 and 49 told right from wrong no better
PAIRS = 16  # texts with sounds in one pass of the decoder: keys and values of whisper-base take 10 MB a pair
FEWEST_OTHERS = 2
# What the decoder calls its cache: transformers has given it another name in 5.24.
CACHE = "cache" if "cache" in inspect.signature(WhisperDecoder.forward).parameters else "past_key_values"


class Agreement(NamedTuple):
    """Log-probabilities of a text's tokens, of which the last is the end."""

    ids: np.ndarray  # int64 (n_tokens,)
    own: np.ndarray  # float32 (n_tokens,): given the clip's own sound
    others: np.ndarray  # float32 (n_others, n_tokens): given the sounds of other clips; maybe none
    ends: np.ndarray  # float32 (n_tokens,): of the end in each token's place, given the own sound


def batches_of(n_frames: Sequence[int]) -> list[np.ndarray]:
    """Rows in batches of neighbours by length, as even as they come, at most BATCH_CLIPS each.

    >>> [batch.tolist() for batch in batches_of([5, 1, 4])], len(batches_of(range(33)))
    ([[1, 2, 0]], 3)
    """
    order = np.argsort(np.asarray(n_frames), kind="stable")
    return np.array_split(order, -(-len(order) // BATCH_CLIPS))


class Listener:
    """A Whisper that is asked how likely given texts are."""

    def __init__(self, model, tokenizer, *, context: Context):
        self._model, self._tokenizer, self._context = model.eval(), tokenizer, context
        self._seam = ContextSeam.on(model)

    @torch.inference_mode()
    def agreements(
        self, mels: Sequence[np.ndarray], texts: Sequence[str], tokens: Sequence[str], rng: np.random.Generator
    ) -> list[Agreement]:
        """Those of a batch of clips.

        Parameters
        ----------
        mels : log-Mel (n_mels, n_frames) of each clip
        tokens : the language token of each, such as <|zh|>
        rng : draws the other sounds
        """
        windows, inputs = windows_and_inputs(encoder_inputs(mels, self._context))
        features = inputs["input_features"].to(self._model.device, self._model.dtype)
        with self._seam.of(windows):
            heard = self._keys_and_values(self._model.get_encoder()(features).last_hidden_state)
        pairs = [(text, sound) for text, sounds in enumerate(_sounds(texts, rng)) for sound in sounds]
        ids = [self._ids(text, token) for text, token in zip(texts, tokens, strict=True)]
        found: dict[tuple[int, int], np.ndarray] = {}
        ordered = sorted(pairs, key=lambda pair: len(ids[pair[0]]))
        for start in range(0, len(ordered), PAIRS):
            some = ordered[start : start + PAIRS]
            said = self._log_probs([ids[text] for text, _ in some], [sound for _, sound in some], windows, heard)
            found |= dict(zip(some, said, strict=True))
        of = lambda text: [found[pair] for pair in pairs if pair[0] == text]
        return [
            Agreement(np.array(spelt[PROMPT_TOKENS:]), own[0], _stacked(others, own), own[1])
            for spelt, (own, *others) in zip(ids, map(of, range(len(texts))), strict=True)
        ]

    def _ids(self, text: str, token: str) -> list[int]:
        names = ["<|startoftranscript|>", token, "<|transcribe|>", "<|notimestamps|>"]
        spelt = self._tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
        return [*self._tokenizer.convert_tokens_to_ids(names), *spelt, self._tokenizer.eos_token_id]

    def _keys_and_values(self, encoded: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Of each layer's attention to the sounds, computed once for all the texts."""
        start = torch.full((len(encoded), 1), self._model.config.decoder_start_token_id, device=encoded.device)
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        decoder = self._model.get_decoder()
        decoder(input_ids=start, encoder_hidden_states=encoded, use_cache=True, **{CACHE: cache})
        return [(layer.keys, layer.values) for layer in cache.cross_attention_cache.layers]

    def _log_probs(
        self, ids: list[list[int]], sounds: list[int], windows: Windows, heard: list[tuple[torch.Tensor, torch.Tensor]]
    ) -> Iterator[np.ndarray]:
        """(2, n_tokens) for some texts, each with a sound: of the tokens after the prompt, and of the end in each of
        their places."""
        longest, device = max(map(len, ids)), heard[0][0].device
        padded = torch.full((len(ids), longest), self._tokenizer.eos_token_id)
        for row, text in zip(padded, ids, strict=True):
            row[: len(text)] = torch.tensor(text)
        padded, chosen = padded.to(device), torch.tensor(sounds, device=device)
        cross = DynamicCache()
        for layer, (keys, values) in enumerate(heard):
            cross.update(keys[chosen], values[chosen], layer)
        theirs = Windows(windows.n_frames, *(array[sounds] for array in windows[1:]))
        with self._seam.of(theirs):
            hidden = self._model.get_decoder()(
                input_ids=padded[:, :-1],
                encoder_hidden_states=keys.new_zeros(len(ids), theirs.columns.shape[1], self._model.config.d_model),
                use_cache=True,
                **{CACHE: EncoderDecoderCache(DynamicCache(), cross)},
            ).last_hidden_state[:, PROMPT_TOKENS - 1 :]
        logits = self._model.proj_out(hidden).float()
        total, wanted = logits.logsumexp(-1), padded[:, PROMPT_TOKENS:]
        given = logits.gather(2, wanted[:, :, None])[:, :, 0] - total
        ends = logits[:, :, self._tokenizer.eos_token_id] - total
        found = torch.stack([given, ends], dim=1).cpu().numpy()
        return (row[:, : len(text) - PROMPT_TOKENS] for row, text in zip(found, ids, strict=True))


def _stacked(others: list[np.ndarray], own: np.ndarray) -> np.ndarray:
    return np.array([given for given, _ in others], np.float32).reshape(-1, own.shape[1])


def _sounds(texts: Sequence[str], rng: np.random.Generator) -> Iterator[list[int]]:
    """For each text its own sound, and those of clips that say something else."""
    said = [cer_view(text) for text in texts]
    for own, text in enumerate(said):
        others = [clip for clip, other in enumerate(said) if other != text]
        yield [own, *rng.permutation(others)[:OTHERS].tolist()]
