"""Rule (i), nobody is answered with a sandbox that did not run.

Each story is a tape, with the letters of the rules that it breaks. The clock of a tape goes by seconds.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.tape import RUNNING, STOPPED, Tape
from tests.chaos.test_checker import served
from tests.chaos.test_checker_whose import GREEN

Story = Callable[[Tape], object]


def _right(tape: Tape) -> None:
    tape.answer(served(tape), since=tape.now)


def _created_for_it(tape: Tape) -> None:
    since = tape.now
    tape.answer(tape.create(), since=since)


def _without_a_sandbox(tape: Tape) -> None:
    served(tape)
    tape.answer("", since=tape.now)


def _made_up(tape: Tape) -> None:
    served(tape)
    tape.answer("s9", since=tape.now)


def _of_another_issue(tape: Tape) -> None:
    served(tape)
    tape.send("opened", RUNNING, issue=2)
    tape.answer(tape.create("claude-issue-2"), since=tape.now)


def _anothers(tape: Tape) -> None:
    tape.answer(tape.create(by="admin:create", labels=GREEN), since=tape.now)


def _anothers_later(tape: Tape) -> None:
    sandbox = served(tape)
    tape.answer(sandbox, since=tape.now)
    tape.now += 1
    tape.relabel(sandbox, GREEN)


def _stopped_before(tape: Tape) -> None:
    sandbox = served(tape)
    tape.stop(sandbox, by="auto_stop")
    tape.answer(sandbox, since=tape.now + 1)


def _stopped_meanwhile(tape: Tape) -> None:
    sandbox = served(tape)
    since = tape.now
    tape.stop(sandbox, by="auto_stop")
    tape.answer(sandbox, since=since)


def _started_meanwhile(tape: Tape) -> None:
    sandbox = served(tape)
    tape.stop(sandbox, by="auto_stop")
    since = tape.now + 1
    tape.start(sandbox)
    tape.answer(sandbox, since=since)


def _started_after(tape: Tape) -> None:
    sandbox = served(tape)
    tape.stop(sandbox, by="auto_stop")
    tape.now += 5
    tape.answer(sandbox, since=tape.now)
    tape.start(sandbox)


def _still_creating(tape: Tape) -> None:
    sandbox = tape.create(is_started=False)
    tape.answer(sandbox, since=tape.now)
    tape.finish(sandbox)


def _shown_as_it_was(is_meanwhile: bool) -> Story:
    """A timer stopped it, and a read showed it running, as it was before."""

    def write(tape: Tape) -> None:
        sandbox = served(tape)
        then = tape.now
        tape.stop(sandbox, by="auto_stop")
        tape.now += 5
        since = tape.now
        if is_meanwhile:
            tape.show(sandbox, as_of=then)
        tape.answer(sandbox, since=since)
        if not is_meanwhile:
            tape.show(sandbox, as_of=then)
        tape.start(sandbox)

    return write


def _gone(tape: Tape) -> None:
    sandbox = served(tape)
    tape.delete(sandbox, by="admin:delete")
    tape.answer(sandbox, since=tape.now + 1)


def _pending(tape: Tape) -> None:
    tape.answer("", since=tape.now, status=202)
    tape.create()


def _refused(tape: Tape) -> None:
    tape.send("closed", STOPPED)
    tape.answer("", since=tape.now, status=409)


ANSWERS: dict[str, tuple[Story, str]] = {
    "it runs": (_right, ""),
    "created for it": (_created_for_it, ""),
    "no sandbox": (_without_a_sandbox, "i"),
    "one that never was": (_made_up, "i"),
    "another issue's": (_of_another_issue, "i"),
    "another's": (_anothers, "i"),
    "another's later": (_anothers_later, ""),
    "stopped before": (_stopped_before, "i"),
    "stopped meanwhile": (_stopped_meanwhile, ""),
    "started meanwhile": (_started_meanwhile, ""),
    "started after": (_started_after, "i"),
    "still being created": (_still_creating, "i"),
    "stopped, and a read of before": (_shown_as_it_was(is_meanwhile=True), ""),
    "stopped, and a read of before came too late": (_shown_as_it_was(is_meanwhile=False), "i"),
    "gone": (_gone, "i"),
    "pending": (_pending, ""),
    "refused": (_refused, ""),
}


@pytest.mark.parametrize("story", ANSWERS)
def test_answer_without_a_running_sandbox_is_found(story: str) -> None:
    """(i) At some moment from the order to its answer the sandbox ran, or a read showed a moment when it did."""
    write, letters = ANSWERS[story]
    tape = Tape()
    write(tape)
    assert tape.letters(is_at_rest=False) == letters


def test_violation_names_the_answer_and_the_sandbox() -> None:
    """A report says what the answer was, and what is wrong with it."""
    for write, words in ((_stopped_before, ("200", "s0", "did not run")), (_without_a_sandbox, ("no sandbox",))):
        tape = Tape()
        write(tape)
        (violation,) = tape.broken(is_at_rest=False)
        assert all(word in violation.what for word in words), violation.what
        assert "names ," not in violation.what


def test_answer_that_nobody_noted_is_not_judged() -> None:
    """(i) A sender that notes no sandbox leaves no evidence; the report says so."""
    tape = Tape()
    served(tape)
    tape.order("ensure", status=200)
    assert tape.letters() == ""
