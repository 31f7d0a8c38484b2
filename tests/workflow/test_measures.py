"""What a worker counts of its workflows: each thing once, when it happens, and nothing in replay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from issuebox import metrics
from issuebox.domain.phase import Goal
from issuebox.exporter import Exporter
from issuebox.metrics import Process
from issuebox.settings import ExporterSettings
from tests.stuck import MARKED_S, make_stuck
from tests.waiting import until
from workflows.messages import SIGNAL_STOP

from .conftest import Stack, Started
from .test_agent_runs import ask, over
from .test_past_reads import _show, _was
from .test_replay import replays


@pytest.fixture(autouse=True)
def _on() -> Iterator[None]:
    metrics.turn_on(Process.WORKER)
    yield
    metrics.turn_off()


def shown(name: str) -> dict[tuple[str, ...], float]:
    """The values of a series other than 0, by its labels' values in the order of their names."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    samples = [sample for family in families for sample in family.samples if sample.name == name and sample.value]
    return {tuple(value for _, value in sorted(sample.labels.items())): sample.value for sample in samples}


async def test_handovers_are_counted_by_outcome_and_not_again_in_replay(stack: Stack) -> None:
    """Created, reused and started; each with its command, and a stale read on the way."""
    await stack.ensure()
    await stack.ensure()
    await stack.order(SIGNAL_STOP)
    await stack.reached(Goal.STOPPED)
    await _show(stack, await _was(stack, "started"), times=1)
    await stack.ensure()
    counted = {
        "issuebox_handover_duration_seconds_count": {("created",): 1, ("reused",): 1, ("started",): 1},
        "issuebox_stale_reads_total": {(): 1},
        "issuebox_commands_total": {
            **{(action, "done"): 1 for action in ("create", "start", "stop")},
            ("inspect", "done"): 1,
        },
        "issuebox_blocked_total": {},
    }
    assert {name: shown(name) for name in counted} == counted
    await replays(stack)
    assert {name: shown(name) for name in counted} == counted


async def test_who_is_blocked_waits_for_as_long_as_the_block(stack: Stack) -> None:
    """The block counts, by its cause; the handover that follows has waited since then, and not since the retry."""
    await stack.daytona.admin.config(runner_available=False)
    await stack.deliver()
    await stack.blocked()
    await stack.retry()
    await stack.daytona.admin.config(runner_available=True)
    await stack.retry()
    await stack.served()
    tries = shown("issuebox_blocked_total")[("capacity",)]
    assert tries >= 1
    assert shown("issuebox_handover_duration_seconds_count") == {("blocked",): tries, ("created",): 1}
    [since] = [note.at for note in (await stack.why()).notes if note.what == "blocked"][:1]
    handed = max(note.at for note in (await stack.why()).notes)
    waited_s = shown("issuebox_handover_duration_seconds_sum")[("created",)]
    assert waited_s >= (handed - since).total_seconds() > 0
    commands = shown("issuebox_commands_total")
    assert commands[("create", "RefusedError")] == tries
    assert commands[("create", "done")] == 1


async def test_goal_that_nobody_waits_for_is_no_handover(stack: Stack) -> None:
    """A stop, and the delete after it, are commands; nobody asked for the sandbox."""
    await stack.ensure()
    before = shown("issuebox_handover_duration_seconds_count")
    await stack.order(SIGNAL_STOP)
    await stack.reached(Goal.STOPPED)
    assert shown("issuebox_handover_duration_seconds_count") == before == {("created",): 1}


async def test_block_that_nobody_waits_for_is_no_handover(stack: Stack) -> None:
    """Daytona refuses to stop the sandbox: the issue is blocked, and no request went without its sandbox."""
    await stack.ensure()
    await stack.daytona.admin.add_fault("stop", {"kind": "status", "status": 403}, name=stack.name, times=None)
    await stack.order(SIGNAL_STOP)
    await stack.blocked()
    assert shown("issuebox_blocked_total") == {("forbidden",): 1}
    assert shown("issuebox_handover_duration_seconds_count") == {("created",): 1}


async def test_exporter_counts_a_stuck_issue(stack: Stack) -> None:
    """Of a Temporal that does not mark it in its lists, too."""
    metrics.turn_on(Process.EXPORTER)
    given = {"task_queue": stack.settings.task_queue, "admin_address": "127.0.0.1:1"}
    exporter = Exporter(stack.temporal, ExporterSettings.model_validate(given), searches_per_s=1_000)
    await exporter._stuck()
    gauge = metrics.WORKFLOWS_STUCK.name
    assert shown(gauge) == {}
    await make_stuck(stack)

    async def stuck() -> float:
        await exporter._stuck()
        return shown(gauge).get((), 0)

    assert await until(stuck, bool, "it is counted", MARKED_S) == 1


async def test_runs_are_counted_by_outcome_with_their_time(start: Started) -> None:
    """From the begin of the first attempt to the end, and not again in replay."""
    stack = await start(run_preset="command", run_command="sleep 1; exit $(cat ~/code 2>/dev/null || echo 0)")
    await ask(stack, 1)
    await over(stack)
    assert shown("issuebox_runs_total") == {("done",): 1}
    assert shown("issuebox_run_duration_seconds_count") == {("done",): 1}
    assert 1 <= shown("issuebox_run_duration_seconds_sum")[("done",)] < 60
    await replays(stack)
    assert shown("issuebox_runs_total") == {("done",): 1}
