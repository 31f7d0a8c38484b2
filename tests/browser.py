"""A real browser for tests: a headless Chromium of the distribution, driven by Playwright, with a fresh profile.

Playwright's own browsers are never downloaded. The accessibility checks are axe-core's, as axe-playwright-python
brings them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, Literal

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page, async_playwright

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS: Final = (
    "--disable-gpu", "--disable-quic", "--no-first-run", "--no-proxy-server",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip

Scheme = Literal["light", "dark"]
WIDTHS: Final = (390, 1280)
SCHEMES: Final[Sequence[Scheme]] = ("light", "dark")
LOOKS: Final = [(width, scheme) for width in WIDTHS for scheme in SCHEMES]
"""How each page is looked at: on a telephone and on a desk, in the light and in the dark."""
HEIGHTS: Final[Mapping[int, int]] = {390: 844, 1280: 800}
PATIENCE_MS: Final = 20_000


class Watched:
    """What a page did beside what a test asked of it."""

    def __init__(self, page: Page) -> None:
        self.console: list[str] = []
        self.requested: list[str] = []
        page.on("console", lambda message: self.console.append(message.text))
        page.on("pageerror", lambda error: self.console.append(str(error)))
        page.on("request", lambda request: self.requested.append(request.url))


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    """A browser that ends with the block."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=list(FLAGS), chromium_sandbox=False, timeout=PATIENCE_MS
        )
        try:
            yield browser
        finally:
            await browser.close()


async def opened(browser: Browser, width: int = 1280, scheme: Scheme = "light") -> Page:
    """A page of its own profile, at this size and in these colours."""
    context = await browser.new_context(
        viewport={"width": width, "height": HEIGHTS.get(width, 800)}, color_scheme=scheme, reduced_motion="reduce"
    )
    context.set_default_timeout(PATIENCE_MS)
    return await context.new_page()


async def violations(page: Page) -> str:
    """What axe finds wrong with the page as it is now, one line for each rule; '' for nothing."""
    found = (await Axe().run(page)).response["violations"]
    return "\n".join(
        f"{each['id']}: {each['help']}: {json.dumps([node['html'][:200] for node in each['nodes']])}" for each in found
    )


async def is_wider_than_the_screen(page: Page) -> bool:
    """Whether a person has to scroll sideways."""
    return bool(await page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))
