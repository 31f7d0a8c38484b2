"""Daytona's states as phases: the table, and the few cases that the state alone does not decide.

It does not import the SDK. The words are those of its ``SandboxState`` and ``SandboxDesiredState`` enums
(daytona 0.226.1); a contract test compares them and fails when a newer SDK adds one.
"""

from __future__ import annotations

from collections.abc import Mapping

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
    "archiving": Phase.STOPPING,
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

_DESIRED: Mapping[tuple[Phase, str], Phase] = {
    # The server derives most of these itself (started+stopped reads as stopping). An archived or paused
    # sandbox that is starting keeps its old state, for as long as no runner takes it.
    (Phase.ARCHIVED, "started"): Phase.THAWING,
    (Phase.STOPPED, "started"): Phase.PENDING,
    (Phase.PAUSED, "started"): Phase.PENDING,
    (Phase.PAUSED, "stopped"): Phase.STOPPING,
    (Phase.STOPPED, "archived"): Phase.STOPPING,
    (Phase.USABLE, "stopped"): Phase.STOPPING,
    (Phase.USABLE, "paused"): Phase.STOPPING,
    (Phase.USABLE, "archived"): Phase.STOPPING,
}


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
