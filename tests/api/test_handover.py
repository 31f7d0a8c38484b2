"""PUT on the whole stack: real Temporal, workflow, worker and SDK, judged by localdaytona's own state."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from issuebox.dev.mock_delivery import MockIssue, build
from issuebox.domain.memory import Memory, Seen
from tests.api.conftest import BEARER, SECRET, Api, Serve
from tests.api.deliveries import encoded, payload, signed
from tests.api.test_rest import conforms, document
from tests.waiting import until
from tests.workflow.conftest import Stack, Started, daytona, start  # noqa: F401 -- fixtures
from workflows.messages import WORKFLOW_TYPE, StartInput

PATH = "/v1/issues/{issue_id}/sandbox"


@pytest.fixture
async def stack(start: Started) -> Stack:  # noqa: F811 -- the fixture of that name
    return await start()


@pytest.fixture
async def api(serve: Serve, stack: Stack) -> Api:
    """The API on the task queue that the stack's worker serves."""
    return await serve(task_queue=stack.settings.task_queue)


async def put(api: Api, issue_id: int, wait_s: float = 20, **more: Any) -> httpx.Response:
    headers = BEARER | more.pop("headers", {})
    return await api.client.put(PATH.format(issue_id=issue_id), params={"wait_s": wait_s}, headers=headers, **more)


async def test_ensure_hands_the_running_sandbox_over(api: Api, stack: Stack) -> None:
    """The first PUT creates, the second reuses; the answer is the sandbox that Daytona has."""
    for outcome in ("created", "reused"):
        reply = await put(api, stack.issue_id, json={"repository": "octo/repo", "number": 5, "title": "A bug"})
        assert reply.status_code == 200, reply.text
        conforms(await document(api), "put", PATH, reply)
        assert reply.json()["outcome"] == outcome
    (row,) = await stack.live()
    assert reply.json()["sandbox"]["id"] == row.id
    assert reply.json()["sandbox"]["state"] == row.state == "started"


async def test_status_and_why_are_answered_as_documented(api: Api, stack: Stack) -> None:
    """With a worker, both queries answer as the OpenAPI document says."""
    await put(api, stack.issue_id)
    for tail in ("", "/why"):
        reply = await api.client.get(PATH.format(issue_id=stack.issue_id) + tail, headers=BEARER)
        assert reply.status_code == 200
        conforms(await document(api), "get", PATH + tail, reply)


async def test_fifty_requests_at_once_are_one_sandbox(api: Api, stack: Stack) -> None:
    """Temporal lets fewer wait. Each is answered with 200 or 202, and Daytona gets one create."""
    replies = await asyncio.gather(*(put(api, stack.issue_id) for _ in range(50)))
    assert {reply.status_code for reply in replies} <= {200, 202}
    assert 200 in {reply.status_code for reply in replies}
    status = await stack.served()
    # Each of the fifty reached the workflow: as an update that waits, or as a signal when too many waited.
    assert (await stack.status()).goal == "running"
    assert status.requests_waiting == 0
    assert len(await stack.live()) == 1
    assert (await stack.requests()).count("create") == 1


async def test_request_refused_as_one_too_many_is_stored(api: Api, stack: Stack) -> None:
    """What the workflow does not let wait reaches it as a signal: it knows each of fifty requests."""
    keys = [uuid.uuid4().hex for _ in range(50)]
    await asyncio.gather(*(put(api, stack.issue_id, headers={"Idempotency-Key": key}) for key in keys))

    async def lost() -> list[str]:
        # The workflow may have continued as new meanwhile, so all workflow runs are searched. They are read as
        # protobuf text, because JSON has the signals' payloads in Base64.
        text = ""
        async for run in stack.temporal.list_workflows(f"WorkflowId = '{stack.name}'"):
            history = await stack.temporal.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
            text += "".join(str(event) for event in history.events)
        return [key for key in keys if key not in text]

    await until(lost, lambda missing: not missing, "every request is known to the workflow")


async def test_slow_daytona_is_waited_for_and_asked_about(api: Api, stack: Stack) -> None:
    """Daytona takes 2.5 s for an answer: the caller still waits for the sandbox, and `why` is answered meanwhile."""
    await stack.daytona.admin.add_fault("get", {"kind": "delay", "seconds": 2.5}, times=None)
    asked = asyncio.create_task(put(api, stack.issue_id))

    async def why() -> int:
        return (await api.client.get(PATH.format(issue_id=stack.issue_id) + "/why", headers=BEARER)).status_code

    await until(why, lambda status: status != 404, "the workflow is there")
    assert await why() == 200
    reply = await asked
    assert (reply.status_code, reply.json()["outcome"]) == (200, "created")


async def test_caller_that_goes_away_cancels_nothing(api: Api, stack: Stack) -> None:
    """A caller that hangs up while it waits has still asked for the sandbox."""
    with pytest.raises(httpx.ReadTimeout):
        await put(api, stack.issue_id, timeout=0.05)

    async def live() -> int:
        return len(await stack.live())

    await until(live, bool, "the sandbox created")
    assert (await stack.served()).outcome == "created"


async def test_same_idempotency_key_is_one_request(api: Api, stack: Stack) -> None:
    """A retried call with the same key gets the answer of the first, and is no second request."""
    headers = {"Idempotency-Key": "my-key:1"}
    first, second = [(await put(api, stack.issue_id, headers=headers)).json() for _ in range(2)]
    assert first == second
    assert first["outcome"] == "created"


async def test_wait_that_is_too_short_is_a_202_that_says_where_to_look(api: Api, stack: Stack) -> None:
    """The request is accepted, and Location leads to its status."""
    reply = await put(api, stack.issue_id, wait_s=0)
    assert reply.status_code == 202
    assert reply.json()["outcome"] == "pending"
    assert int(reply.headers["Retry-After"]) > 0
    await stack.served()
    status = await api.client.get(reply.headers["Location"], headers=BEARER)
    assert status.json()["sandbox"]["state"] == "started"


async def test_webhook_and_ensure_meet_in_one_sandbox(api: Api, stack: Stack) -> None:
    """GitHub and a person who ask at the same time get the same sandbox."""
    body = encoded(payload(stack.issue_id))
    delivery = api.client.post("/webhooks/github", content=body, headers=signed(body))
    delivered, ensured = await asyncio.gather(delivery, put(api, stack.issue_id))
    assert (delivered.status_code, ensured.status_code) == (202, 200)
    await stack.served()
    assert len(await stack.live()) == 1


async def test_blocked_issue_is_a_202_with_reason_and_advice(api: Api, stack: Stack) -> None:
    """The caller gets the reason and what would help, and does not wait."""
    await stack.daytona.admin.config(cpu_max=0)
    reply = await put(api, stack.issue_id)
    assert reply.status_code == 202, reply.text
    assert reply.json()["outcome"] == "blocked"
    assert reply.json()["blocked"]["reason"]
    assert reply.json()["blocked"]["advice"]


async def test_workflow_of_another_issue_under_our_name_is_a_409(api: Api, stack: Stack, temporal: Client) -> None:
    """One that has acted under the wrong name is a conflict, and hands over no other issue's sandbox."""
    other = stack.issue_id + 1_000_000
    wrong = StartInput(other, stack.name, Memory(other, stack.name, seen=Seen(sandbox_id="s1")))
    await temporal.start_workflow(WORKFLOW_TYPE, wrong, id=stack.name, task_queue=stack.settings.task_queue)
    reply = await put(api, stack.issue_id)
    assert reply.status_code == 409, reply.text
    conforms(await document(api), "put", PATH, reply)
    assert await stack.live() == []


async def test_request_overtaken_by_an_order_is_a_409_at_once(api: Api, stack: Stack) -> None:
    """A waiting caller gets a 409 when somebody stops the sandbox meanwhile; another request starts it again."""
    await stack.daytona.admin.config(durations={"create_s": 2.0})
    waiting = asyncio.create_task(put(api, stack.issue_id))
    await until(stack.requests, lambda requests: "create" in requests, "the create sent")
    await api.client.post(f"/v1/issues/{stack.issue_id}/stop", headers=BEARER)
    reply = await waiting
    assert (reply.status_code, reply.json().get("type")) == (409, "urn:issuebox:problem:superseded"), reply.text
    assert (await put(api, stack.issue_id)).status_code == 200


async def test_request_overtaken_by_a_close_is_a_409(api: Api, stack: Stack) -> None:
    """A close after the request calls it off, although the sandbox may still run for a while."""
    await stack.daytona.admin.config(durations={"create_s": 2.0})
    waiting = asyncio.create_task(put(api, stack.issue_id))
    await until(stack.requests, lambda requests: "create" in requests, "the create sent")
    # GitHub's times have whole seconds: this is the first that is certainly after the request.
    closed_at = datetime.now(UTC) + timedelta(seconds=1)
    mock = build("closed", MockIssue(12, "octo/repo", stack.issue_id, updated_at=closed_at), SECRET)
    await api.client.post("/webhooks/github", content=mock.body, headers=dict(mock.headers))
    reply = await waiting
    assert (reply.status_code, reply.json().get("type")) == (409, "urn:issuebox:problem:superseded"), reply.text


async def test_request_for_a_deleted_issue_is_a_409_for_good(api: Api, stack: Stack) -> None:
    """Nobody gets a sandbox for a deleted issue, and Daytona gets no create."""
    mock = build("deleted", MockIssue(12, "octo/repo", stack.issue_id), SECRET)
    await api.client.post("/webhooks/github", content=mock.body, headers=dict(mock.headers))
    reply = await put(api, stack.issue_id)
    assert (reply.status_code, reply.json()["type"]) == (409, "urn:issuebox:problem:issue-deleted"), reply.text
    conforms(await document(api), "put", PATH, reply)
    assert "create" not in await stack.requests()


async def test_orders_reach_the_sandbox(api: Api, stack: Stack) -> None:
    """At Daytona, a stop keeps the sandbox's ID, a replace changes it, and a delete removes the sandbox."""
    path = f"/v1/issues/{stack.issue_id}"
    first = (await put(api, stack.issue_id)).json()["sandbox"]["id"]

    async def rows() -> list[tuple[str, str]]:
        return [(row.id, row.state) for row in await stack.live()]

    await api.client.post(f"{path}/stop", headers=BEARER)
    await until(rows, lambda rows: rows == [(first, "stopped")], "the sandbox stopped")
    await api.client.post(f"{path}/replace", headers=BEARER)
    await until(rows, lambda rows: [state for id_, state in rows if id_ != first] == ["started"], "a new sandbox")
    await api.client.delete(f"{path}/sandbox", headers=BEARER, params={"force": True})
    await until(rows, lambda rows: not rows, "no sandbox left")


async def test_retry_reaches_the_workflow(api: Api, stack: Stack) -> None:
    """A retry is among the decisions that `why` lists."""
    await put(api, stack.issue_id)
    path = f"/v1/issues/{stack.issue_id}"
    assert (await api.client.post(f"{path}/retry", headers=BEARER)).status_code == 202
    notes = (await api.client.get(f"{path}/sandbox/why", headers=BEARER)).json()["notes"]
    assert "retry" in [note["what"] for note in notes]


async def test_list_shows_what_the_workflow_published(serve: Serve, start: Started) -> None:  # noqa: F811
    """A row of the list carries the state that the issue's workflow saw last."""
    stack = await start()
    api = await serve(task_queue=stack.settings.task_queue)
    await put(api, stack.issue_id, json={"repository": "octo/repo", "number": 5})

    async def rows() -> list[dict[str, Any]]:
        reply = await api.client.get("/v1/sandboxes", headers=BEARER, params={"page_size": 200})
        return [row for row in reply.json()["sandboxes"] if row["issue_id"] == stack.issue_id and row["state"]]

    (row,) = await until(rows, bool, "the row listed")
    assert (row["state"], row["repository"], row["number"]) == ("started", "octo/repo", 5)
