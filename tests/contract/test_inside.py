"""The contract of every provider inside a sandbox: commands, clones, jobs."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest
from daytona.common.errors import DaytonaBadRequestError

from issuebox.domain.errors import (
    AmbiguousError,
    ChangeInProgressError,
    GoneError,
    NotInStateError,
    ProviderError,
    RateLimitedError,
    RefusedError,
    TransientError,
)
from issuebox.domain.phase import Cause
from issuebox.domain.provider import Execution, SandboxSpec
from issuebox.providers.daytona import DaytonaProvider
from issuebox.providers.daytona_jobs import Job
from issuebox.providers.daytona_toolbox import translate_clone
from localdaytona.testing import Server
from tests.inside.origin import TOKEN, serving
from tests.waiting import until

from .conftest import options

SPEC = SandboxSpec("claude-issue-1", {"managed-by": "issuebox", "issue-id": "1"})
JOB = "a-job"


@pytest.fixture
async def sandbox_id(provider: DaytonaProvider) -> str:
    """A running sandbox."""
    created = await provider.create(SPEC)
    assert created is not None
    return created.id


async def lines_of(provider: DaytonaProvider, sandbox_id: str, name: str) -> int:
    said = await provider.execute(sandbox_id, f"cat {name} 2>/dev/null | wc -l", 5.0)
    return int(said.output)


async def test_command_returns_its_code_and_both_streams(provider: DaytonaProvider, sandbox_id: str) -> None:
    """A failing command is a result, not an error."""
    assert await provider.execute(sandbox_id, "echo out; echo err >&2; exit 3", 5.0) == Execution(3, "out\nerr\n")


async def test_command_is_killed_at_its_deadline(provider: DaytonaProvider, sandbox_id: str) -> None:
    """A killed command has no exit code."""
    done = await provider.execute(sandbox_id, "echo begun >began; sleep 30; echo ended >ended", 1.0)
    assert done.exit_code is None
    assert (await provider.execute(sandbox_id, "ls", 5.0)).output == "began\n"


TROUBLE = [
    # effect on the toolbox, what a command raises
    ({"kind": "status", "status": 401, "message": "unauthorized: authentication failed"}, TransientError),
    ({"kind": "status", "status": 403, "message": "forbidden"}, TransientError),
    ({"kind": "status", "status": 400, "message": "bad request: no IP address found"}, NotInStateError),
    ({"kind": "not_found"}, GoneError),
    ({"kind": "status", "status": 410, "message": "gone: session has ended"}, GoneError),
    ({"kind": "conflict", "text": "state_change"}, ChangeInProgressError),
    ({"kind": "status", "status": 418, "message": "new"}, NotInStateError),
    ({"kind": "status", "status": 429, "headers": {"Retry-After": "7"}}, RateLimitedError),
    ({"kind": "status", "status": 408, "message": "a proxy timed out"}, AmbiguousError),
    ({"kind": "status", "status": 502}, AmbiguousError),
    ({"kind": "status_after", "status": 504}, AmbiguousError),
    ({"kind": "drop"}, AmbiguousError),
    ({"kind": "hang"}, AmbiguousError),
    ({"kind": "malformed", "field": "result"}, AmbiguousError),
]


@pytest.mark.parametrize(("effect", "error"), TROUBLE, ids=[str(row[0]).replace("'", "") for row in TROUBLE])
async def test_toolbox_that_refuses_leads_to_another_lookup(
    server: Server, effect: dict[str, object], error: type[ProviderError]
) -> None:
    """No answer of a toolbox is a verdict on the key or the request: only another lookup decides."""
    async with DaytonaProvider(options(server)) as provider:
        created = await provider.create(SPEC)
        assert created is not None
        await server.admin.add_fault("toolbox", effect)
        with pytest.raises(ProviderError) as raised:
            await provider.execute(created.id, "true", 1.0)
        assert type(raised.value) is error
        assert len(str(raised.value).splitlines()) == 1


async def test_sandbox_that_does_not_run_is_not_in_state(provider: DaytonaProvider, sandbox_id: str) -> None:
    """Nothing is sent to the toolbox of a sandbox that does not run."""
    await provider.stop(sandbox_id)
    with pytest.raises(NotInStateError, match="stopped"):
        await provider.execute(sandbox_id, "true", 1.0)
    await provider.delete(sandbox_id)
    with pytest.raises(GoneError):
        await provider.run_job(sandbox_id, JOB, "true", 1.0)


async def test_sandbox_that_stops_during_a_command_gives_no_exit_code(
    server: Server, provider: DaytonaProvider, sandbox_id: str
) -> None:
    """An interrupted command has no exit code that could pass for its own."""
    running = asyncio.create_task(provider.execute(sandbox_id, "touch began; sleep 30", 20.0))
    await until(lambda: lines(provider, sandbox_id), lambda names: "began" in names, "the command running")
    await server.admin.act(sandbox_id, "stop")
    with pytest.raises((AmbiguousError, NotInStateError, GoneError)):
        await running


async def lines(provider: DaytonaProvider, sandbox_id: str) -> list[str]:
    return (await provider.execute(sandbox_id, "ls", 5.0)).output.split()


async def test_clone_needs_its_token(provider: DaytonaProvider, sandbox_id: str, tmp_path: Path) -> None:
    """A clone with a token is complete and does not contain the token; without a token it is refused."""
    with serving(tmp_path / "origin") as origin:
        origin.add("octo/repo")
        url = f"{origin.url}/octo/repo.git"
        for token in ("", "wrong-token"):
            with pytest.raises(RefusedError, match="the clone failed") as refused:
                await provider.clone(sandbox_id, url, "a", token=token, timeout_s=10.0)
            assert refused.value.cause is Cause.SETUP
            assert "wrong-token" not in repr(refused.value)
        await provider.clone(sandbox_id, url, "a", token=TOKEN, timeout_s=10.0)
    said = await provider.execute(sandbox_id, "cat a/file; git -C a remote get-url origin", 5.0)
    assert said.output == f"one{url}\n"


async def test_clone_of_a_missing_repository_is_refused(provider: DaytonaProvider, sandbox_id: str) -> None:
    """git's own 404 is not about the sandbox."""
    with pytest.raises(RefusedError) as refused:
        await provider.clone(sandbox_id, "/no/such/repository", "a", token="", timeout_s=10.0)
    assert refused.value.cause is Cause.SETUP


async def test_clone_has_a_deadline(provider: DaytonaProvider, sandbox_id: str, tmp_path: Path) -> None:
    """A clone from a server that never finishes its answer ends with a reason for a person."""
    with serving(tmp_path / "origin") as origin:
        origin.add("octo/repo")
        origin.gate.clear()
        with pytest.raises(RefusedError, match="did not finish within 1 s") as refused:
            await provider.clone(sandbox_id, f"{origin.url}/octo/repo.git", "a", token=TOKEN, timeout_s=1.0)
        assert refused.value.cause is Cause.SETUP


@pytest.mark.parametrize(
    ("effect", "error"),
    [
        ({"kind": "status", "status": 502}, AmbiguousError),
        ({"kind": "drop_after"}, AmbiguousError),
        ({"kind": "status", "status": 400, "message": "bad request: no IP address found"}, NotInStateError),
        (
            {
                "kind": "status",
                "status": 401,
                "message": "unauthorized: authentication failed: Bearer token is invalid",
            },
            TransientError,
        ),
        ({"kind": "not_found"}, GoneError),
    ],
    ids=str,
)
async def test_clone_that_did_not_reach_git_is_not_refused(
    provider: DaytonaProvider, server: Server, sandbox_id: str, effect: dict[str, object], error: type[ProviderError]
) -> None:
    """An answer of a proxy or of a sandbox being deleted does not count as git's."""
    await server.admin.add_fault("toolbox", effect)
    with pytest.raises(ProviderError) as raised:
        await provider.clone(sandbox_id, "/no/such/repository", "a", token="", timeout_s=5.0)
    assert type(raised.value) is error


def test_token_is_removed_from_the_output_of_git() -> None:
    """A daemon that quotes its input, in whatever form, reveals nothing."""
    header = base64.b64encode(f"x-access-token:{TOKEN}".encode()).decode()
    said = f"fatal: {TOKEN} {quote(TOKEN, safe='')} {header}"
    error = translate_clone(DaytonaBadRequestError(said, status_code=400), token=TOKEN, timeout_s=1.0)
    assert str(error) == "the clone failed: 400: fatal: *** *** ***"


@pytest.mark.parametrize("shell", ["sh", "bash", "zsh"])
def test_job_does_not_read_its_shells_input(shell: str) -> None:
    """The real daemon writes commands to its shell between braces: a job must not read what follows."""
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} on this machine")
    line = Job(JOB, "sh -c 'cat; echo run; exit 4'", 1.0).line(0.0)
    fed = f"{{ {line}; }}\necho $?\n{{ {line}; }}\necho $?\n"
    said = subprocess.run((shell,), input=fed, capture_output=True, text=True, check=True).stdout
    assert said == "run\n4\n4\n"


async def test_job_returns_its_code(provider: DaytonaProvider, sandbox_id: str) -> None:
    """After a job has ended, another one may use the same ID."""
    assert await provider.run_job(sandbox_id, JOB, "sh -c 'exit 3'", 10.0) == Execution(3)
    assert await provider.run_job(sandbox_id, JOB, "sh -c 'exit 3'", 10.0) == Execution(3)
    assert await provider.run_job(sandbox_id, JOB, "sh -c 'cat; echo x >>done'", 10.0) == Execution(0)
    assert await lines_of(provider, sandbox_id, "done") == 1


async def test_job_of_a_dead_caller_is_followed(server: Server, provider: DaytonaProvider, sandbox_id: str) -> None:
    """The next caller follows the running command instead of starting another."""
    command = "sh -c 'echo begun >>begun; while [ ! -e go ]; do sleep 0.05; done; exit 4'"
    async with DaytonaProvider(options(server)) as dying:
        first = asyncio.create_task(dying.run_job(sandbox_id, JOB, command, 30.0))
        await until(lambda: lines_of(provider, sandbox_id, "begun"), lambda count: count == 1, "the job begun")
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first
    second = asyncio.create_task(provider.run_job(sandbox_id, JOB, command, 30.0))
    await provider.execute(sandbox_id, "touch go", 5.0)
    assert await second == Execution(4)
    assert await lines_of(provider, sandbox_id, "begun") == 1


async def test_ended_job_of_a_dead_caller_is_not_run_again(
    server: Server, provider: DaytonaProvider, sandbox_id: str
) -> None:
    """The next caller gets the exit code of a job that ended while nobody listened."""
    command = "sh -c 'echo begun >>begun; sleep 0.2; echo ended >>ended; exit 4'"
    async with DaytonaProvider(options(server)) as dying:
        first = asyncio.create_task(dying.run_job(sandbox_id, JOB, command, 30.0))
        await until(lambda: lines_of(provider, sandbox_id, "begun"), lambda count: count == 1, "the job begun")
        first.cancel()
    await until(lambda: lines_of(provider, sandbox_id, "ended"), lambda count: count == 1, "the job ended")
    assert await provider.run_job(sandbox_id, JOB, command, 30.0) == Execution(4)
    assert await lines_of(provider, sandbox_id, "begun") == 1


async def test_two_callers_at_once_run_the_job_once(server: Server, provider: DaytonaProvider, sandbox_id: str) -> None:
    """The command runs once even when the callers cannot see each other's command."""
    command = "sh -c 'echo begun >>begun; sleep 0.5; exit 4'"
    # Delayed between creating the session and reading it, both find it empty.
    await server.admin.add_fault("toolbox", {"kind": "delay_after", "seconds": 0.3}, times=4)
    ends = await asyncio.gather(
        *(provider.run_job(sandbox_id, JOB, command, 30.0) for _ in range(2)), return_exceptions=True
    )
    # The second caller may find that the first has deleted the session, and must look the sandbox up.
    assert Execution(4) in ends
    assert all(end == Execution(4) or isinstance(end, GoneError) for end in ends)
    assert await lines_of(provider, sandbox_id, "begun") == 1


async def test_job_is_killed_at_its_deadline(provider: DaytonaProvider, sandbox_id: str) -> None:
    """A killed job has no exit code, does nothing more, and leaves nothing behind."""
    command = "sh -c 'echo begun >>begun; sleep 3; echo ended >>ended'"
    assert await provider.run_job(sandbox_id, JOB, command, 0.5) == Execution(None)
    assert await provider.run_job(sandbox_id, JOB, "sh -c 'sleep 3.2'", 10.0) == Execution(0)
    assert await lines_of(provider, sandbox_id, "ended") == 0


async def test_deadline_counts_from_the_start_of_the_command(
    server: Server, provider: DaytonaProvider, sandbox_id: str
) -> None:
    """A caller that finds the command running gives it only the rest of its time."""
    command = "sh -c 'echo begun >>begun; sleep 30'"
    async with DaytonaProvider(options(server)) as dying:
        first = asyncio.create_task(dying.run_job(sandbox_id, JOB, command, 3.0))
        await until(lambda: lines_of(provider, sandbox_id, "begun"), lambda count: count == 1, "the job begun")
        await asyncio.wait({first}, timeout=2.0)
        first.cancel()
    clock = asyncio.get_running_loop().time
    before = clock()
    assert await provider.run_job(sandbox_id, JOB, command, 3.0) == Execution(None)
    assert clock() - before < 2.5


async def test_another_command_takes_the_place_of_the_old_one(
    server: Server, provider: DaytonaProvider, sandbox_id: str
) -> None:
    """A worker with newer settings does not follow the old command, and never runs its own beside it."""
    async with DaytonaProvider(options(server)) as dying:
        old = "sh -c 'echo begun >>begun; sleep 2; echo old >>old'"
        first = asyncio.create_task(dying.run_job(sandbox_id, JOB, old, 30.0))
        await until(lambda: lines_of(provider, sandbox_id, "begun"), lambda count: count == 1, "the job begun")
        first.cancel()
    assert await provider.run_job(sandbox_id, JOB, "sh -c 'sleep 2.2'", 30.0) == Execution(0)
    assert await lines_of(provider, sandbox_id, "old") == 0


async def test_job_starts_again_after_a_stop(server: Server, provider: DaytonaProvider, sandbox_id: str) -> None:
    """A stop ends the job; its follower must look the sandbox up, and the next run starts from the beginning."""
    command = "sh -c 'echo begun >>begun; [ -e go ] || sleep 30'"
    running = asyncio.create_task(provider.run_job(sandbox_id, JOB, command, 60.0))
    await until(lambda: lines_of(provider, sandbox_id, "begun"), lambda count: count == 1, "the job begun")
    await server.admin.act(sandbox_id, "stop")
    with pytest.raises((GoneError, NotInStateError, TransientError)):
        await running
    await provider.settle(sandbox_id, 5.0)
    await provider.start(sandbox_id)
    await provider.execute(sandbox_id, "touch go", 5.0)
    assert await provider.run_job(sandbox_id, JOB, command, 60.0) == Execution(0)
    assert await lines_of(provider, sandbox_id, "begun") == 2


async def test_session_whose_shell_has_ended_is_replaced(
    server: Server, provider: DaytonaProvider, sandbox_id: str
) -> None:
    """A session that no longer takes commands is deleted, so that the next call works."""
    await server.admin.add_fault("toolbox", {"kind": "status", "status": 410, "message": "gone: it has ended"}, skip=2)
    with pytest.raises(GoneError):
        await provider.run_job(sandbox_id, JOB, "true", 10.0)
    sent = [str(e.detail["method"]) for e in await server.admin.journal(kind="toolbox")]
    assert sent == ["POST", "GET", "POST", "DELETE"]
    assert await provider.run_job(sandbox_id, JOB, "true", 10.0) == Execution(0)


@pytest.mark.parametrize("exit_code", [0, 4])
@pytest.mark.parametrize("effect", ["drop", "drop_after"])
@pytest.mark.parametrize("skip", range(7))
async def test_job_survives_the_loss_of_any_request(server: Server, skip: int, effect: str, exit_code: int) -> None:
    """Each request may be lost before or after its effect: after another call the job has run, with its exit code.

    It has run once. Only when the reply to the deletion of a failed job's session is lost does it fail twice.
    """
    async with DaytonaProvider(options(server)) as provider:
        created = await provider.create(SPEC)
        assert created is not None
        command = f"sh -c 'echo begun >>begun; sleep 0.15; exit {exit_code}'"
        await server.admin.add_fault("toolbox", {"kind": effect}, skip=skip)
        calls = 0
        while True:
            calls += 1
            try:
                done = await provider.run_job(created.id, JOB, command, 30.0)
            except (AmbiguousError, TransientError):
                assert calls < 3
            else:
                break
        assert done == Execution(exit_code)
        sent = [str(e.detail["method"]) for e in await server.admin.journal(kind="toolbox")]
        is_twice = exit_code != 0 and effect == "drop_after" and sent.count("DELETE") == 2
        runs = 2 if is_twice else 1
        await server.admin.set_faults()  # A slow machine reads the job's progress less often.
        assert await lines_of(provider, created.id, "begun") == runs
        if exit_code != 0:
            # A reported failure is not reported again: the next call is a new run.
            assert await provider.run_job(created.id, JOB, command, 30.0) == done
            assert await lines_of(provider, created.id, "begun") == runs + 1
