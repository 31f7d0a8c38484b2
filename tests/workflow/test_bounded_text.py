"""Text of any length and form, from Daytona and from people with a keyboard, on the whole path."""

from __future__ import annotations

import json
from typing import Any

from issuebox.domain.memory import NOTES_MAX
from issuebox.domain.phase import Cause, Outcome
from tests.conftest import EVENTS_BEFORE_CONTINUE_AS_NEW
from tests.waiting import until
from workflows import search_attributes
from workflows.messages import SIGNAL_EVENT, UPDATE_ENSURE, Handover

from .conftest import Stack

HOSTILE = "node lost\n\x1b[31m![x](https://evil.example/p.png) \u202e"
LONG_REASON = HOSTILE + "log of the build\n" * 5_300
"""90 kB, as of a failed build."""


async def test_error_reason_of_90_kb_blocks_with_a_short_one_that_survives_continue_as_new(stack: Stack) -> None:
    """`why` answers, and the next workflow run remembers what the last one knew: Temporal does not terminate it."""
    first = await stack.ensure()
    assert first.sandbox is not None
    await stack.daytona.admin.act(first.sandbox.id, "break", recoverable=False, reason=LONG_REASON)
    handover = await stack.ensure()
    assert handover.blocked is not None
    assert (handover.outcome, handover.blocked.cause) == (Outcome.BLOCKED, Cause.BROKEN)
    reason = handover.blocked.reason
    assert "error: node lost ![x](https://evil.example/p.png)" in reason
    assert reason.endswith("…")
    assert reason.isprintable()
    assert len(reason.encode()) < 1000

    run, sent = (await stack.handle.describe()).run_id, []
    # A busy machine takes more tasks, and so fewer deliveries, until then: the notes are to be full as well.
    while (await stack.handle.describe()).run_id == run or len((await stack.why()).notes) < NOTES_MAX:
        assert len(sent) < 5 * EVENTS_BEFORE_CONTINUE_AS_NEW, "the workflow never continued as new"
        for _ in range(5):
            sent.append(stack.event())
            await stack.handle.signal(SIGNAL_EVENT, sent[-1])
            assert len((await stack.why()).notes) <= NOTES_MAX
    await stack.handle.signal(SIGNAL_EVENT, sent[0])
    status = await until(stack.status, lambda status: status.deliveries_seen == len(sent) + 1, "all deliveries seen")
    assert status.blocked is not None
    assert status.blocked.reason == reason
    # Only the repeated delivery asks for nothing: the memory of deliveries was carried on.
    assert status.requests_waiting == len(sent) + 1
    assert len((await stack.why()).notes) == NOTES_MAX


async def test_texts_that_somebody_typed_are_cut_and_harm_nothing(stack: Stack) -> None:
    """Megabytes in a signal, numbers that Temporal's index cannot hold: the workflow goes on and can be looked up."""
    await stack.ensure()
    typed: dict[str, Any] = {
        "issue": {
            "id": stack.issue_id,
            "repository": "octo/" + "r" * 3_000,
            "number": 10**30,
            "title": f"{HOSTILE} " + "t" * 400_000,
            "url": "https://evil.example/)![i](https://evil.example/" + "u" * 300_000,
        },
        "delivery": "d" * 400_000,
        "digest": "e" * 100_000,
        "event": f"issues\n{'v' * 100_000}",
        "action": "opened" + "a" * 100_000,
    }
    await stack.handle.signal(SIGNAL_EVENT, json.loads(json.dumps(typed)))
    await until(stack.status, lambda status: status.deliveries_seen == 1 and not status.requests_waiting, "served")
    status, why = await stack.status(), await stack.why()
    assert status.issue is not None
    assert (status.issue.number, status.issue.url) == (5, "")
    assert status.issue.repository.startswith("octo/rrr")
    assert status.issue.title.startswith("node lost ![x]")
    assert len(status.issue.title.encode()) <= 1024
    assert all(note.what.isprintable() and len(note.what) <= 200 for note in why.notes)
    assert all(len(delivery) <= 200 for note in why.notes for delivery in note.deliveries)
    attributes = (await stack.handle.describe()).typed_search_attributes
    assert attributes[search_attributes.REPOSITORY] == status.issue.repository


async def test_request_by_somebody_with_a_long_name_is_noted_briefly(stack: Stack) -> None:
    """An update that was typed names who asks, in a megabyte."""
    await stack.ensure()
    request = {"issue": {"id": stack.issue_id}, "requested_by": f"me\n{'m' * 1_000_000}"}
    handover = await stack.handle.execute_update(UPDATE_ENSURE, request, result_type=Handover)
    assert handover.outcome is Outcome.REUSED
    noted = [note.reason for note in (await stack.why()).notes if note.what == "ensure"]
    assert noted[-1].startswith("requested by me mmm")
    assert len(noted[-1]) < 200
