"""The exceptions of rule (e) cover what they should, and nothing else: a wider one would hide violations."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from localdaytona.fault_model import FailTransition
from tests.chaos.tape import GONE, RUNNING, STOPPED, Tape
from tests.chaos.test_checker import served

Story = Callable[[Tape], object]


def _broken_deleted_and_asked_for(tape: Tape) -> None:
    """The block had no cause any more when somebody asked again."""
    sandbox = served(tape)
    tape.breaks(sandbox)
    tape.delete(sandbox, by="admin:delete")
    tape.send("created", RUNNING)


def _broken_and_followed_by_another(tape: Tape) -> None:
    """The block ended: its successor was created, and then stopped by the service."""
    sandbox = served(tape)
    tape.breaks(sandbox)
    tape.send("created", RUNNING)
    tape.delete(sandbox, by="admin:delete")
    tape.stop(tape.create())


def _start_failed_and_can_be_repaired(tape: Tape) -> None:
    """Nobody tried the repair."""
    sandbox = served(tape)
    tape.stop(sandbox, by="auto_stop")
    tape.send("created", RUNNING)
    tape.start(sandbox, effect=FailTransition(kind="fail_transition", recoverable=True))


def _start_failed_for_good(tape: Tape) -> None:
    sandbox = served(tape)
    tape.stop(sandbox, by="auto_stop")
    tape.send("created", RUNNING)
    tape.start(sandbox, effect=FailTransition(kind="fail_transition", recoverable=False))


def _three_that_ran(tape: Tape) -> None:
    for _ in range(2):
        tape.delete(served(tape), by="admin:delete")
    tape.stop(served(tape))


def _two_that_failed_and_one_that_ran(tape: Tape) -> None:
    tape.send("opened", RUNNING)
    for _ in range(2):
        tape.delete(tape.create(fails=True))
    tape.stop(tape.create())


def _three_that_ran_and_broke(tape: Tape) -> None:
    for _ in range(3):
        sandbox = served(tape)
        tape.breaks(sandbox)
        tape.delete(sandbox, by="admin:delete")
    tape.send("created", RUNNING)


def _three_that_a_person_deleted_before_they_ran(tape: Tape) -> None:
    tape.send("opened", RUNNING)
    for _ in range(3):
        tape.delete(tape.create(is_started=False), by="admin:delete")
    tape.send("created", RUNNING)


def _stuck(tape: Tape) -> str:
    sandbox = served(tape)
    tape.stop(sandbox, by="auto_stop")
    tape.send("created", RUNNING)
    tape.stick(sandbox, "start")
    return sandbox


def _stuck_when_closed(tape: Tape) -> None:
    _stuck(tape)
    tape.send("closed", STOPPED)


def _stuck_and_released(tape: Tape) -> None:
    tape.finish(_stuck(tape))
    tape.send("closed", STOPPED)


def _by_hand(**labels: str) -> Story:
    def write(tape: Tape) -> None:
        sandbox = tape.create(by="admin:create", labels=dict(labels))
        tape.stop(sandbox, by="admin:stop")
        tape.send("opened", RUNNING)

    return write


def _ours_with_others_labels(tape: Tape) -> None:
    """The service created it, so it is not another's."""
    tape.send("opened", RUNNING)
    sandbox = tape.create(labels={"managed-by": "somebody"})
    tape.stop(sandbox)
    tape.send("created", RUNNING)


def _closed_and_paused(tape: Tape) -> None:
    sandbox = served(tape)
    tape.send("closed", STOPPED)
    tape.set_state(sandbox, "paused", by="stop")


def _started_by_a_person_before_the_delete(tape: Tape) -> None:
    sandbox = served(tape)
    tape.send("closed", STOPPED)
    tape.stop(sandbox)
    tape.start(sandbox, by="admin:start")
    tape.send("deleted", GONE)


def _started_by_a_person_after_the_delete(tape: Tape) -> None:
    sandbox = served(tape)
    tape.send("deleted", GONE)
    tape.stop(sandbox)
    tape.start(sandbox, by="admin:start")


def _misled(*, by: str = "auto_stop", seen: str = "", is_asked_after: bool = False, is_late: bool = False) -> Story:
    """Stopped, asked for, and then read as it was before the stop. `seen`: when a read showed the stop."""

    def write(tape: Tape) -> None:
        sandbox = served(tape)
        tape.show(sandbox)
        then = tape.now
        tape.stop(sandbox, by=by)
        if seen == "before":
            tape.show(sandbox)
        tape.send("created", RUNNING)
        tape.show(sandbox, as_of=tape.now if is_late else then)
        if seen == "after":
            tape.show(sandbox)
        if is_asked_after:
            tape.send("created", RUNNING)

    return write


def _misled_when_closed(tape: Tape) -> None:
    """A person started it, and the lookup for the close showed it at rest."""
    sandbox = served(tape)
    tape.send("closed", STOPPED)
    tape.stop(sandbox)
    tape.show(sandbox)
    then = tape.now
    tape.start(sandbox, by="admin:start")
    tape.send("reopened", RUNNING)
    tape.send("closed", STOPPED)
    tape.show(sandbox, as_of=then)


EXCEPTIONS: dict[str, tuple[Story, str]] = {
    "broken, deleted by a person, then asked for": (_broken_deleted_and_asked_for, "ce"),
    "broken, and another one followed": (_broken_and_followed_by_another, "e"),
    "a start failed, and can be repaired": (_start_failed_and_can_be_repaired, "ce"),
    "a start failed for good": (_start_failed_for_good, ""),
    "three that ran": (_three_that_ran, "e"),
    "two that failed and one that ran": (_two_that_failed_and_one_that_ran, "e"),
    "three that ran and broke": (_three_that_ran_and_broke, "ce"),
    "three that a person deleted": (_three_that_a_person_deleted_before_they_ran, "ce"),
    "stuck when closed": (_stuck_when_closed, ""),
    "stuck, released, and left running": (_stuck_and_released, "e"),
    "by hand, without labels": (_by_hand(), "ce"),
    "by hand, with our labels": (_by_hand(**{"managed-by": "issuebox", "issue-id": "1"}), "ce"),
    "by hand, for another issue": (_by_hand(**{"issue-id": "2"}), ""),
    "ours, with another's labels": (_ours_with_others_labels, "ce"),
    "closed, and paused": (_closed_and_paused, "f"),
    "started by a person before the delete": (_started_by_a_person_before_the_delete, "e"),
    "started by a person after the delete": (_started_by_a_person_after_the_delete, ""),
    "stopped by a timer, and a read of before": (_misled(), ""),
    "stopped by a person, and a read of before": (_misled(by="admin:stop"), ""),
    "stopped by us, and a read of before": (_misled(by="stop"), "ce"),
    "stopped and seen stopped, and a read of before": (_misled(seen="before"), "ce"),
    "a read of before, and then one of now": (_misled(seen="after"), "ce"),
    "a read of before, and asked for again": (_misled(is_asked_after=True), "ce"),
    "a read of the past, but not of before": (_misled(is_late=True), "ce"),
    "started by a person, closed, and a read of before": (_misled_when_closed, ""),
}


@pytest.mark.parametrize("story", EXCEPTIONS)
def test_exceptions_cover_no_more_than_they_should(story: str) -> None:
    """(e) Each exception has a story in which it applies, and a similar one in which it does not."""
    write, letters = EXCEPTIONS[story]
    tape = Tape()
    write(tape)
    assert tape.letters() == letters


def test_order_to_stop_rests_where_a_close_does_not() -> None:
    """(e) A sandbox that was stopped by order may be asleep in any way, wherever the close's ladder ends."""
    tape = Tape()
    sandbox = served(tape)
    tape.order("stop")
    tape.stop(sandbox)
    assert tape.letters(closed_rests_at=["archived"]) == ""
    tape.archive(sandbox, by="auto_archive")
    assert tape.letters(closed_rests_at=["stopped"]) == ""
