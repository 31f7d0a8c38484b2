"""The providers that the contract suite holds to their sentences.

localdaytona always; the real Daytona with ``-m live`` and DAYTONA_API_KEY, for the tests that inject
nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from issuebox.providers.daytona import DaytonaOptions, DaytonaProvider
from localdaytona.testing import Server, running_inside


def options(server: Server, **changes: object) -> DaytonaOptions:
    """Short deadlines, so that a test that waits for one is quick."""
    given: dict[str, object] = {
        "api_key": server.api_key,
        "api_url": server.api_url,
        "target": "us",
        "request_timeout_s": 1.0,
        "command_timeout_s": 2.0,
        "settle_timeout_s": 5.0,
        "read_interval_s": 2.0,
    }
    return DaytonaOptions(**given | changes)  # type: ignore[arg-type]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """A localdaytona in which state changes take a tenth of their usual time."""
    async with running_inside(tmp_path / "daytona") as server:
        await server.admin.config(durations={"create_s": 0.1, "start_s": 0.1, "stop_s": 0.1, "destroy_s": 0.2})
        yield server


@pytest.fixture(params=["event stream", "polling"])
async def provider(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[DaytonaProvider]:
    """The provider in both of the SDK's modes: every sentence of the contract holds in each."""
    if request.param == "polling":
        with pytest.warns(DeprecationWarning, match="Polling-only"):
            made = DaytonaProvider(options(server, use_polling=True, read_interval_s=0.05))
    else:
        made = DaytonaProvider(options(server))
    async with made:
        yield made
