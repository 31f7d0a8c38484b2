"""Timers fire after their minutes, divided by the speed, and count from the same moment as Daytona's."""

import asyncio
import time

import httpx
import pytest

from localdaytona.testing import Server
from tests.localdaytona.clients import reaches

# A minute takes 0.3 s, a tick 0.05 s.
SPEED = 200
MINUTE_S = 60 / SPEED


@pytest.fixture(autouse=True)
async def _fast(server: Server) -> None:
    await server.admin.config(speed=SPEED)


async def started(rest: httpx.AsyncClient, **body: object) -> str:
    """Create a sandbox and return its ID."""
    return str((await rest.post("/sandbox", json=body)).json()["id"])


async def test_idle_sandbox_is_stopped(server: Server, rest: httpx.AsyncClient) -> None:
    """Auto-stop fires after its minutes, although the sandbox is read all the time."""
    sandbox_id, began = await started(rest, autoStopInterval=1), time.monotonic()
    while (await rest.get(f"/sandbox/{sandbox_id}")).json()["state"] == "started":
        await asyncio.sleep(0.01)
    assert time.monotonic() - began >= MINUTE_S * 0.9
    await reaches(server, sandbox_id, "stopped")
    stop = await server.admin.journal(kind="desired", sandbox_id=sandbox_id)
    assert [entry.operation for entry in stop] == ["auto_stop"]


async def test_activity_postpones_the_stop(server: Server, rest: httpx.AsyncClient) -> None:
    """A sandbox whose activity is refreshed stays started well beyond its interval."""
    minutes = 8  # 2.4 s: a machine may stall for as long
    sandbox_id, began = await started(rest, autoStopInterval=minutes), time.monotonic()
    while time.monotonic() - began < MINUTE_S * minutes * 1.5:
        assert (await rest.post(f"/sandbox/{sandbox_id}/last-activity")).status_code == 201
        assert (await server.admin.sandbox(sandbox_id)).state == "started"
        await asyncio.sleep(0.03)


async def test_stopped_sandbox_is_archived_then_never_deleted(server: Server, rest: httpx.AsyncClient) -> None:
    """With archive after one minute and delete after three, it is archived and stays so."""
    sandbox_id = await started(rest, autoArchiveInterval=1, autoDeleteInterval=3)
    await rest.post(f"/sandbox/{sandbox_id}/stop")
    await reaches(server, sandbox_id, "archived")
    await asyncio.sleep(MINUTE_S * 4)
    assert (await server.admin.sandbox(sandbox_id)).state == "archived"


async def test_stopped_sandbox_is_deleted_by_its_timer(server: Server, rest: httpx.AsyncClient) -> None:
    """Auto-delete counts from the stop and never touches a started sandbox."""
    sandbox_id = await started(rest, name="goner", autoDeleteInterval=1, autoStopInterval=0)
    await asyncio.sleep(MINUTE_S * 1.5)
    assert (await server.admin.sandbox(sandbox_id)).state == "started"
    await rest.post(f"/sandbox/{sandbox_id}/stop")
    await reaches(server, sandbox_id, "destroyed")
    assert (await rest.get("/sandbox/goner")).status_code == 404


async def test_time_to_live_destroys_in_any_state(server: Server, rest: httpx.AsyncClient) -> None:
    """A TTL counts from creation, shows as autoDestroyAt, and destroys a started sandbox."""
    sandbox_id = await started(rest, ttlMinutes=1)
    assert (await rest.get(f"/sandbox/{sandbox_id}")).json()["autoDestroyAt"]
    await reaches(server, sandbox_id, "destroyed")


async def test_stop_by_a_timer_begins_a_tick_later(server: Server, rest: httpx.AsyncClient) -> None:
    """A timer only sets the desired state; the work begins a tick later."""
    sandbox_id = await started(rest, autoStopInterval=1)
    await reaches(server, sandbox_id, "stopped")
    entries = await server.admin.journal(sandbox_id=sandbox_id)
    desired = next(entry.at for entry in entries if entry.kind == "desired")
    taken_up = next(entry.at for entry in entries if entry.kind == "state" and entry.detail["new"] == "stopping")
    assert taken_up - desired >= 10 / SPEED * 0.9
