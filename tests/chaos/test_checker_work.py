"""Rule (d), no work is lost: each wrong delete is found, and no right one.

Each story is a tape, with the letters of the rules that it breaks.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proofs.checker.rules import Watch
from tests.chaos.tape import GONE, RUNNING, STOPPED, Tape
from tests.chaos.test_checker import OTHER, ended, served

Story = Callable[[Tape], object]


def inspected(tape: Tape, sandbox: str, status: int | None = 200) -> None:
    """Started for an inspection alone, inspected, stopped."""
    tape.start(sandbox)
    tape.inspect(sandbox, status)
    tape.stop(sandbox)


def _deleted_while_running(tape: Tape) -> None:
    sandbox = served(tape)
    tape.send("deleted", GONE)
    tape.delete(sandbox)


def _deleted_without_an_inspection(tape: Tape) -> None:
    tape.delete(ended(tape))


def _deleted_after_a_quiet_inspection(tape: Tape) -> None:
    sandbox = ended(tape)
    inspected(tape, sandbox)
    tape.delete(sandbox)


def _deleted_after_an_inspection_during_work(tape: Tape) -> None:
    """The inspection came before the stop, and an agent may write after it."""
    sandbox = served(tape)
    tape.send("deleted", GONE)
    tape.inspect(sandbox)
    tape.stop(sandbox)
    tape.delete(sandbox)


def _deleted_after_an_inspection_of_a_sandbox_in_use(tape: Tape) -> None:
    sandbox = served(tape)
    tape.stop(sandbox, by="auto_stop")
    tape.send("created", RUNNING)
    inspected(tape, sandbox)
    tape.send("deleted", GONE)
    tape.delete(sandbox)


def _deleted_after_a_start_without_an_inspection(tape: Tape) -> None:
    sandbox = ended(tape)
    tape.start(sandbox)
    tape.stop(sandbox)
    tape.delete(sandbox)


def _deleted_after_a_failed_inspection(tape: Tape) -> None:
    sandbox = ended(tape)
    inspected(tape, sandbox, 502)
    tape.delete(sandbox)


def _deleted_after_an_unanswered_inspection(tape: Tape) -> None:
    sandbox = ended(tape)
    inspected(tape, sandbox, None)
    tape.delete(sandbox)


def _deleted_after_a_person_was_there(tape: Tape) -> None:
    sandbox = ended(tape)
    inspected(tape, sandbox)
    tape.start(sandbox, by="admin:start")
    tape.stop(sandbox, by="admin:stop")
    tape.delete(sandbox)


def _deleted_during_the_inspection(tape: Tape) -> None:
    sandbox = ended(tape)
    tape.start(sandbox)
    tape.inspect(sandbox)
    tape.delete(sandbox)


def _deleted_after_the_inspection_of_a_lifted_order(tape: Tape) -> None:
    """Somebody asked again after the order: the start was for that request."""
    sandbox = served(tape)
    tape.stop(sandbox, by="auto_stop")
    tape.order("delete")
    tape.send("created", RUNNING)
    inspected(tape, sandbox)
    tape.send("deleted", GONE)
    tape.delete(sandbox)


def _deleted_although_something_older_came_later(tape: Tape) -> None:
    """By GitHub's clock the request came before the order: it does not lift it."""
    sandbox = served(tape)
    tape.now += 100
    tape.order("delete")
    tape.send("created", RUNNING, second=tape.now - 20)
    tape.stop(sandbox)
    inspected(tape, sandbox)
    tape.delete(sandbox)


def _deleted_after_the_inspection_of_an_order(tape: Tape) -> None:
    sandbox = served(tape)
    tape.stop(sandbox)
    tape.order("delete")
    inspected(tape, sandbox)
    tape.delete(sandbox)


def _errored_after_a_quiet_inspection(tape: Tape) -> None:
    sandbox = ended(tape)
    inspected(tape, sandbox)
    tape.breaks(sandbox)
    tape.delete(sandbox)


def _errored_and_deleted(tape: Tape) -> None:
    sandbox = ended(tape)
    tape.breaks(sandbox)
    tape.delete(sandbox)


def _thawed_for_an_inspection(tape: Tape) -> None:
    sandbox = ended(tape)
    tape.archive(sandbox)
    inspected(tape, sandbox)
    tape.delete(sandbox)


def _repaired_for_an_inspection(tape: Tape) -> None:
    sandbox = ended(tape)
    tape.breaks(sandbox, is_recoverable=True)
    tape.recover(sandbox)
    tape.inspect(sandbox)
    tape.stop(sandbox)
    tape.delete(sandbox)


def _forced(tape: Tape) -> None:
    sandbox = served(tape)
    tape.order("delete", is_forced=True)
    tape.stop(sandbox)
    tape.delete(sandbox)


def _forced_without_an_answer(tape: Tape) -> None:
    sandbox = served(tape)
    tape.order("delete", is_forced=True, status=None)
    tape.delete(sandbox)


def _forced_and_refused(tape: Tape) -> None:
    sandbox = served(tape)
    tape.order("delete", is_forced=True, status=404)
    tape.send("deleted", GONE)
    tape.delete(sandbox)


def _forced_too_late(tape: Tape) -> None:
    tape.delete(served(tape))
    tape.order("delete", is_forced=True)


def _forced_for_the_one_before(tape: Tape) -> None:
    _forced(tape)
    tape.send("created", RUNNING)
    second = tape.create()
    tape.send("deleted", GONE)
    tape.delete(second)


def _forced_during_the_create(tape: Tape) -> None:
    tape.send("opened", RUNNING)
    tape.order("delete", is_forced=True)
    tape.delete(tape.create())


def _forced_during_the_next_create(tape: Tape) -> None:
    """The sandbox before is long gone: the order is about the next one."""
    tape.delete(served(tape), by="admin:delete")
    _forced_during_the_create(tape)


def _forced_for_another_issue(tape: Tape) -> None:
    sandbox = ended(tape)
    tape.send("opened", RUNNING, issue=2)
    tape.create("claude-issue-2")
    tape.order("replace", issue=2)
    tape.delete(sandbox)


def _replaced(tape: Tape) -> None:
    sandbox = served(tape)
    tape.order("replace")
    tape.delete(sandbox)
    tape.create()


def _deleted_by_a_person(tape: Tape) -> None:
    sandbox = served(tape)
    tape.send("deleted", GONE)
    tape.delete(sandbox, by="admin:delete")


def _deleted_by_a_timer(tape: Tape) -> None:
    sandbox = ended(tape)
    tape.delete(sandbox, by="auto_delete")


def _never_started(tape: Tape) -> None:
    tape.send("opened", RUNNING)
    tape.delete(tape.create(fails=True))
    tape.send("deleted", GONE)


def _never_started_and_expired(tape: Tape) -> None:
    tape.send("opened", RUNNING)
    tape.delete(tape.create(fails=True), by="ttl")
    tape.send("deleted", GONE)


def _left_behind(tape: Tape) -> None:
    tape.breaks(served(tape))
    tape.create(**OTHER)


def _left_behind_before_it_ran(tape: Tape) -> None:
    tape.send("opened", RUNNING)
    tape.create(fails=True)
    tape.create(**OTHER)


DELETES: dict[str, tuple[Story, str]] = {
    "while it runs": (_deleted_while_running, "d"),
    "asleep, without an inspection": (_deleted_without_an_inspection, "d"),
    "after a quiet inspection": (_deleted_after_a_quiet_inspection, ""),
    "after an inspection while somebody was at work": (_deleted_after_an_inspection_during_work, "d"),
    "after an inspection of a sandbox in use": (_deleted_after_an_inspection_of_a_sandbox_in_use, "d"),
    "started for an inspection that never came": (_deleted_after_a_start_without_an_inspection, "d"),
    "after a failed inspection": (_deleted_after_a_failed_inspection, "d"),
    "after an unanswered inspection": (_deleted_after_an_unanswered_inspection, "d"),
    "after a person was in it since the inspection": (_deleted_after_a_person_was_there, "d"),
    "right after the inspection, still running": (_deleted_during_the_inspection, "d"),
    "after the inspection of a lifted order": (_deleted_after_the_inspection_of_a_lifted_order, "d"),
    "after the inspection of an order that something older did not lift": (
        _deleted_although_something_older_came_later,
        "",
    ),
    "after the inspection of an order": (_deleted_after_the_inspection_of_an_order, ""),
    "errored since a quiet inspection": (_errored_after_a_quiet_inspection, ""),
    "errored": (_errored_and_deleted, "d"),
    "thawed for a quiet inspection": (_thawed_for_an_inspection, ""),
    "repaired for a quiet inspection": (_repaired_for_an_inspection, ""),
    "forced": (_forced, ""),
    "forced, and the answer was lost": (_forced_without_an_answer, ""),
    "forced, and the order was refused": (_forced_and_refused, "d"),
    "forced after the fact": (_forced_too_late, "d"),
    "forced for the sandbox before": (_forced_for_the_one_before, "d"),
    "forced while it was being created": (_forced_during_the_create, ""),
    "forced while the next one was being created": (_forced_during_the_next_create, ""),
    "forced for another issue": (_forced_for_another_issue, "d"),
    "replaced by order": (_replaced, ""),
    "by a person at Daytona": (_deleted_by_a_person, ""),
    "by a timer": (_deleted_by_a_timer, "d"),
    "before it ever ran": (_never_started, ""),
    "before it ever ran, by a timer": (_never_started_and_expired, ""),
    "left behind in error for a new one": (_left_behind, "bdf"),
    "left behind before it ran": (_left_behind_before_it_ran, "bf"),
}


@pytest.mark.parametrize("story", DELETES)
def test_lost_work_is_found(story: str) -> None:
    """(d) holds when a person abandoned it, it never ran, or an inspection found it without work and unused."""
    write, letters = DELETES[story]
    tape = Tape()
    write(tape)
    assert tape.letters() == letters


def _closed_and_inspected(tape: Tape) -> None:
    sandbox = served(tape)
    tape.send("closed", STOPPED)
    tape.stop(sandbox)
    inspected(tape, sandbox)
    tape.delete(sandbox)


def _inspected_after_the_reopening(tape: Tape) -> None:
    """The start was for the reopening, whatever came later."""
    sandbox = served(tape)
    tape.send("closed", STOPPED)
    tape.stop(sandbox)
    tape.send("reopened", RUNNING)
    inspected(tape, sandbox)
    tape.send("closed", STOPPED)
    tape.delete(sandbox)


def _inspected_after_a_reopening_that_was_forgotten(tape: Tape, *, is_before: bool) -> None:
    """The workflow that took the reopening was ended; its successor knows of the close alone. Not so the other way."""
    sandbox = served(tape)
    tape.send("closed", STOPPED)
    tape.stop(sandbox)
    if is_before:
        tape.terminate()
    tape.send("reopened", RUNNING)
    if not is_before:
        tape.terminate()
    inspected(tape, sandbox)
    tape.send("closed", STOPPED)
    tape.delete(sandbox)


def _released_and_deleted(tape: Tape, *, late_s: float = 0.0, works: bool = False) -> None:
    """The create was stuck. A person released it, and the delete that had been decided before came right then."""
    tape.send("opened", RUNNING)
    sandbox = tape.create(is_started=False)
    tape.send("deleted", GONE)
    tape.release(sandbox)
    tape.finish(sandbox)
    if works:
        tape.inspect(sandbox)
    tape.now += late_s
    tape.delete(sandbox)


def _inspected_after_an_order_to_stop(tape: Tape) -> None:
    sandbox = served(tape)
    tape.order("stop")
    tape.stop(sandbox)
    inspected(tape, sandbox)
    tape.delete(sandbox)


LADDER: dict[str, tuple[Story, str]] = {
    "closed": (_closed_and_inspected, ""),
    "reopened before the inspection": (_inspected_after_the_reopening, "d"),
    "reopened, and the workflow was ended": (
        lambda tape: _inspected_after_a_reopening_that_was_forgotten(tape, is_before=False),
        "",
    ),
    "reopened after the workflow was ended": (
        lambda tape: _inspected_after_a_reopening_that_was_forgotten(tape, is_before=True),
        "d",
    ),
    "released at that moment": (_released_and_deleted, ""),
    "released some time before": (lambda tape: _released_and_deleted(tape, late_s=10.0), "d"),
    "released, and worked in": (lambda tape: _released_and_deleted(tape, works=True), "d"),
    "ordered to stop": (_inspected_after_an_order_to_stop, "d"),
}


@pytest.mark.parametrize("story", LADDER)
def test_inspection_on_the_last_rung_of_the_ladder(story: str) -> None:
    """(d) When closed issues' sandboxes are deleted in the end, only an inspection after the close counts."""
    write, letters = LADDER[story]
    tape = Tape()
    write(tape)
    assert tape.letters(closed_rests_at=["destroyed"]) == letters


def test_closed_issue_keeps_its_sandbox_when_the_ladder_ends_before_the_delete() -> None:
    """(d) Then nothing starts a sandbox for an inspection, and nothing may delete it."""
    tape = Tape()
    _closed_and_inspected(tape)
    assert tape.letters() == "d"


def test_request_on_a_closed_issue_only_delays_the_delete() -> None:
    """(d) The ladder of the close goes on after it: the start that follows is for the inspection alone."""
    tape = Tape()
    sandbox = served(tape)
    tape.send("closed", STOPPED)
    tape.order("ensure")
    tape.stop(sandbox)
    inspected(tape, sandbox)
    tape.delete(sandbox)
    assert tape.letters(closed_rests_at=["destroyed"]) == ""


def test_request_of_a_reopened_issue_calls_the_delete_off() -> None:
    """(d) In contrast, the start was for the request."""
    tape = Tape()
    sandbox = served(tape)
    tape.send("closed", STOPPED)
    tape.send("reopened", RUNNING)
    tape.stop(sandbox)
    inspected(tape, sandbox)
    tape.delete(sandbox)
    assert "d" in tape.letters(closed_rests_at=["destroyed"])


def test_planted_work_outweighs_a_quiet_inspection() -> None:
    """(d) When the run left work, an inspection cannot have found nothing."""
    tape = Tape()
    _deleted_after_a_quiet_inspection(tape)
    assert tape.letters(worked_in=["s0"]) == "d"
    assert tape.letters(worked_in=["s1"]) == ""


def test_planted_work_may_be_given_up() -> None:
    """(d) A person's forced delete abandons even that."""
    tape = Tape()
    _forced(tape)
    assert tape.letters(worked_in=["s0"]) == ""


def test_stop_at_the_close_is_no_delete() -> None:
    """(d) Only what is deleted can be lost."""
    tape = Tape()
    sandbox = served(tape)
    tape.send("closed", STOPPED)
    tape.stop(sandbox)
    tape.archive(sandbox)
    assert tape.letters() == ""


def test_watch_knows_a_release_from_an_earlier_part() -> None:
    """The journal comes in parts. What excuses a delete may have come with the part before."""
    tape = Tape()
    tape.send("opened", RUNNING)
    sandbox = tape.create(is_started=False)
    tape.send("deleted", GONE)
    tape.release(sandbox)
    tape.finish(sandbox)
    watch, read = Watch(), len(tape.journal)
    assert watch.feed(tape.evidence()) == []
    tape.delete(sandbox)
    assert watch.feed(tape.evidence(journal=tape.journal[read:])) == []
