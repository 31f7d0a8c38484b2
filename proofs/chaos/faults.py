"""Every fault of localdaytona on every operation, as a deck of cards that the plan deals. Data only."""

from __future__ import annotations

from typing import Final, get_args

from localdaytona.fault_model import WITH_TRANSITION, OperationName
from localdaytona.types import JSONObject

OPERATIONS: Final = tuple(name for name in get_args(OperationName) if name != "*")

DELAY_MAX_S: Final = 5.0
"""Longer than any client waits, so that Daytona carries out a command whose client has given up."""

_REPLIES: Final[tuple[JSONObject, ...]] = (
    {"kind": "status", "status": 500, "message": "Internal server error"},
    {"kind": "status", "status": 502, "message": "Bad gateway"},
    {"kind": "status", "status": 503, "message": "Service unavailable"},
    {"kind": "status", "status": 429, "message": "Too many requests", "headers": {"Retry-After": "1"}},
    {"kind": "status_after", "status": 500, "message": "Internal server error"},
    {"kind": "status_after", "status": 502, "message": "Bad gateway"},
    {"kind": "drop"},
    {"kind": "drop_after"},
    {"kind": "delay", "seconds": 1.5},
    {"kind": "delay", "seconds": DELAY_MAX_S},
    {"kind": "delay_after", "seconds": 1.5},
    {"kind": "delay_after", "seconds": DELAY_MAX_S},
    {"kind": "hang", "after": False},
    {"kind": "hang", "after": True},
    {"kind": "malformed", "field": "id"},
)
_INSIDE: Final[tuple[JSONObject, ...]] = (
    {"kind": "twice"},
    {"kind": "late", "seconds": 1.0},
    {"kind": "late", "seconds": DELAY_MAX_S},
)
"""What a proxy does to requests to a sandbox: it sends one twice, or carries out later one that it gave up."""
_NAMED: Final[tuple[JSONObject, ...]] = (
    {"kind": "not_found"},
    {"kind": "conflict", "text": "state_change"},
    {"kind": "conflict", "text": "modified"},
    {"kind": "conflict", "text": "in_progress"},
    {"kind": "malformed", "field": "state"},
)
_TRANSITIONS: Final[tuple[JSONObject, ...]] = (
    {"kind": "fail_transition", "recoverable": True, "reason": "Injected, recoverable"},
    {"kind": "fail_transition", "recoverable": False, "reason": "Injected failure"},
    {"kind": "stuck"},
    {"kind": "slow", "seconds": 3.0},
    {"kind": "slow", "seconds": 6.0},
    {"kind": "no_hold"},
)
_BUILDS: Final[tuple[JSONObject, ...]] = ({"kind": "build_failed", "reason": "Injected build failure"},)
_READS: Final[tuple[JSONObject, ...]] = ({"kind": "stale", "seconds": 2.0}, {"kind": "stale", "seconds": 10.0})
_STREAM: Final[tuple[JSONObject, ...]] = (
    {"kind": "status", "status": 502, "message": "Bad gateway"},
    {"kind": "drop"},
    {"kind": "delay", "seconds": 2.0},
    {"kind": "hang", "after": False},
)
UNUSED: Final = frozenset({"list", "pause", "interval", "api_key"})
"""Operations that issuebox does not use in this run, or hardly: the audit, which lists, and the doctor are off."""

FALSE_404: Final = "not_found"
"""The effect that denies an existing sandbox. The plan limits it: `FALSE_404S_MAX`."""


def deck() -> list[tuple[str, JSONObject]]:
    """Each used operation with each effect that applies to it."""
    return [
        (operation, effect) for operation in OPERATIONS if operation not in UNUSED for effect in _effects(operation)
    ]


def _effects(operation: str) -> tuple[JSONObject, ...]:
    if operation == "events":
        return _STREAM
    if operation == "toolbox":
        return _REPLIES + _INSIDE
    effects = _REPLIES + _NAMED
    if operation in WITH_TRANSITION:
        effects += _TRANSITIONS
    if operation == "create":
        effects += _BUILDS
    if operation == "get":
        effects += _READS
    return effects
