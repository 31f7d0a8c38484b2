"""Create, read, delete and update over HTTP, with the details that the SDK hides."""

import asyncio
import re
from datetime import datetime
from urllib.parse import quote

import httpx
import pytest

from localdaytona.testing import Server
from tests.localdaytona.clients import eventually, reaches


async def make(rest: httpx.AsyncClient, **body: object) -> dict[str, object]:
    """Create a sandbox and return the reply's body."""
    reply = await rest.post("/sandbox", json=body)
    assert reply.status_code == 200, reply.text
    made: dict[str, object] = reply.json()
    return made


async def test_create_reply_is_the_body_as_built(rest: httpx.AsyncClient) -> None:
    """A held create answers `creating` though the sandbox is started, with nullable fields absent."""
    made = await make(rest, name="built", env={"A": "b"})
    seen = (await rest.get("/sandbox/built")).json()
    assert (made["state"], seen["state"]) == ("creating", "started")
    assert "errorReason" not in made
    assert seen["errorReason"] is None
    assert made["env"] == {"A": "b"}


async def test_create_defaults_are_daytonas(rest: httpx.AsyncClient) -> None:
    """No body at all makes a sandbox with all defaults, named by its ID."""
    reply = await rest.post("/sandbox")
    made = reply.json()
    assert made["name"] == made["id"]
    assert (made["autoStopInterval"], made["autoArchiveInterval"], made["autoDeleteInterval"]) == (15, 10080, -1)
    assert (made["user"], made["public"], made["kvm"], made["target"]) == ("daytona", False, False, "us")


async def test_image_create_returns_at_once_and_builds(server: Server, rest: httpx.AsyncClient) -> None:
    """A create from an image is not held: pending_build, building_snapshot, creating, started."""
    made = await make(rest, name="image", cpu=2, buildInfo={"dockerfileContent": "FROM x"})
    assert (made["state"], made["cpu"]) == ("pending_build", 2)
    await reaches(server, "image", "started")
    states = [entry.detail["new"] for entry in await server.admin.journal(name="image", kind="state")]
    assert states == ["building_snapshot", "creating", "started"]


REFUSED = {
    "markup": ({"name": "<b>x"}, 400, "name must not contain HTML tags, URLs, or control characters"),
    "url": ({"name": "see https://x.y"}, 400, "name must not contain HTML tags, URLs, or control characters"),
    "control": ({"name": "a\x01b"}, 400, "name must not contain HTML tags, URLs, or control characters"),
    "snapshot": (
        {"snapshot": "nope"},
        400,
        "Snapshot nope not found. Did you add it through the Daytona Dashboard?",
    ),
    "region": ({"target": "mars"}, 404, "Region not found"),
    "resources": ({"cpu": 2}, 400, "Cannot specify Sandbox resources when using a snapshot"),
    "negative": ({"autoStopInterval": -1}, 400, "Auto-stop interval must be non-negative"),
    "fraction": ({"autoStopInterval": 1.5}, 500, "An unexpected error occurred."),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_bad_create_is_refused_and_leaves_nothing(server: Server, rest: httpx.AsyncClient, case: str) -> None:
    """A create that the real server refuses is refused with the same text, and creates no row."""
    body, status, message = REFUSED[case]
    reply = await rest.post("/sandbox", json=body)
    assert (reply.status_code, reply.json()["message"]) == (status, message)
    assert await server.admin.sandboxes() == []


async def test_odd_names_are_accepted(rest: httpx.AsyncClient) -> None:
    """Names may have slashes, tabs, spaces, other alphabets and 300 characters."""
    for name in ("a/b c", "tab\there", "é中", "n" * 300):
        made = await make(rest, name=name)
        seen = await rest.get(f"/sandbox/{quote(name, safe='')}")
        assert seen.json()["id"] == made["id"]


async def test_malformed_json_is_refused_without_an_envelope(rest: httpx.AsyncClient) -> None:
    """Broken JSON gets the short body of the real server."""
    reply = await rest.post("/sandbox", content="{", headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()) == (
        400,
        {"message": "Invalid JSON in request body", "error": "Bad Request", "statusCode": 400},
    )


async def test_errors_come_in_the_envelope(rest: httpx.AsyncClient) -> None:
    """An error repeats path and query, and every reply names the API's version."""
    reply = await rest.get("/sandbox/none?verbose=true")
    body = reply.json()
    assert datetime.fromisoformat(body.pop("timestamp")).tzinfo is not None
    assert body == {
        "path": "/api/sandbox/none?verbose=true",
        "statusCode": 404,
        "error": "Not Found",
        "message": "Sandbox with ID or name none not found",
    }
    assert reply.headers["x-daytona-api-version"] == "v0.190.0"
    unknown = await rest.post("/sandbox/none/dance")
    assert (unknown.status_code, unknown.json()["message"]) == (404, "Cannot POST /api/sandbox/none/dance")


async def test_an_id_wins_over_a_name(rest: httpx.AsyncClient) -> None:
    """A sandbox named like another's ID does not hide it."""
    first = await make(rest, name="first")
    await make(rest, name=first["id"])
    assert (await rest.get(f"/sandbox/{first['id']}")).json()["name"] == "first"


async def test_deleted_name_is_free_while_the_old_one_dies(server: Server, rest: httpx.AsyncClient) -> None:
    """The moment a delete is accepted, its name answers 404 and can be taken, though the old one still runs."""
    await server.admin.config(name_cache_s=0)
    await server.admin.add_fault("delete", {"kind": "stuck"})
    old = await make(rest, name="name")
    deleted = (await rest.delete("/sandbox/name")).json()
    assert (deleted["state"], deleted["desiredState"]) == ("destroying", "destroyed")
    assert deleted["name"].startswith("DESTROYED_name_")
    assert (await rest.get("/sandbox/name")).status_code == 404
    new = await make(rest, name="name")
    assert (await rest.get(f"/sandbox/{old['id']}")).json()["state"] == "destroying"
    assert (await rest.delete(f"/sandbox/{old['id']}")).status_code == 409
    await server.admin.act(str(old["id"]), "release")
    await reaches(server, str(old["id"]), "destroyed")
    assert (await rest.get(f"/sandbox/{old['id']}")).status_code == 404
    assert (await rest.get("/sandbox/name")).json()["id"] == new["id"]


async def test_deleted_error_is_hidden_at_once(server: Server, rest: httpx.AsyncClient) -> None:
    """The delete of an errored sandbox answers `error`, and from then on lookups answer 404."""
    made = await make(rest, name="bad")
    await server.admin.act("bad", "break")
    deleted = (await rest.delete(f"/sandbox/{made['id']}")).json()
    assert (deleted["state"], deleted["desiredState"]) == ("error", "destroyed")
    assert (await rest.get(f"/sandbox/{made['id']}")).status_code == 404
    assert (await rest.get("/sandbox")).json()["items"] == []
    shown = (await rest.get("/sandbox", params={"includeErroredDeleted": "true"})).json()["items"]
    assert [item["id"] for item in shown] == [made["id"]]
    assert (await server.admin.journal(kind="destroyed"))[0].detail["row_kept"] is True


async def test_start_of_an_archived_sandbox_returns_at_once(server: Server, rest: httpx.AsyncClient) -> None:
    """It shows archived with desired started, in the list as restoring, and refuses everything until started."""
    made = await make(rest, name="cold")
    await server.admin.act("cold", "set-state", state="archived", desired_state="archived")
    await server.admin.config(runner_available=False)
    started = (await rest.post("/sandbox/cold/start")).json()
    assert (started["state"], started["desiredState"]) == ("archived", "started")
    listed = (await rest.get("/sandbox")).json()["items"]
    assert [item["state"] for item in listed] == ["restoring"]
    assert (await rest.delete(f"/sandbox/{made['id']}")).status_code == 409
    await server.admin.config(runner_available=True)
    await reaches(server, "cold", "started")


async def test_hold_ends_with_the_current_state(server: Server, rest: httpx.AsyncClient) -> None:
    """A start that takes longer than the hold answers 200 with the sandbox's state by then."""
    made = await make(rest, name="slow")
    await rest.post(f"/sandbox/{made['id']}/stop")
    await reaches(server, "slow", "stopped")
    await server.admin.config(hold_s=1, durations={"start_s": 20})
    started = (await rest.post("/sandbox/slow/start")).json()
    assert started["state"] == "starting"


async def test_intervals_and_activity_answer_created(rest: httpx.AsyncClient) -> None:
    """Interval calls answer 201 with the sandbox, and activity an empty 201; a word instead of a number is a 500."""
    await make(rest, name="timed")
    for path, field in (("autostop", "autoStopInterval"), ("autoarchive", "autoArchiveInterval")):
        reply = await rest.post(f"/sandbox/timed/{path}/3")
        assert (reply.status_code, reply.json()[field]) == (201, 3)
        assert (await rest.post(f"/sandbox/timed/{path}/-3")).status_code == 400
    assert (await rest.post("/sandbox/timed/autodelete/-5")).json()["autoDeleteInterval"] == -5
    activity = await rest.post("/sandbox/timed/last-activity")
    assert (activity.status_code, activity.content) == (201, b"")
    assert (await rest.post("/sandbox/timed/autostop/abc")).status_code == 500


async def test_suspended_organisation_may_stop_but_not_create(server: Server, rest: httpx.AsyncClient) -> None:
    """Suspension is a 403 on create and start, checked before the name; everything else works."""
    await make(rest, name="kept")
    await server.admin.config(suspended="unpaid")
    refused = await rest.post("/sandbox", json={"name": "kept"})
    assert (refused.status_code, refused.json()["message"]) == (403, "Organization is suspended: unpaid")
    assert (await rest.post("/sandbox/kept/start")).status_code == 200
    assert (await rest.post("/sandbox/kept/stop")).status_code == 200
    await reaches(server, "kept", "stopped")
    assert (await rest.post("/sandbox/kept/start")).status_code == 403


async def test_racing_creates_refuse_each_other_quota(server: Server, rest: httpx.AsyncClient) -> None:
    """Ten creates of one name with three CPUs left: one 200, two 409, seven 400, one row."""
    await server.admin.config(cpu_max=3, insert_delay_s=1)
    replies = await asyncio.gather(*(rest.post("/sandbox", json={"name": "q"}) for _ in range(10)))
    assert sorted(reply.status_code for reply in replies) == [200] + [400] * 7 + [409] * 2
    refused = next(reply.json()["message"] for reply in replies if reply.status_code == 400)
    assert refused.startswith("Total CPU limit exceeded. Maximum allowed: 3.\nTo increase")
    assert len(await server.admin.sandboxes()) == 1


async def test_client_that_leaves_does_not_stop_a_create(server: Server, rest: httpx.AsyncClient) -> None:
    """A create whose caller hangs up continues, and the journal records that its reply reached nobody."""
    await server.admin.config(speed=1, durations={"create_s": 3})
    with pytest.raises(httpx.ReadTimeout):
        await rest.post("/sandbox", json={"name": "left"}, timeout=httpx.Timeout(20, read=0.05))
    await reaches(server, "left", "started")

    async def replied() -> bool:
        return bool(await server.admin.journal(kind="reply", operation="create"))

    await eventually(replied)
    reply = (await server.admin.journal(kind="reply", operation="create"))[0].detail
    assert (reply["committed"], reply["delivered"]) == (True, False)


async def test_toolbox_url_is_found_by_id_only(server: Server, rest: httpx.AsyncClient) -> None:
    """The toolbox's URL route takes no name."""
    made = await make(rest, name="tool")
    assert (await rest.get(f"/sandbox/{made['id']}/toolbox-proxy-url")).json() == {"url": f"{server.base_url}/toolbox"}
    refused = await rest.get("/sandbox/tool/toolbox-proxy-url")
    assert (refused.status_code, refused.json()["message"]) == (404, "Sandbox with ID tool not found")


async def test_without_a_runner_creates_are_refused_and_stops_wait(server: Server, rest: httpx.AsyncClient) -> None:
    """With no runner a stop is accepted and nothing happens until the runner is back."""
    await make(rest, name="waiting")
    await server.admin.config(runner_available=False)
    refused = await rest.post("/sandbox")
    assert (refused.status_code, refused.json()["message"]) == (400, "No available runners")
    assert (await rest.post("/sandbox/waiting/stop")).json()["state"] == "stopping"
    await asyncio.sleep(0.2)
    assert (await server.admin.sandbox("waiting")).state == "started"
    await server.admin.config(runner_available=True)
    await reaches(server, "waiting", "stopped")


async def test_maintenance_refuses_every_call(server: Server, rest: httpx.AsyncClient) -> None:
    """Under maintenance each call answers 503."""
    await server.admin.config(maintenance=True)
    reply = await rest.get("/sandbox")
    assert (reply.status_code, reply.json()["message"]) == (
        503,
        "Service is currently under maintenance. Please try again later.",
    )


async def test_reads_are_stale_when_configured(server: Server, rest: httpx.AsyncClient) -> None:
    """With a probability of 1, a read shows the state of the configured time ago."""
    made = await make(rest, name="old")
    await server.admin.config(stale_read_s=3600, stale_read_probability=1)
    assert (await rest.get(f"/sandbox/{made['id']}")).status_code == 404
    await server.admin.config(stale_read_probability=0)
    assert (await rest.get(f"/sandbox/{made['id']}")).status_code == 200


async def test_ssh_access_leads_to_one_sandbox_until_it_is_revoked(rest: httpx.AsyncClient, server: Server) -> None:
    """A new access ends the one before. The journal has no token, and without a gateway there is no command."""
    made = (await rest.post("/sandbox", json={"name": "there"})).json()
    path = f"/sandbox/{made['id']}/ssh-access"
    without = await rest.post(path)
    assert (without.status_code, without.json()["message"]) == (500, "An unexpected error occurred.")
    await server.admin.config(ssh_gateway="ssh.example.org:2222")
    first, second = [(await rest.post(path, params={"expiresInMinutes": 5})).json() for _ in range(2)]
    assert second["sshCommand"] == f"ssh -p 2222 {second['token']}@ssh.example.org"
    assert re.fullmatch(r"[0-9A-Za-z]{32}", second["token"])

    async def leads_to(token: str) -> object:
        return (await rest.get("/sandbox/ssh-access/validate", params={"token": token})).json()["sandboxId"]

    assert [await leads_to(access["token"]) for access in (first, second)] == [None, made["id"]]
    assert (await rest.delete(path, params={"token": first["token"]})).json()["id"] == made["id"]
    assert await leads_to(second["token"]) == made["id"]
    assert (await rest.delete(path, params={"token": second["token"]})).status_code == 200
    assert await leads_to(second["token"]) is None
    await server.admin.config(ssh_gateway="ssh.example.org", permissions=["delete:sandboxes"])
    assert (await rest.post(path)).status_code == 403
    journal = str([entry.detail for entry in await server.admin.journal(kind="request")])
    assert second["token"] not in journal
    assert "/ssh-access?token=***" in journal
