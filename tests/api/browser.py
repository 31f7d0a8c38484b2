"""A real browser for tests: one page of a headless Chromium, driven by its own protocol over a websocket.

A dump of the page is not enough, because tests type a token, press buttons and wait for the effect.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.waiting import until

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-proxy-server",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0",
)  # fmt: skip
MESSAGE_MAX_BYTES = 64 * 1024 * 1024


class Page:
    """One page. Every method raises AssertionError when the page itself raised."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self.console: list[str] = []
        self.requested: list[str] = []

    async def open(self, url: str) -> None:
        """Load the address and wait until its scripts have run."""
        await self.send("Page.navigate", url=url)
        await until(lambda: self.js("document.readyState"), lambda state: state == "complete", f"{url} loaded")

    async def js(self, expression: str) -> Any:
        """Evaluate in the page; a promise is awaited."""
        reply = await self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in reply, reply["exceptionDetails"]
        return reply["result"].get("value")

    async def wait(self, expression: str) -> None:
        """Wait until the expression is true in the page."""
        await until(lambda: self.js(f"Boolean({expression})"), bool, f"{expression} in {await self.text()!r}")

    async def text(self) -> str:
        """All that a person reads on the page."""
        return str(await self.js("document.body?.innerText ?? ''"))

    async def type(self, selector: str, text: str) -> None:
        """Type as a keyboard does."""
        await self.js(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.send("Input.insertText", text=text)

    async def press(self, selector: str) -> None:
        """Press a button."""
        await self.js(f"document.querySelector({json.dumps(selector)}).click()")

    async def screenshot(self, path: Path, width: int, height: int, *, is_dark: bool = False) -> None:
        """Write the page at this size as a PNG file."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}]
        await self.send("Emulation.setEmulatedMedia", features=scheme)
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )
        shot = await self.send("Page.captureScreenshot", format="png")
        path.write_bytes(base64.b64decode(shot["data"]))

    async def send(self, method: str, **params: object) -> dict[str, Any]:
        """Send one command and return its result; keep what the page logs or loads meanwhile."""
        number = next(self._numbers)
        await self._socket.send(json.dumps({"id": number, "method": method, "params": params}))
        async with asyncio.timeout(30):
            while True:
                message = json.loads(await self._socket.recv())
                if message.get("id") == number:
                    assert "error" not in message, message
                    result: dict[str, Any] = message["result"]
                    return result
                self._keep(message)

    def _keep(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Network.requestWillBeSent":
                self.requested.append(params["request"]["url"])
            case "Log.entryAdded":
                self.console.append(params["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.console.append(json.dumps(params["exceptionDetails"]))


@asynccontextmanager
async def browsing(profile: Path) -> AsyncIterator[Page]:
    """A browser with its own profile, which ends with the block."""
    browser = await asyncio.create_subprocess_exec(
        str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "about:blank",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        port_file = profile / "DevToolsActivePort"
        port = (await until(lambda: _lines(port_file), lambda lines: len(lines) > 1, "the browser started"))[0]
        async with connect(await _page_url(port), max_size=MESSAGE_MAX_BYTES, proxy=None) as socket:
            page = Page(socket)
            for domain in ("Page", "Runtime", "Network", "Log"):
                await page.send(f"{domain}.enable")
            yield page
    finally:
        browser.kill()
        await browser.wait()


async def _page_url(port: str) -> str:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        targets = (await client.get("/json/list")).json()
    return next(str(target["webSocketDebuggerUrl"]) for target in targets if target["type"] == "page")


async def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
