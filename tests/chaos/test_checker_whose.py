"""Rule (h), another's sandbox is not touched, and the blocks that must tell of it.

Each story is a tape, with the letters of the rules that it breaks.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from localdaytona.types import JSON
from proofs.checker.evidence import Block
from tests.chaos.tape import RUNNING, STOPPED, Tape
from tests.chaos.test_checker import served

Story = Callable[[Tape], object]
GREEN: dict[str, JSON] = {"managed-by": "issuebox", "issue-id": "1", "issuebox-instance": "green"}
OURS: dict[str, JSON] = GREEN | {"issuebox-instance": "default"}


def anothers(tape: Tape, labels: dict[str, JSON] = GREEN) -> str:
    """A person made a sandbox under the issue's name, and then the issue was opened."""
    sandbox = tape.create(by="admin:create", labels=labels)
    tape.send("opened", RUNNING)
    return sandbox


def _commanded(operation: str) -> Story:
    return lambda tape: tape.refused(operation, anothers(tape))


def _labelled(**labels: str) -> Story:
    return lambda tape: tape.refused("stop", anothers(tape, {key.replace("_", "-"): labels[key] for key in labels}))


def _stopped(tape: Tape) -> None:
    sandbox = anothers(tape)
    tape.send("closed", STOPPED)
    tape.stop(sandbox)


def _became_anothers(*, is_shown: bool, labels: dict[str, JSON] = GREEN) -> Story:
    def write(tape: Tape) -> None:
        sandbox = served(tape)
        tape.relabel(sandbox, labels)
        if is_shown:
            tape.show(sandbox)
        tape.send("closed", STOPPED)
        tape.stop(sandbox)

    return write


def _shown_as_it_was_before(tape: Tape) -> None:
    sandbox = served(tape)
    then = tape.now
    tape.relabel(sandbox, GREEN)
    tape.show(sandbox, as_of=then)
    tape.send("closed", STOPPED)
    tape.stop(sandbox)


def _became_ours(tape: Tape) -> None:
    sandbox = anothers(tape)
    tape.relabel(sandbox, OURS)
    tape.refused("stop", sandbox)


def _ours_with_its_labels(tape: Tape) -> None:
    """The service created it so: that is its own mistake, and makes the sandbox nobody else's."""
    tape.send("opened", RUNNING)
    tape.refused("stop", tape.create(labels=GREEN))


WHOSE: dict[str, tuple[Story, str]] = {
    "left alone": (anothers, ""),
    "stopped": (_stopped, "h"),
    "sent a start": (_commanded("start"), "h"),
    "sent an archive": (_commanded("archive"), "h"),
    "sent a recover": (_commanded("recover"), "h"),
    "sent a delete": (_commanded("delete"), "h"),
    "sent labels": (_commanded("labels"), "h"),
    "sent a refresh of its timers": (_commanded("last_activity"), "h"),
    "read": (lambda tape: tape.show(anothers(tape)), ""),
    "of another manager": (_labelled(managed_by="somebody"), "h"),
    "of another issue": (_labelled(issue_id="2"), "h"),
    "of another installation": (_labelled(issuebox_instance="green"), "h"),
    "ours by its labels": (lambda tape: tape.refused("stop", anothers(tape, OURS)), ""),
    "of nobody": (lambda tape: tape.refused("stop", anothers(tape, {})), ""),
    "became another's, and was seen so": (_became_anothers(is_shown=True), "h"),
    "became another's, and was not seen so": (_became_anothers(is_shown=False), ""),
    "became another's, and a read of before": (_shown_as_it_was_before, ""),
    "got other labels, and is still ours": (_became_anothers(is_shown=True, labels=OURS), ""),
    "became ours": (_became_ours, ""),
    "ours, with another's labels": (_ours_with_its_labels, ""),
}


@pytest.mark.parametrize("story", WHOSE)
def test_command_to_anothers_sandbox_is_found(story: str) -> None:
    """(h) Not even a refused command reaches it, once its labels were there to be seen."""
    write, letters = WHOSE[story]
    tape = Tape()
    write(tape)
    assert tape.letters(is_at_rest=False) == letters


def test_installation_under_test_has_its_name() -> None:
    """(h) Its own label is no other's."""
    tape = Tape()
    tape.refused("stop", anothers(tape))
    assert tape.letters(is_at_rest=False, instance="green") == ""
    tape = Tape()
    tape.refused("stop", anothers(tape, OURS))
    assert tape.letters(is_at_rest=False, instance="green") == "h"


def test_issue_is_blocked_because_of_anothers_sandbox() -> None:
    """(c) It runs, but nobody was handed it: the block as foreign is what a requester gets."""
    tape = Tape()
    anothers(tape)
    assert tape.letters() == ""
    assert tape.letters(blocks=[]) == "c"
    assert tape.letters(blocks=[_block("unreachable", tape.now)]) == "c"
    assert tape.letters(blocks=[_block("foreign", tape.now - 100)]) == "c"
    assert tape.letters(blocks=[_block("foreign", tape.now)]) == ""


def test_own_sandbox_that_became_anothers_had_served() -> None:
    """(c) What was served before needs no block."""
    tape = Tape()
    tape.relabel(served(tape), GREEN)
    tape.stop("s0", by="admin:stop")
    tape.delete("s0", by="admin:delete")
    assert tape.letters(blocks=[_block("foreign", tape.now)]) == ""


def _block(cause: str, at: float) -> Block:
    return Block(workflow_id="claude-issue-1", run_id="r", event_id=9, at=at, cause=cause)
