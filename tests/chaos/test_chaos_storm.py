"""What the storm does over time: one worker after the other, and knobs that overlap."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

import proofs.chaos.parts
import proofs.chaos.storm
from localdaytona.types import JSONObject
from proofs.chaos.cluster import Cluster
from proofs.chaos.deeds import Deed, Knob, RollingRestart, StallReader, Terminate, Timed
from proofs.chaos.parts import Part
from proofs.chaos.plan import Plan
from proofs.chaos.storm import Storm
from proofs.chaos.tally import Tally
from proofs.chaos.terms import CALM, SHORT, SLOW, WORKERS
from tests.chaos.test_chaos_parts import ENDS_IN_ORDER, IGNORES, part_of


class Admin:
    """Daytona's knobs as they were turned, one after the other."""

    def __init__(self) -> None:
        self.turned: list[JSONObject] = []

    async def config(self, **changes: object) -> None:
        self.turned.append(cast("JSONObject", changes))


async def _done(deeds: Sequence[tuple[float, Deed]], parts: Mapping[str, Part], admin: Admin | None = None) -> Tally:
    """Carry out the deeds; what the tally says."""
    cluster = cast("Cluster", SimpleNamespace(parts=parts, links={}, admin=admin))
    tally, plan = Tally(), Plan(1, 0, 1.0, (), (), tuple(Timed(at_s, deed) for at_s, deed in deeds))
    await Storm(cluster, plan, int(time.time()), tally).rage()
    return tally


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """At work at once; stubborn after half a second."""
    monkeypatch.setattr(proofs.chaos.storm, "AT_WORK_S", 0.1)
    monkeypatch.setattr(proofs.chaos.parts, "END_TIMEOUT_S", 0.5)


async def test_rolling_restart_waits_for_each_before_it_ends_the_next(tmp_path: Path) -> None:
    """At no time are two away, and in the end each has a new life."""
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
        assert [blow.kind for blow in tally.blows] == ["terminate"] * 3 + ["rolling restart"]


async def test_part_that_does_not_end_is_told(tmp_path: Path) -> None:
    """Under a kind of its own, which lasts from the SIGTERM to the kill."""
    async with part_of(tmp_path, IGNORES) as part:
        tally = await _done([(0.0, StallReader("it", 0.1)), (0.0, Terminate("it", 0.0))], {"it": part})
        assert [(blow.kind, blow.lane) for blow in tally.blows] == [("stall reader", "it"), ("did not end", "it")]
        assert tally.blows[1].seconds >= 0.5


async def test_part_that_is_down_is_let_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not up in time gets no SIGTERM, and what is not there has no reader."""
    monkeypatch.setattr(proofs.chaos.storm, "UP_TIMEOUT_S", 0.3)
    async with part_of(tmp_path, ENDS_IN_ORDER) as part:
        part.kill(60.0)
        await asyncio.sleep(0.3)
        tally = await _done([(0.0, StallReader("it", 0.1)), (0.0, Terminate("it", 0.0))], {"it": part})
        assert tally.refused_acts == {"hit it": 2}
        assert not tally.blows


async def test_of_two_knobs_that_overlap_the_later_end_counts() -> None:
    """The end of the first leaves Daytona as the second wants it."""
    admin, slow = Admin(), {"durations": SLOW}
    first, second = Knob("slow states", slow, 0.2), Knob("slow states", slow, 0.2)
    await _done([(0.0, first), (0.1, second)], {}, admin)
    told = [changes for changes in admin.turned if changes]
    assert told == [slow, slow, {"durations": SHORT}]
    assert CALM["durations"] == SHORT
