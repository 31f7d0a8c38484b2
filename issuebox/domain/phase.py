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
    ARCHIVING = "archiving"
    ARCHIVED = "archived"
    RECOVERABLE = "recoverable"
    BROKEN = "broken"
    UNBUILT = "unbuilt"
    LEAVING = "leaving"
    UNKNOWN = "unknown"


TRANSITIONAL = frozenset({Phase.PENDING, Phase.THAWING, Phase.BUSY, Phase.STOPPING, Phase.LEAVING, Phase.UNKNOWN})
"""Phases that end by themselves; every other one stays until somebody acts."""


ASLEEP = frozenset({Phase.STOPPED, Phase.PAUSED, Phase.ARCHIVING, Phase.ARCHIVED})
"""Phases in which the disk is kept and nothing runs. From each of them Daytona admits a start and a delete.

*Archiving* is one of them. Nobody waits for its end, which has no useful bound: Daytona makes one backup per runner at
a time, and every stop queues one.
"""


AWAKE = frozenset({Phase.USABLE, Phase.BUSY, Phase.STOPPING, Phase.THAWING})
"""Phases in which somebody may be working in the sandbox, now or soon."""

RUNS = frozenset({Phase.USABLE, Phase.UNPREPARED})
"""Phases in which it runs: what a create or a start leads to."""

UP = AWAKE | {Phase.PENDING, Phase.UNPREPARED}
"""Phases in which a sandbox runs, or soon will: what a cap on running sandboxes counts."""

HAS_RUN = ASLEEP | AWAKE | {Phase.RECOVERABLE}
"""Phases that a sandbox reaches only after it ran, or after a repair that may have started it."""


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


RAISING = frozenset({Action.CREATE, Action.START, Action.RECOVER})
"""Actions that bring a sandbox up."""


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
    QUEUED = "queued"
    PENDING = "pending"


READY = frozenset({Outcome.CREATED, Outcome.STARTED, Outcome.RECOVERED, Outcome.REUSED})
"""The outcomes after which the sandbox can be used."""


class Cause(StrEnum):
    """Why an issue is blocked."""

    QUEUED = "queued"
    QUOTA = "quota"
    CAPACITY = "capacity"
    RATE_LIMITED = "rate_limited"
    CREDENTIALS = "credentials"
    FORBIDDEN = "forbidden"
    INVALID = "invalid"
    BROKEN = "broken"
    UNBUILT = "unbuilt"
    FOREIGN = "foreign"
    WRONG_NAME = "wrong_name"
    STUCK = "stuck"
    UNKNOWN_STATE = "unknown_state"
    NAME_HELD = "name_held"
    UNREACHABLE = "unreachable"
    SETUP = "setup"
    UNSAVED = "unsaved"
    INTERNAL = "internal"


GATED = frozenset({Cause.QUEUED, Cause.QUOTA})
"""Causes whose next try the gate grants: `issuebox.domain.gate`. Time alone brings none."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """How a block ends: what somebody can do, and whether it may pass by itself."""

    advice: str
    passes: bool


REMEDIES: dict[Cause, Remedy] = {
    Cause.QUEUED: Remedy(
        "Nothing to do: it goes on when its turn comes. `issuebox queue` shows who is before.", passes=False
    ),
    Cause.QUOTA: Remedy(
        "Stop or delete other sandboxes, or raise the organization's limit: issuebox tries one issue a minute.",
        passes=False,
    ),
    Cause.CAPACITY: Remedy(
        "Nothing to do: Daytona has no free runner in this region; issuebox tries again.", passes=True
    ),
    Cause.RATE_LIMITED: Remedy("Nothing to do: Daytona asks for fewer requests; issuebox tries again.", passes=True),
    Cause.CREDENTIALS: Remedy("Set a valid DAYTONA_API_KEY for the workers and restart them.", passes=True),
    Cause.FORBIDDEN: Remedy(
        "Check the API key's permissions, and that the organization is not suspended.", passes=True
    ),
    Cause.INVALID: Remedy("Correct the workers' sandbox settings (snapshot, region, resources).", passes=True),
    Cause.BROKEN: Remedy("Check the sandbox at Daytona, and repair or delete it there.", passes=True),
    Cause.UNBUILT: Remedy(
        "Check the snapshot: sandboxes created from it fail before they run. Then send `retry`.", passes=False
    ),
    Cause.FOREIGN: Remedy(
        "If its owner agrees, delete or rename that sandbox at Daytona. If it is ours, correct its label there, or "
        "restore ISSUEBOX_INSTANCE if that was changed. Then send `retry`.",
        passes=False,
    ),
    Cause.WRONG_NAME: Remedy(
        "If ISSUEBOX_NAME_PREFIX was changed, restore it and send `retry`. Otherwise end this workflow, and ask for "
        "the sandbox under the issue's right name.",
        passes=False,
    ),
    Cause.STUCK: Remedy(
        "Daytona did not finish a state change in time: ask Daytona's support, or delete the sandbox.", passes=True
    ),
    Cause.UNKNOWN_STATE: Remedy(
        "Upgrade issuebox: this version does not know the state that Daytona reports.", passes=True
    ),
    Cause.NAME_HELD: Remedy(
        "Nothing to do: Daytona refuses the name as taken but shows no such sandbox; issuebox tries again.", passes=True
    ),
    Cause.UNREACHABLE: Remedy("Check that the workers can reach Daytona's API; issuebox tries again.", passes=True),
    Cause.SETUP: Remedy(
        "The set-up inside the sandbox failed: read .issuebox/setup.log in its home directory.", passes=True
    ),
    Cause.UNSAVED: Remedy(
        "Push the work from the sandbox and send `retry`, or give it up with `issuebox delete --force`.", passes=True
    ),
    Cause.INTERNAL: Remedy("This is a bug in issuebox: please report it with the reason.", passes=True),
}
