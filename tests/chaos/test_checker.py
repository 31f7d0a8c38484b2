"""The rules of every moment, (a) and (b), and when they are checked: each violation is found, and nothing else.

Each story is a tape, with the letters of the rules that it breaks.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proofs.checker.evidence import Block
from proofs.checker.rules import RULES, SAFETY, Watch
from tests.chaos.tape import GONE, RUNNING, Tape

Story = Callable[[Tape], object]
OTHER = {"name": "copy", "labels": {"issue-id": "1"}}
"""A second sandbox of issue 1: it cannot have the same name while the first one lives."""


def served(tape: Tape) -> str:
    """The usual beginning: issue opened, sandbox created and running."""
    tape.send("opened", RUNNING)
    return tape.create()


def ended(tape: Tape) -> str:
    """A sandbox at rest whose issue was deleted."""
    sandbox = served(tape)
    tape.stop(sandbox, by="auto_stop")
    tape.send("deleted", GONE)
    return sandbox


def _second_live(tape: Tape) -> None:
    served(tape)
    tape.create(**OTHER)


def _second_while_stopped(tape: Tape) -> None:
    tape.stop(served(tape), by="admin:stop")
    tape.create(**OTHER)


def _second_while_creating(tape: Tape) -> None:
    tape.send("opened", RUNNING)
    first = tape.create(is_started=False)
    tape.create(**OTHER)
    tape.finish(first)


def _one_after_the_other(tape: Tape) -> None:
    tape.delete(served(tape), by="admin:delete")
    tape.send("created", RUNNING)
    tape.create()


def _copy_by_hand(tape: Tape) -> None:
    served(tape)
    tape.create(**OTHER, by="admin:create")


def _two_issues(tape: Tape) -> None:
    served(tape)
    tape.send("opened", RUNNING, issue=2)
    tape.create("claude-issue-2")


def _revived_after_replacement(tape: Tape) -> None:
    """Both live only once a person has repaired the first."""
    first = served(tape)
    tape.breaks(first)
    tape.create(**OTHER)
    tape.set_state(first, "started")


ONE_LIVE: dict[str, tuple[Story, str]] = {
    "a second one is created": (_second_live, "abdf"),
    "a second one is created while the first is stopped": (_second_while_stopped, "abdf"),
    "a second one is created while the first is being created": (_second_while_creating, "abf"),
    "the first one comes back": (_revived_after_replacement, "abdf"),
    "one after the other": (_one_after_the_other, ""),
    "each issue has its own": (_two_issues, ""),
}


@pytest.mark.parametrize("story", ONE_LIVE)
def test_two_live_sandboxes_are_found(story: str) -> None:
    """(a) holds when there are never two live ones, whoever created the first."""
    write, letters = ONE_LIVE[story]
    tape = Tape()
    write(tape)
    assert tape.letters() == letters


def test_copy_made_by_hand_is_not_blamed_on_the_service() -> None:
    """(a) A person may create sandboxes at Daytona; only one that is left over at the end is reported."""
    tape = Tape()
    _copy_by_hand(tape)
    assert tape.letters() == "f"


def test_violation_names_both_sandboxes_and_the_entries() -> None:
    """A report names the issue, the sandboxes and the journal entries."""
    tape = Tape()
    _second_live(tape)
    violation = next(each for each in tape.broken() if each.rule == "a")
    created = [entry.seq for entry in tape.journal if entry.kind == "created"]
    assert violation.issue == 1
    assert "s0" in violation.what
    assert "s1" in violation.what
    assert violation.entries == tuple(created)


def _nameless(tape: Tape) -> None:
    tape.send("opened", RUNNING)
    tape.create(None, labels={"issue-id": "1"})


def _nameless_and_refused(tape: Tape) -> None:
    served(tape)
    tape.refused_create(None)


def _misnamed(tape: Tape) -> None:
    tape.send("opened", RUNNING)
    tape.create("issue-1", labels={"issue-id": "1"})


def _refused_duplicate(tape: Tape) -> None:
    served(tape)
    tape.refused_create()


def _while_own_delete_dies(tape: Tape) -> None:
    first = served(tape)
    tape.order("replace")
    tape.delete(first, is_finished=False)
    tape.create()
    tape.finish(first)


def _after_own_delete(tape: Tape) -> None:
    first = served(tape)
    tape.order("replace")
    tape.delete(first)
    tape.create()


def _while_seen_one_dies(tape: Tape) -> None:
    first = served(tape)
    tape.delete(first, by="admin:delete", is_finished=False)
    tape.create()
    tape.finish(first)


def _while_unseen_one_dies(tape: Tape) -> None:
    first = tape.create(by="admin:create")
    tape.delete(first, by="admin:delete", is_finished=False)
    served(tape)
    tape.finish(first)


def _while_one_with_a_lost_reply_dies(tape: Tape) -> None:
    tape.send("opened", RUNNING)
    first = tape.create(is_shown=False)
    tape.delete(first, by="admin:delete", is_finished=False)
    tape.create()
    tape.finish(first)


def _while_own_delete_of_an_unseen_one_dies(tape: Tape) -> None:
    """The service deletes it, so it knows of it."""
    tape.send("opened", RUNNING)
    first = tape.create(is_shown=False)
    tape.order("replace")
    tape.delete(first, is_finished=False)
    tape.create()
    tape.finish(first)


def _beside_an_unseen_one(tape: Tape) -> None:
    """It was not dying yet."""
    copy = tape.create(**OTHER, by="admin:create")
    served(tape)
    tape.delete(copy, by="admin:delete")


def _after_an_errored_one_was_deleted(tape: Tape) -> None:
    """Daytona hides it at once and keeps its row."""
    tape.send("opened", RUNNING)
    tape.delete(tape.create(fails=True))
    tape.create()


CREATES: dict[str, tuple[Story, str]] = {
    "no name": (_nameless, "b"),
    "no name, and refused": (_nameless_and_refused, "b"),
    "another name": (_misnamed, "b"),
    "refused because the name is taken": (_refused_duplicate, ""),
    "accepted while our own delete is under way": (_while_own_delete_dies, "b"),
    "accepted when our own delete is done": (_after_own_delete, ""),
    "accepted while a person's delete of a known one is under way": (_while_seen_one_dies, "b"),
    "accepted while one that was never seen dies": (_while_unseen_one_dies, ""),
    "accepted while one dies whose reply was lost": (_while_one_with_a_lost_reply_dies, ""),
    "accepted while our own delete of one with a lost reply is under way": (
        _while_own_delete_of_an_unseen_one_dies,
        "b",
    ),
    "accepted while one that was never seen lives": (_beside_an_unseen_one, "abd"),
    "accepted after an errored one was deleted": (_after_an_errored_one_was_deleted, ""),
}


@pytest.mark.parametrize("story", CREATES)
def test_wrong_creates_are_found(story: str) -> None:
    """(b) holds when each create carries the name and finds no sandbox of its issue."""
    write, letters = CREATES[story]
    tape = Tape()
    write(tape)
    assert tape.letters() == letters


def _block(cause: str, issue: int = 1) -> Block:
    return Block(workflow_id=f"claude-issue-{issue}", run_id="r", event_id=7, at=1_003.0, cause=cause)


@pytest.mark.parametrize("is_at_rest", [True, False])
def test_block_by_a_bug_of_the_services_own_is_found(is_at_rest: bool) -> None:
    """(g) The service retries it and it passes, so that no other rule finds it."""
    tape = Tape()
    served(tape)
    tape.send("opened", RUNNING, issue=2)
    tape.create("claude-issue-2")
    blocks = [_block("unreachable"), _block("internal", issue=2), _block("unsaved", issue=2)]
    assert tape.letters(blocks=blocks, is_at_rest=is_at_rest) == "g"
    assert tape.letters(blocks=[blocks[0], blocks[2]], is_at_rest=is_at_rest) == ""
    (violation,) = tape.broken(blocks=blocks)
    assert violation.issue == 2
    assert "internal" in violation.what
    assert "event 7 of run r" in violation.what


def test_safety_is_checked_during_the_run() -> None:
    """Without rest, (c), (e) and (f) are not checked: they may still come to hold."""
    tape = Tape()
    served(tape)
    tape.create(**OTHER)
    tape.send("deleted", GONE, issue=3, is_recorded=False)
    assert tape.letters(is_at_rest=False) == "abd"
    assert tape.letters() == "abcdf"


def test_watch_finds_what_a_whole_check_finds() -> None:
    """Fed in parts, the watch reports a violation in the part that shows it."""
    tape = Tape()
    served(tape)
    watch, read = Watch(), len(tape.journal)
    assert watch.feed(tape.evidence()) == []
    tape.create(**OTHER)
    tape.refused("stop", tape.create("claude-issue-2", by="admin:create", labels={"managed-by": "somebody"}))
    found = watch.feed(tape.evidence(journal=tape.journal[read:], running_max=1))
    assert {violation.rule for violation in found} == SAFETY
    assert found == [violation for violation in tape.broken(running_max=1) if violation.rule in SAFETY]


def test_each_rule_has_its_letter_and_its_sentence() -> None:
    """The report and the docs show this table."""
    assert "".join(RULES) == "abcdefghiGHIJKMNO"
    assert all(rule.letter == letter and rule.says.endswith(".") for letter, rule in RULES.items())
