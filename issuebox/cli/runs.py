"""The commands about the agent's work: run, runs, pause, resume, cancel, logs.

All but `runs` and `logs` send one message to the issue's workflow, which decides. `logs` reads the copies that the
workers make, and nothing inside a sandbox.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from issuebox.cli.ask import Number, Repository, Title, caller, wanted_issue
from issuebox.cli.command_line import DATA, AsJson, Data, Exit, IssueName, fail, interruptible, load_or_fail, run
from issuebox.run_logs import LogName, RunLogs, Stream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from issuebox.temporal.issues import Issues
    from workflows.run_messages import RunReceipt, RunsView, RunView

POLL_S = 1.0
"""How often a run that is followed is asked about."""
AWAY_MAX_S = 60.0
"""How long a command that follows a run puts up with nobody answering."""
READ_BYTES = 64 * 1024
LIMIT_MAX = 100_000

RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="Run, such as r-0123456789ab. Default: the newest.", show_default=False)
]

OptionalIssue = Annotated[
    str,
    typer.Argument(metavar="ISSUE", help="As for `show`. Default: all whose agent is not done.", show_default=False),
]


def run_agent(
    issue: IssueName,
    *,
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="What to do; - reads it from standard input.")],
    key: Annotated[str, typer.Option(help="The same key is the same request. Default: a new one.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run to its end.")] = False,
    repo: Repository = "",
    number: Number = 0,
    title: Title = "",
    as_json: AsJson = False,
    data: Data = DATA,
) -> None:
    """Ask the issue's agent for work.

    The request is stored when this returns, and what becomes of it is said. With --wait it ends with 0 when the work
    is done, and with 1 when it failed, was cancelled or cut off.
    """

    async def work(issues: Issues) -> Exit:
        from issuebox.cli.run_cards import receipt_card, run_card  # noqa: PLC0415
        from issuebox.cli.screen import show, show_json, waiting  # noqa: PLC0415
        from workflows.run_messages import RunReceipt, RunState, RunView  # noqa: PLC0415

        wanted = await wanted_issue(issues, issue, repo, number, title)
        receipt = await issues.run(wanted, _prompt(prompt), caller(), key=_key(key))
        if not wait:
            if as_json:
                show_json(RunReceipt, receipt)
            else:
                show(receipt_card(receipt, wanted.id))
            return Exit.DONE
        with waiting(f"Waiting for the agent of {issues.name(wanted.id)}"):
            ended = await _ended(issues, wanted.id, receipt)
        if isinstance(ended, RunView):
            if as_json:
                show_json(RunView, ended)
            else:
                show(run_card(ended))
            return Exit.DONE if ended.state is RunState.DONE else Exit.NO
        if as_json:
            show_json(RunReceipt, ended)
        else:
            show(receipt_card(ended, wanted.id))
        return Exit.NO

    with interruptible():
        run(data, work)


def runs(
    issue: OptionalIssue = "",
    *,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=LIMIT_MAX, help="List at most this many issues.")] = 50,
    as_json: AsJson = False,
    data: Data = DATA,
) -> None:
    """List an issue's runs and what became of its requests; without ISSUE, the issues whose agent is not done.

    Temporal's index, from which the latter come, lags by a moment.
    """

    async def work(issues: Issues) -> Exit:
        from issuebox.cli import screen  # noqa: PLC0415
        from issuebox.cli.cards import IssueList  # noqa: PLC0415
        from issuebox.cli.issue_names import resolve  # noqa: PLC0415
        from issuebox.cli.read import first, running  # noqa: PLC0415
        from issuebox.cli.run_cards import runs_card, under_way_card  # noqa: PLC0415
        from issuebox.temporal.index import Index  # noqa: PLC0415
        from workflows.run_messages import UNDER_WAY, RunsView  # noqa: PLC0415

        if not issue:
            rows, is_more = await first(running(Index(issues)), lambda row: row.published.run in UNDER_WAY, limit)
            found = IssueList(tuple(rows), is_more, is_filtered=True)
            if as_json:
                screen.show_json(IssueList, found)
            else:
                screen.show(under_way_card(found))
            return Exit.DONE
        issue_id = await resolve(issues, issue)
        view = await issues.runs(issue_id)
        if as_json:
            screen.show_json(RunsView, view)
        else:
            screen.show(runs_card(view, issue_id, screen.console().width))
        return Exit.DONE

    run(data, work)


def pause(issue: IssueName, *, as_json: AsJson = False, data: Data = DATA) -> None:
    """Pause the issue's runs: the agent is interrupted, and nothing begins until `issuebox resume`.

    It has some seconds to end in order. Requests wait meanwhile, and the sandbox stays.
    """
    _order(
        issue,
        lambda issues, issue_id: issues.pause_runs(issue_id, caller()),
        "pause",
        "to pause its agent",
        as_json=as_json,
        data=data,
    )


def resume(issue: IssueName, *, as_json: AsJson = False, data: Data = DATA) -> None:
    """Let the issue's runs go on, where they are paused.

    The run goes on in the same conversation and directory; then the requests that wait are served.
    """
    _order(
        issue,
        lambda issues, issue_id: issues.resume_runs(issue_id, caller()),
        "resume",
        "to let its agent go on",
        as_json=as_json,
        data=data,
    )


def cancel(issue: IssueName, run_name: RunName = "", *, as_json: AsJson = False, data: Data = DATA) -> None:
    """Cancel a run; without RUN, the one that is not over and all requests that wait.

    The agent is interrupted, and has some seconds to end in order. The sandbox stays.
    """
    what = f"run {run_name}" if run_name else "whatever its agent does and is to do"
    _order(
        issue,
        lambda issues, issue_id: issues.cancel_run(issue_id, run_name),
        "cancel",
        f"to cancel {what}",
        as_json=as_json,
        data=data,
    )


def _order(
    issue: str,
    give: Callable[[Issues, int], Awaitable[None]],
    word: str,
    purpose: str,
    *,
    as_json: bool,
    data: Path,
) -> None:
    """Give an order about the issue's runs, and say that it was asked for."""

    async def work(issues: Issues) -> Exit:
        from issuebox.cli.issue_names import resolve  # noqa: PLC0415

        issue_id = await resolve(issues, issue)
        await give(issues, issue_id)
        _say_asked(issues, issue_id, word, purpose, as_json=as_json)
        return Exit.DONE

    run(data, work)


def logs(
    issue: IssueName,
    run_name: RunName = "",
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run is over, or Ctrl-C.")] = False,
    data: Data = DATA,
) -> None:
    """Print what a run has written, all of its attempts in order.

    Standard error, of which the last part is kept, comes at the end of each attempt, on standard error. Secrets are
    replaced by asterisks. The copies are in ISSUEBOX_RUN_LOG_DIR, where the workers make them.
    """

    async def work(issues: Issues) -> Exit:
        from issuebox.cli.issue_names import resolve  # noqa: PLC0415

        kept = _logs(data)
        issue_id = await resolve(issues, issue)
        view = await _named(issues, issue_id, run_name, is_waited_for=follow)
        await _print(issues, kept, issue_id, view, is_followed=follow)
        return Exit.DONE

    with interruptible():
        run(data, work)


def _say_asked(issues: Issues, issue_id: int, asked: str, words: str, *, as_json: bool) -> None:
    """The order is stored, and how to follow it."""
    from rich.text import Text  # noqa: PLC0415

    from issuebox.cli import screen  # noqa: PLC0415

    name = issues.name(issue_id)
    if as_json:
        screen.show_json(screen.Asked, screen.Asked(issue_id, name, asked))
    else:
        screen.show(Text(f"{name} was asked {words}. Follow it with: issuebox runs {issue_id}"))


async def _named(issues: Issues, issue_id: int, run_name: str, *, is_waited_for: bool) -> RunView:
    """The run of this name. Without one the newest, which is waited for if that is wanted and a request waits."""
    import asyncio  # noqa: PLC0415

    from issuebox.temporal.issues import UnknownRunError  # noqa: PLC0415

    if run_name:
        return await issues.find_run(issue_id, run_name)
    read = _patiently if is_waited_for else type(issues).runs
    while not (view := await read(issues, issue_id)).runs:
        if not is_waited_for or not any(receipt.place for receipt in view.receipts):
            raise UnknownRunError(f"the agent of issue {issue_id} has not worked yet")
        await asyncio.sleep(POLL_S)
    return view.runs[-1]


async def _print(issues: Issues, kept: RunLogs, issue_id: int, view: RunView, *, is_followed: bool) -> None:
    """Print the copies of all attempts, and go on until the run is over if that is wanted."""
    import asyncio  # noqa: PLC0415

    attempt, offset = 0, 0
    while True:
        is_over = view.outcome is not None  # Before the copy is read: all of it was there then.
        known = [number for number in kept.attempts(issue_id, view.id) if number >= attempt]
        for number in known:
            if number != attempt:
                attempt, offset = number, 0
            offset = _pass_on(kept, LogName(issue_id, view.id, number), offset)
            if is_over or number != known[-1]:
                _pass_on_errors(kept, LogName(issue_id, view.id, number))
        if is_over or not is_followed:
            break
        await asyncio.sleep(POLL_S)
        seen = (await _patiently(issues, issue_id)).runs
        view = next((each for each in seen if each.id == view.id), view)
    if not attempt and (is_over or not is_followed):
        said = "nothing was copied" if is_over else "nothing is copied yet; -f waits for it"
        print(f"issuebox: {said}. Run {view.id} is {view.state}.", file=sys.stderr)  # noqa: T201


def _pass_on(kept: RunLogs, name: LogName, offset: int) -> int:
    """Print the copy from the offset on. Returns where it ends."""
    while part := kept.read(name, offset, READ_BYTES):
        sys.stdout.buffer.write(part)
        offset += len(part)
    sys.stdout.buffer.flush()
    return offset


def _pass_on_errors(kept: RunLogs, name: LogName) -> None:
    sys.stderr.buffer.write(kept.read(replace(name, stream=Stream.ERR), 0, READ_BYTES * 4))
    sys.stderr.buffer.flush()


def _logs(data: Path) -> RunLogs:
    """The copies: where the environment says, or those of the `issuebox dev` that is used here."""
    from issuebox.dev.dev_stack import DevStack  # noqa: PLC0415
    from issuebox.settings import ApiSettings  # noqa: PLC0415

    stack = None if os.environ.get("TEMPORAL_ADDRESS") else DevStack.lookup(data)
    directory = load_or_fail(ApiSettings).run_log_dir or (stack.run_log_dir if stack else "")
    if not directory:
        fail("no copies of what runs write are kept here: set ISSUEBOX_RUN_LOG_DIR, for the workers, too")
    return RunLogs(directory)


async def _patiently(issues: Issues, issue_id: int) -> RunsView:
    """The issue's runs. While a worker or Temporal restarts, ask again: the work goes on meanwhile."""
    import asyncio  # noqa: PLC0415

    from issuebox.temporal.issues import UnavailableError  # noqa: PLC0415

    deadline = asyncio.get_running_loop().time() + AWAY_MAX_S
    while True:
        try:
            return await issues.runs(issue_id)
        except UnavailableError:
            if asyncio.get_running_loop().time() >= deadline:
                raise
        await asyncio.sleep(POLL_S)


async def _ended(issues: Issues, issue_id: int, receipt: RunReceipt) -> RunView | RunReceipt:
    """The run that served the request, once it is over; the receipt of a request that no run will serve."""
    import asyncio  # noqa: PLC0415

    while True:
        view = await _patiently(issues, issue_id)
        receipt = _newest(view, receipt)
        served = next((each for each in view.runs if each.id == receipt.run and each.outcome is not None), None)
        if served is not None:
            return served
        if receipt.state == "refused":
            return receipt
        await asyncio.sleep(POLL_S)


def _newest(view: RunsView, receipt: RunReceipt) -> RunReceipt:
    return next((each for each in reversed(view.receipts) if each.key == receipt.key), receipt)


def _prompt(given: str) -> str:
    """The text, from standard input for -."""
    from issuebox.domain.run import TEXT_BYTES_MAX  # noqa: PLC0415

    text = sys.stdin.read(TEXT_BYTES_MAX + 1) if given == "-" else given
    if not text.strip():
        fail("the prompt is empty: give --prompt TEXT, or a text on standard input with --prompt -")
    if len(text.encode(errors="replace")) > TEXT_BYTES_MAX:
        fail(f"the prompt is too long: it has at most {TEXT_BYTES_MAX:,} bytes")
    return text


def _key(given: str) -> str:
    import re  # noqa: PLC0415

    if given and not re.fullmatch(r"[A-Za-z0-9_.:-]{1,100}", given):
        fail("a key has 1 to 100 letters, digits and _ . : -")
    return given
