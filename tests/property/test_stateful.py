"""The promise, tried by Hypothesis on the whole path: real deliveries, a real Temporal, workers that are killed,
the real SDK and localdaytona.

`make test` runs a few examples, the same ones each time; `make property` runs as many as wanted, new ones each time.
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
from tests.property.rig import rigged

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "0"))
"""How many random examples; 0 for the few that `make test` runs."""

EXAMPLES_IN_MAKE_TEST = 8
STEPS = 25

SETTINGS = settings(
    max_examples=EXAMPLES or EXAMPLES_IN_MAKE_TEST,
    stateful_step_count=STEPS,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    # The world goes on at its own pace: a shorter sequence may well not fail again. What is reported is what was seen.
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@pytest.mark.timeout(0 if EXAMPLES else 600)
def test_promise_holds_whatever_happens(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Safety after every step; at rest, every issue's sandbox is what its newest event asks for."""
    with asyncio.Runner() as runner, structlog.testing.capture_logs():
        world = AsyncExitStack()
        try:
            _run(runner, world, tmp_path_factory.mktemp("property"))
        finally:
            runner.run(world.aclose())


def _run(runner: asyncio.Runner, world: AsyncExitStack, directory: Path) -> None:
    IssueMachine.loop = runner.get_loop()
    IssueMachine.rig = runner.run(world.enter_async_context(rigged(directory)))
    if EXAMPLES:
        sys.stderr.write(f"{one_line(describe())}\n")
    rig = IssueMachine.rig
    try:
        run_state_machine_as_test(IssueMachine, settings=SETTINGS)
    finally:
        if EXAMPLES:
            sys.stderr.write(f"{rig.examples} examples of up to {STEPS} steps\n")
        if rig.failures:
            # Says more than Hypothesis can, which finds that the sequence did not fail once more.
            pytest.fail(rig.failures[0], pytrace=False)
