"""The settings of an example, and people's acts and orders: names for Hypothesis to draw, and their values.

Data only. Times of workers are real seconds; those of Daytona are divided by the rig's speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

KNOBS: dict[str, Any] = {
    "outage": False,
    "outage_404_s": 10.0,  # 0.5 s at the rig's speed: shorter than `confirm_gone_s`, as in production.
    "name_cache_s": 10.0,
    "stale_read_s": 0.0,
    "stale_read_probability": 0.0,
    "scip_status": 409,
    "events": True,
}
"""Daytona's configuration without faults, at the start and at the end of each example."""

LADDERS: dict[str, dict[str, Any]] = {
    "stopped": {"close_stop_after_s": 0.3, "close_archive_after_s": -1, "close_delete_after_s": -1},
    "archived": {"close_stop_after_s": 0.3, "close_archive_after_s": 0.8, "close_delete_after_s": -1},
    "deleted": {"close_stop_after_s": 0.2, "close_archive_after_s": 0.5, "close_delete_after_s": 1.0},
    "deleted at once": {"close_stop_after_s": -1, "close_archive_after_s": -1, "close_delete_after_s": 0},
}
"""The steps of a closed issue's sandbox. A person may archive a stopped sandbox, and stop an archived one."""

DAYTONA_VARIANTS: dict[str, dict[str, Any]] = {
    "as usual": {},
    "stale reads": {"stale_read_s": 6.0, "stale_read_probability": 0.3},
    "names not cached": {"name_cache_s": 0.0},
    "400 instead of 409": {"scip_status": 400},
    "no event stream": {"events": False},
}
"""Daytona's configuration for a whole example, in seconds before the division by the rig's speed."""

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
"""Acts of a person, or of Daytona's idle timer."""

ORDERS = ("ask", "ask and wait", "stop", "delete", "delete by force", "replace", "retry")


@dataclass(frozen=True, slots=True)
class Terms:
    """The settings of an example's workers, and the knobs of its Daytona.

    `can_delete`: the workers delete a closed issue's sandbox in the end.
    """

    settings: dict[str, Any]
    knobs: dict[str, Any]
    can_delete: bool

    @property
    def closed_rests_at(self) -> frozenset[str]:
        """The states in which a closed issue's sandbox may rest. A person may archive one that was only stopped."""
        return frozenset({"stopped", "archived", "destroyed"} if self.can_delete else {"stopped", "archived"})
