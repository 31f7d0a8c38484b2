"""The timers that stop, archive, pause and delete sandboxes by themselves: one row each.

Conditions are SQL over the rows, so that a tick over ten thousand sandboxes stays cheap.
`:minute` is a minute at the server's speed, in seconds; `:now` is epoch seconds.
"""

from collections.abc import Callable
from dataclasses import dataclass

from localdaytona.model import AUTO_ARCHIVE_MAX_MIN, Sandbox

BATCH_MAX = 100


@dataclass(frozen=True, slots=True)
class Timer:
    """A timer: when it is due, and the transition that it starts."""

    operation: str
    due: str
    transition: Callable[[Sandbox], str]


def destroying(sandbox: Sandbox) -> str:
    """Return the transition that deletes a sandbox from its present state."""
    return {"archived": "discard_archived", "error": "discard_errored", "build_failed": "discard_errored"}.get(
        sandbox.state, "destroy"
    )


def _stopping(sandbox: Sandbox) -> str:
    return "destroy" if sandbox.ephemeral else "stop"


_STARTED = "state = 'started' AND desired = 'started'"
_STOPPED = "state = 'stopped' AND desired = 'stopped'"
_ARCHIVE_MIN = f"iif(auto_archive = 0 OR auto_archive > {AUTO_ARCHIVE_MAX_MIN}, {AUTO_ARCHIVE_MAX_MIN}, auto_archive)"

TIMERS = (
    Timer("ttl", "destroy_at IS NOT NULL AND destroy_at <= :now AND desired != 'destroyed'", destroying),
    Timer(
        "auto_stop",
        f"{_STARTED} AND auto_stop > 0 AND last_activity_at + auto_stop * :minute <= :now",
        _stopping,
    ),
    Timer(
        "auto_pause",
        f"{_STARTED} AND auto_pause > 0 AND last_activity_at + auto_pause * :minute <= :now",
        lambda _: "pause",
    ),
    Timer(
        "auto_delete",
        f"{_STOPPED} AND auto_delete >= 0 AND state_since + auto_delete * :minute <= :now",
        destroying,
    ),
    Timer(
        "auto_archive",
        f"{_STOPPED} AND auto_delete != 0 AND state_since + {_ARCHIVE_MIN} * :minute <= :now",
        lambda _: "archive",
    ),
)
