"""The settings of the system under test, and the times of the plan. Values and their reasons only."""

from __future__ import annotations

from typing import Final

from localdaytona.types import JSONObject

API: Final = ("api-1", "api-2")
WORKERS: Final = ("worker-1", "worker-2", "worker-3")
TEMPORAL: Final = "temporal"
DAYTONA: Final = "localdaytona"
OURS: Final = (*API, *WORKERS)
"""The processes of issuebox itself."""
PARTS: Final = (TEMPORAL, DAYTONA, *OURS)
NAME_PREFIX: Final = "claude-issue-"
TASK_QUEUE: Final = "issuebox"
WORKFLOWS: Final = 'WorkflowType = "IssueSandboxWorkflow"'
INSTANCE: Final = "default"
STRANGE_INSTANCE: Final = "issuebox-elsewhere"
STRAYS: Final = {
    "worker-prefix": {"ISSUEBOX_NAME_PREFIX": "claude-ticket-"},
    "worker-instance": {"ISSUEBOX_INSTANCE": STRANGE_INSTANCE},
}
"""Workers with one wrong setting, which serve the task queue for some seconds."""
ROLLED: Final = "workers"
"""The lane of a rolling restart, which affects all workers."""
LINKS: Final = (*(f"{who}>{TEMPORAL}" for who in (*API, *WORKERS)), *(f"{who}>{DAYTONA}" for who in WORKERS))
"""Each client has its own link to each server, so that it can lose that server alone."""

REPOSITORY: Final = "octo/chaos"

CONFIRM_GONE_S: Final = 8.0
OUTAGE_404_S: Final = 2.5
"""How long an outage answers 404. In production: 10 s, and issuebox looks again after 75 s. The same proportion."""
NAME_CACHE_S: Final = 4.0
HEARTBEAT_TIMEOUT_S: Final = 10.0
"""The longest of `workflows.options.HEARTBEATS`, which no setting shortens: who is frozen for longer wakes too late."""

GRACE_S: Final = 5.0
"""The default of `ISSUEBOX_GRACE_S`, in which what a worker does may come to its end."""
STALL_S: Final = 8.0
"""A reader that stalled for this long made a worker hang for ever (0.4.1)."""

SETTINGS: Final = {
    "ISSUEBOX_LOG_FORMAT": "json",
    # The whole ladder within the run, so that it reaches the inspection before a delete.
    "ISSUEBOX_CLOSE_STOP_AFTER_S": "2",
    "ISSUEBOX_CLOSE_ARCHIVE_AFTER_S": "5",
    "ISSUEBOX_CLOSE_DELETE_AFTER_S": "12",
    # The author of an issue, who reopens some, is none.
    "ISSUEBOX_MIN_ASSOCIATION": "COLLABORATOR",
    # The schedules would hide what the issues' own workflows miss.
    "ISSUEBOX_RESYNC_INTERVAL_S": "0",
    "ISSUEBOX_AUDIT_INTERVAL_S": "0",
}
"""The settings of API and workers."""

SHORTENED: Final = {
    "backoff_initial_s": 0.1,
    "backoff_max_s": 2,
    "blocked_retry_initial_s": 2,
    "blocked_retry_max_s": 6,
    "unreachable_after_s": 8,
    "run_probe_timeout_s": 2,
    "run_script_timeout_s": 6,
    # A run of minutes writes as much as a day: what the pace is, the unit tests say.
    "github_writes_per_minute": 10_000,
    "confirm_gone_s": CONFIRM_GONE_S,
    "daytona_request_timeout_s": 2,
    "daytona_command_timeout_s": 4,
    "daytona_listen_s": 2,
    # Longer than a worker gives its activities to end, as in production: a deploy meets waits in their middle.
    "daytona_settle_timeout_s": 9,
    "daytona_read_interval_s": 2,
    # Stuck state changes are met within the run.
    "pending_budget_s": 10,
    "thaw_budget_s": 12,
    "stopping_budget_s": 10,
    "busy_budget_s": 10,
    "leaving_budget_s": 10,
    "unknown_budget_s": 6,
    # A minute in production, ten for the last: a run of minutes meets each of them.
    "gate_check_every_s": 5,
    "gate_probe_every_s": 6,
    "gate_list_lag_s": 8,
    "gate_asked_again_s": 15,
    # Two minutes in production: a worker that was frozen for 14 s may still send what its workflow wanted.
    "gate_settled_after_s": 30,
}
"""The workers' constants, in seconds: see `proofs.shortened`."""


def capped_at(running_max: int) -> dict[str, str]:
    """The settings of workers that cap the running sandboxes; none for 0."""
    return {"ISSUEBOX_RUNNING_MAX": str(running_max)} if running_max else {}


CLOSED_RESTS_AT: Final = frozenset({"stopped", "archived", "destroyed"})
"""The ladder of a close ends with the delete; a sandbox with unsaved work stays on the rung before."""

KNOBS: Final[JSONObject] = {
    "hold_s": 3.0,
    "tick_s": 1.0,
    "backup_every_s": 0.2,
    "outage_404_s": OUTAGE_404_S,
    "insert_delay_s": 0.05,
}
"""localdaytona's configuration for the whole run. `insert_delay_s` is a wide gap in which creates race."""

SHORT: Final[JSONObject] = {
    "create_s": 0.5, "start_s": 0.4, "stop_s": 0.3, "archive_s": 0.6, "restore_wait_s": 0.2, "restore_s": 0.8,
    "recover_s": 0.4, "pause_s": 0.3, "resume_s": 0.3, "destroy_s": 0.8, "discard_s": 0.1,
}  # fmt: skip
"""The durations of state changes: 0.2 to 2 s in all."""
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
"""The configuration without faults, to which every knob returns."""
