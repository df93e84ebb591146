"""What the policy of live transcription can be told."""

from dataclasses import dataclass, field

from cantowhisper.contracts import UsageError
from cantowhisper.options import Options, option
from cantowhisper.serving.segments import SegmentOptions


@dataclass(frozen=True)
class LiveOptions(Options):
    """When text is agreed on and cut. What is not here is as for recordings (SegmentOptions)."""

    stage = "live text"

    agree_s: float = option(
        1.2,
        "new sound in which all passes say the same, where they are not sure of it",
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
