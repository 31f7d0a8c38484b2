"""What REST shows of the queue for slots, and of an issue that waits in it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from issuebox.domain.gate import Caps
from issuebox.domain.phase import Outcome
from issuebox.domain.slot import OPENING, WAITS_FOR, Kind, Limit
from issuebox.temporal.gate import gate_id
from issuebox.temporal.queue import ITS_TURN, UNTIL, Queues, queues_of
from tests.api.conftest import BEARER, Api, Serve
from tests.api.test_rest import conforms, document
from tests.waiting import until
from tests.workflow.conftest import Stack, Started, daytona, start  # noqa: F401 -- fixtures
from workflows.gate_messages import GATE_TYPE, GateInput, GateView, SlotView

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
NOBODY: dict[str, object] = {
    "caps": None,
    "in_use": 0,
    "beyond_cap": 0,
    "waiting": [],
    "opens_at": None,
    "held_until": None,
}


def slot(number: int, limit: Limit | None = None) -> SlotView:
    return SlotView(f"claude-issue-{number}", NOW + timedelta(seconds=number), "octo/repo", limit)


async def read(api: Api) -> dict[str, Any]:
    """The queue; the answer is as documented."""
    reply = await api.client.get("/v1/queue", headers=BEARER)
    assert reply.status_code == 200, reply.text
    conforms(await document(api), "get", "/v1/queue", reply)
    found: dict[str, Any] = reply.json()
    return found


async def put(api: Api, stack: Stack) -> httpx.Response:
    body = {"repository": "Octo/Repo", "number": 7}
    reply = await api.client.put(f"/v1/issues/{stack.issue_id}/sandbox", headers=BEARER, json=body)
    conforms(await document(api), "put", "/v1/issues/{issue_id}/sandbox", reply)
    return reply


async def test_issue_that_waits_is_queued_and_served_when_its_turn_comes(serve: Serve, start: Started) -> None:  # noqa: F811
    """Its request is answered at once with its place. A wait for the sandbox goes on until it can be used."""
    first = await start(running_max=1)
    api = await serve(task_queue=first.settings.task_queue)
    assert (await put(api, first)).status_code == 200
    second = first.another()
    reply = await put(api, second)
    words = "waiting until fewer sandboxes run in the installation"
    assert (reply.status_code, reply.json()["outcome"]) == (202, "queued")
    assert reply.json()["blocked"]["reason"] == f"{words}, place 1 in the queue"

    found = await read(api)
    (waits,) = found["sandboxes"]["waiting"]
    since = datetime.fromisoformat(waits.pop("since"))
    assert timedelta(0) <= datetime.now(UTC) - since < timedelta(minutes=1)
    assert waits == {
        "place": 1, "issue_id": second.issue_id, "name": second.name, "repository": "octo/repo", "limit": "total",
        "reason": words,
    }  # fmt: skip
    assert found["sandboxes"]["caps"] == {"total": 1, "per_repository": 0, "per_author": 0, "reserve": 0}
    assert (found["sandboxes"]["in_use"], found["sandboxes"]["beyond_cap"]) == (1, 0)
    assert (found["runs"]["in_use"], found["runs"]["waiting"]) == (0, [])

    path = f"/v1/issues/{second.issue_id}/sandbox"
    wait = {"wait_for": "usable", "timeout_s": "0.5"}
    over = await api.client.get(path, params=wait, headers=BEARER)
    assert (over.status_code, over.json()["waited"], over.json()["outcome"]) == (202, "timeout", "queued")
    waiting = asyncio.create_task(api.client.get(path, params=wait | {"timeout_s": "30"}, headers=BEARER))
    await api.client.post(f"/v1/issues/{first.issue_id}/stop", headers=BEARER)
    usable = await waiting
    assert (usable.status_code, usable.json()["waited"], usable.json()["outcome"]) == (200, "usable", "created")
    assert await second.state() == "started"
    await until(lambda: read(api), lambda seen: seen["sandboxes"]["waiting"] == [], "nobody waits")


async def test_without_a_gate_nobody_waits(serve: Serve, start: Started) -> None:  # noqa: F811
    """Before the first issue that needs a slot there is none, and after its end neither."""
    stack = await start()
    api = await serve(task_queue=stack.settings.task_queue)
    assert (await stack.ensure()).outcome is Outcome.CREATED
    assert await read(api) == {"sandboxes": NOBODY, "runs": NOBODY}
    queue = stack.settings.task_queue
    gate = await stack.temporal.start_workflow(
        GATE_TYPE, GateInput(caps={Kind.RUN: Caps(3)}), id=gate_id(stack.settings.name_prefix, queue), task_queue=queue
    )
    assert (await read(api))["runs"]["caps"]["total"] == 3
    await gate.terminate("by a test")
    assert await read(api) == {"sandboxes": NOBODY, "runs": NOBODY}


async def test_gate_that_does_not_answer_is_a_503(serve: Serve, start: Started) -> None:  # noqa: F811
    """Not an empty queue. So is a Temporal that is away, and without a token nothing is told."""
    stack = await start(has_worker=False)
    queue = stack.settings.task_queue
    api = await serve(task_queue=queue)
    name = gate_id(stack.settings.name_prefix, queue)
    gate = await stack.temporal.start_workflow(GATE_TYPE, GateInput(), id=name, task_queue=queue)
    try:
        reply = await api.client.get("/v1/queue", headers=BEARER)
        assert (reply.status_code, reply.json()["type"]) == (503, "urn:issuebox:problem:unavailable")
        assert "no worker answers" in reply.json()["detail"]
    finally:
        await gate.terminate("by a test")
    assert (await api.client.get("/v1/queue")).status_code == 401


def test_slots_beyond_the_cap_are_told() -> None:
    """People start sandboxes by hand, and caps are lowered. Where only the shares are limited, none is beyond."""
    working = tuple(slot(number) for number in range(1, 6))

    def beyond(caps: Caps) -> tuple[int, int]:
        found = queues_of({Kind.SANDBOX: GateView(caps, working)}, "claude-issue-").sandboxes
        return found.in_use, found.beyond_cap

    assert beyond(Caps(3, reserve=1)) == (5, 2)
    assert beyond(Caps(6)) == (5, 0)
    assert beyond(Caps(per_repository=2)) == (5, 0)


def test_each_issue_has_its_place_and_says_what_it_waits_for() -> None:
    """In the gate's order, also for what the table of words does not have."""
    limits = (*Limit, None)
    views = {
        kind: GateView(Caps(1), (), tuple(slot(9 - place, limit) for place, limit in enumerate(limits)), NOW, NOW)
        for kind in Kind
    }
    queues = queues_of(views, "claude-issue-")
    for kind, found in ((Kind.SANDBOX, queues.sandboxes), (Kind.RUN, queues.runs)):
        assert [(each.place, each.issue_id) for each in found.waiting] == [(place, 10 - place) for place in range(1, 8)]
        words = {each.limit: each.reason for each in found.waiting}
        assert words == {limit: WAITS_FOR.get((kind, limit), OPENING) for limit in Limit} | {None: ITS_TURN}
        assert all(each.reason.startswith(UNTIL) for each in found.waiting)
        assert (found.opens_at, found.held_until) == (NOW, NOW)
    assert queues_of({}, "claude-issue-") == Queues()
