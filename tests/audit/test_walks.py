"""The walks: the next worker continues a killed worker's walk, and ten thousand sandboxes need little memory."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from temporalio.client import Client
from temporalio.worker import Worker

from activities.audit import AuditActivities
from activities.audit_messages import AuditTerms
from issuebox.domain.issue import Issue
from issuebox.domain.name_ranges import ranges_of
from issuebox.domain.policy import Closing
from issuebox.domain.provider import SandboxPage
from issuebox.domain.records import OPEN, IssueRecord, NameRange, RangeRead
from issuebox.domain.sandbox import Sandbox
from issuebox.providers.daytona import DaytonaOptions, DaytonaProvider
from issuebox.providers.daytona_client import LIST_PAGE_SIZE_MAX
from issuebox.temporal.sweeps import SweptIssues
from issuebox.worker import WORKFLOW_RUNNER
from localdaytona import creation
from localdaytona.config import Config
from localdaytona.store import Store
from localdaytona.testing import Server, running
from proofs.shortened import made_from
from tests.waiting import until
from tests.workflow.conftest import Stack
from workflows.audit import AuditWorkflow
from workflows.messages import Aside, Published

from .conftest import Audited, Started, values_for

REPOSITORY = Path(__file__).parents[2]
SANDBOXES = 7
PAGE_SIZE = 2

ROWS = 10_000
WEIGHED_EVERY = 5
"""Pages. Measuring memory takes longer than reading a page."""
GROWTH_MAX_BYTES = 4 * 1024 * 1024
"""From the sixth page of fifty to the last fifth. Measured: under 1 MB."""
WALK_MAX_S = 30.0


@asynccontextmanager
async def worker_process(
    values: dict[str, object], address: str, directory: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker that can be killed."""
    file = directory / "settings.json"
    file.write_text(json.dumps(values))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.audit.worker_process", str(file), address, str(PAGE_SIZE), cwd=REPOSITORY
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def pages_read(daytona: Server) -> list[str]:
    """The cursors of the requested pages of sandboxes, in order; '' for the first page."""
    entries = await daytona.admin.journal(kind="request")
    queries = [parse_qs(urlsplit(str(entry.detail["path"])).query) for entry in entries if entry.operation == "list"]
    return [query.get("cursor", [""])[0] for query in queries if "includeErroredDeleted" not in query]


async def test_walk_of_a_killed_worker_goes_on_from_its_page(
    temporal: Client, temporal_address: str, daytona: Server, issue_id: int, tmp_path: Path
) -> None:
    """kill -9 while the third page is read: the next worker begins with the third page, and everything counts once."""
    values = values_for(daytona, daytona_request_timeout_s=60.0)
    worker = made_from(values)
    async with DaytonaProvider(worker.daytona) as provider:
        world = Audited(Stack(temporal, daytona, provider, worker, issue_id))
        for number in range(1, SANDBOXES + 1):
            issue = world.issue(number)
            await world.made(issue.name, issue_id=str(issue.issue_id))
            await world.published(issue, Published())
    await daytona.admin.add_fault("list", {"kind": "hang"}, skip=2)
    auditing = asyncio.create_task(world.audit())
    async with worker_process(values, temporal_address, tmp_path) as first:
        await until(lambda: pages_read(daytona), lambda read: len(read) == 3, "the third page is asked for", 60)
        first.kill()
    async with worker_process(values, temporal_address, tmp_path):
        report = await auditing
    read = await pages_read(daytona)
    assert len(read) == 5
    assert read[3] == read[2]
    assert len(set(read)) == 4
    assert (report.sandboxes, report.issues, report.suspects) == (SANDBOXES, SANDBOXES, 0)


class Weighed(DaytonaProvider):
    """The real provider, which measures the process's memory before every fifth page of a list.

    `took_s`: how long that took in all. In a process that has run a thousand tests it takes longer than the walk.
    """

    def __init__(self, options: DaytonaOptions) -> None:
        super().__init__(options)
        self._pages = 0
        self.sandboxes: list[int] = []
        self.resident_bytes: list[int] = []
        self.took_s = 0.0

    async def list_page(self, labels: dict[str, str], cursor: str | None = None) -> SandboxPage:
        if self._pages % WEIGHED_EVERY == 0:
            self._weigh()
        self._pages += 1
        return await super().list_page(labels, cursor)

    def _weigh(self) -> None:
        began = time.monotonic()
        gc.collect()
        self.sandboxes.append(sum(isinstance(thing, Sandbox) for thing in gc.get_objects()))
        resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.resident_bytes.append(resident_pages * os.sysconf("SC_PAGE_SIZE"))
        self.took_s += time.monotonic() - began


class AllRun:
    """Every issue's workflow runs, and none is listed: the cost of describing ten thousand is Temporal's."""

    async def describe(self, name: str) -> IssueRecord | None:
        return IssueRecord(name)

    async def bounds(self) -> tuple[str, ...]:
        return (OPEN, OPEN)

    async def read_range(self, name_range: NameRange) -> RangeRead:
        return RangeRead((), 0, 0, 0)

    async def adopt(self, issue: Issue) -> None:
        raise AssertionError("nothing is to be mended")

    async def look(self, name: str) -> bool:
        raise AssertionError("nothing is to be mended")


def fill(path: Path, labels: dict[str, str]) -> None:
    """Write ten thousand sandboxes where localdaytona finds them."""
    store = Store(path / "localdaytona.sqlite3")
    wanted = creation.parse({"autoStopInterval": 0}, Config())
    with store.transaction():
        for number in range(1, ROWS + 1):
            name, own = f"claude-issue-{number}", labels | {"issue-id": str(number)}
            store.insert(
                replace(wanted.sandbox(1_000.0 + number, Config()), state="started", name=name, labels=dict(own))
            )
    store.close()


@pytest.fixture
async def crowd(temporal: Client, issue_id: int, tmp_path: Path) -> AsyncIterator[Audited]:
    """An installation with ten thousand sandboxes, on a localdaytona in another process."""
    fill(tmp_path, {"managed-by": "issuebox", "issuebox-instance": "default"})
    async with running(tmp_path) as daytona:
        worker = made_from(values_for(daytona))
        async with Weighed(worker.daytona) as provider:
            world = Audited(Stack(temporal, daytona, provider, worker, issue_id))
            audits = AuditActivities(provider, AllRun(), ours=world.ours, terms=AuditTerms(), closing=Closing())
            queue = worker.settings.task_queue
            async with (
                Worker(
                    temporal,
                    task_queue=queue,
                    workflows=[AuditWorkflow],
                    activities=audits.all(),
                    workflow_runner=WORKFLOW_RUNNER,
                ),
                Worker(temporal, task_queue=Aside.WAITS.queue(queue), activities=audits.all()),
            ):
                yield world


async def test_ten_thousand_sandboxes_are_walked_in_bounded_memory(crowd: Audited) -> None:
    """Nothing is kept of a judged sandbox: memory grows by one page."""
    began = time.monotonic()
    report = await crowd.audit()
    assert (report.sandboxes, report.suspects, report.promise_holds) == (ROWS, 0, True)
    took_s = time.monotonic() - began
    weighed = crowd.stack.provider
    assert isinstance(weighed, Weighed)
    assert took_s - weighed.took_s < WALK_MAX_S
    assert len(weighed.resident_bytes) == ROWS / LIST_PAGE_SIZE_MAX / WEIGHED_EVERY
    assert max(weighed.sandboxes) <= 2 * LIST_PAGE_SIZE_MAX
    assert weighed.resident_bytes[-1] - weighed.resident_bytes[1] < GROWTH_MAX_BYTES


@pytest.mark.parametrize("odd", ["", ' it\'s "odd" \\'], ids=["plain", "odd"])
async def test_workflows_are_read_range_by_range(start: Started, odd: str) -> None:
    """Each running workflow of our task queue once, however many ranges that takes and whatever the queue's name."""
    world = await start(task_queue=f"queue-{uuid.uuid4().hex[:8]}{odd}")
    names = [world.issue(number).name for number in range(1, 6)]
    for number in range(1, 6):
        await world.published(world.issue(number), Published(sandbox_id=f"box-{number}", goal="stopped"))
    records = SweptIssues(
        world.stack.temporal, name_prefix="claude-issue-", task_queue=world.stack.settings.task_queue, page_size=2
    )
    ranges = ranges_of(await records.bounds())
    reads = [await records.read_range(name_range) for name_range in ranges]
    assert sorted(record.name for read in reads for record in read.records) == sorted(names)
    assert {record.goal for read in reads for record in read.records} == {"stopped"}
    if not odd:
        assert [(read.before, read.rows, read.after) for read in reads] == [(1, 1, 1), (2, 2, 2), (2, 2, 2)]
