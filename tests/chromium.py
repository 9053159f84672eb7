"""Chromium, one for each module of tests, in an event loop that they share."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from proxy.commands.sockets import LOOPBACK

try:
    from playwright.async_api import Browser, async_playwright
except ImportError:  # it is installed for .ci/run only
    PLAYWRIGHT = False
else:
    PLAYWRIGHT = True

SHARED = pytest.mark.asyncio(loop_scope="session")
"""For tests of the one browser, which lives in an event loop of its own."""
CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
    f"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE {LOOPBACK}",
)
PATIENCE = 15_000


def unmet() -> str | None:
    if not PLAYWRIGHT:
        return "playwright is not installed: pip install -e '.[dev]'"
    return None if os.access(CHROMIUM, os.X_OK) else f"there is no {CHROMIUM}: apt-get install chromium"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """One for each module; each test has a context of its own, which is as a fresh profile."""
    if reason := unmet():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield browser
        await browser.close()
