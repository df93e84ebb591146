"""The two programs that benchmarks.live compares, on the same weights: ours, and LocalAgreement-2 on faster-whisper.

Weights are random in the shape of whisper-small: what a pass costs does not depend on what it says. Every pass
writes as many tokens as the speech in it has (TOKENS_PER_CHARACTER for each character said by then), and what it
"hears" is read from the reference, so that both programs hear the same and differ only in when. How often ours is sure
of what it hears is measured with a trained model (`Sureness`).
"""

import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cantowhisper.contracts import DecodingOptions
from cantowhisper.serving.engines.engine import Decoded
from cantowhisper.serving.live.agreement import DecodeRequest, Hypothesis, agreed, common_prefix_length
from cantowhisper.serving.live.engine import LiveEngine
from cantowhisper.speech.mel import SAMPLE_RATE

TOKENS_PER_CHARACTER = 1.5  # Whisper's vocabulary spells Cantonese characters with one to three tokens
HEARD_AFTER_S = 0.1  # a character is written once it ended so long ago
UNSURE_S = 0.3  # and until it ended so long ago, wrongly


class TimedCharacter(NamedTuple):
    """A character of the reference and when it ended."""

    end_s: float
    character: str


def spoken_characters(rows: list[tuple[float, float, str]]) -> list[TimedCharacter]:
    """Characters of reference rows (start s, end s, text), evenly spread over each."""
    return [
        TimedCharacter(start + (end - start) * (i + 1) / len(text), c)
        for start, end, text in rows
        for i, c in enumerate(text)
    ]


def heard(spoken: list[TimedCharacter], start_s: float, end_s: float) -> str:
    """What a recogniser writes of a stretch: the last character, just said, not rightly yet."""
    inside = [s for s in spoken if start_s < s.end_s <= end_s - HEARD_AFTER_S]
    text = "".join(s.character for s in inside)
    return text[:-1] + "誤" if inside and inside[-1].end_s > end_s - UNSURE_S else text


class FixedLength:
    """An engine that writes exactly as many tokens as it is told to."""

    def __init__(self, engine, end_token: int):
        self._engine, self._end = engine, end_token
        self.n_tokens = 1
        self.name, self.n_mels = engine.name, engine.n_mels

    def decode(self, mels, windows, prompt, options: DecodingOptions) -> list[Decoded]:
        suppress = (*options.suppress_tokens, self._end)
        options = replace(options, max_new_tokens=self.n_tokens, suppress_tokens=suppress)
        return self._engine.decode(mels, windows, prompt, options)


class Sureness(LiveEngine):
    """A live engine that counts in how many of its passes the model was sure of all that the next pass said again."""

    def __post_init__(self):
        super().__post_init__()
        self.passes: list[tuple[DecodeRequest, Hypothesis]] = []

    def _recognise(self, session, wanted: DecodeRequest) -> Hypothesis:
        self.passes.append((wanted, super()._recognise(session, wanted)))
        return self.passes[-1][1]

    def sure_passes(self) -> tuple[int, int]:
        """(such passes, all passes that are gone on from) of one speaker's session."""
        sure = n = 0
        for (wanted, heard), (following, then) in pairwise(self.passes):
            same = common_prefix_length(wanted.prefix + heard.text, following.prefix + then.text)
            if wanted.start == following.start and same > len(wanted.prefix):
                sure, n = sure + (heard.n_confident >= same - len(wanted.prefix)), n + 1
        return sure, n


class Ours(LiveEngine):
    """The live engine; the model does the work of each pass, and the reference says what it heard."""

    def hear(self, references: dict[str, list[TimedCharacter]], engine: FixedLength, *, sure_share: float) -> "Ours":
        """sure_share: of the passes that are sure of all they hear rightly; the others are of any part of it."""
        self._references, self._fixed, self._sure_share = references, engine, sure_share
        self._drawn = np.random.default_rng(7)
        return self

    def start(self, **options):
        name = super().start(**options)
        self.sessions[name].spoken = list(self._references.values())[len(self.sessions) - 1]
        return name

    def _recognise(self, session, wanted: DecodeRequest) -> Hypothesis:
        text = heard(session.spoken, wanted.start / SAMPLE_RATE, wanted.end / SAMPLE_RATE)[len(wanted.prefix) :]
        right = len(text.removesuffix("誤"))
        n_confident = right if self._drawn.random() < self._sure_share else int(self._drawn.integers(right + 1))
        self._fixed.n_tokens = max(1, round(len(text) * TOKENS_PER_CHARACTER))
        super()._recognise(session, wanted)
        return Hypothesis(text, n_confident)


class LocalAgreement:
    """LocalAgreement-2 as in whisper_streaming (Macháček et al. 2023), with its usual settings.

    At each step of 1 s the whole buffer is transcribed by faster-whisper, which pads it to 30 s, with word timestamps;
    what two passes agree on is committed. A buffer over 15 s is trimmed at the end of a committed sentence. Greedy
    search (its default is a beam of 5, which costs more).
    """

    step_s, trim_s = 1.0, 15.0

    def __init__(self, folder: Path, *, threads: int):
        from faster_whisper import WhisperModel

        self._model = WhisperModel(
            str(folder / "ct2"), device="cpu", compute_type="int8", cpu_threads=threads, num_workers=1
        )
        self.busy_s, self.n_passes = 0.0, 0

    def run(self, waveform: np.ndarray, rows: list[tuple[float, float, str]], *, late: bool) -> dict:
        """Play a recording. `late`: time passes while it computes; otherwise every step is on time."""
        spoken, audio_s = spoken_characters(rows), waveform.size / SAMPLE_RATE
        now_s, start_s, committed, tentative, committed_s, revised, shown = 0.0, 0.0, "", "", [], 0, 0
        first_shown: dict[int, float] = {}
        arrived_s = 0.0
        while arrived_s < audio_s:
            now_s = max(now_s, min(arrived_s + self.step_s, audio_s))
            arrived_s = min(now_s, audio_s) if late else min(arrived_s + self.step_s, audio_s)
            known = sum(s.end_s <= start_s for s in spoken)  # characters before the buffer
            took_s = self._pass(waveform[int(start_s * SAMPLE_RATE) : int(arrived_s * SAMPLE_RATE)], spoken, start_s)
            now_s = now_s + took_s if late else arrived_s
            text = heard(spoken, start_s, arrived_s)[len(committed) - known :]
            n = agreed(text, tentative)
            same = agreed(text, tentative)
            revised, shown = revised + len(tentative) - same, shown + len(text) - n
            committed, tentative = committed + text[:n], text[n:]
            committed_s += [now_s] * n
            for i in range(len(committed) + len(tentative)):
                first_shown.setdefault(i, now_s)
            start_s = self._trimmed(start_s, arrived_s, rows, len(committed))
        committed_s += [now_s] * len(tentative)  # finish() hands out the rest as it is
        return {
            "commit": [at - s.end_s for at, s in zip(committed_s, spoken, strict=False)],
            "first_tentative": _first_delays(rows, first_shown),
            "final": _final_delays(rows, committed_s),
            "revised": revised,
            "shown": shown,
        }

    def _pass(self, sound: np.ndarray, spoken: list[TimedCharacter], start_s: float) -> float:
        end_s = start_s + sound.size / SAMPLE_RATE
        n_tokens = max(1, round(len(heard(spoken, start_s, end_s)) * TOKENS_PER_CHARACTER))
        end = self._model.hf_tokenizer.token_to_id("<|endoftext|>")
        started = time.perf_counter()
        segments, _ = self._model.transcribe(
            sound.astype(np.float32),
            language="yue",
            beam_size=1,
            temperature=0.0,
            compression_ratio_threshold=None,
            log_prob_threshold=None,
            no_speech_threshold=None,
            condition_on_previous_text=False,
            without_timestamps=True,  # random weights would write random times, and so seek to and fro
            word_timestamps=True,
            max_new_tokens=n_tokens,
            suppress_tokens=[-1, end],
        )
        list(segments)
        took_s = time.perf_counter() - started
        self.busy_s, self.n_passes = self.busy_s + took_s, self.n_passes + 1
        return took_s

    def _trimmed(self, start_s: float, arrived_s: float, rows, n_committed: int) -> float:
        if arrived_s - start_s <= self.trim_s:
            return start_s
        ends, n = [start_s], 0
        for _, end_s, text in rows:
            n += len(text)
            if n <= n_committed:
                ends.append(end_s)
        return max(ends)


def _first_delays(rows, first_shown: dict[int, float]) -> list[float]:
    firsts = np.cumsum([0, *(len(text) for _, _, text in rows)])
    return [first_shown[i] - start for (start, _, _), i in zip(rows, firsts, strict=False) if i in first_shown]


def _final_delays(rows, committed_s: list[float]) -> list[float]:
    lasts = np.cumsum([len(text) for _, _, text in rows]) - 1
    return [committed_s[i] - end for (_, end, _), i in zip(rows, lasts, strict=True) if i < len(committed_s)]
