"""Signals, updates and queries of the running workflow: which are taken, refused, and never lost."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from issuebox.domain.events import Intention
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.memory import Memory
from issuebox.domain.phase import Cause, Goal, Outcome
from issuebox.worker import build_worker
from tests.conftest import EVENTS_BEFORE_CONTINUE_AS_NEW
from tests.waiting import until
from workflows.messages import (
    ERROR_TOO_MANY_WAITING,
    ERROR_WRONG_ISSUE,
    MEMO_STATUS,
    SIGNAL_EVENT,
    SIGNAL_RETRY,
    UPDATE_ENSURE,
    WORKFLOW_TYPE,
    EnsureRequest,
    Handover,
    StartInput,
)

from .conftest import Stack, Started


async def test_event_creates_the_sandbox_with_its_labels(stack: Stack) -> None:
    """A delivery for a new issue ends with its sandbox running and labelled."""
    await stack.deliver()
    status = await stack.served()
    assert status.outcome is Outcome.CREATED
    [row] = await stack.live()
    assert (row.name, row.state) == (stack.name, "started")
    assert row.labels == {
        "managed-by": "issuebox",
        "issuebox-instance": "default",
        "issue-id": str(stack.issue_id),
        "repository": "octo/repo",
        "issue-number": "5",
        "code-toolbox-language": "python",
    }


async def test_redelivery_makes_no_second_run(stack: Stack) -> None:
    """The same delivery again costs Daytona nothing."""
    event = stack.event()
    await stack.deliver(event)
    await stack.served()
    before = await stack.journal_end()
    await stack.deliver(event)
    status = await until(stack.status, lambda status: status.deliveries_seen == 2, "the redelivery seen")
    assert status.requests_waiting == 0
    assert await stack.requests(after=before) == []


async def test_many_ensures_at_once_get_the_same_sandbox(stack: Stack) -> None:
    """Callers that ask at the same time are answered together."""
    handovers = await asyncio.gather(*(stack.ensure() for _ in range(8)))
    ids = {handover.sandbox.id for handover in handovers if handover.sandbox}
    assert len(ids) == 1
    assert len(await stack.live()) == 1


async def test_more_ensures_than_temporal_carries_are_refused_with_a_reason(stack: Stack) -> None:
    """The validator refuses more than eight waiting requests; none of the others is harmed."""
    await stack.daytona.admin.config(durations={"create_s": 1.0})
    first = asyncio.create_task(stack.ensure())
    await until(lambda: _exists(stack), bool, "the workflow started")
    results = await asyncio.gather(*(stack.ensure() for _ in range(9)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, WorkflowUpdateFailedError)]
    assert refused
    for error in refused:
        assert isinstance(error.cause, ApplicationError)
        assert error.cause.type == ERROR_TOO_MANY_WAITING
    assert (await first).sandbox is not None
    assert all(isinstance(result, Handover | WorkflowUpdateFailedError) for result in results)


async def _exists(stack: Stack) -> bool:
    rows = [row async for row in stack.temporal.list_workflows(f"WorkflowId = '{stack.name}'")]
    return bool(rows)


async def test_ensure_for_another_issue_is_refused(stack: Stack) -> None:
    """A request that reached the wrong workflow changes nothing."""
    await stack.ensure()
    with pytest.raises(WorkflowUpdateFailedError) as raised:
        await stack.handle.execute_update(UPDATE_ENSURE, EnsureRequest(Issue(1)), result_type=Handover)
    assert isinstance(raised.value.cause, ApplicationError)
    assert raised.value.cause.type == ERROR_WRONG_ISSUE


async def test_signal_that_cannot_be_read_harms_nothing(stack: Stack) -> None:
    """A signal sent by hand with the wrong shape is dropped; the workflow goes on."""
    await stack.ensure()
    await stack.handle.signal(SIGNAL_EVENT, {"nonsense": True})
    await stack.handle.signal(SIGNAL_EVENT, args=[])
    await stack.handle.signal(SIGNAL_EVENT, args=[stack.event(), "more"])
    await stack.handle.signal(SIGNAL_RETRY, "now")
    await stack.handle.signal("no_such_signal", {"x": 1})
    assert (await stack.ensure()).outcome is Outcome.REUSED


async def test_event_of_another_issue_is_not_taken(stack: Stack) -> None:
    """A misdirected event cannot change the known state of this issue."""
    await stack.ensure()
    other = stack.event(Intention.DELETE, issue=Issue(1, state=IssueState.DELETED))
    await stack.handle.signal(SIGNAL_EVENT, other)
    assert (await stack.status()).goal is Goal.RUNNING


async def test_event_as_the_temporal_cli_sends_it_is_taken(stack: Stack) -> None:
    """The issue's ID is the only field that a person must give."""
    await stack.ensure()
    before = await stack.journal_end()
    await stack.handle.signal(SIGNAL_EVENT, json.loads(f'{{"issue": {{"id": {stack.issue_id}}}}}'))
    await until(stack.status, lambda status: status.deliveries_seen == 1 and not status.requests_waiting, "served")
    assert await stack.requests(after=before) == ["get"]


async def test_retry_on_a_healthy_issue_looks_it_up_again(stack: Stack) -> None:
    """`retry` on an issue that is not blocked looks its sandbox up and starts it if needed."""
    first = await stack.ensure()
    assert first.sandbox is not None
    await stack.daytona.admin.act(first.sandbox.id, "stop")
    await stack.provider.settle(first.sandbox.id, 5.0)
    await stack.retry()
    await until(stack.status, lambda status: status.outcome is Outcome.STARTED, "the sandbox started")


async def test_why_lists_the_last_decisions(stack: Stack) -> None:
    """`why` names what was seen, what was decided, and for which delivery."""
    event = stack.event()
    await stack.deliver(event)
    await stack.served()
    why = await stack.why()
    assert stack.name in why.summary
    assert "octo/repo#5" in why.summary
    decided = [note for note in why.notes if note.action]
    assert [str(note.action) for note in decided] == ["create", "use"]
    assert decided[0].deliveries == (event.delivery,)


async def test_memo_of_the_list_has_the_outcome(stack: Stack) -> None:
    """The list of workflows shows state and outcome without a query to each workflow."""
    await stack.ensure()

    async def memo() -> Any:
        return (await (await stack.handle.describe()).memo()).get("status")

    status = await until(memo, bool, "the memo written")
    assert (status["phase"], status["outcome"], status["repository"]) == ("usable", "created", "octo/repo")


async def test_continue_as_new_loses_no_event(stack: Stack) -> None:
    """Hundreds of events over several workflow runs: each one counts exactly once, and there is one sandbox."""
    await stack.ensure()
    first_run = (await stack.handle.describe()).run_id
    sent = 0
    while (await stack.handle.describe()).run_id == first_run:
        assert sent < 20 * EVENTS_BEFORE_CONTINUE_AS_NEW, "the workflow never continued as new"
        await asyncio.gather(*(stack.deliver() for _ in range(5)))
        sent += 5
        if sent % 20 == 0:
            await stack.ensure()
    repeated = stack.event()
    await stack.deliver(repeated)
    await stack.deliver(repeated)
    status = await until(stack.status, lambda status: status.deliveries_seen == sent + 2, "all deliveries seen")
    assert (await stack.served()).requests_waiting == 0
    assert status.sandbox is not None
    assert len(await stack.sandboxes()) == 1


async def test_request_is_heard_although_another_signal_follows_in_the_same_task(start: Started) -> None:
    """A blocked issue is tried again for the request; the comment that asks for nothing does not call that off."""
    stack = await start(has_worker=False)
    await stack.daytona.admin.config(runner_available=False)
    await stack.deliver()
    async with build_worker(stack.temporal, stack.provider, stack.worker):
        await stack.blocked()
    await stack.daytona.admin.config(runner_available=True)
    await stack.deliver()
    await stack.deliver(stack.event(Intention.IGNORE, action="created", event="issue_comment"))
    async with build_worker(stack.temporal, stack.provider, stack.worker):
        assert (await stack.served()).outcome is Outcome.CREATED


async def test_change_is_published_although_a_comment_follows_in_the_same_task(start: Started) -> None:
    """The comment changes nothing; what was changed before it is shown in lists."""
    stack = await start(has_worker=False)
    async with build_worker(stack.temporal, stack.provider, stack.worker):
        await stack.ensure()
    renamed = replace(stack.event().issue, title="Another title")
    for action in ("edited", "created"):
        later = replace(renamed, updated_at=datetime.now(UTC))
        await stack.deliver(stack.event(Intention.IGNORE, issue=later, action=action))

    async def title() -> str:
        return str((await (await stack.handle.describe()).memo_value(MEMO_STATUS))["title"])

    async with build_worker(stack.temporal, stack.provider, stack.worker):
        await until(title, "Another title".__eq__, "published", 10.0)


async def test_updates_across_continue_as_new_are_all_answered(stack: Stack) -> None:
    """A request that waits during continue-as-new is answered, and the next workflow run still serves it."""
    answered = 0
    first = await stack.ensure()
    assert first.sandbox is not None
    run = (await stack.handle.describe()).run_id
    while (await stack.handle.describe()).run_id == run:
        assert answered < 10 * EVENTS_BEFORE_CONTINUE_AS_NEW
        handovers = await asyncio.gather(*(stack.ensure() for _ in range(4)))
        answered += len(handovers)
        assert {h.sandbox.id for h in handovers if h.sandbox} == {first.sandbox.id}
        assert {h.outcome for h in handovers} <= {Outcome.REUSED, Outcome.CREATED, Outcome.PENDING}
    assert (await stack.ensure()).outcome in {Outcome.REUSED, Outcome.PENDING}


async def test_wrong_start_by_hand_fails_with_a_sentence(temporal: Client, start: Started) -> None:
    """A workflow whose ID is not the sandbox name would be a second decision-maker, so it fails."""
    stack = await start()
    with pytest.raises(WorkflowFailureError) as raised:
        await temporal.execute_workflow(
            WORKFLOW_TYPE,
            StartInput(stack.issue_id, stack.name),
            id=f"another-{stack.issue_id}",
            task_queue=stack.settings.task_queue,
        )
    assert isinstance(raised.value.cause, ApplicationError)
    assert "must be the sandbox name" in raised.value.cause.message


async def test_retry_after_of_a_lookup_is_honoured_by_temporal(stack: Stack) -> None:
    """Daytona's Retry-After becomes the next retry delay of the lookup, whatever the retry policy."""
    effect = {"kind": "status", "status": 429, "headers": {"Retry-After-authenticated": "1.5"}}
    await stack.daytona.admin.add_fault("get", effect)
    assert (await stack.ensure()).outcome is Outcome.CREATED
    lookups = [e.at for e in await stack.daytona.admin.journal(kind="request") if e.operation == "get"]
    assert lookups[1] - lookups[0] >= 1.5


async def test_failed_lookups_are_bounded_and_block_as_unreachable(stack: Stack) -> None:
    """An outage of Daytona does not hang a request: the caller gets the cause, and the workflow keeps trying."""
    await stack.daytona.admin.add_fault("get", {"kind": "drop"}, times=None)
    handover = await stack.ensure()
    assert handover.blocked is not None
    assert handover.blocked.cause is Cause.UNREACHABLE
    assert (await stack.status()).requests_waiting == 1


async def test_refused_first_lookup_is_not_repeated(stack: Stack) -> None:
    """Another lookup would be refused as well: the issue is blocked at once, with the reason."""
    await stack.daytona.admin.add_fault("get", {"kind": "status", "status": 401})
    handover = await stack.ensure()
    assert handover.blocked is not None
    assert handover.blocked.cause is Cause.CREDENTIALS
    assert handover.blocked.next_try_at is not None
    assert (handover.blocked.next_try_at - handover.blocked.since).total_seconds() > 200, "after the worker's settings"


async def test_typed_memory_of_another_issue_is_refused(stack: Stack) -> None:
    """Else a workflow of one issue, started by hand, would act on the sandbox of another."""
    other = Memory(stack.issue_id + 1, f"claude-issue-{stack.issue_id + 1}")
    other.requests.ask()
    handle = await stack.temporal.start_workflow(
        WORKFLOW_TYPE,
        StartInput(stack.issue_id, stack.name, other),
        id=stack.name,
        task_queue=stack.settings.task_queue,
    )
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == ERROR_WRONG_ISSUE
    assert await stack.requests() == []


async def test_typed_memory_has_nobody_who_waits(stack: Stack) -> None:
    """Callers wait in one workflow run. Those of a typed memory would fill the places of all others for ever."""
    typed = Memory(stack.issue_id, stack.name)
    typed.requests.answers = dict.fromkeys(range(1, 20))
    await stack.temporal.start_workflow(
        WORKFLOW_TYPE,
        StartInput(stack.issue_id, stack.name, typed),
        id=stack.name,
        task_queue=stack.settings.task_queue,
    )
    assert (await stack.ensure()).sandbox is not None


async def test_workflow_typed_with_the_id_of_another_issue_fails_at_once(stack: Stack) -> None:
    """Nothing was asked of it yet: else it would take the events of the issue that its name is of, and drop them."""
    handle = await stack.temporal.start_workflow(
        WORKFLOW_TYPE, StartInput(stack.issue_id + 1, stack.name), id=stack.name, task_queue=stack.settings.task_queue
    )
    with pytest.raises(WorkflowFailureError) as failed:
        async with asyncio.timeout(20):
            await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == ERROR_WRONG_ISSUE
    await stack.deliver()
    assert (await stack.served()).outcome is Outcome.CREATED
