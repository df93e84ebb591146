"""A request that is not served: in words for people, and as HTTP for programs."""

import errno
import math

from starlette.responses import PlainTextResponse, Response

from cantowhisper.contracts import CantowhisperError
from cantowhisper.serving.texts.say import Say, said

TRY_AGAIN_S = 30.0  # where nobody can know when there will be room


class Refusal(CantowhisperError):
    """Why a visitor's request is not served and what to do, without paths of this machine.

    message : Told, where it can be said in a visitor's language
    status : HTTP's word for it
    retry_after_s : when to try again; None where trying again changes nothing
    """

    def __init__(self, message: str, *, status: int = 400, retry_after_s: float | None = None):
        super().__init__(message)
        self.status, self.retry_after_s = status, retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """Retry-After in whole seconds, where there is something to wait for."""
        return {} if self.retry_after_s is None else {"Retry-After": str(max(1, math.ceil(self.retry_after_s)))}

    def response(self, language: str = "en") -> Response:
        """As Gradio's page and its clients show it: plain text."""
        return PlainTextResponse(Say(language).of(str(self)), self.status, self.headers)


class FullDisk(Refusal):
    """No room for another file of a visitor."""

    def __init__(self):
        super().__init__(said("refusal.full_disk"), status=507, retry_after_s=TRY_AGAIN_S)


def is_full(error: BaseException) -> bool:
    """Whether an error says that the disk, or what this user may have of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


class Closing(Refusal):
    """The page is being stopped."""

    def __init__(self):
        super().__init__(said("refusal.closing"), status=503, retry_after_s=60.0)
