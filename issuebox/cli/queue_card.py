"""Renders who waits for a slot of the installation, and how many slots are in use. Sends no request."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.text import Text

from issuebox.cli.cards import TABLE_WIDTH_MIN, age, columns
from issuebox.cli.screen import fields_table, plain, when
from issuebox.temporal.queue import UNTIL, QueuedIssue, Queues, SlotQueue

ORDER = "People's own requests come first, then the repositories in turn, each with what was asked for first."

UNITS = {"sandboxes": "sandbox", "runs": "run"}

COLUMNS = ("place", "repository", "id", "waits", "until")

FIELDS = ("Place", "Repository", "ID", "Waits", "Until")


def queue_card(found: Queues, width: int, now: datetime) -> RenderableType:
    """For each kind of slot how many are in use, and who waits; one sentence when nobody waits."""
    kinds = {"sandboxes": found.sandboxes, "runs": found.runs}
    if not any(queue.waiting for queue in kinds.values()):
        used = ", ".join(f"{_used(queue)} for {kind}" for kind, queue in kinds.items() if _is_capped(queue))
        return Text(f"No issue waits for a slot{f' (in use: {used})' if used else ''}.")
    parts: list[RenderableType] = [
        fields_table([(kind.capitalize(), _summary(queue)) for kind, queue in kinds.items()])
    ]
    for kind, queue in kinds.items():
        if queue.waiting:
            parts += [Text(), Text(f"Issues whose {UNITS[kind]} waits", style="bold")]
            parts += [_table(queue.waiting, width, now), *map(Text, _notes(queue))]
    return Group(*parts)


def _is_capped(queue: SlotQueue) -> bool:
    return queue.caps is not None and queue.caps.is_set


def _used(queue: SlotQueue) -> str:
    """Such as ``9 of 10``."""
    total = queue.caps.total if queue.caps is not None else 0
    return f"{queue.in_use} of {total}" if total else str(queue.in_use)


def _summary(queue: SlotQueue) -> str:
    """How many are in use, and how many there are."""
    caps = queue.caps
    if caps is None or not caps.is_set:
        return "without a cap"
    parts = [
        f"{_used(queue)} slots in use",
        f"{queue.beyond_cap} more than there are, because people started some by hand or the cap was lowered"
        if queue.beyond_cap
        else "",
        f"{caps.reserve} of the {caps.total} for trusted people only" if caps.reserve else "",
        f"at most {caps.per_repository} for each repository" if caps.per_repository else "",
        f"at most {caps.per_author} for each author" if caps.per_author else "",
    ]
    return "; ".join(filter(None, parts))


def _notes(queue: SlotQueue) -> list[str]:
    """What holds all of them up, and how they are ordered."""
    held, opens = queue.held_until, queue.opens_at
    return [
        *([f"Daytona's quota is used up: the first in the queue tries again at {when(held)}."] if held else []),
        *([f"None is handed out before {when(opens)}, unless it is known earlier what is in use."] if opens else []),
        *([ORDER] if len(queue.waiting) > 1 else []),
    ]


def _table(waiting: Sequence[QueuedIssue], width: int, now: datetime) -> RenderableType:
    """One line per issue, or several in a narrow terminal."""
    rows = [
        (str(each.place), each.repository, str(each.issue_id), age(now, each.since), each.reason.removeprefix(UNTIL))
        for each in waiting
    ]
    if width < TABLE_WIDTH_MIN:
        return Group(*(Group(fields_table(list(zip(FIELDS, row, strict=True))), Text()) for row in rows))
    table = columns(COLUMNS)
    for row in rows:
        table.add_row(*(Text(plain(value)) for value in row))
    return table
