"""How long a living worker may be stalled before it counts as dead. By the table, without a clock."""

from __future__ import annotations

from datetime import timedelta

import pytest

from activities.reporting import BEATS_PER_TIMEOUT
from workflows.messages import Aside
from workflows.options import HEARTBEATS, Heartbeat, command


def test_every_task_queue_has_its_heartbeats() -> None:
    """A command goes to the installation's own."""
    assert set(HEARTBEATS) == {None, *Aside}
    assert command()["heartbeat_timeout"] == HEARTBEATS[None].timeout


@pytest.mark.parametrize("heartbeat", HEARTBEATS.values(), ids=map(str, HEARTBEATS))
def test_worker_that_stalls_for_two_seconds_is_no_dead_one(heartbeat: Heartbeat) -> None:
    """Neither when its event loop stalls just before it would record one, nor the SDK's core as it would send one."""
    stall = timedelta(seconds=2)
    assert heartbeat.timeout / BEATS_PER_TIMEOUT + stall <= heartbeat.timeout
    assert heartbeat.every + stall <= heartbeat.timeout
