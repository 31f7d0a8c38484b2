"""The stack under measurement: `issuebox dev` with its own defaults, on a localdaytona whose changes are short."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from temporalio.client import Client, WorkflowHandle

from bench.demo.stack import Stack, running
from issuebox.temporal_client import connect

SETTINGS: Mapping[str, str] = {
    "ISSUEBOX_LOG_FORMAT": "json",
    # Nothing but what is measured runs.
    "ISSUEBOX_AUDIT_INTERVAL_S": "0",
    "ISSUEBOX_RESYNC_INTERVAL_S": "0",
    "ISSUEBOX_RESYNC_SWEEP_INTERVAL_S": "0",
}

DURATIONS_S: Mapping[str, float] = {
    "create_s": 0.1,
    "start_s": 0.1,
    "stop_s": 0.05,
    "destroy_s": 0.1,
    "archive_s": 0.1,
}
"""How long Daytona's own changes take: long enough to be waited for, short enough to be measured often."""


@dataclass(frozen=True, slots=True)
class BenchStack:
    """A running stack and a client of its Temporal."""

    stack: Stack
    temporal: Client

    def workflow(self, issue: int) -> WorkflowHandle[object, object]:
        """The workflow of an issue."""
        return self.temporal.get_workflow_handle(self.stack.name(issue))

    def environment(self) -> dict[str, str]:
        """What a further worker or client of the same stack is started with."""
        dev = self.stack.stack
        return {
            **{key: value for key, value in os.environ.items() if not key.startswith(("TEMPORAL_", "DAYTONA_"))},
            **SETTINGS,
            "TEMPORAL_ADDRESS": dev.temporal_address,
            "TEMPORAL_NAMESPACE": dev.temporal_namespace,
            "TEMPORAL_CONFIG_FILE": os.devnull,
            "DAYTONA_API_URL": dev.daytona_api_url,
            "DAYTONA_API_KEY": dev.daytona_api_key or "",
        }


@asynccontextmanager
async def measured(data_dir: Path, **settings: str) -> AsyncIterator[BenchStack]:
    """The stack, with `settings` beside those of all measurements; ended when the block ends."""
    async with running(data_dir, base=SETTINGS, **settings) as stack:
        await stack.admin.config(durations=dict(DURATIONS_S))
        dev = stack.stack
        client = await connect(
            environment={
                "TEMPORAL_ADDRESS": dev.temporal_address,
                "TEMPORAL_NAMESPACE": dev.temporal_namespace,
                "TEMPORAL_CONFIG_FILE": os.devnull,
            }
        )
        yield BenchStack(stack, client)
