"""The two programs that run a Whisper: CTranslate2 (int8, no torch), and transformers for a model without export.

CTranslate2 encodes, searches and aligns; where the export holds the decoder for ONNX Runtime too, that one writes
greedy text, which takes it less than half the time.

Both take a batch of log-Mels of one length and a prompt, and give token ids with the mean log-probability. Nothing is
drawn by chance: the same recording gives the same text, whatever other visitors asked before.
"""

import os
from pathlib import Path
from typing import Protocol

import numpy as np

from cantowhisper.contracts import EXPORT_FOLDER, CantowhisperError
from cantowhisper.serving.engines import zero_gpu
from cantowhisper.serving.engines.engine import Decoded
from cantowhisper.serving.engines.onnx import OnnxDecoder
from cantowhisper.speech.context import LEAST_PHRASE_TOKENS

# A second try for a piece that looped. Whisper draws at a higher temperature there; a wider search to which repeating
# costs something breaks loops too, and CTranslate2's draws cannot be seeded for a request.
SECOND_TRY_BEAM = 5
REPETITION_PENALTY = 1.3  # divides the score of tokens that were there
ENCODE_FRAMES = 2400  # at once: what the encoder computes then stays in the caches; of 9,600, each takes twice as long


class Engine(Protocol):
    """Decode log-Mels. `takes_short_input` says whether fewer than 3,000 frames are possible at all."""

    name: str
    n_mels: int
    takes_short_input: bool

    def decode(
        self,
        mels: np.ndarray,
        prompt: list[int],
        *,
        max_new_tokens: int,
        suppress: list[int],
        beam_size: int = 1,
        second_try: bool = False,
        phrase_tokens: int = LEAST_PHRASE_TOKENS,
        n_written: int = 0,
        token_log_probs: bool = False,
    ) -> list[Decoded]:
        """mels: float32 (batch, n_mels, n_frames). beam_size 1 is greedy.

        second_try: search wider, for text that does not repeat itself: of `phrase_tokens` tokens not in the same order
        n_written: so many tokens at the end of the prompt are text already. What is decoded goes on from them (and may
        be nothing); they are not repeated in the result.
        token_log_probs: fill in `log_probs`, for greedy search
        """
        ...

    def languages(self, mel: np.ndarray) -> dict[str, float]:
        """Probability of each language token ("<|en|>"); empty if the model cannot tell. mel: (n_mels, n_frames)."""
        ...


def open_engine(folder: Path, *, threads: int, backend: str = "auto") -> Engine:
    """The engine for a model folder: its CTranslate2 export if there is one, else transformers.

    Raises
    ------
    CantowhisperError : the folder holds no model, or none that `backend` or the installed packages can run
    """
    export = find_export(folder)
    if backend == "ctranslate2" and export is None:
        raise CantowhisperError(
            f"{folder} holds no CTranslate2 export; make one with: cantowhisper export {folder} OUT"
        )
    if backend in ("auto", "ctranslate2") and export is not None:
        return CTranslate2Engine(export, threads=threads)
    if backend not in ("auto", "transformers"):
        raise CantowhisperError(f"{backend!r} is no backend; choose auto, ctranslate2 or transformers")
    if not any(folder.glob("*.safetensors")) and not (folder / "pytorch_model.bin").exists():
        raise CantowhisperError(f"{folder} holds neither a CTranslate2 export nor weights; is it a model folder?")
    return TransformersEngine(folder, threads=threads)


def find_export(folder: Path) -> Path | None:
    """The CTranslate2 folder: `ct2/` of a model folder, or the folder itself when it is an export."""
    for candidate in (folder / EXPORT_FOLDER, folder):
        if (candidate / "model.bin").exists() and (candidate / "config.json").exists():
            return candidate
    return None


class CTranslate2Engine:
    """An export on the CPU. Takes input of any length as it is."""

    name = "ctranslate2"
    takes_short_input = True

    def __init__(self, folder: str | os.PathLike, *, threads: int):
        import ctranslate2

        self._ct2 = ctranslate2
        try:
            # int8 is what the export holds; one worker, because two would share the same cores and slow each other.
            self._model = ctranslate2.models.Whisper(
                str(folder), device="cpu", compute_type="int8", inter_threads=1, intra_threads=threads
            )
        except (RuntimeError, ValueError) as error:
            raise CantowhisperError(f"cannot load the export in {folder} ({error}); export the model again") from error
        self.n_mels = self._model.n_mels
        self._greedy = OnnxDecoder(Path(folder), threads=threads).greedy if OnnxDecoder.is_in(Path(folder)) else None

    def encode(self, mels: np.ndarray):
        """Encoder output, a StorageView of shape (batch, n_frames / 2, d_model)."""
        n = max(1, ENCODE_FRAMES // mels.shape[2])
        view = self._ct2.StorageView.from_array
        encoded = [self._model.encode(view(np.ascontiguousarray(mels[i : i + n]))) for i in range(0, len(mels), n)]
        return encoded[0] if len(encoded) == 1 else view(np.concatenate([np.array(one) for one in encoded]))

    def decode(
        self,
        mels,
        prompt,
        *,
        max_new_tokens,
        suppress,
        beam_size=1,
        second_try=False,
        phrase_tokens=LEAST_PHRASE_TOKENS,
        n_written=0,
        token_log_probs=False,
    ):
        encoded = self.encode(mels)
        if self._greedy and beam_size == 1 and not second_try:
            limits = {"max_new_tokens": max_new_tokens, "suppress": suppress, "n_written": n_written}
            return self._greedy(np.array(encoded), prompt, **limits)
        results = self._model.generate(
            encoded,
            [prompt] * len(mels),
            beam_size=SECOND_TRY_BEAM if second_try else beam_size,
            repetition_penalty=REPETITION_PENALTY if second_try else 1.0,
            no_repeat_ngram_size=phrase_tokens if second_try else 0,
            # CTranslate2 generates min(max_length / 2, max_length - len(prompt)) tokens at the most, and counts text
            # in the prompt among them.
            max_length=max(2 * (n_written + max_new_tokens), len(prompt) + max_new_tokens),
            suppress_blank=not n_written,  # the model's own begin_suppress_tokens, which forbid an end at once
            suppress_tokens=[-1, *suppress],  # -1 stands for the model's own suppress_tokens
            return_scores=True,
            return_logits_vocab=token_log_probs,
        )
        most = n_written + max_new_tokens
        scored = [_scored(list(r.sequences_ids[0]), float(r.scores[0]), most) for r in results]
        if token_log_probs:
            scored = [s._replace(log_probs=_log_probs(s, r.logits[0])) for s, r in zip(scored, results, strict=True)]
        # Text in the prompt comes first in the result.
        return [s._replace(token_ids=s.token_ids[n_written:], log_probs=s.log_probs[n_written:]) for s in scored]

    def languages(self, mel: np.ndarray) -> dict[str, float]:
        """Probability of each language token; empty for a vocabulary of its own. mel: float32 (n_mels, n_frames)."""
        if not self._model.is_multilingual:  # CTranslate2 knows only Whisper's own vocabularies
            return {}
        (ranked,) = self._model.detect_language(self.encode(mel[np.newaxis]))
        return dict(ranked)

    def no_speech_probability(self, mel: np.ndarray, prompt: list[int]) -> float:
        """What the model itself thinks of there being no speech. mel: float32 (n_mels, n_frames)."""
        encoded = self.encode(mel[np.newaxis])
        (result,) = self._model.generate(
            encoded, [prompt], beam_size=1, max_length=len(prompt) + 1, return_no_speech_prob=True
        )
        return float(result.no_speech_prob)

    def align(self, mel: np.ndarray, prompt: list[int], ids: list[int], n_frames: int) -> list[float]:
        """Seconds in the input at which each token begins, and where the last one ends: len(ids) + 1 numbers.

        From the cross-attention of the heads that config.json names (dynamic time warping, as in openai-whisper).
        """
        encoded = self.encode(mel[np.newaxis])
        # The start sequence without <|notimestamps|>: CTranslate2 adds that one itself.
        (found,) = self._model.align(encoded, prompt[:-1], [ids], n_frames)
        begins: dict[int, int] = {}
        for token, time in found.alignments:
            begins.setdefault(token, time)
        end = found.alignments[-1][1] + 1 if found.alignments else 0
        return [begins.get(i, end) * 0.02 for i in range(len(ids) + 1)]


def _scored(ids: list[int], score: float, max_new_tokens: int) -> Decoded:
    """CTranslate2 adds up the end token too, but divides by the number of the others."""
    ended = len(ids) < max_new_tokens
    return Decoded(ids, score * max(len(ids), 1) / (len(ids) + ended or 1))


def _log_probs(decoded: Decoded, logits: list) -> tuple[float, ...]:
    """Log-probability of each token from the logits of each step, (1, vocabulary)."""
    rows = [np.array(row, dtype=np.float64).ravel() for row in logits[: len(decoded.token_ids)]]
    return tuple(
        float(row[token] - row.max() - np.log(np.exp(row - row.max()).sum()))
        for token, row in zip(decoded.token_ids, rows, strict=True)
    )


class TransformersEngine:
    """The checkpoint itself through transformers, always with 30 s of input; slower, but needs no export."""

    name = "transformers"
    takes_short_input = False  # stock Whisper encoders refuse any length but 3,000 frames

    def __init__(self, folder: str | os.PathLike, *, threads: int):
        try:
            import torch
            from transformers import WhisperForConditionalGeneration
        except ImportError as error:
            raise CantowhisperError(
                f"{folder} has no CTranslate2 export, and without torch and transformers its weights cannot be run; "
                "export it where it was trained (cantowhisper export MODEL OUT)"
            ) from error
        self._torch = torch
        gpu = torch.cuda.is_available()
        if not gpu:
            torch.set_num_threads(threads)
        try:
            # Half the memory and twice the speed on a GPU; CPUs compute float16 slowly or not at all.
            dtype = torch.float16 if gpu else torch.float32
            model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=dtype)
        except (OSError, ValueError) as error:
            raise CantowhisperError(f"cannot load the weights in {folder} ({str(error).splitlines()[0]})") from error
        self._model = model.eval().to("cuda" if gpu else "cpu")
        self.n_mels = model.config.num_mel_bins
        self.decode = zero_gpu.borrow(self._decode)
        self.languages = zero_gpu.borrow(self._languages)

    def _languages(self, mel: np.ndarray) -> dict[str, float]:
        torch, model = self._torch, self._model
        tokens = getattr(model.generation_config, "lang_to_id", None) or {}
        start = torch.tensor([[model.config.decoder_start_token_id]], device=model.device)
        features = torch.from_numpy(np.ascontiguousarray(mel[np.newaxis])).to(model.device, model.dtype)
        with torch.inference_mode():
            logits = model(input_features=features, decoder_input_ids=start).logits[0, -1].float()
            shares = logits[list(tokens.values())].softmax(0).tolist()
        return dict(zip(tokens, shares, strict=True))

    def _decode(
        self,
        mels,
        prompt,
        *,
        max_new_tokens,
        suppress,
        beam_size=1,
        second_try=False,
        phrase_tokens=LEAST_PHRASE_TOKENS,
        n_written=0,
        token_log_probs=False,  # they are there in any case
    ):
        torch, model = self._torch, self._model
        # Not WhisperForConditionalGeneration.generate(): that one rebuilds the prompt and adds its own fallbacks.
        from transformers import GenerationMixin

        search = {"num_beams": beam_size}
        if second_try:
            search = {
                "num_beams": SECOND_TRY_BEAM,
                "repetition_penalty": REPETITION_PENALTY,
                "no_repeat_ngram_size": phrase_tokens,
            }
        with torch.inference_mode():
            prompts = torch.tensor([prompt] * len(mels), device=model.device)
            features = torch.from_numpy(np.ascontiguousarray(mels)).to(model.device, model.dtype)
            out = GenerationMixin.generate(
                model,
                input_features=features,
                attention_mask=torch.ones_like(features[:, 0], dtype=torch.long),  # all of it, silence too
                decoder_input_ids=prompts,
                decoder_attention_mask=torch.ones_like(prompts),
                max_new_tokens=max_new_tokens,
                max_length=None,
                **search,
                # Of Whisper's own, which forbid an end at once; after some text nothing more need be said.
                **({"begin_suppress_tokens": []} if n_written else {}),
                suppress_tokens=sorted({*(model.generation_config.suppress_tokens or []), *suppress}),
                return_dict_in_generate=True,
                output_scores=True,
            )
            steps = model.compute_transition_scores(
                out.sequences, out.scores, getattr(out, "beam_indices", None), normalize_logits=True
            )
        end = model.generation_config.eos_token_id
        rows = zip(out.sequences[:, len(prompt) :].tolist(), steps.tolist(), strict=True)
        return [_until_end(ids, scores, end) for ids, scores in rows]


def _until_end(ids: list[int], scores: list[float], end: int) -> Decoded:
    """Cut a generated row at its end token, whose probability still counts: knowing where to stop is part of it."""
    length = ids.index(end) if end in ids else len(ids)
    counted = scores[: length + 1]
    return Decoded(ids[:length], sum(counted) / max(len(counted), 1), tuple(scores[:length]))
