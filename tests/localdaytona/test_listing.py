"""The list: filters, pages, lag and flapping."""

import json
import time
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from starlette.datastructures import QueryParams

from localdaytona import creation
from localdaytona.calls import ApiError
from localdaytona.config import Config
from localdaytona.listing import parse
from localdaytona.store import Store
from localdaytona.testing import Server, running_inside
from tests.localdaytona.clients import rest_of

Params = dict[str, str | int]


async def names(rest: httpx.AsyncClient, **params: str | int) -> list[str]:
    """Return the names on the first page."""
    reply = await rest.get("/sandbox", params=params)
    assert reply.status_code == 200, reply.text
    return [item["name"] for item in reply.json()["items"]]


@pytest.fixture
async def filled(server: Server) -> Server:
    """A server with three sandboxes, created in this order."""
    await server.admin.config(speed=1000)
    await server.admin.create(name="issue-1", labels={"app": "x", "n": "1"})
    await server.admin.create(name="Issue-10", labels={"app": "x", "n": "10"}, snapshot="daytona-large")
    await server.admin.create(name="other", labels={"app": "X"})
    return server


FOUND: list[tuple[Params, list[str]]] = [
    ({}, ["Issue-10", "issue-1", "other"]),
    ({"name": "issue-1"}, ["Issue-10", "issue-1"]),
    ({"name": "i__ue"}, ["Issue-10", "issue-1"]),
    ({"name": "%ther"}, ["other"]),
    ({"labels": json.dumps({"app": "x"})}, ["Issue-10", "issue-1"]),
    ({"labels": json.dumps({"app": "x", "n": "1"})}, ["issue-1"]),
    ({"labels": json.dumps({"n": 1})}, []),
    ({"labels": "{}"}, ["Issue-10", "issue-1", "other"]),
    ({"minCpu": 2}, ["Issue-10"]),
    ({"isPublic": "true"}, []),
    ({"createdAtAfter": "2001-01-01T00:00:00Z"}, ["Issue-10", "issue-1", "other"]),
    ({"snapshots": "daytona-small"}, ["issue-1", "other"]),
    ({"unheard": "of"}, ["Issue-10", "issue-1", "other"]),
]


async def test_filter_finds_what_daytona_would(filled: Server, rest: httpx.AsyncClient) -> None:
    """Names match by prefix, ignoring case and with wildcards; labels match exactly, and all must match."""
    assert [(params, sorted(await names(rest, **params))) for params, _ in FOUND] == FOUND


REFUSED: list[tuple[Params, str]] = [
    ({"limit": "0"}, "limit must not be less than 1"),
    ({"limit": "201"}, "limit must not be greater than 200"),
    ({"limit": "1.5"}, "limit must be an integer number"),
    ({"labels": "{"}, "Invalid labels JSON format"),
    ({"cursor": "nonsense"}, "Invalid cursor provided: nonsense"),
    ({"states": "destroyed"}, "each value in states must be one of the following values"),
    ({"states": "started,stopped"}, "each value in states must be one of the following values"),
    ({"sort": "mood"}, "sort must be one of the following values"),
    ({"minCpu": "many"}, "minCpu is invalid"),
]


@pytest.mark.parametrize(("params", "message"), REFUSED)
async def test_bad_query_is_refused(params: Params, message: str) -> None:
    """A query that the real server refuses is a 400 here."""
    with pytest.raises(ApiError) as refused:
        parse(QueryParams(params))
    assert refused.value.status == 400
    assert refused.value.message.startswith(message)


async def test_pages_end_exactly_at_the_last_row(filled: Server, rest: httpx.AsyncClient) -> None:
    """A page with the last rows has no next cursor, and an empty cursor gives the first page."""
    first = (await rest.get("/sandbox", params={"limit": 1, "sort": "name", "order": "asc"})).json()
    rest_of_it = {"limit": 2, "sort": "name", "order": "asc", "cursor": first["nextCursor"]}
    second = (await rest.get("/sandbox", params=rest_of_it)).json()
    assert [item["name"] for item in first["items"] + second["items"]] == ["Issue-10", "issue-1", "other"]
    assert second["nextCursor"] is None
    assert len(await names(rest, cursor="")) == 3


async def test_row_that_changes_between_pages_is_on_neither(filled: Server, rest: httpx.AsyncClient) -> None:
    """The default order is by last activity, so an oldest row that moves to the front is skipped."""
    newest_first = await names(rest)
    first = (await rest.get("/sandbox", params={"limit": 2})).json()
    await filled.admin.act(newest_first[2], "stop")
    second = (await rest.get("/sandbox", params={"limit": 2, "cursor": first["nextCursor"]})).json()
    seen = [item["name"] for item in first["items"] + second["items"]]
    assert newest_first[2] not in seen


async def test_item_lacks_what_the_real_list_leaves_out(filled: Server, rest: httpx.AsyncClient) -> None:
    """Items have no env, kvm, volumes or build info, but the field that the SDK requires."""
    item = (await rest.get("/sandbox")).json()["items"][0]
    assert not {"env", "kvm", "volumes", "buildInfo"} & set(item)
    assert item["networkBlockAll"] is False


async def test_sandbox_being_destroyed_is_listed_by_its_new_name(filled: Server, rest: httpx.AsyncClient) -> None:
    """A sandbox being destroyed is listed with its labels; a filter on its old name misses it."""
    await filled.admin.config(speed=1)
    await rest.delete("/sandbox/other")
    assert await names(rest, name="other") == []
    assert len(await names(rest, labels='{"app":"X"}')) == 1


async def test_state_filter_works_on_the_raw_state(filled: Server, rest: httpx.AsyncClient) -> None:
    """Until a runner takes a stop, the sandbox is listed among the started ones, as stopping."""
    await filled.admin.config(runner_available=False)
    await rest.post("/sandbox/other/stop")
    reply = await rest.get("/sandbox", params={"states": ["started"], "name": "other"})
    assert [item["state"] for item in reply.json()["items"]] == ["stopping"]
    assert await names(rest, states="stopping") == []


async def test_lagging_list_shows_the_past(filled: Server, rest: httpx.AsyncClient) -> None:
    """With a lag, a new sandbox is missing, and a deleted one is still listed by its name."""
    await filled.admin.config(speed=1, list_lag_s=60)
    await rest.delete("/sandbox/other")
    await filled.admin.create(name="fresh")
    assert await names(rest) == []
    await filled.admin.config(list_lag_s=0.2)
    assert "fresh" in await _settled(rest)


async def _settled(rest: httpx.AsyncClient) -> list[str]:
    seen: list[str] = []
    while "fresh" not in seen:
        seen = await names(rest)
    return seen


async def test_flapping_list_leaves_recent_rows_out(filled: Server, rest: httpx.AsyncClient) -> None:
    """With a probability of 1, all recently changed rows are missing."""
    await filled.admin.config(speed=1, list_flap_probability=1)
    assert await names(rest) == []
    await filled.admin.config(list_flap_probability=0)
    assert len(await names(rest)) == 3


ROWS = 10_000
WALK_MAX_S = 15.0


async def test_ten_thousand_rows_are_walked_quickly(tmp_path: Path) -> None:
    """Paging through ten thousand rows by label returns each once, within seconds."""
    store = Store(tmp_path / "localdaytona.sqlite3")
    wanted = creation.parse({"labels": {"managed": "yes"}, "autoStopInterval": 0}, Config())
    with store.transaction():
        for number in range(ROWS):
            row = wanted.sandbox(1_000.0 + number, Config())
            store.insert(replace(row, state="started", name=f"row-{number}"))
    store.close()
    async with running_inside(tmp_path) as server, rest_of(server) as rest:
        began, seen, cursor = time.monotonic(), set[str](), ""
        while cursor is not None:
            params: Params = {"labels": '{"managed":"yes"}', "limit": 200, "cursor": cursor}
            page = (await rest.get("/sandbox", params=params)).json()
            seen |= {item["name"] for item in page["items"]}
            cursor = page["nextCursor"]
        assert len(seen) == ROWS
        assert time.monotonic() - began < WALK_MAX_S
