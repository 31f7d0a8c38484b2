"""`issuebox queue`, and what the other commands say of an issue that waits in it."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from issuebox.cli.queue_card import ORDER, queue_card
from issuebox.domain.gate import Caps
from issuebox.domain.phase import Outcome
from issuebox.domain.slot import Kind, Limit
from issuebox.temporal.queue import queues_of
from tests.cli.conftest import Run, issue_in
from tests.cli.test_reading import visible
from tests.waiting import until
from tests.workflow.conftest import Stack, Started
from workflows.gate_messages import GateView, SlotView

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
WORDS = "waiting until fewer sandboxes run in the installation"


def slot(number: int, limit: Limit | None = None, minutes: int = 0, repository: str = "octo/repo") -> SlotView:
    return SlotView(f"claude-issue-{number}", NOW - timedelta(minutes=minutes), repository, limit)


def shown(views: dict[Kind, GateView], width: int = 120) -> str:
    """What is printed, without what fills the lines."""
    out = io.StringIO()
    Console(file=out, width=width).print(queue_card(queues_of(views, "claude-issue-"), width, NOW))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


WORKING = tuple(map(slot, range(1, 12)))
WAITING = (
    slot(3141592653, Limit.TOTAL, 4),
    slot(2718281828, Limit.RESERVE, 1, "octo/other"),
    slot(5, Limit.AUTHOR, 180),
)


def test_table_says_who_waits_how_long_and_until_what() -> None:
    """A reader who sees it for the first time learns what a place means, and why more run than may."""
    views = {Kind.SANDBOX: GateView(Caps(10, 3, 2, 2), WORKING, WAITING), Kind.RUN: GateView(Caps(4), WORKING[:1])}
    assert shown(views, 220) == (
        "Sandboxes  11 of 10 slots in use; 1 more than there are, because people started some by hand or the cap was "
        "lowered; 2 of the 10 for trusted people only; at most 3 for each repository; at most 2 for each author\n"
        "Runs       1 of 4 slots in use\n"
        "\n"
        "Issues whose sandbox waits\n"
        "\n"
        " place   repository   id           waits   until\n"
        " ─────────────────────────────────────────────────────────────────────────────────────────────────────────\n"
        " 1       octo/repo    3141592653   4 min   fewer sandboxes run in the installation\n"
        " 2       octo/other   2718281828   60 s    fewer sandboxes run: those left are reserved for trusted people\n"
        " 3       octo/repo    5            3 h     fewer sandboxes of its author's issues run\n"
        "\n" + ORDER
    )


def test_what_holds_all_up_is_told() -> None:
    """Daytona's quota, and a gate that has just begun. One who waits alone needs no order."""
    views = {
        Kind.SANDBOX: GateView(Caps(), (), (slot(5, Limit.QUOTA),), None, NOW),
        Kind.RUN: GateView(Caps(4), (), (slot(6, Limit.OPENING),), NOW, None),
    }
    text = shown(views)
    assert "Sandboxes  without a cap\nRuns       0 of 4 slots in use\n" in text
    assert "Daytona's quota has room, which is tried once a minute" in text
    assert "Daytona's quota is used up: the first in the queue tries again at 2026-11-30 12:00:00 UTC." in text
    assert "Issues whose run waits" in text
    assert "None is handed out before 2026-11-30 12:00:00 UTC, unless it is known earlier what is in use." in text
    assert ORDER not in text


@pytest.mark.parametrize("width", [30, 50, 79, 120])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_lost(width: int) -> None:
    text = shown({Kind.SANDBOX: GateView(Caps(10), WORKING, WAITING)}, width)
    assert max(map(len, text.splitlines())) <= width
    assert all(word in text for word in ("3141592653", "2718281828", "octo/other", "3 h", "trusted", "author's"))


@pytest.mark.parametrize(
    ("views", "sentence"),
    [
        ({}, "No issue waits for a slot."),
        ({Kind.SANDBOX: GateView(Caps()), Kind.RUN: GateView(Caps())}, "No issue waits for a slot."),
        (
            {Kind.SANDBOX: GateView(Caps(10), WORKING), Kind.RUN: GateView(Caps(4), WORKING[:1])},
            "No issue waits for a slot (in use: 11 of 10 for sandboxes, 1 of 4 for runs).",
        ),
        (
            {Kind.SANDBOX: GateView(Caps(per_author=2), WORKING), Kind.RUN: GateView(Caps())},
            "No issue waits for a slot (in use: 11 for sandboxes).",
        ),
    ],
)
def test_empty_queue_is_one_sentence(views: dict[Kind, GateView], sentence: str) -> None:
    assert shown(views) == sentence


async def test_commands_show_an_issue_that_waits_as_queued(start: Started, run: Run, temporal_address: str) -> None:
    """None of them calls it blocked. `wait` ends when its turn has come and the sandbox can be used."""
    first = await start(running_max=1)
    assert (await first.ensure()).outcome is Outcome.CREATED
    second, repository = first.another(), f"Octo/r{first.issue_id}"
    await second.deliver(second.event(issue=issue_in(second, repository)))
    await until(second.status, lambda seen: seen.outcome is Outcome.QUEUED, "it is queued")

    here = {"TEMPORAL_ADDRESS": temporal_address, "ISSUEBOX_TASK_QUEUE": first.settings.task_queue}

    async def issuebox(*arguments: str) -> str:
        ran = await run(*arguments, **here)
        assert (ran.err, ran.code) == ("", 1 if arguments[0] in {"ensure", "wait"} else 0), ran
        assert not re.search("blocked", ran.out, re.IGNORECASE), ran.out
        return ran.out

    table = await issuebox("queue")
    assert "1 of 1 slots in use" in table
    assert f" 1       {repository.lower()}   {second.issue_id}   " in table
    for command in (("ensure", second.name), ("wait", second.name, "--timeout", "0.5")):
        text = await issuebox(*command)
        assert f"{WORDS}, place 1 in the queue" in text
        assert f"{second.name} is queued." in text or command[0] == "wait"
        assert f"issuebox wait {second.issue_id}" in text
    text = await issuebox("show", second.name)
    assert f"{WORDS}, place 1 in the queue" in " ".join(text.split())
    assert "Queued" in text
    key = {"DAYTONA_API_KEY": first.daytona.api_key, "DAYTONA_API_URL": first.daytona.api_url}
    ran = await run("exec", second.name, "--", "true", **key, **here)
    assert f"has no sandbox now, and is queued (`issuebox why {second.issue_id}`)" in ran.err
    await visible(first.temporal, second.name)

    async def listed() -> str:
        return await issuebox("list", "--repo", repository)

    row = await until(listed, lambda text: "queued" in text, "the list shows it")
    assert "waits" in row.splitlines()[1]
    assert await issuebox("list", "--repo", repository, "--blocked") == "No issue fits.\n"


async def test_queue_as_json_is_what_rest_shows(stack: Stack, issuebox: Run) -> None:
    """Nobody waits where nothing is limited; that is an answer."""
    ran = await issuebox("queue", "--json")
    nobody: dict[str, object] = {
        "caps": None,
        "in_use": 0,
        "beyond_cap": 0,
        "waiting": [],
        "opens_at": None,
        "held_until": None,
    }
    assert (ran.code, ran.json) == (0, {"sandboxes": nobody, "runs": nobody})
    ran = await issuebox("queue")
    assert (ran.code, ran.out, ran.err) == (0, "No issue waits for a slot.\n", "")
