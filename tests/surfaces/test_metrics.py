"""What Prometheus reads of a real worker, API and exporter while issues come and go.

The worker is that of `issuebox dev`; API and exporter are processes of their own beside it, with the same Temporal.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from issuebox import metrics
from issuebox.dev.demo.stack import SETTINGS, Stack, running, until
from issuebox.dev.environment import inherited, to_temporal
from issuebox.metrics import Process
from localdaytona.testing import free_port

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

FIRST, MORE, BROKEN = 80_001, range(80_002, 80_007), 80_900
PARTS = (Process.API, Process.WORKER, Process.EXPORTER)


@dataclass
class Seen:
    """The stack, and where each of its processes shows its metrics."""

    stack: Stack
    ports: dict[Process, int]

    async def read(self, process: Process) -> list[Sample]:
        """What Prometheus reads now."""
        reply = await self.stack.http.get(f"http://127.0.0.1:{self.ports[process]}/metrics")
        assert reply.status_code == httpx.codes.OK, reply.text
        return [sample for family in text_string_to_metric_families(reply.text) for sample in family.samples]

    async def value(self, process: Process, metric: str, **labels: str) -> float | None:
        """The value of the one series that has these labels; None for none."""
        samples = await self.read(process)
        found = [each.value for each in samples if each.name == metric and labels.items() <= each.labels.items()]
        return found[0] if len(found) == 1 else None

    async def lived(self, issue: int) -> None:
        """The issue is opened, and closed, and its sandbox stopped."""
        await self.stack.send("opened", issue)
        await self.stack.served(issue)
        await self.stack.send("closed", issue)
        await self.stack.settled(issue, "stopped")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def seen(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Seen]:
    """All parts, with one issue that was served and closed, and one that is blocked."""
    directory, ports = tmp_path_factory.mktemp("metrics"), {process: free_port() for process in PARTS}
    own = {process: {"ISSUEBOX_ADMIN_ADDRESS": f"127.0.0.1:{port}"} for process, port in ports.items()}
    settings = SETTINGS | {"ISSUEBOX_CLOSE_STOP_AFTER_S": "0.5", "ISSUEBOX_CLOSE_ARCHIVE_AFTER_S": "3600"}
    api_port = free_port()
    async with AsyncExitStack() as exits:
        stack = await exits.enter_async_context(running(directory / "data", settings | own[Process.WORKER]))
        secrets = {
            "ISSUEBOX_WEBHOOK_SECRETS": stack.stack.webhook_secret,
            "ISSUEBOX_API_TOKENS": stack.stack.api_token,
        }
        await exits.enter_async_context(
            process_of(stack, own[Process.API] | secrets, directory, "api", "--port", str(api_port))
        )
        stack.stack = stack.stack.model_copy(update={"api_url": f"http://127.0.0.1:{api_port}"})
        await stack.admin.config(rate_limits={"sandbox_create": 300})  # Without a limit, Daytona tells of none.
        here = Seen(stack, ports)
        for process in (Process.API, Process.WORKER):
            await until(partial(_is_ready, stack.http, ports[process]), bool, f"the {process} is ready")
        await here.lived(FIRST)
        await stack.admin.add_fault("create", {"kind": "status", "status": 403}, name=stack.name(BROKEN), times=100)
        await stack.send("opened", BROKEN)
        await stack.blocked(BROKEN)
        # Now, so that its first round finds all of this.
        await exits.enter_async_context(process_of(stack, own[Process.EXPORTER], directory, "exporter"))
        await until(partial(_answers, stack.http, ports[Process.EXPORTER]), bool, "the exporter answers")
        yield here
        await stack.http.aclose()  # An open connection would keep the API for its whole grace.


@asynccontextmanager
async def process_of(stack: Stack, own: dict[str, str], directory: Path, *command: str) -> AsyncIterator[None]:
    """Run a command of ours beside the stack, on its Temporal."""
    dev = stack.stack
    environment = {**inherited(), **to_temporal(dev.temporal_address, dev.temporal_namespace), **own}
    with (directory / f"{command[0]}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "issuebox", *command), env=environment, stdout=log, stderr=log
        )
    try:
        yield
    finally:
        process.terminate()
        ended = await asyncio.wait_for(process.wait(), 30)
        assert ended in (0, -signal.SIGTERM), (directory / f"{command[0]}.log").read_text()


async def _answers(http: httpx.AsyncClient, port: int) -> bool:
    try:
        return (await http.get(f"http://127.0.0.1:{port}/healthz")).is_success
    except httpx.TransportError:
        return False


async def _is_ready(http: httpx.AsyncClient, port: int) -> bool:
    try:
        return (await http.get(f"http://127.0.0.1:{port}/readyz")).is_success
    except httpx.TransportError:
        return False


def ours(samples: Iterable[Sample]) -> dict[str, set[frozenset[str]]]:
    """The label names of each of our series, by its name."""
    found: dict[str, set[frozenset[str]]] = {}
    for sample in samples:
        if sample.name.startswith("issuebox_"):
            found.setdefault(sample.name, set()).add(frozenset(sample.labels) - {"le"})
    return found


@pytest.mark.parametrize("process", PARTS)
async def test_names_and_labels_are_those_of_the_table(seen: Seen, process: Process) -> None:
    """And no process shows what another one counts."""
    table = {name: {frozenset(metric.labels)} for metric in metrics.ALL if process in metric.processes
             for name in metric.series}  # fmt: skip
    shown = ours(await seen.read(process))
    assert shown
    assert shown.items() <= table.items()


async def test_life_of_an_issue_is_counted(seen: Seen) -> None:
    """Delivery, handover, commands, and the requests to Daytona: each where it happened."""
    api, worker = await seen.read(Process.API), await seen.read(Process.WORKER)

    def has(samples: list[Sample], name: str, **labels: str) -> bool:
        return any(s.name == name and labels.items() <= s.labels.items() and s.value >= 1 for s in samples)

    assert has(api, "issuebox_webhook_deliveries_total", event="issues", intention="ensure", code="202")
    assert has(api, "issuebox_webhook_deliveries_total", event="issues", intention="stop", code="202")
    assert has(api, "issuebox_temporal_call_duration_seconds_count", call="signal_with_start")
    assert has(api, "issuebox_http_requests_total", route="/v1/issues/{issue_id}/sandbox", code="200")
    assert has(worker, "issuebox_handover_duration_seconds_count", outcome="created")
    assert has(worker, "issuebox_commands_total", action="create", outcome="done")
    assert has(worker, "issuebox_commands_total", action="stop", outcome="done")
    assert has(worker, "issuebox_command_duration_seconds_count", action="create")
    assert has(worker, "issuebox_daytona_requests_total", operation="create_sandbox", code="200")
    assert has(worker, "issuebox_daytona_request_duration_seconds_count", operation="get_sandbox")
    assert has(worker, "issuebox_daytona_limit", limiter="sandbox-create")
    assert has(worker, "issuebox_blocked_total", cause="forbidden")
    assert has(worker, "issuebox_commands_total", action="create", outcome="RefusedError")
    assert has(worker, "issuebox_daytona_requests_total", operation="create_sandbox", code="403")
    assert has(worker, "issuebox_handover_duration_seconds_count", outcome="blocked")
    for samples in (api, worker):
        assert has(samples, "temporal_request_latency_seconds_count")  # What the SDK counts is at the same address.
        assert has(samples, "process_resident_memory_bytes")


async def test_more_issues_make_no_new_series_and_no_label_names_one(seen: Seen) -> None:
    """Five more lives like the first: each series of ours was there before, and none tells of whom it is."""

    async def series() -> set[tuple[str, frozenset[tuple[str, str]]]]:
        read = [*await seen.read(Process.API), *await seen.read(Process.WORKER)]
        return {(sample.name, frozenset(sample.labels.items())) for sample in read}

    before = await series()
    await asyncio.gather(*map(seen.lived, MORE))
    after = await series()
    assert {name for name, _ in after - before if name.startswith("issuebox_")} == set()
    values = {value for _, labels in after for _, value in labels}
    told = [seen.stack.name(issue).removeprefix("claude-issue-") for issue in (FIRST, *MORE, BROKEN)]
    sandboxes = [(await seen.stack.one(issue)).id for issue in (FIRST, *MORE)]
    assert [value for value in values for word in (*told, *sandboxes, "octocat") if word in value] == []


async def test_exporter_counts_what_temporal_knows(seen: Seen) -> None:
    """Issues by phase and cause, workers, and the schedule; what there was none of is 0, and not nothing."""
    exporter = Process.EXPORTER

    is_ready = partial(_is_ready, seen.stack.http, seen.ports[exporter])
    await until(is_ready, bool, "the exporter has read everything once")
    assert await seen.value(exporter, "issuebox_issues_blocked", cause="forbidden") == 1
    assert await seen.value(exporter, "issuebox_issues_blocked", cause="quota") == 0
    assert (await seen.value(exporter, "issuebox_issues", phase="stopped") or 0) >= 1
    assert await seen.value(exporter, "issuebox_runs", state="working") == 0
    for kind in ("workflows", "activities", "waits", "inside", "notices", "runs"):
        assert await seen.value(exporter, "issuebox_pollers", kind=kind) == 1
        assert await seen.value(exporter, "issuebox_backlog", kind=kind) == 0
    errors = [sample for sample in await seen.read(exporter) if sample.name == metrics.EXPORTER_ERRORS.name]
    assert errors == []
    assert await seen.value(exporter, "issuebox_sweep_interval_seconds", sweep="audit") == 3600
    assert await seen.value(exporter, "issuebox_sweep_interval_seconds", sweep="resync") is None
    assert await seen.value(exporter, "issuebox_workflows_stuck") == 0
