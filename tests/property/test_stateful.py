"""The promise, tested by Hypothesis on the whole path: real deliveries, a real Temporal, workers that are killed, the
real SDK, and localdaytona.

`make test` runs a few examples, the same each time; `make property` runs any number of new ones.
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from bench.machine import describe, one_line
from tests.property.machine import IssueMachine
from tests.property.rig import running_rig

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "0"))
"""How many random examples to run; 0 for the few of `make test`."""

EXAMPLES_IN_MAKE_TEST = 8
STEPS = 25

SETTINGS = settings(
    max_examples=EXAMPLES or EXAMPLES_IN_MAKE_TEST,
    stateful_step_count=STEPS,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    # No shrinking: the system runs at its own pace, and a shorter sequence may not fail again.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@pytest.mark.timeout(0 if EXAMPLES else 600)
def test_promise_holds_whatever_happens(tmp_path_factory: pytest.TempPathFactory) -> None:
    """(a), (b) and (d) hold after every step; at rest, every issue's sandbox is as its newest event asks."""
    with asyncio.Runner() as runner, structlog.testing.capture_logs():
        world = AsyncExitStack()
        try:
            _run(runner, world, tmp_path_factory.mktemp("property"))
        finally:
            runner.run(world.aclose())


def _run(runner: asyncio.Runner, world: AsyncExitStack, directory: Path) -> None:
    IssueMachine.loop = runner.get_loop()
    IssueMachine.rig = runner.run(world.enter_async_context(running_rig(directory)))
    if EXAMPLES:
        sys.stderr.write(f"{one_line(describe())}\n")
    rig = IssueMachine.rig
    try:
        run_state_machine_as_test(IssueMachine, settings=SETTINGS)
    finally:
        if EXAMPLES:
            sys.stderr.write(f"{rig.examples} examples of up to {STEPS} steps\n")
        if rig.failures:
            # More than Hypothesis reports: that the sequence did not fail again.
            pytest.fail(rig.failures[0], pytrace=False)
