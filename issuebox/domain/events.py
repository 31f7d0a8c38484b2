"""What can arrive for an issue, reduced to what the decision needs.

The API turns a delivery into an `IssueEvent` and Temporal carries it as the payload of the signal
``issue_event``. The `temporal` CLI may send one by hand, so every field but the issue has a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial

from issuebox.domain.issue import Issue, in_utc
from issuebox.domain.run import RunRequest
from issuebox.domain.text import Clean, clean, word

DELIVERY_BYTES_MAX = 160
"""Of a delivery's ID. GitHub's have 36, those of REST 133 at most."""

_TEXTS: Mapping[str, Clean] = {
    "delivery": partial(word, bytes_max=DELIVERY_BYTES_MAX),
    "digest": partial(word, bytes_max=64),
    "event": partial(word, bytes_max=64),
    "action": partial(word, bytes_max=64),
    "sender": partial(word, bytes_max=64),
}


class Intention(StrEnum):
    """What a delivery asks for. An event with *ignore* reaches a workflow only for its snapshot of the issue."""

    ENSURE = "ensure"
    STOP = "stop"
    DELETE = "delete"
    IGNORE = "ignore"
    PONG = "pong"


EVENT_OF_AUDIT = "audit"
"""The `event` of what the audit tells a workflow."""


@dataclass(frozen=True, slots=True)
class IssueEvent:
    """One delivery, addressed to the workflow of its issue.

    ``digest`` is the SHA-256 of the body in hex: a hook that is registered twice sends the same body
    under two delivery IDs. ``is_explicit`` marks a person's own request (trigger comment or label),
    made at ``requested_at`` by GitHub's clock; such a request on a closed issue is served when it is newer than the
    close. None: GitHub did not tell, because the request came by REST or the command line. It counts from its arrival.
    ``is_resync`` marks an event that resync found at GitHub: it counts only when it is new to the workflow.
    ``sender`` is the login of who caused the delivery, '' where GitHub names none. People read it; nothing is decided
    by it. ``request`` is what the agent is asked, None for nothing. ``is_trusted``: who asks may use the places that
    are reserved.
    """

    issue: Issue
    intention: Intention = Intention.ENSURE
    delivery: str = ""
    digest: str = ""
    event: str = ""
    action: str = ""
    is_explicit: bool = False
    requested_at: datetime | None = None
    is_resync: bool = False
    sender: str = ""
    request: RunRequest | None = None
    is_trusted: bool = False

    def __post_init__(self) -> None:
        """A time without a zone counts as UTC, as in `Issue`. Texts become clean and short: somebody may type them."""
        clean(self, _TEXTS)
        object.__setattr__(self, "requested_at", in_utc(self.requested_at))
