"""Each injected fault has its effect, as often as specified, and the journal records it correctly."""

import asyncio
import time

import httpx
import pytest
from daytona import AsyncDaytona, DaytonaBadGatewayError, DaytonaConnectionError
from daytona.common.errors import DaytonaError

from localdaytona.testing import NO_TLS, Server
from localdaytona.types import JSONObject
from tests.localdaytona.clients import create, eventually, reaches


async def last_reply(server: Server, operation: str) -> dict[str, object]:
    """Return the journal's detail of the last reply of an operation."""
    return dict((await server.admin.journal(kind="reply", operation=operation))[-1].detail)


async def exists(server: Server, name: str) -> bool:
    """Return whether there is a row of this name."""
    return any(row.name == name for row in await server.admin.sandboxes())


@pytest.mark.parametrize("kind", ["status", "status_after"])
async def test_status_before_leaves_nothing_and_after_leaves_a_sandbox(
    sdk: AsyncDaytona, server: Server, kind: str
) -> None:
    """A 502 before the effect creates nothing; a 502 after the commit leaves a running sandbox."""
    await server.admin.add_fault("create", {"kind": kind, "status": 502, "message": "Bad Gateway"})
    with pytest.raises(DaytonaBadGatewayError, match="Bad Gateway"):
        await create(sdk, "maybe")
    assert await exists(server, "maybe") is (kind == "status_after")
    assert (await last_reply(server, "create"))["committed"] is (kind == "status_after")


async def test_rate_limit_fault_carries_its_headers(rest: httpx.AsyncClient, server: Server) -> None:
    """A status fault replies with its headers."""
    effect: JSONObject = {"kind": "status", "status": 429, "headers": {"Retry-After-sandbox-create": "7"}}
    await server.admin.add_fault("create", effect)
    reply = await rest.post("/sandbox")
    assert (reply.status_code, reply.headers["retry-after-sandbox-create"]) == (429, "7")


@pytest.mark.parametrize("kind", ["drop", "drop_after"])
async def test_dropped_connection_gives_no_byte_of_a_reply(rest: httpx.AsyncClient, server: Server, kind: str) -> None:
    """The connection is reset without a reply; if that is after the effect, the sandbox exists all the same."""
    await server.admin.add_fault("create", {"kind": kind})
    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        await rest.post("/sandbox", json={"name": "maybe"})
    assert await exists(server, "maybe") is (kind == "drop_after")
    reply = await last_reply(server, "create")
    assert (reply["status"], reply["delivered"], reply["committed"]) == (None, False, kind == "drop_after")


async def test_dropped_create_is_a_connection_error_for_the_sdk(sdk: AsyncDaytona, server: Server) -> None:
    """The SDK does not send a create again when its connection is dropped."""
    await server.admin.add_fault("create", {"kind": "drop_after"})
    with pytest.raises(DaytonaConnectionError):
        await create(sdk, "lost")
    assert len(await server.admin.journal(kind="request", operation="create")) == 1
    assert (await sdk.get("lost")).state == "started"


@pytest.mark.parametrize("kind", ["delay", "delay_after"])
async def test_delay_is_before_or_after_the_effect(rest: httpx.AsyncClient, server: Server, kind: str) -> None:
    """The wait is between the request and the effect, or between the effect and the reply."""
    await server.admin.config(durations={"create_s": 0})
    await server.admin.add_fault("create", {"kind": kind, "seconds": 0.6})
    asked_at = time.time()
    assert (await rest.post("/sandbox", json={"name": "late"})).status_code == 200
    answered_at = time.time()
    (created,) = await server.admin.journal(kind="created")
    before, after = created.at - asked_at, answered_at - created.at
    assert (before if kind == "delay" else after) >= 0.6


@pytest.mark.parametrize("after", [False, True])
async def test_hanging_call_is_never_answered(rest: httpx.AsyncClient, server: Server, after: bool) -> None:
    """A hang answers nothing until the client leaves."""
    await server.admin.add_fault("create", {"kind": "hang", "after": after})
    with pytest.raises(httpx.ReadTimeout):
        await rest.post("/sandbox", json={"name": "hung"}, timeout=httpx.Timeout(20, read=0.5))
    if after:
        await reaches(server, "hung", "started")
    else:
        assert not await exists(server, "hung")


async def test_false_not_found_hits_once(rest: httpx.AsyncClient, server: Server) -> None:
    """A false 404 has the text of a true one, and the next read is correct."""
    made = (await rest.post("/sandbox", json={"name": "there"})).json()
    await server.admin.add_fault("get", {"kind": "not_found"}, name="th*")
    missed = await rest.get(f"/sandbox/{made['id']}")
    assert missed.json()["message"] == f"Sandbox with ID or name {made['id']} not found"
    assert (await rest.get(f"/sandbox/{made['id']}")).status_code == 200


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("state_change", "Sandbox state change in progress"),
        ("modified", "Sandbox was modified by another operation"),
        ("in_progress", "An operation is already in progress for this resource"),
    ],
)
async def test_conflict_has_each_of_the_three_texts(
    rest: httpx.AsyncClient, server: Server, text: str, message: str
) -> None:
    """All three 409 texts are available, and nothing is done."""
    await rest.post("/sandbox", json={"name": "busy"})
    await server.admin.add_fault("stop", {"kind": "conflict", "text": text})
    reply = await rest.post("/sandbox/busy/stop")
    assert (reply.status_code, reply.json()["message"]) == (409, message)
    assert (await server.admin.sandbox("busy")).state == "started"


async def test_malformed_reply_breaks_the_sdk_after_the_effect(sdk: AsyncDaytona, server: Server) -> None:
    """A reply that lacks a required field is an SDK error without a status; the sandbox exists."""
    await server.admin.add_fault("create", {"kind": "malformed", "field": "kvm"})
    with pytest.raises(DaytonaError) as raised:
        await create(sdk, "odd")
    assert raised.value.status_code is None
    assert await exists(server, "odd")


async def test_stale_read_shows_the_past(rest: httpx.AsyncClient, server: Server) -> None:
    """A stale read shows the name and state at that time, even of a sandbox that is gone now."""
    await rest.post("/sandbox", json={"name": "past"})
    made = (await rest.get("/sandbox/past")).json()
    then = (await server.admin.journal())[-1].at
    await rest.delete("/sandbox/past")
    await server.admin.add_fault("get", {"kind": "stale", "at": then}, times=None)
    seen = (await rest.get(f"/sandbox/{made['id']}")).json()
    by_name = (await rest.get("/sandbox/past")).json()
    assert (seen["name"], seen["state"]) == (by_name["name"], by_name["state"]) == ("past", "started")
    assert seen["updatedAt"] == by_name["updatedAt"] == made["updatedAt"]
    assert (await last_reply(server, "get"))["as_of"] == then


async def test_reply_of_now_says_so(rest: httpx.AsyncClient, server: Server) -> None:
    """The journal names no moment for a reply that shows the present."""
    await rest.post("/sandbox", json={"name": "now"})
    await rest.get("/sandbox/now")
    assert (await last_reply(server, "get"))["as_of"] is None


async def test_stale_read_of_seconds_ago_misses_what_is_younger(rest: httpx.AsyncClient, server: Server) -> None:
    """A sandbox that did not exist at that time is not found, by name or ID."""
    made = (await rest.post("/sandbox", json={"name": "young"})).json()
    await server.admin.add_fault("get", {"kind": "stale", "seconds": 3600}, times=2)
    replies = [await rest.get(f"/sandbox/{key}") for key in ("young", made["id"], "young")]
    assert [reply.status_code for reply in replies] == [404, 404, 200]


async def test_stale_reply_of_a_stop_shows_started(rest: httpx.AsyncClient, server: Server) -> None:
    """A command's reply can be older than its effect."""
    await rest.post("/sandbox", json={"name": "past"})
    then = (await server.admin.journal())[-1].at
    await server.admin.add_fault("stop", {"kind": "stale", "at": then})
    assert (await rest.post("/sandbox/past/stop")).json()["state"] == "started"
    assert (await last_reply(server, "stop"))["as_of"] == then
    assert (await rest.get("/sandbox/past")).json()["desiredState"] == "stopped"


async def test_build_can_fail(rest: httpx.AsyncClient, server: Server) -> None:
    """A failed build ends in build_failed with its reason."""
    await server.admin.add_fault("create", {"kind": "build_failed", "reason": "no such base"})
    await rest.post("/sandbox", json={"name": "image", "buildInfo": {"dockerfileContent": "FROM x"}})
    await reaches(server, "image", "build_failed")
    assert (await rest.get("/sandbox/image")).json()["errorReason"] == "no such base"


async def test_stuck_transition_waits_for_a_person(rest: httpx.AsyncClient, server: Server) -> None:
    """A stuck stop stays stopping until it is released."""
    await rest.post("/sandbox", json={"name": "stuck"})
    await server.admin.add_fault("stop", {"kind": "stuck"})
    await rest.post("/sandbox/stuck/stop")
    await reaches(server, "stuck", "stopping")
    await asyncio.sleep(0.2)
    assert (await server.admin.sandbox("stuck")).stuck
    await server.admin.act("stuck", "release")
    await reaches(server, "stuck", "stopped")


async def test_slow_create_without_hold_answers_at_once(rest: httpx.AsyncClient, server: Server) -> None:
    """A reply that is not held comes while the sandbox is being created; a slow one takes its time."""
    await server.admin.add_fault("create", {"kind": "no_hold"}, name="quick")
    await server.admin.config(speed=1, durations={"create_s": 60})
    await rest.post("/sandbox", json={"name": "quick"})
    assert (await server.admin.sandbox("quick")).state in {"unknown", "creating"}
    await server.admin.add_fault("create", {"kind": "slow", "seconds": 0.2}, name="slow")
    began = time.monotonic()
    await rest.post("/sandbox", json={"name": "slow"})
    assert 0.2 <= time.monotonic() - began < 20


async def test_failed_destroy_looks_like_success(rest: httpx.AsyncClient, server: Server) -> None:
    """A destroy that fails ends as an error with desired destroyed, which is a 404 as well."""
    made = (await rest.post("/sandbox", json={"name": "undead"})).json()
    await server.admin.add_fault("delete", {"kind": "fail_transition", "reason": "runner gone"})
    await rest.delete("/sandbox/undead")
    await reaches(server, made["id"], "error")
    assert (await rest.get(f"/sandbox/{made['id']}")).status_code == 404


async def hits(server: Server, rest: httpx.AsyncClient, seed: int) -> list[int]:
    """Return the statuses of twenty reads under a rule that hits half of them."""
    rule: JSONObject = {"match": {"operation": "get"}, "effect": {"kind": "status", "status": 503}, "probability": 0.5}
    await server.admin.set_faults({**rule, "id": "half", "skip": 2, "times": 5}, seed=seed)
    return [(await rest.get("/sandbox/none")).status_code for _ in range(20)]


async def test_same_seed_hits_the_same_requests(rest: httpx.AsyncClient, server: Server) -> None:
    """Skip, times and probability apply, and a plan repeats exactly with the same seed."""
    first, again, other = [await hits(server, rest, seed) for seed in (1, 1, 2)]
    assert first == again != other
    assert first[:2] == [404, 404]
    assert first.count(503) == 5
    view = (await server.admin.faults()).rules[0]
    assert (view.seen, view.fired, view.remaining) == (20, 5, 0)


async def test_fault_is_journaled_with_its_request(rest: httpx.AsyncClient, server: Server) -> None:
    """Each hit is in the journal, with the rule and the request it hit."""
    rule_id = await server.admin.add_fault("list", {"kind": "status", "status": 500})
    await rest.get("/sandbox")
    fault, request = [(await server.admin.journal(kind=kind))[-1] for kind in ("fault", "request")]
    assert fault.detail["rule"] == rule_id
    assert fault.detail["request_id"] == request.detail["request_id"]


@pytest.mark.parametrize(
    "rule",
    [
        {"effect": {"kind": "explode"}},
        {"effect": {"kind": "status"}},
        {"effect": {"kind": "drop", "seconds": 1}},
        {"match": {"operation": "dance"}, "effect": {"kind": "drop"}},
        {"match": {"operation": "list"}, "effect": {"kind": "stuck"}},
    ],
)
async def test_bad_rule_is_refused(server: Server, rule: dict[str, object]) -> None:
    """A rule that could never work is refused when it is added, and the plan does not change."""
    async with httpx.AsyncClient(base_url=server.base_url, trust_env=False, verify=NO_TLS) as client:
        reply = await client.post("/_local/faults", json=rule)
    assert reply.status_code == 422
    assert (await server.admin.faults()).rules == []


async def test_recreated_name_answers_404_for_a_while(rest: httpx.AsyncClient, server: Server) -> None:
    """After a read, a delete and another create, the name answers 404 to reads and writes while the ID works."""
    await server.admin.config(name_cache_s=30)
    await rest.post("/sandbox", json={"name": "again"})
    assert (await rest.get("/sandbox/again")).status_code == 200
    await rest.delete("/sandbox/again")
    new = (await rest.post("/sandbox", json={"name": "again"})).json()
    assert (await rest.get("/sandbox/again")).status_code == 404
    assert (await rest.post("/sandbox/again/stop")).status_code == 404
    assert (await rest.post("/sandbox", json={"name": "again"})).status_code == 409
    assert (await rest.get(f"/sandbox/{new['id']}")).status_code == 200

    async def seen() -> bool:
        return (await rest.get("/sandbox/again")).status_code == 200

    await eventually(seen)


async def test_rate_limits_count_by_bucket(rest: httpx.AsyncClient, server: Server) -> None:
    """An exhausted bucket answers 429 with only its own Retry-After, and the others still accept calls."""
    await server.admin.config(rate_limits={"sandbox_create": 1, "authenticated": 50})
    first, second = [await rest.post("/sandbox", json={"name": "x"}) for _ in range(2)]
    assert first.headers["x-ratelimit-remaining-sandbox-create"] == "0"
    assert (second.status_code, second.json()["message"]) == (429, "ThrottlerException: Too Many Requests")
    assert int(second.headers["retry-after-sandbox-create"]) >= 1
    assert not {"retry-after", "x-ratelimit-limit-sandbox-create"} & set(second.headers)
    assert (await rest.get("/sandbox/x")).headers["x-ratelimit-remaining-authenticated"] == "49"


async def test_many_wrong_keys_shut_everybody_out(rest: httpx.AsyncClient, server: Server) -> None:
    """After too many wrong keys, valid ones are refused as well, with a plain Retry-After."""
    await server.admin.config(rate_limits={"failed_auth": 2})
    wrong = {"Authorization": "Bearer no"}
    replies = [await rest.get("/sandbox", headers=wrong) for _ in range(3)]
    assert [reply.status_code for reply in replies] == [401, 401, 429]
    shut_out = await rest.get("/sandbox")
    assert (shut_out.status_code, "retry-after" in shut_out.headers) == (429, True)
