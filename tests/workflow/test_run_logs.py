"""The copy of what a run writes: whole, once, without secrets, and never a reason for a run to fail."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from temporalio.client import Client

import activities.runs
from issuebox.domain.run import RunOutcome
from issuebox.run_logs import LogName, RunLogs, Stream
from tests.waiting import until
from workflows.run_messages import RunView

from .conftest import FAST, Stack, Started
from .test_agent_runs import WORK, ask, in_the_sandbox, over

SECRET = "a-very-secret-value"
TOKEN = "ghp_" + "a1B2" * 9

WRITES = "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo line $i of the output; [ $((i%40)) -ne 0 ] || sleep 0.5; done"


@pytest.fixture
def logs(tmp_path: Path) -> RunLogs:
    return RunLogs(str(tmp_path / "runs"))


def copy(logs: RunLogs, stack: Stack, run: RunView, stream: Stream = Stream.OUT) -> bytes:
    return logs.read(LogName(stack.issue_id, run.id, run.attempt, stream), 0, 2**30)


async def written(stack: Stack, run: RunView) -> bytes:
    return (await in_the_sandbox(stack, f"cat ~/.issuebox/runs/{run.id}/{run.attempt}/out")).encode()


async def test_output_is_copied_without_secrets(start: Started, logs: RunLogs, monkeypatch: pytest.MonkeyPatch) -> None:
    """In each of their forms, and also what merely looks like a token. Standard error has a copy of its own."""
    monkeypatch.setenv("MY_KEY", SECRET)
    command = f'echo "key $MY_KEY"; printf %s "$MY_KEY" | base64; echo {TOKEN} é >&2; echo done'
    stack = await start(**WORK, run_command=command, run_env=("MY_KEY",), run_log_dir=logs.directory)
    await ask(stack, 1)
    (run,) = await over(stack)
    raw, shown = await written(stack, run), copy(logs, stack, run)
    assert SECRET.encode() in raw
    assert shown.splitlines()[0::2] == [b"key " + b"*" * len(SECRET), b"done"]
    assert set(shown.splitlines()[1][:-4]) == {ord("*")}
    assert len(shown) == len(raw)
    assert copy(logs, stack, run, Stream.ERR).decode() == "*" * len(TOKEN) + " é\n"


async def test_output_beyond_a_slice_is_copied_whole(start: Started, logs: RunLogs) -> None:
    """Half a megabyte at once, and the run ends with it."""
    stack = await start(**WORK, run_command="seq 1 80000", run_log_dir=logs.directory)
    await ask(stack, 1)
    (run,) = await over(stack)
    assert copy(logs, stack, run).decode() == "".join(f"{n}\n" for n in range(1, 80_001))


@pytest.mark.parametrize("place", ["/proc/self/nowhere", "/dev/null/runs"])
async def test_copy_that_fails_fails_no_run(start: Started, place: str) -> None:
    """The run does not depend on a disk of the worker's."""
    stack = await start(**WORK, run_command="echo hello", run_log_dir=place)
    await ask(stack, 1)
    (run,) = await over(stack)
    assert run.outcome is RunOutcome.DONE


async def test_worker_killed_in_the_middle_loses_and_doubles_no_byte(
    start: Started, temporal: Client, logs: RunLogs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next worker goes on where the copy ends."""
    monkeypatch.setattr(activities.runs, "PAUSE_S", 0.5)
    stack = await start(**WORK, run_command=WRITES, run_log_dir=logs.directory, has_worker=False)
    settings = tmp_path / "worker.json"
    settings.write_text(json.dumps(given(stack)))
    first = await worker(settings, temporal)
    await ask(stack, 1)

    async def copied() -> int:
        return sum(path.stat().st_size for path in Path(logs.directory).rglob("*.log"))

    await until(copied, bool, "some of the output is copied", 60.0)
    first.kill()
    await first.wait()
    begun = await copied()
    second = await worker(settings, temporal)
    try:
        (run,) = await over(stack)
    finally:
        second.kill()
        await second.wait()
    raw = await written(stack, run)
    assert 0 < begun < len(raw)
    assert (run.outcome, run.attempt) == (RunOutcome.DONE, 1)
    assert copy(logs, stack, run) == raw


def given(stack: Stack) -> dict[str, object]:
    """The settings of the stack's worker, for another process."""
    names = ("task_queue", "run_preset", "run_command", "run_log_dir", "daytona_target")
    known = {name: getattr(stack.settings, name) for name in names}
    return {**FAST, **known, "daytona_api_key": stack.daytona.api_key, "daytona_api_url": stack.daytona.api_url}


async def worker(settings: Path, temporal: Client) -> asyncio.subprocess.Process:
    address = temporal.service_client.config.target_host
    command = (sys.executable, "-m", "tests.audit.worker_process", str(settings), address, "100")
    return await asyncio.create_subprocess_exec(*command, env=dict(os.environ))
