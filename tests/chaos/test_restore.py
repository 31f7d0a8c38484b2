"""The restore scenario in its small form, in both ways; and its parts: the plan, GitHub's lists, the copy."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from issuebox.domain.issue_source import PageQuery, Presence
from issuebox.providers.github import GitHubSource
from issuebox.providers.github_client import GitHubOptions
from proofs.chaos.fault_schedule import Command
from proofs.chaos.restore.hub import TOKEN, Hub, serving
from proofs.chaos.restore.plan import fated, make_restore_plan
from proofs.chaos.restore.scenario import Mode, copy_database, put_back
from proofs.chaos.story import IssueState
from proofs.chaos.terms import REPOSITORY
from tests.chaos.commands import ended

SEED = os.environ.get("ISSUEBOX_CHAOS_SEED", "1")
ISSUES, SECONDS = "12", "8"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", Mode)
async def test_documented_recovery_brings_everything_back(tmp_path: Path, mode: Mode) -> None:
    """Temporal forgets what came after the backup; with the commands of docs/operations.md every rule holds again.

    With the workers stopped nothing is stuck. With living workers some workflows are, and each of them answers again.
    """
    options = ["--seed", SEED, "--issues", ISSUES, "--seconds", SECONDS, "--workers", mode, "--run-dir", str(tmp_path)]
    code, output = await ended("proofs.chaos", "restore", *options)
    assert output.startswith(f"seed {SEED}")
    assert code == 0, output
    report: dict[str, Any] = json.loads((tmp_path / mode / "report.json").read_text())
    assert report["checked"] == list("abcdefghi")
    assert report["lost_deliveries"], "the restore made nothing be forgotten"
    assert report["recovered"], "nothing was brought back"
    mended = sum(count for word, count in report["recovered"].items() if word.startswith("temporal workflow"))
    assert (report["stuck"] > 0, mended > 0) == (mode is Mode.RUNNING, mode is Mode.RUNNING)
    assert (await ended("proofs.checker", str(tmp_path / mode)))[0] == 0


def test_plan_orders_in_the_lost_time_and_after_it() -> None:
    """Each kind of order comes before the restore and after it; the plan depends on the seed alone."""
    plan = make_restore_plan(1, 20, 30.0)
    assert plan == make_restore_plan(1, 20, 30.0)
    assert plan != make_restore_plan(2, 20, 30.0)
    assert [post.at_s for post in plan.posts] == sorted(post.at_s for post in plan.posts)
    orders = [(timed.at_s, timed.step) for timed in plan.orders if isinstance(timed.step, Command)]
    kinds = {(step.order, step.is_forced) for _, step in orders}
    for low, high in ((plan.backup_at_s, plan.restore_at_s), (plan.restore_at_s, plan.seconds)):
        assert {(step.order, step.is_forced) for at_s, step in orders if low <= at_s <= high} == kinds
    assert len(kinds) == 5


def test_some_issues_are_closed_in_the_lost_time_and_reopened_after_it() -> None:
    """Living workers then go on from timers that the database has forgotten."""
    for seconds in (8.0, 30.0, 60.0):
        plan = make_restore_plan(1, 20, seconds)
        more = [post for post in plan.posts if post.event.issue > 20]
        opened, closed = ([post for post in more if post.event.kind.action == word] for word in ("opened", "closed"))
        assert {post.event.issue for post in opened} == {post.event.issue for post in closed} == set(fated(20))
        assert all(post.at_s < plan.backup_at_s for post in opened)
        assert all(plan.backup_at_s < post.at_s < plan.restore_at_s for post in closed)
        assert [[post.event.kind.action for post in posts] for posts in plan.rounds] == [
            ["reopened"] * len(opened),
            ["comment"] * len(opened),
        ]
        for post in (*more, *plan.rounds[0], *plan.rounds[1]):
            assert post.event.second <= post.at_s


def test_copy_of_a_database_in_use_is_put_back(tmp_path: Path) -> None:
    """The copy has what was committed by then, also what is still in the write-ahead log; the rest is gone."""
    database, copy = tmp_path / "t.db", tmp_path / "backup.db"
    with closing(sqlite3.connect(database)) as live:
        live.execute("PRAGMA journal_mode=wal")
        live.execute("CREATE TABLE kept (id INTEGER)")
        live.execute("INSERT INTO kept VALUES (1)")
        live.commit()
        copy_database(database, copy)
        live.execute("INSERT INTO kept VALUES (2)")
        live.commit()
    put_back(copy, database)
    with closing(sqlite3.connect(database)) as restored:
        assert restored.execute("SELECT id FROM kept").fetchall() == [(1,)]


PLAN = make_restore_plan(3, 60, 30.0)


@pytest.fixture
async def hub() -> AsyncIterator[Hub]:
    """GitHub after the whole load."""
    async with serving(Hub(PLAN.posts)) as hub:
        hub.base = int(time.time()) - 100
        yield hub


async def test_lists_of_github_are_as_the_events_say(hub: Hub) -> None:
    """The product's own client reads them: open and closed issues, those that are gone, and who did what."""
    newest = {post.event.issue: post.event for post in sorted(PLAN.posts, key=lambda post: post.event.second)}
    async with GitHubSource(GitHubOptions(api_url=hub.url, token=TOKEN)) as source:
        listed = {row.issue.id: row for row in (await source.updated_issues(PageQuery(REPOSITORY))).items}
        presences = {issue: (await source.read_issue(REPOSITORY, issue, issue)).presence for issue in newest}
        comments = (await source.comments(PageQuery(REPOSITORY))).items
    gone = {issue for issue, event in newest.items() if event.kind.leads_to is IssueState.GONE}
    assert set(listed) == newest.keys() - gone
    for issue, event in newest.items():
        expected = {"deleted": Presence.GONE, "transferred": Presence.MOVED}.get(event.kind.action, Presence.FOUND)
        assert presences[issue] is expected, event
    assert {issue for issue, row in listed.items() if row.issue.state == "closed"} == {
        issue for issue in listed if newest[issue].closed_at is not None
    }
    assert {Presence.GONE, Presence.MOVED, Presence.FOUND} == set(presences.values())
    assert any("@claude" in comment.body for comment in comments)


async def test_event_is_there_from_its_second_on(hub: Hub) -> None:
    """Whether its delivery came or not: before, GitHub does not know the issue."""
    hub.base = int(time.time()) + 60
    async with httpx.AsyncClient(base_url=hub.url, trust_env=False) as http:
        assert (await http.get(f"/repos/{REPOSITORY}/issues", params={"state": "all"})).json() == []
        assert (await http.get(f"/repos/{REPOSITORY}/issues/1")).status_code == 404
