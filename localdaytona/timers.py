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
    """When it is due, and the transition it starts."""

    operation: str
    due: str
    transition: Callable[[Sandbox], str]


def destroying(sandbox: Sandbox) -> str:
    """Return the transition that deletes a sandbox in its state."""
    return {"archived": "discard_archived", "error": "discard_errored", "build_failed": "discard_errored"}.get(
        sandbox.state, "destroy"
    )


def _stopping(sandbox: Sandbox) -> str:
    return "destroy" if sandbox.ephemeral else "stop"


_INTERVAL = "(doc ->> '$.intervals.auto_{}')"
_STOP, _PAUSE = _INTERVAL.format("stop"), _INTERVAL.format("pause")
_ARCHIVE, _DELETE = _INTERVAL.format("archive"), _INTERVAL.format("delete")
_STARTED = "state = 'started' AND desired = 'started'"
_STOPPED = "state = 'stopped' AND desired = 'stopped'"
_ARCHIVE_MIN = (
    f"CASE WHEN {_ARCHIVE} = 0 OR {_ARCHIVE} > {AUTO_ARCHIVE_MAX_MIN} THEN {AUTO_ARCHIVE_MAX_MIN} ELSE {_ARCHIVE} END"
)

TIMERS = (
    Timer("ttl", "destroy_at <= :now AND desired != 'destroyed'", destroying),
    Timer("auto_stop", f"{_STARTED} AND {_STOP} > 0 AND last_activity_at + {_STOP} * :minute <= :now", _stopping),
    Timer(
        "auto_pause",
        f"{_STARTED} AND {_PAUSE} > 0 AND last_activity_at + {_PAUSE} * :minute <= :now",
        lambda _: "pause",
    ),
    Timer(
        "auto_delete",
        f"{_STOPPED} AND {_DELETE} >= 0 AND state_since + {_DELETE} * :minute <= :now",
        destroying,
    ),
    Timer(
        "auto_archive",
        f"{_STOPPED} AND {_DELETE} != 0 AND state_since + ({_ARCHIVE_MIN}) * :minute <= :now",
        lambda _: "archive",
    ),
)
