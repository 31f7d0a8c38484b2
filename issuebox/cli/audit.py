"""The command line of `issuebox audit`: starts an audit, shows its progress, prints its findings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from issuebox.cli.command_line import DATA, AsJson, Data, Exit, fail, run

if TYPE_CHECKING:
    from issuebox.temporal.issues import Issues


def audit(
    *,
    mend: Annotated[
        bool | None,
        typer.Option("--mend/--no-mend", help="Mend findings when no work can be lost. Default: the workers' setting."),
    ] = None,
    as_json: AsJson = False,
    data: Data = DATA,
) -> None:
    """Check that each issue has exactly one sandbox.

    All managed sandboxes are read, which needs a running worker.

    The exit code is 1 when findings are left or the audit could not be finished.
    """

    async def work(issues: Issues) -> Exit:
        from temporalio.client import WorkflowFailureError  # noqa: PLC0415

        from issuebox.cli import screen  # noqa: PLC0415
        from issuebox.cli.audit_run import failure_of, findings_card, run_audit, verdict  # noqa: PLC0415
        from workflows.audit_messages import AuditReport  # noqa: PLC0415

        try:
            report = await run_audit(issues, mend=mend)
        except WorkflowFailureError as error:
            fail(f"the audit could not be finished: {failure_of(error)}", Exit.NO)
        if as_json:
            screen.show_json(AuditReport, report)
        else:
            if report.findings:
                screen.show(findings_card(report.findings))
            screen.show(verdict(report))
        return Exit.DONE if report.promise_holds else Exit.NO

    run(data, work)
