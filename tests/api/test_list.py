"""The list of all issues: rows as their workflows published them, and filters by search attributes."""

from __future__ import annotations

from dataclasses import asdict, fields
from datetime import datetime
from functools import partial
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDConflictPolicy

from api.listing import ListedSandbox, SandboxRow
from issuebox.temporal.connect import DATA_CONVERTER
from tests.api.conftest import BEARER, Api, Serve
from tests.waiting import until
from workflows import search_attributes
from workflows.messages import MEMO_STATUS, WORKFLOW_TYPE, Published, StartInput

EVERYTHING = Published(
    phase="stopped",
    state="stopped",
    sandbox_id="an-id",
    outcome="stopped",
    blocked="unsaved",
    goal="deleted",
    goal_due_at="2026-02-03T04:05:06+00:00",
    timers="stopped:1800 archived:86400 deleted:2592000",
    work="unsaved",
    repository="octo/repo",
    number=12,
    title="A title",
    issue_state="closed",
    issue_updated_at="2026-01-03T04:05:06+00:00",
    requested_at="2026-01-02T04:05:06+00:00",
    undelivered="sandbox.ready",
    run="working",
)

ISSUES: dict[int, Published] = {
    1: Published(repository="octo/repo", phase="usable", issue_state="open"),
    2: Published(repository="octo/repo", phase="stopped", issue_state="closed", blocked="unsaved"),
    3: Published(repository="octo/other", phase="stopped", issue_state="closed", run="done"),
    4: Published(repository="octo/other", phase="missing", issue_state="open", blocked="quota", run="waiting"),
    5: Published(repository="octo/third", phase="missing", issue_state="open", outcome="queued", blocked="queued"),
}


async def begin(
    client: Client, issue_id: int, published: Published | None, prefix: str, queue: str, **more: Any
) -> None:
    """Start a workflow that is in the index and that no worker runs."""
    name = f"{prefix}{issue_id}"
    memo = {MEMO_STATUS: asdict(published)} if published else {}
    await client.start_workflow(WORKFLOW_TYPE, StartInput(issue_id, name), id=name, task_queue=queue, memo=memo, **more)


async def listed(api: Api, **params: object) -> list[dict[str, Any]]:
    reply = await api.client.get("/v1/sandboxes", headers=BEARER, params=params)  # type: ignore[arg-type]
    assert reply.status_code == 200, reply.text
    rows: list[dict[str, Any]] = reply.json()["sandboxes"]
    return rows


async def test_row_has_all_that_the_workflow_published(serve: Serve, temporal: Client, issue_id: int) -> None:
    """Each field of the memo is in the row; an issue without a memo is listed as well."""
    prefix = f"r{issue_id}-"
    api = await serve(name_prefix=prefix)
    await begin(temporal, 1, EVERYTHING, prefix, api.settings.task_queue)
    await begin(temporal, 2, None, prefix, api.settings.task_queue)
    rows = await until(lambda: listed(api, page_size=200), lambda rows: len(rows) == 2, "both listed")
    row, bare = sorted(rows, key=lambda row: row["issue_id"])
    times = {"goal_due_at", "issue_updated_at", "requested_at"}
    words = {"phase", "outcome", "blocked", "goal", "work", "issue_state", "run"}
    shown = {name: datetime.fromisoformat(row[name]).isoformat() if name in times else row[name] for name in row}
    assert {field.name: shown[field.name] for field in fields(Published)} == asdict(EVERYTHING)
    empty = asdict(Published()) | dict.fromkeys(times | words)
    assert {field.name: bare[field.name] for field in fields(Published)} == empty
    assert (row["name"], row["status_url"]) == (f"{prefix}1", "/v1/issues/1/sandbox")


def test_every_published_field_is_documented_in_the_row() -> None:
    """The list's row has a place for each field that workflows publish, and so has that of the status page."""
    published = {field.name for field in fields(Published)}
    assert published <= SandboxRow.model_fields.keys() & ListedSandbox.model_fields.keys()
    assert all(getattr(EVERYTHING, field.name) for field in fields(Published))


async def test_memo_of_another_version_is_read_as_far_as_it_goes(serve: Serve, temporal: Client, issue_id: int) -> None:
    """Workflows of an older version publish fewer fields, those of a newer one more: neither breaks the list."""
    prefix, queue = f"v{issue_id}-", "nobody"
    api = await serve(name_prefix=prefix)
    name = f"{prefix}1"
    memo = {MEMO_STATUS: {"phase": "usable", "number": 7, "colour": "green", "goal": "frozen", "requested_at": "soon"}}
    await temporal.start_workflow(WORKFLOW_TYPE, StartInput(1, name), id=name, task_queue=queue, memo=memo)
    (row,) = await until(lambda: listed(api, page_size=200), bool, "the row listed")
    assert (row["phase"], row["number"], row["goal"], row["requested_at"]) == ("usable", 7, None, None)


@pytest.fixture
async def namespace(temporal_address: str, monkeypatch: pytest.MonkeyPatch, issue_id: int) -> Client:
    """A namespace for this test and its API, in which no search attribute is registered."""
    name = f"namespace-{issue_id}"
    client = await Client.connect(temporal_address, namespace=name, data_converter=DATA_CONVERTER)
    await client.workflow_service.register_namespace(
        RegisterNamespaceRequest(namespace=name, workflow_execution_retention_period=Duration(seconds=86_400))
    )
    monkeypatch.setattr("tests.api.conftest.NAMESPACE", name)
    return client


@pytest.fixture
async def filled(namespace: Client, serve: Serve) -> Api:
    """The API in front of `ISSUES`, with their search attributes."""
    kinds = {key.name: IndexedValueType.ValueType(key.indexed_value_type) for key in search_attributes.ALL}
    await namespace.operator_service.add_search_attributes(
        AddSearchAttributesRequest(namespace=namespace.namespace, search_attributes=kinds)
    )
    for issue_id, published in ISSUES.items():
        await begin(namespace, issue_id, published, "claude-issue-", "nobody", search_attributes=_attributes(published))
    api = await serve()
    await until(lambda: listed(api), lambda rows: len(rows) == len(ISSUES), "all listed")
    return api


def _attributes(published: Published) -> TypedSearchAttributes:
    pairs = [
        SearchAttributePair(search_attributes.REPOSITORY, published.repository),
        SearchAttributePair(search_attributes.PHASE, published.phase),
        SearchAttributePair(search_attributes.ISSUE_STATE, published.issue_state),
    ]
    if published.blocked:
        pairs.append(SearchAttributePair(search_attributes.BLOCKED, published.blocked))
    if published.run:
        pairs.append(SearchAttributePair(search_attributes.RUN, published.run))
    return TypedSearchAttributes(pairs)


FILTERS: list[tuple[dict[str, str], set[int]]] = [
    ({}, {1, 2, 3, 4, 5}),
    ({"repository": "octo/repo"}, {1, 2}),
    ({"repository": "octo/none"}, set()),
    ({"phase": "stopped"}, {2, 3}),
    ({"issue_state": "open"}, {1, 4, 5}),
    ({"blocked": "quota"}, {4}),
    ({"blocked": "any"}, {2, 4}),
    ({"blocked": "queued"}, {5}),
    ({"run": "waiting"}, {4}),
    ({"run": "done", "phase": "stopped"}, {3}),
    ({"repository": "octo/repo", "phase": "stopped", "issue_state": "closed", "blocked": "unsaved"}, {2}),
    ({"repository": "octo/other", "blocked": "unsaved"}, set()),
]


async def test_filters_choose_the_issues_that_meet_all_of_them(filled: Api) -> None:
    """Each filter excludes all other issues, and several filters must all be met."""
    for params, expected in FILTERS:
        assert (params, {row["issue_id"] for row in await listed(filled, **params)}) == (params, expected)


async def test_filtered_list_is_paged_like_the_whole(filled: Api) -> None:
    """The token of a filtered page leads to the next page of the filtered list."""
    params: dict[str, str | int] = {"phase": "stopped", "page_size": 1}
    found = []
    for _ in range(len(ISSUES)):
        page = (await filled.client.get("/v1/sandboxes", headers=BEARER, params=params)).json()
        found += [row["issue_id"] for row in page["sandboxes"]]
        if not page["next_page_token"]:
            break
        params["page_token"] = page["next_page_token"]
    assert sorted(found) == [2, 3]


async def test_issue_that_moves_to_the_front_while_the_list_is_read_is_listed(namespace: Client, serve: Serve) -> None:
    """A workflow that continues as new begins anew, and Temporal lists it before the page that was just read."""
    api = await serve()

    async def anew(issue_id: int) -> None:
        conflict = WorkflowIDConflictPolicy.TERMINATE_EXISTING
        await begin(namespace, issue_id, None, "claude-issue-", "nobody", id_conflict_policy=conflict)

    async def newest() -> list[int]:
        return [row["issue_id"] for row in await listed(api)]

    for issue_id in range(1, 8):
        await anew(issue_id)
    await until(newest, lambda ids: ids == [7, 6, 5, 4, 3, 2, 1], "all listed")
    found, params = [], dict[str, str | int](page_size=2)
    for _ in range(10):
        page = (await api.client.get("/v1/sandboxes", headers=BEARER, params=params)).json()
        found.append([row["issue_id"] for row in page["sandboxes"]])
        if not page["next_page_token"]:
            break
        params["page_token"] = page["next_page_token"]
        for moves in {1: [1], 2: [2, 7]}.get(len(found), []):
            await anew(moves)
            await until(newest, partial(_begins_with, moves), f"{moves} moved")
    assert found == [[7, 6], [5, 4], [3, 7], [2, 1], []]


def _begins_with(first: int, ids: list[int]) -> bool:
    return (ids[0], len(ids)) == (first, 7)


@pytest.mark.parametrize("name", ["repository", "phase", "issue_state", "blocked"])
async def test_filter_without_registered_attributes_is_a_503_that_says_what_to_do(
    namespace: Client, serve: Serve, name: str
) -> None:
    """The operator must fix this, not the caller; without filters the list still works."""
    assert namespace.namespace
    api = await serve()
    values = {"repository": "octo/repo", "phase": "usable", "issue_state": "open", "blocked": "any"}
    reply = await api.client.get("/v1/sandboxes", headers=BEARER, params={name: values[name]})
    assert (reply.status_code, reply.headers["content-type"]) == (503, "application/problem+json")
    assert all(key.name in reply.json()["detail"] for key in search_attributes.ALL)
    assert await listed(api) == []
