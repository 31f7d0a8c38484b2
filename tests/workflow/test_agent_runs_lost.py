"""Whatever becomes of a step's request or its reply: the command of an attempt is executed once, and the run ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError

from issuebox.domain.run import RunOutcome
from issuebox.worker import build_worker
from tests.waiting import until
from workflows.run_messages import SIGNAL_CANCEL_RUN

from .conftest import Started
from .meddling import Around, GoOn
from .test_agent_runs import LEDGER, UNTIL_TOLD, WORK, alive, ask, in_the_sandbox, let_go, over, runs, working


async def _not_sent(go_on: GoOn, _late: list[asyncio.Task[Any]]) -> Any:
    del go_on
    raise ApplicationError("the request was lost", type="AmbiguousError")


async def _reply_lost(go_on: GoOn, _late: list[asyncio.Task[Any]]) -> Any:
    await go_on()
    raise ApplicationError("the reply was lost", type="AmbiguousError")


async def _twice(go_on: GoOn, _late: list[asyncio.Task[Any]]) -> Any:
    first, _ = await asyncio.gather(go_on(), go_on())
    return first


async def _late(go_on: GoOn, late: list[asyncio.Task[Any]]) -> Any:
    """It is executed after the workflow has decided anew."""

    async def later() -> None:
        await asyncio.sleep(1.5)
        await go_on()

    late.append(asyncio.create_task(later()))
    raise ApplicationError("the request was lost for a while", type="AmbiguousError")


Mishap = Callable[[GoOn, list[asyncio.Task[Any]]], Awaitable[Any]]
MISHAPS: dict[str, Mishap] = {"not sent": _not_sent, "reply lost": _reply_lost, "twice": _twice, "late": _late}
STEPS = ("prepare_run", "begin_run", "follow_run", "collect_run")


class Once(Around):
    """Something happens to the first execution of one activity."""

    def __init__(self, step: str, mishap: Mishap) -> None:
        self.step, self.mishap = step, mishap
        self.late: list[asyncio.Task[Any]] = []
        self.happened = 0

    async def around(self, info: activity.Info, go_on: GoOn) -> Any:
        if info.activity_type != self.step or self.happened:
            return await go_on()
        self.happened += 1
        return await self.mishap(go_on, self.late)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("mishap", MISHAPS)
async def test_command_is_executed_once(start: Started, step: str, mishap: str) -> None:
    once = Once(step, MISHAPS[mishap])
    stack = await start(**WORK, interceptors=[once], run_command="echo worked >>~/worked; sleep 2")
    await ask(stack, 1)
    (run,) = await over(stack)
    await asyncio.gather(*once.late)
    assert once.happened == 1
    assert (run.outcome, run.attempt) == (RunOutcome.DONE, 1)
    assert await in_the_sandbox(stack, "cat ~/worked") == "worked\n"
    assert (await in_the_sandbox(stack, LEDGER)).split()[:2] == [run.id, "1"]
    assert len((await in_the_sandbox(stack, LEDGER)).splitlines()) == 1


async def test_begin_that_comes_after_a_cancel_begins_nothing(start: Started) -> None:
    """The fence has claimed the attempt. Without that, the command would run in a sandbox that nobody watches."""
    once = Once("begin_run", _late)
    stack = await start(**WORK, interceptors=[once], run_command="echo worked >>~/worked")
    await ask(stack, 1)
    await until(lambda: _happened(once), lambda happened: happened == 1, "the begin is on its way")
    await stack.order(SIGNAL_CANCEL_RUN)
    (run,) = await over(stack)
    await asyncio.gather(*once.late)
    assert run.outcome is RunOutcome.CANCELLED
    assert not await alive(stack, run)
    assert "No such file" in await in_the_sandbox(stack, "cat ~/worked")
    assert "No such file" in await in_the_sandbox(stack, LEDGER)


async def _happened(once: Once) -> int:
    return once.happened


async def test_agent_does_not_notice_that_workers_come_and_go(start: Started) -> None:
    stack = await start(**WORK, has_worker=False, run_command=UNTIL_TOLD)
    async with build_worker(stack.temporal, stack.provider, stack.worker):
        await ask(stack, 1)
        run = await working(stack)
    job = f"cat ~/.issuebox/runs/{run.id}/1/begun/job"
    before = await in_the_sandbox(stack, job)
    async with build_worker(stack.temporal, stack.provider, stack.worker):
        await until(lambda: runs(stack), lambda seen: seen.runs[-1].phase == "running", "followed again")
        assert await in_the_sandbox(stack, job) == before
    await let_go(stack)
    async with build_worker(stack.temporal, stack.provider, stack.worker):
        (run,) = await over(stack)
    assert (run.outcome, run.attempt) == (RunOutcome.DONE, 1)
    assert await in_the_sandbox(stack, "cat ~/worked") == "begun\nend\n"


async def test_workflow_that_has_forgotten_a_run_ends_it_before_it_begins_another(start: Started) -> None:
    """Terminated and begun anew, or its database restored: two agents never work in one sandbox."""
    stack = await start(**WORK, run_command=UNTIL_TOLD)
    await ask(stack, 1)
    first = await working(stack)
    await stack.handle.terminate("a test")
    await ask(stack, 2)
    second = await working(stack)
    assert second.id != first.id
    assert not await alive(stack, first)
    assert await alive(stack, second)
    await let_go(stack)
    (second,) = await over(stack)
    assert second.outcome is RunOutcome.DONE


async def test_workflow_that_has_forgotten_a_run_and_is_asked_the_same_again_follows_it(start: Started) -> None:
    """The run's ID follows from the request, so what began is found, and begins no second time."""
    stack = await start(**WORK, run_command=UNTIL_TOLD)
    await ask(stack, 1)
    first = await working(stack)
    await stack.handle.terminate("a test")
    await ask(stack, 1)
    again = await working(stack)
    assert again.id == first.id
    await let_go(stack)
    (run,) = await over(stack)
    assert (run.outcome, run.attempt) == (RunOutcome.DONE, 1)
    assert await in_the_sandbox(stack, "cat ~/worked") == "begun\nend\n"
    assert len((await in_the_sandbox(stack, LEDGER)).splitlines()) == 1
