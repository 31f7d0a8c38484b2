"""Serves the stand-ins of the proofs on loopback."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import uvicorn
from starlette.applications import Starlette

LOOPBACK: Final = "127.0.0.1"
POLL_INTERVAL_S: Final = 0.01


def listener() -> tuple[socket.socket, str]:
    """A socket at a free port, and its URL."""
    found = socket.create_server((LOOPBACK, 0))
    return found, f"http://{LOOPBACK}:{found.getsockname()[1]}"


@asynccontextmanager
async def served(app: Starlette, at: socket.socket, **options: Any) -> AsyncIterator[None]:
    """Serve the application at the socket for the duration of the block, and close it. `options`: of uvicorn."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", lifespan="off", **options))
    serving = asyncio.create_task(server.serve([at]))
    while not server.started:  # noqa: ASYNC110 -- uvicorn has no event for it
        await asyncio.sleep(POLL_INTERVAL_S)
    try:
        yield
    finally:
        server.should_exit = True
        await serving
        at.close()
