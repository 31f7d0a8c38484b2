"""Every fault that localdaytona can inject, with times that fit the test. Each fires a few times at most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OPERATIONS = (
    "*",
    "create",
    "get",
    "start",
    "stop",
    "archive",
    "delete",
    "recover",
    "labels",
    "last_activity",
    "toolbox",
)
"""The operations of issuebox for one issue; `*` is any of them. `list` and `events` are not about one issue."""

COMMANDS = frozenset({"*", "create", "start", "stop", "archive", "delete", "recover"})
"""Operations that start a transition."""

EFFECTS: Mapping[str, dict[str, Any]] = {
    "refused by the server": {"kind": "status", "status": 500},
    "refused by the gateway": {"kind": "status", "status": 502},
    "quota": {"kind": "status", "status": 400, "message": "Total CPU limit exceeded. Maximum allowed: 1."},
    "forbidden": {"kind": "status", "status": 403, "message": "Access denied"},
    "limited": {"kind": "status", "status": 429, "headers": {"Retry-After-authenticated": "0.3"}},
    "done, then 502": {"kind": "status_after", "status": 502},
    "done, then 400": {"kind": "status_after", "status": 400, "message": "Sandbox failed to start: no answer"},
    "dropped": {"kind": "drop"},
    "done, then dropped": {"kind": "drop_after"},
    "late": {"kind": "delay", "seconds": 0.5},
    "later than the client waits": {"kind": "delay", "seconds": 1.5},
    "done, reply late": {"kind": "delay_after", "seconds": 0.5},
    "done, reply later than the client waits": {"kind": "delay_after", "seconds": 2.5},
    "no reply": {"kind": "hang"},
    "done, no reply": {"kind": "hang", "after": True},
    "a false 404": {"kind": "not_found"},
    "409: state change": {"kind": "conflict", "text": "state_change"},
    "409: modified": {"kind": "conflict", "text": "modified"},
    "409: in progress": {"kind": "conflict", "text": "in_progress"},
    "unreadable": {"kind": "malformed"},
    "the past": {"kind": "stale", "seconds": 1.0},
    "at once": {"kind": "no_hold"},
}
"""Effects on any request."""

TRANSITIONS: Mapping[str, dict[str, Any]] = {
    "fails": {"kind": "fail_transition", "reason": "runner lost"},
    "fails at once": {"kind": "fail_transition", "seconds": 0.01},
    "fails, can be recovered": {"kind": "fail_transition", "recoverable": True},
    "build fails": {"kind": "build_failed"},
    "stuck": {"kind": "stuck"},
    "slow": {"kind": "slow", "seconds": 0.6},
    "slower than its budget": {"kind": "slow", "seconds": 2.2},
}
"""Effects on the state change that a command starts."""


def effects_on(operation: str) -> dict[str, dict[str, Any]]:
    """All effects on this operation, by name. A false 404 of a read has its own step."""
    effects = {**EFFECTS, **(TRANSITIONS if operation in COMMANDS else {})}
    if operation in {"*", "get"}:
        del effects["a false 404"]
    return effects
