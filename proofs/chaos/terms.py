"""Every setting of the system under test, and every time that the plan keeps to. Values and their reasons only."""

from __future__ import annotations

from typing import Final

from localdaytona.types import JSONObject

API: Final = ("api-1", "api-2")
WORKERS: Final = ("worker-1", "worker-2", "worker-3")
TEMPORAL: Final = "temporal"
DAYTONA: Final = "localdaytona"
OURS: Final = (*API, *WORKERS)
"""The processes of issuebox: the others are only its surroundings."""
PARTS: Final = (TEMPORAL, DAYTONA, *OURS)
ROLLED: Final = "workers"
"""The lane of a rolling restart, which is about all of them."""
LINKS: Final = (*(f"{who}>{TEMPORAL}" for who in (*API, *WORKERS)), *(f"{who}>{DAYTONA}" for who in WORKERS))
"""Each client has a connection of its own to lose."""

REPOSITORY: Final = "octo/chaos"

CONFIRM_GONE_S: Final = 8.0
OUTAGE_404_S: Final = 2.5
"""How long an outage answers 404. The product waits 75 s where the real server lies for 10: the same proportion."""
NAME_CACHE_S: Final = 4.0
HEARTBEAT_TIMEOUT_S: Final = 10.0
"""`workflows.options.HEARTBEAT_TIMEOUT`, which no setting shortens: a freeze for longer wakes in a lost activity."""

GRACE_S: Final = 5.0
"""`issuebox.worker.GRACEFUL_SHUTDOWN`, in which what a worker does may come to its end."""
STALL_S: Final = 8.0
"""A reader that stands still for so long was seen to hang a worker for good (0.4.1)."""

SETTINGS: Final = {
    "ISSUEBOX_LOG_FORMAT": "json",
    "ISSUEBOX_BACKOFF_INITIAL_S": "0.1",
    "ISSUEBOX_BACKOFF_MAX_S": "2",
    "ISSUEBOX_BLOCKED_RETRY_INITIAL_S": "2",
    "ISSUEBOX_BLOCKED_RETRY_MAX_S": "6",
    "ISSUEBOX_UNREACHABLE_AFTER_S": "8",
    "ISSUEBOX_CONFIRM_GONE_S": f"{CONFIRM_GONE_S:g}",
    "ISSUEBOX_DAYTONA_REQUEST_TIMEOUT_S": "2",
    "ISSUEBOX_DAYTONA_COMMAND_TIMEOUT_S": "4",
    # Longer than a worker gives its activities to end, as in earnest: a deploy meets commands in their middle.
    "ISSUEBOX_DAYTONA_SETTLE_TIMEOUT_S": "9",
    "ISSUEBOX_DAYTONA_READ_INTERVAL_S": "2",
    # The whole ladder within the run, so that the look before a delete is under fire too.
    "ISSUEBOX_CLOSE_STOP_AFTER_S": "2",
    "ISSUEBOX_CLOSE_ARCHIVE_AFTER_S": "5",
    "ISSUEBOX_CLOSE_DELETE_AFTER_S": "12",
    # Stuck state changes are met within the run.
    "ISSUEBOX_PENDING_BUDGET_S": "10",
    "ISSUEBOX_THAW_BUDGET_S": "12",
    "ISSUEBOX_STOPPING_BUDGET_S": "10",
    "ISSUEBOX_BUSY_BUDGET_S": "10",
    "ISSUEBOX_LEAVING_BUDGET_S": "10",
    "ISSUEBOX_UNKNOWN_BUDGET_S": "6",
    # There is no GitHub to ask, and the schedules would hide what the issues' own workflows miss.
    "ISSUEBOX_RESYNC_INTERVAL_S": "0",
    "ISSUEBOX_RESYNC_SWEEP_INTERVAL_S": "0",
    "ISSUEBOX_AUDIT_INTERVAL_S": "0",
}

CLOSED_RESTS_AT: Final = frozenset({"stopped", "archived", "destroyed"})
"""The ladder's end is the delete; unsaved work keeps a sandbox on the rung before."""

KNOBS: Final[JSONObject] = {
    "hold_s": 3.0,
    "tick_s": 1.0,
    "outage_404_s": OUTAGE_404_S,
    "insert_delay_s": 0.05,
}
"""localdaytona throughout; among them a wide gap in which racing creates meet."""

SHORT: Final[JSONObject] = {
    "create_s": 0.5, "start_s": 0.4, "stop_s": 0.3, "archive_s": 0.6, "restore_wait_s": 0.2, "restore_s": 0.8,
    "recover_s": 0.4, "pause_s": 0.3, "resume_s": 0.3, "destroy_s": 0.8, "discard_s": 0.1,
}  # fmt: skip
"""How long state changes take: 0.2 to 2 s in all."""
SLOW: Final[JSONObject] = {
    "create_s": 9.0, "start_s": 9.0, "stop_s": 8.0, "archive_s": 8.0, "restore_wait_s": 0.2, "restore_s": 9.0,
    "recover_s": 8.0, "pause_s": 8.0, "resume_s": 8.0, "destroy_s": 8.0, "discard_s": 0.1,
}  # fmt: skip
"""Longer than the 5 s that a worker gives its activities to end, as in earnest, and just within the budgets."""

CALM: Final[JSONObject] = {
    "durations": SHORT,
    "outage": False,
    "maintenance": False,
    "runner_available": True,
    "suspended": None,
    "cpu_max": None,
    "name_cache_s": 0.0,
    "stale_read_s": 0.0,
    "stale_read_probability": 0.0,
    "list_lag_s": 0.0,
    "list_flap_probability": 0.0,
    "events": True,
    "events_drop_after_s": None,
    "scip_status": 409,
    # Far away, and not none: a service that has learned of a limit keeps to it until a reply says otherwise.
    "rate_limits": {
        "window_s": 2.0,
        "authenticated": 100_000,
        "sandbox_create": 100_000,
        "sandbox_lifecycle": 100_000,
    },
}
"""What every knob of the plan goes back to."""
