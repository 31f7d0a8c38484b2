"""The list behind the status page: sorted, searched, counted and paged by the server, from one shared snapshot."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError
from temporalio.client import Client

from api import overview
from api.listing import ListedSandbox
from api.overview import GROUPS, Group, Snapshot, Snapshots, Sort, Wanted, entry_of, view
from issuebox.domain.phase import Phase
from issuebox.temporal.connect import DATA_CONVERTER
from issuebox.temporal.index import Index
from issuebox.temporal.issues import AwayError, Issues
from tests.api.conftest import BEARER, Serve
from tests.api.listed import start_listed

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)


def listed(issue_id: int, **changes: object) -> ListedSandbox:
    """A running issue of this ID, younger than those of lower IDs."""
    given: dict[str, object] = {
        "issue_id": issue_id,
        "name": f"claude-issue-{issue_id}",
        "status_url": f"/v1/issues/{issue_id}/sandbox",
        "started_at": NOW + timedelta(minutes=issue_id),
        "phase": "usable",
        "state": "started",
        "repository": "octo/repo",
        "number": issue_id,
        "title": f"Title {issue_id}",
    }
    return ListedSandbox.model_validate(given | changes)


def ids(issues: Sequence[ListedSandbox], **wanted: object) -> list[int]:
    """The IDs that the page shows, in its order, whatever order the index had."""
    shuffled = sorted(issues, key=lambda issue: issue.title[::-1])
    snapshot = Snapshot(tuple(map(entry_of, shuffled)), 0.0, 0.0)
    return [issue.issue_id for issue in view(snapshot, Wanted.model_validate(wanted)).issues]


def test_every_phase_has_its_group() -> None:
    """A phase that is added later cannot be left out of the counts."""
    assert GROUPS.keys() == set(Phase)


@pytest.mark.parametrize(
    ("issue", "group"),
    [
        (listed(1), Group.RUNNING),
        (listed(1, phase="pending"), Group.CHANGING),
        (listed(1, phase=""), Group.CHANGING),
        (listed(1, phase="a phase of a later version"), Group.CHANGING),
        (listed(1, phase="archived"), Group.RESTING),
        (listed(1, blocked="quota"), Group.BLOCKED),
        (listed(1, phase="missing", blocked="queued"), Group.QUEUED),
        (listed(1, phase="missing", blocked="queued", stuck="its workflow task fails"), Group.BLOCKED),
        (listed(1, phase="stopped", stuck="its workflow task fails"), Group.BLOCKED),
    ],
)
def test_issue_is_in_one_group(issue: ListedSandbox, group: Group) -> None:
    """What needs a person comes before what the sandbox does. All groups together count each issue once."""
    counts = view(Snapshot((entry_of(issue),), 0.0, 0.0), Wanted()).counts
    assert {name for name, count in counts.items() if count} == {Group.ALL, group}


SORTED = [
    listed(1, repository="octo/b", number=9, phase="stopped", state="stopped", issue_updated_at="2026-11-29T10:00:00Z"),
    listed(2, repository="octo/A", number=10, blocked="quota", goal_due_at="2026-11-30T00:00:00+00:00"),
    listed(3, repository="octo/a", number=9, phase="pending", state="starting", requested_at="2026-11-29T11:00:00Z"),
    listed(4, repository="octo/b", number=8, goal_due_at="2026-11-29T13:00:00+00:00"),
    listed(5, repository="octo/c", phase="missing", state="", blocked="queued"),
]


@pytest.mark.parametrize(
    ("sort", "ascending"),
    [
        (Sort.ISSUE, [3, 2, 4, 1, 5]),
        (Sort.STATE, [2, 5, 3, 4, 1]),
        (Sort.GOAL, [4, 2, 1, 3, 5]),
        (Sort.ACTIVITY, [2, 4, 5, 1, 3]),
        (Sort.AGE, [1, 2, 3, 4, 5]),
    ],
)
def test_each_sort_has_its_order(sort: Sort, ascending: list[int]) -> None:
    """By repository and number; by urgency; by the next change, without one last; by activity; by age."""
    assert ids(SORTED, sort=sort, descending=False) == ascending
    assert ids(SORTED, sort=sort, descending=True) == ascending[::-1]


def test_newest_issue_is_first_by_default() -> None:
    """Without a wish the page shows what came last."""
    assert ids(SORTED) == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("", [5, 4, 3, 2, 1]),
        ("octo/b#8", [4]),
        ("OCTO/B stopped", [1]),
        ("title 3", [3]),
        ("quota", [2]),
        ("queued", [5]),
        ("octo/b quota", []),
    ],
)
def test_search_finds_what_the_page_shows(search: str, found: list[int]) -> None:
    """Every word has to be in it, in any order and in any case."""
    assert ids(SORTED, search=search) == found


def test_pages_cover_each_issue_once() -> None:
    """No issue is on two pages or on none; a page past the end is the last one."""
    issues = [listed(number, title="same") for number in range(1, 121)]
    found = [ids(issues, sort="state", page=page) for page in (1, 2, 3)]
    assert [len(page) for page in found] == [50, 50, 20]
    assert sorted(itertools.chain(*found)) == list(range(1, 121))
    assert ids(issues, sort="state", page=9) == found[-1]


def test_counts_are_of_all_issues() -> None:
    """Neither group nor search nor page changes them; `matching` says how many the search finds."""
    snapshot = Snapshot(tuple(map(entry_of, SORTED)), 0.0, 0.0)
    shown = view(snapshot, Wanted(group=Group.RUNNING, search="octo/b", page_size=1))
    assert (shown.counts[Group.ALL], shown.counts[Group.RUNNING], shown.counts[Group.BLOCKED]) == (5, 1, 1)
    assert (shown.matching, shown.page, shown.pages) == (1, 1, 1)


def test_misspelt_wish_is_refused() -> None:
    """It must not pass for *all issues*."""
    for wrong in ({"sort": "name"}, {"grup": "all"}, {"page": 0}, {"page_size": 1000}, {"search": "x" * 201}):
        with pytest.raises(ValidationError):
            Wanted.model_validate(wrong)


async def test_answer_that_the_page_has_already_is_not_sent_again(serve: Serve, temporal: Client) -> None:
    """304 without a body, and the age of what it stands for."""
    prefix = f"overview-{uuid.uuid4().hex[:8]}-"
    await start_listed(temporal, prefix, 3)
    api = await serve(name_prefix=prefix)
    first = await api.client.get("/v1/overview", headers=BEARER)
    assert (first.status_code, first.json()["counts"]["all"]) == (200, 3)
    again = await api.client.get("/v1/overview", headers=BEARER | {"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert int(again.headers["age"]) >= 0
    other = await api.client.get(
        "/v1/overview?search=nothing", headers=BEARER | {"If-None-Match": first.headers["etag"]}
    )
    assert other.status_code == 200


async def test_list_needs_a_token_and_a_temporal(serve: Serve, closed_address: str) -> None:
    """401 without the one, 503 without the other: never an empty list."""
    api = await serve(closed_address)
    assert (await api.client.get("/v1/overview")).status_code == 401
    reply = await api.client.get("/v1/overview", headers=BEARER)
    assert (reply.status_code, reply.json()["detail"]) == (503, "Temporal cannot be reached; try again later")


class Counted(Snapshots):
    """Counts its reads."""

    reads = 0

    async def _read(self) -> Snapshot:
        self.reads += 1
        return await super()._read()


async def test_callers_share_one_read(temporal: Client) -> None:
    """Ten pages that refresh at once cost Temporal what one does, and so do those that come while it is used."""
    prefix = f"overview-{uuid.uuid4().hex[:8]}-"
    await start_listed(temporal, prefix, 2)
    issues = Issues.over(temporal, name_prefix=prefix, task_queue="none", timeout_s=10)
    snapshots = Counted(Index(issues), used_min_s=60.0)
    found = await asyncio.gather(*(snapshots.current() for _ in range(10)))
    assert {len(snapshot.entries) for snapshot in found} == {2}
    assert await snapshots.current() is found[0]
    assert snapshots.reads == 1


async def test_list_has_every_issue_however_many_calls_it_takes(
    temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of different sizes leave no gap and repeat nothing; what is beyond the bound is said to be missing."""
    prefix = f"overview-{uuid.uuid4().hex[:8]}-"
    await start_listed(temporal, prefix, 25)
    index = Index(Issues.over(temporal, name_prefix=prefix, task_queue="none", timeout_s=10))
    for name, value in {"EXAMINED_AT_ONCE": 4, "EXAMINED_MAX": 8, "PAGE_SIZE": 6}.items():
        monkeypatch.setattr(overview, name, value)
    snapshot = await Snapshots(index).current()
    assert sorted(entry.shown.issue_id for entry in snapshot.entries) == list(range(1, 26))
    assert not snapshot.is_cut
    monkeypatch.setattr(overview, "ROWS_MAX", 10)
    cut = await Snapshots(index).current()
    assert (len(cut.entries), cut.is_cut) == (10, True)


async def test_due_snapshot_that_cannot_be_read_is_no_answer(temporal: Client, closed_address: str) -> None:
    """An old list must not pass for the present one."""
    prefix = f"overview-{uuid.uuid4().hex[:8]}-"
    away = await Client.connect(closed_address, lazy=True, data_converter=DATA_CONVERTER)
    clients = [temporal]

    async def client() -> Client:
        return clients[-1]

    issues = Issues(client, name_prefix=prefix, task_queue="none", timeout_s=2)
    snapshots = Snapshots(Index(issues), used_min_s=0.0, reads_share=0)
    await snapshots.current()
    clients.append(away)
    issues._client = None
    with pytest.raises(AwayError, match="Temporal cannot be reached"):
        await snapshots.current()
