"""`KnownIssues` over Temporal: reads what the issues' workflows publish, and hands events to them."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import fields
from datetime import UTC, datetime

from temporalio.client import Client, WorkflowExecution
from temporalio.service import RPCError, RPCStatusCode

from issuebox.domain.errors import TransientError
from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.issue import Issue, IssueState, issue_id_of, sandbox_name
from issuebox.domain.known_issues import KnownIssue, KnownPage
from issuebox.temporal.start import signal_with_start
from workflows.messages import MEMO_STATUS, SIGNAL_EVENT, WORKFLOW_TYPE, Published
from workflows.search_attributes import ISSUE_STATE, REPOSITORY

PAGE_SIZE = 200
CALL_TIMEOUT_S = 15.0
"""The SDK's own timeout is for each of its tries; this one is for all of them."""

_STATES: Mapping[str, IssueState] = {state.value: state for state in IssueState}


class IssueWorkflows:
    """The issues' workflows of one installation: those with its prefix."""

    def __init__(self, client: Client, *, name_prefix: str, task_queue: str) -> None:
        self._client = client
        self._prefix = name_prefix
        self._task_queue = task_queue
        self._is_indexed = True

    async def lookup(self, issue_id: int) -> KnownIssue | None:
        """What is known of the issue now; None when it has no workflow."""
        handle = self._client.get_workflow_handle(sandbox_name(issue_id, self._prefix))
        async with _typed_errors():
            try:
                return await self._known(await handle.describe())
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    return None
                raise

    async def list_open(self, repositories: tuple[str, ...], token: str = "") -> KnownPage:
        """One page of the issues known as open, by search attributes where they are registered, else by memo."""
        async with _typed_errors():
            if self._is_indexed:
                try:
                    return await self._list(_indexed(repositories), repositories, token)
                except RPCError as error:
                    if error.status is not RPCStatusCode.INVALID_ARGUMENT:
                        raise
                    self._is_indexed = False
            return await self._list(_RUNNING, repositories, token)

    async def deliver(self, event: IssueEvent) -> None:
        """Hand the event to its workflow, which is started when there is none; one without a request starts none."""
        name = sandbox_name(event.issue.id, self._prefix)
        async with _typed_errors():
            if event.intention is not Intention.IGNORE:
                await signal_with_start(self._client, event, name=name, task_queue=self._task_queue)
                return
            try:
                await self._client.get_workflow_handle(name).signal(SIGNAL_EVENT, event)
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise

    async def _list(self, query: str, repositories: tuple[str, ...], token: str) -> KnownPage:
        executions = self._client.list_workflows(
            query, page_size=PAGE_SIZE, next_page_token=base64.b64decode(token) or None
        )
        await executions.fetch_next_page()
        wanted = {repository.lower() for repository in repositories}
        found = [await self._known(execution) for execution in executions.current_page or ()]
        issues = tuple(
            known
            for known in found
            if known is not None
            and known.issue.state is IssueState.OPEN
            and known.is_published
            and known.issue.repository.lower() in wanted
        )
        return KnownPage(issues, base64.b64encode(executions.next_page_token or b"").decode())

    async def _known(self, execution: WorkflowExecution) -> KnownIssue | None:
        """What the workflow published; None for one that is none of ours."""
        issue_id = issue_id_of(execution.id, self._prefix)
        if issue_id is None:
            return None
        memo: object = await execution.memo_value(MEMO_STATUS, None)
        published = _published(memo if isinstance(memo, dict) else {})
        state = _STATES.get(published.issue_state)
        issue = Issue(
            id=issue_id,
            repository=published.repository,
            number=published.number,
            title=published.title,
            state=state or IssueState.OPEN,
            updated_at=_time(published.issue_updated_at),
        )
        return KnownIssue(issue, is_published=state is not None, requested_at=_time(published.requested_at))


_RUNNING = f"WorkflowType = '{WORKFLOW_TYPE}' AND ExecutionStatus = 'Running'"


def _indexed(repositories: tuple[str, ...]) -> str:
    """The query for the index. A workflow that has not set the attributes yet is found as well.

    The names were judged by `is_repository` before: they have no quotes.
    """
    names = ", ".join(f"'{repository}'" for repository in repositories)
    is_known = f"({REPOSITORY.name} IN ({names}) AND {ISSUE_STATE.name} = '{IssueState.OPEN}')"
    return f"{_RUNNING} AND ({is_known} OR {REPOSITORY.name} IS NULL)"


def _published(memo: Mapping[object, object]) -> Published:
    """The memo, as far as this version knows its fields; what has another type than it should is left out."""
    empty = Published()
    usual = {field.name: type(getattr(empty, field.name)) for field in fields(Published)}
    return Published(**{name: memo[name] for name, kind in usual.items() if isinstance(memo.get(name), kind)})  # type: ignore[arg-type]


def _time(text: str) -> datetime | None:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


@asynccontextmanager
async def _typed_errors() -> AsyncIterator[None]:
    """A Temporal that does not answer is an outage like GitHub's: try again."""
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            yield
    except TimeoutError:
        raise TransientError("Temporal did not answer in time") from None
    except RPCError as error:
        raise TransientError(f"Temporal: {error.status.name}") from None
