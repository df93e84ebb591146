"""Which language somebody speaks, where nobody named it: when to listen for it, and when that is settled. Pure.

To hear the language costs a pass of the encoder, as much as most of a pass over the text. So it is asked for only until
it is clear, and again after a long silence: then somebody else may speak. Pieces of speech are taken to be independent,
so what they say of the language adds up as logarithms; a piece that goes on is heard anew and counts once.
"""

from collections.abc import Mapping

import numpy as np

from cantowhisper.serving.live.agreement import DecodeRequest
from cantowhisper.speech.mel import CHUNK_SECONDS, SAMPLE_RATE

# whisper-base on 8 clips each of Cantonese, Mandarin, English, Japanese, German, Tamil and Georgian: of 1.2 s it hears
# 23 wrongly as English, with up to 0.86; from 2 s on nothing that it gives 0.95 is wrong.
CLEAR = 0.95  # probability of the likeliest language …
CLEAR_S = 2.0  # … after so many seconds of speech
ENOUGH_S = float(CHUNK_SECONDS)  # what Whisper was trained to tell it from: no more than this is waited for
LONG_SILENCE_S = 30.0


class SpokenLanguage:
    """The language of one session. `token` is the likeliest so far, as "<|yue|>", or "" before anything was heard."""

    def __init__(self):
        self._forget()
        self._reached = 0  # sample up to which speech was heard

    def _forget(self) -> None:
        self.token, self.clear = "", False
        self._before: dict[str, float] = {}  # log-probabilities of the pieces that are over, added up
        self._last: Mapping[str, float] = {}
        self._before_s = self._last_s = 0.0
        self._start: int | None = None  # of the last piece

    def is_wanted(self, request: DecodeRequest) -> bool:
        """Whether this pass should hear the language too."""
        if request.start - self._reached > LONG_SILENCE_S * SAMPLE_RATE:
            self._forget()
        self._reached = max(self._reached, request.end)
        return not self.clear

    def hear(self, request: DecodeRequest, log_probs: Mapping[str, float]) -> None:
        """What this pass says.

        log_probs : natural logarithms of the probabilities of all language tokens
        """
        if request.start != self._start:
            self._before = {token: self._before.get(token, 0.0) + p for token, p in self._last.items()} or self._before
            self._before_s += self._last_s
        self._start, self._last = request.start, dict(log_probs)
        self._last_s = (request.end - request.start) / SAMPLE_RATE
        sums = np.array([self._before.get(token, 0.0) + p for token, p in self._last.items()])
        weights = np.exp(sums - sums.max())
        best, heard_s = int(sums.argmax()), self._before_s + self._last_s
        self.token = list(self._last)[best]
        sure = weights[best] / weights.sum() >= CLEAR
        self.clear = heard_s >= ENOUGH_S or (bool(sure) and heard_s >= CLEAR_S)
