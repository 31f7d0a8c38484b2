"""The local page: it shows what is asked of GitHub, sends the browser there, and takes what GitHub sends back.

It listens on loopback only. Its address has a word that nobody can guess, and what comes back must have another
one, the state: otherwise a stranger's page could connect this machine with the stranger's App. It answers only
under its own name, so that no other site's name can lead to it (DNS rebinding). It works once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import html
import json
import re
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from issuebox.providers.github_app import EVENTS, PERMISSIONS

HOST: Final = "127.0.0.1"
CODE: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")
GRACE_S: Final = 3
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    # GitHub must not learn the word in the address from the Referer.
    "Referrer-Policy": "strict-origin",
}
STYLE: Final = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 44rem; margin: 0 auto; padding: 1.5rem 1rem; overflow-wrap: anywhere; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { text-align: left; vertical-align: top; padding: .4rem .6rem .4rem 0; border-bottom: 1px solid #8885; }
.asked th, .asked td:not(:last-child) { white-space: nowrap; }
.facts th { width: 9rem; }
button, a.button { display: inline-block; font: inherit; font-weight: 600; padding: .6rem 1.2rem; border: 0;
  border-radius: .4rem; background: #1a7f37; color: #fff; text-decoration: none; cursor: pointer; }
"""


class PortTakenError(Exception):
    """The port cannot be listened on; the text says why."""


@dataclass(frozen=True, slots=True)
class Done:
    """What the browser shows after GitHub has sent it back: a sentence, and where to go on."""

    title: str
    text: str
    link: str = ""
    link_text: str = ""
    is_ok: bool = True


@dataclass(slots=True)
class Offer:
    """What the page offers. ``manifest`` gets the address to come back to, ``target`` the state."""

    manifest: Callable[[str], dict[str, Any]]
    target: Callable[[str], str]
    facts: list[tuple[str, str]]
    take: Callable[[str], Awaitable[Done]]
    """Called once, with the code."""
    refused: Callable[[], None]
    """Something came back with a wrong state."""
    word: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    state: str = field(default_factory=lambda: secrets.token_urlsafe(24))


class LocalPage:
    """The page while it is served. ``came_back`` is set when the code was taken and answered, well or not."""

    def __init__(self, offer: Offer, port: int) -> None:
        self._offer = offer
        self._port = port
        self._is_used = False
        self.came_back = asyncio.Event()

    @property
    def url(self) -> str:
        """What the person opens."""
        return f"http://{HOST}:{self._port}/{self._offer.word}"

    def app(self) -> Starlette:
        """The application: two pages, and nothing else."""
        word = self._offer.word
        routes = [Route(f"/{word}", self._show), Route(f"/{word}/done", self._back)]
        return Starlette(routes=[Route(route.path, self._own(route.endpoint)) for route in routes])

    def _own(self, answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """Answer only requests that were made to this address, by its number."""

        async def checked(request: Request) -> Response:
            if request.headers.get("host", "") != f"{HOST}:{self._port}":
                return Response("This address is not served here.\n", 421, media_type="text/plain")
            return await answer(request)

        return checked

    async def _show(self, _request: Request) -> Response:
        if self._is_used:
            return _page(Done("Done already", "This page works once. The terminal says what became of it."), 410)
        offer = self._offer
        body = json.dumps(offer.manifest(f"{self.url}/done"))
        return HTMLResponse(_offer_page(offer.target(offer.state), body, offer.facts), headers=HEADERS)

    async def _back(self, request: Request) -> Response:
        state, code = request.query_params.get("state", ""), request.query_params.get("code", "")
        if not secrets.compare_digest(state.encode(), self._offer.state.encode()):
            self._offer.refused()
            return _page(Done("Refused", "This did not begin on this machine's page: its state is wrong."), 400)
        if not CODE.fullmatch(code):
            return _page(Done("Refused", "GitHub sent no code. Go back and press the button again."), 400)
        if self._is_used:
            return _page(Done("Done already", "This page works once. The terminal says what became of it."), 410)
        self._is_used = True
        try:
            done = await self._offer.take(code)
        finally:
            self.came_back.set()
        return _page(done, 200 if done.is_ok else 502)


@asynccontextmanager
async def served(offer: Offer, port: int) -> AsyncIterator[LocalPage]:
    """Serve the page on loopback until the block ends; port 0 is any free one. Raises PortTakenError."""
    listener = _listener(port)
    page = LocalPage(offer, int(listener.getsockname()[1]))
    config = uvicorn.Config(
        page.app(), log_config=None, log_level="critical", access_log=False, ws="none", lifespan="off",
        server_header=False, timeout_graceful_shutdown=GRACE_S,
    )  # fmt: skip
    server = _Server(config)
    serving = asyncio.create_task(server.serve([listener]))
    try:
        yield page
    finally:
        server.should_exit = True
        await serving
        listener.close()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone: the command says at Ctrl-C what was stored."""
        yield


def _listener(port: int) -> socket.socket:
    try:
        return socket.create_server((HOST, port))
    except OSError as error:
        if error.errno in (errno.EADDRINUSE, errno.EACCES):
            raise PortTakenError(
                f"port {port} is taken or not allowed: choose another with --port, or omit it"
            ) from error
        raise


def _offer_page(target: str, manifest: str, facts: list[tuple[str, str]]) -> str:
    permissions = "".join(_row(one.name.replace("_", " "), one.access, one.reason) for one in PERMISSIONS)
    events = "".join(_row(name, "event", reason) for name, reason in EVENTS.items())
    shown = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in facts)
    return _document(
        "Register a GitHub App for issuebox",
        f"""
<p>Nothing was sent yet. Sign in to GitHub first, then press the button: it opens GitHub, which asks you once more.
The App is private: only its owner can install it. It asks now for all that it will ever need, so that nobody has to
approve it again.</p>
<table class="asked"><tr><th>permission</th><th>access</th><th>reason</th></tr>{permissions}{events}</table>
<table class="facts">{shown}</table>
<form action="{html.escape(target)}" method="post">
<input type="hidden" name="manifest" value="{html.escape(manifest)}">
<button type="submit">Register it on GitHub</button>
</form>""",
    )


def _row(*cells: str) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


def _page(done: Done, status: int) -> HTMLResponse:
    link = f'<p><a class="button" href="{html.escape(done.link)}">{html.escape(done.link_text)}</a></p>'
    body = f"<p>{html.escape(done.text)}</p>{link if done.link else ''}"
    return HTMLResponse(_document(done.title, body), status, headers=HEADERS)


def _document(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{html.escape(title)}</title><style>{STYLE}</style></head>
<body><h1>{html.escape(title)}</h1>{body}</body></html>
"""
