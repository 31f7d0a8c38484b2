"""Each way to start an agent works without faults. A few tests show the defects that were read, and that they count."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from localdaytona.testing import running_inside
from localdaytona.types import JSONObject
from proofs.peers.agents.agent import Work
from proofs.peers.agents.campaign import play
from proofs.peers.agents.command import ALL
from proofs.peers.agents.count import RunCounts, count
from proofs.peers.agents.forget import FireAndForget
from proofs.peers.agents.plan import Kill, Life, Moment, Round, Send, Since, inside
from proofs.peers.agents.queue import LockedQueue, Queue
from proofs.peers.agents.server import ServerInTheBox
from proofs.peers.agents.starter import Starter
from proofs.peers.agents.steps import OneStep, TwoSteps
from proofs.peers.agents.system import starter_system
from proofs.peers.drive import CALM_CONFIG

SPEED = 20.0
ISSUE = 7
ONCE = (Send(0, 0, 0),)
BRIEF = Work(3)


async def _counted(
    kind: type[Starter],
    scratch: Path,
    moments: Sequence[Moment] = ONCE,
    *rules: JSONObject,
    work: Work = BRIEF,
    is_called_off: bool = False,
) -> RunCounts:
    """What one issue's life leaves with one system."""
    life = Life(work, tuple(moments))
    each = Round("T1", "test", lambda _: life, tuple({"times": 1, **rule} for rule in rules), is_called_off)
    home = scratch / kind.__name__
    home.mkdir()
    async with running_inside(home, speed=SPEED) as server:
        await server.admin.config(**CALM_CONFIG)
        async with starter_system(kind, server, SPEED, "test") as system:
            system.quiet_s = 0.1
            counts = count(await play(system, server, each, [ISSUE], seed=1))
    assert counts.calls > 0
    return counts.model_copy(update={"calls": 0})


async def _of_each(kinds: Sequence[type[Starter]], scratch: Path, *moments: Moment, **asked: object) -> list[RunCounts]:
    return await asyncio.gather(*(_counted(kind, scratch, moments, **asked) for kind in kinds))  # type: ignore[arg-type]


CLEAN = RunCounts(requests=1, executions=1)


async def test_without_faults_each_way_executes_a_request_once(tmp_path: Path) -> None:
    """The control: what a row counts under faults comes from the faults."""
    assert await _of_each(ALL, tmp_path, *ONCE) == [CLEAN] * len(ALL)


async def test_planted_second_execution_is_counted(tmp_path: Path) -> None:
    """A proxy sends the start twice: one request, two agents at once, and a record of one of them."""
    twice = inside(1.0, {"kind": "twice"})
    doubled = RunCounts(requests=1, executions=2, doubled=1, crowded=1, orphaned=1)
    assert await _counted(FireAndForget, tmp_path, ONCE, twice) == doubled


async def test_comment_by_two_hooks_is_executed_twice_where_deliveries_are_not_remembered(tmp_path: Path) -> None:
    """The others know the comment's ID."""
    copies = (*ONCE, Send(0.02, 1, 0, hook=1), Send(0.8, 1, 0))
    forgetful, *others = await _of_each((FireAndForget, TwoSteps, ServerInTheBox), tmp_path, *copies)
    assert (forgetful.requests, forgetful.doubled, forgetful.executions) == (1, 1, 3)
    assert others == [CLEAN, CLEAN]


async def test_worker_that_is_killed_while_the_agent_works_has_it_started_again(tmp_path: Path) -> None:
    """By the step that waits, and by the queue; not where start and wait are two steps, or a lock outlives it."""
    life = (*ONCE, Kill(0.1))
    kinds = (OneStep, Queue, TwoSteps, LockedQueue)
    one_step, queue, two_steps, locked = await _of_each(kinds, tmp_path, *life, work=Work(15))
    assert (one_step.doubled, one_step.executions) == (1, 2)
    assert (queue.doubled, queue.executions) == (1, 2)
    assert (two_steps, locked) == (CLEAN, CLEAN)


async def test_failure_behind_a_200_is_a_lost_request(tmp_path: Path) -> None:
    """Nobody tries it again, and the sender does not know."""
    failing = inside(1.0, {"kind": "status", "status": 502})
    assert await _counted(FireAndForget, tmp_path, ONCE, failing) == RunCounts(requests=1, lost=1)


async def test_helper_in_a_session_of_its_own_outlives_the_end_of_the_process_group(tmp_path: Path) -> None:
    """So the cancel left something alive. Without a helper it left nothing. Who knows no cancel leaves the agent."""
    life = (*ONCE, Send(0.3, 1, 1, "cancel", since=Since.WORK))

    async def cancelled(kind: type[Starter], *, has_helper: bool) -> RunCounts:
        home = tmp_path / str(has_helper)
        home.mkdir(exist_ok=True)
        return await _counted(kind, home, life, work=Work(150, has_helper), is_called_off=True)

    alone, helped, forgotten = await asyncio.gather(
        cancelled(TwoSteps, has_helper=False),
        cancelled(TwoSteps, has_helper=True),
        cancelled(FireAndForget, has_helper=False),
    )
    expected = RunCounts(requests=1, executions=1, called_off=1)
    assert alone == expected
    assert helped == forgotten == expected.model_copy(update={"orphaned": 1})


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_notes_say_for_which_project_it_was_read_and_what_was_inferred(kind: type[Starter]) -> None:
    """No row stands for a product without saying so."""
    assert "read in" in kind.notes or "as others write them" in kind.notes
    assert "inferred:" in kind.notes or "best configuration" in kind.notes
