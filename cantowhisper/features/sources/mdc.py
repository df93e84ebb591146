"""Releases from Mozilla Data Collective, which has given out Common Voice since October 2025."""

import os
from contextlib import contextmanager
from pathlib import Path

from cantowhisper.contracts import CantowhisperError

PAGE = "https://mozilladatacollective.com/datasets/"
KEY = "MDC_API_KEY"


def download(dataset_id: str) -> Path:
    """The archive of a dataset, fetched into MDC_DOWNLOAD_PATH (~/.mozdata/datasets) unless it is there.

    An interrupted download goes on where it stopped. Needs a key in MDC_API_KEY, or in Colab's secret of that name,
    and that the dataset's terms were accepted once on its page. Raises CantowhisperError with the remedy.
    """
    try:
        import datacollective
    except ImportError as error:
        raise CantowhisperError("mdc: needs one more package: pip install 'cantowhisper[features]'") from error
    if not os.environ.get(KEY):
        os.environ[KEY] = _colab_secret() or ""
    if not os.environ[KEY]:
        raise CantowhisperError(
            f"mdc:{dataset_id} needs a key: make one on mozilladatacollective.com (API), set it as {KEY} "
            f"(on Colab: the secret {KEY}), and accept the terms on {PAGE}{dataset_id}"
        )
    with _remedies(dataset_id):
        return Path(datacollective.download_dataset(dataset_id, extract=False))


def _colab_secret() -> str | None:
    try:
        from google.colab import userdata
    except ImportError:
        return None
    try:
        return userdata.get(KEY)
    except Exception:  # its errors (no such secret, access not granted) share no class of their own
        return None


@contextmanager
def _remedies(dataset_id: str):
    """The service's failures as one line each."""
    import requests
    from datacollective.errors import AuthenticationError, DownloadError, RateLimitError

    page = f"{PAGE}{dataset_id}"
    try:
        yield
    except AuthenticationError as error:
        raise CantowhisperError(f"the key in {KEY} is not accepted (401); make a new one for {page}") from error
    except RateLimitError as error:
        raise CantowhisperError(f"too many downloads of {page} (429); wait an hour and repeat the command") from error
    except PermissionError as error:
        if error.filename:
            raise CantowhisperError(f"cannot write {error.filename}: {error.strerror}") from error
        raise CantowhisperError(f"no access to this dataset (403); accept its terms on {page}, then repeat") from error
    except FileNotFoundError as error:
        raise CantowhisperError(f"there is no dataset {dataset_id} (404); its page {page} shows the id") from error
    except DownloadError as error:
        raise CantowhisperError(
            f"the download of {dataset_id} stopped with {error.remaining_bytes} to go; the same command goes on"
        ) from error
    except (RuntimeError, ValueError, OSError, requests.RequestException) as error:
        raise CantowhisperError(f"cannot fetch {page}: {error}") from error
