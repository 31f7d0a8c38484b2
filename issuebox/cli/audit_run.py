"""Runs one audit for the command line: starts it, shows its progress, and puts its report into words.

Progress is read from the server (the pending activity and its heartbeat), so it is shown even when no worker
serves the task queue.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterable

from pydantic import TypeAdapter
from rich.console import Console, Group, RenderableType
from rich.text import Text
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import WorkflowExecutionDescription, WorkflowFailureError, WorkflowHandle

from issuebox.cli.screen import fields_table
from issuebox.domain.audit import Finding, Walked, joined
from issuebox.temporal.fairness import Urgency, priority_of
from issuebox.temporal.issues import Issues
from workflows.audit_messages import AUDIT_SUMMARY, AUDIT_TYPE, AuditInput, AuditReport

POLL_INTERVAL_S = 0.5
QUIET_MAX_S = 5.0
"""Without a terminal there is no progress line: after this time the command says once what it waits for."""

STEPS = {
    "read_audit_terms": "beginning",
    "divide_records": "counting the issues' workflows",
    "walk_sandboxes": "reading all managed sandboxes",
    "walk_records": "comparing the issues' workflows with their sandboxes",
    "walk_undestroyed": "listing deleted sandboxes that were not destroyed",
    "reread_suspects": "reading the suspects again",
    "mend_findings": "mending",
}
"""What the progress line says for each activity of the audit."""

_WALKED = TypeAdapter(Walked)


async def run_audit(issues: Issues, *, mend: bool | None) -> AuditReport:
    """Start an audit and return its report.

    Raises WorkflowFailureError when the audit fails, IssuesError when Temporal does not answer, and RPCError when
    Temporal goes away meanwhile; the audit then continues with nobody waiting for it.
    """
    task_queue = issues.task_queue
    async with issues.within():
        client = await issues.client()
        handle: WorkflowHandle[object, AuditReport] = await client.start_workflow(
            AUDIT_TYPE,
            AuditInput(mend=mend),
            id=f"issuebox-audit-{uuid.uuid4().hex[:12]}",
            task_queue=task_queue,
            static_summary=f"{AUDIT_SUMMARY}, by hand",
            priority=priority_of(Urgency.SWEEP),
            result_type=AuditReport,
        )
    result: asyncio.Task[AuditReport] = asyncio.create_task(handle.result())
    # Progress goes to standard error: standard output is for the report alone.
    console, began = Console(stderr=True), time.monotonic()
    is_quiet = not console.is_terminal
    try:
        with console.status("") as status:
            while not result.done():
                line = f"{handle.id}: {await progress(handle, task_queue)}"
                status.update(Text(line))
                if is_quiet and time.monotonic() - began > QUIET_MAX_S:
                    is_quiet = False
                    console.print(Text(f"issuebox: {line}"), soft_wrap=True)
                await asyncio.wait({result}, timeout=POLL_INTERVAL_S)
        return await result
    finally:
        result.cancel()


async def progress(handle: WorkflowHandle[object, AuditReport], task_queue: str) -> str:
    """How far the audit is, in a few words."""
    description = await handle.describe()
    pending = description.raw_description.pending_activities
    if pending:
        return await _steps(description, pending)
    if description.history_length <= 3:  # noqa: PLR2004 -- started, with a workflow task that no worker has taken
        return f"waiting for a worker on {task_queue!r}; `issuebox worker` starts one"
    return "waiting before suspects are read again"


async def _steps(description: WorkflowExecutionDescription, pending: Iterable[PendingActivityInfo]) -> str:
    """What the activities under way do; those that share a walk are one step."""
    sharing: dict[str, list[PendingActivityInfo]] = {}
    for each in pending:
        sharing.setdefault(each.activity_type.name, []).append(each)
    return "; ".join([await _step(description, name, parts) for name, parts in sharing.items()])


async def _step(description: WorkflowExecutionDescription, name: str, parts: list[PendingActivityInfo]) -> str:
    step = STEPS.get(name, name)
    walked = joined([await _walked(description, part) for part in parts])
    if walked.pages:
        step += f", {walked.rows} so far, {len(walked.suspects)} suspects"
    for part in parts:
        if part.attempt > 1:
            step += f" (attempt {part.attempt}: {part.last_failure.message or 'the worker was lost'})"
    return step


async def _walked(description: WorkflowExecutionDescription, pending: PendingActivityInfo) -> Walked:
    details = await description.data_converter.decode(pending.heartbeat_details.payloads)
    return _WALKED.validate_python(details[0]) if details and details[0] else Walked()


def failure_of(error: WorkflowFailureError) -> str:
    """The innermost cause: the activity's own error, not the statement that an activity failed."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return str(cause)


def findings_card(findings: Iterable[Finding]) -> RenderableType:
    """The findings, each with what to do about it. Names and IDs are not folded: people copy them."""
    return Group(*(_block(found) for found in findings))


def _block(found: Finding) -> RenderableType:
    rows = [
        ("Finding", str(found.kind)),
        ("Sandbox", found.name),
        ("Sandbox ID", found.sandbox_id),
        ("It is", found.seen),
        ("Mended", "yes" if found.mended else "no"),
        ("What to do", "" if found.mended else found.advice),
    ]
    return Group(fields_table(rows), Text())


def verdict(report: AuditReport) -> str:
    """The report in two lines, and one more for each count of issues that the operator should know of."""
    if report.promise_holds:
        first = "The promise holds."
    elif report.is_complete:
        first = "The promise is broken."
    elif report.ranges_unsettled:
        first = "The audit is not complete: workflows changed faster than Temporal could list them. Audit again."
    else:
        first = "There are too many suspects to read all of them again: mend what is found and audit again."
    sandboxes = f"{_counted(report.sandboxes, 'sandbox', 'sandboxes')} ({report.sandboxes_leaving} on their way out)"
    issues = f"{_counted(report.issues, 'issue')} ({report.issues_compared} with a sandbox)"
    findings = _counted(len(report.findings), "finding")
    found = f"{_counted(report.suspects, 'suspect')}, {findings}, {report.mended} of them mended"
    lines = [first, f"{sandboxes} and {issues} in {report.took_s:.0f} s: {found}."]
    if report.ranges_unsettled:
        lines.append(
            f"{report.ranges_unsettled} of the {report.ranges} parts in which the workflows were read may lack some: "
            "Temporal counted others than it listed."
        )
    if report.foreign:
        lines.append(
            f"{report.foreign} issues have another installation's sandbox under their name, and are left alone: "
            "`issuebox list --blocked` names those whose workflow has met it, and `issuebox why` "
            "the other installation."
        )
    if report.outdated:
        lines.append(
            f"{report.outdated} closed issues rested by timers of earlier settings: those that an audit with --mend "
            "finds are told of the present ones."
        )
    if report.undelivered:
        lines.append(
            f"The receiver of notices did not take the last one of {report.undelivered} issues within 3 days: see "
            "ISSUEBOX_NOTICE_URL, and `notice_failed` in the workers' log."
        )
    return "\n".join(lines)


def _counted(count: int, one: str, several: str = "") -> str:
    return f"{count} {one if count == 1 else several or f'{one}s'}"
