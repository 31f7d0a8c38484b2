"""What audit and resync read from the issues' workflows and send to them, by the one client and the one reader."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from temporalio.client import Client

from issuebox.domain.errors import TransientError
from issuebox.domain.events import EVENT_OF_AUDIT, Intention, IssueEvent
from issuebox.domain.issue import Issue, IssueState, time_of
from issuebox.domain.known_issues import KnownIssue, KnownPage, KnownRequests
from issuebox.domain.name_ranges import RANGE_ROWS, Sample, bounds_of
from issuebox.domain.records import OPEN, IssueRecord, NameRange, RangeRead
from issuebox.temporal.index import RUNNING, Index, NotIndexedError, Row, running_on
from issuebox.temporal.issues import AwayError, Issues, IssuesError, UnavailableError
from workflows.search_attributes import ISSUE_STATE, REPOSITORY

CALL_TIMEOUT_S = 15.0
"""Timeout of one call including the SDK's retries, each of which has its own timeout."""

_STATES: Mapping[str, IssueState] = {state.value: state for state in IssueState}


class SweptIssues:
    """`KnownIssues` for resync and `IssueRecords` for the audit. Raises TransientError when Temporal does not answer.

    For resync, a closed workflow run counts as none: nobody acts on what it published.
    """

    def __init__(self, client: Client, *, name_prefix: str, task_queue: str, page_size: int = RANGE_ROWS) -> None:
        self._issues = Issues.over(client, name_prefix=name_prefix, task_queue=task_queue, timeout_s=CALL_TIMEOUT_S)
        self._index = Index(self._issues)
        self._page_size = page_size
        self._is_indexed = True

    async def lookup(self, issue_id: int) -> KnownIssue | None:
        async with _outages():
            row = await self._index.describe(self._issues.name(issue_id))
        return _known(row) if row is not None and row.is_running else None

    async def list_open(self, repositories: tuple[str, ...], token: str = "") -> KnownPage:
        """Search by search attributes if they are registered, else read what all workflows published."""
        async with _outages():
            raw, page = base64.b64decode(token), None
            if self._is_indexed:
                try:
                    page = await self._index.page(_open_in(repositories), size=self._page_size, token=raw)
                except NotIndexedError:
                    self._is_indexed = False
            page = page or await self._index.page(RUNNING, size=self._page_size, token=raw)
        wanted = {repository.lower() for repository in repositories}
        known = [_known(row) for row in page.rows if row.issue_id]
        is_open = [
            one
            for one in known
            if one.is_published and one.issue.state is IssueState.OPEN and one.issue.repository.lower() in wanted
        ]
        return KnownPage(tuple(is_open), base64.b64encode(page.next_token).decode())

    async def requests(self, issue_id: int) -> KnownRequests | None:
        """Ask the workflow by query. One that no worker serves, that is stuck or that has ended cannot say."""
        async with _outages():
            try:
                view = await self._issues.runs(issue_id)
            except AwayError:
                raise
            except IssuesError:
                return None
        keys = frozenset(receipt.key for receipt in view.receipts)
        return KnownRequests(keys, sum(receipt.state == "waiting" for receipt in view.receipts), view.called_off_at)

    async def deliver(self, event: IssueEvent) -> None:
        """Send what was missed. Only a request starts a workflow: an end has none to end by now."""
        async with _outages():
            await self._issues.deliver(event, may_start=event.intention is Intention.ENSURE)

    async def describe(self, name: str) -> IssueRecord | None:
        async with _outages():
            row = await self._index.describe(name)
        return None if row is None else self._record(row)

    async def bounds(self) -> tuple[str, ...]:
        sample, token = Sample(), b""
        while True:
            async with _outages():
                page = await self._index.page(self._ours, token=token)
            for row in page.rows:
                # Of digits after one prefix every database makes the same order.
                if row.issue_id:
                    sample.add(row.name)
            if not (token := page.next_token):
                return bounds_of(sample, self._page_size)

    async def read_range(self, name_range: NameRange) -> RangeRead:
        condition = f"{self._ours}{_within(name_range)}"
        async with _outages():
            before = await self._index.count(condition)
            rows = [row async for row in self._index.running(condition, size=self._page_size)]
            after = await self._index.count(condition)
        ours = tuple(self._record(row) for row in rows if row.task_queue == self._issues.task_queue)
        return RangeRead(ours, len(rows), before, after)

    @property
    def _ours(self) -> str:
        return running_on(self._issues.task_queue)

    async def adopt(self, issue: Issue) -> None:
        async with _outages():
            row = await self._index.describe(self._issues.name(issue.id))
            known = _known(row) if row is not None else None
            snapshot = known.issue if known is not None and known.is_published else issue
            if snapshot.state is not IssueState.OPEN:
                # The time of the close is not published. It is no later than the last update, and later requests count.
                snapshot = replace(snapshot, closed_at=snapshot.updated_at)
            await self._issues.adopt(IssueEvent(snapshot, Intention.IGNORE, event=EVENT_OF_AUDIT, action="adopted"))
            await self._issues.look(self._issues.name(issue.id))

    async def look(self, name: str) -> bool:
        async with _outages():
            return await self._issues.look(name)

    def _record(self, row: Row) -> IssueRecord:
        known, is_ours = row.published, row.task_queue == self._issues.task_queue
        elsewhere = "" if is_ours else row.task_queue
        return IssueRecord(
            row.name, known.sandbox_id, known.phase, known.goal, known.blocked, elsewhere, row.ended, row.stuck,
            known.timers,
            known.undelivered,
        )  # fmt: skip


def _within(name_range: NameRange) -> str:
    """The condition for the range's names. They are ours, and contain no quotes."""
    after = f" AND WorkflowId >= '{name_range.first}'" if name_range.first != OPEN else ""
    return after + (f" AND WorkflowId < '{name_range.end}'" if name_range.end != OPEN else "")


def _open_in(repositories: tuple[str, ...]) -> str:
    """The condition for the index, which also finds workflows that have not set the attributes yet.

    `is_repository` has checked the names: they contain no quotes.
    """
    names = ", ".join(f"'{repository}'" for repository in repositories)
    is_known = f"({REPOSITORY.name} IN ({names}) AND {ISSUE_STATE.name} = '{IssueState.OPEN}')"
    return f"{RUNNING} AND ({is_known} OR {REPOSITORY.name} IS NULL)"


def _known(row: Row) -> KnownIssue:
    published = row.published
    state = _STATES.get(published.issue_state)
    issue = Issue(
        id=row.issue_id,
        repository=published.repository,
        number=published.number,
        title=published.title,
        state=state or IssueState.OPEN,
        updated_at=time_of(published.issue_updated_at),
    )
    return KnownIssue(issue, is_published=state is not None, requested_at=time_of(published.requested_at))


@asynccontextmanager
async def _outages() -> AsyncIterator[None]:
    """Treat a Temporal that does not answer as an outage, like GitHub's: the activity is retried."""
    try:
        yield
    except UnavailableError as error:
        raise TransientError(str(error)) from None
