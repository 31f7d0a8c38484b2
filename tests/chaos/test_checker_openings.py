"""Rule (c), the clause of openings: a close that no longer counts ends no sandbox. And: no order is undone.

Each story is a tape, with the letters of the rules that it breaks.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.tape import GONE, KEPT, NOTHING, RUNNING, STOPPED, Tape
from tests.chaos.test_checker import OTHER, served
from tests.chaos.test_checker_work import inspected

Story = Callable[[Tape], object]
LATE_S = 31.0
"""Longer than a command can be under way: no worker was frozen for so long."""


def closed(tape: Tape) -> str:
    """A sandbox that runs, and whose issue was closed."""
    sandbox = served(tape)
    tape.send("closed", STOPPED)
    return sandbox


def refused_reopening(tape: Tape, *ways: str) -> str:
    """Closed, and reopened by somebody who may not ask; then the service sends these commands."""
    sandbox = closed(tape)
    tape.send("reopened", KEPT)
    for way in ways:
        getattr(tape, way)(sandbox)
    return sandbox


def _stopped_before(tape: Tape) -> None:
    tape.stop(closed(tape))
    tape.send("reopened", KEPT)


def _stopped_before_and_archived_after(tape: Tape) -> None:
    """One command: it may have been under way."""
    sandbox = closed(tape)
    tape.stop(sandbox)
    tape.send("reopened", KEPT)
    tape.archive(sandbox)


def _stopped_long_after(tape: Tape) -> None:
    sandbox = refused_reopening(tape)
    tape.now += LATE_S
    tape.stop(sandbox)


def _stopped_long_after_and_reported_again(*, is_twin: bool) -> Story:
    """A redelivery, or the delivery of a second hook, does not begin that time anew."""

    def write(tape: Tape) -> None:
        sandbox = closed(tape)
        first = tape.send("reopened", KEPT, second=9_000)
        tape.now += LATE_S
        tape.send("reopened", KEPT, second=9_000, delivery="" if is_twin else first)
        tape.stop(sandbox)

    return write


def _two_steps_before_it_was_handled(tape: Tape) -> None:
    """All workers were away."""
    sandbox = closed(tape)
    tape.send("reopened", KEPT, handled_after_s=60)
    tape.stop(sandbox)
    tape.archive(sandbox)


def _deleted_after_an_inspection(tape: Tape) -> None:
    sandbox = closed(tape)
    tape.stop(sandbox)
    tape.send("reopened", KEPT)
    inspected(tape, sandbox)
    tape.delete(sandbox)


def _stopped_twice(tape: Tape) -> None:
    """The attempt of a worker that was frozen, and the one that replaced it."""
    sandbox = refused_reopening(tape, "stop")
    tape.refused("stop", sandbox)


def _closed_again(tape: Tape) -> None:
    sandbox = refused_reopening(tape)
    tape.send("closed", STOPPED)
    tape.stop(sandbox)
    tape.archive(sandbox)


def _closed_again_by_a_comment(tape: Tape) -> None:
    """The close itself is late: a comment reports it."""
    sandbox = refused_reopening(tape)
    tape.send("created", NOTHING, closed_at=tape.now)
    tape.stop(sandbox)
    tape.archive(sandbox)


def _closed_again_in_the_same_second(tape: Tape) -> None:
    sandbox = served(tape)
    tape.send("closed", STOPPED, second=9_000)
    tape.send("reopened", KEPT, second=9_000)
    tape.stop(sandbox)
    tape.archive(sandbox)


def _closed_before_and_late(tape: Tape) -> None:
    """By GitHub's clock the reopening is newer: the close never counted."""
    sandbox = served(tape)
    tape.send("reopened", KEPT, second=9_000)
    tape.send("closed", STOPPED, second=8_000)
    tape.stop(sandbox)
    tape.archive(sandbox)


def _deleted_issue(tape: Tape) -> None:
    sandbox = refused_reopening(tape)
    tape.send("deleted", GONE)
    tape.stop(sandbox)
    inspected(tape, sandbox)
    tape.delete(sandbox)


def _transferred(tape: Tape) -> None:
    sandbox = served(tape)
    tape.send("transferred", STOPPED)
    tape.send("reopened", KEPT)
    tape.stop(sandbox)
    tape.archive(sandbox)


def _ordered(tape: Tape) -> None:
    """A person's order is no timer."""
    sandbox = refused_reopening(tape)
    tape.order("stop")
    tape.stop(sandbox)
    tape.archive(sandbox)


def _ordered_after_it(tape: Tape) -> None:
    refused_reopening(tape, "stop", "archive")
    tape.order("stop")


def _replaced(tape: Tape) -> None:
    sandbox = refused_reopening(tape)
    tape.now += LATE_S
    tape.order("replace")
    tape.delete(sandbox)
    tape.create()


def _deleted_issue_by_a_late_delivery(tape: Tape) -> None:
    """Deleted is final, whatever GitHub's times say."""
    sandbox = served(tape)
    tape.send("deleted", GONE, second=8_000)
    tape.send("reopened", KEPT, second=9_000)
    tape.stop(sandbox)
    inspected(tape, sandbox)
    tape.delete(sandbox)


def _comment_on_the_closed(tape: Tape) -> None:
    """It asks for the sandbox for a while, and opens nothing."""
    sandbox = closed(tape)
    tape.send("created", RUNNING)
    tape.stop(sandbox)
    tape.archive(sandbox)


def _stopped_by_a_timer_of_daytonas(tape: Tape) -> None:
    sandbox = refused_reopening(tape)
    tape.now += LATE_S
    tape.stop(sandbox, by="auto_stop")
    tape.archive(sandbox, by="auto_archive")


def _reopened_by_one_who_may_ask(tape: Tape) -> None:
    sandbox = closed(tape)
    tape.send("reopened", RUNNING)
    tape.stop(sandbox)
    tape.archive(sandbox)


def _never_closed(tape: Tape) -> None:
    sandbox = served(tape)
    tape.stop(sandbox)
    tape.archive(sandbox)


def _failed_build(tape: Tape) -> None:
    tape.send("opened", RUNNING)
    for _ in range(2):
        tape.now += LATE_S
        tape.delete(tape.create(fails=True))
    tape.create()


def _unhandled(tape: Tape) -> None:
    """No worker was there: the service did not know of the reopening."""
    sandbox = closed(tape)
    tape.send("reopened", KEPT, is_handled=False)
    tape.stop(sandbox)
    tape.archive(sandbox)


def _unrecorded(tape: Tape) -> None:
    closed(tape)
    tape.send("reopened", KEPT, is_recorded=False)


def _unrecorded_without_a_workflow(tape: Tape) -> None:
    """A service that does not know the issue disregards it."""
    tape.send("reopened", KEPT, is_recorded=False)


def _unrecorded_after_an_end(tape: Tape) -> None:
    closed(tape)
    tape.terminate()
    tape.send("reopened", KEPT, is_recorded=False)


def _terminated_after_it(tape: Tape) -> None:
    """The next workflow knows what the ended one published: a close, perhaps."""
    sandbox = closed(tape)
    tape.send("reopened", KEPT)
    tape.terminate()
    tape.stop(sandbox)
    tape.archive(sandbox)


def _terminated_before_it(tape: Tape) -> None:
    sandbox = closed(tape)
    tape.terminate()
    tape.send("reopened", KEPT)
    tape.stop(sandbox)
    tape.archive(sandbox)


def _unrecorded_before_the_workflow(tape: Tape) -> None:
    tape.send("reopened", KEPT, is_recorded=False, second=1)
    served(tape)


def _only_refused(tape: Tape) -> None:
    """Nothing is started for it, even when it is known."""
    tape.send("closed", STOPPED)
    tape.send("reopened", KEPT)


def _comment_after_it(tape: Tape) -> None:
    """The issue is open: the comment is no request on a closed issue."""
    tape.stop(closed(tape))
    tape.send("reopened", KEPT)
    tape.send("created", RUNNING)


OPENINGS: dict[str, tuple[Story, str]] = {
    "refused, and left alone": (refused_reopening, ""),
    "refused, after the stop": (_stopped_before, ""),
    "refused, and one step was under way": (lambda tape: refused_reopening(tape, "stop"), ""),
    "refused, and the next step was under way": (_stopped_before_and_archived_after, ""),
    "refused, and two steps": (lambda tape: refused_reopening(tape, "stop", "archive"), "c"),
    "refused, and one step long after": (_stopped_long_after, "c"),
    "refused, and one step long after, and a second hook": (_stopped_long_after_and_reported_again(is_twin=True), "c"),
    "refused, and one step long after, and redelivered": (_stopped_long_after_and_reported_again(is_twin=False), "c"),
    "refused, and two steps before that was handled": (_two_steps_before_it_was_handled, ""),
    "refused, and two steps, and then ordered": (_ordered_after_it, "c"),
    "refused, and replaced by order": (_replaced, ""),
    "refused, and the issue was deleted before": (_deleted_issue_by_a_late_delivery, ""),
    "no reopening, but a comment": (_comment_on_the_closed, ""),
    "refused, and no workflow ran yet": (_unrecorded_before_the_workflow, ""),
    "refused, and inspected and deleted": (_deleted_after_an_inspection, "cd"),
    "refused, and stopped twice": (_stopped_twice, ""),
    "refused, and closed again": (_closed_again, ""),
    "refused, and a comment says that it is closed again": (_closed_again_by_a_comment, ""),
    "refused, and closed in the same second": (_closed_again_in_the_same_second, ""),
    "refused, and the close comes late": (_closed_before_and_late, "c"),
    "refused, and the issue is deleted": (_deleted_issue, ""),
    "refused, after a transfer": (_transferred, ""),
    "refused, and ordered to stop": (_ordered, ""),
    "refused, and Daytona's timers": (_stopped_by_a_timer_of_daytonas, ""),
    "refused, not handled": (_unhandled, "c"),
    "refused, in no history": (_unrecorded, "ce"),
    "refused, and the issue is not known": (_unrecorded_without_a_workflow, ""),
    "refused, and the workflow was terminated": (_unrecorded_after_an_end, ""),
    "refused, terminated, and two steps": (_terminated_after_it, ""),
    "terminated, refused, and two steps": (_terminated_before_it, "c"),
    "refused, and never had a sandbox": (_only_refused, ""),
    "refused, and then asked for in vain": (_comment_after_it, "ce"),
    "reopened by one who may ask, and two steps": (_reopened_by_one_who_may_ask, "ce"),
    "never closed, and two steps": (_never_closed, "ce"),
    "failed builds": (_failed_build, ""),
}


@pytest.mark.parametrize("story", OPENINGS)
def test_close_that_was_undone_ends_nothing(story: str) -> None:
    """(c) Whoever reopened the issue, only one command of the earlier close may still arrive, and soon."""
    write, letters = OPENINGS[story]
    tape = Tape()
    write(tape)
    assert tape.letters() == letters


def test_violation_names_the_command_and_the_opening() -> None:
    """A report names what was sent, and the delivery that it disregards."""
    tape = Tape()
    refused_reopening(tape, "stop", "archive")
    (violation,) = tape.broken()
    for word in ("s0", "archive", "reopened", tape.deliveries[-1].delivery):
        assert word in violation.what
    (command,) = [entry.seq for entry in tape.journal if (entry.kind, entry.operation) == ("request", "archive")]
    assert command in violation.entries


def test_system_without_temporal_is_not_asked_when_it_knew() -> None:
    """(c) Without histories nobody knows when a reopening was handled."""
    tape = Tape()
    refused_reopening(tape, "stop", "archive")
    assert tape.letters(histories=None) == ""


def test_close_that_may_not_be_known_is_not_required() -> None:
    """(e) Without histories nobody knows whether a delivery that asks for nothing was disregarded."""
    tape = Tape()
    served(tape)
    tape.send("edited", NOTHING, closed_at=tape.now)
    assert tape.letters(histories=None) == ""
    assert tape.letters() == "e"


def _late(tape: Tape, order: str, way: str, back_s: float) -> str:
    """An order that was carried out, and a comment that was written so long before it and arrives after it."""
    sandbox = served(tape)
    tape.now += 100
    tape.order(order)
    if way != "none":
        getattr(tape, way)(sandbox)
    tape.send("created", RUNNING, second=tape.orders[-1].sent_at - back_s)
    return sandbox


def _stop_undone(back_s: float) -> Story:
    def write(tape: Tape) -> None:
        tape.start(_late(tape, "stop", "stop", back_s))

    return write


def _delete_undone(tape: Tape) -> None:
    sandbox = served(tape)
    tape.now += 100
    tape.order("delete", is_forced=True)
    tape.delete(sandbox)
    tape.send("created", RUNNING, second=tape.orders[-1].sent_at - 10)
    tape.create()


ORDERS: dict[str, tuple[Story, str]] = {
    "a stop, undone by what came before it": (_stop_undone(10), "e"),
    "a stop, perhaps undone by what came just before it": (_stop_undone(2), ""),
    "a stop, undone by what came after it": (_stop_undone(-2), ""),
    "a stop that stands": (lambda tape: _late(tape, "stop", "stop", 10), ""),
    "a stop that is not carried out": (lambda tape: _late(tape, "stop", "none", 10), "e"),
    "a delete, undone by what came before it": (_delete_undone, "e"),
}


@pytest.mark.parametrize("story", ORDERS)
def test_order_is_not_undone_by_what_came_before_it(story: str) -> None:
    """(e) By GitHub's clock and the person's, which may be apart by some seconds."""
    write, letters = ORDERS[story]
    tape = Tape()
    write(tape)
    assert tape.letters() == letters


def test_copy_beside_an_open_issue_counts_too() -> None:
    """(c) Each of the issue's sandboxes that ever ran."""
    tape = Tape()
    sandbox = closed(tape)
    tape.stop(sandbox)
    copy = tape.create(**OTHER, by="admin:create")
    tape.send("reopened", KEPT)
    tape.stop(copy)
    tape.archive(copy)
    assert "c" in tape.letters()
