"""A process's answers to probes and to Prometheus, over HTTP on its admin address.

`/healthz` is answered by the event loop: an answer means that the loop turns. `/readyz` also asks Temporal whether this
worker's polls return, which is all that a worker needs to do its work. It also lists what the checks at the start found
wrong with Daytona and GitHub: a worker is ready without them, and blocks the issues that need them. `/metrics` has what
`issuebox.metrics` counts, and behind it what Temporal's SDK does. None needs a token.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from temporalio.client import Client
from temporalio.service import RPCError

from issuebox import metrics
from issuebox.measured import core_url
from issuebox.temporal.pollers import KINDS, POLL_MAX_S, pollers

if TYPE_CHECKING:
    from aiohttp import web

TIMEOUT_S: Final = 3.0
"""How long Temporal has for its answer: less than a probe has for ours."""

METRICS_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
"""The format of what is shown: that of the SDK's core, to which ours is joined."""

Question = Callable[[], Awaitable[str]]
"""Answers why the worker is not ready; '' when it is."""


async def polls(client: Client, task_queue: str) -> str:
    """Why this worker's polls do not return; '' when they do. Temporal knows the worker by the client's identity."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            found = {kind: await pollers(client, task_queue, kind) for kind in KINDS}
    except TimeoutError:
        return f"Temporal has not answered within {TIMEOUT_S:g} s"
    except RPCError as error:
        return f"Temporal answered {error.status.name}"
    for kind, known in found.items():
        if not any(poller.identity == client.identity and not poller.is_silent for poller in known):
            return f"no poll for {kind} within {POLL_MAX_S:g} s"
    return ""


@asynccontextmanager
async def answering(
    address: str, is_not_ready: Question, troubles: Callable[[], Sequence[str]] = tuple
) -> AsyncIterator[None]:
    """Answer at this address, `host:port`, within the block; with '', do nothing. Raises OSError."""
    if not address:
        yield
        return
    # Imported here: a worker without an admin address needs no HTTP server.
    from aiohttp import web  # noqa: PLC0415

    async def healthz(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readyz(_: web.Request) -> web.Response:
        reason = await is_not_ready()
        body = {"status": reason or "ok", "troubles": list(troubles())}
        return web.json_response(body, status=503 if reason else 200)

    app = web.Application()

    async def shown(_: web.Request) -> web.Response:
        async with asyncio.timeout(TIMEOUT_S):
            core = await _read(core_url())
        return web.Response(body=metrics.exposition() + core, headers={"Content-Type": METRICS_TYPE})

    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz)])
    if metrics.is_on():
        app.add_routes([web.get("/metrics", shown)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        host, _, port = address.rpartition(":")
        try:
            await web.TCPSite(runner, host.strip("[]"), int(port)).start()
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise OSError(error.errno, f"ISSUEBOX_ADMIN_ADDRESS={address} cannot be bound: {reason}") from error
        yield
    finally:
        await runner.cleanup()


async def _read(url: str) -> bytes:
    """What the SDK's core shows. It is in this process, so no proxy is asked."""
    if not url:
        return b""
    import aiohttp  # noqa: PLC0415 -- as above

    async with aiohttp.ClientSession(raise_for_status=True) as session, session.get(url) as reply:
        return await reply.read()
