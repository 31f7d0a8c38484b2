"""`AuditWorkflow`: does the promise hold? It walks all managed sandboxes and all running issue workflows.

The walks raise suspicions; several activities share the one over the workflows. The audit waits for longer than any
cache at Daytona lives, then reads each suspect again by ID, twice. A suspicion that both reads confirm is a finding.
Findings that can be mended without risk are mended and read once more: only that read shows whether the mending helped.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from temporalio import workflow
from temporalio.exceptions import ActivityError

from activities.audit import AuditActivities
from activities.audit_messages import Findings, Shard, Suspects
from issuebox.domain.audit import Finding, Mend, Suspect, Walked, joined, promise_holds
from issuebox.domain.name_ranges import divided
from issuebox.domain.text import as_markdown
from workflows import options
from workflows.audit_messages import AUDIT_TYPE, AuditInput, AuditReport
from workflows.failures import read_failure

RECHECKS = (1.0, 0.2)
"""The pauses before the suspects are read again, as shares of `recheck_s`: 75 s, which no cached answer outlives,
and 15 s, which the false *not found* of a Daytona without its database does not outlive."""


SHOWN_MAX = 20
"""Findings in the Web UI's current details; the result of the workflow has all."""


SHARDS = 4
"""Activities that compare workflows with their sandboxes at once, on any workers. More would read no faster: each waits
for its part of the audit's share of Daytona's limit."""


class Walks(NamedTuple):
    """What the walks found."""

    sandboxes: Walked
    records: Walked
    undestroyed: Walked


@workflow.defn(name=AUDIT_TYPE)
class AuditWorkflow:
    """One audit, from the first page to the report."""

    @workflow.run
    async def run(self, request: AuditInput) -> AuditReport:
        """The report. Fails when Daytona refuses our key, or cannot be read for hours."""
        began_at = workflow.now()
        terms = await workflow.execute_local_activity_method(
            AuditActivities.read_audit_terms, start_to_close_timeout=options.LOCAL_TIMEOUT
        )
        mends = terms.mends if request.mend is None else request.mend
        walks = await _walk(mends=mends)
        findings = await _confirm(tuple(suspect for walk in walks for suspect in walk.suspects), terms.recheck_s)
        if mends:
            findings = await _mend(findings, terms.recheck_s)
        report = _report(began_at, walks, findings)
        _log(report)
        _show(_sentence(report))
        return report


async def _walk(*, mends: bool) -> Walks:
    """The walks over all there is: over Daytona's lists, and beside that over the workflows."""
    _show("Reading all managed sandboxes at Daytona, and comparing the issues' workflows with their sandboxes.")
    (sandboxes, undestroyed), records = await asyncio.gather(_walk_lists(), _walk_records(mends=mends))
    return Walks(sandboxes, records, undestroyed)


async def _walk_lists() -> tuple[Walked, Walked]:
    """A list has 200 sandboxes to a request: one activity keeps up with many that read by ID."""
    within = options.sweep(options.WALK_TIMEOUT)
    sandboxes = await workflow.execute_activity_method(
        AuditActivities.walk_sandboxes, **within, summary="all managed sandboxes"
    )
    undestroyed = await workflow.execute_activity_method(
        AuditActivities.walk_undestroyed, **within, summary="deleted sandboxes that were not destroyed"
    )
    return sandboxes, undestroyed


async def _walk_records(*, mends: bool) -> Walked:
    """The walk over the workflows, in shards at once. Each takes an equal part of what the audit may read."""
    within = options.sweep(options.WALK_TIMEOUT)
    ranges = await workflow.execute_activity_method(
        AuditActivities.divide_records, **within, summary="ranges of the workflows' names"
    )
    shards = divided(ranges.bounds, SHARDS)
    walks = [
        workflow.execute_activity_method(
            AuditActivities.walk_records,
            Shard(bounds, at_once=len(shards), mends=mends),
            **within,
            summary=f"workflows, part {number} of {len(shards)}",
        )
        for number, bounds in enumerate(shards, 1)
    ]
    return joined(await asyncio.gather(*walks))


async def _confirm(suspects: tuple[Suspect, ...], recheck_s: float) -> tuple[Finding, ...]:
    """The suspects that every reread confirms."""
    findings: tuple[Finding, ...] = ()
    for share in RECHECKS:
        if not suspects:
            return ()
        findings = await _reread_again(suspects, recheck_s * share)
        suspects = tuple(finding.suspect for finding in findings)
    return findings


async def _reread_again(
    suspects: tuple[Suspect, ...], after_s: float, *, are_mended: bool = False
) -> tuple[Finding, ...]:
    _show(f"Reading {len(suspects)} suspects again in {after_s:g} s.")
    await workflow.sleep(after_s, summary="before suspects are read again")
    reply = await workflow.execute_activity_method(
        AuditActivities.reread_suspects,
        Suspects(suspects, are_mended),
        **options.sweep(options.REREAD_TIMEOUT),
        summary=f"{len(suspects)} suspects",
    )
    return reply.findings


async def _mend(findings: tuple[Finding, ...], recheck_s: float) -> tuple[Finding, ...]:
    """The findings; those that no longer hold after mending are marked."""
    mendable = tuple(finding for finding in findings if finding.mend is not Mend.NOTHING)
    if not mendable:
        return findings
    _show(f"Mending {len(mendable)} of {len(findings)} findings.")
    try:
        await workflow.execute_activity_method(
            AuditActivities.mend_findings,
            Findings(mendable),
            **options.sweep(options.MEND_TIMEOUT),
            summary=f"{len(mendable)} findings",
        )
    except ActivityError as error:
        workflow.logger.warning("audit_mending_failed", extra={"reason": read_failure(error).reason})
    left = await _reread_again(tuple(finding.suspect for finding in mendable), recheck_s, are_mended=True)
    held = {finding.sandbox_id: finding for finding in left}
    mended = tuple(held.get(finding.sandbox_id) or replace(finding, mended=True) for finding in mendable)
    return (*(finding for finding in findings if finding not in mendable), *mended)


def _report(began_at: datetime, walks: Walks, findings: tuple[Finding, ...]) -> AuditReport:
    sandboxes, records, _ = walks
    is_complete = all(walk.is_complete for walk in walks)
    return AuditReport(
        promise_holds=promise_holds(findings, is_complete=is_complete),
        began_at=began_at,
        took_s=(workflow.now() - began_at).total_seconds(),
        sandboxes=sandboxes.rows,
        sandboxes_leaving=sandboxes.passed,
        issues=records.rows,
        issues_compared=records.rows - records.passed,
        suspects=sum(len(walk.suspects) for walk in walks),
        mended=sum(finding.mended for finding in findings),
        is_complete=is_complete,
        findings=findings,
        foreign=records.foreign,
        outdated=records.outdated,
        undelivered=records.undelivered,
        ranges=records.pages,
        ranges_unsettled=records.unsettled,
    )


def _log(report: AuditReport) -> None:
    for finding in report.findings:
        workflow.logger.warning(
            "audit_finding",
            extra={
                "kind": str(finding.kind),
                "issue_id": finding.issue_id,
                "sandbox": finding.name,
                "sandbox_id": finding.sandbox_id,
                "seen": finding.seen,
                "mended": finding.mended,
            },
        )
    workflow.logger.info(
        "audit_done",
        extra={
            "promise_holds": report.promise_holds,
            "sandboxes": report.sandboxes,
            "issues": report.issues,
            "suspects": report.suspects,
            "findings": len(report.findings),
            "mended": report.mended,
            "foreign": report.foreign,
            "outdated": report.outdated,
            "undelivered": report.undelivered,
            "is_complete": report.is_complete,
            "ranges_unsettled": report.ranges_unsettled,
            "took_s": round(report.took_s, 1),
        },
    )


def _show(doing: str) -> None:
    """Show in the Web UI what the audit does."""
    workflow.set_current_details(doing)


def _sentence(report: AuditReport) -> str:
    """The report for the Web UI, in Markdown."""
    verdict = "The promise holds" if report.promise_holds else "**The promise is broken, or not proven**"
    counts = f"{report.sandboxes} sandboxes, {report.issues} issues, {len(report.findings)} findings"
    if report.outdated:
        counts = f"{report.outdated} closed issues went by timers of earlier settings; {counts}"
    if report.undelivered:
        counts = f"{report.undelivered} issues have a notice that its receiver did not take; {counts}"
    if report.ranges_unsettled:
        counts = f"{report.ranges_unsettled} of {report.ranges} parts of the workflows may lack some; {counts}"
    if report.foreign:
        counts = f"{report.foreign} issues have another installation's sandbox; {counts}"
    shown = report.findings[:SHOWN_MAX]
    lines = [f"- {found.kind}: {as_markdown(f'{found.name} ({found.sandbox_id}) is {found.seen}')}" for found in shown]
    return "\n".join([f"{verdict}: {counts}, {report.mended} of them mended.", *lines])
