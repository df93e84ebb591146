"""An export on the CPU with ONNX Runtime, from the graphs that cantowhisper/export writes."""

import json
from functools import partial
from pathlib import Path

import numpy as np

from cantowhisper.contracts import DECODER_CROSS_FILE, DECODER_FILE, ENCODER_FILE, CantowhisperError, DecodingOptions
from cantowhisper.serving.engines.alignment import token_peaks, token_times
from cantowhisper.serving.engines.engine import Decoded
from cantowhisper.serving.engines.fusion import Fusion
from cantowhisper.serving.engines.rivals import greedy_with_words
from cantowhisper.serving.engines.search import Rules, beam_search, greedy
from cantowhisper.serving.engines.timestamps import Timestamps
from cantowhisper.speech.context import Windows

SPARE_CLIPS = 4  # more than are asked for, when memory for more clips is taken: to take it costs a copy of all


class OnnxEngine:
    """The graphs of an export's folder, in sessions of their own."""

    name, slow, takes_words = "onnxruntime", False, True

    def __init__(self, folder: Path, *, threads: int):
        self._encoder, self._cross, step = (
            _session(folder / name, threads=threads) for name in (ENCODER_FILE, DECODER_CROSS_FILE, DECODER_FILE)
        )
        self.n_mels = next(one for one in self._encoder.get_inputs() if one.name == "mel").shape[1]
        self._step = _Step(step)
        told = {name: json.loads(value) for name, value in step.get_modelmeta().custom_metadata_map.items()}
        self._end, self._max_positions = told["end_token_id"], told["max_positions"]
        self._never, self._never_first = told["suppress_tokens"], told["begin_suppress_tokens"]
        self._alignment_heads = told["alignment_heads"]

    def decode(self, mels: np.ndarray, windows: Windows, prompt: list[int], options: DecodingOptions) -> list[Decoded]:
        rules = Rules(
            end=self._end,
            never=sorted({*self._never, *options.suppress_tokens}),
            never_first=self._never_first,
            max_new_tokens=min(options.max_new_tokens, self._max_positions - len(prompt)),
            written=tuple(prompt[len(prompt) - options.prefix_length :]),
            repetition_penalty=options.repetition_penalty,
            no_repeat_ngram_size=options.no_repeat_ngram_size,
            timestamps=Timestamps(first=first, end=self._end) if (first := options.first_timestamp) else None,
        )
        may_repeat = options.repetition_penalty == 1 and not options.no_repeat_ngram_size  # `greedy` minds neither
        language_model = options.language_model
        if language_model or options.beam_size > 1 or not may_repeat:
            favours = Fusion(language_model, options.words) if language_model else options.words
            search = partial(beam_search, beam_size=options.beam_size, favours=favours)
        else:
            search = partial(greedy_with_words, words=options.words) if options.words else greedy
        prompts = np.tile(np.array(prompt, np.int64), (len(mels), 1))
        decoding = self._decoding(mels, windows)
        found = search(decoding, prompts, rules)
        return [self._with_peaks(*found, decoding, prompt, n)] if (n := options.peaks_in_frames) else found

    def _with_peaks(self, decoded: Decoded, decoding: "_Decoding", prompt: list[int], n_frames: int) -> Decoded:
        """By a pass over the whole text at once, which costs as much as a few of its tokens."""
        if not decoded.token_ids:
            return decoded
        ids = np.array([[*prompt, *decoded.token_ids]], np.int64)
        queries, keys = decoding.anew().alignment(ids, self._alignment_heads)
        peaks_s = token_peaks(queries[:, :-1], keys, n_frames=n_frames)
        return decoded._replace(peaks_s=tuple(peaks_s[len(prompt) - 1 :]))

    def first_probabilities(self, mels: np.ndarray, windows: Windows, start: int) -> np.ndarray:
        logits = self._decoding(mels, windows).advance(np.full((len(mels), 1), start, np.int64))
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)

    def align(
        self, mels: np.ndarray, windows: Windows, prompt: list[int], ids: list[int], *, n_frames: int
    ) -> list[float]:
        decoding = self._decoding(mels, windows)
        queries, keys = decoding.alignment(np.array([[*prompt, *ids]], np.int64), self._alignment_heads)
        return token_times(queries[:, len(prompt) - 1 :], keys, n_frames=n_frames)

    def encode(self, mels: np.ndarray, windows: Windows) -> np.ndarray:
        """The encoder's output, float32 (batch, n, width); nothing where a window is shorter than the longest.

        One clip at a time: a batch is no quicker, and takes the memory of all of it.
        """
        lengths = np.isfinite(windows.log_weights).sum(axis=1)
        encoded = None
        for row, n in enumerate(lengths):
            feed = {name: getattr(windows, name)[row : row + 1, :n] for name in ("columns", "positions", "log_weights")}
            (one,) = self._encoder.run(None, {"mel": np.ascontiguousarray(mels[row : row + 1]), **feed})
            if encoded is None:
                encoded = np.zeros((len(mels), *windows.columns.shape[1:], one.shape[2]), np.float32)
            encoded[row, :n] = one[0]
        return encoded

    def _decoding(self, mels: np.ndarray, windows: Windows) -> "_Decoding":
        names = [one.name for one in self._cross.get_outputs()]
        found = self._cross.run_with_ort_values(names, {"encoded": _value(self.encode(mels, windows))})
        heard = dict(zip(names, found, strict=True))
        return _Decoding(self._step, {**heard, "log_weights": _value(windows.log_weights)})


class _Step:
    """The decoder's graph with the names of what goes in and comes out, which are looked up once."""

    def __init__(self, session):
        self.session = session
        self.new_names = [one.name for one in session.get_outputs() if one.name.startswith("new.")]
        self.past_names = [name.replace("new.", "past.") for name in self.new_names]
        past = next(one for one in session.get_inputs() if one.name == self.past_names[0])
        self.heads, self.head_width = past.shape[1], past.shape[3]


class _Decoding:
    """search.Decoding: what was heard of each clip, and keys and values of what was written in each row."""

    def __init__(self, step: _Step, heard: dict):
        self._step, self._heard, self._at = step, heard, 0
        self._room: dict[str, np.ndarray] = {}  # where what was heard was put in another order: its first clips
        self._past: dict | None = None

    def anew(self) -> "_Decoding":
        """Of the same clips, with nothing written yet."""
        return _Decoding(self._step, self._heard)

    def advance(self, ids: np.ndarray) -> np.ndarray:
        logits, *new = self._step.session.run_with_ort_values(["logits", *self._step.new_names], self._feed(ids))
        self._past = dict(zip(self._step.past_names, new, strict=True))
        self._at += ids.shape[1]
        return logits.numpy()

    def select(self, rows: np.ndarray, clips: np.ndarray) -> None:
        self._past = {name: _value(value.numpy()[rows]) for name, value in self._past.items()}
        if not np.array_equal(clips, np.arange(self._heard["log_weights"].shape()[0])):
            self._hear(clips)

    def _hear(self, clips: np.ndarray) -> None:
        """Put what was heard of these clips in their order; what is in its place already is not copied."""
        moved = np.flatnonzero(clips != np.arange(len(clips)))
        for name, value in self._heard.items():
            old = self._room.get(name)
            if old is None or len(clips) > len(old):
                old = value.numpy()
                self._room[name] = np.empty((len(clips) + SPARE_CLIPS, *old.shape[1:]), old.dtype)
                n = min(len(old), len(clips))
                self._room[name][:n] = old[:n]
            room = self._room[name]
            room[moved] = old[clips[moved]]
            self._heard[name] = _value(room[: len(clips)])

    def alignment(self, ids: np.ndarray, heads: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
        """Queries (heads, tokens, width) of a clip's tokens in these (layer, head), and keys (heads, n, width)."""
        names = sorted({f"query.{layer}" for layer, _ in heads})
        asked = dict(zip(names, self._step.session.run_with_ort_values(names, self._feed(ids)), strict=True))
        by_head = {
            name: value.numpy()[0].reshape(-1, self._step.heads, self._step.head_width) for name, value in asked.items()
        }
        queries = np.stack([by_head[f"query.{layer}"][:, head] for layer, head in heads])
        return queries, np.stack([self._heard[f"key.{layer}"].numpy()[0, head] for layer, head in heads])

    def _feed(self, ids: np.ndarray) -> dict:
        if self._past is None:
            nothing = _value(np.zeros((len(ids), self._step.heads, 0, self._step.head_width), np.float32))
            self._past = dict.fromkeys(self._step.past_names, nothing)
        positions = np.arange(self._at, self._at + ids.shape[1], dtype=np.int64)
        return {"ids": _value(ids), "positions": _value(positions), **self._heard, **self._past}


def _value(array: np.ndarray):
    import onnxruntime

    return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))


def _session(path: Path, *, threads: int):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # A token is a hundred small products, and threads that sleep between them take 1.3 times as long as threads that
    # spin; but not beyond the token: they would hold a core that the next piece's encoder wants.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exception classes are not public
        why = str(error).splitlines()[0]
        raise CantowhisperError(f"cannot load {path} ({why}); export the model again") from error
