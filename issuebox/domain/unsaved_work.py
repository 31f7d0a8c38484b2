"""What may be lost with a sandbox: the verdict of an inspection of its repositories."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from issuebox.domain.phase import RUNS, Goal
from issuebox.domain.sandbox import Sandbox
from issuebox.domain.text import one_line

FINDINGS_MAX = 20
NAME_BYTES_MAX = 120
"""Limit on a path or a branch in a finding: whoever works in the sandbox may have named it."""
REASON_BYTES_MAX = 300
FINDING_BYTES_MAX = 400
"""Limit on a whole finding: a place, a detail, and our own words."""


class WorkState(StrEnum):
    """Whether a sandbox holds work that is nowhere else."""

    CLEAN = "clean"
    UNSAVED = "unsaved"
    UNCHECKED = "unchecked"


@dataclass(frozen=True, slots=True)
class Inspection:
    """The verdict and the findings behind it, one short line each. What could not be checked counts as unsaved.

    ``is_failed``: nothing was inspected, for a reason that may pass by itself.
    """

    state: WorkState
    findings: tuple[str, ...] = ()
    is_failed: bool = False

    def __post_init__(self) -> None:
        """Histories keep the findings and pages show them, so they are few and short, whoever reports them."""
        findings = tuple(one_line(finding, FINDING_BYTES_MAX) for finding in self.findings)
        object.__setattr__(self, "findings", _bounded(findings))

    @property
    def is_clean(self) -> bool:
        """Whether nothing would be lost, as far as git can tell."""
        return self.state is WorkState.CLEAN


SLACK = timedelta(seconds=60)
"""Activity within this time after our own stop counts as caused by the stop: Daytona records it seconds late."""


@dataclass(frozen=True, slots=True)
class LastInspection:
    """An inspection, and what decides how long its verdict counts.

    ``is_quiet``: the sandbox was started only for the inspection, so nobody worked in it between the inspection
    and the stop. ``stopped_at``: when it was seen stopped again; None until then.
    """

    result: Inspection
    sandbox_id: str
    is_quiet: bool = False
    stopped_at: datetime | None = None


def standing_verdict(
    last_inspection: LastInspection | None, sandbox: Sandbox | None, goal: Goal, *, is_fresh: bool
) -> WorkState | None:
    """The verdict on unsaved work that counts for the sandbox as it is now; None when an inspection is needed.

    `is_fresh`: the inspection belongs to the current reconciliation. An *unsaved* verdict counts until the sandbox is
    used again. A *clean* verdict counts for a delete only when the inspection was fresh and quiet: an agent that
    still works when its issue is closed may write after the inspection.
    """
    if last_inspection is None or sandbox is None or last_inspection.sandbox_id != sandbox.id:
        return None
    if sandbox.phase in RUNS:
        return last_inspection.result.state if is_fresh and last_inspection.stopped_at is None else None
    if last_inspection.stopped_at is None or _is_used_since(sandbox, last_inspection.stopped_at):
        return None
    if last_inspection.result.is_failed and not is_fresh:
        return None
    if last_inspection.result.is_clean and goal is Goal.DELETED and not (is_fresh and last_inspection.is_quiet):
        return None
    return last_inspection.result.state


def _is_used_since(sandbox: Sandbox, moment: datetime) -> bool:
    return sandbox.last_activity_at is not None and sandbox.last_activity_at > moment + SLACK


MARK = "issuebox\t"
"""Begins each line of the report. What a shell prints at its start lacks this mark and is skipped."""

_RECORD = re.compile(r"issuebox\t(?P<kind>[a-z]+)\t(?P<count>\d{1,9})\t(?P<place>[^\t]*)\t(?P<detail>[^\t]*)")
_END = "end"
_REPOSITORY = "repository"

UNSAVED: Mapping[str, tuple[str, str]] = {
    # kind of record: the finding for one, the finding for several
    "uncommitted": ("{place}: 1 uncommitted file", "{place}: {count} uncommitted files"),
    "stashed": ("{place}: 1 stash", "{place}: {count} stashes"),
    "unpushed": ("{place}: 1 commit on {detail} not pushed", "{place}: {count} commits on {detail} not pushed"),
    "detached": ("{place}: 1 commit on no branch not pushed", "{place}: {count} commits on no branch not pushed"),
    "homeless": ("{place}: 1 commit and no remote", "{place}: {count} commits and no remote"),
    "busy": ("{place}: a {detail} in progress", "{place}: a {detail} in progress"),
}
"""Each kind of work that would be lost."""

UNCHECKED: Mapping[str, tuple[str, str]] = {"unchecked": ("{place}: {detail}", "{place}: {detail}")}

_SENTENCES = {**UNSAVED, **UNCHECKED}


def unchecked(reason: str, findings: Iterable[str] = ()) -> Inspection:
    """The verdict when the work could not be checked, with the reason first."""
    return Inspection(WorkState.UNCHECKED, (one_line(reason, REASON_BYTES_MAX), *findings))


def read_report(output: str, exit_code: int | None, places: str) -> Inspection:
    """The verdict of an inspection whose script ended with this exit code; None when it was killed.

    `places` names the inspected paths. Clean only when the report is whole, every line was understood and none
    reports work.
    """
    records, problem = _records(output)
    kinds = {record["kind"] for record in records}
    findings = tuple(dict.fromkeys(_sentence(record) for record in records if record["kind"] in _SENTENCES))
    if exit_code is None:
        problem = "the inspection of the sandbox did not end in time"
    elif exit_code != 0:
        problem = f"the inspection of the sandbox ended with exit code {exit_code}"
    if kinds & set(UNSAVED):
        return Inspection(WorkState.UNSAVED, (*findings, problem) if problem else findings)
    if problem:
        return unchecked(problem, findings)
    if kinds & set(UNCHECKED):
        return Inspection(WorkState.UNCHECKED, findings)
    return Inspection(WorkState.CLEAN, () if _REPOSITORY in kinds else (f"no git repository under {places}",))


def _records(output: str) -> tuple[list[re.Match[str]], str]:
    """The records of a report, and the problem with it, '' for none."""
    lines = [line for line in output.split("\n") if line.startswith(MARK)]
    records = [match for line in lines if (match := _RECORD.fullmatch(line))]
    if len(records) < len(lines) or any(record["kind"] not in _KINDS for record in records):
        return records, "the inspection of the sandbox gave an unreadable report"
    if not records or records[-1]["kind"] != _END:
        return records, "the inspection of the sandbox gave an incomplete report"
    return records, ""


_KINDS = frozenset(_SENTENCES) | {_END, _REPOSITORY}


def _sentence(record: re.Match[str]) -> str:
    one, several = _SENTENCES[record["kind"]]
    place, detail = (one_line(record[name], NAME_BYTES_MAX) for name in ("place", "detail"))
    return (one if int(record["count"]) == 1 else several).format(
        place=place, count=int(record["count"]), detail=detail
    )


def _bounded(findings: tuple[str, ...]) -> tuple[str, ...]:
    """At most FINDINGS_MAX findings: histories keep them and pages show them."""
    if len(findings) <= FINDINGS_MAX:
        return findings
    return (*findings[: FINDINGS_MAX - 1], f"and {len(findings) - FINDINGS_MAX + 1} more")
