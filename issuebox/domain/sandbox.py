"""The sandbox as the domain sees it: what a look found, what a create needs, whose it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from issuebox.domain.phase import Phase
from issuebox.domain.text import one_line

LABEL_MANAGED_BY = "managed-by"
LABEL_INSTANCE = "issuebox-instance"
LABEL_ISSUE_ID = "issue-id"
LABEL_REPOSITORY = "repository"
LABEL_ISSUE_NUMBER = "issue-number"
MANAGED_BY = "issuebox"
DEFAULT_INSTANCE = "default"

HERE = {LABEL_INSTANCE: "this installation", LABEL_MANAGED_BY: "the manager here", LABEL_ISSUE_ID: "the issue here"}
"""What each label of identity is compared with, in the reasons that people read."""

LABEL_SHOWN_MAX = 80
"""Characters of a label's value in a reason: whoever may label a sandbox wrote it."""


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A sandbox at Daytona, as one read showed it.

    ``state`` and ``desired_state`` are Daytona's own words; ``phase`` is what they mean to us.
    ``auto_stop_interval_s`` is 0 when Daytona never stops it by itself. ``toolbox_url`` is where
    the sandbox's processes and files are reached. ``never_ran`` is True only when it is proven that
    nobody can have worked in it: its state comes before the first start, or every state from its
    creation to its error was seen. ``updated_at`` is Daytona's time of its last change of state.
    """

    id: str
    name: str
    phase: Phase
    state: str
    desired_state: str = ""
    region: str = ""
    toolbox_url: str = ""
    error_reason: str = ""
    never_ran: bool = False
    auto_stop_interval_s: int = 0
    last_activity_at: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    labels: dict[str, str] = field(default_factory=dict)

    def is_older_than(self, other: Sandbox) -> bool:
        """Whether it is the same sandbox in a state that it had before the `other` one, by Daytona's own clock."""
        if self.id != other.id or self.updated_at is None or other.updated_at is None:
            return False
        is_alike = (self.state, self.desired_state) == (other.state, other.desired_state)
        return not is_alike and self.updated_at < other.updated_at

    def needs_activity_refresh(self, now: datetime) -> bool:
        """Whether Daytona would stop it within half of its auto-stop interval from `now`."""
        if self.auto_stop_interval_s <= 0:
            return False
        if self.last_activity_at is None:
            return True
        return now - self.last_activity_at > timedelta(seconds=self.auto_stop_interval_s) / 2


class Ownership(StrEnum):
    """Whose sandbox carries our name."""

    OURS = "ours"
    UNLABELLED = "unlabelled"
    FOREIGN = "foreign"


def ownership(labels: Mapping[str, str], issue_id: int, instance: str) -> Ownership:
    """Judge a sandbox that was found under our name by its labels.

    `instance` is what this installation is called.
    Absent identity labels mean somebody made it by hand for us: it may be adopted. Labels that name another
    issue, another manager or another installation are a conflict that a person has to settle.
    """
    if foreign_labels(labels, issue_id, instance):
        return Ownership.FOREIGN
    identity = _identity(issue_id, instance)
    return Ownership.OURS if identity.items() <= labels.items() else Ownership.UNLABELLED


def foreign_labels(labels: Mapping[str, str], issue_id: int, instance: str) -> str:
    """What the labels say that makes a sandbox another's, each beside what it is here; '' when they say nothing."""
    return "; ".join(
        f"its label {label} says {one_line(labels[label], LABEL_SHOWN_MAX)!r}, and {HERE[label]} is {own!r}"
        for label, own in _identity(issue_id, instance).items()
        if labels.get(label, own) != own
    )


def _identity(issue_id: int, instance: str) -> dict[str, str]:
    """The labels that ownership is judged by, the most telling first."""
    return {LABEL_INSTANCE: instance, LABEL_MANAGED_BY: MANAGED_BY, LABEL_ISSUE_ID: str(issue_id)}
