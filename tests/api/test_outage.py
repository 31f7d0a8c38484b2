"""Without Temporal or a worker, callers learn it in time, and no answer claims that something is stored that is not."""

from __future__ import annotations

import asyncio
import gc
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import pytest
from temporalio.client import Client

from tests.api.conftest import BEARER, Api, Serve
from tests.api.deliveries import encoded, payload, signed

CALLS: dict[str, tuple[str, str]] = {
    "delivery": ("POST", "/webhooks/github"),
    "ensure": ("PUT", "/v1/issues/1/sandbox"),
    "ensure without waiting": ("PUT", "/v1/issues/1/sandbox?wait_s=0"),
    "status": ("GET", "/v1/issues/1/sandbox"),
    "why": ("GET", "/v1/issues/1/sandbox/why"),
    "retry": ("POST", "/v1/issues/1/retry"),
    "stop": ("POST", "/v1/issues/1/stop"),
    "replace": ("POST", "/v1/issues/1/replace"),
    "delete": ("DELETE", "/v1/issues/1/sandbox"),
    "list": ("GET", "/v1/sandboxes"),
    "readiness": ("GET", "/readyz"),
}
TIMEOUT_S = 5.0
DELIVERY_TIMEOUT_S = 10.0
"""How long GitHub waits."""
OUTAGE_S = 5.0


async def call(api: Api, name: str) -> Any:
    method, path = CALLS[name]
    if name != "delivery":
        return await api.client.request(method, path, headers=BEARER)
    body = encoded(payload())
    return await api.client.request(method, path, content=body, headers=signed(body))


@pytest.mark.parametrize("outage", ["closed_address", "silent_address"])
@pytest.mark.parametrize("name", CALLS)
async def test_temporal_away_is_a_503_in_time(
    serve: Serve, request: pytest.FixtureRequest, outage: str, name: str
) -> None:
    """If Temporal is down or never answers, each call is a 503 with Retry-After within 5 s, a delivery within 10 s."""
    api = await serve(request.getfixturevalue(outage))
    began = time.monotonic()
    reply = await call(api, name)
    assert time.monotonic() - began < (DELIVERY_TIMEOUT_S if name == "delivery" else TIMEOUT_S)
    assert reply.status_code == 503
    assert int(reply.headers["Retry-After"]) > 0
    assert "Temporal" in reply.json()["detail"]


class Line:
    """The line between the API and Temporal, which can be cut, or fall silent as if its other end were frozen."""

    def __init__(self, address: str) -> None:
        self._host, _, self._port = address.rpartition(":")
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self.speaks = asyncio.Event()
        self.speaks.set()
        self.port = 0

    async def open(self) -> None:
        """Listen, always on the same port."""
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """End all connections, and refuse new ones."""
        assert self._server is not None
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, int(self._port))
        self._start(self._pump(reader, back), back)
        self._start(self._pump(there, writer), writer)

    def _start(self, work: Coroutine[Any, Any, Any], writer: asyncio.StreamWriter) -> None:
        async def closing() -> None:
            try:
                await work
            except ConnectionError:
                pass
            finally:
                writer.transport.abort()

        pump = asyncio.create_task(closing())
        self._pumps.add(pump)
        pump.add_done_callback(self._pumps.discard)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            await self.speaks.wait()
            writer.write(data)
            await writer.drain()


@pytest.fixture
async def line(temporal_address: str) -> AsyncIterator[Line]:
    line = Line(temporal_address)
    await line.open()
    yield line
    await line.cut()


@pytest.mark.parametrize("is_silent", [False, True], ids=["refuses", "silent"])
@pytest.mark.parametrize("is_new", [False, True], ids=["known to the API", "never reached by it"])
async def test_short_outage_loses_no_delivery(
    serve: Serve, temporal: Client, issue_id: int, line: Line, *, is_silent: bool, is_new: bool
) -> None:
    """Temporal is away for 5 s while 200 deliveries arrive: each is answered with 202 in time, and is stored."""
    api = await serve(f"127.0.0.1:{line.port}", name_prefix=f"away{issue_id}-")
    if not is_new:
        assert (await api.client.get("/readyz")).status_code == 200
    if is_silent:
        line.speaks.clear()
    else:
        await line.cut()
    bodies = [encoded(payload(1 + number % 20, issue={"number": number + 1})) for number in range(200)]
    began = time.monotonic()
    sending = [
        asyncio.create_task(api.client.post("/webhooks/github", content=body, headers=signed(body))) for body in bodies
    ]
    await asyncio.sleep(OUTAGE_S)
    line.speaks.set()
    if not is_silent:
        await line.open()
    replies = await asyncio.gather(*sending)
    assert time.monotonic() - began < DELIVERY_TIMEOUT_S
    assert Counter(reply.status_code for reply in replies) == {202: 200}
    kept: set[str] = set()
    for number in range(1, 21):
        history = await temporal.get_workflow_handle(f"away{issue_id}-{number}").fetch_history()
        signals = [e.workflow_execution_signaled_event_attributes for e in history.events if e.event_type == 26]
        kept |= {json.loads(signal.input.payloads[0].data)["delivery"] for signal in signals}
    assert kept == {reply.json()["delivery"] for reply in replies}


async def test_refused_delivery_is_logged_with_its_reason(
    serve: Serve, closed_address: str, logged: list[dict[str, Any]]
) -> None:
    """A delivery that could not be stored leaves one line that says so and names the delivery."""
    api = await serve(closed_address)
    body = encoded(payload())
    headers = signed(body)
    await api.client.post("/webhooks/github", content=body, headers=headers)
    (line,) = [line for line in logged if line["event"] == "webhook_refused"]
    assert line["delivery"] == headers["X-GitHub-Delivery"]
    assert line["status"] == 503


async def test_liveness_does_not_depend_on_temporal(serve: Serve, closed_address: str) -> None:
    """An orchestrator does not kill the API because Temporal is down."""
    assert (await (await serve(closed_address)).client.get("/healthz")).json() == {"status": "ok"}


async def test_readiness_follows_temporal(api: Api) -> None:
    """With Temporal up, the API is ready."""
    assert (await api.client.get("/readyz")).status_code == 200


async def test_status_without_a_worker_says_that_the_worker_is_missing(api: Api, issue_id: int) -> None:
    """Temporal knows the issue but nobody can answer for it: the 503 names the worker, not Temporal."""
    body = encoded(payload(issue_id))
    await api.client.post("/webhooks/github", content=body, headers=signed(body))
    began = time.monotonic()
    reply = await api.client.get(f"/v1/issues/{issue_id}/sandbox", headers=BEARER)
    assert time.monotonic() - began < TIMEOUT_S
    assert reply.status_code == 503
    assert "worker" in reply.json()["detail"]


async def test_unknown_issue_is_a_404_without_a_worker_too(api: Api, issue_id: int) -> None:
    """An issue that nobody asked for is unknown, with or without a worker."""
    for path in ("sandbox", "sandbox/why"):
        assert (await api.client.get(f"/v1/issues/{issue_id}/{path}", headers=BEARER)).status_code == 404
    for order in ("retry", "stop", "replace"):
        assert (await api.client.post(f"/v1/issues/{issue_id}/{order}", headers=BEARER)).status_code == 404
    assert (await api.client.delete(f"/v1/issues/{issue_id}/sandbox", headers=BEARER)).status_code == 404


async def test_ensure_without_a_worker_is_stored(
    api: Api, temporal: Client, issue_id: int, caplog: pytest.LogCaptureFixture
) -> None:
    """No worker can take the update, so the request is stored as a signal before the 202, without a warning."""
    began = time.monotonic()
    reply = await api.client.put(f"/v1/issues/{issue_id}/sandbox", headers=BEARER | {"Idempotency-Key": "key-1"})
    assert time.monotonic() - began < TIMEOUT_S
    assert reply.status_code == 202
    history = await temporal.get_workflow_handle(f"claude-issue-{issue_id}").fetch_history()
    signals = [e.workflow_execution_signaled_event_attributes for e in history.events if e.event_type == 26]
    assert ["ensure key-1" in signal.input.payloads[0].data.decode() for signal in signals] == [True]
    gc.collect()
    assert [line.message for line in caplog.records if line.name == "asyncio"] == []


@pytest.mark.parametrize("title", ["x" * 5_000, "漢" * 256, "😀" * 256, "a\u202eb\u0000c\u2028d"])
async def test_any_title_starts_its_workflow(api: Api, temporal: Client, issue_id: int, title: str) -> None:
    """No title is so long or so strange that Temporal refuses the start, and none keeps control characters."""
    body = encoded(payload(issue_id, issue={"title": title}))
    reply = await api.client.post("/webhooks/github", content=body, headers=signed(body))
    assert reply.status_code == 202, reply.text
    described = await temporal.get_workflow_handle(f"claude-issue-{issue_id}").describe()
    summary = await described.static_summary()
    assert summary is not None
    assert summary.startswith("octo/repo#12 ")
    assert summary.isprintable()


async def test_namespace_that_does_not_exist_is_a_503(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, issue_id: int
) -> None:
    """The operator must fix a wrong namespace, so it is not a 404, which would blame the caller's issue."""
    monkeypatch.setattr("tests.api.conftest.NAMESPACE", "no-such-namespace")
    api = await serve()
    for name in ("delivery", "status", "ensure", "retry", "stop", "replace", "delete", "readiness"):
        reply = await call(api, name)
        assert (name, reply.status_code) == (name, 503), reply.text
