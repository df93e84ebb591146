"""A request that is not served: in words for people, and as HTTP for programs."""

import errno
import math

from starlette.responses import PlainTextResponse, Response

from cantowhisper.contracts import CantowhisperError

TRY_AGAIN_S = 30.0  # where nobody can know when there will be room


class Refusal(CantowhisperError):
    """Why a visitor's request is not served and what to do, in Chinese and English, without paths of this machine.

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

    def response(self) -> Response:
        """As Gradio's page and its clients show it: plain text."""
        return PlainTextResponse(str(self), self.status, self.headers)


class FullDisk(Refusal):
    """No room for another file of a visitor."""

    def __init__(self):
        super().__init__(
            "呢度冇位存檔案，遲啲再試。 The server's disk is full; please try again later.",
            status=507,
            retry_after_s=TRY_AGAIN_S,
        )


def is_full(error: BaseException) -> bool:
    """Whether an error says that the disk, or what this user may have of it, is full."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


class Closing(Refusal):
    """The page is being stopped."""

    def __init__(self):
        super().__init__(
            "呢版重新啟動緊，一分鐘後再試。 The page is being restarted; please try again in a minute.",
            status=503,
            retry_after_s=60.0,
        )
