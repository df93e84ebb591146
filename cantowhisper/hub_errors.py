"""What can go wrong between here and the Hugging Face Hub, as one line with its remedy."""

from collections.abc import Iterator
from contextlib import contextmanager

from cantowhisper.contracts import CantowhisperError

TOKENS_PAGE = "huggingface.co/settings/tokens"
# Whose errors are those of the outside world. (The HTTP library's name depends on the version of huggingface_hub.)
HTTP_LIBRARIES = ("httpx", "httpx2", "httpcore", "httpcore2", "requests", "aiohttp", "hf_xet")
LIBRARIES = ("huggingface_hub", "datasets", "fsspec", *HTTP_LIBRARIES)
REMEDIES = {
    400: "check HF_TOKEN and repeat the command: what has arrived is not sent again",
    401: f"check HF_TOKEN: it names no token that the Hub knows ({TOKENS_PAGE})",
    403: f"check HF_TOKEN: this token may not do that; make one that may on {TOKENS_PAGE}",
    404: "check the name, and HF_TOKEN if it is private",
}


class HubUnreachable(CantowhisperError):
    """The network or the Hub is away for now: the same may succeed later."""


@contextmanager
def hub_errors(failed: str, repo: str) -> Iterator[None]:
    """Raise CantowhisperError for the errors of the Hub's clients, huggingface_hub and `datasets`.

    Parameters
    ----------
    failed : what could not be done, as it stands before the repository's name: "cannot read", "cannot push to"

    Raises
    ------
    HubUnreachable : the same may succeed later
    CantowhisperError : it will not before somebody has done something about it
    """
    try:
        yield
    except CantowhisperError:
        raise
    except Exception as error:
        outside = isinstance(error, (OSError, ValueError, RuntimeError)) or _library(error) in LIBRARIES
        if not outside:
            raise
        kind, reason = _explained(error)
        raise kind(f"{failed} {repo}: {reason}") from error


def _library(error: BaseException) -> str:
    return type(error).__module__.split(".")[0]


def _explained(error: BaseException) -> tuple[type[CantowhisperError], str]:
    """The kind of an error, and what it says with what to do."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    cause = error
    while cause and not isinstance(cause, HfHubHTTPError):  # it may be wrapped in "Error while uploading …"
        cause = cause.__cause__
    if isinstance(error, HFValidationError):
        return CantowhisperError, "this is no name of a repository; give owner/name"
    if isinstance(cause, GatedRepoError):
        return CantowhisperError, "it is gated; accept its terms on its page, and set HF_TOKEN"
    if isinstance(cause, RevisionNotFoundError):
        return CantowhisperError, "it has no such revision; give a branch, tag or commit of it"
    if isinstance(cause, RepositoryNotFoundError) or type(error).__name__ == "DatasetNotFoundError":
        why = "there is no such repository on the Hub, or it is private"
        return CantowhisperError, f"{why}; check the name, and set HF_TOKEN to a token that may use it ({TOKENS_PAGE})"
    return _of_status(cause) if cause else _of_others(error)


def _of_status(error) -> tuple[type[CantowhisperError], str]:
    status = error.response.status_code if error.response is not None else None
    reason = f"the Hub answered {status} ({_first_line(error)})"
    if status in REMEDIES:
        return CantowhisperError, f"{reason}; {REMEDIES[status]}"
    if status == 429:
        return HubUnreachable, "the Hub has had too many requests from here (429); wait some minutes and repeat it"
    return HubUnreachable, f"{reason}; repeat the command: what has arrived is not sent again"


def _of_others(error: BaseException) -> tuple[type[CantowhisperError], str]:
    while type(error).__name__ == "DatasetGenerationError" and error.__cause__:  # says nothing itself
        error = error.__cause__
    ours = isinstance(error, ValueError) or getattr(error, "filename", None)  # no answer of the network names a file
    if ours and _library(error) not in HTTP_LIBRARIES:
        return CantowhisperError, _first_line(error)
    return HubUnreachable, f"{_first_line(error)}; repeat the command when the Hub can be reached"


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
