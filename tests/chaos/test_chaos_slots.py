"""A chaos run with a cap: its figures, when its queue is at rest, and the shortened times of the gate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.client import Client

from issuebox.domain import gate, slot
from proofs.chaos import settling
from proofs.chaos.__main__ import command, parse
from proofs.chaos.settling import NotAtRestError, settled
from proofs.chaos.slots import Wait, overtaken, used
from proofs.chaos.tally import Tally
from proofs.checker.evidence import Block
from proofs.shortened import shorten_gate
from tests.chaos.tape import RUNNING, STOPPED, Tape
from tests.chaos.test_checker_caps import stopped, up

QUEUED: dict[str, Any] = {
    "blocked": {"cause": "queued", "reason": "waiting until fewer sandboxes run"},
    "doing": "queued until its turn comes",
    "goal": "running",
    "goal_due_at": None,
    "requests_waiting": 1,
    "run": None,
    "run_pause": None,
    "run_requests_waiting": 0,
}
RESTING = QUEUED | {"blocked": None, "doing": "resting", "requests_waiting": 0}


def block(tape: Tape, issue: int, cause: str = "queued") -> Block:
    """The service reports that an issue is blocked."""
    tape.now += 1.0
    name = f"claude-issue-{issue}"
    return Block(workflow_id=name, run_id="r", event_id=1, at=tape.now, cause=cause)


def test_figures_tell_how_long_a_slot_was_free_while_somebody_waited() -> None:
    """The second issue waits from before the first one's stop, the third from after it."""
    tape = Tape()
    first = up(tape)
    tape.send("opened", RUNNING, issue=2)
    blocks = [block(tape, 2)]
    asked_at = tape.now
    tape.send("closed", STOPPED)
    tape.stop(first)
    freed_at, waited = tape.now, 10.0
    tape.now += waited
    blocks.append(block(tape, 3))
    second = tape.create("claude-issue-2")
    came_at = next(each.at for each in tape.journal if each.sandbox_id == second and each.kind == "created")
    figures = used(tape.evidence(running_max=1, queued={3}, blocks=blocks))
    assert figures["slot free while one waited, max"] == came_at - freed_at
    assert figures["waited, max"] == came_at - asked_at
    counts = ("cap", "up at most", "queued waits", "served from the queue", "queued at rest", "overtaken")
    assert [figures[name] for name in counts] == [1, 1, 2, 1, 1, 0]


def test_slot_that_was_free_before_anybody_waited_is_free_from_the_wait_on() -> None:
    tape = Tape()
    stopped(tape)
    tape.now += 100.0
    blocks = [block(tape, 2)]
    up(tape, 2)
    assert used(tape.evidence(running_max=1, blocks=blocks))["slot free while one waited, max"] < 5.0


def test_wait_that_was_called_off_is_none_that_was_served() -> None:
    """The last report before the handover is another one, or none."""
    tape = Tape()
    blocks = [block(tape, 1), block(tape, 1, "quota")]
    up(tape)
    up(tape, 2)
    blocks.append(block(tape, 2))
    figures = used(tape.evidence(running_max=9, blocks=blocks))
    assert (figures["queued waits"], figures["served from the queue"]) == (2, 0)


def test_run_without_a_cap_has_no_figures() -> None:
    assert used(Tape().evidence()) == {}


@pytest.mark.parametrize(
    ("since", "until", "asked", "count"),
    [
        (0.0, 60.0, (), 1),
        (0.0, 40.0, (), 0),
        (18.0, 60.0, (), 0),
        (0.0, 60.0, ((1, 30.0),), 0),
        (0.0, 60.0, ((2, 30.0),), 1),
        (0.0, 60.0, ((1, 70.0),), 1),
    ],
    ids=["later one first", "in order", "about the same time", "a person", "another's person", "too late"],
)
def test_overtaken(since: float, until: float, asked: tuple[tuple[int, float], ...], count: int) -> None:
    """Issue 1 waited from 20 to 50, and issue 2 as given."""
    one, other = Wait(1, 20.0, 50.0), Wait(2, since, until)
    assert overtaken([one], [one, other], asked) == count


@dataclass
class Temporal:
    """Workflows that say of themselves what they do."""

    says: dict[str, dict[str, Any]]

    async def list_workflows(self, _: str) -> AsyncIterator[SimpleNamespace]:
        for name in self.says:
            yield SimpleNamespace(id=name)

    def get_workflow_handle(self, name: str) -> SimpleNamespace:
        async def query(*_: object, **__: object) -> dict[str, Any]:
            return self.says[name]

        return SimpleNamespace(query=query)


async def _settled(says: dict[str, dict[str, Any]], is_full: list[bool], timeout_s: float = 5.0) -> Tally:
    tally, answers = Tally(), iter(is_full)

    async def full() -> bool:
        return next(answers)

    await settled(cast("Client", Temporal(says)), tally, timeout_s, is_full=full)
    return tally


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "POLL_INTERVAL_S", 0.01)


async def test_issue_that_is_queued_is_at_rest_once_all_slots_are_in_use() -> None:
    says = {"claude-issue-1": RESTING, "claude-issue-2": QUEUED}
    tally = await _settled(says, [False, False, True])
    assert tally.queued == {2}


async def test_nobody_is_queued_at_rest_without_a_cap() -> None:
    with pytest.raises(NotAtRestError, match="claude-issue-2: queued"):
        await settled(cast("Client", Temporal({"claude-issue-2": QUEUED})), Tally(), 0.2)


@pytest.mark.parametrize(
    "changes",
    [
        {"doing": "looking the sandbox up"},
        {"goal_due_at": "2026-01-01T00:00:00Z"},
        {"blocked": {"cause": "quota", "reason": ""}},
    ],
    ids=["it does something", "it has a next goal", "it waits for Daytona's quota"],
)
async def test_queued_issue_with_more_to_do_is_not_at_rest(changes: dict[str, Any]) -> None:
    with pytest.raises(NotAtRestError):
        await _settled({"claude-issue-2": QUEUED | changes}, [True] * 1000, 0.2)


def test_times_of_the_gate_are_shortened_and_the_others_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "PROBE_EVERY", gate.PROBE_EVERY)
    monkeypatch.setattr(slot, "ASK_AGAIN", slot.ASK_AGAIN)
    assert shorten_gate({"gate_probe_every_s": 6.0, "gate_asked_again_s": 7.5, "pending_budget_s": 10.0}) == {
        "pending_budget_s": 10.0
    }
    assert (timedelta(seconds=6), timedelta(seconds=7.5)) == (gate.PROBE_EVERY, slot.ASK_AGAIN)


def test_command_that_repeats_a_run_has_its_cap() -> None:
    asked = ["--seed", "7", "--issues", "20", "--minutes", "3"]
    assert command(parse(asked)) == "make chaos SEED=7 ISSUES=20 MINUTES=3"
    assert command(parse([*asked, "--running-max", "5"])).endswith("MINUTES=3 ARGS='--running-max 5'")
