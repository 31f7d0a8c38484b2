"""A person's orders by REST, as Temporal has stored them, and requests that an order supersedes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from issuebox.domain.phase import Outcome
from tests.api.conftest import BEARER, Api, Serve
from tests.api.test_rest import conforms, document
from tests.api.test_who_may_ask import is_known
from workflows.messages import (
    ERROR_ISSUE_DELETED,
    ERROR_WRONG_ISSUE,
    UPDATE_ENSURE,
    WORKFLOW_TYPE,
    EnsureRequest,
    Handover,
    StartInput,
)

ORDERS: dict[str, tuple[str, str, str, list[object]]] = {
    # method, path, signal, its arguments
    "retry": ("POST", "/retry", "retry", []),
    "stop": ("POST", "/stop", "stop", [{"key": ""}]),
    "replace": ("POST", "/replace", "replace", []),
    "delete": ("DELETE", "/sandbox", "delete", [{"force": False, "key": ""}]),
    "delete unforced": ("DELETE", "/sandbox?force=false", "delete", [{"force": False, "key": ""}]),
    "delete forced": ("DELETE", "/sandbox?force=true", "delete", [{"force": True, "key": ""}]),
}


async def signals(temporal: Client, issue_id: int) -> list[tuple[str, list[dict[str, Any]]]]:
    """The signals in the history of the issue's workflow, with their arguments."""
    history = await temporal.get_workflow_handle(f"claude-issue-{issue_id}").fetch_history()
    stored = [
        event.workflow_execution_signaled_event_attributes
        for event in history.events
        if event.event_type == EventType.EVENT_TYPE_WORKFLOW_EXECUTION_SIGNALED
    ]
    return [(event.signal_name, [json.loads(part.data) for part in event.input.payloads]) for event in stored]


@pytest.mark.parametrize("name", ORDERS)
async def test_order_is_stored_before_it_is_answered(api: Api, temporal: Client, issue_id: int, name: str) -> None:
    """Each order is its own signal, with the person's decision about unsaved work, even without a worker."""
    method, path, signal, arguments = ORDERS[name]
    await api.client.put(f"/v1/issues/{issue_id}/sandbox?wait_s=0", headers=BEARER)
    reply = await api.client.request(method, f"/v1/issues/{issue_id}{path}", headers=BEARER)
    assert (reply.status_code, reply.json()) == (202, {"status_url": f"/v1/issues/{issue_id}/sandbox"})
    [(stored, given)] = (await signals(temporal, issue_id))[1:]
    for argument in given:
        # What was asked for before the order must not undo it, whenever a worker takes the order.
        ordered_at = datetime.fromisoformat(argument.pop("ordered_at"))
        assert abs(datetime.now(UTC) - ordered_at) < timedelta(minutes=1)
    assert (stored, given) == (signal, arguments)


@pytest.mark.parametrize("name", ORDERS)
async def test_order_for_an_issue_that_nobody_knows_starts_nothing(
    api: Api, temporal: Client, issue_id: int, name: str
) -> None:
    """An order for an unknown issue is a 404, and starts no workflow."""
    method, path, _, _ = ORDERS[name]
    reply = await api.client.request(method, f"/v1/issues/{issue_id}{path}", headers=BEARER)
    assert (reply.status_code, reply.json()["type"]) == (404, "urn:issuebox:problem:unknown-issue")
    assert not await is_known(temporal, issue_id)


@pytest.mark.parametrize("name", ORDERS)
async def test_order_for_a_workflow_that_has_ended_is_a_404(
    api: Api, temporal: Client, issue_id: int, name: str
) -> None:
    """Nobody would read the signal, so the answer does not claim that it is stored."""
    method, path, _, _ = ORDERS[name]
    await api.client.put(f"/v1/issues/{issue_id}/sandbox?wait_s=0", headers=BEARER)
    await temporal.get_workflow_handle(f"claude-issue-{issue_id}").terminate()
    reply = await api.client.request(method, f"/v1/issues/{issue_id}{path}", headers=BEARER)
    assert reply.status_code == 404


@workflow.defn(name=WORKFLOW_TYPE)
class Scripted:
    """A workflow whose answer is scripted by the title of the issue."""

    @workflow.run
    async def run(self, start: StartInput) -> None:
        await asyncio.Event().wait()

    @workflow.update(name=UPDATE_ENSURE)
    async def ensure(self, request: EnsureRequest) -> Handover:
        if request.issue.title in {ERROR_ISSUE_DELETED, ERROR_WRONG_ISSUE}:
            raise ApplicationError("the issue was deleted at GitHub", type=request.issue.title)
        return Handover(request.issue.id, f"claude-issue-{request.issue.id}", Outcome(request.issue.title))


Put = Callable[[str], Any]


@pytest.fixture
async def put(serve: Serve, temporal: Client, issue_id: int) -> AsyncIterator[Put]:
    """Ask for the sandbox of an issue whose workflow answers as scripted."""
    api = await serve()

    async def send(answer: str) -> httpx.Response:
        path = f"/v1/issues/{issue_id}/sandbox"
        reply = await api.client.put(path, headers=BEARER, json={"title": answer}, params={"wait_s": 20})
        conforms(await document(api), "put", "/v1/issues/{issue_id}/sandbox", reply)
        return reply

    async with Worker(
        temporal,
        task_queue=api.settings.task_queue,
        workflows=[Scripted],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        yield send


@pytest.mark.parametrize("outcome", ["stopped", "archived", "deleted"])
async def test_request_overtaken_by_an_order_is_a_409_that_says_so(put: Put, outcome: str) -> None:
    """A superseded caller is neither made to wait nor given a sandbox that does not run."""
    reply = await put(outcome)
    assert (reply.status_code, reply.json()["type"]) == (409, "urn:issuebox:problem:superseded")
    assert f"its sandbox is {outcome}" in reply.json()["detail"]


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        *(("created", 200), ("started", 200), ("recovered", 200), ("reused", 200)),
        *(("pending", 202), ("queued", 202), ("blocked", 202)),
    ],
)
async def test_every_other_outcome_is_answered_as_before(put: Put, outcome: str, status: int) -> None:
    """Together with the three above, these are all outcomes."""
    reply = await put(outcome)
    assert (reply.status_code, reply.json()["outcome"]) == (status, outcome)


def test_no_outcome_is_left_out() -> None:
    """A new outcome must be added to those that are ready, pending or superseded."""
    ready = {"created", "started", "recovered", "reused"}
    assert {*Outcome} == ready | {"stopped", "archived", "deleted", "pending", "queued", "blocked"}


@pytest.mark.parametrize(("error", "kind"), [(ERROR_ISSUE_DELETED, "issue-deleted"), (ERROR_WRONG_ISSUE, "conflict")])
async def test_final_refusal_of_the_workflow_is_a_409_with_its_sentence(put: Put, error: str, kind: str) -> None:
    """A deleted issue never gets a sandbox again, and asking later does not help."""
    reply = await put(error)
    assert (reply.status_code, reply.json()["type"]) == (409, f"urn:issuebox:problem:{kind}")
    assert reply.json()["detail"] == "the issue was deleted at GitHub"
