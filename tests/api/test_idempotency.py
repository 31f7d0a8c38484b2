"""`Idempotency-Key` on the whole stack: what comes again under a key is answered again, and not done again."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from issuebox.domain.events import Intention
from issuebox.worker import build_worker
from tests.api.conftest import BEARER, Api, Serve
from tests.api.test_rest import conforms, document
from tests.conftest import EVENTS_BEFORE_CONTINUE_AS_NEW
from tests.waiting import until
from tests.workflow.conftest import Stack, Started, daytona, start  # noqa: F401 -- fixtures
from workflows.messages import Status

CALLS: dict[str, tuple[str, str]] = {
    "ensure": ("PUT", "/sandbox?wait_s=20"),
    "stop": ("POST", "/stop"),
    "retry": ("POST", "/retry"),
    "replace": ("POST", "/replace"),
    "delete": ("DELETE", "/sandbox"),
    "delete-forced": ("DELETE", "/sandbox?force=true"),
}
REUSED = "urn:issuebox:problem:idempotency-key-reused"


@pytest.fixture
async def stack(start: Started) -> Stack:  # noqa: F811 -- the fixture of that name
    return await start()


@pytest.fixture
async def api(serve: Serve, stack: Stack) -> Api:
    """The API on the task queue that the stack's worker serves."""
    return await serve(task_queue=stack.settings.task_queue)


async def call(api: Api, issue_id: int, order: str, key: str = "", **more: Any) -> httpx.Response:
    """Give the order, under a key unless that is empty."""
    method, path = CALLS[order]
    headers = BEARER | ({"Idempotency-Key": key} if key else {})
    return await api.client.request(method, f"/v1/issues/{issue_id}{path}", headers=headers, **more)


async def handled(stack: Stack) -> Status:
    """Wait until nothing is left to do."""
    return await until(
        stack.status,
        lambda status: status.requests_waiting == 0 and status.doing.startswith(("resting", "blocked")),
        "all orders handled",
    )


async def noted(stack: Stack, word: str) -> int:
    """How often the workflow has noted an order."""
    return [note.what for note in (await stack.why()).notes].count(word)


async def continued_as_new(stack: Stack) -> None:
    """Fill the history until the workflow goes on in another run."""
    first = (await stack.handle.describe()).run_id
    for _ in range(EVENTS_BEFORE_CONTINUE_AS_NEW):
        await stack.deliver(stack.event(Intention.IGNORE, action="edited"))
    await stack.order("look")

    async def run_id() -> str:
        return (await stack.handle.describe()).run_id or ""

    await until(run_id, lambda found: found != first, "the workflow continued as new")


@pytest.mark.parametrize("order", CALLS)
async def test_order_that_comes_again_is_not_done_again(api: Api, stack: Stack, order: str) -> None:
    """The second call has the answer of the first, and the workflow has taken one order."""
    await stack.ensure()
    word = "delete --force" if order == "delete-forced" else order
    before = await noted(stack, word)
    first, second = [await call(api, stack.issue_id, order, "a-key") for _ in range(2)]
    assert (first.status_code, first.json()) == (second.status_code, second.json())
    assert first.is_success
    await handled(stack)
    assert await noted(stack, word) == before + 1


@pytest.mark.parametrize("order", CALLS)
async def test_key_of_another_order_is_a_422(api: Api, stack: Stack, order: str) -> None:
    """A key means one order: what comes under it and is another one is refused with a sentence, and not done."""
    await stack.ensure()
    assert (await call(api, stack.issue_id, order, "a-key")).is_success
    await handled(stack)
    notes, schema = (await stack.why()).notes, await document(api)
    for other in CALLS.keys() - {order}:
        reply = await call(api, stack.issue_id, other, "a-key")
        assert (other, reply.status_code, reply.json()["type"]) == (other, 422, REUSED)
        method, path = CALLS[other]
        conforms(schema, method.lower(), f"/v1/issues/{{issue_id}}{path.partition('?')[0]}", reply)
        assert f"({order})" in reply.json()["detail"]
    assert (await stack.why()).notes == notes


async def test_request_that_comes_again_after_a_stop_starts_nothing(api: Api, stack: Stack) -> None:
    """A retried PUT, waiting or not, gets its old answer, and the order that came in between stands."""
    first = await call(api, stack.issue_id, "ensure", "a-key")
    assert (first.status_code, first.json()["outcome"]) == (200, "created")
    await call(api, stack.issue_id, "stop")
    await until(stack.state, lambda state: state == "stopped", "the sandbox stopped")
    for wait_s in (0, 20):
        again = await call(api, stack.issue_id, "ensure", "a-key", params={"wait_s": wait_s})
        assert (again.status_code, again.json()) == (200, first.json())
    assert (await handled(stack)).goal == "stopped"
    assert await stack.state() == "stopped"


async def test_order_that_comes_again_after_a_request_does_nothing(api: Api, stack: Stack) -> None:
    """A retried stop does not stop what somebody has started since."""
    await stack.ensure()
    await call(api, stack.issue_id, "stop", "a-key")
    await handled(stack)
    await stack.ensure()
    assert (await call(api, stack.issue_id, "stop", "a-key")).status_code == 202
    assert (await handled(stack)).goal == "running"
    assert await stack.state() == "started"


async def test_request_that_was_only_stored_is_waited_for_by_the_next_call(api: Api, stack: Stack) -> None:
    """The first call does not wait, the second does, and both are one request with one answer."""
    await stack.daytona.admin.config(durations={"create_s": 1.0})
    first = await call(api, stack.issue_id, "ensure", "a-key", params={"wait_s": 0})
    assert (first.status_code, first.json()["outcome"]) == (202, "pending")
    second = await call(api, stack.issue_id, "ensure", "a-key")
    assert (second.status_code, second.json()["outcome"]) == (200, "created")
    third = await call(api, stack.issue_id, "ensure", "a-key", params={"wait_s": 0})
    assert (third.status_code, third.json()) == (200, second.json())
    assert await noted(stack, "ensure") == 1


async def test_requests_at_once_under_one_key_are_one(api: Api, stack: Stack) -> None:
    """Whoever retries too early joins the request that is under way."""
    replies = await asyncio.gather(*(call(api, stack.issue_id, "ensure", "a-key") for _ in range(6)))
    assert {(reply.status_code, reply.json()["outcome"]) for reply in replies} == {(200, "created")}
    assert await noted(stack, "ensure") == 1


async def test_key_outlives_the_workflow_run(api: Api, stack: Stack) -> None:
    """After continue-as-new the answer of a request says how its sandbox is, and nothing is done twice."""
    first = await call(api, stack.issue_id, "ensure", "key-1")
    await call(api, stack.issue_id, "replace", "key-2")
    new = await handled(stack)
    await continued_as_new(stack)
    again = await call(api, stack.issue_id, "ensure", "key-1")
    assert again.status_code == first.status_code == 200
    assert (await call(api, stack.issue_id, "replace", "key-2")).status_code == 202
    assert (await call(api, stack.issue_id, "stop", "key-2")).json()["type"] == REUSED
    after = await handled(stack)
    assert new.sandbox is not None
    assert after.sandbox is not None
    assert after.sandbox.id == new.sandbox.id == again.json()["sandbox"]["id"]


async def test_key_holds_while_no_worker_is_there(serve: Serve, start: Started) -> None:  # noqa: F811
    """Nobody can look at the key then, so all is stored; the workflow carries out only the first order of a key."""
    stack = await start(has_worker=False)
    api = await serve(task_queue=stack.settings.task_queue)
    for _ in range(2):
        reply = await call(api, stack.issue_id, "ensure", "a-key", params={"wait_s": 0})
        assert (reply.status_code, reply.json()["outcome"]) == (202, "pending")
    assert (await call(api, stack.issue_id, "stop", "a-key")).status_code == 202
    async with build_worker(stack.temporal, stack.provider, stack.worker):
        status = await handled(stack)
        assert (status.goal, status.outcome) == ("running", "created")
        assert await noted(stack, "stop ignored") == 1
        assert (await stack.requests()).count("create") == 1


async def test_key_may_be_quoted(api: Api, stack: Stack) -> None:
    """As the IETF's draft writes it, which makes it a string of a structured field."""
    first = await call(api, stack.issue_id, "ensure", "a-key")
    again = await call(api, stack.issue_id, "ensure", '"a-key"')
    assert first.json() == again.json()
    assert await noted(stack, "ensure") == 1


async def test_same_key_for_another_issue_is_another_key(api: Api, stack: Stack) -> None:
    """A program may name its orders by what it does, without regard to the issue."""
    other = stack.another()
    assert (await call(api, stack.issue_id, "ensure", "a-key")).json()["outcome"] == "created"
    assert (await call(api, other.issue_id, "ensure", "a-key")).json()["outcome"] == "created"
