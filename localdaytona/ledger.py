"""Turns a change of a row into journal entries and events. Pure: the difference of two rows.

Order as observed on the real server: the desired state first, then the state.
"""

from dataclasses import dataclass

from localdaytona.flights import Cause
from localdaytona.journal import NewEntry
from localdaytona.model import Sandbox, full
from localdaytona.types import JSON, JSONObject


@dataclass(frozen=True, slots=True)
class Event:
    """One message of the event stream."""

    name: str
    payload: JSONObject


def entries(old: Sandbox | None, new: Sandbox, cause: Cause) -> list[NewEntry]:
    """Return the journal entries for the change."""
    if old is None:
        return [_entry("created", new, cause, {"labels": dict(new.labels), "snapshot": new.spec.snapshot})]
    found = []
    if old.desired != new.desired:
        found.append(_entry("desired", new, cause, {"old": old.desired, "new": new.desired}))
    if old.name != new.name:
        found.append(_entry("renamed", new, cause, {"old": old.name, "new": new.name}))
    if old.state != new.state:
        found.append(_entry("state", new, cause, _state_change(old, new)))
    if new.hidden and not old.hidden:
        found.append(_entry("destroyed", new, cause, {"row_kept": new.state != "destroyed"}))
    if old.labels != new.labels:
        found.append(_entry("labels", new, cause, {"labels": dict(new.labels)}))
    if old.intervals != new.intervals or old.destroy_at != new.destroy_at:
        found.append(_entry("intervals", new, cause, _intervals(new)))
    return found


def events(old: Sandbox | None, new: Sandbox, toolbox_url: str) -> list[Event]:
    """Return the events for the change; labels and intervals cause none."""
    shown = full(new, toolbox_url)
    if old is None:
        return [Event("sandbox.created", shown)]
    found = []
    if old.desired != new.desired:
        change: JSONObject = {
            "sandbox": shown,
            "oldDesiredState": old.desired,
            "newDesiredState": new.desired,
        }
        found.append(Event("sandbox.desired-state.updated", change))
    if old.state != new.state:
        change = {"sandbox": shown, "oldState": old.state, "newState": new.state}
        found.append(Event("sandbox.state.updated", change))
    return found


def _entry(kind: str, sandbox: Sandbox, cause: Cause, detail: JSONObject) -> NewEntry:
    now: JSON = {"name": sandbox.name, "state": sandbox.state, "desired": sandbox.desired}
    return NewEntry(
        kind,
        sandbox.id,
        sandbox.name,
        cause.operation,
        {**detail, "now": now, "request_id": cause.request_id, "ever_started": sandbox.ever_started},
    )


def _state_change(old: Sandbox, new: Sandbox) -> JSONObject:
    change: JSONObject = {"old": old.state, "new": new.state, "desired": new.desired}
    if new.error_reason is not None:
        change |= {"error_reason": new.error_reason, "recoverable": new.recoverable}
    return change


def _intervals(sandbox: Sandbox) -> JSONObject:
    intervals = sandbox.intervals
    return {
        "auto_stop": intervals.auto_stop,
        "auto_pause": intervals.auto_pause,
        "auto_archive": intervals.auto_archive,
        "auto_delete": intervals.auto_delete,
        "destroy_at": sandbox.destroy_at,
    }
