"""How a workflow run ended, or why it cannot go on, and what a person can do about either. Pure: tables and sentences.

A run that ended keeps nothing: what it published last is history. A stuck run still takes signals and updates its
history, but its workflow task fails again and again, so nothing is done about them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from issuebox.domain.text import one_line

STUCK_FAILURES = 2
"""A workflow counts as stuck after this many failures of its workflow task in a row; a killed worker costs one. From
then on Temporal itself refuses queries and updates: *Workflow Task in failed state* (server 1.29.1)."""

REASON_MAX = 300


class End(StrEnum):
    """How a workflow run ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TERMINATED = "terminated"
    TIMED_OUT = "timed_out"


SAID: Mapping[End, str] = {
    End.COMPLETED: "completed",
    End.FAILED: "failed",
    End.CANCELLED: "was cancelled",
    End.TERMINATED: "was terminated",
    End.TIMED_OUT: "timed out",
}
"""Each end; completes "the workflow …"."""


IS_ADOPTED: Mapping[End | None, bool] = {
    # Whether the audit starts a workflow for a sandbox whose last one ended so. None: Temporal knows of no workflow.
    None: True,
    End.COMPLETED: True,
    End.FAILED: True,
    End.TERMINATED: True,
    End.TIMED_OUT: True,
    # A cancellation is a person's request to leave the sandbox alone until somebody asks for it.
    End.CANCELLED: False,
}


@dataclass(frozen=True, slots=True)
class Ended:
    """A workflow run that is over, and when it ended."""

    end: End
    at: datetime | None = None

    def __str__(self) -> str:
        """Completes "the workflow …", such as *was terminated at 2026-01-31 12:00:00 UTC*."""
        at = f" at {self.at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if self.at else ""
        return f"{SAID[self.end]}{at}"


@dataclass(frozen=True, slots=True)
class Stuck:
    """A running workflow whose workflow task fails again and again, or that waits for what never ends.

    ``failures`` counts them in a row, as far as they were recorded. ``reason`` is the first failure's text, '' when
    the task only timed out. ``reset_to`` is the ID of the event from which Temporal can run it anew, None without
    one. ``repeats_orders``: a reset would carry out once more an order to delete or to replace the sandbox.
    ``waits_for`` is an activity whose time is up, and that Temporal does not end.
    """

    failures: int
    reason: str = ""
    reset_to: int | None = None
    repeats_orders: bool = False
    waits_for: str = ""

    def __str__(self) -> str:
        """Completes "the workflow …"."""
        if self.waits_for:
            return f"is stuck: it waits for {self.waits_for}, which Temporal has lost in a reset"
        reason = f": {self.reason}" if self.reason else ""
        return f"is stuck: its workflow task has failed at least {self.failures} times in a row{reason}"


def failure_text(message: str, cause: str) -> str:
    """Why a workflow task failed, on one line: the SDK's message, and the error under it."""
    return one_line(f"{message}: {cause}" if cause else message, REASON_MAX, keeps_markup=True)


def advice_for(stuck: Stuck, name: str) -> str:
    """The commands that help a stuck workflow."""
    end = f"`temporal workflow terminate --workflow-id {name} --reason stuck`"
    if stuck.reset_to is None:
        return (
            "It has never completed a task: its input is wrong, or no worker has the right version. "
            f"If it is the input: {end}; the next request or `issuebox resync` starts a new one."
        )
    terminate = (
        f"{end}, then `issuebox audit` and `issuebox resync`: "
        "a new one begins with what this one published, adopts the sandbox, and learns what GitHub knows"
    )
    first = "" if stuck.waits_for else "Restart all workers with the version that ran it last. If it is still stuck: "
    if stuck.repeats_orders:
        return f"{first}{terminate}. Do not reset it: that would carry out an order to delete once more."
    reset = f"`temporal workflow reset --workflow-id {name} --event-id {stuck.reset_to} --reason stuck`"
    return f"{first}{reset}. If that does not help: {terminate}."


def what_follows(ended: Ended) -> str:
    """What happens to the issue and its sandbox after the run's end, in a sentence for people."""
    audit = " or the audit" if IS_ADOPTED[ended.end] else ""
    return f"Its sandbox stays as it is. The next request{audit} starts a new workflow, which adopts it."
