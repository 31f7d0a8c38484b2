"""Clients for the tests: the unmodified SDK, and raw HTTP for what it hides."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
from daytona import AsyncDaytona, AsyncSandbox, CreateSandboxFromSnapshotParams, DaytonaConfig

from localdaytona.testing import NO_TLS, Server

WAIT_MAX_S = 10.0


def rest_of(server: Server) -> httpx.AsyncClient:
    """Return an HTTP client of the API that carries the key."""
    headers = {"Authorization": f"Bearer {server.api_key}"}
    return httpx.AsyncClient(base_url=server.api_url, headers=headers, timeout=20, trust_env=False, verify=NO_TLS)


@asynccontextmanager
async def sdk_of(server: Server, *, polling: bool = False) -> AsyncIterator[AsyncDaytona]:
    """Yield the SDK on a server, in event mode or in its deprecated polling mode."""
    config = {"api_key": server.api_key, "api_url": server.api_url, "target": "us"}
    if polling:
        with pytest.warns(DeprecationWarning, match="polling"):
            client = AsyncDaytona(DaytonaConfig(**config, use_deprecated_polling=True))
    else:
        client = AsyncDaytona(DaytonaConfig(**config))
    async with client:
        yield client


async def create(sdk: AsyncDaytona, name: str, **more: object) -> AsyncSandbox:
    """Create a sandbox by the SDK."""
    return await sdk.create(CreateSandboxFromSnapshotParams(name=name, **more))


async def eventually(read: Callable[[], Awaitable[object]]) -> None:
    """Return once `read` returns something true. Raises TimeoutError after ten seconds."""
    async with asyncio.timeout(WAIT_MAX_S):
        while not await read():
            await asyncio.sleep(0.01)


async def reaches(server: Server, id_or_name: str, state: str) -> None:
    """Return once the raw state is this one."""

    async def read() -> bool:
        return (await server.admin.sandbox(id_or_name)).state == state

    await eventually(read)
