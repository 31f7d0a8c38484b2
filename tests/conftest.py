"""What several levels share: a real Temporal server, and issue IDs that no other test uses."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import shlex
from collections.abc import Iterator

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from issuebox.dev.child import bound
from issuebox.dev.temporal_server import ensure_binary
from issuebox.temporal.connect import DATA_CONVERTER
from workflows import search_attributes

_ISSUE_IDS = itertools.count(os.getpid() * 10_000 + 1)

EVENTS_BEFORE_CONTINUE_AS_NEW = 120
"""Temporal suggests to continue as new after so many history events; its own default is 4,096."""


def pytest_collection_finish() -> None:
    """As the worker's own process does with its modules. Else a workflow task that makes many objects spends most of
    its time in collections of the whole test process: 0.6 of the 0.9 s that a flood of 9,000 events takes."""
    gc.freeze()


def new_issue_id() -> int:
    """An issue that no other test of this run has heard of."""
    return next(_ISSUE_IDS)


@pytest.fixture
def issue_id() -> int:
    """The issue of a test that needs only one."""
    return new_issue_id()


@pytest.fixture(scope="session")
def temporal_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Temporal dev server in memory, for the whole run. It ends with the run, also when that is killed."""
    script = tmp_path_factory.mktemp("temporal") / "temporal"

    async def start() -> WorkflowEnvironment:
        script.write_text(f'#!/bin/sh\nexec {shlex.join(bound(str(await ensure_binary())))} "$@"\n')
        script.chmod(0o700)
        return await WorkflowEnvironment.start_local(
            dev_server_existing_path=str(script),
            dev_server_log_level="error",
            search_attributes=search_attributes.ALL,
            dev_server_extra_args=[
                "--dynamic-config-value",
                f"limit.historyCount.suggestContinueAsNew={EVENTS_BEFORE_CONTINUE_AS_NEW}",
                # As in DevServer: at the default each step of a workflow waits up to 50 ms for its turn.
                "--dynamic-config-value",
                "history.transferProcessorMaxPollRPS=1000",
            ],
        )

    # A loop of its own: the server outlives the loops of the tests.
    loop = asyncio.new_event_loop()
    environment = loop.run_until_complete(start())
    try:
        yield environment.client.service_client.config.target_host
    finally:
        loop.run_until_complete(environment.shutdown())
        loop.close()


@pytest.fixture
async def temporal(temporal_address: str) -> Client:
    """A client of it."""
    return await Client.connect(temporal_address, data_converter=DATA_CONVERTER)
