"""Rule (O), never more up by the service's doing than the cap, and what at rest is said of an issue that is queued.

Each story is a tape, with the letters of the rules that it breaks where the cap is 1. Each issue has one sandbox.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from localdaytona.fault_model import FailTransition
from proofs.checker.evidence import Block
from proofs.checker.rules import Watch, is_checked
from proofs.checker.run_dir import read_run, write_run
from tests.chaos.tape import GONE, RUNNING, STOPPED, Tape

Story = Callable[[Tape], object]


def up(tape: Tape, issue: int = 1, *, by: str = "create", is_started: bool = True) -> str:
    """An issue whose sandbox is created."""
    tape.send("opened", RUNNING, issue=issue)
    return tape.create(f"claude-issue-{issue}", by=by, is_started=is_started)


def stopped(tape: Tape, issue: int = 1) -> str:
    """An issue that was closed after it had its sandbox."""
    sandbox = up(tape, issue)
    tape.send("closed", STOPPED, issue=issue)
    tape.stop(sandbox)
    return sandbox


def again(tape: Tape, sandbox: str, issue: int = 1, *, by: str = "start") -> None:
    """It is asked for again, and started."""
    tape.send("reopened", RUNNING, issue=issue)
    tape.start(sandbox, by=by)


def _one(tape: Tape) -> None:
    up(tape)


def _two_created(tape: Tape) -> None:
    up(tape)
    up(tape, 2)


def _second_before_the_first_runs(tape: Tape) -> None:
    """It counts from the accepted command on."""
    first = up(tape, is_started=False)
    up(tape, 2)
    tape.finish(first)


def _refused_beside_another(tape: Tape) -> None:
    up(tape)
    tape.refused_create("claude-issue-2")


def _one_after_the_other(tape: Tape) -> None:
    stopped(tape)
    up(tape, 2)


def _second_while_the_first_stops(tape: Tape) -> None:
    """It runs until it has stopped."""
    sandbox = up(tape)
    tape.send("closed", STOPPED)
    tape.stop(sandbox, is_finished=False)
    up(tape, 2)
    tape.finish(sandbox)


def _second_while_the_first_is_deleted(tape: Tape) -> None:
    """Daytona's own quota does not count it any more."""
    sandbox = stopped(tape)
    tape.start(sandbox, by="admin:start")
    tape.delete(sandbox, by="admin:delete", is_finished=False)
    up(tape, 2)
    tape.finish(sandbox)


def _started_beside_another(tape: Tape) -> None:
    first = stopped(tape)
    up(tape, 2)
    again(tape, first)


def _restored_beside_another(tape: Tape) -> None:
    first = stopped(tape)
    tape.archive(first)
    up(tape, 2)
    again(tape, first)


def _second_while_the_first_is_archived(tape: Tape) -> None:
    tape.archive(stopped(tape))
    up(tape, 2)


def _ended_by(act: str) -> Story:
    """Whoever ends it, it is up no more."""

    def write(tape: Tape) -> None:
        tape.stop(up(tape), by=act)
        up(tape, 2)

    return write


def _second_beside_one_that_failed(tape: Tape) -> None:
    tape.breaks(up(tape), by="start")
    up(tape, 2)


def _repaired_beside_another(tape: Tape) -> None:
    sandbox = up(tape)
    tape.breaks(sandbox, is_recoverable=True)
    up(tape, 2)
    tape.recover(sandbox)


def _repair_that_failed_beside_another(tape: Tape) -> None:
    """It had its error all the time."""
    sandbox = up(tape)
    tape.breaks(sandbox, is_recoverable=True)
    up(tape, 2)
    tape.recover(sandbox, effect=FailTransition(kind="fail_transition"))


def _started_by_hand_beside_another(tape: Tape) -> None:
    """People may go beyond the cap."""
    first = stopped(tape)
    up(tape, 2)
    again(tape, first, by="admin:start")


def _created_by_hand_beside_another(tape: Tape) -> None:
    up(tape)
    up(tape, 2, by="admin:create")


def _second_beside_one_by_hand(tape: Tape) -> None:
    """What the service could know of the one by hand, the journal does not say."""
    again(tape, stopped(tape), by="admin:start")
    up(tape, 2)


def _by_hand_and_then_by_the_service(tape: Tape) -> None:
    first = stopped(tape)
    up(tape, 2)
    again(tape, first, by="admin:start")
    tape.stop(first, by="auto_stop")
    again(tape, first)


def _executed_late(tape: Tape) -> None:
    """Whenever it is carried out, it is the service's command."""
    first = stopped(tape)
    tape.send("reopened", RUNNING)
    tape.start(first, meanwhile=lambda: up(tape, 2))


def _up_from_before(tape: Tape) -> None:
    """What was up before the journal began is in no count."""
    tape.create()
    tape.journal.clear()
    up(tape, 2)


STORIES: dict[str, tuple[Story, str]] = {
    "one": (_one, ""),
    "two are created": (_two_created, "O"),
    "a second before the first runs": (_second_before_the_first_runs, "O"),
    "a second is refused": (_refused_beside_another, ""),
    "one after the other": (_one_after_the_other, ""),
    "a second while the first stops": (_second_while_the_first_stops, "O"),
    "a second while the first is deleted": (_second_while_the_first_is_deleted, ""),
    "started beside another": (_started_beside_another, "O"),
    "restored beside another": (_restored_beside_another, "O"),
    "a second while the first is archived": (_second_while_the_first_is_archived, ""),
    "stopped by the timer": (_ended_by("auto_stop"), ""),
    "stopped by a person": (_ended_by("admin:stop"), ""),
    "a second beside one that failed": (_second_beside_one_that_failed, ""),
    "repaired beside another": (_repaired_beside_another, "O"),
    "a repair fails beside another": (_repair_that_failed_beside_another, ""),
    "started by hand beside another": (_started_by_hand_beside_another, ""),
    "created by hand beside another": (_created_by_hand_beside_another, ""),
    "a second beside one by hand": (_second_beside_one_by_hand, ""),
    "started by hand, and later by the service": (_by_hand_and_then_by_the_service, "O"),
    "executed late": (_executed_late, "O"),
    "up from before": (_up_from_before, ""),
}


@pytest.mark.parametrize(("story", "letters"), STORIES.values(), ids=STORIES.keys())
def test_never_more_are_up_by_the_services_doing_than_the_cap(story: Story, letters: str) -> None:
    tape = Tape()
    story(tape)
    assert tape.letters(running_max=1) == letters
    assert "O" not in tape.letters(), "without a cap nothing is over it"


def test_violation_names_the_sandbox_that_came_too_much() -> None:
    tape = Tape()
    _two_created(tape)
    assert tape.letters(running_max=2) == ""
    tape.create("claude-issue-3")
    (violation,) = (each for each in tape.broken(running_max=2) if each.rule == "O")
    assert violation.issue == 3
    assert violation.what == "s2 came up beside 2 that the service had up, and the cap is 2"


def test_each_that_came_too_much_is_told_once() -> None:
    """Neither who goes down again nor who is started by hand adds to it."""
    tape = Tape()
    _two_created(tape)
    third = up(tape, 3)
    tape.stop(third, by="auto_stop")
    up(tape, 4, by="admin:create")
    assert [each.issue for each in tape.broken(running_max=1) if each.rule == "O"] == [2, 3]


def test_start_counts_before_a_runner_has_taken_it() -> None:
    tape = Tape()
    first = stopped(tape)
    tape.send("reopened", RUNNING)
    tape.start(first, is_finished=False)
    up(tape, 2)
    tape.finish(first)
    assert [each.issue for each in tape.broken(running_max=1)] == [2]


def test_watch_counts_over_the_parts_of_the_journal() -> None:
    tape = Tape()
    up(tape)
    watch, read = Watch(), len(tape.journal)
    assert watch.feed(tape.evidence(running_max=1)) == []
    up(tape, 2)
    found = watch.feed(tape.evidence(running_max=1, journal=tape.journal[read:]))
    assert [violation.rule for violation in found] == ["O"]


@pytest.mark.parametrize(("most", "is_meant"), [(0, False), (1, True)])
def test_without_a_cap_the_rule_is_not_checked(most: int, is_meant: bool) -> None:
    evidence = Tape().evidence(running_max=most, is_at_rest=False)
    assert is_checked("O", evidence) is is_meant


def _first_waits(tape: Tape) -> None:
    tape.send("opened", RUNNING)
    up(tape, 2)


def _first_waits_for_its_start(tape: Tape) -> None:
    sandbox = stopped(tape)
    up(tape, 2)
    tape.send("reopened", RUNNING)
    tape.refused("start", sandbox)


def _first_waits_to_be_inspected(tape: Tape) -> None:
    stopped(tape)
    tape.send("deleted", GONE)
    up(tape, 2)


def _deleted_and_left_running(tape: Tape) -> None:
    """A stop or a delete needs no slot."""
    up(tape)
    tape.send("deleted", GONE)


def _closed_and_left_running(tape: Tape) -> None:
    up(tape)
    tape.send("closed", STOPPED)


def _first_waits_for_one_by_hand(tape: Tape) -> None:
    """People's sandboxes count for those who wait."""
    tape.send("opened", RUNNING)
    up(tape, 2, by="admin:create")


def _request_waits(tape: Tape) -> None:
    _first_waits(tape)
    tape.receive("comment-1", "waiting", run="")


QUEUED: dict[str, tuple[Story, str, str]] = {
    "waits for its create": (_first_waits, "", "ce"),
    "waits for its start": (_first_waits_for_its_start, "", "ce"),
    "waits to be inspected": (_first_waits_to_be_inspected, "", "e"),
    "waits for one by hand": (_first_waits_for_one_by_hand, "", "ce"),
    "deleted, and left running": (_deleted_and_left_running, "e", "e"),
    "closed, and left running": (_closed_and_left_running, "e", "e"),
    "its request waits as well": (_request_waits, "", "Hce"),
}
"""What the first issue breaks when the service says that it is queued, and when not."""


@pytest.mark.parametrize(("story", "queued", "otherwise"), QUEUED.values(), ids=QUEUED.keys())
def test_issue_that_is_queued_at_rest_is_as_it_should_be(story: Story, queued: str, otherwise: str) -> None:
    tape = Tape()
    story(tape)
    facts = {"running_max": 1, "worked_in": frozenset()}
    assert tape.letters(**facts, queued={1}) == queued
    assert tape.letters(**facts) == tape.letters(**facts, queued={2}) == otherwise


@pytest.mark.parametrize("most", [0, 2])
def test_issue_is_not_queued_while_a_slot_is_free(most: int) -> None:
    """The service may say so; the journal says that one is up."""
    tape = Tape()
    _first_waits(tape)
    assert tape.letters(running_max=most, queued={1}) == "ce"
    blocks = [Block(workflow_id="claude-issue-1", run_id="r", event_id=7, at=tape.now, cause="queued")]
    assert tape.letters(running_max=most, queued={1}, blocks=blocks) == "ce"


def test_cap_and_who_waits_are_part_of_the_evidence_on_disk(tmp_path: Path) -> None:
    tape = Tape()
    _first_waits(tape)
    write_run(tmp_path, tape.evidence(running_max=1, queued={1}))
    read = read_run(tmp_path)
    assert (read.running_max, read.queued) == (1, {1})
