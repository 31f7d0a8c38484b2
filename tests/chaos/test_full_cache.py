"""More issues at work at once than a worker keeps in memory, and somebody asks for each of them meanwhile.

With a full cache, Temporal's SDK can lose a workflow task (`issuebox.watchdog.TASK_LOST`). The worker then ends itself,
and the supervisor, here `issuebox dev`, starts it again.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from issuebox.dev.demo.stack import SETTINGS, running
from issuebox.settings import WorkerSettings
from tests.chaos.test_stalled_log import AT_ONCE
from tests.unit.test_settings import WRONG

pytestmark = pytest.mark.timeout(240)

ISSUES = 200
LEAST = 100


def test_least_cache_is_the_floor_of_the_setting() -> None:
    """A smaller cache is refused: with 10 and with 40, workers stopped for good in most trials."""
    assert WorkerSettings.model_validate({"cached_workflows": str(LEAST)}).cached_workflows == LEAST
    assert str(LEAST - 1) in {given for given, _ in WRONG["cached_workflows"]}


async def test_issues_beyond_the_cache_are_served(tmp_path: Path) -> None:
    """Each has its sandbox in the end, with the least cache that the setting allows."""
    settings = SETTINGS | {"ISSUEBOX_CACHED_WORKFLOWS": str(LEAST)}
    async with running(tmp_path, settings) as stack:
        await stack.admin.config(speed=20)
        free = asyncio.Semaphore(4 * AT_ONCE)

        async def one(issue: int) -> None:
            async with free:
                await stack.send("opened", issue)
                await stack.served(issue)

        async with asyncio.TaskGroup() as tasks:
            for issue in range(1, ISSUES + 1):
                tasks.create_task(one(issue))
        assert len([row for row in await stack.admin.sandboxes() if row.state == "started"]) == ISSUES
