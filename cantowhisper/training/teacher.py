"""What a Whisper says of recordings at 30 s, kept on disk: its text, and how likely each next token was.

Nobody's transcript is needed: the model teaches itself what it would have heard with the whole window. A pass at 30 s
is nearly all of the work of an adaptation, so each is written when it is done and never computed again.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from transformers import GenerationMixin

from cantowhisper.contracts import CantowhisperError
from cantowhisper.files import write_aside
from cantowhisper.speech.audio import AudioError, load_audio
from cantowhisper.speech.mel import SAMPLE_RATE, log_mel, pad_to

AUDIO_ENDINGS = {".mp3", ".wav", ".flac", ".ogg", ".opus", ".m4a", ".mp4", ".webm", ".aac", ".mkv", ".mov"}
PIECE_SECONDS = 10.0  # longer recordings are cut: what is to be learned is the silence after short ones
SHORTEST_SECONDS = 0.5
QUIET_PEAK = 0.01  # -40 dBFS: nothing to learn from
LIKELIEST = 128  # tokens whose probabilities are kept; all others count as one more outcome
MAX_TOKENS = 160  # of a piece of ten seconds


class Lesson(NamedTuple):
    """A piece of sound, and what the model wrote for it at 30 s."""

    mel: np.ndarray  # float16 (n_mels, n_frames)
    ids: np.ndarray  # int32 (n_prompt + n,): the prompt and the text's tokens, the last of which predicts the end
    n_prompt: int
    likeliest: np.ndarray  # int32 (n, LIKELIEST): tokens after each place from the prompt's last token on
    log_probs: np.ndarray  # float32 (n, LIKELIEST): theirs


def pieces(folder: str | os.PathLike) -> Iterator[np.ndarray]:
    """Waveforms of at most ten seconds out of all recordings in a folder and below, in the order of their names.

    Longer recordings are cut where they are quietest. What cannot be read is left out; silence too.

    Raises
    ------
    CantowhisperError : there is nothing in it that can be heard
    """
    files = sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in AUDIO_ENDINGS and p.name[0] != ".")
    found = 0
    for path in files:
        try:
            waveform = load_audio(path)
        except AudioError:
            continue
        for piece in _cut(waveform):
            if piece.size >= SHORTEST_SECONDS * SAMPLE_RATE and np.abs(piece).max() >= QUIET_PEAK:
                found += 1
                yield piece
    if not found:
        raise CantowhisperError(
            f"{folder} holds no recording that can be heard; give a folder of speech in any language"
        )


def _cut(waveform: np.ndarray) -> Iterator[np.ndarray]:
    longest, step = int(PIECE_SECONDS * SAMPLE_RATE), SAMPLE_RATE // 50
    while waveform.size > longest:
        later = waveform[longest // 2 : longest]
        loudness = np.square(later[: later.size // step * step].reshape(-1, step)).sum(axis=1)
        at = longest // 2 + int(loudness.argmin()) * step + step // 2
        yield waveform[:at]
        waveform = waveform[at:]
    yield waveform


class Teacher:
    """A model at 30 s, whose lessons are kept in a folder."""

    def __init__(self, model, processor, folder: Path, *, language_token: str | None = None):
        self._model, self._folder, self._token = model, folder, language_token
        ids = processor.tokenizer.convert_tokens_to_ids
        self._start, self._end = model.config.decoder_start_token_id, model.generation_config.eos_token_id
        self._languages = model.generation_config.lang_to_id
        self._task = [ids("<|transcribe|>"), ids("<|notimestamps|>")]
        # Lessons of another model are other lessons.
        state = hashlib.sha256(model.get_decoder().layers[-1].fc2.weight.detach().cpu().numpy().tobytes()).hexdigest()
        self._name = f"{state[:12]}-{language_token or 'auto'}"
        folder.mkdir(parents=True, exist_ok=True)

    def lesson(self, waveform: np.ndarray) -> Lesson:
        """Of a piece of sound; from the folder if it has been given before."""
        path = self._folder / f"{hashlib.sha256(self._name.encode() + waveform.tobytes()).hexdigest()[:24]}.npz"
        if not path.exists():
            lesson = self._given(waveform)
            with write_aside(path) as aside, aside.open("wb") as file:
                np.savez_compressed(file, **lesson._asdict())
        with np.load(path) as kept:
            return Lesson(*(int(kept[name]) if name == "n_prompt" else kept[name] for name in Lesson._fields))

    @torch.inference_mode()
    def _given(self, waveform: np.ndarray) -> Lesson:
        mel = log_mel(waveform, n_mels=self._model.config.num_mel_bins).astype(np.float16)
        features = torch.from_numpy(pad_to(mel))[None].to(self._model.device, self._model.dtype)
        encoded = self._model.get_encoder()(features)
        prompt = [self._start, self._language(encoded), *self._task]
        ids = GenerationMixin.generate(
            self._model,
            encoder_outputs=encoded,
            decoder_input_ids=torch.tensor([prompt], device=self._model.device),
            max_new_tokens=MAX_TOKENS,
            max_length=None,
            do_sample=False,
            num_beams=1,
        )[0].tolist()
        ids = ids[: -1 if ids[-1] == self._end else None]
        logits = self._model(
            encoder_outputs=encoded, decoder_input_ids=torch.tensor([ids], device=self._model.device)
        ).logits[0, len(prompt) - 1 :]
        found = logits.float().log_softmax(-1).topk(min(LIKELIEST, logits.shape[-1]))
        return Lesson(
            mel,
            np.array(ids, np.int32),
            len(prompt),
            found.indices.cpu().numpy().astype(np.int32),
            found.values.cpu().numpy(),
        )

    def _language(self, encoded) -> int:
        if self._token:
            return self._languages[self._token]
        known = torch.tensor(sorted(self._languages.values()), device=self._model.device)
        first = torch.tensor([[self._start]], device=self._model.device)
        return int(known[self._model(encoder_outputs=encoded, decoder_input_ids=first).logits[0, -1, known].argmax()])
