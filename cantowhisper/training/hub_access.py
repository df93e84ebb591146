"""What can go wrong between a training machine and the Hugging Face Hub, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

from cantowhisper.contracts import CantowhisperError

# Whose errors are those of the outside world. (The HTTP library's name depends on the version of huggingface_hub.)
LIBRARIES = ("huggingface_hub", "httpx", "httpx2", "httpcore", "httpcore2", "requests", "hf_xet")


class HubUnreachable(CantowhisperError):
    """The network or the Hub is away for now: the same may succeed later."""


@contextmanager
def hub_errors(failed: str, *, repo: str) -> Iterator[None]:
    """Raise CantowhisperError for the errors of the Hub's client; `failed` says what could not be done."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        yield
    except CantowhisperError:
        raise
    except HFValidationError as error:
        raise CantowhisperError(f"{repo!r} is no name of a repository; give owner/name") from error
    except Exception as error:
        outside = isinstance(error, (OSError, ValueError, RuntimeError))
        if not outside and type(error).__module__.split(".")[0] not in LIBRARIES:
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        answer = error.response if isinstance(error, HfHubHTTPError) else None
        status = answer.status_code if answer is not None else None
        if status in (400, 401, 403, 404):
            raise CantowhisperError(f"{failed} {repo} ({reason}); check HF_TOKEN and repeat the command") from error
        raise HubUnreachable(f"{failed} {repo} ({reason}); repeat the command when the Hub can be reached") from error
