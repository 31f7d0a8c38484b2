"""The action `idle`: a person pretends that nobody touched a sandbox for some time."""

from datetime import UTC, datetime

import httpx
import pytest

from localdaytona.testing import Server
from tests.localdaytona.clients import reaches


async def test_idle_moves_the_last_activity_into_the_past(server: Server) -> None:
    """The last activity is that many seconds ago, the journal says who did it, and nothing else changes."""
    made = await server.admin.create(name="quiet")
    await reaches(server, "quiet", "started")
    before = await server.admin.sandbox("quiet")
    after = await server.admin.act("quiet", "idle", seconds=600)
    assert after.last_activity_at is not None
    idle_s = (datetime.now(UTC) - datetime.fromisoformat(after.last_activity_at)).total_seconds()
    assert 600 <= idle_s < 605
    assert after.model_dump(exclude={"last_activity_at"}) == before.model_dump(exclude={"last_activity_at"})
    (entry,) = [e for e in await server.admin.journal(kind="admin") if e.operation == "admin:idle"]
    assert (entry.sandbox_id, entry.detail) == (made.id, {"act": "idle", "seconds": 600})


async def test_idle_beyond_the_interval_stops_the_sandbox(server: Server) -> None:
    """Auto-stop counts the pretended idleness: 15 minutes at speed 10 are 90 seconds."""
    await server.admin.create(name="quiet")
    await reaches(server, "quiet", "started")
    await server.admin.act("quiet", "idle", seconds=91)
    await reaches(server, "quiet", "stopped")
    (stop,) = [e for e in await server.admin.journal(name="quiet", kind="desired") if e.detail["new"] == "stopped"]
    assert stop.operation == "auto_stop"


@pytest.mark.parametrize("seconds", [-1, 1e300])
async def test_impossible_idleness_is_refused(server: Server, seconds: float) -> None:
    """Neither a time in the future nor one that cannot be represented is accepted."""
    await server.admin.create(name="quiet")
    with pytest.raises(httpx.HTTPStatusError, match=r"less_than|greater_than"):
        await server.admin.act("quiet", "idle", seconds=seconds)
