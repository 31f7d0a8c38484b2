"""The providers that the contract suite checks.

They run on localdaytona always, in both of the SDK's modes, and on the real Daytona with ``-m live`` and
DAYTONA_API_KEY. Live are only the tests that create nothing but `spec` and inject nothing: those with the fixture
`spec` and without `server`.
"""

from __future__ import annotations

import itertools
import os
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from issuebox.domain.provider import SandboxSpec
from issuebox.environment import load
from issuebox.providers.daytona import DaytonaOptions, DaytonaProvider
from issuebox.settings import WorkerSettings
from issuebox.worker import daytona_options
from localdaytona.testing import Server, running_inside

EVENT_STREAM, POLLING, LIVE = "event stream", "polling", "live"
LIVE_TIMEOUT_S = 600
"""An archive and a thaw of the real Daytona take minutes."""

RUN = uuid.uuid4().hex[:12]
"""Part of all names and labels of this run: what lacks it is never touched."""
LABEL_RUN = "issuebox-contract-run"
_NUMBERS = itertools.count(1)

DURATIONS = {
    "create_s": 0.1, "start_s": 0.1, "stop_s": 0.1, "destroy_s": 0.2,
    "archive_s": 0.2, "restore_wait_s": 0.2, "restore_s": 0.4,
}  # fmt: skip
"""A tenth of localdaytona's default durations."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a provider's test in each mode, and live when it creates only what is cleaned up and injects nothing."""
    if "provider" not in metafunc.fixturenames:
        return
    modes = [pytest.param(EVENT_STREAM), pytest.param(POLLING)]
    if "spec" in metafunc.fixturenames and "server" not in metafunc.fixturenames:
        modes.append(pytest.param(LIVE, marks=[pytest.mark.live, pytest.mark.timeout(LIVE_TIMEOUT_S)]))
    metafunc.parametrize("mode", modes)


def options(server: Server, **changes: object) -> DaytonaOptions:
    """Short timeouts, so that a test that waits for one is quick."""
    given: dict[str, object] = {
        "api_key": server.api_key,
        "api_url": server.api_url,
        "target": "us",
        "request_timeout_s": 2.0,
        "command_timeout_s": 4.0,
        "listen_s": 5.0,
        "settle_timeout_s": 5.0,
        "read_interval_s": 2.0,
    }
    return DaytonaOptions(**given | changes)  # type: ignore[arg-type]


def live_options() -> DaytonaOptions:
    """The organization that the workers' own variables name, with the workers' timeouts."""
    if not os.environ.get("DAYTONA_API_KEY"):
        pytest.skip("the live contract needs DAYTONA_API_KEY, a key of the organization to run it in")
    own = load(WorkerSettings).model_copy(update={"auto_stop_interval_s": 15 * 60.0})
    return replace(daytona_options(own), listen_s=300.0, settle_timeout_s=300.0)


@pytest.fixture
def mode() -> str:
    """The mode of a test that creates its own providers."""
    return EVENT_STREAM


@pytest.fixture
async def daytona(mode: str, tmp_path: Path) -> AsyncIterator[Server | None]:
    """A quick localdaytona; None in a live test."""
    if mode == LIVE:
        yield None
        return
    async with running_inside(tmp_path / "daytona") as server:
        await server.admin.config(durations=DURATIONS, backup_every_s=0.2)
        yield server


@pytest.fixture
async def server(daytona: Server | None) -> Server:
    """The localdaytona of a test that interferes with it."""
    assert daytona is not None
    return daytona


@pytest.fixture
async def provider(mode: str, daytona: Server | None) -> AsyncIterator[DaytonaProvider]:
    """The provider in each mode: the whole contract holds in all of them."""
    if daytona is None:
        made = DaytonaProvider(live_options())
    elif mode == POLLING:
        with pytest.warns(DeprecationWarning, match="Polling-only"):
            made = DaytonaProvider(options(daytona, use_polling=True, read_interval_s=0.05))
    else:
        made = DaytonaProvider(options(daytona))
    async with made:
        yield made


@pytest.fixture
async def spec(provider: DaytonaProvider) -> AsyncIterator[SandboxSpec]:
    """The spec of a sandbox unique to this test and run, which is deleted afterwards; nothing else is deleted."""
    name = f"issuebox-contract-{RUN}-{next(_NUMBERS)}"
    yield SandboxSpec(name, {"managed-by": "issuebox-contract", "issue-id": "1", LABEL_RUN: RUN})
    left = await provider.lookup(name)
    settled = None if left is None else await provider.settle(left.id, 60.0)
    if settled is not None:
        await provider.delete(settled.id)
