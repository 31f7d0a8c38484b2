"""What is said of a workflow run that is over or cannot go on."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from temporalio.client import WorkflowExecutionStatus

from issuebox.domain.workflow_ends import IS_ADOPTED, REASON_MAX, SAID, End, Ended, failure_text, what_follows
from issuebox.temporal.runs import ENDS

GOING_ON = {WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.CONTINUED_AS_NEW}


def test_every_end_has_its_words_and_its_consequence() -> None:
    """Temporal's statuses are all known: each either is an end or goes on."""
    assert set(SAID) == set(End)
    assert set(IS_ADOPTED) == {None, *End}
    assert set(ENDS.values()) == set(End)
    # Temporal pauses a workflow run on request; it is neither over nor does it fail.
    assert {status for status in WorkflowExecutionStatus if status.name != "PAUSED"} == set(ENDS) | GOING_ON


@pytest.mark.parametrize("end", End)
def test_sentence_says_what_happens_next(end: End) -> None:
    """The audit adopts a sandbox unless a person cancelled its workflow."""
    ended = Ended(end, datetime(2026, 1, 31, 12, tzinfo=UTC))
    assert str(ended) == f"{SAID[end]} at 2026-01-31 12:00:00 UTC"
    assert ("audit" in what_follows(ended)) is (end is not End.CANCELLED)


def test_failure_is_one_line_of_bounded_length() -> None:
    """An error of pydantic has several lines, and an exception may have any length."""
    text = failure_text("Failed decoding arguments", "1 validation error\n  for StartInput " + "x" * 1000)
    assert text.startswith("Failed decoding arguments: 1 validation error for StartInput")
    assert len(text.encode()) <= REASON_MAX
    assert text.isprintable()
