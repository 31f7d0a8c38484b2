"""What an example can go by, and what people can do in it: names for Hypothesis to draw, and what they stand for.

Data only. Times of workers are real seconds; those of Daytona are divided by the rig's speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

KNOBS: dict[str, Any] = {
    "outage": False,
    "outage_404_s": 10.0,  # 0.5 s at the speed of the rig: shorter than `confirm_gone_s`, as in life.
    "name_cache_s": 0.0,
    "stale_read_s": 0.0,
    "stale_read_probability": 0.0,
    "scip_status": 409,
    "events": True,
}
"""A good day at Daytona. Each example starts from it, and ends in it."""

LADDERS: dict[str, dict[str, Any]] = {
    "stopped": {"close_stop_after_s": 0.3, "close_archive_after_s": -1, "close_delete_after_s": -1},
    "archived": {"close_stop_after_s": 0.3, "close_archive_after_s": 0.8, "close_delete_after_s": -1},
    "deleted": {"close_stop_after_s": 0.2, "close_archive_after_s": 0.5, "close_delete_after_s": 1.0},
    "deleted at once": {"close_stop_after_s": -1, "close_archive_after_s": -1, "close_delete_after_s": 0},
}
"""How the sandbox of a closed issue goes. A person may archive what was only stopped, and stop what was archived."""

WEATHERS: dict[str, dict[str, Any]] = {
    "fair": {},
    "stale reads": {"stale_read_s": 6.0, "stale_read_probability": 0.3},
    "names cached": {"name_cache_s": 10.0},
    "400 instead of 409": {"scip_status": 400},
    "no event stream": {"events": False},
}
"""What Daytona is like through a whole example, in seconds before the division by the rig's speed."""

SET_UPS: dict[str, dict[str, Any]] = {"no set-up": {}, "set-up": {"setup_command": "true"}}

ACTS: dict[str, dict[str, Any]] = {
    "start": {},
    "stop": {},
    "archive": {},
    "delete": {},
    "recover": {},
    "break": {"recoverable": False},
    "break, can be recovered": {"recoverable": True},
    "idle": {"seconds": 86_400.0},
    "release": {},
}
"""What a person, or Daytona's idle timer, does to a sandbox."""

ORDERS = ("ask", "ask and wait", "stop", "delete", "delete by force", "replace", "retry")


@dataclass(frozen=True, slots=True)
class Terms:
    """What an example goes by: settings of its workers and knobs of its Daytona.

    `can_delete` says that the workers delete a closed issue's sandbox in the end.
    """

    settings: dict[str, Any]
    knobs: dict[str, Any]
    can_delete: bool

    @property
    def closed_rests_at(self) -> frozenset[str]:
        """Where a closed issue's sandbox may rest. A person may archive what only was to be stopped."""
        return frozenset({"stopped", "archived", "destroyed"} if self.can_delete else {"stopped", "archived"})
