"""One connection's events: what its client sends, and what it is told.

Final text alone is told, since clients add up what they get: `….delta` as it is committed, and `….completed` at the end
of each item. With server_vad, the default, an item is a line and ends at a pause; without turn detection it lasts
until the client commits.
"""

import secrets

import numpy as np
import soxr

from cantowhisper.contracts import CantowhisperError
from cantowhisper.serving.live.engine import LiveEngine, UnknownSession
from cantowhisper.serving.realtime.config import RealtimeConfig, Wrong
from cantowhisper.speech.mel import SAMPLE_RATE

TRANSCRIPTION = "conversation.item.input_audio_transcription"


class RealtimeSession:
    """Live sessions of the engine, one after the other, for one client. No network here.

    engine : shared with the page
    visitor : address of the client; its sessions count together with those of the page
    model : the name by which the model is told
    """

    def __init__(self, engine: LiveEngine, *, visitor: str = "", model: str = "cantowhisper"):
        self._engine, self._visitor, self._model = engine, visitor, model
        self._id, self._config = _named("sess"), RealtimeConfig()
        self._name: str | None = None  # of the engine's session, as long as there is sound in it
        self._seen = self._at = 0  # events told; the sample, at 16 kHz, at which `_waiting` begins
        self._waiting = np.zeros(0, np.int16)  # not taken by the engine yet
        self._resample: soxr.ResampleStream | None = None
        self._ending = self._any_item = False  # of the engine's session
        self._quiet_since = engine.clock()
        self._item, self._text, self._start_s, self._end_s = "", "", 0.0, 0.0
        self._previous: str | None = None

    @property
    def takes_more(self) -> bool:
        """Whether another event of the client may be read now; sound that has no room waits with the client."""
        return not self._waiting.size and not self._ending

    def begin(self) -> list[dict]:
        """What is told first."""
        return [_event("session.created", session=self._described())]

    def take(self, event) -> list[dict]:
        """Answer one event of the client."""
        event = event if isinstance(event, dict) else {}
        kinds = {
            "session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
        }
        if event.get("type") not in kinds:
            wrong = Wrong(f"this takes {', '.join(kinds)}; not {event.get('type')!r}", param="type")
            return [_error(wrong, event)]
        return self._guarded(lambda: kinds[event["type"]](event), event)

    def news(self) -> list[dict]:
        """What has become final since; hands on sound that had no room. To be called often."""
        if self._name is None and not self._waiting.size:
            return []
        quiet_s = self._engine.clock() - self._quiet_since
        # A place is for those who speak.
        self._ending = self._ending or quiet_s > self._engine.limits.forget_after_s
        return self._guarded(self._feed, {})

    def close(self) -> None:
        """The client has gone."""
        if self._name is not None:
            self._engine.forget(self._name)
        self._name, self._ending, self._any_item = None, False, False

    def _guarded(self, call, event: dict) -> list[dict]:
        try:
            return call()
        except UnknownSession:
            self.close()
            return [_error(Wrong("the session has ended; what is sent now begins another"), event)]
        except CantowhisperError as error:
            return [_error(error, event)]

    # --------------------------------------------------------------------------------------------- what clients send

    def _update(self, event: dict) -> list[dict]:
        config = self._config.updated(event.get("session"), languages=self._engine.recognizer.languages)
        if self._name is not None and config != self._config:
            raise Wrong("commit the sound that was sent, then change the session", param="session")
        self._config = config
        return [_event("session.updated", session=self._described())]

    def _append(self, event: dict) -> list[dict]:
        sound = self._config.decoded(event.get("audio"), most_s=self._engine.limits.max_push_s)
        self._quiet_since = self._engine.clock()
        if self._config.rate_hz != SAMPLE_RATE:
            if self._resample is None:
                self._resample = soxr.ResampleStream(self._config.rate_hz, SAMPLE_RATE, 1, dtype="int16")
            sound = self._resample.resample_chunk(sound)
        self._waiting = np.concatenate([self._waiting, sound])
        return self._feed()

    def _commit(self, event: dict) -> list[dict]:
        if self._resample:
            rest = self._resample.resample_chunk(np.zeros(0, np.int16), last=True)
            self._waiting, self._resample = np.concatenate([self._waiting, rest]), None
        if self._name is None and not self._waiting.size:
            raise Wrong("no sound was sent since the last commit", code="input_audio_buffer_commit_empty")
        self._ending = True
        return self._feed()

    def _clear(self, event: dict) -> list[dict]:
        self.close()
        self._waiting, self._resample, self._item = np.zeros(0, np.int16), None, ""
        return [_event("input_audio_buffer.cleared")]

    # ------------------------------------------------------------------------------------------ to the engine and back

    def _feed(self) -> list[dict]:
        """Hand sound on, and tell what came of it."""
        if self._name is None:
            self._open()
        sound = self._waiting[: int(self._engine.limits.max_push_s * SAMPLE_RATE)]
        end = self._ending and sound.size == self._waiting.size
        view = self._engine.push(self._name, self._at, sound, seen=self._seen, end=end)
        taken = view["have"] - self._at
        self._waiting, self._at, self._seen = self._waiting[taken:], view["have"], view["seen"]
        told = [one for event in view["events"] for one in self._told(event)]
        if view["final"] and not view["events"]:
            told += self._ended()
        return told

    def _open(self) -> None:
        try:
            self._name = self._engine.start(language=self._config.language, at=self._at, visitor=self._visitor)
        finally:
            if self._name is None:
                self._waiting, self._ending = self._waiting[:0], False
        if self._name is None:
            again_s = self._engine.limits.ask_again_s
            raise Wrong(f"all places are taken; send the sound again in {again_s:g} s", code="rate_limit_exceeded")
        self._seen = 0

    def _told(self, event: dict) -> list[dict]:
        """One of the engine's events, as this client's."""
        if "text" in event:
            return [self._delta(event["text"])]
        if "end_s" in event:
            self._end_s = event["end_s"]
            return self._completed() if self._config.detects_turns else []
        if not self._item:
            return self._new_item(event["start_s"])
        between = event["before"].replace("\n", " ")  # another line of the same item
        return [self._delta(between)] if between else []

    def _ended(self) -> list[dict]:
        """All of the engine's session was told: it was committed, it had its full length, or nobody spoke for long."""
        told = []
        if self._ending and not self._any_item:  # who commits is answered, heard or not
            told = self._new_item(self._end_s)
        told += self._completed() if self._item else []
        self.close()
        return told

    def _new_item(self, start_s: float) -> list[dict]:
        self._item, self._text, self._any_item = _named("item"), "", True
        self._start_s, self._end_s = start_s, max(self._end_s, start_s)
        if not self._config.detects_turns:
            return []
        return [_event("input_audio_buffer.speech_started", audio_start_ms=round(1000 * start_s), item_id=self._item)]

    def _delta(self, text: str) -> dict:
        self._text += text
        return _event(f"{TRANSCRIPTION}.delta", item_id=self._item, content_index=0, delta=text)

    def _completed(self) -> list[dict]:
        """The open item is whole."""
        item, after = self._item, {"previous_item_id": self._previous}
        message = {"id": item, "type": "message", "role": "user", "status": "completed"}
        message["content"] = [{"type": "input_audio", "transcript": self._text}]
        usage = {"type": "duration", "seconds": round(self._end_s - self._start_s, 2)}
        ended = _event("input_audio_buffer.speech_stopped", audio_end_ms=round(1000 * self._end_s), item_id=item)
        told = [ended] if self._config.detects_turns else []
        told.append(_event("input_audio_buffer.committed", item_id=item, **after))
        told += [_event(f"conversation.item.{kind}", item=message, **after) for kind in ("added", "done")]
        done = {"item_id": item, "content_index": 0, "transcript": self._text, "usage": usage}
        told.append(_event(f"{TRANSCRIPTION}.completed", **done))
        self._item, self._previous = "", item
        return told

    def _described(self) -> dict:
        described = self._config.described(model=self._model, speech=self._engine.options.speech)
        return {"id": self._id, **described}


def _event(kind: str, **fields) -> dict:
    return {"type": kind, "event_id": _named("event"), **fields}


def _error(error: CantowhisperError, event: dict) -> dict:
    """In OpenAI's form; `event_id` is the client's own, where it gave one."""
    about = {"param": getattr(error, "param", None), "code": getattr(error, "code", "invalid_value")}
    what = {"type": "invalid_request_error", "message": str(error), "event_id": event.get("event_id"), **about}
    return _event("error", error=what)


def _named(kind: str) -> str:
    return f"{kind}_{secrets.token_urlsafe(12)}"
