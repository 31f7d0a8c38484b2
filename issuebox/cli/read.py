"""The commands that read: list, show, why, queue. They change nothing and do not call Daytona."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from issuebox.cli.command_line import DATA, AsJson, Data, Exit, IssueName, interruptible, run
from issuebox.domain.issue import IssueState
from issuebox.domain.phase import Cause, Phase

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from issuebox.cli.cards import IssueList
    from issuebox.temporal.index import Index, Row
    from issuebox.temporal.issues import Issues

LIMIT_MAX = 100_000


def list_issues(
    *,
    repo: Annotated[str, typer.Option(help="Only issues of this repository, owner/name.")] = "",
    phase: Annotated[
        Phase | None, typer.Option(metavar="PHASE", help=f"Only sandboxes in this phase: {', '.join(Phase)}.")
    ] = None,
    state: Annotated[str, typer.Option(help="Only sandboxes in this state of Daytona, such as started.")] = "",
    issue_state: Annotated[
        IssueState | None, typer.Option(metavar="STATE", help=f"Only issues in this state: {', '.join(IssueState)}.")
    ] = None,
    blocked: Annotated[bool, typer.Option("--blocked", help="Only issues that are blocked or stuck.")] = False,
    ended: Annotated[
        bool, typer.Option("--ended", help="List instead the issues whose workflow has ended, and what they were last.")
    ] = False,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=LIMIT_MAX, help="List at most this many.")] = 50,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="List again when something changes, until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
    data: Data = DATA,
) -> None:
    """List the issues and their sandboxes, newest first.

    Temporal's index lags by a moment; `show` is exact. With --watch, a pipe gets the list again at each change, under
    a line with the time; with --json as well, one document to a line.
    """

    def fits(row: Row) -> bool:
        known = row.published
        return (
            (not repo or known.repository.casefold() == repo.casefold())
            and (phase is None or known.phase == phase)
            and (not state or known.state == state)
            and (issue_state is None or known.issue_state == issue_state)
            and (not blocked or bool(row.stuck) or known.blocked not in {"", Cause.QUEUED})
        )

    async def work(issues: Issues) -> Exit:
        from issuebox.cli.cards import IssueList  # noqa: PLC0415
        from issuebox.temporal.index import Index  # noqa: PLC0415

        index = Index(issues)
        is_filtered = bool(repo or phase or state or issue_state or blocked or ended)

        async def read() -> IssueList:
            # One more than is wanted says whether there are more.
            page_size = None if is_filtered else limit + 1
            rows, is_more = await first(_ended(index) if ended else running(index, page_size), fits, limit)
            return IssueList(tuple(rows), is_more, is_filtered)

        if watch:
            from issuebox.cli.watch import watched  # noqa: PLC0415

            await watched(read, as_json=as_json)
        _show_list(await read(), as_json=as_json)
        return Exit.DONE

    with interruptible():
        run(data, work)


def show(issue: IssueName, *, as_json: AsJson = False, data: Data = DATA) -> None:
    """Show what is known of an issue and its sandbox.

    That is the sandbox's state and address, the goal, what is done now, and what blocks the issue.
    """

    async def work(issues: Issues) -> Exit:
        from datetime import UTC, datetime  # noqa: PLC0415

        from issuebox.cli import screen  # noqa: PLC0415
        from issuebox.cli.cards import status_card  # noqa: PLC0415
        from issuebox.cli.issue_names import resolve  # noqa: PLC0415
        from workflows.messages import QUERY_STATUS, Status  # noqa: PLC0415

        issue_id = await resolve(issues, issue)
        status = await issues.query(issue_id, QUERY_STATUS, Status)
        if as_json:
            screen.show_json(Status, status)
        else:
            screen.show(status_card(status, datetime.now(UTC)))
        return Exit.DONE

    run(data, work)


def why(issue: IssueName, *, as_json: AsJson = False, data: Data = DATA) -> None:
    """Explain the state of the issue's sandbox.

    The last decisions are listed, the latest at the bottom.
    """

    async def work(issues: Issues) -> Exit:
        from issuebox.cli import screen  # noqa: PLC0415
        from issuebox.cli.cards import why_card  # noqa: PLC0415
        from issuebox.cli.issue_names import resolve  # noqa: PLC0415
        from workflows.messages import QUERY_WHY, Why  # noqa: PLC0415

        issue_id = await resolve(issues, issue)
        answer = await issues.query(issue_id, QUERY_WHY, Why)
        if as_json:
            screen.show_json(Why, answer)
        else:
            screen.show(why_card(answer, screen.console().width))
        return Exit.DONE

    run(data, work)


def queue(*, as_json: AsJson = False, data: Data = DATA) -> None:
    """Show who waits for a slot, in order, and what for.

    A slot lets one sandbox of the installation run, or one run work. The caps and Daytona's quota limit them.
    """

    async def work(issues: Issues) -> Exit:
        from datetime import UTC, datetime  # noqa: PLC0415

        from issuebox.cli import screen  # noqa: PLC0415
        from issuebox.cli.queue_card import queue_card  # noqa: PLC0415
        from issuebox.temporal.queue import Queues, read_queues  # noqa: PLC0415

        found = await read_queues(issues)
        if as_json:
            screen.show_json(Queues, found)
        else:
            screen.show(queue_card(found, screen.console().width, datetime.now(UTC)))
        return Exit.DONE

    run(data, work)


async def first(found: AsyncIterator[Row], fits: Callable[[Row], bool], limit: int) -> tuple[list[Row], bool]:
    """The newest issues that fit, and whether there are more.

    The filter runs here, not in Temporal, on what the workflows published: that exists even without search
    attributes, and for workflows that are older than them.
    """
    rows: list[Row] = []
    async for row in found:
        if fits(row):
            if len(rows) == limit:
                return rows, True
            rows.append(row)
    return rows, False


async def running(index: Index, page_size: int | None = None) -> AsyncIterator[Row]:
    """All issues with a running workflow, the newest first."""
    from issuebox.temporal.index import PAGE_SIZE, RUNNING  # noqa: PLC0415

    size = PAGE_SIZE if page_size is None else min(page_size, PAGE_SIZE)
    async for row in index.running(RUNNING, size=size, is_examined=True):
        if row.issue_id:
            yield row


async def _ended(index: Index) -> AsyncIterator[Row]:
    """The newest workflow run of each issue that has none running. Older runs of an issue are history."""
    from issuebox.temporal.runs import ENDED  # noqa: PLC0415

    known = set()
    async for row in index.rows(ENDED):
        if row.name in known:
            continue
        known.add(row.name)
        newest = await index.describe(row.name)
        if newest is not None and newest.ended is not None:
            yield newest


def _show_list(found: IssueList, *, as_json: bool) -> None:
    from issuebox.cli import screen  # noqa: PLC0415
    from issuebox.cli.cards import IssueList, list_card  # noqa: PLC0415

    if as_json:
        screen.show_json(IssueList, found)
    else:
        screen.show(list_card(found, screen.console().width))
