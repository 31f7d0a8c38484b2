"""What the workflows publish, read back: by the index, by memo, page by page, and with invalid content."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment

import issuebox.temporal.sweeps
from activities.github import GitHubActivities
from issuebox.dev.temporal_server import ensure_binary
from issuebox.domain.errors import TransientError
from issuebox.domain.events import Intention, IssueEvent
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.known_issues import KnownRequests
from issuebox.domain.run import RequestKind, RunRequest
from issuebox.domain.triggers import Criteria
from issuebox.providers.github import GitHubSource
from issuebox.providers.github_client import GitHubOptions
from issuebox.temporal.connect import DATA_CONVERTER
from issuebox.temporal.sweeps import SweptIssues
from proofs.github_api import TOKEN, GitHub, Mishap
from tests.resync.conftest import REPOSITORY, Served, Stack, at
from tests.waiting import until
from workflows.messages import MEMO_STATUS, WORKFLOW_TYPE, StartInput
from workflows.search_attributes import ALL, ISSUE_STATE
from workflows.search_attributes import REPOSITORY as REPOSITORY_ATTRIBUTE


async def _all_open(known: SweptIssues, *repositories: str) -> tuple[list[int], int]:
    """The IDs on all pages, and the number of pages."""
    ids, token, pages = [], "", 0
    while True:
        page = await known.list_open(repositories or (REPOSITORY,), token)
        ids += [issue.issue.id for issue in page.issues]
        pages += 1
        if not (token := page.next_token):
            return sorted(ids), pages


async def test_what_a_workflow_published_is_known(stack: Stack, issue_id: int) -> None:
    """State, time of the update and newest request come back as sent; an unknown issue is None."""
    await stack.deliver(issue_id, 7, IssueState.CLOSED, updated_at=at(3), requested_at=at(2), is_explicit=True)
    known = await stack.known.lookup(issue_id)
    assert known is not None
    assert known.issue == Issue(issue_id, REPOSITORY, 7, "A title", state=IssueState.CLOSED, updated_at=at(3))
    assert (known.is_published, known.requested_at) == (True, at(2))
    assert await stack.known.lookup(issue_id + 1) is None


async def test_requests_for_the_agent_are_known_by_their_keys(
    temporal: Client, stack: Stack, issue_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that wait and those that were called off, whatever a list shows. Where nobody can say, None: the caller
    sends what the workflow may know. That is no outage.
    """
    monkeypatch.setattr(issuebox.temporal.sweeps, "CALL_TIMEOUT_S", 4.0)
    known = SweptIssues(temporal, name_prefix=stack.prefix, task_queue=stack.task_queue)
    assert await known.requests(issue_id) is None
    for number, kind in enumerate([RequestKind.COMMENT, RequestKind.CANCEL, RequestKind.COMMENT], start=1):
        request = RunRequest(kind, f"comment-{number}", at=at(number))
        intention = Intention.IGNORE if kind is RequestKind.CANCEL else Intention.ENSURE
        await stack.deliver(issue_id, 7, updated_at=at(number), intention=intention, request=request)
    assert await known.requests(issue_id) == KnownRequests(frozenset({"comment-1", "comment-3"}), 1, at(2))
    nobody = SweptIssues(temporal, name_prefix="nobody-", task_queue="nobody")
    await nobody.deliver(IssueEvent(Issue(issue_id)))
    assert await nobody.requests(issue_id) is None


@pytest.mark.parametrize("memo", [{}, {MEMO_STATUS: {}}, {MEMO_STATUS: "text"}, {MEMO_STATUS: {"issue_state": 5}}])
async def test_workflow_that_has_not_published_is_not_taken_for_open(
    stack: Stack, issue_id: int, memo: dict[str, object]
) -> None:
    """A workflow without a memo, or with one of another version, is known but not published."""
    name = f"{stack.prefix}{issue_id}"
    await stack.temporal.start_workflow(
        WORKFLOW_TYPE, StartInput(issue_id, name), id=name, task_queue=stack.task_queue, memo=memo
    )
    known = await stack.known.lookup(issue_id)
    assert known is not None
    assert not known.is_published


async def test_open_issues_are_listed_page_by_page(stack: Stack, issue_id: int) -> None:
    """Without search attributes: only the open ones of these repositories, in pages of bounded size."""
    known = SweptIssues(stack.temporal, name_prefix=stack.prefix, task_queue=stack.task_queue, page_size=2)
    ids = [issue_id + n * 1_000_000 for n in range(5)]
    for number, known_id in enumerate(ids, start=1):
        await stack.deliver(known_id, number, IssueState.CLOSED if number == 3 else IssueState.OPEN)
    wanted = sorted(ids[:2] + ids[3:])

    async def listed() -> tuple[list[int], int]:
        return await _all_open(known)

    _, pages = await until(listed, lambda seen: seen[0] == wanted, "the index shows all")
    assert pages >= 3
    assert (await _all_open(known, "OCTO/repo"))[0] == wanted
    assert (await _all_open(known, "octo/other"))[0] == []


@pytest.fixture
async def indexed(issue_id: int) -> AsyncIterator[Client]:
    """A Temporal on which the search attributes are registered."""
    environment = await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(await ensure_binary()),
        dev_server_log_level="error",
        search_attributes=ALL,
        data_converter=DATA_CONVERTER,
    )
    yield environment.client
    await environment.shutdown()


async def test_search_attributes_narrow_the_search(indexed: Client, issue_id: int) -> None:
    """Where they are registered, the index filters by repository; those that have not set them are found too."""
    queue, prefix = "nobody", f"t{uuid.uuid4().hex[:8]}-"
    known = SweptIssues(indexed, name_prefix=prefix, task_queue=queue)
    memo = {MEMO_STATUS: {"issue_state": "open", "repository": REPOSITORY, "number": 7}}
    for new_id, repository in ((issue_id, REPOSITORY), (issue_id + 1, "octo/other"), (issue_id + 2, "")):
        pairs = [SearchAttributePair(REPOSITORY_ATTRIBUTE, repository), SearchAttributePair(ISSUE_STATE, "open")]
        await indexed.start_workflow(
            WORKFLOW_TYPE, StartInput(new_id, f"{prefix}{new_id}"), id=f"{prefix}{new_id}", task_queue=queue, memo=memo,
            search_attributes=TypedSearchAttributes(pairs if repository else []),
        )  # fmt: skip

    async def listed() -> list[int]:
        return (await _all_open(known))[0]

    # The memos of all three name the repository: only the index can leave one out.
    await until(listed, lambda ids: ids == [issue_id, issue_id + 2], "the index shows the repository's issues")


async def test_temporal_that_goes_away_is_an_outage(
    temporal_address: str, issue_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call to Temporal is bounded in time, and raises an error that the activity retries."""
    monkeypatch.setattr(issuebox.temporal.sweeps, "CALL_TIMEOUT_S", 0.5)
    host, _, port = temporal_address.rpartition(":")
    cables: list[asyncio.StreamWriter] = []

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)

    async def cable(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(host, int(port))
        cables.extend((writer, server_writer))
        await asyncio.gather(carry(reader, server_writer), carry(server_reader, writer), return_exceptions=True)

    proxy = await asyncio.start_server(cable, "127.0.0.1", 0)
    address = f"127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    client = await Client.connect(address, data_converter=DATA_CONVERTER)
    known = SweptIssues(client, name_prefix=f"t{uuid.uuid4().hex[:8]}-", task_queue="q")
    assert await known.lookup(issue_id) is None
    proxy.close()
    for writer in cables:
        writer.close()
    async with asyncio.timeout(5):
        with pytest.raises(TransientError):
            await known.lookup(issue_id)
    async with asyncio.timeout(5):
        with pytest.raises(TransientError):
            await known.requests(issue_id)
    async with asyncio.timeout(5):
        with pytest.raises(TransientError):
            await known.list_open((REPOSITORY,))
    async with asyncio.timeout(5):
        with pytest.raises(TransientError):
            await known.deliver(IssueEvent(Issue(issue_id)))


async def test_read_issue_gives_the_authoritative_state(stack: Stack, github: GitHub, issue_id: int) -> None:
    """Open, closed, transferred and deleted as GitHub reports them; None for an issue that it does not show."""
    for number in range(1, 5):
        github.issue(number, number, at=at(number))
    github.change(2, at=at(9), state="closed")
    github.transfer(3, new_id=99)
    github.delete(4)
    async with GitHubSource(GitHubOptions(github.url, TOKEN)) as source:
        activities = GitHubActivities(source, stack.known, Criteria())

        async def read(issue: Issue) -> Issue | None:
            return await ActivityEnvironment().run(activities.read_issue, issue)

        found = [await read(Issue(number, REPOSITORY, number)) for number in range(1, 6)]
        assert await read(Issue(1)) is None
        assert await read(Issue(77, REPOSITORY, 1)) is None
    assert [issue and issue.state for issue in found] == ["open", "closed", "transferred", "deleted", None]
    assert found[1] is not None
    assert (found[1].updated_at, found[1].closed_at) == (at(9), at(9))


async def test_read_issue_without_credentials_asks_nobody(stack: Stack, github: GitHub) -> None:
    """A tie is settled by GitHub only when a token is configured."""
    async with GitHubSource(GitHubOptions(github.url)) as source:
        activities = GitHubActivities(source, stack.known, Criteria())
        assert await ActivityEnvironment().run(activities.read_issue, Issue(1, REPOSITORY, 1)) is None
    assert github.asked == []


async def test_secrets_are_in_no_history_and_no_log(
    serve: Served, issue_id: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Neither the token nor GitHub's replies get into histories or the log, even when everything fails."""
    stack = await serve()
    stack.github.issue(issue_id, 7, at=at(5))
    stack.github.mishaps = [
        Mishap("/issues", 500), Mishap("/issues", is_drop=True), Mishap("/issues", 403, times=9)
    ]  # fmt: skip
    report = await stack.run()
    assert report.error == "RefusedError"
    kept = ""
    async for execution in stack.temporal.list_workflows(f"TaskQueue = '{stack.task_queue}'"):
        handle = stack.temporal.get_workflow_handle(execution.id, run_id=execution.run_id)
        kept += str(await handle.fetch_history())
    said = caplog.text + "".join(capfd.readouterr())
    assert "octo/repo" in kept
    assert "resync_failed" in said
    for text in (kept, said):
        assert "secret" not in text


async def test_workflow_that_is_over_counts_as_none(stack: Stack, issue_id: int) -> None:
    """A closed workflow no longer acts on what it knew, so resync treats its issue as unknown."""
    await stack.deliver(issue_id, 7, IssueState.OPEN)
    assert await stack.known.lookup(issue_id) is not None
    await stack.temporal.get_workflow_handle(f"{stack.prefix}{issue_id}").terminate()
    assert await stack.known.lookup(issue_id) is None
    assert (await _all_open(stack.known))[0] == []
    stack.github.issue(issue_id, 7, at=at(5))
    await stack.run()
    assert await stack.missed(issue_id) == [(Intention.ENSURE, "opened")]
