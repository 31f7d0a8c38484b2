"""The rules of a run at rest, (e) and (f): each violation is found, and nothing else.

Each story is a tape, with the letters of the rules that it breaks.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from localdaytona.fault_model import FailTransition
from tests.chaos.tape import GONE, RUNNING, STOPPED, Tape
from tests.chaos.test_checker import ended, served

Story = Callable[[Tape], object]


def _stopped_by(by: str) -> Story:
    def write(tape: Tape) -> None:
        tape.stop(served(tape), by=by)

    return write


def _archived_by_timers(tape: Tape) -> None:
    sandbox = served(tape)
    tape.stop(sandbox, by="auto_stop")
    tape.archive(sandbox, by="auto_archive")


def _stopped_by_a_person_and_archived_by_us(tape: Tape) -> None:
    sandbox = served(tape)
    tape.stop(sandbox, by="admin:stop")
    tape.archive(sandbox)


def _deleted_by_a_person(tape: Tape) -> None:
    tape.delete(served(tape), by="admin:delete")


def _deleted_by_a_person_and_asked_for(tape: Tape) -> None:
    _deleted_by_a_person(tape)
    tape.send("created", RUNNING)


def _broken_by_a_person(tape: Tape) -> None:
    tape.breaks(served(tape))


def _broken_deleted_by_a_person(tape: Tape) -> None:
    """The issue is blocked, and nobody tells the service that the cause is gone."""
    sandbox = served(tape)
    tape.breaks(sandbox)
    tape.send("created", RUNNING)
    tape.delete(sandbox, by="admin:delete")


def _repairable_when_asked(tape: Tape) -> None:
    tape.breaks(served(tape), is_recoverable=True)
    tape.send("created", RUNNING)


def _repair_failed(tape: Tape) -> None:
    sandbox = served(tape)
    tape.breaks(sandbox, is_recoverable=True)
    tape.send("created", RUNNING)
    tape.recover(sandbox, effect=FailTransition(kind="fail_transition", recoverable=True))


def _broken_for_good_when_asked(tape: Tape) -> None:
    """Broken twice: the second break does not change its state."""
    sandbox = served(tape)
    tape.breaks(sandbox, is_recoverable=True)
    tape.breaks(sandbox)
    tape.send("created", RUNNING)


def _builds_failed(times: int) -> Story:
    def write(tape: Tape) -> None:
        tape.send("opened", RUNNING)
        for _ in range(times):
            tape.delete(tape.create(fails=True))

    return write


def _anothers(tape: Tape) -> None:
    sandbox = tape.create(by="admin:create", labels={"managed-by": "somebody"})
    tape.stop(sandbox, by="admin:stop")
    tape.send("opened", RUNNING)


RUNNING_EXPECTATIONS: dict[str, tuple[Story, str]] = {
    "stopped by us": (_stopped_by("stop"), "e"),
    "stopped by a person": (_stopped_by("admin:stop"), ""),
    "stopped by a timer": (_stopped_by("auto_stop"), ""),
    "archived by timers": (_archived_by_timers, ""),
    "stopped by a person, archived by us": (_stopped_by_a_person_and_archived_by_us, "e"),
    "deleted by a person": (_deleted_by_a_person, ""),
    "deleted by a person, then asked for": (_deleted_by_a_person_and_asked_for, "ce"),
    "broken by a person": (_broken_by_a_person, ""),
    "broken, asked for, deleted by a person": (_broken_deleted_by_a_person, ""),
    "broken, repairable, and not repaired": (_repairable_when_asked, "ce"),
    "broken, and the repair failed": (_repair_failed, ""),
    "broken for good while repairable": (_broken_for_good_when_asked, ""),
    "three builds failed": (_builds_failed(3), ""),
    "two builds failed": (_builds_failed(2), "ce"),
    "another's": (_anothers, ""),
}


def _close(tape: Tape, *ways: str) -> str:
    sandbox = served(tape)
    tape.send("closed", STOPPED)
    for way in ways:
        getattr(tape, way)(sandbox)
    return sandbox


def _started_by_a_person_after(tape: Tape) -> None:
    tape.start(_close(tape, "stop"), by="admin:start")


def _started_by_a_person_before(tape: Tape) -> None:
    sandbox = _close(tape, "stop")
    tape.start(sandbox, by="admin:start")
    tape.send("reopened", RUNNING)
    tape.send("closed", STOPPED)


def _tie(tape: Tape) -> None:
    sandbox = served(tape)
    tape.send("closed", STOPPED, second=9_000)
    tape.send("reopened", RUNNING, second=9_000)
    tape.stop(sandbox)


def _tie_within_a_second(tape: Tape) -> None:
    sandbox = served(tape)
    tape.send("closed", STOPPED, second=9_000.1)
    tape.send("reopened", RUNNING, second=9_000.9)
    tape.stop(sandbox)


def _transferred(tape: Tape) -> None:
    sandbox = served(tape)
    tape.send("transferred", STOPPED, second=8_000)
    tape.send("reopened", RUNNING, second=9_000)
    tape.stop(sandbox)


def _order_stop_stands(tape: Tape) -> None:
    served(tape)
    tape.order("stop")


def _order_stop_carried_out(tape: Tape) -> None:
    sandbox = served(tape)
    tape.order("stop")
    tape.stop(sandbox)
    tape.archive(sandbox, by="auto_archive")


def _order_refused(tape: Tape) -> None:
    served(tape)
    tape.order("stop", status=404)


def _order_unanswered(tape: Tape) -> None:
    sandbox = served(tape)
    tape.order("stop", status=None)
    tape.stop(sandbox)


def _stop_after_delete(tape: Tape) -> None:
    """The later order counts."""
    sandbox = served(tape)
    tape.order("delete")
    tape.order("stop")
    tape.stop(sandbox)


CLOSED_EXPECTATIONS: dict[str, tuple[Story, str]] = {
    "closed, still running": (_close, "e"),
    "closed, stopped": (lambda tape: _close(tape, "stop"), ""),
    "closed, archived": (lambda tape: _close(tape, "stop", "archive"), ""),
    "closed, broken": (lambda tape: _close(tape, "breaks"), ""),
    "started by a person after the close": (_started_by_a_person_after, ""),
    "started by a person before the close": (_started_by_a_person_before, "e"),
    "closed and reopened in one second": (_tie, ""),
    "closed and reopened within one second": (_tie_within_a_second, ""),
    "transferred is final": (_transferred, ""),
    "ordered to stop, still running": (_order_stop_stands, "e"),
    "ordered to stop": (_order_stop_carried_out, ""),
    "the order was refused": (_order_refused, ""),
    "the order's answer was lost": (_order_unanswered, ""),
    "the later order counts": (_stop_after_delete, ""),
}


def _deleted(tape: Tape, *ways: str) -> str:
    sandbox = served(tape)
    tape.send("deleted", GONE)
    for way in ways:
        getattr(tape, way)(sandbox)
    return sandbox


def _deleted_then_reopened(tape: Tape) -> None:
    tape.send("deleted", GONE, second=8_000)
    tape.send("opened", RUNNING, second=9_000)


def _created_after_deleted(tape: Tape) -> None:
    tape.send("deleted", GONE)
    tape.send("opened", RUNNING)
    tape.create()


def _order_delete_ignored(tape: Tape) -> None:
    served(tape)
    tape.order("delete")


def _order_delete_lifted(tape: Tape) -> None:
    served(tape)
    tape.order("delete")
    tape.send("created", RUNNING)


GONE_EXPECTATIONS: dict[str, tuple[Story, str]] = {
    "deleted, still running": (_deleted, "e"),
    "deleted, asleep": (lambda tape: _deleted(tape, "stop"), ""),
    "deleted, broken": (lambda tape: _deleted(tape, "breaks"), ""),
    "deleted is final": (_deleted_then_reopened, ""),
    "created after the issue was deleted": (_created_after_deleted, "e"),
    "ordered to delete, still running": (_order_delete_ignored, "e"),
    "ordered to delete, then asked for": (_order_delete_lifted, ""),
}
EXPECTATIONS = {**RUNNING_EXPECTATIONS, **CLOSED_EXPECTATIONS, **GONE_EXPECTATIONS}


@pytest.mark.parametrize("story", EXPECTATIONS)
def test_sandbox_that_is_not_as_expected_is_found(story: str) -> None:
    """(e) holds when the sandbox is as the newest message asks, or a person or Daytona took it away."""
    write, letters = EXPECTATIONS[story]
    tape = Tape()
    write(tape)
    assert tape.letters() == letters


def test_sandbox_is_kept_only_for_the_work_in_it() -> None:
    """(e) When the run noted its work, a sandbox without work must be gone."""
    tape = Tape()
    _deleted(tape, "stop")
    assert tape.letters(worked_in=["s0"]) == ""
    assert tape.letters(worked_in=[]) == "e"


def test_close_that_only_a_comment_reported_counts() -> None:
    """(e) The close itself may arrive later, or never: the snapshot in the comment reports it."""
    tape = Tape()
    tape.stop(served(tape))
    tape.send("created", RUNNING, second=9_000)
    assert tape.letters() == "ce"
    tape = Tape()
    tape.stop(served(tape))
    tape.send("created", RUNNING, second=9_000, closed_at=8_000)
    assert tape.letters() == ""


def test_closed_issue_rests_where_the_settings_say() -> None:
    """(e) The run's settings decide how far down the ladder a closed issue's sandbox goes."""
    tape = Tape()
    _close(tape, "stop")
    assert tape.letters(closed_rests_at=["archived"]) == "e"
    assert tape.letters(closed_rests_at=["destroyed"], worked_in=[]) == "e"
    assert tape.letters(closed_rests_at=["destroyed"], worked_in=["s0"]) == ""


def _of_no_issue(tape: Tape) -> None:
    tape.create("claude-issue-9")


def _of_no_issue_by_hand(tape: Tape) -> None:
    tape.create("somebodys", by="admin:create")


def _without_anything(tape: Tape) -> None:
    tape.create(None)


def _still_dying(tape: Tape) -> None:
    sandbox = served(tape)
    tape.order("delete", is_forced=True)
    tape.delete(sandbox, is_finished=False)


def _still_creating(tape: Tape) -> None:
    tape.send("opened", RUNNING)
    tape.create(is_started=False)


def _held_by_a_fault(tape: Tape) -> None:
    sandbox = served(tape)
    tape.stop(sandbox, by="auto_stop")
    tape.send("created", RUNNING)
    tape.stick(sandbox, "start")


def _held_by_a_person(tape: Tape) -> None:
    tape.set_state(served(tape), "resizing")


def _left_beside(tape: Tape) -> None:
    tape.breaks(served(tape))
    tape.create("copy", labels={"issue-id": "1"})


def _gone_but_for_its_row(tape: Tape) -> None:
    """Daytona hides an errored sandbox that was deleted, and never cleans it up."""
    tape.breaks(ended(tape))
    tape.delete("s0", by="admin:delete")


LEFT: dict[str, tuple[Story, str]] = {
    "of an unknown issue": (_of_no_issue, "f"),
    "without a name": (_without_anything, "bf"),
    "made by hand for something else": (_of_no_issue_by_hand, ""),
    "dying for ever": (_still_dying, "ef"),
    "creating for ever": (_still_creating, "cef"),
    "held by an injected fault": (_held_by_a_fault, ""),
    "held by a person": (_held_by_a_person, ""),
    "left beside its successor": (_left_beside, "bdf"),
    "gone but for its row": (_gone_but_for_its_row, ""),
}


@pytest.mark.parametrize("story", LEFT)
def test_what_is_left_over_is_found(story: str) -> None:
    """(f) holds when every sandbox at rest is its issue's only one, and none is changing its state for ever."""
    write, letters = LEFT[story]
    tape = Tape()
    write(tape)
    assert tape.letters() == letters
