"""How the slots of a cap were used: who waited, how long a slot was free meanwhile, who was overtaken. Judges nothing.

Which sandboxes are up is the journal's word. Who waits since when is the service's: its report that it is queued.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from proofs.chaos.ranks import at_ranks
from proofs.checker.cases import CaseBuilder
from proofs.checker.census import Count
from proofs.checker.evidence import Block, Evidence

QUEUED: Final = "queued"
"""The service's own word for an issue that waits for a slot."""
TURN_S: Final = 5.0
"""Who reported so much later that it waits may have asked before: the report waits for the gate's answer."""


@dataclass(frozen=True, slots=True)
class Wait:
    """An issue waited from its report on until its sandbox came up; infinite `until`: until the end."""

    issue: int
    since: float
    until: float


def used(evidence: Evidence) -> dict[str, float]:
    """The figures of a run with a cap; empty without one. Times are in seconds."""
    if not evidence.running_max:
        return {}
    builder = CaseBuilder()
    builder.feed(evidence.journal)
    counts = builder.census.counts
    served = waits(evidence.blocks or (), counts)
    left = [Wait(issue, since, float("inf")) for issue, since in _last_queued(evidence).items()]
    persons = {(order.issue, order.sent_at) for order in evidence.orders if order.order == "ensure"}
    return {
        "cap": evidence.running_max,
        "up at most": max((count.up for count in counts), default=0),
        "up at most by the service": max((count.own for count in counts), default=0),
        "queued waits": sum(block.cause == QUEUED for block in evidence.blocks or ()),
        "served from the queue": len(served),
        "queued at rest": len(evidence.queued),
        "overtaken": overtaken(served, [*served, *left], persons),
        **_ranks("waited", [wait.until - wait.since for wait in served]),
        **_ranks("slot free while one waited", idle(counts, served, evidence.running_max)),
    }


def waits(blocks: Iterable[Block], counts: Iterable[Count]) -> list[Wait]:
    """The waits that ended when the service brought the sandbox up. Only the last report before that counts."""
    reports: dict[int | None, list[Block]] = {}
    for block in blocks:
        reports.setdefault(_issue(block), []).append(block)
    found: list[Wait] = []
    raised_at: dict[int | None, float] = {}
    for count in counts:
        if not (count.is_raised and count.is_own):
            continue
        at, last_at = count.moment.at, raised_at.get(count.issue, 0.0)
        raised_at[count.issue] = at
        meanwhile = [block for block in reports.get(count.issue, ()) if last_at <= block.at < at]
        last = max(meanwhile, key=lambda block: block.at, default=None)
        if last is not None and last.cause == QUEUED and count.issue is not None:
            found.append(Wait(count.issue, last.at, at))
    return found


def idle(counts: Iterable[Count], served: Sequence[Wait], most: int) -> list[float]:
    """For each wait that was served, how long the slot that was free longest had been free within it."""
    ends = {(wait.issue, wait.until): wait.since for wait in served}
    free: deque[float] = deque([0.0] * most)
    found = []
    for count in counts:
        at = count.moment.at
        since = ends.get((count.issue, at)) if count.is_raised and count.issue is not None else None
        if since is not None:
            found.append(at - max(since, free[0]) if free else 0.0)
        room = max(0, most - count.up)
        while len(free) > room:
            free.popleft()
        free.extend([at] * (room - len(free)))
    return found


def overtaken(served: Iterable[Wait], everybody: Sequence[Wait], persons: Iterable[tuple[int, float]]) -> int:
    """How many were served while one waited that had reported earlier. People who wait for an answer come first."""
    asked = [Wait(issue, at, at) for issue, at in persons]
    return sum(
        any(other.since < wait.since - TURN_S and other.until > wait.until for other in everybody)
        for wait in served
        if not any(each.issue == wait.issue and wait.since - TURN_S <= each.since <= wait.until for each in asked)
    )


def _last_queued(evidence: Evidence) -> dict[int, float]:
    """The issues that are queued at rest, and when each reported it last."""
    reports = [(_issue(block), block.at) for block in evidence.blocks or () if block.cause == QUEUED]
    return {issue: at for issue, at in sorted(reports, key=lambda each: each[1]) if issue in evidence.queued}


def _issue(block: Block) -> int:
    return int(block.workflow_id.rpartition("-")[2])


def _ranks(name: str, seconds: Iterable[float]) -> Mapping[str, float]:
    found = at_ranks(seconds, {"p50": 0.5, "p95": 0.95, "max": 1.0})
    return {f"{name}, {word}": round(value, 2) for word, value in found.items()}
