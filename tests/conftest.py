"""Fixtures shared by all tests: where real recordings and weights lie, if they are there."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# Workers side by side (make test) take a core each, and so do the processes that their tests start.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# A script's `pytest &` inherits SIGINT as ignored, and so would every process that a test starts and then interrupts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: where files run side by side, the last one is not waited for."""
    items.sort(key=lambda item: not item.path.name.startswith(("test_training", "test_notebooks")))


@pytest.fixture(autouse=True)
def threads_of_torch() -> Iterator[None]:
    """Each test leaves as many as it found: runs that are compared to the bit must add up in the same order."""
    before = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else None
    yield
    if before is not None:
        sys.modules["torch"].set_num_threads(before)


def _folder(variable: str) -> Path:
    found = os.environ.get(variable)
    if not found or not Path(found).is_dir():
        pytest.skip(f"{variable} is not set to a folder: this test needs it")
    return Path(found)


@pytest.fixture(scope="session")
def real_speech() -> Path:
    """Human recordings (environment variable REAL_SPEECH)."""
    return _folder("REAL_SPEECH")


@pytest.fixture(scope="session")
def real_weights() -> Path:
    """The real whisper-base encoder and tokenizer (environment variable REAL_WEIGHTS)."""
    return _folder("REAL_WEIGHTS")


@pytest.fixture(scope="session")
def real_cases() -> Path:
    """Recordings and tables that went wrong once (environment variable REAL_CASES)."""
    return _folder("REAL_CASES")


@pytest.fixture(scope="session")
def samples() -> Path:
    """The synthetic Cantonese corpus of this repository, in the layout of a Common Voice release."""
    return ROOT / "samples" / "corpus"


@pytest.fixture(scope="session")
def stock_model(real_weights, tmp_path_factory) -> Path:
    """The export of the real whisper-base, as a model without cantowhisper.json."""
    pytest.importorskip("onnx")
    from cantowhisper.export.folder import write_export

    folder = tmp_path_factory.mktemp("stock") / "whisper-base"
    write_export(real_weights / "whisper-base", folder)
    return folder
