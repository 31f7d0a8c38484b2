"""A worker with shorter times: in a proof, what takes minutes in production takes seconds.

``python -m proofs.shortened --ready-file FILE '{"backoff_initial_s": 0.1}'`` is `issuebox worker` with these constants.
What has a setting is changed by that setting.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeVar

import activities.gate
from issuebox.domain import gate, slot
from issuebox.domain.phase import Phase
from issuebox.environment import load
from issuebox.logs import begin
from issuebox.process import run_and_end
from issuebox.settings import WorkerSettings
from issuebox.worker import WorkerOptions, serve

T = TypeVar("T")

POLICY: Final = frozenset(
    {
        "backoff_initial_s",
        "backoff_max_s",
        "blocked_retry_initial_s",
        "blocked_retry_max_s",
        "unreachable_after_s",
        "confirm_gone_s",
    }
)
LIMITS: Final = frozenset({"builds_max", "recovers_max", "attempts_max"})
BUDGETS: Final = {
    f"{name}_budget_s": phase
    for name, phase in {
        "pending": Phase.PENDING,
        "thaw": Phase.THAWING,
        "stopping": Phase.STOPPING,
        "busy": Phase.BUSY,
        "leaving": Phase.LEAVING,
        "unknown": Phase.UNKNOWN,
    }.items()
}
DAYTONA: Final = {
    f"daytona_{name}": name
    for name in ("request_timeout_s", "command_timeout_s", "listen_s", "settle_timeout_s", "read_interval_s")
}
AUDIT: Final = {"audit_recheck_s": "recheck_s", "audit_reads_per_s": "reads_per_s"}
SLOTS: Final = {f"{name}_slots": name for name in ("own", "waits", "inside", "notices", "runs")}
RUNS: Final = {"run_probe_timeout_s": "probe_s", "run_script_timeout_s": "script_s"}
WRITES: Final = "github_writes_per_minute"
CLOSING: Final = frozenset({"forget_after_s", "redelivered_within_s"})
GATE: Final[Mapping[str, tuple[ModuleType, str]]] = {
    "gate_check_every_s": (gate, "CHECK_EVERY"),
    "gate_probe_every_s": (gate, "PROBE_EVERY"),
    "gate_list_lag_s": (gate, "LIST_LAG_MAX"),
    "gate_settled_after_s": (activities.gate, "SETTLED_AFTER"),
    "gate_asked_again_s": (slot, "ASK_AGAIN"),
}
"""Constants that are no worker's option: all workers of an installation have the same."""
NAMES: Final = POLICY | LIMITS | set(BUDGETS) | set(DAYTONA) | set(AUDIT) | set(SLOTS) | set(RUNS) | {WRITES} | CLOSING
"""The constants that may be shortened."""


def made_from(values: Mapping[str, Any]) -> WorkerOptions:
    """A worker's options from one table of settings and constants by name. Raises as the settings do."""
    settings = WorkerSettings.model_validate({name: value for name, value in values.items() if name not in NAMES})
    return shortened(
        WorkerOptions.of(settings), {name: float(value) for name, value in values.items() if name in NAMES}
    )


def shortened(worker: WorkerOptions, changes: Mapping[str, float]) -> WorkerOptions:
    """The worker's options with these constants. Raises KeyError for an unknown name."""
    if unknown := set(changes) - NAMES:
        raise KeyError(f"unknown constants: {', '.join(sorted(unknown))}")
    policy = worker.policy
    limits = _changed(policy.limits, {name: int(changes[name]) for name in LIMITS & set(changes)})
    budgets = {phase: changes[name] for name, phase in BUDGETS.items() if name in changes}
    limits = replace(limits, budget_s={**limits.budget_s, **budgets})
    closing = _changed(policy.closing, {name: changes[name] for name in CLOSING & set(changes)})
    policy = replace(policy, limits=limits, closing=closing)
    return replace(
        worker,
        policy=_changed(policy, {name: changes[name] for name in POLICY & set(changes)}),
        daytona=_changed(worker.daytona, {own: changes[name] for name, own in DAYTONA.items() if name in changes}),
        audit=_changed(worker.audit, {own: changes[name] for name, own in AUDIT.items() if name in changes}),
        slots=_changed(worker.slots, {own: int(changes[name]) for name, own in SLOTS.items() if name in changes}),
        github=_changed(worker.github, {"limits": ((60.0, int(changes[WRITES])),)} if WRITES in changes else {}),
        runs=_changed(worker.runs, {own: changes[name] for name, own in RUNS.items() if name in changes}),
    )


def shorten_gate(changes: Mapping[str, float]) -> dict[str, float]:
    """Set those constants of the gate, in this process. Returns the other changes."""
    for name in GATE.keys() & changes.keys():
        module, constant = GATE[name]
        setattr(module, constant, timedelta(seconds=changes[name]))
    return {name: value for name, value in changes.items() if name not in GATE}


def _changed(one: T, changes: Mapping[str, Any]) -> T:
    return replace(one, **changes)  # type: ignore[type-var]


def main() -> None:
    """Run a worker until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m proofs.shortened")
    parser.add_argument("--ready-file", type=Path)
    parser.add_argument("changes", type=json.loads)
    asked = parser.parse_args()
    settings = load(WorkerSettings, required=("daytona_api_key",))
    begin(settings)
    serve(shortened(WorkerOptions.of(settings), shorten_gate(asked.changes)), asked.ready_file)


if __name__ == "__main__":
    run_and_end(main)
