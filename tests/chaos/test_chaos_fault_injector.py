"""The fault injector over time: a rolling restart, and knobs that overlap."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

import proofs.chaos.fault_injector
import proofs.chaos.parts
from localdaytona.types import JSONObject
from proofs.chaos.cluster import Cluster
from proofs.chaos.fault_injector import FaultInjector
from proofs.chaos.fault_schedule import Knob, RollingRestart, StallReader, Step, Terminate, TimedStep
from proofs.chaos.parts import Part
from proofs.chaos.plan import Plan
from proofs.chaos.tally import Tally
from proofs.chaos.terms import CALM, SHORT, SLOW, WORKERS
from tests.chaos.test_chaos_parts import ENDS_IN_ORDER, IGNORES, part_of


class Admin:
    """Records the changes of Daytona's configuration, in order."""

    def __init__(self) -> None:
        self.turned: list[JSONObject] = []

    async def config(self, **changes: object) -> None:
        self.turned.append(cast("JSONObject", changes))


async def _done(steps: Sequence[tuple[float, Step]], parts: Mapping[str, Part], admin: Admin | None = None) -> Tally:
    """Carry out the steps. Returns the tally."""
    cluster = cast("Cluster", SimpleNamespace(parts=parts, links={}, admin=admin))
    tally, plan = Tally(), Plan(1, 0, 1.0, (), (), tuple(TimedStep(at_s, step) for at_s, step in steps))
    await FaultInjector(cluster, plan, int(time.time()), tally).run()
    return tally


@pytest.fixture(autouse=True)
def _fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up at once; killed half a second after a SIGTERM."""
    monkeypatch.setattr(proofs.chaos.fault_injector, "AT_WORK_S", 0.1)
    monkeypatch.setattr(proofs.chaos.parts, "END_TIMEOUT_S", 0.5)


async def test_rolling_restart_waits_for_each_before_it_ends_the_next(tmp_path: Path) -> None:
    """Two workers are never down at the same time, and in the end each was restarted."""
    async with AsyncExitStack() as exits:
        parts = {}
        for name in WORKERS:
            (tmp_path / name).mkdir()
            parts[name] = await exits.enter_async_context(part_of(tmp_path / name, ENDS_IN_ORDER))
        before = {name: part.pid for name, part in parts.items()}
        least = len(parts)

        async def watch() -> None:
            nonlocal least
            while True:
                least = min(least, sum([await part.is_serving() for part in parts.values()]))
                await asyncio.sleep(0.01)

        watching = asyncio.create_task(watch())
        tally = await _done([(0.0, RollingRestart(WORKERS, 0.0))], parts)
        watching.cancel()
        assert least == len(parts) - 1
        assert all(part.pid != before[name] for name, part in parts.items())
        assert [disturbance.kind for disturbance in tally.disturbances] == ["terminate"] * 3 + ["rolling restart"]


async def test_part_that_does_not_end_is_noted(tmp_path: Path) -> None:
    """It has its own kind of disturbance, which lasts from the SIGTERM to the kill."""
    async with part_of(tmp_path, IGNORES) as part:
        tally = await _done([(0.0, StallReader("it", 0.1)), (0.0, Terminate("it", 0.0))], {"it": part})
        assert [(disturbance.kind, disturbance.lane) for disturbance in tally.disturbances] == [
            ("stall reader", "it"),
            ("did not end", "it"),
        ]
        assert tally.disturbances[1].seconds >= 0.5


async def test_part_that_is_down_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that is not up in time gets no SIGTERM, and a part without a process has no reader to stall."""
    monkeypatch.setattr(proofs.chaos.fault_injector, "UP_TIMEOUT_S", 0.3)
    async with part_of(tmp_path, ENDS_IN_ORDER) as part:
        part.kill(60.0)
        await asyncio.sleep(0.3)
        tally = await _done([(0.0, StallReader("it", 0.1)), (0.0, Terminate("it", 0.0))], {"it": part})
        assert tally.refused_acts == {"hit it": 2}
        assert not tally.disturbances


async def test_later_end_of_two_overlapping_knobs_counts() -> None:
    """The end of the first leaves Daytona as the second sets it."""
    admin, slow = Admin(), {"durations": SLOW}
    first, second = Knob("slow states", slow, 0.2), Knob("slow states", slow, 0.2)
    await _done([(0.0, first), (0.1, second)], {}, admin)
    changed = [changes for changes in admin.turned if changes]
    assert changed == [slow, slow, {"durations": SHORT}]
    assert CALM["durations"] == SHORT
