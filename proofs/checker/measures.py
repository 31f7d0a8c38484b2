"""Counts over a run, for tables that compare systems: from the same lives as the rules, without verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from localdaytona.journal import Entry
from proofs.checker import rest, work
from proofs.checker.cases import Case, index
from proofs.checker.evidence import Evidence, Expectation
from proofs.checker.expectations import standing, superseders
from proofs.checker.lives import ERRORED, Identity, SandboxLife, issue_of

UNCOUNTED = frozenset({"toolbox", "events"})
"""Operations that are not requests to Daytona's API."""


@dataclass(frozen=True, slots=True)
class Measures:
    """Counts of a run. They count issues, unless stated otherwise.

    `duplicated`: issues that had two live sandboxes at once, at any moment; `duplicated_at_rest`: at the end.
    `live_max`: the most live sandboxes of one issue at once. `leaks`: sandboxes that nobody refers to at the end:
    without a known issue, beyond the issue's one, or of an issue that is gone. `stranded`: issues that should have a
    running sandbox and have none to use. `lost_events`: acknowledged deliveries that asked for a sandbox after which
    none was started. `replacements`: sandboxes that had run and were deleted or superseded while they could hold work.
    `requests`: calls to Daytona's API; `per_delivery`: for each acknowledged delivery.
    """

    issues: int
    deliveries: int
    duplicated: int
    duplicated_at_rest: int
    live_max: int
    leaks: int
    stranded: int
    lost_events: int
    replacements: int
    requests: int

    @property
    def per_delivery(self) -> float:
        """Requests to Daytona for each acknowledged delivery."""
        return self.requests / self.deliveries if self.deliveries else 0.0

    def per_1000_issues(self, count: int) -> float:
        """One of the counts, scaled to 1,000 issues."""
        return 1000 * count / self.issues if self.issues else 0.0


def measure(evidence: Evidence, identity: Identity = issue_of) -> Measures:
    """Count what a run did, from its evidence alone."""
    cases = index(evidence, identity)
    issues = [case for case in cases if case.issue is not None and case.deliveries]
    most = [most_live(case.lives) for case in issues]
    return Measures(
        issues=len(issues),
        deliveries=len({each.delivery for each in evidence.deliveries if each.is_acknowledged}),
        duplicated=sum(count > 1 for count in most),
        duplicated_at_rest=sum(live_now(case.lives) > 1 for case in issues),
        live_max=max(most, default=0),
        leaks=sum(leaks(case) for case in cases),
        stranded=sum(is_stranded(case) for case in issues),
        lost_events=sum(len(lost(case)) for case in issues),
        replacements=sum(len(replaced(case)) for case in issues),
        requests=requests(evidence.journal),
    )


def requests(journal: Sequence[Entry]) -> int:
    """Calls to Daytona's API in a journal."""
    return sum(entry.kind == "request" and entry.operation not in UNCOUNTED for entry in journal)


def most_live(lives: Sequence[SandboxLife]) -> int:
    """The largest number of sandboxes that were live at the same moment."""
    steps: list[tuple[int, int]] = []
    for life in lives:
        was_live = False
        for moment in life.moments:
            if moment.is_live is not was_live:
                steps.append((moment.seq, 1 if moment.is_live else -1))
                was_live = moment.is_live
    most = count = 0
    for _, step in sorted(steps):
        count += step
        most = max(most, count)
    return most


def live_now(lives: Sequence[SandboxLife]) -> int:
    """How many sandboxes are live at the end."""
    return sum(life.last.is_live for life in lives)


def is_usable(life: SandboxLife) -> bool:
    """Whether the sandbox runs at the end."""
    return life.exists and life.last.is_started


def leaks(case: Case) -> int:
    """How many sandboxes of the service exist at the end and nobody refers to."""
    existing = [life for life in case.lives if life.exists and not life.is_by_hand]
    if case.issue is None or not (case.deliveries or case.orders):
        return len(existing)
    if standing(case.messages) == {Expectation.GONE}:
        return sum(not rest.is_held(case, life) for life in existing)
    return max(0, len(existing) - 1)


def is_stranded(case: Case) -> bool:
    """Whether the issue should have a running sandbox, has none, and no person or timer took it away since."""
    if standing(case.messages) != {Expectation.RUNNING} or any(is_usable(life) for life in case.lives):
        return False
    return not any(rest.was_taken_away(case, life) for life in case.lives)


def lost(case: Case) -> list[str]:
    """The acknowledged deliveries that asked for a sandbox, were not taken back, and after which none was started."""
    return [
        message.key
        for message in case.messages
        if message.expects is Expectation.RUNNING
        and message.is_certain
        and not message.is_order
        and not superseders(message, case.messages)
        and not any(life.was_started_since(message.lo) for life in case.lives)
    ]


def replaced(case: Case) -> list[str]:
    """The sandboxes that had run and were deleted (as rule (d) judges it), or left errored for a new one.

    A sandbox that is still live when the next one is created counts as a duplicate instead.
    """
    return [life.id for life in case.lives if work.objection(case, life) or _is_superseded(life, case)]


def _is_superseded(life: SandboxLife, case: Case) -> bool:
    later = [other for other in case.lives if other.born.seq > life.born.seq and not other.is_by_hand]
    states = [life.before(other.born.seq) for other in later]
    return any(state is not None and state.ever_started and state.state in ERRORED for state in states)
