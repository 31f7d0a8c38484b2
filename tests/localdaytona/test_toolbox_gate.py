"""The toolbox's gate: keys, states, activity, injected faults, and what the journal must not hold."""

import asyncio
import json

import httpx
import pytest
from daytona import AsyncDaytona, AsyncSandbox, DaytonaError, SessionExecuteRequest

from localdaytona.testing import NO_TLS, Server
from tests.localdaytona.clients import create, eventually, reaches

EXEC = {"command": "echo ran >> ran; echo hello"}


@pytest.fixture
async def sandbox(sdk: AsyncDaytona) -> AsyncSandbox:
    """A started sandbox."""
    return await create(sdk, "door")


def toolbox(server: Server, key: str | None = None) -> httpx.AsyncClient:
    """Return raw HTTP to the toolbox."""
    headers = {"Authorization": f"Bearer {key or server.api_key}"}
    url = f"{server.base_url}/toolbox"
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=20, trust_env=False, verify=NO_TLS)


async def execute(server: Server, sandbox_id: str, key: str | None = None) -> httpx.Response:
    """Run a command that writes a file."""
    async with toolbox(server, key) as client:
        return await client.post(f"/{sandbox_id}/process/execute", json=EXEC)


# A state as a person sets it -> the status and a part of the message.
REFUSED = {
    "stopping": (400, "no IP address found. Is the Sandbox started?"),
    "stopped": (400, "no IP address found. Is the Sandbox started?"),
    "paused": (400, "no IP address found. Is the Sandbox started?"),
    "archiving": (400, "failed to get runner info"),
    "archived": (400, "failed to get runner info"),
    "error": (404, "not found: sandbox container not found"),
    "build_failed": (404, "not found: sandbox container not found"),
    "destroying": (404, "not found: sandbox container not found"),
    "starting": (502, ""),
    "restoring": (502, ""),
    "a-word-of-next-year": (502, ""),
}


@pytest.mark.parametrize("state", REFUSED)
async def test_state_other_than_started_is_refused(server: Server, sandbox: AsyncSandbox, state: str) -> None:
    """Each state has its status and text; nothing runs."""
    await server.admin.act(sandbox.id, "set-state", state=state, desired_state=state)
    reply = await execute(server, sandbox.id)
    status, said = REFUSED[state]
    assert reply.status_code == status
    assert said in (json.loads(reply.text)["message"] if said else reply.text)
    assert (reply.text == "") == (status == 502)


async def test_deleted_sandbox_looks_like_a_wrong_key(server: Server, sandbox: AsyncSandbox) -> None:
    """The real proxy cannot tell a deleted sandbox from a bad key, and neither can a client here."""
    gone = "00000000-0000-4000-8000-000000000000"
    answers = [await execute(server, sandbox.id, "wrong"), await execute(server, gone)]
    await server.admin.act(sandbox.id, "delete")
    await reaches(server, sandbox.id, "destroyed")
    answers.append(await execute(server, sandbox.id))
    said = {(each.status_code, each.json()["message"]) for each in answers}
    assert said == {(401, "unauthorized: authentication failed: Bearer token is invalid")}


async def test_name_is_no_id(server: Server, sandbox: AsyncSandbox) -> None:
    """The toolbox knows IDs only."""
    assert (await execute(server, "door")).status_code == 401


async def test_request_counts_as_activity(server: Server, sandbox: AsyncSandbox) -> None:
    """Any request of the toolbox postpones auto-stop."""
    idle = await server.admin.act(sandbox.id, "idle", seconds=60)
    await sandbox.fs.list_files(".")
    touched = await server.admin.sandbox(sandbox.id)
    assert str(touched.last_activity_at) > str(idle.last_activity_at)


async def test_request_in_flight_counts_as_activity(server: Server, sandbox: AsyncSandbox) -> None:
    """A sandbox does not go idle while it answers, however long that takes."""
    await server.admin.config(speed=24)
    await sandbox.set_autostop_interval(1)  # 2.5 s at this speed: a machine may stall for as long
    done = await sandbox.process.exec("sleep 4; echo lived")
    assert (done.exit_code, done.result) == (0, "lived\n")
    await reaches(server, sandbox.id, "stopped")


async def test_follower_counts_as_activity_until_it_leaves(server: Server, sandbox: AsyncSandbox) -> None:
    """A follower of a log keeps the sandbox from going idle; a command that nobody follows does not."""
    await sandbox.process.create_session("s")
    asked = SessionExecuteRequest(command="echo begun; sleep 1000", run_async=True)
    begun = await sandbox.process.execute_session_command("s", asked)
    is_following = asyncio.Event()

    def heard(_output: str) -> None:
        is_following.set()

    logs = sandbox.process.get_session_command_logs_async("s", begun.cmd_id, heard, heard)
    follower = asyncio.create_task(logs)
    async with asyncio.timeout(20):
        await is_following.wait()
    await server.admin.config(speed=24)
    await sandbox.set_autostop_interval(1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(follower), 4)
    assert (await server.admin.sandbox(sandbox.id)).state == "started"
    follower.cancel()
    await reaches(server, sandbox.id, "stopped")


async def test_refused_follower_gets_a_404_and_nothing_is_logged(
    sandbox: AsyncSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """A web socket for an unknown command is a 404, and not an error of the server."""
    with pytest.raises(Exception, match="404"):
        await sandbox.process.get_session_command_logs_async("none", "none", str, str)
    assert [record.getMessage() for record in caplog.records] == []


async def test_journal_records_the_request_without_its_command(server: Server, sandbox: AsyncSandbox) -> None:
    """It has route, status and time; commands, variables and query strings may hold secrets and are not recorded."""
    await sandbox.process.exec("echo hidden-command", env={"TOKEN": "hidden-value"})
    await sandbox.fs.list_files("/home/daytona")
    found = await server.admin.journal(kind="toolbox")
    assert [(each.detail["method"], each.detail["path"], each.detail["status"]) for each in found] == [
        ("POST", "/process/execute", 200),
        ("GET", "/files", 200),
    ]
    assert "hidden" not in repr(await server.admin.journal())


@pytest.mark.parametrize(
    ("effect", "status", "ran"),
    [
        ({"kind": "status", "status": 503}, 503, False),
        ({"kind": "status_after", "status": 502}, 502, True),
        ({"kind": "not_found"}, 404, False),
        ({"kind": "conflict"}, 409, False),
        ({"kind": "drop"}, None, False),
        ({"kind": "drop_after"}, None, True),
        ({"kind": "delay", "seconds": 0.1}, 200, True),
        ({"kind": "malformed", "field": "result"}, 200, True),
    ],
)
async def test_fault_hits_the_toolbox(
    server: Server, sandbox: AsyncSandbox, effect: dict[str, object], status: int | None, ran: bool
) -> None:
    """An effect comes before or after the command, as its name says, and only once."""
    await server.admin.add_fault("toolbox", effect)
    if status is None:
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            await execute(server, sandbox.id)
    else:
        reply = await execute(server, sandbox.id)
        assert reply.status_code == status
        assert (effect["kind"] == "malformed") == (reply.text == '{"exitCode":0}')
    assert (await sandbox.process.exec("test -e ran")).exit_code == (0 if ran else 1)


@pytest.mark.parametrize("effect", [{"kind": "status", "status": 503}, {"kind": "drop"}])
async def test_fault_hits_a_followed_log(server: Server, sandbox: AsyncSandbox, effect: dict[str, object]) -> None:
    """A web socket can be refused or dropped, too, and works without the fault; the SDK retries a drop once."""
    await sandbox.process.create_session("s")
    done = await sandbox.process.execute_session_command("s", SessionExecuteRequest(command="echo hi"))
    await server.admin.add_fault("toolbox", effect, times=None)
    said: list[str] = []
    with pytest.raises(DaytonaError):
        await sandbox.process.get_session_command_logs_async("s", done.cmd_id, said.append, said.append)
    assert said == []
    await server.admin.set_faults()
    await sandbox.process.get_session_command_logs_async("s", done.cmd_id, said.append, said.append)
    assert said == ["hi\n"]


@pytest.mark.parametrize(
    ("request_line", "body", "answer"),
    [
        ("POST /process/execute", {"command": ["x"], "envs": {"K": 1}}, (400, "INVALID_REQUEST_BODY")),
        ("GET /process/session/none", None, (404, "NOT_FOUND")),
        ("POST /process/session", {"sessionId": "entrypoint"}, (400, "BAD_REQUEST")),
        ("GET /files/info?path=none", None, (404, "FILE_NOT_FOUND")),
        ("POST /files/bulk-upload", {}, (400, "BAD_REQUEST")),
        ("GET /lsp/completions", None, (404, "NOT_FOUND")),
    ],
)
async def test_refusal_has_the_daemons_envelope(
    server: Server, sandbox: AsyncSandbox, request_line: str, body: object, answer: tuple[int, str]
) -> None:
    """Every error has status, message, code, source, time, path and method."""
    method, path = request_line.split(" ")
    async with toolbox(server) as client:
        reply = await client.request(method, f"/{sandbox.id}{path}", json=body)
    said = reply.json()
    assert (reply.status_code, said["code"]) == answer
    assert (said["statusCode"], said["source"], said["method"]) == (answer[0], "DAYTONA_DAEMON", method)
    assert said["path"] == f"/toolbox/{sandbox.id}{path.partition('?')[0]}"
    assert set(said) == {"statusCode", "message", "code", "source", "timestamp", "path", "method"}


async def counted(sandbox: AsyncSandbox) -> str:
    """Return how often the command of `EXEC` ran."""
    return (await sandbox.process.exec("grep -c ran ran")).result


async def test_replayed_request_runs_twice_at_once_and_is_answered_once(server: Server, sandbox: AsyncSandbox) -> None:
    """Both executions are there at the same time: each waits for the other's file."""
    seen = "[ $(ls seen-* | wc -l) = 2 ] && echo met && exit"
    meet = f"touch seen-$$; for i in $(seq 250); do {seen}; sleep 0.02; done; rm seen-$$; echo alone"
    await server.admin.add_fault("toolbox", {"kind": "twice"})
    assert (await sandbox.process.exec(meet)).result == "met\n"
    assert (await execute(server, sandbox.id)).text == '{"exitCode":0,"result":"hello\\n"}'
    assert await counted(sandbox) == "1\n"


async def test_replay_comes_later_and_its_answer_counts(server: Server, sandbox: AsyncSandbox) -> None:
    """A session is created by the request, and the caller sees that its replay was refused."""
    await server.admin.add_fault("toolbox", {"kind": "twice", "seconds": 0.2})
    async with toolbox(server) as client:
        reply = await client.post(f"/{sandbox.id}/process/session", json={"sessionId": "s"})
    assert reply.status_code == 409
    assert [each.session_id for each in await sandbox.process.list_sessions()] == ["s"]


async def test_late_request_runs_after_its_caller_has_left(server: Server, sandbox: AsyncSandbox) -> None:
    """What a caller gave up runs in the end."""
    await server.admin.add_fault("toolbox", {"kind": "late", "seconds": 0.5})
    async with toolbox(server) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(f"/{sandbox.id}/process/execute", json=EXEC, timeout=0.3)
    assert await counted(sandbox) != "1\n"

    async def ran() -> bool:
        return await counted(sandbox) == "1\n"

    await eventually(ran)


@pytest.mark.parametrize(("kind", "is_written"), [("drop", False), ("drop_after", True), ("twice", True)])
async def test_fault_hits_uploads_only(server: Server, sandbox: AsyncSandbox, kind: str, is_written: bool) -> None:
    """A rule with a path leaves the other requests alone; the reply of an upload is lost before or after it is done."""
    await server.admin.add_fault("toolbox", {"kind": kind}, path="/files/bulk-upload")
    assert (await execute(server, sandbox.id)).status_code == 200
    large = b"0123456789" * 100_000
    if kind == "twice":
        await sandbox.fs.upload_file(large, "file")
    else:
        with pytest.raises(DaytonaError):
            await sandbox.fs.upload_file(large, "file")
    assert await server.admin.file(sandbox.id, "file") == (large if is_written else None)
    [hit] = await server.admin.journal(kind="fault")
    assert hit.detail["path"] == "/files/bulk-upload"
    await sandbox.fs.upload_file(b"again", "file")


@pytest.mark.parametrize(
    "rule",
    [
        {"match": {"operation": "create"}, "effect": {"kind": "twice"}},
        {"match": {"operation": "*"}, "effect": {"kind": "cut_log"}},
        {"match": {"operation": "get", "path": "/files"}, "effect": {"kind": "drop"}},
    ],
)
async def test_rule_for_the_toolbox_is_refused_elsewhere(server: Server, rule: dict[str, object]) -> None:
    """A path, a replay and a cut log are of the toolbox; a rule that could never fire is a mistake."""
    with pytest.raises(httpx.HTTPStatusError, match="toolbox"):
        await server.admin._ask("POST", "/faults", json=rule)
