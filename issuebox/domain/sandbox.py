"""The sandbox as the domain sees it: what a lookup shows, and whom it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial

from issuebox.domain.phase import Phase
from issuebox.domain.text import Clean, clean, one_line, prose, word

LABEL_MANAGED_BY = "managed-by"
LABEL_INSTANCE = "issuebox-instance"
LABEL_ISSUE_ID = "issue-id"
LABEL_REPOSITORY = "repository"
LABEL_ISSUE_NUMBER = "issue-number"
LABEL_WORK = "issuebox-work"
"""The label that carries the last verdict on unsaved work, readable in Daytona's dashboard."""
LABEL_SET_UP = "issuebox-set-up"
"""The marker of a finished set-up. A sandbox without it is set up again and never used as it is."""
SET_UP_DONE = "done"
MANAGED_BY = "issuebox"
DEFAULT_INSTANCE = "default"

HERE = {LABEL_INSTANCE: "this installation", LABEL_MANAGED_BY: "the manager here", LABEL_ISSUE_ID: "the issue here"}
"""What each identity label is compared with, in the words of the reasons that people read."""

LABEL_SHOWN_BYTES_MAX = 80
"""Limit on a label's value in a reason. The value is untrusted: anyone who may label a sandbox can set it."""

IDENTITY_LABELS = frozenset({LABEL_INSTANCE, LABEL_MANAGED_BY, LABEL_ISSUE_ID})
"""The labels that say whose a sandbox is. They never change."""

OUR_LABELS = frozenset(
    {
        *(LABEL_MANAGED_BY, LABEL_INSTANCE, LABEL_ISSUE_ID, LABEL_REPOSITORY, LABEL_ISSUE_NUMBER),
        *(LABEL_WORK, LABEL_SET_UP),
    }
)
"""The labels that issuebox sets and reads."""

LABELS_MAX = 16
"""Labels of a sandbox that are kept, ours first. Anyone may add any number of them."""

NAME_BYTES_MAX = 256
"""Limit on a sandbox's name. Ours have 99 at most: the prefix (80) and the issue's ID."""

REASON_BYTES_MAX = 500
"""Limit on Daytona's error reason, which may quote the whole log of a build."""

_TEXTS: Mapping[str, Clean] = {
    "id": partial(word, bytes_max=128),
    "name": partial(word, bytes_max=NAME_BYTES_MAX),
    "state": partial(word, bytes_max=64),
    "desired_state": partial(word, bytes_max=64),
    "region": partial(word, bytes_max=128),
    "toolbox_url": partial(word, bytes_max=512),
    "error_reason": partial(prose, bytes_max=REASON_BYTES_MAX),
}
_label = partial(word, bytes_max=256)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A sandbox at Daytona, as one read showed it.

    ``state`` and ``desired_state`` are Daytona's own words; ``phase`` is our word for them.
    ``auto_stop_interval_s`` is 0 when Daytona never stops it by itself. ``toolbox_url`` serves its processes and
    files. ``never_ran`` is True only when provably nobody worked in it: its state comes before the first start, or
    every state from its creation to its error was seen. ``updated_at`` is Daytona's time of the last state change.
    ``labels`` are ours and some of the others.
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

    def __post_init__(self) -> None:
        """Daytona's texts become clean and short here: memories, histories and pages keep them."""
        clean(self, _TEXTS)
        ours_first = sorted(self.labels.items(), key=lambda label: label[0] not in OUR_LABELS)
        labels = {_label(key): _label(value) for key, value in ours_first[:LABELS_MAX]}
        object.__setattr__(self, "labels", labels)

    def is_older_than(self, other: Sandbox) -> bool:
        """Whether this is the same sandbox in a state from before that of `other`, by Daytona's own clock."""
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
    """Whom a sandbox with our name belongs to."""

    OURS = "ours"
    UNLABELLED = "unlabelled"
    FOREIGN = "foreign"


def ownership(labels: Mapping[str, str], issue_id: int, instance: str) -> Ownership:
    """Judge by its labels whom a sandbox with our name belongs to.

    `instance` is the name of this installation. Absent identity labels mean that somebody made the sandbox by hand for
    us: it may be adopted. A person must settle labels that name another issue, manager or installation.
    """
    if foreign_labels(labels, issue_id, instance):
        return Ownership.FOREIGN
    identity = _identity(issue_id, instance)
    return Ownership.OURS if identity.items() <= labels.items() else Ownership.UNLABELLED


def foreign_labels(labels: Mapping[str, str], issue_id: int, instance: str) -> str:
    """The labels that make a sandbox another's, each with the value expected here; '' when there are none."""
    return "; ".join(
        f"its label {label} is {one_line(labels[label], LABEL_SHOWN_BYTES_MAX)!r}, but {HERE[label]} is {own!r}"
        for label, own in _identity(issue_id, instance).items()
        if labels.get(label, own) != own
    )


def _identity(issue_id: int, instance: str) -> dict[str, str]:
    """The labels that decide ownership, the most informative first."""
    return {LABEL_INSTANCE: instance, LABEL_MANAGED_BY: MANAGED_BY, LABEL_ISSUE_ID: str(issue_id)}
