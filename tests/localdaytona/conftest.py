"""Servers and clients. `server` runs inside the test; `process` can be killed."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from daytona import AsyncDaytona

from localdaytona.testing import Server, running, running_inside
from tests.localdaytona.clients import rest_of, sdk_of

# Fast enough for tests, slow enough that every transitional state can be seen.
SPEED = 10


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A fresh server inside the test's loop."""
    async with running_inside(tmp_path, speed=SPEED) as server:
        yield server


@pytest.fixture
async def process(tmp_path: Path) -> AsyncIterator[Server]:
    """A fresh server in its own process."""
    async with running(tmp_path, speed=SPEED) as server:
        yield server


@pytest.fixture
async def rest(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """Raw HTTP to `server`, with the key."""
    async with rest_of(server) as client:
        yield client


@pytest.fixture
async def sdk(server: Server) -> AsyncIterator[AsyncDaytona]:
    """The unmodified SDK on `server`, in event mode."""
    async with sdk_of(server) as client:
        yield client
