"""GET with `wait_for=usable` on the whole stack: it answers in time, says why the wait is over, and leaves no trace."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from api import in_flight
from api.app import create_app
from api.body_limit import BODY_MAX_BYTES
from issuebox.domain.events import Intention
from issuebox.domain.phase import Goal
from issuebox.temporal.issues import Issues
from tests.api.conftest import BEARER, Api, Serve, settings_for, status_line
from tests.api.deliveries import encoded, payload, signed
from tests.api.test_rest import conforms, document
from tests.conftest import EVENTS_BEFORE_CONTINUE_AS_NEW
from tests.waiting import until
from tests.workflow.conftest import Stack, Started, daytona, start  # noqa: F401 -- fixtures

PATH = "/v1/issues/{issue_id}/sandbox"
FULL = {"kind": "status", "status": 400, "message": "No available runners"}


@pytest.fixture
async def stack(start: Started) -> Stack:  # noqa: F811 -- the fixture of that name
    return await start()


@pytest.fixture
async def api(serve: Serve, stack: Stack) -> Api:
    """The API on the task queue that the stack's worker serves."""
    return await serve(task_queue=stack.settings.task_queue)


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Each query that the API sends, as it is sent."""
    sent: list[object] = []
    query = Issues.query

    async def counted(self: Issues, *arguments: Any) -> Any:
        sent.append(arguments)
        return await query(self, *arguments)

    monkeypatch.setattr(Issues, "query", counted)
    return sent


async def wait(api: Api, issue_id: int, timeout_s: float = 20, **more: Any) -> httpx.Response:
    """Wait for the sandbox; the answer is as documented."""
    params = {"wait_for": "usable", "timeout_s": timeout_s}
    reply = await api.client.get(PATH.format(issue_id=issue_id), params=params, headers=BEARER, **more)
    conforms(await document(api), "get", PATH, reply)
    return reply


async def ask(api: Api, issue_id: int) -> None:
    """Ask for the sandbox, without waiting for it."""
    reply = await api.client.put(PATH.format(issue_id=issue_id), params={"wait_s": 0}, headers=BEARER)
    assert reply.status_code == 202, reply.text


async def events(stack: Stack) -> int:
    """The events in the workflow's history."""
    return len((await stack.handle.fetch_history()).events)


async def test_wait_ends_when_the_sandbox_is_usable(api: Api, stack: Stack) -> None:
    """A consumer that starts to wait before GitHub's delivery arrives gets the sandbox that the delivery asks for."""
    waiting = asyncio.create_task(wait(api, stack.issue_id))
    body = encoded(payload(stack.issue_id))
    assert (await api.client.post("/webhooks/github", content=body, headers=signed(body))).status_code == 202
    reply = await waiting
    assert (reply.status_code, reply.json()["waited"]) == (200, "usable")
    (row,) = await stack.live()
    found = reply.json()["sandbox"]
    assert (found["id"], found["state"]) == (row.id, row.state) == (row.id, "started")
    assert found["toolbox_url"] == f"{stack.daytona.base_url}/toolbox/{row.id}"


async def test_wait_leaves_no_trace(api: Api, stack: Stack) -> None:
    """Neither Temporal's history nor Daytona's journal shows that somebody waited, and the wait asks for nothing."""
    await stack.ensure()
    await stack.order("stop")
    await stack.reached(Goal.STOPPED)
    before, sent = await events(stack), await stack.journal_end()
    reply = await wait(api, stack.issue_id, 1)
    assert (reply.status_code, reply.json()["waited"], reply.json()["goal"]) == (202, "timeout", "stopped")
    assert int(reply.headers["Retry-After"]) > 0
    assert await events(stack) == before
    assert await stack.requests(sent) == []


async def test_wait_is_for_the_request_that_came_before_it(api: Api, stack: Stack) -> None:
    """Daytona stopped the sandbox unnoticed. Whoever asks and then waits gets it running, not as it was last seen."""
    await stack.ensure()
    await stack.daytona.admin.act(stack.name, "stop")
    await until(stack.state, lambda state: state == "stopped", "the sandbox stopped")
    await ask(api, stack.issue_id)
    reply = await wait(api, stack.issue_id)
    assert (reply.status_code, await stack.state()) == (200, "started")


async def test_wait_after_a_replace_is_for_the_new_sandbox(api: Api, stack: Stack) -> None:
    """The sandbox that a person gave up is not handed over, although it is still usable."""
    first = await stack.ensure()
    await stack.order("replace")
    reply = await wait(api, stack.issue_id)
    assert reply.status_code == 200
    assert first.sandbox is not None
    assert reply.json()["sandbox"]["id"] != first.sandbox.id


async def test_wait_ends_when_the_issue_is_blocked(api: Api, stack: Stack) -> None:
    """What cannot be done now is told at once, with the reason and with when it is tried again."""
    await stack.daytona.admin.add_fault("create", FULL, times=None)
    await ask(api, stack.issue_id)
    reply = await wait(api, stack.issue_id)
    assert (reply.status_code, reply.json()["waited"]) == (202, "blocked")
    assert "No available runners" in reply.json()["blocked"]["reason"]
    assert 5 < int(reply.headers["Retry-After"]) <= 300


async def test_wait_after_a_retry_is_for_its_end(api: Api, stack: Stack) -> None:
    """The block that the retry is about to end is no answer."""
    await stack.daytona.admin.add_fault("create", FULL)
    await ask(api, stack.issue_id)
    assert (await wait(api, stack.issue_id)).json()["waited"] == "blocked"
    await stack.daytona.admin.config(durations={"create_s": 1.0})
    assert (await api.client.post(f"/v1/issues/{stack.issue_id}/retry", headers=BEARER)).status_code == 202
    assert (await wait(api, stack.issue_id)).json()["waited"] == "usable"


async def test_wait_survives_continue_as_new(api: Api, stack: Stack) -> None:
    """A wait follows the issue from one workflow run to the next."""
    await stack.ensure()
    await stack.order("stop")
    await stack.served()
    first = (await stack.handle.describe()).run_id
    waiting = asyncio.create_task(wait(api, stack.issue_id))
    for _ in range(EVENTS_BEFORE_CONTINUE_AS_NEW):
        await stack.deliver(stack.event(Intention.IGNORE, action="edited"))
    await stack.order("look")

    async def run_id() -> str:
        return (await stack.handle.describe()).run_id or ""

    await until(run_id, lambda found: found != first, "the workflow continued as new")
    assert not waiting.done()
    await ask(api, stack.issue_id)
    assert (await waiting).json()["waited"] == "usable"


async def test_wait_for_a_deleted_issue_ends_at_once(api: Api, stack: Stack) -> None:
    """Its sandbox never comes back, so nobody is made to wait for it."""
    body = encoded(payload(stack.issue_id, action="deleted"))
    await api.client.post("/webhooks/github", content=body, headers=signed(body))
    reply = await wait(api, stack.issue_id)
    assert (reply.status_code, reply.json()["type"]) == (409, "urn:issuebox:problem:issue-deleted")


async def test_wait_for_an_unknown_issue_is_a_404_when_the_time_is_over(api: Api, issue_id: int) -> None:
    """The delivery may be on its way, so the wait goes on; without one, the answer is that of a read."""
    began = time.monotonic()
    reply = await wait(api, issue_id, 1)
    assert (reply.status_code, reply.json()["type"]) == (404, "urn:issuebox:problem:unknown-issue")
    assert 1 <= time.monotonic() - began < 5


async def test_wait_for_a_workflow_that_ended_says_so(api: Api, temporal: Client, stack: Stack) -> None:
    """What the workflow knew is history, and no sandbox of it is handed over."""
    await stack.ensure()
    await temporal.get_workflow_handle(stack.name).terminate()
    reply = await wait(api, stack.issue_id, 0)
    assert (reply.status_code, reply.json()["type"]) == (404, "urn:issuebox:problem:workflow-ended")
    waiting = asyncio.create_task(wait(api, stack.issue_id))
    await ask(api, stack.issue_id)
    assert (await waiting).json()["waited"] == "usable"


async def test_wait_without_a_worker_is_a_503(serve: Serve, issue_id: int) -> None:
    """Nobody can say whether the sandbox is usable, and the answer does not claim to know."""
    api = await serve()
    await ask(api, issue_id)
    reply = await wait(api, issue_id, 0)
    assert (reply.status_code, reply.json()["type"]) == (503, "urn:issuebox:problem:unavailable")
    assert "no worker" in reply.json()["detail"]


async def test_wait_ends_with_its_caller_and_the_number_of_waits_is_limited(
    api: Api, issue_id: int, queries: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One wait too many is a 503 while other calls are served, and a caller that hangs up leaves its place."""
    monkeypatch.setattr(in_flight, "WAITS_MAX", 1)
    url = PATH.format(issue_id=issue_id)
    params: dict[str, str | int] = {"wait_for": "usable", "timeout_s": 60}
    leaving = asyncio.create_task(api.client.get(url, params=params, headers=BEARER, timeout=2))

    async def another() -> httpx.Response:
        return await wait(api, issue_id, 0)

    async def asked() -> int:
        return len(queries)

    await until(asked, bool, "the place is taken")
    reply = await another()
    assert (reply.status_code, reply.json()["type"]) == (503, "urn:issuebox:problem:busy")
    assert (await api.client.get(url, headers=BEARER)).status_code == 404
    with pytest.raises(httpx.ReadTimeout):
        await leaving
    await until(another, lambda reply: reply.status_code == 404, "the place is free", 5)


async def test_wait_that_the_servers_stop_cuts_off_is_a_503() -> None:
    """A server that stops cancels in the end what is still open. The caller hears that it should ask again."""
    begun = asyncio.Event()

    async def client() -> Client:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError("nobody sets the event")

    transport = httpx.ASGITransport(create_app(settings_for("nobody"), client))
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as http:
        url = f"{PATH.format(issue_id=1)}?wait_for=usable"
        waiting = asyncio.create_task(http.get(url, headers=BEARER))
        await begun.wait()
        waiting.cancel()
        reply = await waiting
    assert (reply.status_code, reply.json()["type"]) == (503, "urn:issuebox:problem:unavailable")
    assert "stopping" in reply.json()["detail"]
    assert int(reply.headers["Retry-After"]) > 0


async def test_wait_with_an_endless_body_is_refused(serve: Serve, closed_address: str) -> None:
    """Nobody reads a body here, and nobody can fill the memory with one."""
    api = await serve(closed_address)
    headers = [f"{name}: {value}" for name, value in BEARER.items()]
    head = [f"GET {PATH.format(issue_id=1)}?wait_for=usable HTTP/1.1", *headers]
    assert b" 413 " in await status_line(api, head, b" " * (BODY_MAX_BYTES // 2 + 1), 2)


async def test_waits_for_one_issue_share_what_they_ask(api: Api, stack: Stack, queries: list[object]) -> None:
    """Forty callers cost the workflow few queries, and all get the same sandbox."""
    await stack.daytona.admin.config(durations={"create_s": 1.0})
    await ask(api, stack.issue_id)
    replies = await asyncio.gather(*(wait(api, stack.issue_id) for _ in range(40)))
    assert {reply.status_code for reply in replies} == {200}
    assert len({reply.json()["sandbox"]["id"] for reply in replies}) == 1
    assert 0 < len(queries) <= 12


async def test_read_without_a_wait_answers_at_once(api: Api, stack: Stack) -> None:
    """The same address without `wait_for` shows the status as it is."""
    await stack.daytona.admin.config(durations={"create_s": 2.0})
    await ask(api, stack.issue_id)
    await until(stack.requests, lambda requests: "create" in requests, "the create sent")
    reply = await api.client.get(PATH.format(issue_id=stack.issue_id), headers=BEARER)
    assert (reply.status_code, reply.json()["waited"], reply.json()["requests_waiting"]) == (200, None, 1)
