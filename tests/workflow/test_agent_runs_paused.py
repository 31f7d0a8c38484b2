"""A person pauses an issue's runs and lets them go on; two stops of the sandbox under a run pause it, too."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from temporalio.workflow import Info

import activities.runs
from issuebox.domain.issue import IssueState
from issuebox.domain.phase import Goal
from issuebox.domain.run import RunOutcome
from issuebox.worker import build_worker
from tests.waiting import until
from workflows.messages import SIGNAL_DELETE, SIGNAL_LOOK, SIGNAL_STOP
from workflows.run_messages import SIGNAL_CANCEL_RUN, SIGNAL_PAUSE, SIGNAL_RESUME, PauseOrder, RunState, RunsView

from .conftest import Stack, Started
from .test_agent_runs import LEDGER, UNTIL_TOLD, WORK, alive, ask, in_the_sandbox, let_go, over, runs, working

KINDS = f'echo "$ISSUEBOX_RUN_KIND $ISSUEBOX_SESSION $PWD" >>~/kinds; {UNTIL_TOLD}'
"""A job that notes how it began, and works until it is told to end."""
IN_ORDER = f"trap 'echo in order >>~/worked; exit 3' TERM; {KINDS}"
ORDERED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BY_ANN = PauseOrder("ann", ORDERED_AT)
PAUSED_BY_ANN = "paused by ann since 2026-01-02 03:04 UTC"


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Followers probe ten times a second."""
    monkeypatch.setattr(activities.runs, "PAUSE_S", 0.1)
    monkeypatch.setattr(activities.runs, "PAUSE_MAX_S", 0.2)


async def pause(stack: Stack) -> RunsView:
    """Pause the runs; how they are once nothing is at work any more."""
    await stack.order(SIGNAL_PAUSE, BY_ANN)
    return await rested(stack)


async def rested(stack: Stack) -> RunsView:
    return await until(
        lambda: runs(stack),
        lambda seen: seen.pause is not None and (seen.runs[-1].state is RunState.PAUSED or bool(seen.runs[-1].outcome)),
        "the runs rest",
        60.0,
    )


async def kinds(stack: Stack) -> list[list[str]]:
    return [line.split() for line in (await in_the_sandbox(stack, "cat ~/kinds")).splitlines()]


async def test_pause_interrupts_in_order_and_resume_goes_on_in_the_same_conversation(start: Started) -> None:
    """What is asked meanwhile waits, and is told why and what helps. The sandbox stays as it is wanted."""
    stack = await start(**WORK, run_command=IN_ORDER)
    await ask(stack, 1)
    run = await working(stack)
    seen = await pause(stack)
    assert (seen.runs[-1].outcome, seen.runs[-1].attempt, seen.runs[-1].cut_off) == (None, 2, 0)
    assert await in_the_sandbox(stack, "cat ~/worked") == "begun\nin order\n"
    assert not await alive(stack, run)
    await ask(stack, 2)
    await stack.order(SIGNAL_PAUSE, PauseOrder("bob"))
    seen = await until(lambda: runs(stack), lambda seen: len(seen.receipts) == 2, "the second request is known")
    assert [(each.state, each.reason) for each in seen.receipts] == [
        ("given", PAUSED_BY_ANN),
        ("waiting", PAUSED_BY_ANN),
    ]
    assert all("issuebox resume ISSUE" in each.next_step for each in seen.receipts)
    assert "issuebox resume ISSUE" in seen.runs[-1].next_step
    status = await stack.status()
    assert (status.goal, status.run_pause, await stack.state()) == (Goal.RUNNING, seen.pause, "started")
    await stack.order(SIGNAL_RESUME)
    await stack.order(SIGNAL_RESUME)
    again = await working(stack)
    assert (again.id, again.attempt) == (run.id, 2)
    await let_go(stack)
    first, second = await over(stack, 2)
    assert (first.outcome, second.outcome, second.keys) == (RunOutcome.DONE, RunOutcome.DONE, ("comment-2",))
    words = await kinds(stack)
    assert [kind for kind, *_ in words] == ["start", "resume", "follow_up"]
    assert len({(session, directory) for _, session, directory in words}) == 1
    assert len((await in_the_sandbox(stack, LEDGER)).splitlines()) == 3
    assert (await runs(stack)).pause is None


async def test_pause_survives_continue_as_new_and_another_worker(
    start: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the memory: whoever goes on with the workflow begins nothing before somebody resumes it."""
    stack = await start(**WORK, has_worker=False, run_command=UNTIL_TOLD)
    async with build_worker(stack.temporal, stack.provider, stack.worker):
        await ask(stack, 1)
        run = await working(stack)
        seen = await pause(stack)
        first = (await stack.handle.describe()).run_id
        monkeypatch.setattr(Info, "is_continue_as_new_suggested", lambda info: info.run_id == first)
        await stack.order(SIGNAL_LOOK)
        await until(stack.handle.describe, lambda seen: seen.run_id != first, "it continued as new")
    async with build_worker(stack.temporal, stack.provider, stack.worker):
        await ask(stack, 2)
        again = await until(lambda: runs(stack), lambda seen: len(seen.receipts) == 2, "the second request is known")
        assert (again.pause, again.runs) == (seen.pause, seen.runs)
        assert not await alive(stack, run, 2)
        await let_go(stack)
        await stack.order(SIGNAL_RESUME)
        assert [each.outcome for each in await over(stack, 2)] == [RunOutcome.DONE] * 2


async def test_cancel_ends_a_paused_run_and_the_next_request_waits_for_the_resume(start: Started) -> None:
    """The pause is a person's, of the issue: it outlasts the run."""
    stack = await start(**WORK, run_command=UNTIL_TOLD)
    await ask(stack, 1)
    await working(stack)
    await pause(stack)
    await stack.order(SIGNAL_CANCEL_RUN)
    (run,) = await over(stack)
    assert (run.outcome, run.attempt) == (RunOutcome.CANCELLED, 2)
    await ask(stack, 2)
    seen = await until(lambda: runs(stack), lambda seen: len(seen.receipts) == 2, "the second request is known")
    assert [(each.key, each.state) for each in seen.receipts] == [("comment-1", "over"), ("comment-2", "waiting")]
    assert seen.receipts[-1].reason == PAUSED_BY_ANN
    assert len((await in_the_sandbox(stack, LEDGER)).splitlines()) == 1
    await let_go(stack)
    await stack.order(SIGNAL_RESUME)
    assert (await over(stack, 2))[-1].outcome is RunOutcome.DONE


@pytest.mark.parametrize("ends_with", ["close", "deleted", "delete"])
async def test_paused_run_holds_up_no_end_of_its_issue(start: Started, ends_with: str) -> None:
    """The timers of a closed issue count from its close, and the delete of the sandbox cancels the run."""
    stack = await start(**WORK, run_command=UNTIL_TOLD, close_stop_after_s=1, close_archive_after_s=-1,
                        close_delete_after_s=3)  # fmt: skip
    await ask(stack, 1)
    await working(stack)
    await pause(stack)
    before = datetime.now(UTC)
    if ends_with == "delete":
        await stack.order(SIGNAL_DELETE)
    else:
        await stack.close(IssueState.CLOSED if ends_with == "close" else IssueState.DELETED)
    (run,) = await over(stack)
    assert (run.outcome, (await stack.status()).goal) == (RunOutcome.CANCELLED, Goal.DELETED)
    await stack.reached(Goal.DELETED)
    assert await stack.state() == ""
    commands = [
        each for each in await stack.daytona.admin.journal(kind="request") if each.operation in {"stop", "delete"}
    ]
    assert commands[-1].operation == "delete"
    if ends_with == "close":
        assert commands[0].operation == "stop"
        assert 2.9 < commands[-1].at - before.timestamp() < 20


async def test_paused_run_on_a_closed_issue_goes_on_when_it_is_resumed(start: Started) -> None:
    """Its sandbox was stopped in between, by the ladder: it is started, and the ladder counts from the run's end."""
    stack = await start(**WORK, run_command=UNTIL_TOLD, close_stop_after_s=1, close_archive_after_s=-1,
                        close_delete_after_s=-1)  # fmt: skip
    await ask(stack, 1)
    await working(stack)
    await pause(stack)
    await stack.close()
    await stack.reached(Goal.STOPPED)
    await stack.order(SIGNAL_RESUME)
    assert (await working(stack)).attempt == 2
    assert (await stack.status()).goal_due_at is None
    await let_go(stack)
    (run,) = await over(stack)
    assert run.outcome is RunOutcome.DONE
    await stack.reached(Goal.STOPPED)
    assert await stack.state() == "stopped"


async def test_resume_lifts_a_stop_and_a_sandbox_that_is_asked_for_lifts_no_pause(start: Started) -> None:
    stack = await start(**WORK, run_command=UNTIL_TOLD)
    await ask(stack, 1)
    await working(stack)
    await pause(stack)
    await stack.order(SIGNAL_STOP)
    await stack.reached(Goal.STOPPED)
    await stack.ensure()
    seen = await runs(stack)
    assert (seen.runs[-1].state, seen.runs[-1].attempt, await stack.state()) == (RunState.PAUSED, 2, "started")
    await stack.order(SIGNAL_STOP)
    await stack.reached(Goal.STOPPED)
    await stack.order(SIGNAL_RESUME)
    assert (await working(stack)).attempt == 2
    await let_go(stack)
    assert (await over(stack))[0].outcome is RunOutcome.DONE


async def test_paused_run_leaves_its_slot_to_another_issue(start: Started) -> None:
    stack = await start(**WORK, run_command=UNTIL_TOLD, runs_max=1)
    other = stack.another()
    await ask(stack, 1)
    await working(stack)
    await ask(other, 1)
    await pause(stack)
    await working(other)
    await stack.order(SIGNAL_RESUME)
    waits = await until(lambda: runs(stack), lambda seen: "waiting until fewer runs" in seen.receipts[0].reason, "told")
    assert (waits.runs[-1].state, waits.runs[-1].attempt) == (RunState.WAITING, 2)
    for each in (other, stack):
        await let_go(each)
        assert (await over(each))[0].outcome is RunOutcome.DONE
    await pause(other)
    await ask(other, 2)
    await until(lambda: runs(other), lambda seen: seen.receipts[-1].place == 1, "a request waits for the resume")
    await ask(stack, 2)
    await over(stack, 2)


async def stopped_under_it(stack: Stack, attempt: int) -> None:
    """Somebody stops the sandbox in the dashboard while this attempt works."""
    await until(
        lambda: runs(stack),
        lambda seen: bool(seen.runs) and seen.runs[-1].attempt == attempt and seen.runs[-1].phase == "running",
        f"attempt {attempt} works",
        60.0,
    )
    await stack.daytona.admin.act(stack.name, "stop")


async def test_pause_that_the_stops_made_ends_with_its_run(start: Started) -> None:
    """Cancelled while it is paused: whoever asks next is not left waiting for a resume of what is over."""
    stack = await start(**WORK, run_command=UNTIL_TOLD)
    await ask(stack, 1)
    await stopped_under_it(stack, 1)
    await stopped_under_it(stack, 2)
    await rested(stack)
    await stack.order(SIGNAL_CANCEL_RUN)
    assert (await over(stack))[0].outcome is RunOutcome.CANCELLED
    await ask(stack, 2)
    await until(lambda: runs(stack), lambda seen: len(seen.runs) == 2, "the next request has its run", 60.0)
    await working(stack)
    await let_go(stack)
    assert (await over(stack, 2))[-1].outcome is RunOutcome.DONE
