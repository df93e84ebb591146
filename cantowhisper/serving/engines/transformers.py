"""A checkpoint itself, through transformers: for GPUs, and for weights that cannot be exported."""

import contextlib
import os

import numpy as np

from cantowhisper.contracts import CantowhisperError, DecodingOptions
from cantowhisper.serving.engines import zero_gpu
from cantowhisper.serving.engines.alignment import token_times
from cantowhisper.serving.engines.engine import Decoded
from cantowhisper.serving.engines.timestamps import LATEST_FIRST_S, STEP_S
from cantowhisper.speech.context import Windows


class TransformersEngine:
    """engine.Engine over torch. On ZeroGPU each call borrows a GPU."""

    name, takes_words = "transformers", False

    def __init__(self, folder: str | os.PathLike, *, threads: int):
        try:
            import torch
            from transformers import WhisperForConditionalGeneration

            from cantowhisper.speech.torch_context import ContextSeam
        except ImportError as error:
            raise CantowhisperError(
                f"the weights in {folder} cannot be run without torch and transformers; export them where those are "
                "(cantowhisper export MODEL)"
            ) from error
        self._torch = torch
        gpu = torch.cuda.is_available()
        self.slow = not gpu
        if not gpu:
            torch.set_num_threads(threads)
        try:
            # Half the memory and twice the speed on a GPU; CPUs compute float16 slowly or not at all.
            dtype = torch.float16 if gpu else torch.float32
            # A folder of this machine: nothing is fetched here.
            model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=dtype)  # nosec B615
        except (OSError, ValueError) as error:
            raise CantowhisperError(f"cannot load the weights in {folder} ({str(error).splitlines()[0]})") from error
        self._model = model.eval().to("cuda" if gpu else "cpu")
        self._seam = ContextSeam.on(self._model)
        self.n_mels = model.config.num_mel_bins
        self.decode = zero_gpu.borrow(self._decode)
        self.first_probabilities = zero_gpu.borrow(self._first_probabilities)
        self.align = zero_gpu.borrow(self._align)

    def _decode(self, mels: np.ndarray, windows: Windows, prompt: list[int], options: DecodingOptions) -> list[Decoded]:
        torch, model = self._torch, self._model
        # Not WhisperForConditionalGeneration.generate(): that one rebuilds the prompt and adds its own fallbacks.
        from transformers import GenerationMixin

        from cantowhisper.speech.torch_search import shared_encoder_states

        shared = shared_encoder_states(model, options.beam_size)
        with torch.inference_mode(), self._seam.of(windows), shared:
            prompts = torch.tensor([prompt] * len(mels), device=model.device)
            features = self._features(mels)
            out = GenerationMixin.generate(
                model,
                input_features=features,
                attention_mask=torch.ones_like(features[:, 0], dtype=torch.long),  # all of it, silence too
                decoder_input_ids=prompts,
                decoder_attention_mask=torch.ones_like(prompts),
                max_new_tokens=options.max_new_tokens,
                max_length=None,
                num_beams=options.beam_size,
                repetition_penalty=options.repetition_penalty,
                no_repeat_ngram_size=options.no_repeat_ngram_size,
                # Of Whisper's own, which forbid an end at once; after some text nothing more need be said.
                **({"begin_suppress_tokens": []} if options.prefix_length else {}),
                suppress_tokens=sorted({*(model.generation_config.suppress_tokens or []), *options.suppress_tokens}),
                logits_processor=[*self._timestamp_rules(options, len(prompt)), *_fusion(options, len(prompt))],
                return_dict_in_generate=True,
                output_scores=True,
            )
            steps = model.compute_transition_scores(
                out.sequences, out.scores, getattr(out, "beam_indices", None), normalize_logits=True
            )
        end = model.generation_config.eos_token_id
        rows = zip(out.sequences[:, len(prompt) :].tolist(), steps.tolist(), strict=True)
        return [_until_end(ids, scores, end) for ids, scores in rows]

    def _timestamp_rules(self, options: DecodingOptions, n_prompt: int) -> list:
        """transformers' own processor, for a text with timestamps."""
        if not options.first_timestamp:
            return []
        from transformers import GenerationConfig
        from transformers.generation.logits_process import WhisperTimeStampLogitsProcessor

        settings = GenerationConfig(
            eos_token_id=self._model.generation_config.eos_token_id,
            no_timestamps_token_id=options.first_timestamp - 1,
            max_initial_timestamp_index=round(LATEST_FIRST_S / STEP_S),
        )
        return [WhisperTimeStampLogitsProcessor(settings, begin_index=n_prompt)]

    def _first_probabilities(self, mels: np.ndarray, windows: Windows, start: int) -> np.ndarray:
        torch = self._torch
        with torch.inference_mode(), self._seam.of(windows):
            starts = torch.full((len(mels), 1), start, device=self._model.device)
            logits = self._model(input_features=self._features(mels), decoder_input_ids=starts).logits[:, -1]
            return logits.float().softmax(dim=-1).cpu().numpy()

    def _align(
        self, mels: np.ndarray, windows: Windows, prompt: list[int], ids: list[int], *, n_frames: int
    ) -> list[float]:
        torch, model = self._torch, self._model
        tokens = torch.tensor([[*prompt, *ids]], device=model.device)
        heads = _alignment_heads(model)
        with torch.inference_mode(), self._seam.of(windows), _outputs_of(model, {layer for layer, _ in heads}) as seen:
            model(input_features=self._features(mels), decoder_input_ids=tokens, use_cache=False)
        split = {name: out[0].unflatten(-1, (model.config.decoder_attention_heads, -1)) for name, out in seen.items()}
        queries, keys = (
            torch.stack([split[kind, layer][:, head] for layer, head in heads]).float().cpu().numpy()
            for kind in ("q_proj", "k_proj")
        )
        return token_times(queries[:, len(prompt) - 1 :], keys, n_frames=n_frames)

    def _features(self, mels: np.ndarray):
        return self._torch.from_numpy(np.ascontiguousarray(mels)).to(self._model.device, self._model.dtype)


def _fusion(options: DecodingOptions, n_prompt: int) -> list:
    """The language model's say, if there is one."""
    if not options.language_model:
        return []
    from cantowhisper.speech.torch_search import ShallowFusion

    return [ShallowFusion(options.language_model, n_prompt=n_prompt - options.prefix_length)]


def _alignment_heads(model) -> list[tuple[int, int]]:
    """(layer, head) whose attention tells times; where nobody named them, all of the second half, as openai-whisper."""
    layers, heads = model.config.decoder_layers, model.config.decoder_attention_heads
    named = getattr(model.generation_config, "alignment_heads", None)
    return named or [(layer, head) for layer in range(layers // 2, layers) for head in range(heads)]


@contextlib.contextmanager
def _outputs_of(model, layers: set[int]):
    """What the queries' and keys' projections of these layers' cross-attention give within the block."""
    seen, hooks = {}, []
    for layer in layers:
        for kind in ("q_proj", "k_proj"):
            module = getattr(model.get_decoder().layers[layer].encoder_attn, kind)
            keep = lambda _module, _args, out, name=(kind, layer): seen.__setitem__(name, out)
            hooks.append(module.register_forward_hook(keep))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _until_end(ids: list[int], scores: list[float], end: int) -> Decoded:
    """Cut a generated row at its end token, whose probability still counts: knowing where to stop is part of it."""
    length = ids.index(end) if end in ids else len(ids)
    counted = scores[: length + 1]
    return Decoded(ids[:length], sum(counted) / max(len(counted), 1), tuple(scores[:length]))
