"""What the policy of live transcription can be told."""

from dataclasses import dataclass, field, replace

from cantowhisper.contracts import ModelFacts, UsageError
from cantowhisper.options import Options, option
from cantowhisper.serving.segments import SegmentOptions

ATTENTION, AGREEMENT = "attention", "agreement"  # what makes text final: witness.py

# A sentence is clearer after another to a stock Whisper, which was trained on 30 s of speech. The miniature knows
# single sentences: 13 samples, 830 characters, by agreement: CER 36.0 % with 12 s before each, and 10.1 % without.
STOCK_CONTEXT_S = 12.0


@dataclass(frozen=True)
class LiveOptions(Options):
    """When text is agreed on and cut. What is not here is as for recordings (SegmentOptions)."""

    stage = "live text"

    # Attention was measured with a stock whisper-base and with one that was tuned here (docs/measured.md): as right as
    # agreement, and earlier. The miniature was trained from scratch: by attention it was 1.6 points worse.
    commit: str = option(
        "auto",
        "what makes text final: one pass that looked for it before the end of the sound, or passes that agree; auto: "
        "attention, and agreement for a model that was trained without the window's silence, as the miniature is",
        choices=("auto", ATTENTION, AGREEMENT),
    )
    # whisper-base on 12 recordings of five zh-TW clips each, 230 s: by agreement 130 of 500 characters were wrong, and
    # text was final 1.3 s after its end (median); by attention 146 and 0.6 s with 0.6 s here; 115 and 0.9 s with 0.9 s
    # on seven of them and 1.0 s on the other five. What is committed too soon is sometimes gone on from wrongly.
    # Attention where the model must be sure as well was as late as agreement, and no better.
    near_end_s: float = option(
        1.0,
        "by attention, what the model looked for so near to the end of the sound waits",
        unit="seconds",
        least=0,
    )
    agree_s: float = option(
        1.2,
        "by agreement, new sound in which all passes say the same, where they are not sure of it",
        unit="seconds",
        least=0,
    )
    short_pause_s: float = option(
        0.7,
        "an utterance under `short_s` waits this long: alone it is hard to understand",
        unit="seconds",
        least=0,
    )
    trim_over_s: float = option(
        8.0,
        "speech without a pause: from here on, what is committed is no longer listened to",
        unit="seconds",
        least=2,
        most=28,  # Whisper takes 30 s
    )
    max_buffer_s: float = option(
        15.0,
        "… and if nothing was agreed on by here, it is cut where it is softest",
        unit="seconds",
        least=2,
        most=28,
    )
    context_s: float | None = option(
        None,
        "the earlier lines that fit into this are heard again in front of what is new; 0 hears each alone; null is 12 "
        "for a stock Whisper and 0 for a trained model, which is as right without, at half the computing",
        unit="seconds",
        least=0,
        most=28,
    )
    speech: SegmentOptions = field(default_factory=SegmentOptions)

    def check(self) -> None:
        if self.trim_over_s > self.max_buffer_s:
            raise UsageError(f"trim_over_s {self.trim_over_s:g} is over max_buffer_s {self.max_buffer_s:g}")

    @property
    def earlier_s(self) -> float:
        """`context_s`, and that of a stock Whisper where nothing is said."""
        return STOCK_CONTEXT_S if self.context_s is None else self.context_s

    def for_model(self, facts: ModelFacts) -> "LiveOptions":
        """The same with `auto` and null decided for a model."""
        trained = bool(facts.language or facts.language_token)
        commit = AGREEMENT if facts.trained_contexts == "variable" else ATTENTION
        return replace(
            self,
            commit=commit if self.commit == "auto" else self.commit,
            context_s=0.0 if trained and self.context_s is None else self.earlier_s,
        )
