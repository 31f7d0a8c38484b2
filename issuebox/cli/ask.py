"""The commands that ask an issue's workflow for something: ensure, start, stop, delete, replace, retry.

Each sends one message to the workflow, which decides. The commands import Temporal's SDK, so that `--help` is quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from issuebox.cli.command_line import DATA, AsJson, Data, Exit, IssueName, Yes, confirm, run

if TYPE_CHECKING:
    from issuebox.domain.issue import Issue
    from issuebox.temporal.issues import Caller, Issues

WAIT_MAX_S = 3600.0

Repository = Annotated[str, typer.Option("--repo", help="Repository (owner/name) of an issue that is not known yet.")]
Number = Annotated[int, typer.Option(min=0, help="Number of an issue that is not known yet.")]
Title = Annotated[str, typer.Option(help="Title of an issue that is not known yet.")]
Wait = Annotated[float, typer.Option(min=0, max=WAIT_MAX_S, help="Seconds to wait for the sandbox.")]


def ensure(
    issue: IssueName,
    *,
    wait: Wait = 60.0,
    repo: Repository = "",
    number: Number = 0,
    title: Title = "",
    as_json: AsJson = False,
    data: Data = DATA,
) -> None:
    """Ask for the issue's sandbox, and wait until it can be used.

    It is created or started unless it runs already.
    """

    async def work(issues: Issues) -> Exit:

        from issuebox.cli.cards import handover_card  # noqa: PLC0415
        from issuebox.cli.screen import show, show_json, waiting  # noqa: PLC0415
        from issuebox.domain.phase import READY  # noqa: PLC0415
        from workflows.messages import Handover  # noqa: PLC0415

        wanted = await wanted_issue(issues, issue, repo, number, title)
        with waiting(f"Waiting for {issues.name(wanted.id)}"):
            handover = await issues.ensure(wanted, wait, caller())
        if as_json:
            show_json(Handover, handover)
        else:
            show(handover_card(handover, wait))
        return Exit.DONE if handover.outcome in READY else Exit.NO

    run(data, work)


def start(
    issue: IssueName,
    *,
    repo: Repository = "",
    number: Number = 0,
    title: Title = "",
    as_json: AsJson = False,
    data: Data = DATA,
) -> None:
    """Ask for the issue's sandbox, and do not wait for it.

    The request is stored when this returns.
    """

    async def work(issues: Issues) -> Exit:

        wanted = await wanted_issue(issues, issue, repo, number, title)
        await issues.request(wanted, caller())
        _say(issues, wanted.id, "start", "to run its sandbox", as_json=as_json)
        return Exit.DONE

    run(data, work)


def stop(issue: IssueName, *, as_json: AsJson = False, data: Data = DATA) -> None:
    """Stop the issue's sandbox, until somebody asks for it again."""
    _signal(data, issue, "stop", "to stop its sandbox", as_json=as_json)


def delete(
    issue: IssueName,
    *,
    force: Annotated[bool, typer.Option("--force", help="Delete it even if that loses unsaved work.")] = False,
    yes: Yes = False,
    as_json: AsJson = False,
    data: Data = DATA,
) -> None:
    """Delete the issue's sandbox, unless it has unsaved work.

    Without --force, one with unsaved work is kept, and the issue is blocked.
    """
    if force:
        confirm(f"Delete the sandbox of {issue} with all unsaved work in it?", yes=yes)
    doing = "to delete its sandbox" + (" with everything in it" if force else "")
    _signal(data, issue, "delete", doing, is_forced=force, as_json=as_json)


def replace(issue: IssueName, *, yes: Yes = False, as_json: AsJson = False, data: Data = DATA) -> None:
    """Delete the issue's sandbox and all in it, and create a new one."""
    confirm(f"Delete the sandbox of {issue} with all unsaved work in it, and create a new one?", yes=yes)
    _signal(data, issue, "replace", "to replace its sandbox with a new one", as_json=as_json)


def retry(issue: IssueName, *, as_json: AsJson = False, data: Data = DATA) -> None:
    """Retry a blocked issue now.

    If the issue is not blocked, its sandbox is looked up again.
    """
    _signal(data, issue, "retry", "to try again", as_json=as_json)


def _signal(data: Path, issue: str, asked: str, doing: str, *, is_forced: bool | None = None, as_json: bool) -> None:
    """Send the signal that `asked` names, a delete with its argument, and print that it was sent."""

    async def work(issues: Issues) -> Exit:
        from issuebox.cli.issue_names import resolve  # noqa: PLC0415
        from workflows import messages  # noqa: PLC0415

        names = {
            "stop": messages.SIGNAL_STOP,
            "delete": messages.SIGNAL_DELETE,
            "replace": messages.SIGNAL_REPLACE,
            "retry": messages.SIGNAL_RETRY,
        }
        args = [] if is_forced is None else [messages.DeleteRequest(force=is_forced)]
        issue_id = await resolve(issues, issue)
        await issues.order(issue_id, names[asked], *args)
        _say(issues, issue_id, asked, doing, as_json=as_json)
        return Exit.DONE

    run(data, work)


async def wanted_issue(issues: Issues, text: str, repository: str, number: int, title: str) -> Issue:
    """The issue as the options describe it, by its global ID."""
    from issuebox.cli.issue_names import resolve  # noqa: PLC0415
    from issuebox.domain.issue import Issue  # noqa: PLC0415

    issue_id = await resolve(issues, text)
    return Issue(issue_id, repository, number, title)


def _say(issues: Issues, issue_id: int, asked: str, doing: str, *, as_json: bool) -> None:
    from rich.text import Text  # noqa: PLC0415

    from issuebox.cli.screen import Asked, show, show_json  # noqa: PLC0415

    name = issues.name(issue_id)
    if as_json:
        show_json(Asked, Asked(issue_id, name, asked))
    else:
        show(Text(f"{name} was asked {doing}. Follow it with: issuebox show {issue_id}"))


def caller() -> Caller:
    """The command line, as decisions and requests name it."""
    from issuebox.temporal.issues import Caller  # noqa: PLC0415

    return Caller("cli", "the command line")
