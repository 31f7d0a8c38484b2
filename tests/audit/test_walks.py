"""The walks: a killed worker's walk goes on from its page, and ten thousand sandboxes need no memory to speak of."""

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
from pydantic import SecretStr
from temporalio.client import Client
from temporalio.worker import Worker

from activities.audit import AuditActivities
from activities.audit_messages import AuditTerms
from issuebox.domain.provider import SandboxPage
from issuebox.domain.records import IssueRecord, RecordPage
from issuebox.domain.sandbox import Sandbox
from issuebox.providers.daytona import DaytonaOptions, DaytonaProvider
from issuebox.providers.daytona_client import LIST_PAGE_SIZE_MAX
from issuebox.settings import WorkerSettings
from issuebox.temporal.sweeps import SweptIssues
from issuebox.worker import WORKFLOW_RUNNER, daytona_options
from localdaytona import creation
from localdaytona.config import Config
from localdaytona.store import Store
from localdaytona.testing import Server, running
from tests.waiting import until
from tests.workflow.conftest import Stack
from workflows.audit import AuditWorkflow
from workflows.messages import Published

from .conftest import Audited, Started, settings_for

REPOSITORY = Path(__file__).parents[2]
SANDBOXES = 7
PAGE_SIZE = 2

ROWS = 10_000
WEIGHED_EVERY = 5
"""Pages. Looking for what is in memory takes longer than reading a page."""
GROWTH_MAX_BYTES = 4 * 1024 * 1024
"""From the sixth page of fifty to the last fifth. Measured: under 1 MB."""
WALK_MAX_S = 30.0


@asynccontextmanager
async def worker_process(
    settings: WorkerSettings, address: str, directory: Path
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker that can be killed."""
    file = directory / "settings.json"
    given = {
        str(field.validation_alias or name): getattr(settings, name)
        for name, field in type(settings).model_fields.items()
    }
    file.write_text(json.dumps(given, default=SecretStr.get_secret_value))
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
    """The cursors that were asked for, in order; '' for the first page."""
    entries = await daytona.admin.journal(kind="request")
    paths = [str(entry.detail["path"]) for entry in entries if entry.operation == "list"]
    return [parse_qs(urlsplit(path).query).get("cursor", [""])[0] for path in paths]


async def test_walk_of_a_killed_worker_goes_on_from_its_page(
    temporal: Client, temporal_address: str, daytona: Server, issue_id: int, tmp_path: Path
) -> None:
    """kill -9 while the third page is read: the next worker begins with the third page, and counts all once."""
    settings = settings_for(daytona, daytona_request_timeout_s=60.0)
    async with DaytonaProvider(daytona_options(settings)) as provider:
        world = Audited(Stack(temporal, daytona, provider, settings, issue_id))
        for number in range(1, SANDBOXES + 1):
            issue = world.issue(number)
            await world.made(issue.name, issue_id=str(issue.issue_id))
            await world.published(issue, Published())
    await daytona.admin.add_fault("list", {"kind": "hang"}, skip=2)
    auditing = asyncio.create_task(world.audit())
    async with worker_process(settings, temporal_address, tmp_path) as first:
        await until(lambda: pages_read(daytona), lambda read: len(read) == 3, "the third page is asked for", 60)
        first.kill()
    async with worker_process(settings, temporal_address, tmp_path):
        report = await auditing
    read = await pages_read(daytona)
    assert len(read) == 5
    assert read[3] == read[2]
    assert len(set(read)) == 4
    assert (report.sandboxes, report.issues, report.suspects) == (SANDBOXES, SANDBOXES, 0)


class Weighed(DaytonaProvider):
    """The real provider, which weighs the process before every fifth page of a list."""

    def __init__(self, options: DaytonaOptions) -> None:
        super().__init__(options)
        self._pages = 0
        self.sandboxes: list[int] = []
        self.resident_bytes: list[int] = []

    async def list_page(self, labels: dict[str, str], cursor: str | None = None) -> SandboxPage:
        if self._pages % WEIGHED_EVERY == 0:
            self._weigh()
        self._pages += 1
        return await super().list_page(labels, cursor)

    def _weigh(self) -> None:
        gc.collect()
        self.sandboxes.append(sum(isinstance(thing, Sandbox) for thing in gc.get_objects()))
        resident_pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.resident_bytes.append(resident_pages * os.sysconf("SC_PAGE_SIZE"))


class AllRun:
    """Every issue's workflow runs, and none is listed: what describing ten thousand costs is Temporal's matter."""

    async def describe(self, name: str) -> IssueRecord | None:
        return IssueRecord(name)

    async def list_page(self, cursor: str | None = None) -> RecordPage:
        return RecordPage(())

    async def start(self, issue_id: int, name: str) -> None:
        raise AssertionError("nothing is to be mended")

    async def look(self, name: str) -> bool:
        raise AssertionError("nothing is to be mended")


def fill(path: Path, labels: dict[str, str]) -> None:
    """Ten thousand sandboxes, written where localdaytona will find them."""
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
    """An installation with ten thousand sandboxes, on a localdaytona whose memory is not ours."""
    fill(tmp_path, {"managed-by": "issuebox", "issuebox-instance": "default"})
    async with running(tmp_path) as daytona:
        settings = settings_for(daytona)
        async with Weighed(daytona_options(settings)) as provider:
            world = Audited(Stack(temporal, daytona, provider, settings, issue_id))
            audits = AuditActivities(provider, AllRun(), ours=world.ours, terms=AuditTerms())
            async with Worker(
                temporal,
                task_queue=settings.task_queue,
                workflows=[AuditWorkflow],
                activities=audits.all(),
                workflow_runner=WORKFLOW_RUNNER,
            ):
                yield world


async def test_ten_thousand_sandboxes_are_walked_in_bounded_memory(crowd: Audited) -> None:
    """Nothing is kept of a sandbox once it is judged: what grows is one page."""
    began = time.monotonic()
    report = await crowd.audit()
    assert (report.sandboxes, report.suspects, report.promise_holds) == (ROWS, 0, True)
    assert time.monotonic() - began < WALK_MAX_S
    weighed = crowd.stack.provider
    assert isinstance(weighed, Weighed)
    assert len(weighed.resident_bytes) == ROWS / LIST_PAGE_SIZE_MAX / WEIGHED_EVERY
    assert max(weighed.sandboxes) <= 2 * LIST_PAGE_SIZE_MAX
    assert weighed.resident_bytes[-1] - weighed.resident_bytes[1] < GROWTH_MAX_BYTES


@pytest.mark.parametrize("odd", ["", ' it\'s "odd" \\'], ids=["plain", "odd"])
async def test_workflows_are_listed_page_by_page(start: Started, odd: str) -> None:
    """Each running workflow of our task queue once, however many pages that takes and whatever it is called."""
    world = await start(task_queue=f"queue-{uuid.uuid4().hex[:8]}{odd}")
    names = [world.issue(number).name for number in range(1, 6)]
    for number in range(1, 6):
        await world.published(world.issue(number), Published(sandbox_id=f"box-{number}", goal="stopped"))
    records = SweptIssues(
        world.stack.temporal, name_prefix="claude-issue-", task_queue=world.stack.settings.task_queue, page_size=2
    )
    found: list[IssueRecord] = []
    pages, cursor = 0, None
    while pages == 0 or cursor is not None:
        page = await records.list_page(cursor)
        found, cursor, pages = [*found, *page.records], page.next_cursor, pages + 1
    assert sorted(record.name for record in found) == sorted(names)
    assert {record.goal for record in found} == {"stopped"}
    assert pages >= 3
