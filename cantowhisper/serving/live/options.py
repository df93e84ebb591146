"""What the policy of live transcription can be told."""

from dataclasses import dataclass, field, replace

from cantowhisper.contracts import UsageError
from cantowhisper.options import Options, option
from cantowhisper.serving.segments import SegmentOptions

ATTENTION, AGREEMENT = "attention", "agreement"  # what makes text final: witness.py


@dataclass(frozen=True)
class LiveOptions(Options):
    """When text is agreed on and cut. What is not here is as for recordings (SegmentOptions)."""

    stage = "live text"

    # Attention was measured with a stock whisper-base (benchmarks/live_commit.py). Whether its heads still follow time
    # after training was not, so that a model which was trained for a language goes by agreement.
    commit: str = option(
        "auto",
        "what makes text final: one pass that looked for it before the end of the sound, or passes that agree; auto: "
        "attention for a stock Whisper, agreement for a trained model",
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
    context_s: float = option(
        12.0,
        "the earlier lines that fit into this are heard again in front of what is new; 0 hears each alone",
        unit="seconds",
        least=0,
        most=28,
    )
    speech: SegmentOptions = field(default_factory=SegmentOptions)

    def check(self) -> None:
        if self.trim_over_s > self.max_buffer_s:
            raise UsageError(f"trim_over_s {self.trim_over_s:g} is over max_buffer_s {self.max_buffer_s:g}")

    def for_model(self, *, trained: bool) -> "LiveOptions":
        """The same with `auto` decided. trained : for a language; else a stock Whisper"""
        return replace(self, commit=AGREEMENT if trained else ATTENTION) if self.commit == "auto" else self
