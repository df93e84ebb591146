"""What speaks for text being final before a pause: where the model looked for it, or other passes. Pure.

Attention is AlignAtt (Papi et al. 2023, arXiv 2305.11408): a character that the model looked for near the end of the
sound may have been heard in part, so it waits, and so does all after it; one pass is enough for the others. Engines
without attention have agreement: LocalAgreement-2 (Macháček et al. 2023) by character, where both passes must be sure
or all passes over `agree_s` of new sound agree.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from cantowhisper.serving.live.agreement import Hypothesis, common_letters, letters_of
from cantowhisper.serving.live.options import ATTENTION, LiveOptions
from cantowhisper.speech.mel import SAMPLE_RATE


@dataclass
class Witness:
    """What is known of the tentative letters of an utterance."""

    _said_since: list[int] = field(default_factory=list)  # of each: end of the first pass to say it
    _n_confident: int = 0  # so many the last pass was sure of

    def n_final(self, heard: Hypothesis, said: str, end: int, options: LiveOptions) -> int:
        """How many characters of a pass to commit; punctuation waits for the letter after it.

        heard : what the pass wrote
        said : what of the pass before it is tentative
        end : sample at which its sound ends
        """
        letters = letters_of(heard.text)
        n_agreed = self._n_agreed(letters, heard, said, end, options)
        by_attention = options.commit == ATTENTION and heard.from_end_s
        n = _n_before_the_end(letters, heard.from_end_s, options.near_end_s) if by_attention else n_agreed
        self._said_since, self._n_confident = self._said_since[n:], max(0, self._n_confident - n)
        return letters[n - 1][0] + 1 if n else 0

    def _n_agreed(
        self, letters: list[tuple[int, str]], heard: Hypothesis, said: str, end: int, options: LiveOptions
    ) -> int:
        """How many letters this pass and those before it agree on; notes what is known of all letters of this pass."""
        same = common_letters(letters, letters_of(said))
        n_confident = sum(place < heard.n_confident for place, _ in letters)
        long_ago = end - int(options.agree_s * SAMPLE_RATE)
        n_old = next((i for i, first in enumerate(self._said_since[:same]) if first > long_ago), same)
        n = max(n_old, min(same, n_confident, self._n_confident))
        self._said_since = self._said_since[:same] + [end] * (len(letters) - same)
        self._n_confident = n_confident
        return n


def _n_before_the_end(letters: list[tuple[int, str]], from_end_s: Sequence[float], near_end_s: float) -> int:
    """How many letters come before the first that the model looked for near the end of the sound."""
    return next((i for i, (place, _) in enumerate(letters) if from_end_s[place] < near_end_s), len(letters))
