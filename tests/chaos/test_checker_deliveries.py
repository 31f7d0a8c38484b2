"""Rule (c), no acknowledged delivery is lost: each way to lose one is found, and nothing else.

Each story is a tape, with the letters of the rules that it breaks.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from proofs.checker.evidence import Block
from tests.chaos.tape import NOTHING, RUNNING, STOPPED, Tape
from tests.chaos.test_checker import served

Story = Callable[[Tape], object]


def _unrecorded(tape: Tape) -> None:
    served(tape)
    tape.send("created", RUNNING, is_recorded=False)


def _unrecorded_close(tape: Tape) -> None:
    sandbox = served(tape)
    tape.send("closed", STOPPED, is_recorded=False)
    tape.stop(sandbox)


def _in_anothers_workflow(tape: Tape) -> None:
    served(tape)
    tape.send("created", RUNNING, workflow_id="claude-issue-2")


def _unhandled(tape: Tape) -> None:
    served(tape)
    tape.send("created", RUNNING, is_handled=False)


def _handled_at_the_second_signal(tape: Tape) -> None:
    served(tape)
    tape.send("created", RUNNING, delivery="twice", is_handled=False)
    tape.send("created", RUNNING, delivery="twice", second=tape.deliveries[-1].updated_at)


def _refused_and_redelivered(tape: Tape) -> None:
    tape.send("opened", RUNNING, delivery="again", status=503, second=5)
    tape.send("opened", RUNNING, delivery="again", second=5)
    tape.create()


def _never_acknowledged(tape: Tape) -> None:
    served(tape)
    tape.send("created", RUNNING, issue=2, status=503)
    tape.send("created", RUNNING, issue=3, status=None, is_recorded=False)


def _unhandled_and_terminated(tape: Tape) -> None:
    """An operator ended the run: what it had not handled is lost, as the documentation says."""
    _unhandled(tape)
    tape.terminate()


def _unhandled_and_another_terminated(tape: Tape) -> None:
    _unhandled(tape)
    tape.terminate(run_id="another")


def _ignored(tape: Tape) -> None:
    served(tape)
    tape.send("edited", NOTHING, is_recorded=False)


HISTORIES: dict[str, tuple[Story, str]] = {
    "in no history": (_unrecorded, "c"),
    "a close in no history": (_unrecorded_close, "c"),
    "in another issue's workflow": (_in_anothers_workflow, "c"),
    "not handled": (_unhandled, "c"),
    "not handled, and the run was terminated": (_unhandled_and_terminated, ""),
    "not handled, and another run was terminated": (_unhandled_and_another_terminated, "c"),
    "handled at its second signal": (_handled_at_the_second_signal, ""),
    "refused, then redelivered": (_refused_and_redelivered, ""),
    "never acknowledged": (_never_acknowledged, ""),
    "asks for nothing": (_ignored, ""),
    "nothing but what asks for nothing": (lambda tape: tape.send("edited", NOTHING), ""),
}


@pytest.mark.parametrize("story", HISTORIES)
def test_lost_deliveries_are_found(story: str) -> None:
    """(c) holds when each acknowledged delivery is in its issue's workflow and was handled."""
    write, letters = HISTORIES[story]
    tape = Tape()
    write(tape)
    assert tape.letters() == letters


def test_system_without_temporal_has_no_histories_to_miss() -> None:
    """(c) Then only what was honoured counts."""
    tape = Tape()
    _unrecorded(tape)
    assert tape.letters(histories=None) == ""


def test_what_may_never_have_arrived_need_not_be_honoured() -> None:
    """(c) Without an answer and without histories, it is unknown whether it arrived."""
    tape = Tape()
    tape.send("opened", RUNNING, status=None)
    assert tape.letters(histories=None) == ""
    assert tape.letters() == "ce"


def _nobody_created_one(tape: Tape) -> None:
    tape.send("opened", RUNNING)


def _stopped_before_it_was_asked_for(tape: Tape) -> None:
    tape.stop(served(tape), by="auto_stop")
    tape.send("created", RUNNING)


def _closed_in_between(tape: Tape) -> None:
    tape.send("opened", RUNNING)
    tape.send("closed", STOPPED)


def _closed_long_before(tape: Tape) -> None:
    """The close is late: by GitHub's clock the reopening is newer."""
    tape.send("opened", RUNNING, second=1)
    tape.send("reopened", RUNNING, second=3)
    tape.send("closed", STOPPED, second=2)


def _late_opened(tape: Tape) -> None:
    tape.send("closed", STOPPED, second=2)
    tape.send("opened", RUNNING, second=1)


def _asked_again_in_vain(tape: Tape) -> None:
    """Served once, stopped by a close, reopened: nothing is started for the reopening."""
    sandbox = served(tape)
    tape.send("closed", STOPPED)
    tape.stop(sandbox)
    tape.send("reopened", RUNNING)


def _ordered_to_stop(tape: Tape) -> None:
    tape.send("opened", RUNNING)
    tape.order("stop")


def _ordered_to_stop_before(tape: Tape) -> None:
    tape.stop(served(tape), by="stop")
    tape.order("stop")
    tape.send("created", RUNNING)


def _ensured_in_vain(tape: Tape) -> None:
    tape.order("ensure")


def _ensured(tape: Tape) -> None:
    tape.order("ensure")
    tape.create()


def _ensure_refused(tape: Tape) -> None:
    tape.order("ensure", status=409)


def _commented_on_the_closed(tape: Tape) -> None:
    tape.send("closed", STOPPED)
    tape.send("created", RUNNING)


def _commented_after_the_reopening(tape: Tape) -> None:
    tape.send("closed", STOPPED)
    tape.send("reopened", RUNNING)
    tape.send("created", RUNNING)


def _broken_before_it_ran(tape: Tape) -> None:
    tape.send("opened", RUNNING)
    tape.create(fails=True)


def _broken_when_asked(tape: Tape) -> None:
    tape.breaks(served(tape))
    tape.send("created", RUNNING)


def _same_body_under_two_ids(tape: Tape) -> None:
    """A hook is registered twice: the second delivery asks for nothing new."""
    tape.send("created", RUNNING, second=7)
    sandbox = tape.create()
    tape.order("stop")
    tape.stop(sandbox)
    tape.send("created", RUNNING, second=7)


HONOURED: dict[str, tuple[Story, str]] = {
    "nobody created one": (_nobody_created_one, "ce"),
    "stopped before it was asked for": (_stopped_before_it_was_asked_for, "ce"),
    "closed in between": (_closed_in_between, ""),
    "closed long before": (_closed_long_before, "ce"),
    "opened, but late": (_late_opened, ""),
    "asked for again in vain": (_asked_again_in_vain, "ce"),
    "a person ordered to stop": (_ordered_to_stop, ""),
    "a person ordered to stop before": (_ordered_to_stop_before, "ce"),
    "ensured in vain": (_ensured_in_vain, "ce"),
    "ensured": (_ensured, ""),
    "ensure refused": (_ensure_refused, ""),
    "a comment on a closed issue": (_commented_on_the_closed, ""),
    "a comment on a reopened issue": (_commented_after_the_reopening, "ce"),
    "broken before it ran": (_broken_before_it_ran, ""),
    "broken when it was asked for": (_broken_when_asked, ""),
    "the same body under two IDs": (_same_body_under_two_ids, ""),
}


@pytest.mark.parametrize("story", HONOURED)
def test_events_without_effect_are_found(story: str) -> None:
    """(c) holds when a sandbox was started after each request, or something newer took the request back."""
    write, letters = HONOURED[story]
    tape = Tape()
    write(tape)
    assert tape.letters() == letters


def test_request_on_a_closed_issue_is_handed_over_or_refused() -> None:
    """(c) No timer may take it back before; only a block calls it off, which was recorded with its reason."""
    tape = Tape()
    _commented_on_the_closed(tape)
    asked_at = tape.deliveries[-1].sent_at
    assert tape.letters(blocks=[]) == "c"
    assert tape.letters(blocks=[_block(asked_at - 1)]) == ""
    assert tape.letters(blocks=[_block(asked_at + 5)]) == ""
    tape.create()
    assert tape.letters(blocks=[]) == ""
    tape = Tape()
    tape.send("opened", RUNNING)
    blocked_at = tape.deliveries[-1].sent_at
    tape.stop(tape.create())
    _commented_on_the_closed(tape)
    assert tape.letters(blocks=[_block(blocked_at)]) == "c"  # That block ended with the start.


def test_ensure_on_a_closed_issue_is_handed_over_or_refused() -> None:
    """(c) The same over REST: the timers of the close are no reason. An answer of 409 is one."""
    tape = Tape()
    tape.stop(served(tape))
    tape.send("closed", STOPPED)
    tape.order("ensure")
    asked_at = tape.orders[-1].sent_at
    tape.archive("s0")
    assert tape.letters(blocks=[]) == "c"
    assert tape.letters(blocks=[_block(asked_at + 5)]) == ""
    tape.orders[-1] = tape.orders[-1].model_copy(update={"status": 409})
    assert tape.letters(blocks=[]) == ""


def _block(at: float) -> Block:
    return Block(workflow_id="claude-issue-1", run_id="r", event_id=9, at=at, cause="unreachable")
