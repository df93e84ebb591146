"""Greedy decoding with ONNX Runtime, from the graphs that the export wrote (training/results/onnx_export.py)."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cantowhisper.contracts import DECODER_CROSS_FILE, DECODER_FILE, CantowhisperError
from cantowhisper.serving.engines.engine import Decoded

MAX_POSITIONS = 448  # of Whisper's decoder: prompt and text


@dataclass
class _Row:
    """What is written for one piece, with the log-probability of each token and of the end."""

    ids: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    ended: bool = False

    def write(self, token: int, likely: float, *, ends: bool) -> None:
        if not self.ended:
            self.scores.append(likely)
            self.ended = ends
            self.ids += [] if ends else [token]


class OnnxDecoder:
    """The decoder of an export's folder."""

    def __init__(self, folder: Path, *, threads: int):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        # A token is a hundred small products, and threads that sleep between them take 1.3 times as long as threads
        # that spin; but not beyond the token: they would hold a core that the next piece's encoder wants.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._value = onnxruntime.OrtValue.ortvalue_from_numpy
        try:
            self._cross, self._step = (
                onnxruntime.InferenceSession(str(folder / name), options, providers=["CPUExecutionProvider"])
                for name in (DECODER_CROSS_FILE, DECODER_FILE)
            )
        except Exception as error:  # its exception classes are not public
            why = str(error).splitlines()[0]
            raise CantowhisperError(f"cannot load the decoder in {folder} ({why}); export the model again") from error
        self._cross_names = [one.name for one in self._cross.get_outputs()]
        self._new_names = [one.name for one in self._step.get_outputs()]
        self._past_names = [name.replace("new.", "past.") for name in self._new_names[1:]]
        past = [one for one in self._step.get_inputs() if one.name.startswith("past.")]
        self._heads, self._head_width = past[0].shape[1], past[0].shape[3]
        self._end = int(self._step.get_modelmeta().custom_metadata_map["end_token_id"])
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))  # as CTranslate2 reads it
        self._never, self._never_first = config.get("suppress_ids") or [], config.get("suppress_ids_begin") or []

    @staticmethod
    def is_in(folder: Path) -> bool:
        return (folder / DECODER_FILE).exists() and (folder / DECODER_CROSS_FILE).exists()

    def greedy(
        self, encoded: np.ndarray, prompt: list[int], *, max_new_tokens: int, suppress: list[int], n_written: int = 0
    ) -> list[Decoded]:
        """The likeliest token each time, until the end token or `max_new_tokens`.

        Parameters
        ----------
        encoded : float32 (batch, positions, width), the encoder's output
        prompt : tokens before the text, the same for all of the batch; at the end of it `n_written` may be text already
        suppress : tokens that are never written
        """
        never = np.array(sorted({*self._never, *suppress}), dtype=np.int64)
        first = never if n_written else np.array(sorted({*never.tolist(), *self._never_first}), dtype=np.int64)
        cross = self._cross.run_with_ort_values(self._cross_names, {"encoded": self._value(encoded)})
        heard = dict(zip(self._cross_names, cross, strict=True))
        rows = [_Row() for _ in encoded]
        going = list(range(len(rows)))  # rows of the batch that have not ended, in its order
        ids, past, at = np.tile(np.array(prompt, dtype=np.int64), (len(rows), 1)), self._nothing_yet(len(rows)), 0
        for step in range(min(max_new_tokens, MAX_POSITIONS - len(prompt))):
            logits, past = self._next(ids, at, {**heard, **past})
            logits[:, never if step else first] = -np.inf
            best = logits.argmax(axis=1)
            for i, token, likely in zip(going, best.tolist(), _log_softmax_at(logits, best).tolist(), strict=True):
                rows[i].write(token, likely, ends=token == self._end)
            still = [place for place, i in enumerate(going) if not rows[i].ended]
            if not still:
                break
            at += ids.shape[1]
            ids = best[:, np.newaxis]
            if len(still) <= len(going) / 2:  # every smaller batch is quicker, but to make one costs a copy
                heard, past = ({k: self._value(v.numpy()[still]) for k, v in of.items()} for of in (heard, past))
                going, ids = [going[place] for place in still], ids[still]
        return [Decoded(row.ids, float(np.mean(row.scores)), tuple(row.scores[: len(row.ids)])) for row in rows]

    def _nothing_yet(self, batch: int) -> dict:
        empty = np.zeros((batch, self._heads, 0, self._head_width), np.float32)
        return {name: self._value(empty) for name in self._past_names}

    def _next(self, ids: np.ndarray, at: int, known: dict) -> tuple[np.ndarray, dict]:
        """Logits (batch, vocabulary) behind `ids`, which begin at position `at`, and keys and values with them."""
        positions = np.arange(at, at + ids.shape[1], dtype=np.int64)
        feed = {"ids": self._value(ids), "positions": self._value(positions), **known}
        logits, *new = self._step.run_with_ort_values(self._new_names, feed)
        return logits.numpy(), dict(zip(self._past_names, new, strict=True))


def _log_softmax_at(logits: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Log-probability of the token `at` of each row, which is its likeliest."""
    largest = logits[np.arange(len(at)), at]
    return -np.log(np.exp(logits - largest[:, np.newaxis]).sum(axis=1))
