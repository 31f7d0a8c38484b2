"""What is sent when in the restore scenario: a function of seed, issues and duration. No I/O."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from proofs.chaos.fault_schedule import Command, TimedStep
from proofs.chaos.story import Event, IssueState, Kind, Post, stories
from proofs.chaos.terms import API
from proofs.checker.evidence import Expectation

BACKUP_SHARE: Final = 0.45
RESTORE_SHARE: Final = 0.8
"""When the copy is made, and when it is put back, as shares of the load's duration."""
ISSUES_PER_ORDER: Final = 4
FATED_MIN, ISSUES_PER_FATED = 3, 10
KINDS: Final = {
    "opened": Kind("opened", 1.0, Expectation.RUNNING, IssueState.OPEN),
    "closed": Kind("closed", 1.0, Expectation.STOPPED, IssueState.CLOSED),
    "reopened": Kind("reopened", 1.0, Expectation.RUNNING, IssueState.OPEN),
    "comment": Kind("comment", 1.0, Expectation.RUNNING, IssueState.OPEN),
}

_ORDERS: Final = (("stop", False), ("delete", False), ("delete", True), ("replace", True), ("ensure", False))


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """The load, and when it is interrupted: a function of seed, issues and duration."""

    seed: int
    issues: int
    seconds: float
    posts: tuple[Post, ...]
    orders: tuple[TimedStep, ...]
    rounds: tuple[tuple[Post, ...], ...]
    """What is sent once Temporal serves again, one round after the other."""

    @property
    def backup_at_s(self) -> float:
        return self.seconds * BACKUP_SHARE

    @property
    def restore_at_s(self) -> float:
        return self.seconds * RESTORE_SHARE


def make_restore_plan(seed: int, issues: int, seconds: float) -> RestorePlan:
    """The plan: the same for the same arguments."""
    rng = random.Random(f"{seed}/restore")
    orders = []
    for number in range(2 * max(len(_ORDERS), issues // ISSUES_PER_ORDER)):
        order, is_forced = _ORDERS[number // 2 % len(_ORDERS)]
        # Each kind of order comes once in the time that is lost, and once after it.
        low, high = ((BACKUP_SHARE, RESTORE_SHARE), (RESTORE_SHARE, 1.0))[number % 2]
        at_s = round(rng.uniform(low, high) * seconds, 3)
        orders.append(TimedStep(at_s, Command(rng.randint(1, issues), order, is_forced, rng.randrange(len(API)))))
    posts = sorted([*stories(seed, issues, seconds), *_fated(issues, seconds)], key=lambda post: post.at_s)
    rounds = tuple(tuple(_after(issues, seconds, action)) for action in ("reopened", "comment"))
    return RestorePlan(seed, issues, seconds, tuple(posts), tuple(orders), rounds)


def fated(issues: int) -> range:
    """Some more issues, which are closed in the lost time, and reopened and asked for after it.

    A worker that lives on then goes on from timers that the database has forgotten.
    """
    return range(issues + 1, issues + 1 + max(FATED_MIN, issues // ISSUES_PER_FATED))


def _fated(issues: int, seconds: float) -> Iterator[Post]:
    closed = int(seconds * BACKUP_SHARE)
    for issue in fated(issues):
        yield Post(1.1, f"opened-{issue}", Event(issue, KINDS["opened"], 0, None))
        yield Post(closed + 1.1, f"closed-{issue}", Event(issue, KINDS["closed"], closed, closed))


def _after(issues: int, seconds: float, action: str) -> Iterator[Post]:
    second = int(seconds * RESTORE_SHARE) + list(KINDS).index(action)
    for issue in fated(issues):
        yield Post(second, f"{action}-{issue}", Event(issue, KINDS[action], second, None))
