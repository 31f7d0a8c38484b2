"""Counts the results of a round: from the agents' ledgers, from the sender's notes, and from Daytona's journal."""

from __future__ import annotations

from collections.abc import Sequence

from localdaytona.journal import Entry
from proofs.checker.evidence import Delivery, Expectation
from proofs.peers.agents.agent import Execution
from proofs.peers.agents.drive import Run
from proofs.peers.results import Sums

TO_DAYTONA = frozenset({"request", "toolbox"})
"""The kinds of the journal's entries of which each is a request to Daytona or into a sandbox."""


class RunCounts(Sums):
    """The counts of a system. They count requests of people, unless stated otherwise.

    `doubled`: executed again although an execution of them had come to its end, or was alive. `crowded`: their agent
    began while another one of the issue was alive. `lost`: answered with a 2xx, and never executed to an end. Those of
    issues that were called off do not count as lost. `orphaned`: an agent of theirs was alive at rest after a close or
    a cancel that was answered with a 2xx, or one worked to its end to which no record of the system leads.
    `refused`: no delivery about them was answered with a 2xx. `called_off`: of issues that were closed or cancelled.
    `executions`: of the agent. `calls`: to Daytona. `violations`: of the checker's rules, which are issuebox's promise.
    """

    requests: int = 0
    doubled: int = 0
    crowded: int = 0
    lost: int = 0
    orphaned: int = 0
    refused: int = 0
    called_off: int = 0
    executions: int = 0
    calls: int = 0
    violations: int = 0

    @property
    def calls_per_execution(self) -> float:
        """Requests to Daytona for each execution."""
        return self.calls / self.executions if self.executions else 0.0

    @property
    def is_clean(self) -> bool:
        """Whether nothing went wrong but refusals, which the sender knows of."""
        return not any((self.doubled, self.crowded, self.lost, self.orphaned, self.violations))

    @property
    def is_sane(self) -> bool:
        """Whether each request was executed once, as it should be without faults."""
        return self.is_clean and not self.refused and self.executions == self.requests


def count(run: Run) -> RunCounts:
    """Count a round. Violations are the caller's."""
    asked = _by_request(run.deliveries)
    taken = {key for key, mine in asked.items() if any(each.is_acknowledged for each in mine)}
    ended = {each.issue for each in run.deliveries if not each.asks and each.is_acknowledged}
    called_off = {key for issue, key in asked if issue in ended}
    whole = {each.key for each in run.executions if each.is_whole}
    return RunCounts(
        requests=len(asked),
        doubled=len(doubled(run.executions)),
        crowded=len(crowded(run.executions)),
        lost=len({key for _, key in taken} - whole - called_off),
        orphaned=len(_orphaned(run, ended)),
        refused=len(asked) - len(taken),
        called_off=len(called_off),
        executions=len({(each.issue, each.pid) for each in run.executions}),
        calls=_calls(run.journal),
    )


def doubled(executions: Sequence[Execution]) -> set[str]:
    """The keys of requests that began again after a whole execution of theirs, or beside one."""
    return {
        later.key
        for earlier, later in _pairs(executions)
        if earlier.key == later.key and (earlier.is_whole or earlier.is_at_work(later.began))
    }


def crowded(executions: Sequence[Execution]) -> set[str]:
    """The keys of requests whose agent began while another agent of the issue was alive."""
    return {later.key for earlier, later in _pairs(executions) if earlier.is_at_work(later.began)}


def _pairs(executions: Sequence[Execution]) -> list[tuple[Execution, Execution]]:
    """Executions of one issue by two processes, the earlier first."""
    ordered = sorted(executions, key=lambda each: (each.issue, each.began, each.pid))
    return [
        (earlier, later)
        for place, later in enumerate(ordered)
        for earlier in ordered[:place]
        if earlier.issue == later.issue and earlier.pid != later.pid
    ]


def _orphaned(run: Run, ended: set[int]) -> set[str]:
    alive = {key for issue, keys in run.alive.items() if issue in ended for key in keys}
    return alive | {each.key for each in run.executions if each.is_whole and each not in run.followed}


def _by_request(deliveries: Sequence[Delivery]) -> dict[tuple[int, str], list[Delivery]]:
    found: dict[tuple[int, str], list[Delivery]] = {}
    for each in deliveries:
        if each.asks and each.expects is Expectation.RUNNING:
            found.setdefault((each.issue, each.asks), []).append(each)
    return found


def _calls(journal: Sequence[Entry]) -> int:
    return sum(entry.kind in TO_DAYTONA for entry in journal)
