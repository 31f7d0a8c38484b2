"""Renders what people see of runs: a receipt, one run, an issue's runs, all that are under way. Sends no request."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.text import Text

from issuebox.cli.cards import TABLE_WIDTH_MIN, IssueList, age, columns, place
from issuebox.cli.screen import fields_table, plain, when
from issuebox.domain.run_pause import Pause
from workflows.run_messages import RunReceipt, RunState, RunsView, RunView

NONE_YET = "Nobody has asked the agent of this issue for work yet. `issuebox run ISSUE --prompt TEXT` does."
NONE_AT_WORK = "No agent works, and no request waits."

_SHOWN_MAX = 20


def receipt_card(receipt: RunReceipt, issue_id: int) -> RenderableType:
    """What became of a request, and how to follow it."""
    said = {
        "waiting": f"The request waits, at place {receipt.place}.",
        "given": f"The request is served by run {receipt.run}.",
        "over": f"The request was served by run {receipt.run}, which is over.",
        "refused": "The request was refused.",
    }
    rows = [("Request", receipt.key), ("Reason", receipt.reason), ("Next", receipt.next_step)]
    follow = Text(f"Follow it with: issuebox runs {issue_id}, or: issuebox logs -f {issue_id}")
    return Group(Text(said.get(receipt.state, receipt.state), style="bold"), fields_table(rows), follow)


def run_card(run: RunView) -> RenderableType:
    """One run, with what it came to."""
    style = {RunState.DONE: "bold green", RunState.WORKING: "bold", RunState.WAITING: "bold"}.get(run.state, "bold red")
    return Group(Text(f"Run {run.id} is {words(run.state)}.", style=style), fields_table(run_fields(run)))


def run_fields(run: RunView) -> list[tuple[str, str]]:
    """What people want to know of a run, the most important first."""
    return [
        ("Progress", run.progress if run.state is RunState.WORKING else ""),
        ("Summary", run.summary),
        ("Reason", run.reason),
        ("Trouble", run.trouble),
        ("Next", run.next_step),
        ("Pull request", run.pull_request),
        ("Branch", run.branch),
        ("Exit code", "" if run.exit_code is None else str(run.exit_code)),
        ("Attempt", str(run.attempt)),
        ("Asked", when(run.asked_at)),
        ("Begun", when(run.first_begun_at)),
        ("Ended", when(run.ended_at)),
        ("Cost", f"{run.cost_usd:.2f} USD, as the agent says" if run.cost_usd else ""),
        ("Output", f"{run.out_bytes:,} bytes" if run.out_bytes else ""),
        ("Requests", ", ".join(run.keys)),
        ("Session", run.session),
    ]


def runs_card(view: RunsView, issue_id: int, width: int) -> RenderableType:
    """The runs, the newest at the bottom, and the requests that no run serves."""
    if not view.runs and not view.receipts and view.pause is None:
        return Text(NONE_YET)
    now = datetime.now(UTC)
    parts: list[RenderableType] = [_runs(view.runs, width, now)] if view.runs else []
    others = [receipt for receipt in view.receipts if not receipt.run][-_SHOWN_MAX:]
    if others:
        parts.append(_requests(others, width))
    if view.pause is not None:
        parts += [Text(plain(paused(view.pause, issue_id)))]
    elif view.runs:
        parts += [Text(view.runs[-1].next_step)]
    if view.runs:
        parts += [Text(f"What it wrote: issuebox logs {issue_id}")]
    return Group(*parts)


def paused(pause: Pause, issue_id: int) -> str:
    """Who has paused the runs, since when and why, and how to let them go on."""
    return f"Paused {pause.words}. To let the agent go on: issuebox resume {issue_id}"


def under_way_card(found: IssueList) -> RenderableType:
    """The issues whose agent is not done."""
    if not found.issues:
        return Text(NONE_AT_WORK)
    table = columns(("issue", "id", "run", "sandbox", "title"))
    for row in found.issues:
        known = row.published
        table.add_row(Text(place(row)), str(row.issue_id), known.run, known.phase, Text(plain(known.title)))
    if not found.is_more:
        return table
    return Group(table, Text(f"These are the newest {len(found.issues)}; there are more: raise --limit."))


def words(state: str) -> str:
    """The state as people read it."""
    return state.replace("_", " ")


def _runs(runs: Sequence[RunView], width: int, now: datetime) -> RenderableType:
    if width < TABLE_WIDTH_MIN:
        lines = [
            [("Run", run.id), ("State", words(run.state)), ("Took", took(run, now)), ("What", _what(run))]
            for run in runs
        ]
        return Group(*(part for line in lines for part in (fields_table(line), Text())))
    table = columns(("run", "state", "attempt", "begun (UTC)", "took", "what"))
    for run in runs:
        begun = f"{run.first_begun_at:%Y-%m-%d %H:%M:%S}" if run.first_begun_at else ""
        table.add_row(run.id, words(run.state), str(run.attempt), begun, took(run, now), Text(plain(_what(run))))
    return table


def _requests(receipts: Sequence[RunReceipt], width: int) -> RenderableType:
    if width < TABLE_WIDTH_MIN:
        lines = [
            [("Request", each.key), ("State", _said(each)), ("By", each.author), ("Why", each.reason)]
            for each in receipts
        ]
        return Group(*(part for line in lines for part in (fields_table(line), Text())))
    table = columns(("request", "state", "by", "why"))
    for each in receipts:
        table.add_row(plain(each.key), _said(each), plain(each.author), Text(plain(each.reason)))
    return table


def _said(receipt: RunReceipt) -> str:
    return f"{receipt.state}, place {receipt.place}" if receipt.place else receipt.state


def _what(run: RunView) -> str:
    """The one sentence about a run that says most."""
    if run.state is RunState.WORKING:
        return run.progress
    return run.summary if run.state is RunState.DONE else run.reason or run.trouble or run.summary


def took(run: RunView, now: datetime) -> str:
    """From the beginning of the first attempt to the end, or until now."""
    return age(run.ended_at or now, run.first_begun_at) if run.first_begun_at else ""
