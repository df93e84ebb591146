"""A real browser and real pages on loopback, for tests of the pages (shared by both apps)."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PHONE = {"width": 390, "height": 844}  # CSS pixels: a usual telephone
DESKTOP = {"width": 1280, "height": 900}


def chromium() -> str:
    """Path of the browser; skips the test with a reason where there is none."""
    pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[dev]'")
    named = os.environ.get("CHROMIUM")
    found = named if named and Path(named).exists() else next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    return found or pytest.skip("no chromium on this machine: install it (apt-get install chromium) or set CHROMIUM")


_driver = {"playwright": None, "users": 0}


@contextlib.contextmanager
def _playwright() -> Iterator:
    """Playwright's driver: one a process is all it allows, so browsers that are open at the same time share it."""
    from playwright.sync_api import sync_playwright

    _driver["playwright"] = _driver["playwright"] or sync_playwright().start()
    _driver["users"] += 1
    try:
        yield _driver["playwright"]
    finally:
        _driver["users"] -= 1
        if not _driver["users"]:  # it holds an event loop in this thread, which others may want
            _driver.pop("playwright").stop()
            _driver["playwright"] = None


@contextlib.contextmanager
def browser(*, microphone: Path | None = None, allow_microphone: bool = True) -> Iterator:
    """A headless Chromium. One with a microphone plays one file once, so it serves one recording.

    microphone : WAV that the fake microphone hears; lead it in with half a second of silence
    allow_microphone : what the visitor answers when the page asks
    """
    executable = chromium()
    arguments = ["--no-sandbox", "--headless=new", "--use-fake-device-for-media-stream"]
    arguments.append("--use-fake-ui-for-media-stream" + ("" if allow_microphone else "=deny"))
    if microphone:
        arguments.append(f"--use-file-for-fake-audio-capture={Path(microphone).resolve()}%noloop")
    with _playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=arguments)
        try:
            yield launched
        finally:
            launched.close()


@contextlib.contextmanager
def serving(page, **launch) -> Iterator[str]:
    """Serve a Gradio page from this process on a free port of loopback, and close it in the end. Yields its URL."""
    _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **launch)
    try:
        yield url
    finally:
        page.close(verbose=False)


@contextlib.contextmanager
def visit(launched, url: str, *, dark: bool = False, viewport: dict | None = None, locale: str = "en-GB") -> Iterator:
    """A visitor with the page open and its script running. Fails afterwards when the page's script had an error.

    locale : the browser's language, in which the page is shown
    """
    context = launched.new_context(
        viewport=viewport or DESKTOP,
        color_scheme="dark" if dark else "light",
        accept_downloads=True,
        locale=locale,
    )
    tab, problems = context.new_page(), []
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.set_default_timeout(30_000)
    tab.goto(url)
    tab.wait_for_selector(".gradio-container h1")
    try:
        yield tab
        assert not problems, problems
    finally:
        context.close()
