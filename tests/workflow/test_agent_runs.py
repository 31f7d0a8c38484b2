"""Runs over the whole path: a request makes the agent work in the issue's sandbox, once."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.exceptions import ApplicationError

import activities.runs
from issuebox.domain import agent_output
from issuebox.domain.issue import Issue, IssueState
from issuebox.domain.phase import Goal
from issuebox.domain.run import RequestKind, RunGoal, RunOutcome, RunRequest
from tests.waiting import until
from workflows.messages import SIGNAL_DELETE, SIGNAL_STOP, DeleteRequest
from workflows.run_messages import (
    NEXT,
    QUERY_RUNS,
    SIGNAL_CANCEL_RUN,
    UPDATE_RUN,
    RunOrder,
    RunReceipt,
    RunsView,
    RunView,
)

from .conftest import Stack, Started
from .meddling import Meddler

WORK = {"run_preset": "command"}


async def runs(stack: Stack) -> RunsView:
    return await stack.handle.query(QUERY_RUNS, result_type=RunsView)


async def over(stack: Stack, count: int = 1) -> list[RunView]:
    """Wait until so many runs are over; all of them."""
    seen = await until(
        lambda: runs(stack),
        lambda seen: len(seen.runs) >= count and all(run.outcome for run in seen.runs),
        f"{count} runs over",
        60.0,
    )
    return list(seen.runs)


async def working(stack: Stack) -> RunView:
    seen = await until(
        lambda: runs(stack), lambda seen: bool(seen.runs) and seen.runs[-1].phase == "running", "the agent works", 30.0
    )
    return seen.runs[-1]


async def ask(stack: Stack, number: int, text: str = "@claude do it") -> None:
    """A comment asks for work."""
    now = datetime.now(UTC)
    request = RunRequest(RequestKind.COMMENT, f"comment-{number}", "ann", text, comment_id=number, at=now)
    event = stack.event(event="issue_comment", action="created", is_explicit=True, requested_at=now, request=request)
    await stack.deliver(event)


async def in_the_sandbox(stack: Stack, command: str) -> str:
    (row,) = await stack.live()
    return (await stack.provider.execute(row.id, command, 10.0)).output


async def test_request_makes_one_run(start: Started) -> None:
    """Thin and whole: request, run, prepared, begun once, followed, collected."""
    stack = await start(**WORK, run_command='cat "$ISSUEBOX_RUN_DIR/prompt.md"; echo done >>~/worked')
    await ask(stack, 1)
    await ask(stack, 1)
    (run,) = await over(stack)
    assert (run.outcome, run.exit_code, run.attempt, run.keys) == (RunOutcome.DONE, 0, 1, ("comment-1",))
    assert await in_the_sandbox(stack, "cat ~/worked") == "done\n"
    assert len((await in_the_sandbox(stack, "cat ~/.issuebox/ledger")).splitlines()) == 1
    assert "@claude do it" in await in_the_sandbox(stack, f"cat ~/.issuebox/runs/{run.id}/1/out")


LEDGER = "cat ~/.issuebox/ledger"


async def alive(stack: Stack, run: RunView, attempt: int = 1) -> list[str]:
    """The processes of an attempt, as the kernel knows them."""
    marked = f"grep -las ISSUEBOX_RUN={run.id} /proc/[0-9]*/environ"
    found = await in_the_sandbox(stack, f"grep -las ISSUEBOX_RUN_ATTEMPT={attempt} $({marked}) /dev/null")
    return found.split()


UNTIL_TOLD = "echo begun >>~/worked; while [ ! -e ~/go ]; do sleep 0.1; done; echo end >>~/worked"
"""A job that works until a file appears."""


async def let_go(stack: Stack) -> None:
    await in_the_sandbox(stack, "touch ~/go")


async def test_requests_that_come_while_it_works_are_one_next_run(start: Started) -> None:
    """In order, in the same conversation; none is dropped, none is served twice."""
    stack = await start(**WORK, run_command=f'echo "$ISSUEBOX_RUN_KIND $ISSUEBOX_SESSION" >>~/kinds; {UNTIL_TOLD}')
    await ask(stack, 1)
    await working(stack)
    for number in (2, 3, 4):
        await ask(stack, number)
    seen = await runs(stack)
    assert [(receipt.key, receipt.state, receipt.place) for receipt in seen.receipts] == [
        ("comment-1", "given", 0),
        *((f"comment-{number}", "waiting", number - 1) for number in (2, 3, 4)),
    ]
    await let_go(stack)
    first, second = await over(stack, 2)
    assert (first.keys, second.keys) == (("comment-1",), ("comment-2", "comment-3", "comment-4"))
    kinds = [line.split() for line in (await in_the_sandbox(stack, "cat ~/kinds")).splitlines()]
    assert [kind for kind, _ in kinds] == ["start", "follow_up"]
    assert len({session for _, session in kinds}) == 1
    assert len((await in_the_sandbox(stack, LEDGER)).splitlines()) == 2


async def test_cancel_ends_it_in_order_and_leaves_nothing(start: Started) -> None:
    stack = await start(
        **WORK, run_command=f"(setsid sleep 600 &) ; trap 'echo in order >>~/worked; exit 3' TERM; {UNTIL_TOLD}"
    )
    await ask(stack, 1)
    await working(stack)
    await ask(stack, 2)
    await stack.order(SIGNAL_CANCEL_RUN)
    (run,) = await over(stack)
    assert (run.outcome, run.exit_code) == (RunOutcome.CANCELLED, 3)
    assert await in_the_sandbox(stack, "cat ~/worked") == "begun\nin order\n"
    assert not await alive(stack, run)
    receipts = (await runs(stack)).receipts
    assert [(receipt.key, receipt.state) for receipt in receipts] == [("comment-2", "refused"), ("comment-1", "over")]
    assert await stack.state() == "started"


async def test_close_lets_it_finish_and_the_ladder_counts_from_its_end(start: Started) -> None:
    stack = await start(**WORK, run_command=UNTIL_TOLD, close_stop_after_s=2, close_archive_after_s=-1,
                        close_delete_after_s=-1)  # fmt: skip
    await ask(stack, 1)
    await working(stack)
    await stack.close()
    closed_at = datetime.now(UTC)
    await until(_now, lambda now: now > closed_at + timedelta(seconds=2.5), "the time to the stop is over")
    status = await stack.status()
    assert (status.goal, status.goal_due_at, await stack.state()) == (Goal.RUNNING, None, "started")
    await let_go(stack)
    (run,) = await over(stack)
    assert (run.outcome, run.ended_at is not None) == (RunOutcome.DONE, True)
    await stack.reached(Goal.STOPPED)
    assert await stack.state() == "stopped"
    (stop,) = [each for each in await stack.daytona.admin.journal(kind="request") if each.operation == "stop"]
    assert run.ended_at is not None
    assert stop.at - run.ended_at.timestamp() > 1.8


async def _now() -> datetime:
    return datetime.now(UTC)


async def test_order_waits_for_a_run_that_cannot_be_reached_without_asking_for_ever(start: Started) -> None:
    """The sandbox's toolbox is away: the stop waits, with pauses, and Daytona is not asked in a loop."""
    stack = await start(**WORK, run_command=UNTIL_TOLD)
    await ask(stack, 1)
    await working(stack)
    await stack.daytona.admin.add_fault("toolbox", {"kind": "status", "status": 502}, times=None)
    before = len(await stack.requests())
    await stack.order(SIGNAL_STOP)
    ordered_at = datetime.now(UTC)
    await until(_now, lambda now: now > ordered_at + timedelta(seconds=5), "some pauses")
    asked = await stack.requests()
    assert "stop" not in asked
    assert len(asked) - before < 60
    await stack.daytona.admin.set_faults()
    await until(stack.state, "stopped".__eq__, "stopped")  # Between two tries the workflow rests as well.
    await stack.reached(Goal.STOPPED)


async def test_close_cancels_it_where_the_settings_say_so(start: Started) -> None:
    stack = await start(**WORK, run_command=UNTIL_TOLD, run_on_close="cancel", close_stop_after_s=0,
                        close_archive_after_s=-1, close_delete_after_s=-1)  # fmt: skip
    await ask(stack, 1)
    await working(stack)
    await stack.close()
    (run,) = await over(stack)
    assert run.outcome is RunOutcome.CANCELLED
    await stack.reached(Goal.STOPPED)


async def test_stop_order_pauses_it_and_the_next_request_continues_it(start: Started) -> None:
    stack = await start(**WORK, run_command=f'echo "$ISSUEBOX_RUN_KIND" >>~/kinds; {UNTIL_TOLD}')
    await ask(stack, 1)
    await working(stack)
    await stack.order(SIGNAL_STOP)
    await stack.reached(Goal.STOPPED)
    (run,) = (await runs(stack)).runs
    assert (run.outcome, run.goal, run.attempt, await stack.state()) == (None, RunGoal.PAUSE, 2, "stopped")
    assert not [each for each in await stack.daytona.admin.journal(kind="request") if each.operation == "delete"]
    await stack.ensure()
    await working(stack)
    await let_go(stack)
    (run,) = await over(stack)
    assert (run.outcome, run.attempt, run.cut_off) == (RunOutcome.DONE, 2, 0)
    assert (await in_the_sandbox(stack, "cat ~/kinds")).split() == ["start", "resume"]


async def test_delete_order_ends_it_first(start: Started) -> None:
    stack = await start(**WORK, run_command=UNTIL_TOLD)
    await ask(stack, 1)
    await working(stack)
    await stack.order(SIGNAL_DELETE)
    (run,) = await over(stack)
    assert run.outcome is RunOutcome.CANCELLED
    await stack.reached(Goal.DELETED)
    assert await stack.state() == ""


async def test_forced_delete_does_not_wait_for_it(start: Started) -> None:
    stack = await start(**WORK, run_command=f"trap '' TERM INT; {UNTIL_TOLD}")
    await ask(stack, 1)
    await working(stack)
    await stack.order(SIGNAL_DELETE, DeleteRequest(force=True))
    await stack.reached(Goal.DELETED)
    (run,) = await over(stack)
    assert (run.outcome, await stack.state()) == (RunOutcome.CANCELLED, "")


async def test_issue_that_is_deleted_ends_it(start: Started) -> None:
    stack = await start(**WORK, run_command=UNTIL_TOLD)
    await ask(stack, 1)
    await working(stack)
    await stack.close(IssueState.DELETED)
    (run,) = await over(stack)
    assert run.outcome is RunOutcome.CANCELLED
    await stack.reached(Goal.DELETED)


async def test_sandbox_that_is_stopped_under_it_is_started_and_it_goes_on(start: Started) -> None:
    """In the dashboard, say. What it wrote stays, and the next attempt says that it continues."""
    stack = await start(**WORK, run_command=f'echo "$ISSUEBOX_RUN_KIND" >>~/kinds; {UNTIL_TOLD}')
    await ask(stack, 1)
    await working(stack)
    await stack.daytona.admin.act(stack.name, "stop")
    seen = await until(
        lambda: runs(stack),
        lambda seen: seen.runs[-1].attempt == 2 and seen.runs[-1].phase == "running",
        "the next attempt works",
        40.0,
    )
    assert seen.runs[-1].cut_off == 1
    await let_go(stack)
    (run,) = await over(stack)
    assert run.outcome is RunOutcome.DONE
    assert (await in_the_sandbox(stack, "cat ~/kinds")).split() == ["start", "resume"]


async def test_killed_supervisor_is_fenced_before_the_next_attempt(start: Started) -> None:
    """The job lives on without it: it is ended first, so that two attempts never work at once."""
    stack = await start(**WORK, run_command=UNTIL_TOLD)
    await ask(stack, 1)
    run = await working(stack)
    await in_the_sandbox(stack, f"kill -9 $(cut -d' ' -f1 ~/.issuebox/runs/{run.id}/1/begun/supervisor)")
    await until(lambda: runs(stack), lambda seen: seen.runs[-1].attempt == 2, "the next attempt", 40.0)
    await working(stack)
    assert not await alive(stack, run, 1)
    assert await alive(stack, run, 2)
    await let_go(stack)
    assert (await over(stack))[0].outcome is RunOutcome.DONE


async def test_attempts_that_are_cut_off_again_and_again_are_given_up(start: Started) -> None:
    stack = await start(**WORK, run_attempts=2, run_command="kill -9 $PPID; sleep 60")
    await ask(stack, 1)
    (run,) = await over(stack)
    assert (run.outcome, run.cut_off) == (RunOutcome.ATTEMPTS, 2)
    assert "killed" in run.reason


async def test_time_limit_ends_it(start: Started) -> None:
    stack = await start(**WORK, run_timeout_s=1, run_command=UNTIL_TOLD)
    await ask(stack, 1)
    (run,) = await over(stack)
    assert run.outcome is RunOutcome.TIME_LIMIT


async def test_silent_run_is_stalled(start: Started) -> None:
    stack = await start(**WORK, run_stall_s=1, run_command=UNTIL_TOLD)
    await ask(stack, 1)
    (run,) = await over(stack)
    assert run.outcome is RunOutcome.STALLED


async def test_command_that_asks_for_a_pause_is_continued(start: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_output, "WAIT_S", 0.2)
    stack = await start(**WORK, run_command="[ -e ~/again ] || { touch ~/again; exit 75; }")
    await ask(stack, 1)
    (run,) = await over(stack)
    assert (run.outcome, run.attempt, run.cut_off) == (RunOutcome.DONE, 2, 0)


async def test_sandbox_that_is_exchanged_under_it_loses_the_run(start: Started) -> None:
    """Nothing of it is begun again elsewhere: who asked decides."""
    stack = await start(**WORK, run_command=UNTIL_TOLD)
    await ask(stack, 1)
    await working(stack)
    await stack.daytona.admin.act(stack.name, "delete")
    (run,) = await over(stack)
    assert run.outcome is RunOutcome.LOST
    assert len([each for each in await stack.daytona.admin.journal(kind="created") if each.name == stack.name]) == 2
    assert (await in_the_sandbox(stack, "ls ~/worked")).strip().endswith("No such file or directory")


async def test_nothing_runs_without_a_preset(start: Started) -> None:
    stack = await start()
    await ask(stack, 1)
    seen = await until(
        lambda: runs(stack), lambda seen: [each.state for each in seen.receipts] == ["refused"], "refused"
    )
    assert (seen.runs, [(each.key, each.state) for each in seen.receipts]) == ((), [("comment-1", "refused")])
    assert "ISSUEBOX_RUN_PRESET" in seen.receipts[0].reason


async def test_order_by_update_has_a_receipt_and_is_taken_once(start: Started) -> None:
    stack = await start(**WORK, run_command="true")
    await stack.ensure()
    order = RunOrder(Issue(stack.issue_id), "do it", "call-1", "ann")
    receipt = await stack.handle.execute_update(UPDATE_RUN, order, result_type=RunReceipt)
    assert (receipt.key, receipt.state) == ("call-1", "waiting")
    (run,) = await over(stack)
    again = await stack.handle.execute_update(UPDATE_RUN, order, result_type=RunReceipt)
    assert (again.state, again.run, again.next_step) == ("over", run.id, NEXT[RunOutcome.DONE])
    assert len((await in_the_sandbox(stack, LEDGER)).splitlines()) == 1


async def test_secret_is_in_no_file_and_in_no_history(start: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "s3cret-" + uuid.uuid4().hex
    monkeypatch.setenv("AGENT_KEY", secret)
    stack = await start(**WORK, run_env="AGENT_KEY", run_command='[ -n "$AGENT_KEY" ] && echo "has $ISSUEBOX_RUN"')
    await ask(stack, 1)
    (run,) = await over(stack)
    assert run.outcome is RunOutcome.DONE
    assert await in_the_sandbox(stack, f"grep -rl {secret} ~ || echo none") == "none\n"
    assert secret not in (await stack.handle.fetch_history()).to_json()


async def test_value_that_the_worker_lacks_is_told(start: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AGENT_KEY", raising=False)
    stack = await start(**WORK, run_env="AGENT_KEY", run_command="true")
    await ask(stack, 1)
    (run,) = await over(stack)
    assert run.outcome is RunOutcome.REFUSED
    assert "AGENT_KEY" in run.reason


async def test_end_of_a_run_that_wrote_much_is_read(start: Started) -> None:
    """The ends of both streams and a long result fit into one reply."""
    much = "head -c 400000 /dev/zero | tr '\\0' x"
    result = 'printf \'{"summary": "fixed", "x": "%060000d"}\' 0 >"$ISSUEBOX_RUN_DIR/result.json"'
    stack = await start(**WORK, run_command=f"{much}; {much} >&2; {result}")
    await ask(stack, 1)
    (run,) = await over(stack)
    assert (run.outcome, run.summary) == (RunOutcome.DONE, "fixed")


async def test_close_ends_a_run_that_has_not_begun(start: Started) -> None:
    """It is finished only when there is something to finish."""
    before = Meddler("begin_run")
    stack = await start(**WORK, interceptors=[before], run_command="echo worked >>~/worked")

    async def close() -> None:
        await stack.close()
        raise ApplicationError("the request was lost", type="AmbiguousError")

    before.changes[stack.name] = close
    await ask(stack, 1)
    (run,) = await over(stack)
    assert run.outcome is RunOutcome.CANCELLED
    assert "No such file" in await in_the_sandbox(stack, "cat ~/worked")


async def test_secret_that_the_command_prints_is_in_no_progress(
    start: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower reads progress from the output itself, and histories keep it."""
    secret = "s3cret-" + uuid.uuid4().hex
    monkeypatch.setenv("AGENT_KEY", secret)
    monkeypatch.setattr(activities.runs, "FOLLOW_S", 0.5)
    stack = await start(**WORK, run_env="AGENT_KEY", run_command=f'echo "the key is $AGENT_KEY"; {UNTIL_TOLD}')
    await ask(stack, 1)
    seen = await until(lambda: runs(stack), lambda seen: bool(seen.runs and seen.runs[-1].progress), "progress is told")
    assert seen.runs[-1].progress == f"the key is {'*' * len(secret)}"
    await let_go(stack)
    await over(stack)
    assert secret not in (await stack.handle.fetch_history()).to_json()
