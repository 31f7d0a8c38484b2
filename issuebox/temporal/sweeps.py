"""What audit and resync know of the issues' workflows and tell them, over the one client and the one reader."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from temporalio.client import Client

from issuebox.domain.errors import TransientError
from issuebox.domain.events import IssueEvent
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.known_issues import KnownIssue, KnownPage
from issuebox.domain.records import IssueRecord, RecordPage
from issuebox.temporal.index import RUNNING, Index, NotIndexedError, Row, running_on
from issuebox.temporal.issues import Issues, UnavailableError
from workflows.search_attributes import ISSUE_STATE, REPOSITORY

PAGE_SIZE = 200
CALL_TIMEOUT_S = 15.0
"""For all of the SDK's tries of one call together; its own timeout is for each of them."""

_STATES: Mapping[str, IssueState] = {state.value: state for state in IssueState}


class SweptIssues:
    """`KnownIssues` for resync and `IssueRecords` for the audit. Raises TransientError when Temporal does not answer.

    A workflow run that is over counts as none: nobody acts on what it knew.
    """

    def __init__(self, client: Client, *, name_prefix: str, task_queue: str, page_size: int = PAGE_SIZE) -> None:
        self._issues = Issues.over(client, name_prefix=name_prefix, task_queue=task_queue, timeout_s=CALL_TIMEOUT_S)
        self._index = Index(self._issues)
        self._page_size = page_size
        self._is_indexed = True

    async def lookup(self, issue_id: int) -> KnownIssue | None:
        async with _outages():
            row = await self._index.describe(self._issues.name(issue_id))
        return _known(row) if row is not None and row.is_running else None

    async def list_open(self, repositories: tuple[str, ...], token: str = "") -> KnownPage:
        """By search attributes where they are registered, else by what all of them published."""
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

    async def deliver(self, event: IssueEvent) -> None:
        async with _outages():
            await self._issues.deliver(event)

    async def describe(self, name: str) -> IssueRecord | None:
        async with _outages():
            row = await self._index.describe(name)
        return _record(row) if row is not None and row.is_running else None

    async def list_page(self, cursor: str | None = None) -> RecordPage:
        async with _outages():
            token = base64.b64decode(cursor) if cursor else b""
            page = await self._index.page(running_on(self._issues.task_queue), size=self._page_size, token=token)
        ours = tuple(_record(row) for row in page.rows if row.task_queue == self._issues.task_queue)
        return RecordPage(ours, base64.b64encode(page.next_token).decode() or None)

    async def start(self, issue_id: int) -> None:
        async with _outages():
            await self._issues.start(Issue(issue_id))

    async def look(self, name: str) -> bool:
        async with _outages():
            return await self._issues.look(name)


def _open_in(repositories: tuple[str, ...]) -> str:
    """The condition for the index. A workflow that has not set the attributes yet is found as well.

    The names were judged by `is_repository` before: they have no quotes.
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
        updated_at=_time(published.issue_updated_at),
    )
    return KnownIssue(issue, is_published=state is not None, requested_at=_time(published.requested_at))


def _record(row: Row) -> IssueRecord:
    known = row.published
    return IssueRecord(row.name, known.sandbox_id, known.phase, known.goal, known.blocked)


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


@asynccontextmanager
async def _outages() -> AsyncIterator[None]:
    """A Temporal that does not answer is an outage like GitHub's: the activity is tried again."""
    try:
        yield
    except UnavailableError as error:
        raise TransientError(str(error)) from None
