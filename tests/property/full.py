"""Records at their limits: every field of a record is filled with more text than it may hold, and its own construction
cuts that. A field that nothing bounds stays as it was filled, and is larger than Temporal's limit by itself.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from activities.github_messages import SENT_NAMED_MAX
from issuebox.domain.audit import SUSPECTS_MAX
from issuebox.domain.events import IssueEvent
from issuebox.domain.gate import HOLDERS_MAX, LISTED_MAX
from issuebox.domain.issue import Issue
from issuebox.domain.memory import DELIVERIES_MAX, NOTES_MAX
from issuebox.domain.name_ranges import RANGES_MAX
from issuebox.domain.phase import Phase
from issuebox.domain.provider import CURSOR_BYTES_MAX
from issuebox.domain.run import KEY_BYTES_MAX, KEYS_MAX, QUEUE_MAX, RECEIPTS_MAX, RUNS_MAX
from issuebox.domain.sandbox import LABELS_MAX, Sandbox
from issuebox.domain.slot import STRANGE_MAX, Said, Word
from issuebox.domain.unsaved_work import FINDINGS_MAX
from issuebox.providers.github import ETAG_BYTES_MAX, PAGE_SIZE
from issuebox.providers.github_client import QUERY_MAX
from tests.limits import PAYLOADS_BYTES_MAX
from workflows.issue_sandbox import WAITING_UPDATES_MAX
from workflows.messages import StartInput

REPOSITORIES_MAX = 500
"""Repositories of one resync. The settings have no limit, but a token of GitHub has 5,000 requests an hour: that is
enough for two for each of so many, every 15 minutes."""

REPOSITORY = "o" * 100 + "/" + "r" * 100
WELL_FORMED: Mapping[str, str] = {
    # What is not of this form counts as not given, so the longest of the form is the worst.
    # These come from the settings.
    "RepositoryInput.repository": REPOSITORY,
    "RepositoryReport.repository": REPOSITORY,
    "repositories": REPOSITORY,
    "url": "https://" + "u" * 490,
    "etag": '"' * ETAG_BYTES_MAX,
}

MADE_BY_US: Mapping[str, str] = {
    # Fields that hold nothing from outside, at their longest.
    "policy_hash": "0" * 12,
    "kind": "sandbox.stopped",
    "undelivered": "sandbox.stopped",
    "id": f"{'n' * 128}-20261231235959-{2**63 - 1}",
    "occasion": "sandbox.ready " + "s" * 128 + f" {2**63 - 1}",
    "instance": "i" * 63,
    "name_prefix": "p" * 80,
    "timers": "stopped:3155760000 archived:3155760000 deleted:3155760000",
    "summary": '"' * 3000,
    "doing": "inspecting the sandbox for unsaved work, and some words more",
    "judged": f"{2**63 - 1}@{10**11}",
    "known_token": "t" * 2000,
    "bounds": "p" * 80 + "9" * 18,
    "error": "RateLimitedError",
    "outcome": "recovered",
    "phase": "recoverable",
    "goal": "archived",
    "blocked": "unknown_state",
    "work": "unchecked",
    "run": "r-0123456789ab",
    "next_step": "Raise ISSUEBOX_RUN_STALL_S if it is silent for that long by nature, and some words more.",
    "issue_state": "transferred",
    "goal_due_at": "2026-12-31T23:59:59.999999+00:00",
    "issue_updated_at": "2026-12-31T23:59:59.999999+00:00",
    "requested_at": "2026-12-31T23:59:59.999999+00:00",
    "keys": "k" * KEY_BYTES_MAX,
    "session": "01234567-89ab-8cde-8012-3456789abcde",
    "why": "time_limit",
    "advice": "Raise ISSUEBOX_RUN_STALL_S if it is silent for that long by nature, and some words more.",
    "toolbox_url": "https://proxy.app.daytona.io/toolbox/" + "u" * 475,
    "cursor": "c" * max(QUERY_MAX, CURSOR_BYTES_MAX),
}

COPIES: Mapping[str, Callable[[str], str]] = {
    # Fields that are copied from a field of another record, which cleans it.
    "name": lambda text: StartInput(7, text).name,
    "title": lambda text: Issue(7, title=text).title,
    "repository": lambda text: Issue(7, text).repository,
    "state": lambda text: Sandbox("s", "n", Phase.USABLE, text).state,
    "sandbox_id": lambda text: Sandbox(text, "n", Phase.USABLE, "started").id,
    "delivery": lambda text: IssueEvent(Issue(7), delivery=text).delivery,
    "digests": lambda text: IssueEvent(Issue(7), digest=text).digest,
    "action": lambda text: IssueEvent(Issue(7), action=text).action,
    "holder": lambda text: Said(text, Word.ASK, datetime(2026, 12, 31, tzinfo=UTC), 0.0).holder,
}
COPIED: Mapping[str, str] = {
    **dict.fromkeys(
        ("sandbox_id", "forced_id", "abandoned_id", "unbuilt_id", "counted_id", "set_up_id", "gone_id"), "sandbox_id"
    ),
    **dict.fromkeys(("delivery", "deliveries", "ids"), "delivery"),
    **dict.fromkeys(("holder", "holders", "ended", "up", "sandboxes"), "holder"),
    **{name: name for name in ("name", "title", "repository", "state", "digests", "action")},
}

LENGTHS: Mapping[tuple[str, str], int] = {
    ("Deliveries", "ids"): DELIVERIES_MAX,
    ("Deliveries", "digests"): DELIVERIES_MAX,
    ("Memory", "notes"): NOTES_MAX,
    ("Why", "notes"): NOTES_MAX,
    ("Slot", "strange"): STRANGE_MAX,
    ("Gate", "leases"): HOLDERS_MAX,
    ("Gate", "waiting"): HOLDERS_MAX,
    ("Gate", "served"): HOLDERS_MAX,
    ("GateView", "working"): HOLDERS_MAX,
    ("GateView", "waiting"): HOLDERS_MAX,
    ("CheckInput", "holders"): 4 * HOLDERS_MAX,
    ("CheckInput", "sandboxes"): HOLDERS_MAX,
    ("Checked", "ended"): 4 * HOLDERS_MAX,
    ("Checked", "up"): HOLDERS_MAX,
    ("Checked", "running"): LISTED_MAX,
    ("WatchInput", "sandboxes"): HOLDERS_MAX,
    ("Stopped", "holders"): HOLDERS_MAX,
    ("Note", "deliveries"): 1,
    ("Runs", "queue"): QUEUE_MAX,
    ("Runs", "runs"): RUNS_MAX,
    ("Runs", "keys"): KEYS_MAX,
    ("Runs", "refused"): RUNS_MAX,
    ("Runs", "unseen"): QUEUE_MAX,
    ("Run", "requests"): QUEUE_MAX,
    ("Run", "stops"): 2,
    ("RunView", "keys"): QUEUE_MAX,
    ("RunsView", "runs"): RUNS_MAX,
    ("RunsView", "receipts"): RECEIPTS_MAX + RUNS_MAX + 2 * QUEUE_MAX,
    ("HeardInput", "comments"): QUEUE_MAX,
    # All texts of an issue together have `TEXTS_BYTES_MAX`, fewer than those of two such requests.
    ("PrepareInput", "requests"): 2,
    ("Requests", "answers"): WAITING_UPDATES_MAX,
    ("Inspection", "findings"): FINDINGS_MAX + 100,
    ("Sandbox", "labels"): LABELS_MAX + 4,
    ("Walked", "suspects"): SUSPECTS_MAX,
    ("Bounds", "bounds"): RANGES_MAX + 1,
    ("Shard", "bounds"): RANGES_MAX + 1,
    ("Suspects", "suspects"): 2 * SUSPECTS_MAX,
    ("Findings", "findings"): 2 * SUSPECTS_MAX,
    ("AuditReport", "findings"): 2 * SUSPECTS_MAX,
    ("Progress", "sent"): SENT_NAMED_MAX,
    ("Progress", "judged"): 2 * PAGE_SIZE,
    ("RepositoryReply", "sent"): SENT_NAMED_MAX,
    ("ResyncRequest", "repositories"): REPOSITORIES_MAX,
    ("ResyncReport", "repositories"): REPOSITORIES_MAX,
    ("RepositoryReport", "sent"): SENT_NAMED_MAX,
}
"""How long a list is at most. One that is not here fails the test."""

KEY_LENGTH = 10_000
"""Characters of a key: keys are not shared between records as the one long text is."""

INTEGER = 2**63 - 1
NUMBER = -1.2345678901234567e-300
MOMENT = datetime(2026, 12, 31, 23, 59, 59, 999_999, UTC)


def filled(kind: type[Any], text: str) -> Any:
    """A record of this kind with everything at its limit; `text` is longer than any limit."""
    hints = typing.get_type_hints(kind)
    values = {field.name: _value(kind, field.name, hints[field.name], text) for field in dataclasses.fields(kind)}
    record = kind(**values)
    # What construction has left as it was is bounded where it comes from, or not at all.
    given = {name: _at_its_source(name, getattr(record, name), text) for name in values}
    return kind(**values | {name: value for name, value in given.items() if value is not None})


def _at_its_source(name: str, kept: object, text: str) -> object:
    """What to put in place of a text that the record does not cut itself; None for nothing."""
    if isinstance(kept, list | tuple):
        found = [_at_its_source(name, one, text) for one in kept[:1]]
        return type(kept)(found * len(kept)) if found and found[0] is not None else None
    if kept is not text:
        return None
    return COPIES[COPIED[name]](text) if name in COPIED else MADE_BY_US.get(name)


def worst(character: str) -> str:
    """More of this character than Temporal takes in one payload."""
    return character * (PAYLOADS_BYTES_MAX // len(character.encode(errors="replace")))


def _value(owner: type[Any], name: str, hint: Any, text: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        return _value(owner, name, next(one for one in arguments if one is not type(None)), text)
    if origin in {list, tuple}:
        return origin([_value(owner, name, arguments[0], text)] * _length(owner, name))
    if origin in {dict, collections.abc.Mapping}:
        return _mapping(owner, name, arguments, text)
    if dataclasses.is_dataclass(hint):
        return filled(typing.cast("type[Any]", hint), text)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return max(hint, key=lambda member: len(str(member.value)))
    simple: Mapping[Any, Any] = {
        str: WELL_FORMED.get(f"{owner.__name__}.{name}", WELL_FORMED.get(name, text)),
        int: INTEGER,
        float: NUMBER,
        bool: False,
    }
    return MOMENT if hint is datetime else simple[hint]


def _mapping(owner: type[Any], name: str, arguments: tuple[Any, ...], text: str) -> dict[Any, Any]:
    """With the members of an enum as keys, all of them; else as many as there may be."""
    key_kind, value_kind = arguments
    if isinstance(key_kind, type) and issubclass(key_kind, Enum):
        return {key: _value(owner, name, value_kind, text) for key in key_kind}
    count = _length(owner, name)
    keys = [INTEGER - number if key_kind is int else f"{number}{text[:KEY_LENGTH]}" for number in range(count)]
    return {key: _value(owner, name, value_kind, text) for key in keys}


def _length(owner: type[Any], name: str) -> int:
    return LENGTHS[owner.__name__, name]
