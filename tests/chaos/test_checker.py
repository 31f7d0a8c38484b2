"""The rules of every moment, (a), (b) and (d): each way to break them is found, and nothing that is right.

Each story is a tape, and the letters of the rules that it breaks.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.checker.rules import RULES, SAFETY, Watch
from tests.chaos.tape import GONE, RUNNING, STOPPED, Tape

Story = Callable[[Tape], object]
OTHER = {"name": "copy", "labels": {"issue-id": "1"}}
"""A second sandbox of issue 1: it cannot have the same name while the first one lives."""


def served(tape: Tape) -> str:
    """The usual beginning: opened, created, running."""
    tape.send("opened", RUNNING)
    return tape.create()


def ended(tape: Tape) -> str:
    """A sandbox at rest whose issue was deleted."""
    sandbox = served(tape)
    tape.stop(sandbox, by="auto_stop")
    tape.send("deleted", GONE)
    return sandbox


def looked_into(tape: Tape, sandbox: str, status: int | None = 200) -> None:
    """Started for a look alone, looked into, stopped."""
    tape.start(sandbox)
    tape.look(sandbox, status)
    tape.stop(sandbox)


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
    "a second one is made": (_second_live, "abdf"),
    "a second one is made while the first is stopped": (_second_while_stopped, "abdf"),
    "a second one is made while the first is being made": (_second_while_creating, "abf"),
    "the first one comes back": (_revived_after_replacement, "abdf"),
    "one after the other": (_one_after_the_other, ""),
    "each issue has its own": (_two_issues, ""),
}


@pytest.mark.parametrize("story", ONE_LIVE)
def test_two_live_sandboxes_are_found(story: str) -> None:
    """(a) holds when at no time two live ones are there, whoever made the first."""
    write, letters = ONE_LIVE[story]
    tape = Tape()
    write(tape)
    assert tape.letters() == letters


def test_copy_made_by_hand_is_not_laid_at_the_services_door() -> None:
    """(a) A person may make what they like at Daytona; only what is left over at the end is told."""
    tape = Tape()
    _copy_by_hand(tape)
    assert tape.letters() == "f"


def test_violation_names_both_sandboxes_and_the_entries() -> None:
    """A report says which issue, which sandboxes, and where in the journal to look."""
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
    "accepted after an errored one was deleted": (_after_an_errored_one_was_deleted, ""),
}


@pytest.mark.parametrize("story", CREATES)
def test_wrong_creates_are_found(story: str) -> None:
    """(b) holds when each create carries the name and meets nothing of its issue."""
    write, letters = CREATES[story]
    tape = Tape()
    write(tape)
    assert tape.letters() == letters


def _deleted_while_running(tape: Tape) -> None:
    sandbox = served(tape)
    tape.send("deleted", GONE)
    tape.delete(sandbox)


def _deleted_without_a_look(tape: Tape) -> None:
    tape.delete(ended(tape))


def _deleted_after_a_quiet_look(tape: Tape) -> None:
    sandbox = ended(tape)
    looked_into(tape, sandbox)
    tape.delete(sandbox)


def _deleted_after_a_look_at_work(tape: Tape) -> None:
    """The look before the stop at the close: an agent writes after it."""
    sandbox = served(tape)
    tape.send("deleted", GONE)
    tape.look(sandbox)
    tape.stop(sandbox)
    tape.delete(sandbox)


def _deleted_after_the_look_of_a_handover(tape: Tape) -> None:
    sandbox = served(tape)
    tape.stop(sandbox, by="auto_stop")
    tape.send("created", RUNNING)
    looked_into(tape, sandbox)
    tape.send("deleted", GONE)
    tape.delete(sandbox)


def _deleted_without_looking_while_it_ran(tape: Tape) -> None:
    sandbox = ended(tape)
    tape.start(sandbox)
    tape.stop(sandbox)
    tape.delete(sandbox)


def _deleted_after_a_look_that_failed(tape: Tape) -> None:
    sandbox = ended(tape)
    looked_into(tape, sandbox, 502)
    tape.delete(sandbox)


def _deleted_after_a_look_without_an_answer(tape: Tape) -> None:
    sandbox = ended(tape)
    looked_into(tape, sandbox, None)
    tape.delete(sandbox)


def _deleted_after_a_person_was_there(tape: Tape) -> None:
    sandbox = ended(tape)
    looked_into(tape, sandbox)
    tape.start(sandbox, by="admin:start")
    tape.stop(sandbox, by="admin:stop")
    tape.delete(sandbox)


def _deleted_while_the_look_runs(tape: Tape) -> None:
    sandbox = ended(tape)
    tape.start(sandbox)
    tape.look(sandbox)
    tape.delete(sandbox)


def _deleted_after_the_look_of_a_lifted_order(tape: Tape) -> None:
    """Somebody asked again after the order: the start was theirs."""
    sandbox = served(tape)
    tape.stop(sandbox, by="auto_stop")
    tape.order("delete")
    tape.send("created", RUNNING)
    looked_into(tape, sandbox)
    tape.send("deleted", GONE)
    tape.delete(sandbox)


def _deleted_after_the_look_of_an_order(tape: Tape) -> None:
    sandbox = served(tape)
    tape.stop(sandbox)
    tape.order("delete")
    looked_into(tape, sandbox)
    tape.delete(sandbox)


def _errored_after_a_quiet_look(tape: Tape) -> None:
    sandbox = ended(tape)
    looked_into(tape, sandbox)
    tape.breaks(sandbox)
    tape.delete(sandbox)


def _errored_and_deleted(tape: Tape) -> None:
    sandbox = ended(tape)
    tape.breaks(sandbox)
    tape.delete(sandbox)


def _thawed_for_a_look(tape: Tape) -> None:
    sandbox = ended(tape)
    tape.archive(sandbox)
    looked_into(tape, sandbox)
    tape.delete(sandbox)


def _repaired_for_a_look(tape: Tape) -> None:
    sandbox = ended(tape)
    tape.breaks(sandbox, is_recoverable=True)
    tape.recover(sandbox)
    tape.look(sandbox)
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


def _forced_for_another_issue(tape: Tape) -> None:
    sandbox = ended(tape)
    tape.send("opened", RUNNING, issue=2)
    tape.create("claude-issue-2")
    tape.order("replace", issue=2)
    tape.delete(sandbox)


def _replaced(tape: Tape) -> None:
    _after_own_delete(tape)


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


def _left_behind(tape: Tape) -> None:
    tape.breaks(served(tape))
    tape.create(**OTHER)


def _left_behind_before_it_ran(tape: Tape) -> None:
    tape.send("opened", RUNNING)
    tape.create(fails=True)
    tape.create(**OTHER)


DELETES: dict[str, tuple[Story, str]] = {
    "while it runs": (_deleted_while_running, "d"),
    "asleep, and nobody looked": (_deleted_without_a_look, "d"),
    "after a quiet look": (_deleted_after_a_quiet_look, ""),
    "after a look while somebody was at work": (_deleted_after_a_look_at_work, "d"),
    "after a look into what was started for somebody": (_deleted_after_the_look_of_a_handover, "d"),
    "started for a look that never came": (_deleted_without_looking_while_it_ran, "d"),
    "after a look that failed": (_deleted_after_a_look_that_failed, "d"),
    "after a look that nobody answered": (_deleted_after_a_look_without_an_answer, "d"),
    "after a person was in it since the look": (_deleted_after_a_person_was_there, "d"),
    "right after the look, still running": (_deleted_while_the_look_runs, "d"),
    "after the look of an order that was lifted": (_deleted_after_the_look_of_a_lifted_order, "d"),
    "after the look of an order": (_deleted_after_the_look_of_an_order, ""),
    "errored since a quiet look": (_errored_after_a_quiet_look, ""),
    "errored": (_errored_and_deleted, "d"),
    "thawed for a quiet look": (_thawed_for_a_look, ""),
    "repaired for a quiet look": (_repaired_for_a_look, ""),
    "forced": (_forced, ""),
    "forced, and the answer was lost": (_forced_without_an_answer, ""),
    "forced, and the order was refused": (_forced_and_refused, "d"),
    "forced after the fact": (_forced_too_late, "d"),
    "forced for the sandbox before": (_forced_for_the_one_before, "d"),
    "forced while it was being made": (_forced_during_the_create, ""),
    "forced for another issue": (_forced_for_another_issue, "d"),
    "replaced by order": (_replaced, ""),
    "by a person at Daytona": (_deleted_by_a_person, ""),
    "by a timer": (_deleted_by_a_timer, "d"),
    "before it ever ran": (_never_started, ""),
    "left behind in error for a new one": (_left_behind, "bdf"),
    "left behind before it ran": (_left_behind_before_it_ran, "bf"),
}


@pytest.mark.parametrize("story", DELETES)
def test_lost_work_is_found(story: str) -> None:
    """(d) holds when a person gave it up, it never ran, or a look found nobody at work in it."""
    write, letters = DELETES[story]
    tape = Tape()
    write(tape)
    assert tape.letters() == letters


def test_planted_work_outweighs_a_quiet_look() -> None:
    """(d) Where the run left work, no look can have found nothing."""
    tape = Tape()
    _deleted_after_a_quiet_look(tape)
    assert tape.letters(worked_in=["s0"]) == "d"
    assert tape.letters(worked_in=["s1"]) == ""


def test_planted_work_may_be_given_up() -> None:
    """(d) A person's forced delete gives up even that."""
    tape = Tape()
    _forced(tape)
    assert tape.letters(worked_in=["s0"]) == ""


def test_safety_is_asked_while_the_run_goes_on() -> None:
    """Without rest, only (a), (b) and (d) are asked: the others may still come right."""
    tape = Tape()
    served(tape)
    tape.create(**OTHER)
    tape.send("deleted", GONE, issue=3, is_recorded=False)
    assert tape.letters(is_at_rest=False) == "abd"
    assert set(tape.letters()) > SAFETY


def test_watch_finds_what_a_whole_check_finds() -> None:
    """Fed bit by bit, the watch tells a violation in the very piece that shows it."""
    tape = Tape()
    served(tape)
    watch, read = Watch(), len(tape.journal)
    assert watch.feed(tape.evidence()) == []
    tape.create(**OTHER)
    found = watch.feed(tape.evidence(journal=tape.journal[read:]))
    assert {violation.rule for violation in found} == SAFETY
    assert found == [violation for violation in tape.broken() if violation.rule in SAFETY]


def test_each_rule_has_its_letter_and_its_sentence() -> None:
    """The table is what the report and the docs show."""
    assert "".join(RULES) == "abcdef"
    assert all(rule.letter == letter and rule.says.endswith(".") for letter, rule in RULES.items())


def test_stop_at_the_close_is_no_delete() -> None:
    """(d) Only what is deleted can be lost."""
    tape = Tape()
    sandbox = served(tape)
    tape.send("closed", STOPPED)
    tape.stop(sandbox)
    tape.archive(sandbox)
    assert tape.letters() == ""
