"""What a client may set of a session, and the sound that it then sends."""

import base64
import binascii
import io
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import soundfile

from cantowhisper.contracts import CantowhisperError
from cantowhisper.serving.segments import SegmentOptions
from cantowhisper.speech.language import language_token

PCM, RATES = "audio/pcm", (24_000, 16_000, 48_000, 8_000)  # OpenAI's own rate is the first
G711 = {"audio/pcmu": "ULAW", "audio/pcma": "ALAW"}  # telephones: a byte a sample
G711_RATE = 8_000
INPUT = "session.audio.input"


class Wrong(CantowhisperError):
    """Something in a client's event that is wrong, or not done here; `param` names it."""

    def __init__(self, message: str, *, param: str | None = None, code: str = "invalid_value"):
        super().__init__(message)
        self.param, self.code = param, code


@dataclass(frozen=True)
class RealtimeConfig:
    """The settings of one session.

    kind, rate_hz : of the sound that comes
    language : code, "auto", or "" for the model's own
    detects_turns : a line is an item; without, an item lasts until the client commits
    """

    kind: str = PCM
    rate_hz: int = RATES[0]
    language: str = ""
    detects_turns: bool = True

    def updated(self, session, *, languages: Collection[str]) -> "RealtimeConfig":
        """With what a `session.update` holds; what it leaves out stays.

        Raises
        ------
        Wrong : it wants what is not known, or not done here
        UsageError : the model does not know the language
        """
        session = _object(session, "session")
        if session.get("type", "transcription") != "transcription":
            raise Wrong("sessions here have the type 'transcription'", param="session.type")
        if session.get("include"):
            raise Wrong("log-probabilities are not sent", param="session.include")
        wanted = _object(_object(session.get("audio"), "session.audio").get("input"), INPUT)
        unknown = set(wanted) - {"format", "noise_reduction", "transcription", "turn_detection"}
        if unknown:
            raise Wrong(f"{', '.join(sorted(unknown))} is not known", param=INPUT)
        if wanted.get("noise_reduction"):
            raise Wrong("noise is not reduced here", param=f"{INPUT}.noise_reduction")
        changed = self._with_format(_object(wanted.get("format"), f"{INPUT}.format"))
        changed = changed._with_language(_object(wanted.get("transcription"), f"{INPUT}.transcription"), languages)
        return changed._with_turns(wanted)

    def _with_format(self, sound: dict) -> "RealtimeConfig":
        if not sound:
            return self
        kind, rate_hz = sound.get("type", PCM), sound.get("rate", RATES[0])
        if kind in G711:
            return replace(self, kind=kind, rate_hz=G711_RATE)
        if kind != PCM or rate_hz not in RATES:
            rates = ", ".join(map(str, RATES))
            raise Wrong(f"sound is {PCM} at {rates} Hz, or {' or '.join(G711)}", param=f"{INPUT}.format")
        return replace(self, kind=kind, rate_hz=rate_hz)

    def _with_language(self, transcription: dict, languages: Collection[str]) -> "RealtimeConfig":
        if transcription.get("prompt"):
            raise Wrong("live text takes no prompt", param=f"{INPUT}.transcription.prompt")
        language = str(transcription.get("language") or self.language)
        if language and language != "auto":
            language_token([f"<|{code}|>" for code in languages], language)  # refuses what the model lacks
        return replace(self, language=language)

    def _with_turns(self, wanted: dict) -> "RealtimeConfig":
        if "turn_detection" not in wanted:
            return self
        kind = _object(wanted["turn_detection"], f"{INPUT}.turn_detection").get("type", "server_vad")
        if kind != "server_vad":
            raise Wrong("turn_detection is server_vad or null", param=f"{INPUT}.turn_detection.type")
        return replace(self, detects_turns=wanted["turn_detection"] is not None)

    def described(self, *, model: str, speech: SegmentOptions) -> dict:
        """As a client is told: what is in force, whatever it asked for."""
        turns = {
            "type": "server_vad",
            "threshold": speech.speech_threshold,
            "prefix_padding_ms": round(1000 * speech.pad_s),
            "silence_duration_ms": round(1000 * speech.min_pause_s),
        }
        sound = {
            "format": {"type": self.kind} if self.kind in G711 else {"type": self.kind, "rate": self.rate_hz},
            "noise_reduction": None,
            "transcription": {"model": model, "language": self.language or None, "prompt": ""},
            "turn_detection": turns if self.detects_turns else None,
        }
        kinds = {"type": "transcription", "object": "realtime.transcription_session"}
        return {**kinds, "audio": {"input": sound}, "include": None}

    def decoded(self, audio, *, most_s: float) -> np.ndarray:
        """base64 → int16, shape (n_samples,), at `rate_hz`.

        Raises
        ------
        Wrong : no base64, no whole samples, or longer than `most_s`
        """
        try:
            raw = base64.b64decode(audio, validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise Wrong("audio is base64 of the sound", param="audio") from None
        width = 1 if self.kind in G711 else 2
        if len(raw) > most_s * self.rate_hz * width or len(raw) % width:
            raise Wrong(f"audio is whole samples, at most {most_s:g} s in one event", param="audio")
        if self.kind == PCM or not raw:
            return np.frombuffer(raw, "<i2")
        how = {"format": "RAW", "subtype": G711[self.kind], "samplerate": self.rate_hz, "channels": 1}
        return soundfile.read(io.BytesIO(raw), dtype="int16", **how)[0]


def _object(value, param: str) -> dict:
    if value is not None and not isinstance(value, dict):
        raise Wrong(f"{param} is an object", param=param)
    return value or {}
