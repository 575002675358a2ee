"""A browser of this machine, to try pages as people see them."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Error, sync_playwright

from tests.patience import HANGS_S

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WHY = "install Debian's package chromium to try pages in a browser"


@contextmanager
def a_browser() -> Iterator[Browser]:
    """Open one; without it the tests are skipped also where everything must run."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"none of {', '.join(NAMES)} is here: {WHY}")
    with sync_playwright() as playwright:
        try:
            opened = playwright.chromium.launch(
                executable_path=found, args=["--no-sandbox", "--disable-dev-shm-usage"], timeout=HANGS_S * 1000
            )
        except Error as exc:
            pytest.skip(f"{found} cannot be started: {exc}")
        with opened:
            yield opened
