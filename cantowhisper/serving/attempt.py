"""One decoding of a piece of speech, and what is said of it."""

from dataclasses import dataclass

from cantowhisper.contracts import Segment
from cantowhisper.serving import hallucination
from cantowhisper.serving.batches import Job
from cantowhisper.speech.mel import SAMPLE_RATE


@dataclass(frozen=True)
class Attempt:
    """One decoding of a piece. `looped`: it repeats itself, or was still going when its tokens were used up."""

    text: str
    confidence: float
    looped: bool
    retried: bool = False

    def segment(self, job: Job) -> Segment:
        """The piece as it is given out, with what speaks against its text."""
        signs = {
            "repetition": self.looped,
            "second_try": self.retried,
            "low_confidence": self.confidence < hallucination.MIN_CONFIDENCE,
            "no_voice_detected": job.span.by_level,
        }
        return Segment(
            start_s=job.span.start / SAMPLE_RATE,
            end_s=job.span.end / SAMPLE_RATE,
            text=self.text,
            confidence=self.confidence,
            flags=tuple(name for name, seen in signs.items() if seen),
        )
