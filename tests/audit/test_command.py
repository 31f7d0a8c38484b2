"""`issuebox audit` as a process: its output, and the exit codes that scripts rely on."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from rich.console import Console
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from issuebox.cli.audit_run import findings_card, progress
from issuebox.domain.audit import Finding, Kind
from localdaytona.testing import Server, free_port
from tests.cli.conftest import Ran, Run, preloaded, run  # noqa: F401 -- fixtures
from tests.waiting import until
from workflows.audit_messages import AUDIT_TYPE, AuditInput, AuditReport

from .conftest import Audited, Started, values_for

REPOSITORY = Path(__file__).parents[2]

Audit = Callable[..., Awaitable[Ran]]


@pytest.fixture
def audit(run: Run, temporal_address: str) -> Audit:  # noqa: F811 -- the fixture
    """`issuebox audit` on the Temporal and the task queue of a world."""

    async def ran(world: Audited, *options: str) -> Ran:
        own = {"TEMPORAL_ADDRESS": temporal_address, "ISSUEBOX_TASK_QUEUE": world.stack.settings.task_queue}
        return await run("audit", *options, **own)

    return ran


async def test_clean_world_exits_with_0(world: Audited, audit: Audit) -> None:
    """The output also says so in words, with what was walked."""
    await world.ensured(world.stack)
    ran = await audit(world)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("The promise holds.\n1 sandbox (0 on their way out) and 1 issue (1 with a sandbox)")


async def test_broken_promise_exits_with_1_and_the_findings(world: Audited, audit: Audit) -> None:
    """Each finding with what was seen and what to do."""
    await world.ensured(world.stack)
    copy = await world.made("a-copy", issue_id=str(world.stack.issue_id))
    ran = await audit(world)
    assert ran.code == 1
    assert "The promise is broken." in ran.out
    for shown in ("duplicate", copy.id, "a-copy", "labelled for issue", "Save what is in it"):
        assert shown in ran.out


def test_names_and_ids_stand_whole_on_a_line_of_80_columns() -> None:
    """Whoever is told to delete a sandbox has to be able to copy its name and its ID."""
    name, sandbox_id = "claude-issue-3141592653", "e712ff1b-8dd4-478d-9665-79e800a49568"
    finding = Finding(Kind.DUPLICATE, 7, sandbox_id, name, "started, " + "and so on " * 9, "Save what is in it.")
    console = Console(width=80)
    with console.capture() as captured:
        console.print(findings_card([finding]))
    words = captured.get().split()
    assert {"duplicate", name, sandbox_id} <= set(words)


async def test_json_is_the_report_alone(world: Audited, audit: Audit) -> None:
    """Standard output is for programs, and `--no-mend` mends nothing."""
    row = await world.made(world.stack.name, issue_id=str(world.stack.issue_id))
    ran = await audit(world, "--json", "--no-mend")
    report = ran.json
    assert (ran.code, report["promise_holds"], report["mended"], report["is_complete"]) == (1, False, 0, True)
    (finding,) = report["findings"]
    assert (finding["kind"], finding["sandbox_id"], finding["mended"]) == ("orphan", row.id, False)
    with pytest.raises(RPCError):
        await world.stack.handle.describe()


async def test_mend_overrules_the_workers_setting(start: Started, audit: Audit) -> None:
    """The caller's option overrides the workers' setting."""
    world = await start(audit_mend=False)
    await world.made(world.stack.name, issue_id=str(world.stack.issue_id))
    ran = await audit(world, "--mend", "--json")
    assert (ran.code, ran.json["mended"]) == (0, 1)


@pytest.mark.parametrize("arguments", [("--nonsense",), ("extra",)])
async def test_misuse_exits_with_2(run: Run, arguments: tuple[str, ...]) -> None:  # noqa: F811
    """As every command does."""
    assert (await run("audit", *arguments)).code == 2


async def test_wrong_configuration_exits_with_2(run: Run) -> None:  # noqa: F811
    """The message names the variable to change."""
    ran = await run("audit", TEMPORAL_ADDRESS="nowhere")
    assert (ran.code, "TEMPORAL_ADDRESS" in ran.err) == (2, True)
    ran = await run("audit", ISSUEBOX_TASK_QUEUE="")
    assert (ran.code, "ISSUEBOX_TASK_QUEUE" in ran.err) == (2, True)


async def test_temporal_that_is_not_there_exits_with_3(run: Run) -> None:  # noqa: F811
    """One line, and no traceback."""
    ran = await run("audit", TEMPORAL_ADDRESS=f"127.0.0.1:{free_port()}")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith("issuebox: Temporal cannot be reached")
    assert ran.err.count("\n") == 1


async def test_audit_that_cannot_be_finished_exits_with_1_and_says_why(start: Started, audit: Audit) -> None:
    """The promise is not proven: Daytona refuses the workers' key."""
    world = await start(daytona_api_key="wrong")
    ran = await audit(world)
    assert (ran.code, ran.out) == (1, "")
    assert "the audit could not be finished: RefusedError: 401: Invalid credentials" in ran.err


async def test_foreign_text_does_not_reach_the_terminal_as_it_is(world: Audited, audit: Audit) -> None:
    """Names and labels at Daytona may hold markup and control characters."""
    await world.made("[bold red]x[/]")
    await world.made(world.stack.name, issue_id="\x1b[2J")
    ran = await audit(world)
    assert "[bold red]x[/]" in ran.out
    assert "\x1b" not in ran.out


async def test_worker_makes_the_schedules(
    temporal: Client, temporal_address: str, daytona: Server, tmp_path: Path
) -> None:
    """A worker process creates the audit's schedule at its start."""
    task_queue = str(values_for(daytona)["task_queue"])
    schedule = temporal.get_schedule_handle(f"issuebox-audit-{task_queue}")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "issuebox", "worker"),
        cwd=REPOSITORY,
        env=os.environ
        | {"TEMPORAL_ADDRESS": temporal_address, "ISSUEBOX_TASK_QUEUE": task_queue}
        | {"DAYTONA_API_KEY": daytona.api_key, "DAYTONA_API_URL": daytona.api_url},
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        await until(lambda: _exists(temporal, schedule.id), bool, "the schedule", 60)
    finally:
        process.terminate()
        await process.wait()
        await schedule.delete()


async def _exists(temporal: Client, schedule_id: str) -> bool:
    try:
        await temporal.get_schedule_handle(schedule_id).describe()
    except RPCError:
        return False
    return True


async def test_progress_says_how_far_the_audit_is(world: Audited) -> None:
    """Each step in words, with what was read so far, and with the failure that causes a retry."""
    admin, task_queue = world.stack.daytona.admin, world.stack.settings.task_queue
    await world.made("a-stray", issue_id=str(world.stack.issue_id))
    await admin.add_fault("list", {"kind": "status", "status": 503}, times=3)
    handle: WorkflowHandle[object, AuditReport] = await world.stack.temporal.start_workflow(
        AUDIT_TYPE, AuditInput(), id=f"audit-{task_queue}", task_queue=task_queue, result_type=AuditReport
    )
    for step in (
        r"reading all managed sandboxes \(attempt \d+: 503: Injected fault\)",
        "waiting before suspects are read again",
    ):
        await until(
            lambda: progress(handle, task_queue), lambda shown, step=step: re.fullmatch(step, shown) is not None, step
        )
    await handle.result()


async def test_progress_says_when_no_worker_serves_the_task_queue(temporal: Client, issue_id: int) -> None:
    """Otherwise the audit would only seem to take long."""
    task_queue = f"nobody-{issue_id}"
    handle: WorkflowHandle[object, AuditReport] = await temporal.start_workflow(
        AUDIT_TYPE, AuditInput(), id=task_queue, task_queue=task_queue, result_type=AuditReport
    )
    assert await progress(handle, task_queue) == f"waiting for a worker on {task_queue!r}; `issuebox worker` starts one"
    await handle.terminate()
