"""The gate over the whole path: never more runs at once than the limit, in the order of asking, through every death."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from issuebox.domain import gate, slot
from issuebox.domain.errors import TransientError
from issuebox.domain.gate import Caps
from issuebox.domain.run import RunOutcome, run_id
from issuebox.domain.slot import Kind, Said, Word
from issuebox.temporal.gate import GateClient
from tests.conftest import EVENTS_BEFORE_CONTINUE_AS_NEW
from tests.waiting import until
from workflows.gate_messages import QUERY_GATE, SIGNAL_SAID, GateView
from workflows.messages import SIGNAL_DELETE, SIGNAL_STOP

from .conftest import FAST, Stack, Started
from .test_agent_runs import WORK, ask, over, runs, working

ISSUES, LIMIT = 6, 2
STOP_S = 8.0
CAPS = {Kind.RUN: Caps(1)}
NOBODY = GateView(Caps(-1))


def gate_client(stack: Stack) -> GateClient:
    settings = stack.settings
    return GateClient(stack.temporal, name_prefix=settings.name_prefix, task_queue=settings.task_queue)


def gate_of(stack: Stack) -> WorkflowHandle[object, object]:
    return stack.temporal.get_workflow_handle(gate_client(stack).id)


async def view(stack: Stack) -> GateView:
    """What the gate says; of one that does not run yet: nothing."""
    try:
        seen: dict[Kind, GateView] = await gate_of(stack).query(QUERY_GATE, result_type=dict[Kind, GateView])
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return NOBODY
    return seen[Kind.RUN]


async def known(stack: Stack, count: int) -> GateView:
    """Wait until the gate knows so many issues."""
    return await until(
        lambda: view(stack),
        lambda seen: len(seen.working) + len(seen.waiting) == count,
        f"{count} at the gate",
        60.0,
    )


def noted(place: Path) -> str:
    """A job that notes its begin, works until the file *go* is there, and notes its end."""
    return (
        f'echo "begin $ISSUEBOX_RUN" >>{place}/notes; while [ ! -e {place}/go ]; do sleep 0.05; done; sleep 0.3; '
        f'echo "end $ISSUEBOX_RUN" >>{place}/notes'
    )


def judge(place: Path, expected: list[str]) -> None:
    """Each run began and ended once, in this order of beginning, and no more than the limit worked at once."""
    lines = [line.split() for line in (place / "notes").read_text().splitlines()]
    at_work = 0
    for word, _run in lines:
        at_work += 1 if word == "begin" else -1
        assert 0 <= at_work <= LIMIT, lines
    begun = [run for word, run in lines if word == "begin"]
    assert sorted(begun) == sorted(expected) == sorted(run for word, run in lines if word == "end")
    # The runs that begin together may do so in any order.
    assert set(begun[:LIMIT]) == set(expected[:LIMIT])
    assert all(abs(begun.index(run) - place) < LIMIT for place, run in enumerate(expected)), (begun, expected)


async def ask_in_order(stack: Stack) -> list[Stack]:
    """Six issues, each of which asks once the gate knows the one before."""
    issues = [stack] + [stack.another() for _ in range(ISSUES - 1)]
    for count, each in enumerate(issues, 1):
        await ask(each, 1)
        await known(stack, count)
    return issues


def runs_of(issues: list[Stack]) -> list[str]:
    return [run_id(each.issue_id, "comment-1") for each in issues]


async def test_no_more_runs_than_the_limit_work_at_once_although_the_worker_is_killed(
    start: Started, temporal: Client, tmp_path: Path
) -> None:
    """Six issues, two slots: in the order of asking, each run once. The others know their place."""
    stack = await start(**WORK, runs_max=LIMIT, run_command=noted(tmp_path), has_worker=False)
    async with killed(stack, temporal, tmp_path):
        issues = await ask_in_order(stack)
        seen = await view(stack)
        assert [each.name for each in seen.working + seen.waiting] == [each.name for each in issues]
        assert (len(seen.working), seen.caps.total) == (LIMIT, LIMIT)
        last, wait = issues[-1], "waiting until fewer runs are at work in the installation, place 4 in the queue"
        await until(last.status, lambda seen: seen.doing == wait, "told its place")
        (receipt,) = (await runs(last)).receipts
        assert (receipt.state, receipt.place, receipt.reason) == ("waiting", 1, wait)
        await working(issues[0])
    (tmp_path / "go").touch()
    async with killed(stack, temporal, tmp_path):
        for each in issues:
            (run,) = await over(each)
            assert (run.outcome, run.attempt) == (RunOutcome.DONE, 1)
        await known(stack, 0)
    judge(tmp_path, runs_of(issues))


@asynccontextmanager
async def killed(stack: Stack, temporal: Client, place: Path) -> AsyncIterator[None]:
    """A worker in a process of its own, killed at the end."""
    names = ("task_queue", "run_preset", "run_command", "runs_max", "daytona_target")
    settings = {name: getattr(stack.settings, name) for name in names}
    settings |= {**FAST, "daytona_api_key": stack.daytona.api_key, "daytona_api_url": stack.daytona.api_url}
    (place / "worker.json").write_text(json.dumps(settings))
    address = temporal.service_client.config.target_host
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.audit.worker_process", str(place / "worker.json"), address, "100",
        env=dict(os.environ),
    )  # fmt: skip
    try:
        yield
    finally:
        process.kill()
        await process.wait()


async def test_slot_of_a_terminated_workflow_comes_back(
    start: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody returns it: the gate finds out while somebody waits. Who waits and ended gets none."""
    monkeypatch.setattr(gate, "CHECK_EVERY", timedelta(seconds=1))
    stack = await start(**WORK, runs_max=1, run_command=noted(tmp_path))
    second, third = stack.another(), stack.another()
    for count, each in enumerate((stack, second, third), 1):
        await ask(each, 1)
        await known(stack, count)
    await second.handle.terminate("by a test")
    await stack.handle.terminate("by a test")
    (tmp_path / "go").touch()
    (run,) = await over(third)
    assert run.outcome is RunOutcome.DONE
    await known(stack, 0)


async def test_slot_is_returned_at_a_pause_and_asked_for_anew(start: Started, tmp_path: Path) -> None:
    """A person stops the sandbox: the next issue's run begins. The paused one goes on in its turn, once asked for."""
    stack = await start(**WORK, runs_max=1, run_command=noted(tmp_path))
    second = stack.another()
    await ask(stack, 1)
    await working(stack)
    await ask(second, 1)
    await known(stack, 2)
    await stack.order(SIGNAL_STOP)
    await working(second)
    assert [each.name for each in (await view(stack)).working] == [second.name]
    await stack.ensure()
    await until(lambda: view(stack), lambda seen: [each.name for each in seen.waiting] == [stack.name], "it waits")
    (tmp_path / "go").touch()
    await over(second)
    (run,) = await over(stack)
    assert (run.outcome, run.attempt) == (RunOutcome.DONE, 2)


async def test_slot_of_a_cancelled_run_is_free_before_its_sandbox_is_stopped(start: Started, tmp_path: Path) -> None:
    """The stop takes Daytona longer than the next issue's run waits."""
    stack = await start(**WORK, runs_max=1, run_command=noted(tmp_path))
    await stack.daytona.admin.config(durations={"stop_s": STOP_S})
    second = stack.another()
    await ask(stack, 1)
    await working(stack)
    await ask(second, 1)
    await known(stack, 2)
    async with asyncio.timeout(STOP_S):
        await stack.order(SIGNAL_DELETE)
        await working(second)
    assert await stack.state() in {"started", "stopping"}
    (tmp_path / "go").touch()
    (run,) = await over(second)
    assert run.outcome is RunOutcome.DONE


async def test_gate_survives_a_long_history_and_nonsense(start: Started, tmp_path: Path) -> None:
    """It goes on in a new workflow run, and knows what it knew. Slots of those who never were come back at once."""
    stack = await start(**WORK, runs_max=1, run_command=noted(tmp_path))
    second, gate = stack.another(), gate_of(stack)
    for count, each in enumerate((stack, second), 1):
        await ask(each, 1)
        await known(stack, count)
    await ask(stack, 2)
    before, first_run = await view(stack), (await gate.describe()).run_id
    await gate.signal(SIGNAL_SAID, "nonsense")
    for number in range(EVENTS_BEFORE_CONTINUE_AS_NEW // 6):
        await gate_client(stack).say(Said(f"claude-issue-nobody-{number}", Word.HOLD, datetime.now(UTC), 7200.0), CAPS)
    await until(gate.describe, lambda seen: seen.run_id != first_run, "the gate goes on in a new workflow run")
    await until(lambda: view(stack), lambda seen: seen == before, "nobody is forgotten or made up")
    (tmp_path / "go").touch()
    in_order = [*runs_of([stack, second]), run_id(stack.issue_id, "comment-2")]
    await over(stack, 2)
    # The second request of the first issue waits behind the second issue.
    assert (tmp_path / "notes").read_text().split() == [part for run in in_order for part in ("begin", run, "end", run)]


async def test_gate_that_was_terminated_learns_who_works(
    start: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lost its memory. Nothing begins until those at work have said so, and nobody who waits is forgotten."""
    monkeypatch.setattr(slot, "ASK_AGAIN", timedelta(seconds=1))
    monkeypatch.setattr(slot, "SAY_AGAIN", timedelta(seconds=1))
    stack = await start(**WORK, runs_max=1, run_command=noted(tmp_path))
    second = stack.another()
    for count, each in enumerate((stack, second), 1):
        await ask(each, 1)
        await known(stack, count)
    await working(stack)
    await gate_of(stack).terminate("by a test")
    seen = await until(lambda: view(stack), lambda seen: bool(seen.waiting) and seen.opens_at is not None, "it reopens")
    assert [each.name for each in seen.waiting] == [second.name]
    await stack.retry()  # Something wakes the workflow up, as the next slice of its follower would.
    seen = await until(lambda: view(stack), lambda seen: bool(seen.working), "it says that it works")
    assert [each.name for each in seen.working] == [stack.name]


async def test_strange_lease_is_returned(start: Started) -> None:
    """The gate believes what the issue's workflow does not know, as after a reset: it comes back."""
    stack = await start(**WORK, runs_max=1, run_command="true")
    second = stack.another()
    await stack.ensure()
    await gate_client(stack).say(Said(stack.name, Word.HOLD, datetime.now(UTC), 7200.0), CAPS)
    await ask(second, 1)
    (run,) = await over(second)
    assert run.outcome is RunOutcome.DONE
    await known(stack, 0)


async def test_run_that_waits_for_a_time_gives_its_slot_back(start: Started, tmp_path: Path) -> None:
    """It asked to be continued later, as an agent does whose provider refuses it for now."""
    command = f"if mkdir {tmp_path}/first; then exit 75; fi; echo done"
    stack = await start(**WORK, runs_max=1, run_command=command)
    second = stack.another()
    await ask(stack, 1)
    await until(lambda: runs(stack), lambda seen: bool(seen.runs) and seen.runs[-1].attempt > 1, "it waits", 30.0)
    await ask(second, 1)
    (run,) = await over(second)
    assert run.outcome is RunOutcome.DONE
    assert (await runs(stack)).runs[-1].outcome is None


async def test_without_a_limit_no_gate_is_started(start: Started) -> None:
    """The default: nothing asks."""
    stack = await start(**WORK, run_command="true")
    await ask(stack, 1)
    (run,) = await over(stack)
    assert run.outcome is RunOutcome.DONE
    assert await view(stack) == NOBODY


async def test_worker_with_another_prefix_speaks_for_nobody(start: Started) -> None:
    """It would start a gate of its own, which knows nothing of the slots that are taken."""
    stack = await start(**WORK, runs_max=1, run_command="true", has_worker=False)
    strange = GateClient(stack.temporal, name_prefix="claude-ticket-", task_queue=stack.settings.task_queue)
    with pytest.raises(TransientError, match="claude-ticket-"):
        await strange.say(Said(stack.name, Word.ASK, datetime.now(UTC), 7200.0), CAPS)
    with pytest.raises(RPCError, match="not found"):
        await stack.temporal.get_workflow_handle(strange.id).describe()
