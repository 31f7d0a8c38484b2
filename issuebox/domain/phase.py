"""The vocabulary of the decision: phases, goals, actions, and causes of being blocked.

A phase is our provider-neutral word for what Daytona calls a state. The provider maps states to
phases; `issuebox.domain.decision` maps phases and goals to actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """What an issue's sandbox is doing, as far as a decision needs to know."""

    MISSING = "missing"
    PENDING = "pending"
    THAWING = "thawing"
    UNPREPARED = "unprepared"
    USABLE = "usable"
    BUSY = "busy"
    STOPPING = "stopping"
    STOPPED = "stopped"
    PAUSED = "paused"
    ARCHIVED = "archived"
    RECOVERABLE = "recoverable"
    BROKEN = "broken"
    UNBUILT = "unbuilt"
    LEAVING = "leaving"
    UNKNOWN = "unknown"


TRANSITIONAL = frozenset({Phase.PENDING, Phase.THAWING, Phase.BUSY, Phase.STOPPING, Phase.LEAVING, Phase.UNKNOWN})
"""Phases that end by themselves; every other one stays until somebody acts."""


ASLEEP = frozenset({Phase.STOPPED, Phase.PAUSED, Phase.ARCHIVED})
"""Phases in which the disk is kept and nothing runs."""


AWAKE = frozenset({Phase.USABLE, Phase.BUSY, Phase.STOPPING, Phase.THAWING})
"""Phases in which somebody may be at work, or is about to be."""

HAS_RUN = ASLEEP | AWAKE | {Phase.RECOVERABLE}
"""Phases that a sandbox reaches only after it ran, or for a repair that may have brought it up."""


class Goal(StrEnum):
    """What the issue's sandbox should be."""

    RUNNING = "running"
    STOPPED = "stopped"
    ARCHIVED = "archived"
    DELETED = "deleted"


class Action(StrEnum):
    """What to do next about a sandbox. Completes "the workflow decides to …"."""

    CREATE = "create"
    START = "start"
    RECOVER = "recover"
    SET_UP = "set_up"
    INSPECT = "inspect"
    STOP = "stop"
    ARCHIVE = "archive"
    DELETE = "delete"
    WAIT = "wait"
    USE = "use"
    REST = "rest"
    BLOCK = "block"


class Outcome(StrEnum):
    """Completes "the sandbox was …"."""

    CREATED = "created"
    STARTED = "started"
    RECOVERED = "recovered"
    REUSED = "reused"
    STOPPED = "stopped"
    ARCHIVED = "archived"
    DELETED = "deleted"
    BLOCKED = "blocked"
    PENDING = "pending"


class Cause(StrEnum):
    """Why an issue is blocked."""

    QUOTA = "quota"
    CAPACITY = "capacity"
    RATE_LIMITED = "rate_limited"
    CREDENTIALS = "credentials"
    FORBIDDEN = "forbidden"
    INVALID = "invalid"
    BROKEN = "broken"
    UNBUILT = "unbuilt"
    FOREIGN = "foreign"
    STUCK = "stuck"
    UNKNOWN_STATE = "unknown_state"
    NAME_HELD = "name_held"
    UNREACHABLE = "unreachable"
    SETUP = "setup"
    UNSAVED = "unsaved"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True)
class Remedy:
    """How a block ends: what somebody can do, and whether it may pass without anybody."""

    advice: str
    passes: bool


REMEDIES: dict[Cause, Remedy] = {
    Cause.QUOTA: Remedy("Delete or archive other sandboxes, or raise the organization's limit.", passes=True),
    Cause.CAPACITY: Remedy("Daytona has no free runner in this region; it is tried again.", passes=True),
    Cause.RATE_LIMITED: Remedy("Nothing to do: Daytona asked for fewer requests; it is tried again.", passes=True),
    Cause.CREDENTIALS: Remedy("Set a valid DAYTONA_API_KEY for the workers and restart them.", passes=True),
    Cause.FORBIDDEN: Remedy("Check the key's permissions and that the organization is not suspended.", passes=True),
    Cause.INVALID: Remedy("Correct the sandbox settings (snapshot, region, resources) of the workers.", passes=True),
    Cause.BROKEN: Remedy("Look into the sandbox at Daytona; repair it there, or delete it there.", passes=True),
    Cause.UNBUILT: Remedy("Check the snapshot: sandboxes made from it fail before they ever run.", passes=False),
    Cause.FOREIGN: Remedy(
        "Delete or rename that sandbox at Daytona, if its owner agrees. If it is ours, correct its label there, or set "
        "ISSUEBOX_INSTANCE back when that was changed. Then send `retry`.",
        passes=False,
    ),
    Cause.STUCK: Remedy("Daytona has not finished a state change in time; ask Daytona, or delete it.", passes=True),
    Cause.UNKNOWN_STATE: Remedy("Daytona reports a state that this version does not know: upgrade.", passes=True),
    Cause.NAME_HELD: Remedy("Daytona says that the name is taken but shows no such sandbox; tried again.", passes=True),
    Cause.UNREACHABLE: Remedy("Check that the workers can reach Daytona's API; it is tried again.", passes=True),
    Cause.SETUP: Remedy(
        "The set-up inside the sandbox failed: look at .issuebox/setup.log in its home directory.", passes=True
    ),
    Cause.UNSAVED: Remedy(
        "Push the work from the sandbox and send `retry`, or delete it with `issuebox delete --force`.", passes=True
    ),
    Cause.INTERNAL: Remedy("This is a bug in issuebox: please report it with the reason above.", passes=True),
}
