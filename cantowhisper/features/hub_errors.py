"""What can go wrong between here and the Hugging Face Hub, as one line with its remedy."""

from collections.abc import Iterator
from contextlib import contextmanager

from cantowhisper.contracts import CantowhisperError

TOKENS_PAGE = "huggingface.co/settings/tokens"


# Whose errors are those of the outside world. (The HTTP library's name depends on the version of huggingface_hub.)
LIBRARIES = ("huggingface_hub", "httpx", "httpx2", "httpcore", "requests", "datasets", "fsspec", "aiohttp")


@contextmanager
def one_line(repo: str, *, writing: bool = False) -> Iterator[None]:
    """Raise CantowhisperError for the errors of huggingface_hub and of `datasets`."""
    try:
        yield
    except CantowhisperError:
        raise
    except Exception as error:
        ours = isinstance(error, (OSError, ValueError, RuntimeError))
        if not ours and type(error).__module__.split(".")[0] not in LIBRARIES:
            raise
        raise CantowhisperError(_explained(error, repo, writing)) from error


def _explained(error: BaseException, repo: str, writing: bool) -> str:
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    cause = error
    while cause and not isinstance(cause, HfHubHTTPError):  # it may be wrapped in "Error while uploading …"
        cause = cause.__cause__
    if isinstance(cause, GatedRepoError):
        return f"{repo} is gated; accept its terms on its page, and set HF_TOKEN"
    if isinstance(cause, RevisionNotFoundError):
        return f"{repo} has no such revision; give a branch, tag or commit of it"
    if isinstance(cause, RepositoryNotFoundError) or type(error).__name__ == "DatasetNotFoundError":
        may = "write" if writing else "read"
        return (
            f"there is no dataset {repo} on the Hub, or it is private: check the name, and set HF_TOKEN to a token "
            f"that may {may} it ({TOKENS_PAGE})"
        )
    if cause:
        return _of_status(cause, repo, writing)
    while type(error).__name__ == "DatasetGenerationError" and error.__cause__:  # says nothing itself
        error = error.__cause__
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return f"cannot {'write' if writing else 'read'} {repo} on the Hub: {said}"


def _of_status(error, repo: str, writing: bool) -> str:
    status = error.response.status_code if error.response is not None else None
    if status in (401, 403):
        verb = "write to" if writing else "read"
        return f"the Hub does not let this token {verb} {repo} ({status}); make one that may on {TOKENS_PAGE}: HF_TOKEN"
    if status == 429:
        return "the Hub has had too many requests from here (429); wait some minutes and repeat the command"
    return f"the Hub answered {status} for {repo}; repeat the command: what has arrived is not sent again"
