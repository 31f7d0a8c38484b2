"""No workflow is missed because it continues as new, begins or ends while the audit reads: or the report says so.

The issues' workflows here only continue as new, on a signal. That is made to happen at the worst moments: between two
queries of Temporal's index.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest
from temporalio import workflow
from temporalio.client import Client
from temporalio.worker import Worker

from activities import audit
from activities.audit import AuditActivities
from activities.audit_messages import AuditTerms
from issuebox.cli.audit_run import verdict
from issuebox.domain.name_ranges import READS_MAX
from issuebox.domain.policy import Closing
from issuebox.domain.records import OPEN, NameRange, RangeRead
from issuebox.domain.sandbox import Sandbox
from issuebox.providers.daytona import DaytonaProvider
from issuebox.temporal.index import RUNNING, Index, Page
from issuebox.temporal.issues import Issues
from issuebox.temporal.sweeps import SweptIssues
from issuebox.worker import WORKFLOW_RUNNER
from localdaytona.testing import Server
from proofs.shortened import made_from
from tests.waiting import until
from tests.workflow.conftest import Stack
from workflows.audit import SHARDS, AuditWorkflow
from workflows.messages import MEMO_STATUS, WORKFLOW_TYPE, Aside, Published, StartInput

from .conftest import Audited, values_for

PAGE_SIZE = 5
"""Workflows on a page and in a range. 50 workflows are ten ranges, so that each of the four shards has some."""
ISSUES = 50
ROLLS = 60
TIMEOUT_S = 30.0
NOTHING = Published()

Moment = Callable[[], Awaitable[None]]


@workflow.defn(name=WORKFLOW_TYPE)
class Rolls:
    """An issue's workflow as far as the index is concerned."""

    def __init__(self) -> None:
        self._is_rolled = False

    @workflow.run
    async def run(self, start: StartInput) -> None:
        await workflow.wait_condition(lambda: self._is_rolled)
        workflow.continue_as_new(start)

    @workflow.signal
    def roll(self) -> None:
        self._is_rolled = True


class Meddled(Index):
    """The index, with something that happens after each of its queries."""

    after_list: Moment | None = None
    after_count: Moment | None = None

    async def _listed(self, condition: str, *, size: int, token: bytes = b"", is_examined: bool = False) -> Page:
        page = await super()._listed(condition, size=size, token=token, is_examined=is_examined)
        if self.after_list is not None:
            await self.after_list()
        return page

    async def count(self, condition: str) -> int:
        counted = await super().count(condition)
        if self.after_count is not None:
            await self.after_count()
        return counted


@dataclass
class Crowd:
    """Many workflows, the index of them, and what a test does to both."""

    world: Audited
    index: Meddled
    records: SweptIssues
    audits: AuditActivities
    names: list[str] = field(default_factory=list)

    @property
    def client(self) -> Client:
        return self.world.stack.temporal

    async def begin(self, number: int, published: Published = NOTHING) -> str:
        """One more workflow. Returns once the index knows it."""
        issue = self.world.issue(number)
        await self.client.start_workflow(
            WORKFLOW_TYPE,
            StartInput(issue.issue_id, issue.name),
            id=issue.name,
            task_queue=self.world.stack.settings.task_queue,
            memo={MEMO_STATUS: published},
        )
        self.names.append(issue.name)
        await self._listed(issue.name, 1)
        return issue.name

    async def roll(self, name: str) -> None:
        """Let it continue as new. Returns once the index has the new workflow run, and no other."""
        handle = self.client.get_workflow_handle(name)
        before = (await handle.describe()).run_id
        await handle.signal(Rolls.roll)

        async def running() -> list[str]:
            found = self.client.list_workflows(f"WorkflowId = '{name}' AND {RUNNING}")
            return [execution.run_id async for execution in found]

        await until(running, lambda runs: len(runs) == 1 and runs[0] != before, f"{name} rolled", TIMEOUT_S)

    async def end(self, name: str) -> None:
        """Let it end. Returns once the index knows that."""
        await self.client.get_workflow_handle(name).terminate()
        self.names.remove(name)
        await self._listed(name, 0)

    async def _listed(self, name: str, count: int) -> None:
        async def found() -> int:
            return (await self.client.count_workflows(f"WorkflowId = '{name}' AND {RUNNING}")).count

        await until(found, lambda found: found == count, f"{name} in the index", TIMEOUT_S)

    async def begin_all(self, numbers: Sequence[int], published: Published = NOTHING) -> None:
        await asyncio.gather(*(self.begin(number, published) for number in numbers))


@pytest.fixture
async def crowd(temporal: Client, daytona: Server, issue_id: int) -> AsyncIterator[Crowd]:
    """An installation whose workflows only continue as new, and whose audit reads a meddled index in small ranges."""
    worker = made_from(values_for(daytona))
    queue, prefix = worker.settings.task_queue, worker.settings.name_prefix
    async with DaytonaProvider(worker.daytona) as provider:
        world = Audited(Stack(temporal, daytona, provider, worker, issue_id))
        records = SweptIssues(temporal, name_prefix=prefix, task_queue=queue, page_size=PAGE_SIZE)
        index = Meddled(Issues.over(temporal, name_prefix=prefix, task_queue=queue, timeout_s=10.0))
        records._index = index
        audits = AuditActivities(provider, records, ours=world.ours, terms=AuditTerms(0.1), closing=Closing())
        async with (
            Worker(
                temporal,
                task_queue=queue,
                workflows=[AuditWorkflow, Rolls],
                activities=audits.all(),
                workflow_runner=WORKFLOW_RUNNER,
            ),
            Worker(temporal, task_queue=Aside.WAITS.queue(queue), activities=audits.all()),
        ):
            yield Crowd(world, index, records, audits)


async def test_audit_sees_all_workflows_while_they_continue_as_new(
    crowd: Crowd, issue_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any of them, after any page of any shard: each is counted once, and the report says that nothing is missing."""
    monkeypatch.setattr(audit, "UNSETTLED_PAUSE_S", 0.05)
    await crowd.begin_all(range(1, ISSUES + 1))
    dice, left = random.Random(issue_id), [ROLLS]  # noqa: S311

    async def roll_some() -> None:
        rolled = min(left[0], 2)
        left[0] -= rolled
        await asyncio.gather(*(crowd.roll(name) for name in dice.sample(crowd.names, rolled)))

    crowd.index.after_list = roll_some
    report = await crowd.world.audit()
    assert left == [0], f"seed {issue_id}: too few pages were read"
    assert (report.issues, report.is_complete, report.promise_holds) == (ISSUES, True, True), f"seed {issue_id}"
    assert (report.ranges, report.ranges_unsettled) == (ISSUES / PAGE_SIZE, 0)


@pytest.mark.parametrize("which", [0, -1], ids=["oldest", "newest"])
async def test_range_shows_who_continues_as_new_between_its_pages(crowd: Crowd, which: int) -> None:
    """It moves to the front, behind the reader: the end of the range has it, once, also when a page had shown it."""
    for number in range(1, 8):
        await crowd.begin(number)
    crowd.index.after_list = once(lambda: crowd.roll(crowd.names[which]))
    read = await crowd.records.read_range(NameRange())
    assert sorted(record.name for record in read.records) == sorted(crowd.names)
    assert (read.before, read.rows, read.after, read.is_settled) == (7, 7, 7, True)


async def test_workflow_that_the_index_shows_late_unsettles_its_range(crowd: Crowd) -> None:
    """As one between two workflow runs: only the second count knows of it."""
    await crowd.begin_all(range(1, 4))
    crowd.index.after_list = once(lambda: crowd.begin(4))
    read = await crowd.records.read_range(NameRange())
    assert (read.before, read.rows, read.after, read.is_settled) == (3, 3, 4, False)


async def test_workflow_that_ends_before_the_list_unsettles_its_range(crowd: Crowd) -> None:
    """Only the first count knew of it; whoever reads less than was there must see that."""
    await crowd.begin_all(range(1, 4))
    crowd.index.after_count = once(lambda: crowd.end(crowd.names[0]))
    read = await crowd.records.read_range(NameRange())
    assert (read.before, read.rows, read.after, read.is_settled) == (3, 2, 2, False)


async def test_unsettled_range_is_read_again(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    """What began meanwhile is seen by the second reading, and then the audit is complete."""
    monkeypatch.setattr(audit, "UNSETTLED_PAUSE_S", 0.05)
    await crowd.begin_all(range(1, 4))
    crowd.index.after_count = once(lambda: crowd.begin(4))
    read = crowd.records.read_range
    reads: list[RangeRead] = []

    async def noted(name_range: NameRange) -> RangeRead:
        reads.append(await read(name_range))
        return reads[-1]

    monkeypatch.setattr(crowd.records, "read_range", noted)
    report = await crowd.world.audit()
    assert [each.is_settled for each in reads] == [False, True]
    assert (report.issues, report.ranges, report.ranges_unsettled, report.is_complete) == (4, 1, 0, True)


async def test_audit_that_cannot_list_all_workflows_does_not_call_itself_complete(
    crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Something begins at each reading of a range, however often it is read: the promise is not proven."""
    monkeypatch.setattr(audit, "UNSETTLED_PAUSE_S", 0.05)
    await crowd.begin_all(range(1, 4))

    async def begin_more() -> None:
        await crowd.begin(len(crowd.names) + 1)

    crowd.index.after_count = begin_more
    report = await crowd.world.audit()
    # Each reading shows what had begun before it; whatever began after the last list is missing.
    assert report.issues == 3 + 2 * READS_MAX - 1
    assert (report.ranges, report.ranges_unsettled) == (1, 1)
    assert (report.is_complete, report.promise_holds, report.findings) == (False, False, ())
    assert "not complete" in verdict(report)
    assert "1 of the 1 parts" in verdict(report)


async def test_ranges_hold_all_workflows_of_the_queue(crowd: Crowd, issue_id: int) -> None:
    """Also one under a name that is none of ours, which no bound is made of."""
    await crowd.begin_all(range(1, 12))
    for odd in (f"claude-issue-not-{issue_id}", f"AAA-{issue_id}", f"~{issue_id}"):
        await crowd.client.start_workflow(
            WORKFLOW_TYPE, StartInput(1, odd), id=odd, task_queue=crowd.world.stack.settings.task_queue
        )
        crowd.names.append(odd)
    await until(
        lambda: crowd.records.read_range(NameRange()), lambda read: read.after == len(crowd.names), "all listed"
    )
    bounds = await crowd.records.bounds()
    assert (bounds[0], bounds[-1], len(bounds)) == (OPEN, OPEN, 4)
    report = await crowd.world.audit(mend=False)
    assert (report.issues, report.ranges, report.is_complete) == (len(crowd.names), 3, True)


@pytest.mark.parametrize(
    ("reads_per_s", "limit_a_minute"), [(20.0, None), (1_000.0, 3_000)], ids=["by its own bound", "by Daytona's limit"]
)
async def test_all_shards_together_keep_the_pace_of_one_audit(
    crowd: Crowd, reads_per_s: float, limit_a_minute: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20 reads a second either way: 40 % of 3,000 a minute leave the rest to the issues."""
    provider, sent_at = crowd.world.stack.provider, list[float]()
    look = provider.lookup_by_id

    async def noted(sandbox_id: str) -> Sandbox | None:
        sent_at.append(time.monotonic())
        return await look(sandbox_id)

    monkeypatch.setattr(provider, "lookup_by_id", noted)
    await crowd.begin_all(range(1, 41), Published(sandbox_id="a-sandbox-that-is-gone"))
    admin = crowd.world.stack.daytona.admin
    await admin.config(rate_limits={"authenticated": limit_a_minute})
    crowd.audits._terms = AuditTerms(0.1, reads_per_s=reads_per_s)
    report = await crowd.world.audit()
    assert (report.issues_compared, report.ranges, report.is_complete) == (40, 40 / PAGE_SIZE, True)
    reads = [entry for entry in await admin.journal(kind="request") if entry.operation == "get"]
    assert len(reads) == len(sent_at) == 40
    # Each shard begins with one, and may catch up on a fifth of a second. When a read arrives says less: the first one
    # may be on its way for longer than the last.
    assert sent_at[-1] - sent_at[0] >= (40 - 2 * SHARDS) / 20.0


def once(do: Callable[[], Awaitable[object]]) -> Moment:
    """Do it the first time only."""
    left = [do]

    async def moment() -> None:
        if left:
            await left.pop()()

    return moment
