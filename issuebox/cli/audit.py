"""The command line of `issuebox audit`: starts an audit, shows how far it is, prints what it found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from issuebox.cli.command_line import DATA, AsJson, Data, Exit, fail, run

if TYPE_CHECKING:
    from issuebox.temporal.issues import Issues


def audit(
    *,
    mend: Annotated[
        bool | None, typer.Option("--mend/--no-mend", help="Mend what cannot lose work; else the workers' setting.")
    ] = None,
    as_json: AsJson = False,
    data: Data = DATA,
) -> None:
    """Walk all managed sandboxes and say whether each issue has exactly one. Needs a running worker.

    The answer is no when findings are left, and when the audit could not be finished.
    """

    async def work(issues: Issues) -> Exit:
        from temporalio.client import WorkflowFailureError  # noqa: PLC0415

        from issuebox.cli import screen  # noqa: PLC0415
        from issuebox.cli.audit_run import failure_of, findings_table, run_audit, verdict  # noqa: PLC0415
        from workflows.audit_messages import AuditReport  # noqa: PLC0415

        try:
            report = await run_audit(issues, mend=mend)
        except WorkflowFailureError as error:
            fail(f"the audit could not be finished: {failure_of(error)}", Exit.NO)
        if as_json:
            screen.show_json(AuditReport, report)
        else:
            if report.findings:
                screen.show(findings_table(report.findings))
            screen.show(verdict(report))
        return Exit.DONE if report.promise_holds else Exit.NO

    run(data, work)
