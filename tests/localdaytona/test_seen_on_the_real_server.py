"""What the real server v0.190.0 was seen to do when issuebox ran in front of it, each fact with its test."""

import asyncio
import time

import httpx
import pytest

from localdaytona.testing import Server
from tests.localdaytona.clients import reaches


async def test_outage_answers_as_daytona_does_without_its_database(rest: httpx.AsyncClient, server: Server) -> None:
    """404 to what was not read lately and 500 to the rest, then 503 to all, then normal answers."""
    await server.admin.config(read_cache_s=0)
    made = (await rest.post("/sandbox", json={"name": "there"})).json()
    assert (await rest.get(f"/sandbox/{made['id']}")).status_code == 200
    await server.admin.config(outage=True, outage_404_s=3600)
    for target in ("there", made["id"]):
        for reply in (await rest.get(f"/sandbox/{target}"), await rest.delete(f"/sandbox/{target}")):
            assert (reply.status_code, reply.json()["message"]) == (404, f"Sandbox with ID or name {target} not found")
    for reply, text in (
        (await rest.post("/sandbox"), "Internal Server Error"),
        (await rest.get("/sandbox"), "An unexpected error occurred."),
    ):
        assert (reply.status_code, reply.json()["message"]) == (500, text)
    await server.admin.config(outage_404_s=0)
    reply = await rest.get("/sandbox/there")
    assert (reply.status_code, reply.json()["message"]) == (503, "Temporary authentication service error")
    await server.admin.config(outage=False)
    assert (await rest.get("/sandbox/there")).json()["state"] == "started"


async def test_outage_answers_for_an_id_read_lately_from_a_cache(rest: httpx.AsyncClient, server: Server) -> None:
    """In an outage an ID read in the last seconds answers 200 as it was then, and 500 to changes; its name, 404."""
    await server.admin.config(read_cache_s=3600)
    made = (await rest.post("/sandbox", json={"name": "there"})).json()
    assert (await rest.get(f"/sandbox/{made['id']}")).json()["state"] == "started"
    await server.admin.act("there", "stop")
    await reaches(server, made["id"], "stopped")
    await server.admin.config(outage=True, outage_404_s=3600)
    cached = await rest.get(f"/sandbox/{made['id']}")
    assert (cached.status_code, cached.json()["state"]) == (200, "started")
    for reply in (
        await rest.post(f"/sandbox/{made['id']}/start"),
        await rest.delete(f"/sandbox/{made['id']}"),
        await rest.put(f"/sandbox/{made['id']}/labels", json={"labels": {}}),
    ):
        assert (reply.status_code, reply.json()["message"]) == (500, "Internal Server Error")
    assert (await rest.get("/sandbox/there")).status_code == 404
    past = [e for e in await server.admin.journal(kind="reply", sandbox_id=made["id"]) if e.detail["as_of"]]
    assert [entry.operation for entry in past] == ["get"]


async def test_client_that_gave_up_is_obeyed_later(rest: httpx.AsyncClient, server: Server) -> None:
    """A stop hangs, its client leaves, and the server executes it afterwards."""
    made = (await rest.post("/sandbox", json={"name": "late"})).json()
    await server.admin.add_fault("stop", {"kind": "late", "seconds": 0.3})
    with pytest.raises(httpx.ReadTimeout):
        await rest.post(f"/sandbox/{made['id']}/stop", timeout=0.2)
    assert (await rest.get(f"/sandbox/{made['id']}")).json()["state"] == "started"
    await reaches(server, made["id"], "stopped")
    (reply,) = await server.admin.journal(kind="reply", operation="stop")
    assert (reply.detail["status"], reply.detail["committed"], reply.detail["delivered"]) == (None, True, False)


async def test_name_that_nobody_looked_up_lately_is_found_at_once(rest: httpx.AsyncClient, server: Server) -> None:
    """Misses of a name are cached by default, but only for a name that was looked up just before its create."""
    assert (await server.admin.config())["name_cache_s"] == 10
    await server.admin.config(name_cache_s=1, speed=10)
    await rest.post("/sandbox", json={"name": "again"})
    assert (await rest.get("/sandbox/again")).status_code == 200
    await rest.delete("/sandbox/again")
    await asyncio.sleep(0.2)
    await rest.post("/sandbox", json={"name": "again"})
    assert (await rest.get("/sandbox/again")).status_code == 200


async def test_key_without_a_permission_reads_and_changes_nothing(rest: httpx.AsyncClient, server: Server) -> None:
    """`api-keys/current` lists what the key may do; every other change answers 403."""
    made = (await rest.post("/sandbox", json={"name": "there"})).json()
    own = (await rest.get("/api-keys/current")).json()
    assert own["permissions"] == ["write:sandboxes", "delete:sandboxes"]
    await server.admin.config(permissions=["delete:sandboxes"])
    assert (await rest.get("/api-keys/current")).json()["permissions"] == ["delete:sandboxes"]
    one = f"/sandbox/{made['id']}"
    for reply in (
        await rest.post("/sandbox", json={"name": "new"}),
        await rest.post(f"{one}/stop"),
        await rest.put(f"{one}/labels", json={"labels": {}}),
    ):
        assert (reply.status_code, reply.json()["message"]) == (403, "Access denied")
    assert (await rest.get(one)).status_code == (await rest.get("/sandbox")).status_code == 200
    assert (await rest.post(f"{one}/last-activity")).status_code == 201
    assert (await rest.delete(one)).status_code == 200


async def test_destroy_that_fails_is_shown_only_by_one_list(rest: httpx.AsyncClient, server: Server) -> None:
    """The name is free and the ID answers 404; the container may live on, and one list parameter shows it."""
    made = (await rest.post("/sandbox", json={"name": "left", "labels": {"mine": "1"}})).json()
    await server.admin.add_fault("delete", {"kind": "fail_transition", "reason": "device busy"})
    await rest.delete(f"/sandbox/{made['id']}")
    await reaches(server, made["id"], "error")
    assert (await rest.get(f"/sandbox/{made['id']}")).status_code == 404
    assert (await rest.get("/sandbox")).json()["items"] == []
    (left,) = (await rest.get("/sandbox?includeErroredDeleted=true&states=error")).json()["items"]
    assert (left["id"], left["state"], left["desiredState"]) == (made["id"], "error", "destroyed")
    assert (left["errorReason"], left["labels"]["mine"]) == ("device busy", "1")
    assert (await rest.post("/sandbox", json={"name": "left"})).status_code == 200


TIMEOUTS = [
    # operation, its limit, the reason, whether the sandbox is visible in the end
    ("create", "create_s", "Timeout while creating sandbox", True),
    ("start", "start_s", "Timeout while starting sandbox", True),
    ("stop", "stop_s", "Job timed out - no update received for 10 minutes", True),
    ("delete", "destroy_s", "Job timed out - no update received for 10 minutes", False),
]


@pytest.mark.parametrize(("operation", "limit", "reason", "is_visible"), TIMEOUTS, ids=[row[0] for row in TIMEOUTS])
async def test_transition_that_never_ends_times_out(
    rest: httpx.AsyncClient, server: Server, operation: str, limit: str, reason: str, *, is_visible: bool
) -> None:
    """A runner that never answers: after the server's own limit the sandbox is in error, with the server's words."""
    await server.admin.config(speed=100, timeouts={limit: 30.0}, hold_s=1.0)
    sandbox_id = "" if operation == "create" else (await rest.post("/sandbox", json={"name": "slow"})).json()["id"]
    if operation == "start":
        await rest.post(f"/sandbox/{sandbox_id}/stop")
        await reaches(server, sandbox_id, "stopped")
    await server.admin.add_fault(operation, {"kind": "stuck"})
    call = {"create": ("POST", "/sandbox"), "delete": ("DELETE", f"/sandbox/{sandbox_id}")}
    method, path = call.get(operation, ("POST", f"/sandbox/{sandbox_id}/{operation}"))
    sent = await rest.request(method, path, json={"name": "slow"} if operation == "create" else None)
    assert sent.status_code == 200
    sandbox_id = sandbox_id or sent.json()["id"]
    await reaches(server, sandbox_id, "error")
    assert (await server.admin.sandbox(sandbox_id)).error_reason == reason
    assert ((await rest.get(f"/sandbox/{sandbox_id}")).status_code == 200) is is_visible


async def test_archive_waits_for_its_backup_in_a_queue(rest: httpx.AsyncClient, server: Server) -> None:
    """Every stop queues a backup and the runner makes one at a time; those that are being archived come first."""
    await server.admin.config(speed=1, backup_every_s=0.5, durations={"stop_s": 0.02, "archive_s": 0.02})
    await server.admin.config(durations={"create_s": 0.02, "start_s": 0.02})
    ids = [(await rest.post("/sandbox", json={"name": f"n{number}"})).json()["id"] for number in range(6)]
    for sandbox_id in ids:
        await rest.post(f"/sandbox/{sandbox_id}/stop")
        await reaches(server, sandbox_id, "stopped")
    began = time.monotonic()
    for sandbox_id in ids[-3:]:
        await rest.post(f"/sandbox/{sandbox_id}/archive")
    for sandbox_id in ids[-3:]:
        await reaches(server, sandbox_id, "archived")
    assert 0.9 < time.monotonic() - began < 4
    body = (await rest.get(f"/sandbox/{ids[-1]}")).json()
    assert body["backupState"] == "Completed"
    assert body["backupCreatedAt"]


async def test_start_during_archiving_does_not_wait_for_the_backup(rest: httpx.AsyncClient, server: Server) -> None:
    """Daytona admits a start of a sandbox that is being archived, and calls the archive off."""
    await server.admin.config(backup_every_s=86_400)
    made = (await rest.post("/sandbox", json={"name": "there"})).json()
    await rest.post(f"/sandbox/{made['id']}/stop")
    await reaches(server, made["id"], "stopped")
    assert (await rest.post(f"/sandbox/{made['id']}/archive")).json()["state"] == "archiving"
    started = await rest.post(f"/sandbox/{made['id']}/start")
    assert (started.status_code, started.json()["state"]) == (200, "started")
