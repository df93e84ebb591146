"""How often to listen again: from what a pass costs here and how many people speak. Pure."""

from dataclasses import dataclass
from typing import Literal

from cantowhisper.contracts import UsageError
from cantowhisper.options import Options, option

SMOOTHING = 0.2  # weight of the newest pass in the mean: a change of load counts after some five passes


@dataclass(frozen=True)
class PaceOptions(Options):
    """The order in which the page gives way when the machine has too much to do; sound is never dropped."""

    stage = "the live page's pace"

    step_s: float = option(0.4, "between passes over one speaker while the machine has room", unit="seconds", above=0)
    share: float = option(
        0.6,
        "for passes in the middle of speech; the rest is for those at pauses",
        unit="share of the machine",
        above=0,
        most=1,
    )
    longest_step_s: float = option(3.0, "first the step grows up to this", unit="seconds", above=0)
    agreed_step_s: float = option(
        6.0, "then tentative text is no longer shown, and passes come up to this far apart", unit="seconds", above=0
    )
    late_s: float = option(
        5.0, "speech that waits longer for its pass gets one only at pauses", unit="seconds", above=0
    )
    full_s: float = option(10.0, "… and longer than this: newcomers are asked to wait", unit="seconds", above=0)

    def check(self) -> None:
        if not self.step_s <= self.longest_step_s <= self.agreed_step_s:
            raise UsageError("the live page gives way in order: step_s ≤ longest_step_s ≤ agreed_step_s must hold")
        if self.late_s > self.full_s:
            raise UsageError("the live page gives way in order: late_s ≤ full_s must hold")


# What gives way, the least first.
Level = Literal["", "longer_step", "no_tentative", "pauses_only", "full"]


class Pace:
    """Measures passes and says what can be afforded."""

    def __init__(self, options: PaceOptions | None = None):
        self.options = options or PaceOptions()
        self._pass_s = 0.0

    def measured(self, seconds: float) -> None:
        """A pass in the middle of speech took so long."""
        self._pass_s += (seconds - self._pass_s) * (SMOOTHING if self._pass_s else 1.0)

    def wanted_step_s(self, n_speaking: int) -> float:
        """The step at which passes take no more than their share of the machine."""
        return max(self.options.step_s, n_speaking * self._pass_s / self.options.share)

    def level(self, n_speaking: int, *, behind_s: float) -> Level:
        """What gives way now.

        Parameters
        ----------
        n_speaking : people who speak at this moment
        behind_s : the most speech that anybody has waiting
        """
        o, step_s = self.options, self.wanted_step_s(n_speaking)
        if behind_s > o.full_s:
            return "full"
        if behind_s > o.late_s or step_s > o.agreed_step_s:
            return "pauses_only"
        if step_s > o.longest_step_s:
            return "no_tentative"
        return "longer_step" if step_s > o.step_s else ""

    def step_s(self, n_speaking: int, *, behind_s: float) -> float:
        """Seconds of new speech between passes; infinite when only pauses start one."""
        if self.level(n_speaking, behind_s=behind_s) in ("pauses_only", "full"):
            return float("inf")
        return self.wanted_step_s(n_speaking)
