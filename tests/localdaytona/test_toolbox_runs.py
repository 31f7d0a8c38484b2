"""What runs need of the stand-in: detached processes, sessions that take input, logs that mislead, and no trace of
variables."""

import asyncio
from pathlib import Path

import pytest
from daytona import AsyncDaytona, AsyncSandbox, DaytonaError, DaytonaNotFoundError, SessionExecuteRequest

from localdaytona.testing import Server, running
from tests.localdaytona.clients import create, eventually, sdk_of
from tests.localdaytona.test_toolbox import alive, child_of, dead

TWICE_DETACHED = "setsid sh -c 'setsid sh -c \"echo \\$\\$ > pid; exec sleep 1000\" &' >/dev/null 2>&1 </dev/null &"
SECRET = "planted-value-of-a-variable"


@pytest.fixture
async def sandbox(sdk: AsyncDaytona) -> AsyncSandbox:
    """A started sandbox."""
    return await create(sdk, "runs")


async def content(sandbox: AsyncSandbox, name: str) -> str:
    """Return a file's content once it has one."""

    async def written() -> bool:
        return (await sandbox.process.exec(f"test -s {name}")).exit_code == 0

    await eventually(written)
    return (await sandbox.fs.download_file(name)).decode()


async def detached(sandbox: AsyncSandbox) -> int:
    """Start a process that left its group twice, and return its process ID."""
    await sandbox.process.exec(TWICE_DETACHED)
    return int(await content(sandbox, "pid"))


async def test_detached_process_outlives_its_exec_and_a_daemon_restart(server: Server, sandbox: AsyncSandbox) -> None:
    """What left its group lives until the stop, also when the daemon forgot it in between."""
    pid = await detached(sandbox)
    await server.admin.act(sandbox.id, "daemon-restart")
    assert (await sandbox.process.exec("echo up")).result == "up\n"
    assert alive(pid)
    await server.admin.act(sandbox.id, "daemon-restart")
    await sandbox.stop()
    assert not alive(pid)


async def test_daemon_restart_ends_sessions_and_running_calls(server: Server, sandbox: AsyncSandbox) -> None:
    """Sessions and their commands are gone; a call in flight gets a 502 and no invented exit code."""
    await sandbox.process.create_session("s")
    asked = SessionExecuteRequest(command="echo $$ > shell; sleep 1000", run_async=True)
    await sandbox.process.execute_session_command("s", asked)
    shell = int(await content(sandbox, "shell"))
    holder = "echo $$ > caller; setsid sleep 1000 & echo $! > holder; wait"  # It holds the output of its exec.
    waiting = asyncio.create_task(sandbox.process.exec(holder))
    held = int(await content(sandbox, "holder"))
    await server.admin.act(sandbox.id, "daemon-restart")
    with pytest.raises(DaytonaError) as refusal:
        await asyncio.wait_for(waiting, 10)
    assert refusal.value.status_code == 502
    await dead(shell)
    await dead(int(await content(sandbox, "caller")))
    assert alive(held)
    with pytest.raises(DaytonaNotFoundError, match="session not found"):
        await sandbox.process.get_session("s")
    await sandbox.process.create_session("s")


async def test_detached_process_outlives_a_killed_server(tmp_path: Path) -> None:
    """A killed server is a restarted daemon for a started sandbox; the next stop ends its processes all the same."""
    async with running(tmp_path, speed=10) as server, sdk_of(server, polling=True) as sdk:
        sandbox = await create(sdk, "outlives")
        pid = await detached(sandbox)
        outlived = await child_of(sandbox, "sleep 1000")
        await sandbox.process.create_session("s")
        asked = SessionExecuteRequest(command="sleep 1000 & echo $! > of-session; wait", run_async=True)
        await sandbox.process.execute_session_command("s", asked)
        of_session = int(await content(sandbox, "of-session"))
        await server.restart()
        assert (await sandbox.process.exec("echo up")).result == "up\n"
        await dead(of_session)
        assert alive(pid)
        assert alive(outlived)
        await sandbox.stop()
        assert not alive(pid)
        assert not alive(outlived)


STUBBORN = "sh -c 'trap \"echo told >> said\" TERM; echo $$ > pid; while :; do sleep 0.05; done'"


@pytest.mark.parametrize("grace_s", [0, 1.5])
async def test_stop_waits_for_the_grace_and_shows_stopped_when_nothing_lives(
    server: Server, sandbox: AsyncSandbox, grace_s: float
) -> None:
    """SIGTERM, the grace of the knob, SIGKILL; the sandbox is not `stopped` while a process lives."""
    await server.admin.config(stop_grace_s=grace_s)
    await child_of(sandbox, f"setsid {STUBBORN}")
    pid = int(await content(sandbox, "pid"))
    loop = asyncio.get_running_loop()
    began = loop.time()
    await sandbox.stop()
    assert not alive(pid)
    assert grace_s <= loop.time() - began < grace_s + 6
    if grace_s:
        assert await server.admin.file(sandbox.id, "said") == b"told\n"


async def test_input_reaches_a_command_and_is_echoed_unless_suppressed(sandbox: AsyncSandbox) -> None:
    """A line break is added if there is none; the echo is part of the output."""
    await sandbox.process.create_session("s")
    for is_quiet, said in ((False, "a line\ngot a line\n"), (True, "got a line\n")):
        asked = SessionExecuteRequest(command="read x; echo got $x", run_async=True, suppress_input_echo=is_quiet)
        begun = await sandbox.process.execute_session_command("s", asked)
        await sandbox.process.send_session_command_input("s", begun.cmd_id, "a line")
        out: list[str] = []
        await sandbox.process.get_session_command_logs_async("s", begun.cmd_id, out.append, out.append)
        assert "".join(out) == said


async def test_input_that_nobody_can_read_is_refused(sandbox: AsyncSandbox) -> None:
    """An ended command is a 410, an unknown one a 404; a synchronous command reads nothing and ends."""
    await sandbox.process.create_session("s")
    ended = await sandbox.process.execute_session_command("s", SessionExecuteRequest(command="cat; echo end"))
    assert ended.stdout == "end\n"
    for command, status in ((ended.cmd_id, 410), ("none", 404)):
        with pytest.raises(DaytonaError) as refusal:
            await sandbox.process.send_session_command_input("s", command, "x")
        assert refusal.value.status_code == status


@pytest.mark.parametrize("waits", [False, True])
async def test_exit_code_waits_for_the_holders_of_the_output(
    server: Server, sandbox: AsyncSandbox, waits: bool
) -> None:
    """In newer daemons a background process that holds the output keeps the command from ending, and the next one
    from beginning."""
    await server.admin.config(exit_code_waits_for_output=waits)
    await sandbox.process.create_session("s")
    script = "setsid sh -c 'while ! test -e go; do sleep 0.02; done; echo late' & echo early; false"
    first = await sandbox.process.execute_session_command("s", SessionExecuteRequest(command=script, run_async=True))
    asked = SessionExecuteRequest(command="touch second", run_async=True)
    second = await sandbox.process.execute_session_command("s", asked)

    async def ended(command: str) -> bool:
        return (await sandbox.process.get_session_command("s", command)).exit_code is not None

    if waits:
        await asyncio.sleep(0.5)  # Nothing announces that a command does not end.
        assert not await ended(first.cmd_id)
        assert (await sandbox.process.exec("test -e second")).exit_code == 1
    else:
        await eventually(lambda: ended(second.cmd_id))
    await sandbox.process.exec("touch go")
    await eventually(lambda: ended(second.cmd_id))
    assert (await sandbox.process.get_session_command("s", first.cmd_id)).exit_code == 1
    logs = await sandbox.process.get_session_command_logs("s", first.cmd_id)
    assert not waits or logs.stdout == "early\nlate\n"


async def test_followed_log_misleads_as_the_real_one_does(server: Server, sandbox: AsyncSandbox) -> None:
    """It closes at once, or after a random beginning, as if the command had ended; the command goes on."""
    await sandbox.process.create_session("s")
    asked = SessionExecuteRequest(command="seq 1 2000; touch written; sleep 1000", run_async=True)
    begun = await sandbox.process.execute_session_command("s", asked)

    async def written() -> bool:
        return (await sandbox.process.exec("test -e written")).exit_code == 0

    await eventually(written)
    whole = "".join(f"{number}\n" for number in range(1, 2001))

    async def followed() -> str:
        out: list[str] = []
        await sandbox.process.get_session_command_logs_async("s", begun.cmd_id, out.append, out.append)
        return "".join(out)

    await server.admin.add_fault("toolbox", {"kind": "cut_log", "after": "nothing"}, path="*/logs")
    assert await followed() == ""
    await server.admin.add_fault("toolbox", {"kind": "cut_log", "after": "prefix"}, path="*/logs", times=3)
    heard = [await followed() for _ in range(3)]
    assert all(whole.startswith(text) for text in heard)
    assert len(set(heard)) == 3
    assert (await sandbox.process.get_session_command("s", begun.cmd_id)).exit_code is None


async def test_variables_of_a_request_are_in_no_journal_log_or_store(
    server: Server, sandbox: AsyncSandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever becomes of the request, its variables are only in the memory of what it started."""
    caplog.set_level("DEBUG")
    env = {"TOKEN": SECRET}
    await sandbox.process.exec("setsid sh -c 'sleep 1000' >/dev/null 2>&1 </dev/null & test -n \"$TOKEN\"", env=env)
    for kind in ("twice", "drop_after"):
        await server.admin.add_fault("toolbox", {"kind": kind})
    await sandbox.process.exec("true", env=env)
    for command, refused in (("true", env), ("sleep 1000", env), ("true", {"A-B": SECRET})):
        with pytest.raises(DaytonaError):
            await sandbox.process.exec(command, env=refused, timeout=1)
    assert {each.value for each in await server.admin.processes(sandbox.id, "TOKEN")} == {SECRET}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"localdaytona.sqlite3", "localdaytona.sqlite3-wal"} <= {path.name for path in files}
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    ours = [record.getMessage() for record in caplog.records if record.name.startswith(("localdaytona", "uvicorn"))]
    assert SECRET not in "\n".join(ours)
    assert SECRET not in repr(await server.admin.journal())
