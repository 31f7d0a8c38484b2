"""Targets, tables and charts of the growth. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from bench.measure import charts, page
from bench.measure.frame import Measurement, Target
from bench.measure.growth import ACK, AGAIN, ENSURE, FLOOR_OF, Growth, Size, run
from issuebox.settings import WorkerSettings

FLAT = 1.15
"""Growth that still counts as flat."""
MEMORY = ("api", "worker-1")
CACHED_WORKFLOWS: int = WorkerSettings.model_fields["cached_workflows"].default
"""How many workflows a worker keeps in memory by default."""

REPLAYED = (
    "Beyond the thousand issues that a worker keeps in memory, an event for another issue first needs a replay of its "
    "history: the difference between *ensure, reused* and *the same again*. Most of that applies to an empty workflow, "
    "too, as the bare figures show. Workers share the issues: with enough workers to hold all of them, or with a "
    "larger `ISSUEBOX_CACHED_WORKFLOWS`, nothing is replayed."
)

MENDED = (
    "Before: each workflow that a worker held built its own validators for its messages, so that a worker with a "
    "thousand used 718 MiB instead of 354 MiB, and 40 ms of processor time instead of 22 ms for an event that finds "
    "its sandbox (same machine). Now a process shares them. Two thousand replays and evictions in a row did not change "
    "the memory of a process."
)


def targets(figures: Growth) -> Sequence[Target]:
    """Times stay flat from the fewest issues to the most, and memory once a worker's workflow cache is full."""
    few, many = figures.sizes[0], figures.sizes[-1]
    found = [
        Target(name=f"{what} / floor, {many.issues} to {few.issues} issues", value=_grown(what, few, many), limit=FLAT)
        for what in (ACK, ENSURE, AGAIN)
    ]
    full = next((size for size in figures.sizes if size.issues >= CACHED_WORKFLOWS), None)
    if full is not None and full is not many:
        found += [
            Target(
                name=f"memory of {name}, {many.issues} to {full.issues} issues",
                value=many.memory_mib[name] / full.memory_mib[name],
                limit=FLAT,
            )
            for name in MEMORY
        ]
    costs = many.requests_per_event / few.requests_per_event
    return [*found, Target(name=f"Daytona requests, {many.issues} to {few.issues} issues", value=costs, limit=FLAT)]


def _grown(what: str, few: Size, many: Size) -> float:
    return many.ratio(what) / few.ratio(what)


def render(figures: Growth) -> str:
    """A table with one column for each size."""
    sizes = figures.sizes
    rows: list[tuple[object, ...]] = []
    for what, below in FLOOR_OF.items():
        for name in (what, below):
            for share in ("p50", "p99"):
                values = [getattr(size.times_ms[name], share) for size in sizes]
                rows.append((f"{name}, {share}", *(page.number(value, "ms") for value in values)))
        rows.append((f"{what} / floor, p50", *(page.number(size.ratio(what)) for size in sizes)))
    rows.append(("Daytona requests of an event", *(page.number(size.requests_per_event) for size in sizes)))
    rows.append(("history events of an event", *(page.number(size.history_per_event) for size in sizes)))
    rows += [
        (f"memory of {name}", *(f"{size.memory_mib[name]:.0f} MiB" for size in sizes)) for name in sizes[0].memory_mib
    ]
    return f"{page.table(('Live issues', *(f'{size.issues:,}' for size in sizes)), rows)}\n\n{REPLAYED}\n\n{MENDED}"


def draw(figures: Growth) -> Mapping[str, Figure]:
    """Lines over the number of issues: latency, and memory."""
    counts = [size.issues for size in figures.sizes]
    figure, axes = charts.axes("An event's latency, median", "live issues", "milliseconds")
    for place, (what, below) in enumerate(FLOOR_OF.items()):
        for name, style in ((what, "-"), (below, ":")):
            values = [size.times_ms[name].p50 for size in figures.sizes]
            axes.plot(counts, values, style, marker="o", color=charts.COLOURS[place], label=name)
    axes.set_ylim(bottom=0)
    memory, lower = charts.axes("Resident memory", "live issues", "MiB")
    for place, name in enumerate(figures.sizes[0].memory_mib):
        values = [size.memory_mib[name] for size in figures.sizes]
        lower.plot(counts, values, marker="o", color=charts.COLOURS[place], label=name)
    lower.set_ylim(bottom=0)
    for each in (axes, lower):
        each.set_xscale("log")
        each.legend()
    return {"growth": figure, "growth_memory": memory}


GROWTH = Measurement(
    name="growth",
    title="Growth",
    sentence=(
        "The same figures with more and more live issues on one stack, each with its workflow and its started sandbox. "
        "A worker with the same settings serves as many empty workflows beside them, so that a slowdown of Temporal's "
        "dev server shows in both. Each empty workflow begins with one local activity, like an issue's. Calls come one "
        "at a time, each for a random workflow: beyond the thousand that a worker keeps in memory, most need a replay "
        "first, the empty ones as well."
    ),
    figures=Growth,
    run=run,
    targets=targets,
    render=render,
    charts=draw,
    chart_captions={
        "growth": "An acknowledgement and an ensure that reuses the sandbox (lines), and their floors (dotted).",
        "growth_memory": "Resident memory of each process.",
    },
)
