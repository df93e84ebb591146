"""How much of Whisper's 30 s window is computed for a clip: its speech as it is, its silence merged.

Whisper's encoder hears 1,500 positions of 20 ms. A clip of 4 s fills 200 of them; the other 1,300 hear silence, and
after the two convolutions they all hold one and the same vector. They differ only by their position embedding, and the
last one by the zeros that its convolution sees beyond the window. So `merged_window` computes

1. the positions that hear speech, and a margin of silent ones after them, as they are;
2. of the silent rest, divided into groups of consecutive positions, one position a group (its middle one, with its own
   position embedding), whose logit is raised by log(size of the group) wherever it is a key of an attention;
3. the last position.

A softmax that sees one key with a weight of k sees k equal keys: exp(q·x + log k) = k exp(q·x). With as many groups as
silent positions this is the stock window, operation for operation. With fewer, the only error is that members of a
group are taken to be equal to its middle one; so groups are single positions next to the speech and grow, as a
geometric progression, to where positions matter least. It is token merging with proportional attention (Bolya et al.,
arXiv 2210.09461) where what may be merged is known beforehand, so that nothing has to be compared.

What does not work as well: the mean of a group's embeddings instead of one of them (no position ever looked like it),
and the same number of positions taken next to the speech with the weights of the whole window (the far end is missing).
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from cantowhisper.contracts import CantowhisperError, ModelFacts
from cantowhisper.speech.language import usual_script
from cantowhisper.speech.mel import FRAMES_PER_POSITION, N_FRAMES
from cantowhisper.speech.text import UNSPACED_SENTENCES

N_POSITIONS = N_FRAMES // FRAMES_PER_POSITION  # 1,500 of 20 ms
MAX_DECODER_TOKENS = 448  # positions of every Whisper's decoder: prompt, text and end
PROMPT_TOKENS = 4  # start, language, task, no timestamps
MAX_TEXT_TOKENS = MAX_DECODER_TOKENS - PROMPT_TOKENS

# Nobody says more than 20 characters of an alphabet a second, or 12 of Chinese. More tokens than those take are a
# loop, however sure the model is of them. How many a character takes is the tokenizer's, which knows some scripts by
# words and others by bytes: on article 1 of the Declaration of Human Rights English 0.20, Armenian 1.16, Burmese 2.78.
CHARACTERS_PER_SECOND = 20
TOKENS_PER_CHARACTER = {"Latn": 0.3, "Cyrl": 0.4, "Grek": 0.6, "Hebr": 0.7, "Arab": 0.7, "Kore": 0.9, "Taml": 1.0}
TOKENS_PER_CHARACTER |= dict.fromkeys(("Hans", "Hant", "Jpan", "Thai", "Deva", "Armn"), 1.2)
SPELT_IN_BYTES = 3.0  # tokens a character of all other scripts
LEAST_TOKENS_PER_SECOND = 24  # foreign names and numbers are spelt out in any language
PHRASE_CHARACTERS = 20  # some three words: what a search that avoids loops may not write twice …
LEAST_PHRASE_TOKENS = 6  # … and some five Chinese characters
SPARE_TOKENS = 16  # for very short pieces
CONTEXTS = ("merged", "plain", "full")


class Window(NamedTuple):
    """What the encoder computes for one clip: its input's length, and for each position three numbers."""

    n_frames: int  # of the encoder's input; even
    columns: np.ndarray  # int64 (n,): which output of the convolutions over that input
    positions: np.ndarray  # int64 (n,), rising: which of the 1,500 position embeddings
    log_weights: np.ndarray  # float32 (n,): what is added to its logit as a key; log of how many it stands for


class Windows(NamedTuple):
    """Those of a batch, whose rows are as long as the longest; what a shorter one lacks weighs nothing (log 0)."""

    n_frames: int
    columns: np.ndarray  # int64 (batch, n)
    positions: np.ndarray  # int64 (batch, n)
    log_weights: np.ndarray  # float32 (batch, n)


@dataclass(frozen=True, kw_only=True)
class Context:
    """How long an encoder input is for a clip, as one value: training writes it down, serving repeats it.

    kind : "merged", the window with its silence merged, which every Whisper takes; "plain", the clip and its margin
        and nothing else, which loops on models that were not trained for it (LibriSpeech WER 2.8 → 79.7,
        github.com/futo-org/whisper-acft); "full", the stock window of 30 s
    """

    kind: str = "merged"
    # Margin and groups were chosen with the stock whisper-base on English and Japanese clips of Common Voice, by how
    # far next-token distributions lie from those at 30 s (mean KL divergence in nats, 32-40 clips): 16 positions + 32
    # groups 0.0176, 16 + 64 0.0112, 64 + 64 0.0096, 32 + 128 0.0053, 32 + 160 0.0039, 32 + 256 0.0021; with 128
    # positions of silence and nothing else 0.15. Groups count, the margin hardly does.
    margin_frames: int = 32  # of silence after the speech, computed as they are
    bucket_frames: int = 40  # speech and margin are rounded up to this, so that clips of like length share a batch
    min_frames: int = 0  # the least of speech and margin
    groups: int = 160  # into which the rest of the window is merged

    def __post_init__(self):
        if self.kind not in CONTEXTS:
            raise CantowhisperError(f"a context is {', '.join(CONTEXTS)}, not {self.kind!r}")
        if self.bucket_frames < 2 or self.bucket_frames % 2 or self.min_frames % 2:
            raise CantowhisperError("contexts are even numbers of frames: the encoder takes two to a position")
        if self.margin_frames < 0 or self.min_frames < 0 or self.groups < 1:
            raise CantowhisperError("a context has a margin and a minimum of at least 0 frames, and at least one group")

    def kept_frames(self, n_frames: int) -> int:
        """Frames of speech and margin that are computed as they are, at most 3,000.

        >>> Context(margin_frames=128, bucket_frames=100, min_frames=200).kept_frames(412)
        600
        """
        if self.kind == "full":
            return N_FRAMES
        wanted = -(-(n_frames + self.margin_frames) // self.bucket_frames) * self.bucket_frames
        return min(max(wanted, self.min_frames), N_FRAMES)

    def n_positions(self, n_frames: int) -> int:
        """How many positions `window` has: what the encoder's work grows with."""
        kept = self.kept_frames(n_frames) // FRAMES_PER_POSITION
        return kept if self.kind != "merged" else min(max(kept, silent_from(n_frames)) + self.groups + 1, N_POSITIONS)

    def window(self, n_frames: int) -> Window:
        """The window of a clip of `n_frames` log-Mel frames, 1 to 3,000."""
        kept = self.kept_frames(n_frames)
        if self.kind != "merged":
            return plain_window(kept)
        return merged_window(n_frames, kept=kept // FRAMES_PER_POSITION, groups=self.groups)


def token_budget(seconds: float, *, language: str = "yue", at_most: int = MAX_TEXT_TOKENS) -> int:
    """How many tokens of text a piece of `seconds` may take, in scoring and in serving alike.

    >>> token_budget(4.0), token_budget(4.01), token_budget(60.0), token_budget(4.0, language="ka")
    (112, 113, 444, 256)
    """
    a_second = max(CHARACTERS_PER_SECOND * _tokens_per_character(language), LEAST_TOKENS_PER_SECOND)
    return min(math.ceil(seconds * a_second) + SPARE_TOKENS, at_most)


def phrase_tokens(language: str) -> int:
    """How many tokens in the same order a search that avoids loops does not write twice.

    >>> phrase_tokens("en"), phrase_tokens("yue"), phrase_tokens("ka")
    (6, 6, 60)
    """
    if usual_script(language) in UNSPACED_SENTENCES:
        return LEAST_PHRASE_TOKENS
    return max(LEAST_PHRASE_TOKENS, math.ceil(PHRASE_CHARACTERS * _tokens_per_character(language)))


def _tokens_per_character(language: str) -> float:
    return TOKENS_PER_CHARACTER.get(usual_script(language), SPELT_IN_BYTES)


def context_of(facts: ModelFacts) -> Context:
    """The context for a model: what it was trained with; for a stock Whisper, and one trained on 30 s alone, merged."""
    known = {one.name for one in dataclasses.fields(Context)}
    return Context(**{name: value for name, value in facts.context.items() if name in known})


def plain_window(n_frames: int) -> Window:
    """All positions of an input of `n_frames` (even), each for itself; 3,000 make the stock window."""
    positions = np.arange(n_frames // FRAMES_PER_POSITION)
    return Window(n_frames, positions, positions, np.zeros(positions.size, np.float32))


def silent_from(n_frames: int) -> int:
    """The first encoder position that hears only what follows a clip: two convolutions reach back two frames.

    >>> silent_from(400), silent_from(401)
    (201, 202)
    """
    return -(-n_frames // FRAMES_PER_POSITION) + 1


def merged_window(n_frames: int, *, kept: int, groups: int) -> Window:
    """The 30 s window of a clip with its silence merged.

    Parameters
    ----------
    n_frames : log-Mel frames of the clip, 1 to 3,000
    kept : positions computed as they are, from the first on; at least those that hear the clip
    groups : into which the silent positions after those are merged; the last position stays by itself

    Returns
    -------
    Window : the weights exp(log_weights) add up to 1,500. Its input is the clip, padded to `n_frames` of the window
    by what silence is (mel.pad_to): the last column sees the zeros beyond it, and the one before sees silence alone
    """
    if not 1 <= n_frames <= N_FRAMES:
        raise ValueError(f"a clip has 1 to {N_FRAMES} frames, not {n_frames}")
    kept = max(kept, silent_from(n_frames))
    rest = N_POSITIONS - 1 - kept
    if groups >= rest:
        return plain_window(N_FRAMES)
    sizes = np.array(group_sizes(rest, groups))
    ends = kept + np.cumsum(sizes)
    middles = ends - sizes + sizes // 2
    columns = np.concatenate([np.arange(kept), np.full(groups, kept), [kept + 1]])
    positions = np.concatenate([np.arange(kept), middles, [N_POSITIONS - 1]])
    weights = np.concatenate([np.ones(kept), sizes, [1]])
    return Window((kept + 2) * FRAMES_PER_POSITION, columns, positions, np.log(weights).astype(np.float32))


@lru_cache(maxsize=4096)
def group_sizes(total: int, groups: int) -> tuple[int, ...]:
    """`total` positions in `groups` runs that grow like a geometric progression which begins at 1.

    >>> group_sizes(31, 5), group_sizes(6, 5), sum(group_sizes(1300, 32))
    ((1, 2, 4, 8, 16), (1, 1, 1, 1, 2), 1300)
    """
    if not 1 <= groups <= total:
        raise ValueError(f"{total} positions make 1 to {total} groups, not {groups}")
    low, high = 1.0, float(total) + 1.0
    for _ in range(60):  # the ratio r at which 1 + r + r² + … adds up to `total`, by bisection
        ratio = (low + high) / 2
        low, high = (ratio, high) if np.sum(_powers(ratio, groups)) < total else (low, ratio)
    ends = np.floor(np.cumsum(_powers(low, groups)) + 0.5)
    sizes = np.diff(ends, prepend=0).astype(int)
    sizes[-1] += total - sizes.sum()
    return tuple(sorted(int(size) for size in sizes))


def _powers(ratio: float, n: int) -> np.ndarray:
    return np.exp(np.minimum(np.arange(n) * np.log(ratio), 700.0))  # e^700: large, and still a number


def stack(windows: Sequence[Window]) -> Windows:
    """The windows of a batch as arrays, each row filled up to the longest.

    Rows share one encoder input, as long as the longest of theirs: the zeros beyond it are seen by its last column, so
    that every row's last position takes that one.
    """
    n_frames, longest = max(w.n_frames for w in windows), max(w.columns.size for w in windows)
    shape = (len(windows), longest)
    columns, positions = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    log_weights = np.full(shape, -np.inf, np.float32)
    for row, window in enumerate(windows):
        n = window.columns.size
        columns[row, :n], positions[row, :n], log_weights[row, :n] = (
            window.columns,
            window.positions,
            window.log_weights,
        )
        columns[row, n - 1] = n_frames // FRAMES_PER_POSITION - 1
    return Windows(n_frames, columns, positions, log_weights)
