"""What the live page serves at most."""

from dataclasses import dataclass

from cantowhisper.options import Options, option
from cantowhisper.speech.mel import SAMPLE_RATE


@dataclass(frozen=True)
class LiveLimits(Options):
    """What the live page serves, on two CPU cores and 16 GB that all speakers share."""

    stage = "the live page"

    max_sessions: int = option(
        8, "8 × max_held_s are 31 MB; more speakers than that would all wait", unit="speakers", least=1
    )
    max_sessions_per_visitor: int = option(
        3, "one visitor cannot take all places; this machine itself, without a proxy, may", unit="sessions", least=1
    )
    max_held_s: float = option(
        120.0, "sound without text in memory a session; the page keeps what is not taken", unit="seconds", above=0
    )
    max_session_s: float = option(
        7200.0, "then it is ended as if by Stop; the page opens another one and goes on", unit="seconds", above=0
    )
    forget_after_s: float = option(
        90.0, "without a sign of life; a phone's tab sleeps a minute without harm", unit="seconds", above=0
    )
    max_push_s: float = option(30.0, "sound in one request", unit="seconds", above=0)
    ask_again_s: float = option(3.0, "whoever is asked to wait tries again after this", unit="seconds", above=0)

    @property
    def max_request_bytes(self) -> int:
        """Of one push as JSON."""
        return self.bytes_at(SAMPLE_RATE)

    def bytes_at(self, rate_hz: int) -> int:
        """Of `max_push_s` at another rate: 16-bit samples as base64, and room for what stands around them."""
        return int(self.max_push_s * rate_hz) * 2 * 4 // 3 + 10_000
