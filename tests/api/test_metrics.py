"""What the API counts: the same series for one issue as for a thousand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from temporalio.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    SignalWorkflowInput,
    StartWorkflowInput,
    WorkflowHandle,
)
from temporalio.service import RPCError, RPCStatusCode

from api.app import create_app
from issuebox import metrics
from issuebox.health import answering
from issuebox.temporal.connect import DATA_CONVERTER
from issuebox.temporal.counted import TimedCalls
from localdaytona.testing import free_port
from tests.api.conftest import BEARER, settings_for
from tests.api.deliveries import encoded, payload, signed

ISSUES = 1_000


class _Stored(Interceptor):
    """A Temporal that stores everything at once, and knows no workflow: what the API does with it is real."""

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:  # noqa: A002
        return _Stores(next)


class _Stores(OutboundInterceptor):
    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:  # noqa: A002
        return WorkflowHandle(self.next._client, input.id)  # type: ignore[attr-defined]

    async def signal_workflow(self, input: SignalWorkflowInput) -> None:  # noqa: A002
        raise RPCError("workflow not found", RPCStatusCode.NOT_FOUND, b"")


@pytest.fixture
async def client(closed_address: str) -> AsyncIterator[httpx.AsyncClient]:
    """The application with its metrics on, without a network."""
    metrics.turn_on(metrics.Process.API)

    async def temporal() -> Client:
        interceptors = [TimedCalls(), _Stored()]
        return await Client.connect(closed_address, lazy=True, data_converter=DATA_CONVERTER, interceptors=interceptors)

    app = create_app(settings_for("queue", admin_address=f"127.0.0.1:{free_port()}"), temporal)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as http:
        yield http
    metrics.turn_off()


async def opened(client: httpx.AsyncClient, issue_id: int, action: str = "opened") -> None:
    body = encoded(payload(issue_id, action))
    assert (await client.post("/webhooks/github", content=body, headers=signed(body))).is_success


async def deliver(client: httpx.AsyncClient, issue_id: int) -> None:
    """A life of an issue as GitHub tells it, with a delivery that nobody signed, and a program that asks."""
    for action in ("opened", "edited", "closed"):
        await opened(client, issue_id, action)
    await client.post("/webhooks/github", content=b"{}", headers=signed(b"{}", secret=f"wrong {issue_id}"))
    body = encoded(payload(issue_id))
    await client.post("/webhooks/github", content=body, headers=signed(body, event=f"unheard_of_{issue_id}"))
    for path in (f"/v1/issues/{issue_id}/sandbox?wait=0", f"/nowhere/{issue_id}"):
        await client.get(path, headers={})


def series() -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The value of each series of ours."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if sample.name.startswith("issuebox_")
    }


def counted(metric: metrics.Metric, **labels: str) -> float:
    return series()[(metric.name, frozenset(labels.items()))]


async def test_a_thousand_issues_make_no_new_series(client: httpx.AsyncClient) -> None:
    """No label is an issue, a delivery or a sender: a series would live as long as the process."""
    await deliver(client, 1)
    before = series()
    for issue_id in range(2, ISSUES + 2):
        await (deliver(client, issue_id) if issue_id % 20 == 0 else opened(client, issue_id))
    after = series()
    assert set(after) == set(before)
    assert counted(metrics.WEBHOOK_DELIVERIES, event="issues", intention="ensure", code="202") == ISSUES + 1


async def test_each_delivery_counts_once_by_what_was_asked_and_answered(client: httpx.AsyncClient) -> None:
    """Also one that was refused before anybody knew what it was about, and one without a row."""
    await deliver(client, 1)
    name = metrics.WEBHOOK_DELIVERIES.name
    rows = {tuple(dict(labels)[key] for key in metrics.WEBHOOK_DELIVERIES.labels): value
            for (metric, labels), value in series().items() if metric == name}  # fmt: skip
    assert rows == {
        ("issues", "ensure", "202"): 1,
        ("issues", "ignore", "202"): 1,
        ("issues", "stop", "202"): 1,
        ("none", "none", "401"): 1,
        ("other", "ignore", "202"): 1,
    }
    durations = {code: series()[("issuebox_webhook_duration_seconds_count", frozenset({("code", code)}))]
                 for code in ("202", "401")}  # fmt: skip
    assert durations == {"202": 4, "401": 1}


async def test_route_counts_under_its_path_with_placeholders(client: httpx.AsyncClient) -> None:
    """What no route takes is one series."""
    await client.get("/v1/issues/1/sandbox", headers=BEARER | {"Accept": "application/json"})
    await client.get("/v1/issues/2/sandbox")
    await client.get("/no/such/path")
    await client.get("/healthz")
    name = metrics.HTTP_REQUESTS.name
    rows = {(dict(labels)["route"], dict(labels)["code"]) for (metric, labels), _ in series().items() if metric == name}
    assert rows == {
        ("/v1/issues/{issue_id}/sandbox", "503"),
        ("/v1/issues/{issue_id}/sandbox", "401"),
        ("other", "404"),
        ("/healthz", "200"),
    }


async def test_calls_to_temporal_are_timed(client: httpx.AsyncClient) -> None:
    """Whatever their outcome: `edited` finds no workflow."""
    await deliver(client, 1)
    name = "issuebox_temporal_call_duration_seconds_count"
    rows = {dict(labels)["call"]: value for (metric, labels), value in series().items() if metric == name}
    assert rows == {"signal_with_start": 2, "signal": 1}


async def test_admin_address_shows_metrics_only_where_they_are_counted() -> None:
    """Beside the two probes, and in the format that Prometheus reads."""

    async def ready() -> str:
        return ""

    port = free_port()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        async with answering(f"127.0.0.1:{port}", ready):
            assert (await http.get("/metrics")).status_code == httpx.codes.NOT_FOUND
            assert (await http.get("/healthz")).is_success
        metrics.turn_on(metrics.Process.API)
        async with answering(f"127.0.0.1:{port}", ready):
            reply = await http.get("/metrics")
        metrics.turn_off()
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert "issuebox_build_info{" in reply.text
