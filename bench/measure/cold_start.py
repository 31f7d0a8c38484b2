"""How long programs take to start in a new process."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from pydantic import BaseModel, ConfigDict

from bench.measure import charts, page
from bench.measure.frame import Context, Measurement, Target
from bench.measure.quantiles import Spread, spread
from issuebox.dev.dev_stack import DevStack
from issuebox.dev.environment import inherited

LOADED_LIMIT_S = 0.4
READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 30.0
POLL_S = 0.02

_IMPORT = "import os; from issuebox.cli.app import uncollected\nwith uncollected(): import {}\nos._exit(0)"

COMMANDS: Mapping[str, Sequence[str]] = {
    "python (nothing)": ("-P", "-c", "pass"),
    "issuebox --help": ("-P", "-m", "issuebox", "--help"),
    "import of the API": ("-P", "-c", _IMPORT.format("api.app")),
    "import of the worker": ("-P", "-c", _IMPORT.format("issuebox.worker, daytona")),
}
"""The programs, each in its own process. An import ends its process at once, because cleaning up takes a quarter of
the time. It imports as `issuebox api` and `issuebox worker` do. Only workers load Daytona's SDK."""

LIMITED = {"issuebox --help", "import of the API"}


class Start(BaseModel):
    """One program: seconds from its start to its end, and its processor time including its children's."""

    model_config = ConfigDict(frozen=True)

    what: str
    wall_s: Spread
    processor_s: Spread


class ColdStart(BaseModel):
    """All programs, and `issuebox dev` from its start until it is ready."""

    model_config = ConfigDict(frozen=True)

    starts: list[Start]
    dev_ready_s: Spread
    dev_ready_each_s: list[float]


async def run(context: Context) -> ColdStart:
    """Start each program many times, alternating between them."""
    times: dict[str, list[tuple[float, float]]] = {what: [] for what in COMMANDS}
    count = context.samples(full=20, quick=3)
    for number in range(count):
        for what, arguments in COMMANDS.items():
            times[what].append(await asyncio.to_thread(_timed, arguments))
        context.say(f"{number + 1} of {count} starts of each program")
    ready_s: list[float] = []
    for number in range(context.samples(full=7, quick=1)):
        ready_s.append(await dev_ready_s(context.scratch / f"dev-{number}"))
        context.say(f"issuebox dev was ready after {ready_s[-1]:.1f} s")
    starts = [
        Start(what=what, wall_s=spread([wall for wall, _ in each]), processor_s=spread([cpu for _, cpu in each]))
        for what, each in times.items()
    ]
    return ColdStart(starts=starts, dev_ready_s=spread(ready_s), dev_ready_each_s=ready_s)


async def dev_ready_s(data_dir: Path) -> float:
    """Start `issuebox dev` on a new directory and end it again. Returns the seconds until it was ready."""
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "issuebox", "dev", "--data", str(data_dir), "--quiet", "--attached"),
        env=inherited(),
        stdin=asyncio.subprocess.PIPE,  # It closes when we die, and the stack ends.
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            while not (stack := DevStack.lookup(data_dir)) or not stack.is_ready:
                if process.returncode is not None:
                    raise RuntimeError(f"issuebox dev ended with {process.returncode}")
                await asyncio.sleep(POLL_S)
        return time.perf_counter() - began
    finally:
        if process.returncode is None:
            process.terminate()
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await process.wait()


def _timed(arguments: Sequence[str]) -> tuple[float, float]:
    """Wall and processor seconds of one process. Raises RuntimeError when it fails."""
    began = time.perf_counter()
    null = os.open(os.devnull, os.O_RDWR)
    actions = [(os.POSIX_SPAWN_DUP2, null, descriptor) for descriptor in (0, 1, 2)]
    pid = os.posix_spawn(sys.executable, [sys.executable, *arguments], os.environ, file_actions=actions)
    os.close(null)
    _, status, usage = os.wait4(pid, 0)
    wall_s = time.perf_counter() - began
    if status:
        raise RuntimeError(f"{arguments} ended with status {status}")
    return wall_s, usage.ru_utime + usage.ru_stime


def targets(figures: ColdStart) -> Sequence[Target]:
    """Nobody should wait for `--help`, or for another process of the API."""
    return [
        Target(name=f"{_shown(start.what)}, median", value=start.wall_s.p50, limit=LOADED_LIMIT_S, unit="s")
        for start in figures.starts
        if start.what in LIMITED
    ]


def _shown(what: str) -> str:
    return f"`{what}`" if what.startswith("issuebox") else what


def render(figures: ColdStart) -> str:
    """A table with one row for each program."""
    rows: list[tuple[object, ...]] = []
    for start in figures.starts:
        what = _shown(start.what)
        times = (start.wall_s.p50, start.wall_s.most, start.processor_s.p50)
        rows.append((what, start.wall_s.count, *(page.number(value, "s") for value in times)))
    ready = figures.dev_ready_s
    rows.append(("`issuebox dev` to ready", ready.count, page.number(ready.p50, "s"), page.number(ready.most, "s"), ""))
    return page.table(("Cold start", "n", "median", "slowest", "processor time, median"), rows)


def draw(figures: ColdStart) -> Mapping[str, Figure]:
    """Bars of wall and processor time."""
    figure, axes = charts.axes("Cold start, median", "seconds", "", height_in=2.8)
    names = [start.what for start in figures.starts]
    places = range(len(names))
    for offset, colour, label, values in (
        (-0.2, charts.COLOURS[0], "wall", [start.wall_s.p50 for start in figures.starts]),
        (0.2, charts.COLOURS[1], "processor", [start.processor_s.p50 for start in figures.starts]),
    ):
        axes.barh([place + offset for place in places], values, height=0.38, color=colour, label=label)
    axes.set_yticks(list(places), names)
    axes.invert_yaxis()
    axes.axvline(LOADED_LIMIT_S, color=charts.COLOURS[4], linestyle="--", label="limit of --help and of the API")
    axes.legend()
    return {"cold_start": figure}


COLD_START = Measurement(
    name="cold_start",
    title="Cold start",
    sentence="A new process each time, with warm file caches; `issuebox dev` on an empty directory.",
    figures=ColdStart,
    run=run,
    targets=targets,
    render=render,
    charts=draw,
    chart_captions={"cold_start": "Time to start, and processor time."},
)
