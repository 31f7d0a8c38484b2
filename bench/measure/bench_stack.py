"""The stack under measurement: `issuebox dev` with its defaults, on a localdaytona with short transitions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from temporalio.client import Client, WorkflowHandle

from issuebox.dev.demo.stack import Stack, running
from issuebox.dev.environment import inherited, to_temporal
from issuebox.domain.issue import DEFAULT_NAME_PREFIX
from issuebox.temporal.connect import connect
from issuebox.temporal.issues import Issues
from workflows.messages import TASK_QUEUE

CALL_TIMEOUT_S = 10.0

SETTINGS: Mapping[str, str] = {
    "ISSUEBOX_LOG_FORMAT": "json",
    # Only what is measured runs.
    "ISSUEBOX_AUDIT_INTERVAL_S": "0",
    "ISSUEBOX_RESYNC_INTERVAL_S": "0",
}

DURATIONS_S: Mapping[str, float] = {
    "create_s": 0.1,
    "start_s": 0.1,
    "stop_s": 0.05,
    "destroy_s": 0.1,
    "archive_s": 0.1,
}
"""How long Daytona's state changes take: long enough for a wait, short enough for many samples."""


@dataclass(frozen=True, slots=True)
class BenchStack:
    """A running stack and a client of its Temporal."""

    stack: Stack
    temporal: Client

    @property
    def issues(self) -> Issues:
        """The one client of the issues' workflows."""
        return issues_over(self.temporal)

    def workflow(self, issue: int) -> WorkflowHandle[object, object]:
        """The workflow of an issue."""
        return self.temporal.get_workflow_handle(self.stack.name(issue))

    def environment(self) -> dict[str, str]:
        """The environment of another worker or client of the same stack."""
        dev = self.stack.stack
        return {
            **inherited(),
            **SETTINGS,
            **to_temporal(dev.temporal_address, dev.temporal_namespace),
            "DAYTONA_API_URL": dev.daytona_api_url,
            "DAYTONA_API_KEY": dev.daytona_api_key or "",
        }


def issues_over(client: Client) -> Issues:
    """The issues' workflows of an installation with the default names."""
    return Issues.over(client, name_prefix=DEFAULT_NAME_PREFIX, task_queue=TASK_QUEUE, timeout_s=CALL_TIMEOUT_S)


@asynccontextmanager
async def measured(data_dir: Path, **settings: str) -> AsyncIterator[BenchStack]:
    """Run the stack for the block, with `settings` in addition to those of all measurements."""
    async with running(data_dir, base=SETTINGS, **settings) as stack:
        await stack.admin.config(durations=dict(DURATIONS_S), backup_every_s=0.0)
        dev = stack.stack
        client = await connect(environment=to_temporal(dev.temporal_address, dev.temporal_namespace))
        yield BenchStack(stack, client)
