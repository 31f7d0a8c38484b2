"""Which task a worker gets first: people's before events' before sweeps', and repositories in turn.

Temporal keeps tasks in order of their priority. Among tasks of one priority it takes the fairness keys in turn, if its
dynamic configuration says so (`deploy/dynamicconfig.yaml`; on Temporal Cloud a switch of the namespace); else it takes
them as they came. A workflow gives both to its activities, and keeps them when it continues as new.
"""

from __future__ import annotations

from enum import IntEnum

from temporalio.common import Priority

from issuebox.domain.text import shortened

KEY_BYTES_MAX = 64
"""Of a fairness key, by Temporal."""


class Urgency(IntEnum):
    """What waits for a task, by Temporal's numbers: the lowest goes first."""

    PERSON = 1
    """Somebody waits for the answer."""
    EVENT = 3
    SWEEP = 5
    """A resync or an audit looks whether something was missed."""


def priority_of(urgency: Urgency, repository: str = "") -> Priority:
    """The priority of a workflow. Without a repository it stands in line with all others that have none."""
    return Priority(priority_key=int(urgency), fairness_key=fairness_key(repository) or None)


def fairness_key(repository: str) -> str:
    """The repository in lower case, as GitHub compares names. A long one ends with a digest of the whole."""
    return shortened(repository.lower(), KEY_BYTES_MAX)
