"""Commands and sessions by the real SDK: what runs, its environment, and what ends it."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from daytona import (
    AsyncDaytona,
    AsyncSandbox,
    DaytonaConflictError,
    DaytonaError,
    DaytonaNotFoundError,
    DaytonaTimeoutError,
    SessionExecuteRequest,
)

from localdaytona.testing import Server, running
from tests.localdaytona.clients import create, eventually, reaches, sdk_of


@pytest.fixture
async def sandbox(sdk: AsyncDaytona) -> AsyncIterator[AsyncSandbox]:
    """A started sandbox with its own environment variable."""
    return await create(sdk, "tool", env_vars={"COLOUR": "red"})


def alive(pid: int) -> bool:
    """Return whether a process runs: a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # Gone before, or between opening and reading.
        return False


async def dead(pid: int) -> None:
    """Return once a process has ended."""

    async def read() -> bool:
        return not alive(pid)

    await eventually(read)


async def child_of(sandbox: AsyncSandbox, command: str) -> int:
    """Start something in the background and return its process ID."""
    return int((await sandbox.process.exec(f"{command} >/dev/null 2>&1 & echo $!")).result)


async def test_exec_returns_code_and_combined_output(sandbox: AsyncSandbox) -> None:
    """The exit code is the command's, and standard error is in its place in the output."""
    done = await sandbox.process.exec("echo one; echo two >&2; echo three; exit 7")
    assert (done.exit_code, done.result) == (7, "one\ntwo\nthree\n")


async def test_exec_sees_env_cwd_and_nothing_of_the_server(
    sandbox: AsyncSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request's variables override the sandbox's; the server's own do not reach a command."""
    monkeypatch.setenv("DAYTONA_API_KEY", "of-the-server")
    await sandbox.process.exec("mkdir work")
    said = await sandbox.process.exec(
        'echo "$COLOUR $SIZE $DAYTONA_API_KEY|"; pwd', cwd="/home/daytona/work", env={"SIZE": "big"}
    )
    assert said.result == f"red big |\n{await sandbox.get_work_dir()}/work\n"
    assert (await sandbox.process.exec("echo $COLOUR", env={"COLOUR": "blue"})).result == "blue\n"


async def test_exec_over_its_time_is_killed_with_its_children(sandbox: AsyncSandbox) -> None:
    """A timeout is a 408, and no process of the command's group survives it."""
    began = time.monotonic()
    with pytest.raises(DaytonaTimeoutError, match="command execution timeout"):
        await sandbox.process.exec("sleep 1000 & echo $! > child; wait", timeout=1)
    assert 0.9 < time.monotonic() - began < 5
    await dead(int(await sandbox.fs.download_file("child")))


@pytest.mark.parametrize(("command", "cwd", "env"), [(" ", None, None), ("true", None, {"A-B": "x"})])
async def test_impossible_exec_is_a_bad_request(
    sandbox: AsyncSandbox, command: str, cwd: str | None, env: dict[str, str] | None
) -> None:
    """An empty command and a variable that no shell can have are refused."""
    with pytest.raises(DaytonaError, match="bad request") as refusal:
        await sandbox.process.exec(command, cwd=cwd, env=env)
    assert refusal.value.status_code == 400


async def test_exec_that_cannot_start_ends_with_minus_one(sandbox: AsyncSandbox) -> None:
    """A missing directory is not an error of the request: the exit code is -1."""
    assert (await sandbox.process.exec("true", cwd="/no/such/place")).exit_code == -1


async def test_background_child_outlives_its_exec_until_the_stop(server: Server, sandbox: AsyncSandbox) -> None:
    """Children survive their command, and a stop really ends them, also one in its own session."""
    plain = await child_of(sandbox, "sleep 1000")
    escaped = await child_of(sandbox, "setsid sleep 1000")
    stubborn = await child_of(sandbox, "bash -c 'trap \"\" TERM; while true; do sleep 0.1; done'")
    assert alive(plain)
    await sandbox.stop()
    for pid in (plain, escaped, stubborn):
        await dead(pid)
    await reaches(server, sandbox.id, "stopped")


async def test_stop_answers_a_running_exec_with_502(server: Server, sandbox: AsyncSandbox) -> None:
    """A caller that waits for a command in a stopping sandbox does not get an invented exit code."""
    waiting = asyncio.create_task(sandbox.process.exec("touch begun; sleep 1000"))

    async def begun() -> bool:
        return (await sandbox.process.exec("test -e begun")).exit_code == 0

    await eventually(begun)
    await server.admin.act(sandbox.id, "stop")
    with pytest.raises(DaytonaError) as refusal:
        await waiting
    assert refusal.value.status_code == 502


async def test_files_outlive_a_stop_and_end_with_the_sandbox(
    server: Server, sandbox: AsyncSandbox, tmp_path: Path
) -> None:
    """Stopping and archiving keep the files; deleting removes the directory."""
    await sandbox.process.exec("echo kept > file")
    await sandbox.stop()
    await sandbox.archive()
    await reaches(server, sandbox.id, "archived")
    await sandbox.start()
    assert (await sandbox.process.exec("cat file")).result == "kept\n"
    directory = tmp_path / "sandboxes" / sandbox.id
    assert directory.is_dir()
    await sandbox.delete()

    async def removed() -> bool:
        return not directory.exists()

    await eventually(removed)


async def test_session_keeps_directory_and_variables(sandbox: AsyncSandbox) -> None:
    """Each session has one shell: a command sees the changes of the one before."""
    run = sandbox.process.execute_session_command
    await sandbox.process.create_session("s")
    first = await run("s", SessionExecuteRequest(command="mkdir d; cd d; export X=1; echo out; echo err >&2; false"))
    assert (first.exit_code, first.stdout, first.stderr) == (1, "out\n", "err\n")
    second = await run("s", SessionExecuteRequest(command="basename $PWD; echo $X $COLOUR"))
    assert (second.exit_code, second.output) == (0, "d\n1 red\n")
    session = await sandbox.process.get_session("s")
    assert [(each.id, each.exit_code) for each in session.commands] == [(first.cmd_id, 1), (second.cmd_id, 0)]


async def test_broken_command_does_not_break_the_session(sandbox: AsyncSandbox) -> None:
    """A syntax error only fails its command, and the session continues."""
    run = sandbox.process.execute_session_command
    await sandbox.process.create_session("s")
    broken = await run("s", SessionExecuteRequest(command="if then '"))
    assert broken.exit_code != 0
    assert broken.stderr
    assert (await run("s", SessionExecuteRequest(command="echo fine"))).stdout == "fine\n"


async def test_ended_session_refuses_commands(sandbox: AsyncSandbox) -> None:
    """`exit` ends the session: its command has that exit code, and later ones are refused."""
    run = sandbox.process.execute_session_command
    await sandbox.process.create_session("s")
    assert (await run("s", SessionExecuteRequest(command="exit 5"))).exit_code == 5
    with pytest.raises(DaytonaError, match="has ended"):
        await run("s", SessionExecuteRequest(command="echo never"))


async def test_asynchronous_command_is_followed_to_its_end(sandbox: AsyncSandbox) -> None:
    """The reply comes at once without a code; following yields both streams, and ends with the command."""
    await sandbox.process.create_session("s")
    script = "echo begun; while ! test -e go; do sleep 0.05; done; echo oh >&2; echo done"
    begun = await sandbox.process.execute_session_command("s", SessionExecuteRequest(command=script, run_async=True))
    command = await sandbox.process.get_session_command("s", begun.cmd_id)
    assert (command.command, command.exit_code) == (script, None)
    out: list[str] = []
    err: list[str] = []

    async def on_out(text: str) -> None:
        out.append(text)
        if "begun" in text:
            await sandbox.process.exec("touch go")

    await sandbox.process.get_session_command_logs_async("s", begun.cmd_id, on_out, err.append)
    assert ("".join(out), "".join(err)) == ("begun\ndone\n", "oh\n")
    assert (await sandbox.process.get_session_command("s", begun.cmd_id)).exit_code == 0
    logs = await sandbox.process.get_session_command_logs("s", begun.cmd_id)
    assert (logs.output, logs.stdout, logs.stderr) == ("begun\noh\ndone\n", "begun\ndone\n", "oh\n")


async def test_stop_ends_a_followed_log_with_an_error(server: Server, sandbox: AsyncSandbox) -> None:
    """A stop of the sandbox does not look like the command's end to a follower of the log."""
    await sandbox.process.create_session("s")
    asked = SessionExecuteRequest(command="echo begun; sleep 1000", run_async=True)
    begun = await sandbox.process.execute_session_command("s", asked)

    async def on_out(_: str) -> None:
        await server.admin.act(sandbox.id, "stop")

    with pytest.raises(DaytonaError, match="1011"):
        await sandbox.process.get_session_command_logs_async("s", begun.cmd_id, on_out, str)


async def test_stop_gives_processes_a_chance_to_clean_up(sandbox: AsyncSandbox) -> None:
    """SIGTERM comes first, and once: a handler runs, and its output is on disk."""
    await child_of(sandbox, "bash -c 'trap \"echo bye >> said; exit\" TERM; touch ready; while :; do sleep 0.01; done'")

    async def ready() -> bool:
        return (await sandbox.process.exec("test -e ready")).exit_code == 0

    await eventually(ready)
    await sandbox.stop()
    await sandbox.start()
    assert (await sandbox.process.exec("cat said")).result == "bye\n"


async def test_large_output_of_a_session_is_complete(sandbox: AsyncSandbox) -> None:
    """Nothing is lost or reordered when the output is larger than a pipe."""
    await sandbox.process.create_session("s")
    done = await sandbox.process.execute_session_command("s", SessionExecuteRequest(command="seq 1 200000"))
    assert done.stdout == "".join(f"{number}\n" for number in range(1, 200001))


async def test_session_is_made_once_and_deleted_with_its_processes(sandbox: AsyncSandbox) -> None:
    """A second session of the name is a 409; a deleted session is a 404, and its commands are killed."""
    await sandbox.process.create_session("s")
    with pytest.raises(DaytonaConflictError, match="session already exists"):
        await sandbox.process.create_session("s")
    script = "echo $$ > shell; sleep 1000"
    await sandbox.process.execute_session_command("s", SessionExecuteRequest(command=script, run_async=True))

    async def written() -> bool:
        return (await sandbox.process.exec("test -s shell")).exit_code == 0

    await eventually(written)
    shell = int(await sandbox.fs.download_file("shell"))
    assert [each.session_id for each in await sandbox.process.list_sessions()] == ["s"]
    await sandbox.process.delete_session("s")
    await dead(shell)
    with pytest.raises(DaytonaNotFoundError, match="session not found"):
        await sandbox.process.get_session("s")


async def test_deleting_a_session_fails_a_call_that_waits_for_its_command(sandbox: AsyncSandbox) -> None:
    """A command that ends because its session is deleted does not look as if it had ended by itself."""
    await sandbox.process.create_session("s")
    asked = SessionExecuteRequest(command="touch begun; sleep 1000")
    waiting = asyncio.create_task(sandbox.process.execute_session_command("s", asked))

    async def begun() -> bool:
        return (await sandbox.process.exec("test -e begun")).exit_code == 0

    await eventually(begun)
    await sandbox.process.delete_session("s")
    with pytest.raises(DaytonaError, match="session cancelled"):
        await waiting


async def test_sessions_are_forgotten_by_a_stop(sandbox: AsyncSandbox) -> None:
    """After stop and start there is no session, and its name is free."""
    await sandbox.process.create_session("s")
    await sandbox.stop()
    await sandbox.start()
    assert await sandbox.process.list_sessions() == []
    await sandbox.process.create_session("s")


async def test_server_that_ends_leaves_nothing_running(tmp_path: Path) -> None:
    """A restarted server takes over the processes of started sandboxes, ends those of others, and in the end all."""
    async with running(tmp_path, speed=10) as server:
        # Without the event stream: the SDK leaks an HTTP session when it is closed while the stream reconnects.
        async with sdk_of(server, polling=True) as sdk:
            sandbox = await create(sdk, "orphans")
            pid = await child_of(sandbox, "setsid sleep 1000")
            stopping = await create(sdk, "stopping")
            stubborn = await child_of(stopping, "setsid bash -c 'trap \"\" TERM; while :; do sleep 0.1; done'")
            await sandbox.process.exec("echo kept > file")
            await server.admin.config(stop_grace_s=60)
            await server.admin.act(stopping.id, "stop")
            await reaches(server, stopping.id, "stopping")
            await server.restart()
            await dead(stubborn)
            assert alive(pid)
            assert (await sandbox.process.exec("cat file")).result == "kept\n"
            last = await child_of(sandbox, "sleep 1000")
        await server.stop()
        await dead(last)
        await dead(pid)
