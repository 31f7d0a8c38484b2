"""Issues for lists: workflows with what they publish, which no worker runs."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from temporalio.client import Client

from tests.waiting import until
from workflows.messages import MEMO_STATUS, WORKFLOW_TYPE, Published, StartInput

BEGAN = datetime(2026, 11, 29, 12, tzinfo=UTC)
AT_ONCE = 16


async def start_listed(temporal: Client, prefix: str, count: int, **published: str) -> None:
    """Start the issues 1 to `count` under this prefix; Temporal lists them when this returns."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def start(number: int) -> None:
        given = {
            "phase": "usable",
            "state": "started",
            "outcome": "created",
            "goal": "running",
            "title": f"Issue number {number}",
            "issue_updated_at": (BEGAN + timedelta(minutes=number)).isoformat(),
        }
        memo = asdict(Published(repository="octo/repo", number=number, **given | published))
        async with slots:
            await temporal.start_workflow(
                WORKFLOW_TYPE,
                StartInput(number, f"{prefix}{number}"),
                id=f"{prefix}{number}",
                task_queue=f"{prefix}queue",
                memo={MEMO_STATUS: memo},
            )

    async def listed() -> int:
        return (await temporal.count_workflows(f"TaskQueue = '{prefix}queue'")).count

    await asyncio.gather(*(start(number) for number in range(1, count + 1)))
    await until(listed, lambda seen: seen == count, "the issues are in the index")
