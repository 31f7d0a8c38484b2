"""A restored database: what it has forgotten is in no history, and GitHub knows its events still.

Each story is a tape with a restore in it, and the letters of the rules that it breaks.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from proofs.checker.evidence import Lost
from proofs.checker.run_dir import read_run, write_run
from tests.chaos.tape import GONE, KEPT, NOTHING, RUNNING, STOPPED, Tape
from tests.chaos.test_checker import served
from tests.chaos.test_checker_openings import closed
from tests.chaos.test_checker_work import inspected

Story = Callable[[Tape], Lost]


def _lost_opening(tape: Tape) -> Lost:
    since = tape.now
    served(tape)
    return tape.restore(since)


def _lost_opening_without_a_sandbox(tape: Tape) -> Lost:
    since = tape.now
    tape.send("opened", RUNNING)
    return tape.restore(since)


def _opening_after_it_in_no_history(tape: Tape) -> Lost:
    lost = tape.restore(tape.now)
    tape.send("opened", RUNNING, is_recorded=False)
    tape.create()
    return lost


def _opening_before_the_backup_in_no_history(tape: Tape) -> Lost:
    tape.send("opened", RUNNING, is_recorded=False)
    tape.create()
    return tape.restore(tape.now)


def _lost_and_redelivered(*, is_recorded: bool) -> Story:
    """The later acknowledgement counts: it must be in a history."""

    def write(tape: Tape) -> Lost:
        since = tape.now
        tape.send("opened", RUNNING, delivery="again", second=5)
        lost = tape.restore(since)
        tape.send("opened", RUNNING, delivery="again", second=5, is_recorded=is_recorded)
        tape.create()
        return lost

    return write


def _lost_close(*, is_brought: bool) -> Story:
    """A resync finds the close, and the sandbox is stopped."""

    def write(tape: Tape) -> Lost:
        sandbox = served(tape)
        since = tape.now
        tape.send("closed", STOPPED)
        lost = tape.restore(since)
        if is_brought:
            tape.stop(sandbox)
        return lost

    return write


def _lost_reopening(*, is_brought: bool) -> Story:
    def write(tape: Tape) -> Lost:
        tape.stop(closed(tape))
        since = tape.now
        tape.send("reopened", RUNNING)
        lost = tape.restore(since)
        if is_brought:
            tape.start("s0")
        return lost

    return write


def _lost_refused_reopening(*ways: str) -> Story:
    """The facts may be brought back, or not: nothing is required of the sandbox."""

    def write(tape: Tape) -> Lost:
        sandbox = closed(tape)
        since = tape.now
        tape.send("reopened", KEPT)
        lost = tape.restore(since)
        for way in ways:
            getattr(tape, way)(sandbox)
        return lost

    return write


def _lost_comment(tape: Tape) -> Lost:
    """GitHub lists comments: the request comes back."""
    tape.stop(served(tape), by="stop")
    since = tape.now
    tape.send("created", RUNNING)
    return tape.restore(since)


def _lost_label(tape: Tape) -> Lost:
    """GitHub's list does not say who labelled when: the request is forgotten."""
    tape.stop(served(tape), by="auto_stop")
    since = tape.now
    tape.send("labeled", RUNNING)
    return tape.restore(since)


def _lost_comment_on_the_closed(tape: Tape) -> Lost:
    """Its block is lost with it."""
    tape.stop(closed(tape))
    since = tape.now
    tape.send("created", RUNNING)
    return tape.restore(since)


def _lost_edit_that_reports_a_close(tape: Tape) -> Lost:
    served(tape)
    since = tape.now
    tape.send("edited", NOTHING, closed_at=tape.now)
    return tape.restore(since)


def _deleted_for_what_was_lost_and_sent_again(tape: Tape) -> Lost:
    """The inspection came after the delivery's first arrival, which only the sender remembers."""
    since = tape.now
    sandbox = served(tape)
    tape.send("deleted", GONE, delivery="again", second=2_000)
    tape.stop(sandbox)
    inspected(tape, sandbox)
    tape.delete(sandbox)
    lost = tape.restore(since)
    tape.send("deleted", GONE, delivery="again", second=2_000)
    return lost


def _refused_reopening_brought_by_a_resync(tape: Tape) -> Lost:
    """The delivery found no workflow; a resync brought the state, and somebody's comment."""
    since = tape.now
    tape.stop(closed(tape))
    lost = tape.restore(since)
    tape.send("reopened", KEPT, is_recorded=False)
    tape.start("s0")
    return lost


def _closed_by_a_resync(tape: Tape) -> Lost:
    """The resync tells of the close before its delivery comes."""
    sandbox = served(tape)
    lost = tape.restore(tape.now)
    second = tape.now
    tape.stop(sandbox)
    tape.archive(sandbox)
    tape.send("closed", STOPPED, second=second)
    return lost


def _deleted_by_a_resync(tape: Tape) -> Lost:
    """The resync tells of the delete before its delivery comes."""
    sandbox = served(tape)
    lost = tape.restore(tape.now)
    second = tape.now
    tape.stop(sandbox)
    inspected(tape, sandbox)
    tape.delete(sandbox)
    tape.send("deleted", GONE, second=second)
    return lost


def _stopped_by_nothing(tape: Tape) -> Lost:
    """The close came later, also at GitHub."""
    sandbox = served(tape)
    lost = tape.restore(tape.now)
    tape.stop(sandbox)
    tape.archive(sandbox)
    tape.send("closed", STOPPED)
    return lost


def _lost_delete(*, is_closed: bool) -> Story:
    """A resync looks for the deleted issues among those that are known as open."""

    def write(tape: Tape) -> Lost:
        if is_closed:
            tape.stop(closed(tape))
        else:
            served(tape)
        since = tape.now
        tape.send("deleted", GONE, closed_at=1_003 if is_closed else None)
        return tape.restore(since)

    return write


def _stored_just_before_the_backup(tape: Tape) -> Lost:
    """It was acknowledged after it; the history has it, and no workflow task handled it."""
    since = tape.now + 1.15
    tape.send("opened", RUNNING, is_handled=False)
    tape.create()
    return tape.restore(since)


def _ensured_and_called_off_by_a_lost_close(tape: Tape) -> Lost:
    """The resync brought the close after the order."""
    tape.stop(served(tape), by="auto_stop")
    since = tape.now
    tape.send("closed", STOPPED)
    lost = tape.restore(since)
    tape.order("ensure")
    return lost


def _lost_order(way: str) -> Story:
    """A stop that was forgotten: carried out before, or never."""

    def write(tape: Tape) -> Lost:
        sandbox = served(tape)
        since = tape.now
        tape.order("stop")
        if way:
            getattr(tape, way)(sandbox)
        return tape.restore(since)

    return write


def _order_after_it(tape: Tape) -> Lost:
    served(tape)
    lost = tape.restore(tape.now)
    tape.order("stop")
    return lost


def _lost_force(tape: Tape) -> Lost:
    sandbox = served(tape)
    since = tape.now
    tape.order("delete", is_forced=True)
    tape.delete(sandbox)
    return tape.restore(since)


def _deleted_by_a_forgotten_close(tape: Tape) -> Lost:
    """No restore excuses a delete without an inspection."""
    sandbox = closed(tape)
    lost = tape.restore(tape.now)
    tape.stop(sandbox)
    tape.delete(sandbox)
    return lost


def _second_sandbox_after_it(tape: Tape) -> Lost:
    since = tape.now
    served(tape)
    lost = tape.restore(since)
    tape.create("copy", labels={"issue-id": "1"})
    return lost


RESTORED: dict[str, tuple[Story, str]] = {
    "a lost opening, and its sandbox": (_lost_opening, ""),
    "a lost opening that nobody brought back": (_lost_opening_without_a_sandbox, "ce"),
    "an opening after it, in no history": (_opening_after_it_in_no_history, "c"),
    "an opening before the backup, in no history": (_opening_before_the_backup_in_no_history, "c"),
    "lost, redelivered, and in a history": (_lost_and_redelivered(is_recorded=True), ""),
    "lost, redelivered, and in no history": (_lost_and_redelivered(is_recorded=False), "c"),
    "a lost close, brought back": (_lost_close(is_brought=True), ""),
    "a lost close, not brought back": (_lost_close(is_brought=False), "e"),
    "a lost reopening, brought back": (_lost_reopening(is_brought=True), ""),
    "a lost reopening, not brought back": (_lost_reopening(is_brought=False), "ce"),
    "a lost refused reopening, and the sandbox runs": (_lost_refused_reopening(), ""),
    "a lost refused reopening, and the close counts": (_lost_refused_reopening("stop", "archive"), ""),
    "a lost comment that nobody brought back": (_lost_comment, "ce"),
    "a lost label": (_lost_label, ""),
    "a lost comment on a closed issue": (_lost_comment_on_the_closed, ""),
    "a lost edit that reports a close": (_lost_edit_that_reports_a_close, ""),
    "deleted for what was lost and sent again": (_deleted_for_what_was_lost_and_sent_again, ""),
    "a refused reopening after it that found no workflow": (_refused_reopening_brought_by_a_resync, ""),
    "a close that a resync told first": (_closed_by_a_resync, ""),
    "a delete that a resync told first": (_deleted_by_a_resync, ""),
    "a close that was not there yet": (_stopped_by_nothing, "c"),
    "a lost delete of a closed issue": (_lost_delete(is_closed=True), ""),
    "a lost delete of an open issue, not brought back": (_lost_delete(is_closed=False), "e"),
    "stored just before the backup, and not handled": (_stored_just_before_the_backup, "c"),
    "an ensure, and then the lost close": (_ensured_and_called_off_by_a_lost_close, ""),
    "a lost stop, carried out before": (_lost_order("stop"), ""),
    "a lost stop, never carried out": (_lost_order(""), ""),
    "a stop after it, not carried out": (_order_after_it, "e"),
    "a lost forced delete": (_lost_force, ""),
    "a delete without an inspection": (_deleted_by_a_forgotten_close, "d"),
    "a second sandbox": (_second_sandbox_after_it, "abdf"),
}


@pytest.mark.parametrize("story", RESTORED)
def test_what_a_restore_has_forgotten_is_not_required_and_the_rest_is(story: str) -> None:
    """(c) and (e) require what was sent after it and what GitHub knows still; (a), (b) and (d) hold at every moment."""
    write, letters = RESTORED[story]
    tape = Tape()
    lost = write(tape)
    assert tape.letters(lost=lost, blocks=[], worked_in=[]) == letters


def test_without_a_restore_the_same_is_lost() -> None:
    """(c) Only the run can say that a database was restored."""
    tape = Tape()
    _lost_opening(tape)
    assert tape.letters() == "c"


def test_evidence_on_disk_says_when_the_database_was_restored(tmp_path: Path) -> None:
    """The checker finds it in the run's directory."""
    tape = Tape()
    evidence = tape.evidence(lost=_lost_opening(tape), instance="green")
    write_run(tmp_path, evidence)
    assert read_run(tmp_path) == evidence
