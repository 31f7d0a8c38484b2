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
from tests import once
from workflows import search_attributes

_ISSUE_IDS = itertools.count(os.getpid() * 10_000 + 1)

LONG_S = 180.0
"""A test that may take so long is begun before the others."""

EVENTS_BEFORE_CONTINUE_AS_NEW = 120
"""Temporal suggests to continue as new after so many history events; its own default is 4,096."""


def pytest_configure(config: pytest.Config) -> None:
    """Spare every test what it needs only once."""
    patch = pytest.MonkeyPatch()
    config.add_cleanup(patch.undo)
    # Each process has a Temporal server of its own. With more threads than its share of the machine a server hands work
    # from one to another: that is an eighth of what a flood of signals costs.
    patch.setenv("GOMAXPROCS", os.environ.get("GOMAXPROCS", "1"))
    once.build_validators(patch)
    if "not live" in config.option.markexpr:
        config.add_cleanup(once.trust_one_authority(patch).unlink)


@pytest.hookimpl(trylast=True)  # After those are left out that nobody asked for.
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that may take longest begin first, each in another process: else all wait for the last of them at the end.

    xdist gives each process an equal share of the tests, in their order, and later those that another one has left.
    """
    units: dict[str, list[pytest.Item]] = {}
    for item in items:
        if _allowed_s(item) >= LONG_S:
            # What a module begins once is not begun in several processes.
            is_alone = any(mark.name == "timeout" for mark in item.own_markers)
            units.setdefault(item.nodeid if is_alone else item.nodeid.partition("::")[0], []).append(item)
    longest = sorted(units.values(), key=lambda unit: -_allowed_s(unit[0]))
    begun = {item for unit in longest for item in unit}
    rest = iter([item for item in items if item not in begun])
    ordered: list[pytest.Item] = []
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    for number in range(processes):
        share = (len(items) - len(ordered)) // (processes - number)
        first = [item for unit in longest[number::processes] for item in unit]
        ordered += [*first, *itertools.islice(rest, max(0, share - len(first)))]
    items[:] = [*ordered, *rest]


def _allowed_s(item: pytest.Item) -> float:
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0]) if mark is not None else 0.0


def pytest_collection_finish() -> None:
    """As the worker's own process does with its modules. Else a workflow task that makes many objects spends most of
    its time in collections of the whole test process: 0.6 of the 0.9 s that a flood of 9,000 events takes. Each test
    leaves its applications behind: at Python's thresholds a tenth of the time of a test of the API is collection."""
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


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
