"""Daytona's states as phases: the table, and the few cases that the state alone does not decide.

It does not import the SDK. The words are those of its ``SandboxState`` and ``SandboxDesiredState`` enums
(daytona 0.226.1); a contract test compares them and fails when a newer SDK adds one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from issuebox.domain.phase import Phase

PHASES: Mapping[str, Phase] = {
    "destroyed": Phase.MISSING,
    "creating": Phase.PENDING,
    "pending_build": Phase.PENDING,
    "building_snapshot": Phase.PENDING,
    "pulling_snapshot": Phase.PENDING,
    "starting": Phase.PENDING,
    "resuming": Phase.PENDING,
    "restoring": Phase.THAWING,
    "started": Phase.USABLE,
    "snapshotting": Phase.BUSY,
    "forking": Phase.BUSY,
    "resizing": Phase.BUSY,
    "stopping": Phase.STOPPING,
    "pausing": Phase.STOPPING,
    "archiving": Phase.ARCHIVING,
    "stopped": Phase.STOPPED,
    "paused": Phase.PAUSED,
    "archived": Phase.ARCHIVED,
    "error": Phase.BROKEN,
    "build_failed": Phase.UNBUILT,
    "destroying": Phase.LEAVING,
    # Daytona's own word for "not known yet"; the SDK's for "not known to this SDK".
    "unknown": Phase.UNKNOWN,
    "unknown_default_open_api": Phase.UNKNOWN,
}

NEVER_RAN = frozenset({"creating", "pending_build", "building_snapshot", "pulling_snapshot", "build_failed"})
"""States that occur before the first start and never after it."""

NEVER_RAN_REASONS: Mapping[str, timedelta | None] = {
    "Timeout while creating sandbox": timedelta(minutes=16),
    "Timeout while building snapshot on runner": None,
    "Failed to create sandbox": None,
}
"""Error reasons that prove the same, and for how long after the creation; None: always. They are Daytona's own words
(server v0.190.0, `sandbox-start.action.ts`, `job-state-handler.service.ts`), and nothing may stand beside them.

The first one comes 15 minutes after a container was created that nobody started. A repair may create a container anew,
so after a longer time the sandbox may have run before.

Neither a state nor a reason proves anything of a sandbox that has a backup. Daytona restores one with the runner's
*create*: *pulling_snapshot* and these reasons can come after a life of work.
"""

_DESIRED: Mapping[tuple[Phase, str], Phase] = {
    # The server derives most of these itself (started+stopped reads as stopping). An archived or paused
    # sandbox that is starting keeps its old state, for as long as no runner takes it.
    (Phase.ARCHIVED, "started"): Phase.THAWING,
    (Phase.STOPPED, "started"): Phase.PENDING,
    (Phase.PAUSED, "started"): Phase.PENDING,
    (Phase.PAUSED, "stopped"): Phase.STOPPING,
    (Phase.STOPPED, "archived"): Phase.ARCHIVING,
    (Phase.ARCHIVING, "started"): Phase.PENDING,
    (Phase.USABLE, "stopped"): Phase.STOPPING,
    (Phase.USABLE, "paused"): Phase.STOPPING,
    (Phase.USABLE, "archived"): Phase.STOPPING,
}


def is_backed_up(created_at: object, state: object) -> bool:
    """Whether Daytona has made a backup, or has begun to, by its fields `backupCreatedAt` and `backupState`."""
    return bool(created_at) or state not in {None, "None"}


def phase_of(state: str, desired_state: str = "", *, recoverable: bool = False, never_ran: bool = False) -> Phase:
    """The phase of a sandbox in `state` on its way to `desired_state`. An unknown word gives UNKNOWN."""
    phase = PHASES.get(state, Phase.UNKNOWN)
    if desired_state == "destroyed" and phase is not Phase.MISSING:
        return Phase.LEAVING
    if phase is Phase.BROKEN and recoverable:
        return Phase.RECOVERABLE
    if phase is Phase.BROKEN and never_ran:
        return Phase.UNBUILT
    return _DESIRED.get((phase, desired_state), phase)
