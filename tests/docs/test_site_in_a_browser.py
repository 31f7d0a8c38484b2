"""The built documentation in a browser: readable at every width, and silent towards everybody else."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from playwright.async_api import Page, expect
from playwright.async_api import TimeoutError as PlaywrightTimeoutError

from scripts.docs_site import DOCS, SETTINGS, build
from tests.browser import CHROMIUM, WIDTHS, Watched, browsing, is_wider_than_the_screen, opened
from tests.waiting import until

pytestmark = [pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium"), pytest.mark.timeout(120)]
FOUND_WITHIN_MS = 30_000
OPEN_WITHIN_MS = 1_000
PAGES = ("index.html", "comparison.html", "operations.html", "reference/settings.html")


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a line for each."""

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """The site, built for this test and served on loopback."""
    shutil.copytree(DOCS, tmp_path / "docs")
    shutil.copy(SETTINGS, tmp_path)
    assert build(tmp_path) == ""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "site")))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_site_is_readable_and_talks_to_nobody_else(site: str) -> None:
    """On a telephone and on a desk nobody scrolls sideways; the search works; no other server hears of a reader."""
    async with browsing() as browser:
        for width in WIDTHS:
            page = await opened(browser, width)
            watched = Watched(page)
            for name in PAGES:
                await page.goto(site + name)
                assert not await is_wider_than_the_screen(page), (name, width)
            await until(partial(is_search_open, page), bool, "the search is open")
            await page.keyboard.type("unsaved work")
            # The search reads its index first, which takes its time on a busy machine.
            found = page.get_by_text("The inspection for unsaved work").first
            await expect(found).to_be_visible(timeout=FOUND_WITHIN_MS)
            assert [url for url in watched.requested if not url.startswith((site, "data:", "blob:"))] == []
            assert watched.console == []
            await page.context.close()


async def is_search_open(page: Page) -> bool:
    """Press its key unless it is open. The page's script may not listen yet when the page has loaded."""
    field = page.get_by_placeholder("Search")
    if not await field.is_visible():
        await page.keyboard.press("Control+k")
        with suppress(PlaywrightTimeoutError):
            await field.wait_for(timeout=OPEN_WITHIN_MS)
    return await field.is_visible()
