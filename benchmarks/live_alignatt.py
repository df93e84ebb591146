"""SimulStreaming's policy AlignAtt (Macháček and Polák 2025) as whisperlivekit runs it, in a process of its own.

What whisperlivekit asks for would not go with what is installed here, so another Python runs this file (`AlignAtt`
starts it). It reads a line of JSON for each recording, {"sound": FILE.npy}, and writes a line back. It imports nothing
of this project.
"""

import contextlib
import importlib.metadata
import json
import logging
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

RATE = 16_000
STEP_S = 1.2  # SimulStreaming's default; all others are whisperlivekit's (25 frames of 20 ms, 30 s of sound)
Words = list[tuple[float, str]]  # end s, text


class AlignAtt:
    """The other process, from this side. As a context it ends with the block."""

    def __init__(self, python: Path, model: Path, encoder: Path, folder: Path, *, language: str, threads: int):
        """python : an interpreter that has whisperlivekit; encoder : the same model for CTranslate2.

        Raises ValueError where whisperlivekit is missing or does not start.
        """
        command = [python, "-I", __file__, model, encoder, language]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
        self._sound, pipe = folder / "sound.npy", subprocess.PIPE
        try:
            self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        except OSError as error:
            raise ValueError(f"{python} cannot be started: {error.strerror}") from None
        self.version: str = self._answer()["version"]

    def __enter__(self) -> "AlignAtt":
        return self

    def __exit__(self, *_) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def run(self, waveform: np.ndarray) -> dict:
        """What `simulate` says of a recording."""
        np.save(self._sound, waveform)
        self._process.stdin.write(json.dumps({"sound": str(self._sound)}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict:
        answer = json.loads(self._process.stdout.readline() or '{"error": "AlignAtt ended without an answer"}')
        if "error" in answer:
            self._process.kill()
            self.__exit__()
            raise ValueError(answer["error"])
        return answer


def simulate(
    waveform: np.ndarray,
    hear: Callable[[np.ndarray], Words],
    finish: Callable[[], Words],
    *,
    step_s: float = STEP_S,
    clock: Callable[[], float] = time.perf_counter,
) -> dict:
    """Time passes while it computes; the next pass hears all that has arrived by then."""
    now_s, busy_s, heard, passes, texts, commits = 0.0, 0.0, 0, 0, [], []
    audio_s = waveform.size / RATE
    while heard < waveform.size:
        now_s = max(now_s, min(heard / RATE + step_s, audio_s))
        until, started = min(round(now_s * RATE), waveform.size), clock()
        words = hear(waveform[heard:until])
        words += finish() if until == waveform.size else []
        took_s = clock() - started
        heard, now_s, busy_s, passes = until, now_s + took_s, busy_s + took_s, passes + 1
        texts += [text for _, text in words]
        commits += [round(now_s - end_s, 2) for end_s, text in words for _ in text.strip()]
    # A program that is late does fewer passes: for the cost, as many as there are steps.
    steady_s = busy_s / max(1, passes) * math.ceil(waveform.size / round(step_s * RATE))
    return {"text": "".join(texts), "commit_s": commits, "compute_s": round(steady_s, 2), "passes": passes}


class Engine:
    """whisperlivekit with its usual options, but greedy search.

    The encoder runs in CTranslate2 and the decoder in PyTorch, as whisperlivekit chooses on a CPU. Its voice activity
    detection is on: where a pause begins, the sound before it is decoded to its end.
    """

    def __init__(self, model: str, encoder: str, language: str):
        from whisperlivekit.config import WhisperLiveKitConfig
        from whisperlivekit.silero_vad_iterator import load_onnx_session
        from whisperlivekit.simul_whisper import SimulStreamingASR

        config = WhisperLiveKitConfig(
            decoder_model_path=model,
            encoder_model_path=encoder,
            custom_alignment_heads=alignment_heads(Path(model)),
            lan=language,
            min_chunk_size=STEP_S,
            warmup_file="",  # otherwise one is downloaded
        )
        self._recognizer = SimulStreamingASR(**vars(config))
        self._recognizer.cfg.decoder_type = "greedy"  # it says "beam" for one beam, too
        self._voice = load_onnx_session()

    def run(self, waveform: np.ndarray) -> dict:
        session = Session(self._recognizer, self._voice)
        return simulate(waveform, session.hear, session.finish)


def alignment_heads(model: Path) -> str:
    """The heads that follow time, as openai-whisper writes them: a boolean (layer, head) array, gzip, base 85."""
    import base64
    import gzip

    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    heads = np.zeros((config["decoder_layers"], config["decoder_attention_heads"]), bool)
    chosen = json.loads((model / "generation_config.json").read_text(encoding="utf-8"))["alignment_heads"]
    heads[tuple(np.transpose(chosen))] = True
    return base64.b85encode(gzip.compress(heads.tobytes())).decode()


class Session:
    """One recording."""

    def __init__(self, recognizer, voice):
        from whisperlivekit.silero_vad_iterator import FixedVADIterator, OnnxWrapper
        from whisperlivekit.simul_whisper import SimulStreamingOnlineProcessor

        self._processor = SimulStreamingOnlineProcessor(recognizer)
        self._events = FixedVADIterator(OnnxWrapper(session=voice))
        self._n_heard, self._last_s = 0, 0.0
        self._silent_from: int | None = 0  # sample

    def hear(self, sound: np.ndarray) -> Words:
        """sound : what has arrived since. Returns what becomes final."""
        found, begin = [], 0
        for event in self._events(sound):
            ((kind, sample),) = event.items()
            at = min(max(sample - self._n_heard, begin), sound.size)
            if kind == "end" and self._silent_from is None:
                self._insert(sound[begin:at], self._n_heard + at)
                found += self._words(self._processor.start_silence())
                self._silent_from = self._n_heard + at
            elif kind == "start" and self._silent_from is not None:
                silence_s = (self._n_heard + at - self._silent_from) / RATE
                self._processor.end_silence(silence_s, self._last_s)
                self._silent_from = None
                begin = at
        self._n_heard += sound.size
        if self._silent_from is None:
            self._insert(sound[begin:], self._n_heard)
            found += self._words(self._processor.process_iter())
        return found

    def finish(self) -> Words:
        """The rest, at the end of the recording."""
        return [] if self._silent_from is not None else self._words(self._processor.start_silence())

    def _insert(self, sound: np.ndarray, until: int) -> None:
        if sound.size:
            self._processor.insert_audio_chunk(sound, until / RATE)

    def _words(self, answer: tuple) -> Words:
        words = [(float(token.end), token.text) for token in answer[0]]
        self._last_s = max([self._last_s, *(end_s for end_s, _ in words)])
        return words


def serve(arguments: list[str], lines: Iterable[str]) -> None:
    """A line of JSON for each line; what libraries print goes to stderr."""
    answers = sys.stdout
    say = lambda answer: print(json.dumps(answer), file=answers, flush=True)
    logging.disable(logging.WARNING)
    logging.getLogger("whisperlivekit.simul_whisper.backend").addFilter(_fail)
    with contextlib.redirect_stdout(sys.stderr):
        try:
            engine = Engine(*arguments)
            say({"version": importlib.metadata.version("whisperlivekit")})
            for line in lines:
                say(engine.run(np.load(json.loads(line)["sound"])))
        except Exception as error:
            say({"error": f"whisperlivekit does not run with {sys.executable}: {error}"})


def _fail(record: logging.LogRecord) -> bool:
    """whisperlivekit logs what went wrong in a pass and goes on without text: no result to compare with."""
    if record.levelno >= logging.ERROR:
        raise RuntimeError(record.getMessage())
    return True


if __name__ == "__main__":
    serve(sys.argv[1:], sys.stdin)
