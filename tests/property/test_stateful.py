"""The promise, tried by Hypothesis on the whole path: real deliveries, a real Temporal, workers that are killed,
the real SDK and localdaytona.

`make test` runs a few examples, the same ones each time; `make property` runs as many as wanted, new ones each time.
"""

from __future__ import annotations

import asyncio
import os

import pytest
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.property.machine import IssueMachine
from tests.property.rig import rigged

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "0"))
"""0: the few that `make test` runs, the same each time."""

STEPS = 25


@pytest.mark.timeout(600 if not EXAMPLES else 0)
def test_promise_holds_whatever_happens(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Safety after every step; at rest, every issue's sandbox is what its newest event asks for."""
    chosen = settings(
        max_examples=EXAMPLES or 12,
        stateful_step_count=STEPS,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        print_blob=True,
        phases=[Phase.generate, Phase.shrink] if "PROPERTY_SHRINK" in os.environ else [Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity(os.environ.get("PROPERTY_VERBOSITY", "normal")),
    )
    with asyncio.Runner() as runner:
        rig_context = rigged(tmp_path_factory.mktemp("property"))
        IssueMachine.loop = runner.get_loop()
        IssueMachine.rig = runner.run(rig_context.__aenter__())
        try:
            run_state_machine_as_test(IssueMachine, settings=chosen)
        finally:
            runner.run(rig_context.__aexit__(None, None, None))
